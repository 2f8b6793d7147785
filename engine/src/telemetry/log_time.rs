//! `%START_TIME(format)%`: a moment in UTC, in the notation of strftime with Envoy's fractions of a second.

use std::cell::Cell;
use std::io::Write;

use crate::bytes::{padded, push_padded};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment taken apart.
struct Moment {
    seconds: u64,
    nanoseconds: u64,
    year: u64,
    month: u64,
    day: u64,
    day_of_year: u64,
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    /// `wall`: nanoseconds since the epoch.
    fn new(wall: u64) -> Self {
        let (seconds, nanoseconds) = (wall / 1_000_000_000, wall % 1_000_000_000);
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Howard Hinnant's days-to-civil: eras of 400 years that begin in March.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let since_march = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * since_march + 2) / 153;
        let day = since_march - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        // January and February come after the year's end in that count.
        let day_of_year = if month <= 2 { since_march - 306 + 1 } else { since_march + 60 + u64::from(leap) };
        Self {
            seconds,
            nanoseconds,
            year,
            month,
            day,
            day_of_year,
            weekday: (days + 4) % 7,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    fn day_name(&self) -> &'static str {
        DAYS.get(self.weekday as usize).copied().unwrap_or_default()
    }

    fn month_name(&self) -> &'static str {
        MONTHS.get(self.month as usize - 1).copied().unwrap_or_default()
    }

    /// The fraction of the second, rounded down to `digits`.
    fn fraction(&self, digits: u32, out: &mut Vec<u8>) {
        let digits = digits.clamp(1, 9);
        let start = out.len();
        push_padded::<9>(out, self.nanoseconds);
        out.truncate(start + digits as usize);
    }

    /// RFC 3339, as far as the seconds.
    fn standard(&self, out: &mut Vec<u8>) {
        push_padded::<4>(out, self.year);
        for (before, part) in [(b'-', self.month), (b'-', self.day), (b'T', self.hour)] {
            out.push(before);
            push_padded::<2>(out, part);
        }
        for part in [self.minute, self.second] {
            out.push(b':');
            push_padded::<2>(out, part);
        }
    }

    /// False if the letter means nothing.
    fn letter(&self, letter: char, out: &mut Vec<u8>) -> bool {
        let hour12 = (self.hour + 11) % 12 + 1;
        let short = |name: &'static str| name.get(..3).unwrap_or(name);
        let _ = match letter {
            'Y' => write!(out, "{}", self.year),
            'y' => write!(out, "{:02}", self.year % 100),
            'C' => write!(out, "{:02}", self.year / 100),
            'm' => write!(out, "{:02}", self.month),
            'd' => write!(out, "{:02}", self.day),
            'e' => write!(out, "{:2}", self.day),
            'j' => write!(out, "{:03}", self.day_of_year),
            'H' => write!(out, "{:02}", self.hour),
            'I' => write!(out, "{hour12:02}"),
            'M' => write!(out, "{:02}", self.minute),
            'S' => write!(out, "{:02}", self.second),
            'p' => out.write_all(if self.hour < 12 { b"AM" } else { b"PM" }),
            'a' => out.write_all(short(self.day_name()).as_bytes()),
            'A' => out.write_all(self.day_name().as_bytes()),
            'b' | 'h' => out.write_all(short(self.month_name()).as_bytes()),
            'B' => out.write_all(self.month_name().as_bytes()),
            'u' => write!(out, "{}", (self.weekday + 6) % 7 + 1),
            'w' => write!(out, "{}", self.weekday),
            'F' => write!(out, "{}-{:02}-{:02}", self.year, self.month, self.day),
            'D' => write!(out, "{:02}/{:02}/{:02}", self.month, self.day, self.year % 100),
            'T' => write!(out, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            'R' => write!(out, "{:02}:{:02}", self.hour, self.minute),
            's' => write!(out, "{}", self.seconds),
            'z' => out.write_all(b"+0000"),
            'Z' => out.write_all(b"UTC"),
            'n' => out.write_all(b"\n"),
            't' => out.write_all(b"\t"),
            '%' => out.write_all(b"%"),
            'f' => {
                self.fraction(9, out);
                Ok(())
            }
            _ => return false,
        };
        true
    }
}

/// Bytes of RFC 3339 with milliseconds, `2024-02-29T13:04:05.006Z`, and where the milliseconds are.
const STANDARD: usize = 24;
const MILLISECONDS: usize = 20;

thread_local! {
    /// The millisecond that was written last, with its text: hundreds of lines may tell of it, thousands of its second.
    static LAST: Cell<(u64, [u8; STANDARD])> = const { Cell::new((u64::MAX, [0; STANDARD])) };
}

/// RFC 3339 with milliseconds.
#[inline]
pub(super) fn standard(wall: u64) -> [u8; STANDARD] {
    let (last, text) = LAST.get();
    let millisecond = wall / 1_000_000;
    if last == millisecond { text } else { another(millisecond, last, text) }
}

#[inline(never)]
fn another(millisecond: u64, last: u64, mut text: [u8; STANDARD]) -> [u8; STANDARD] {
    if last / 1_000 != millisecond / 1_000 {
        let mut written = Vec::with_capacity(STANDARD);
        Moment::new(millisecond * 1_000_000).standard(&mut written);
        written.extend_from_slice(b".000Z");
        text = written.try_into().unwrap_or(text);
    }
    if let Some(place) = text.get_mut(MILLISECONDS..MILLISECONDS + 3) {
        place.copy_from_slice(&padded::<3>(millisecond));
    }
    LAST.set((millisecond, text));
    text
}

/// Appends the moment. `format` empty: RFC 3339 with milliseconds. What is no letter of strftime stays as it is.
pub fn write_time(format: &str, wall: u64, out: &mut Vec<u8>) {
    if format.is_empty() {
        return out.extend_from_slice(&standard(wall));
    }
    let moment = Moment::new(wall);
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            let _ = write!(out, "{character}");
            continue;
        }
        let from = rest.as_str();
        let first = rest.next();
        let written = match first {
            // %3f: so many digits of the fraction.
            Some(digit @ '1'..='9') if rest.as_str().starts_with('f') => {
                rest.next();
                moment.fraction(digit.to_digit(10).unwrap_or(3), out);
                true
            }
            // %E3S: seconds with their fraction.
            Some('E') => {
                let mut after = rest.clone();
                match (after.next().and_then(|digit| digit.to_digit(10)), after.next()) {
                    (Some(digits), Some('S')) => {
                        rest = after;
                        let _ = write!(out, "{:02}.", moment.second);
                        moment.fraction(digits, out);
                        true
                    }
                    _ => false,
                }
            }
            Some(letter) => moment.letter(letter, out),
            None => false,
        };
        if !written {
            let kept = first.map_or(0, char::len_utf8);
            let _ = write!(out, "%{}", from.get(..kept).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(format: &str, wall: u64) -> String {
        let mut out = Vec::new();
        write_time(format, wall, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_are_written_as_asked() {
        // Thu Feb 29 2024 13:04:05.006007008 UTC
        let wall = 1_709_211_845_006_007_008;
        for (format, expected) in [
            ("", "2024-02-29T13:04:05.006Z"),
            ("%Y/%m/%dT%H:%M:%S%z %s", "2024/02/29T13:04:05+0000 1709211845"),
            ("%s.%3f %6f %9f %f %1f", "1709211845.006 006007 006007008 006007008 0"),
            ("%a %A %b %B %j %e %I%p %u %w", "Thu Thursday Feb February 060 29 01PM 4 4"),
            ("%F %T %D %R %y %C%%", "2024-02-29 13:04:05 02/29/24 13:04 24 20%"),
            ("%E3S|%Z|%Q|%", "05.006|UTC|%Q|%"),
            ("%3x %E %é", "%3x %E %é"),
        ] {
            assert_eq!(written(format, wall), expected, "{format}");
        }
        assert_eq!(written("%F %j %a", 0), "1970-01-01 001 Thu");
        assert_eq!(written("%F %j", 1_735_689_599_000_000_000), "2024-12-31 366");
        assert_eq!(written("%F %j", 1_677_628_800_000_000_000), "2023-03-01 060");
    }

    #[test]
    fn milliseconds_of_one_second_differ() {
        for (wall, expected) in [(1_007, "00.000"), (999_999_999, "00.999"), (1_050_000_000, "01.050")] {
            assert_eq!(written("", wall), format!("1970-01-01T00:00:{expected}Z"));
        }
    }

    proptest! {
        #[test]
        fn any_format_is_survived(format in ".{0,30}", wall: u64) {
            written(&format, wall);
        }

        #[test]
        fn days_follow_each_other(day in 0u64..80_000) {
            let at = |day: u64| written("%Y%m%d", day * 86_400_000_000_000).parse::<u64>().unwrap();
            prop_assert!(at(day) < at(day + 1));
        }
    }
}
