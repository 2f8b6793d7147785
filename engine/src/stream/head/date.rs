//! The `date` field of responses (RFC 9110 §5.6.7), from the wall clock that comes with the turn.

/// `Sun, 06 Nov 1994 08:49:37 GMT`, remembered for the second it holds for.
#[derive(Debug, Default)]
pub struct DateText {
    second: u64,
    text: String,
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl DateText {
    /// `wall`: nanoseconds since the epoch.
    pub fn at(&mut self, wall: u64) -> &[u8] {
        let second = wall / 1_000_000_000;
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text = text_of(second);
        }
        self.text.as_bytes()
    }
}

fn text_of(second: u64) -> String {
    let (days, rest) = (second / 86_400, second % 86_400);
    // Civil date from days, counting from 1 March of year 0 so that the leap day ends a year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let name = |names: &'static [&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("")
    };
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7),
        name(&MONTHS, month),
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(DateText::default().at(second * 1_000_000_000), text.as_bytes());
        }
    }
}
