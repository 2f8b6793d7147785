//! Header maps: pairs behind their lengths, or lines of text.

use super::place::read_number;
use super::{Broken, spoilt};
use crate::message::{Recorder, Span};
use crate::plan::RpcHeaders;

/// A pair as it lies in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// Where both begin, counted from where the map is said to begin.
    pub name_at: u32,
    pub value_at: u32,
    /// The name's first and last letter; whatever, if it has none.
    pub letters: (u8, u8),
}

pub(super) const TOO_MUCH: Broken = spoilt("too many headers, or too long a name");

/// A form of header maps, and what is known of it beforehand.
#[derive(Debug)]
pub(super) struct Form {
    pub plan: RpcHeaders,
    pub walk: Walk,
    /// Of two equal names the last one counts.
    pub last_wins: bool,
}

/// Each form has a loop of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Walk {
    /// Lengths of so many bytes, the highest first, no count in front.
    Four,
    Two,
    Any,
}

impl Form {
    pub fn new(plan: &RpcHeaders) -> Self {
        let (walk, last_wins) = match plan {
            RpcHeaders::Pairs {
                count_bytes: 0,
                name_bytes: 4,
                value_bytes: 4,
                little_endian: false,
                last_wins,
                ..
            } => (Walk::Four, *last_wins),
            RpcHeaders::Pairs {
                count_bytes: 0,
                name_bytes: 2,
                value_bytes: 2,
                little_endian: false,
                last_wins,
                ..
            } => (Walk::Two, *last_wins),
            RpcHeaders::Pairs { last_wins, .. } | RpcHeaders::Text { last_wins, .. } => {
                (Walk::Any, *last_wins)
            }
        };
        Self { plan: plan.clone(), walk, last_wins }
    }

    pub fn nulls(&self) -> bool {
        matches!(self.plan, RpcHeaders::Pairs { nulls: true, .. })
    }
}

/// Where pairs come from.
pub(super) trait NextPair<'a>: Sized {
    fn next(&mut self) -> Result<Option<Pair<'a>>, Broken>;

    /// Takes all for a head's fields, of which there may then be so many.
    #[inline(always)]
    fn record(mut self, most: usize, recorder: &mut Recorder<'_>) -> Result<(), Broken> {
        while let Some(pair) = self.next()? {
            if recorder.fields() == most {
                return Err(TOO_MUCH);
            }
            pair.record(recorder);
        }
        Ok(())
    }
}

impl Pair<'_> {
    #[inline(always)]
    fn record(&self, recorder: &mut Recorder<'_>) {
        let span = |start: u32, text: &[u8]| Span { start, length: text.len() as u32 };
        recorder.add(span(self.name_at, self.name), self.letters, span(self.value_at, self.value));
    }
}

/// Pairs of which both lengths have `WIDTH` bytes, the highest first, and no count in front: what most protocols have.
pub(super) struct Even<'a, const WIDTH: usize> {
    rest: &'a [u8],
    /// Where `rest` ends.
    end: u32,
    nulls: bool,
}

impl<'a, const WIDTH: usize> Even<'a, WIDTH> {
    pub fn new(map: &'a [u8], map_at: u32, nulls: bool) -> Self {
        Self { rest: map, end: map_at + map.len() as u32, nulls }
    }

    #[inline(always)]
    fn length_of(bytes: [u8; WIDTH]) -> usize {
        match bytes.first_chunk() {
            Some(four) if WIDTH == 4 => u32::from_be_bytes(*four) as usize,
            _ => bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)),
        }
    }

    /// The next pair, and what is behind it; nothing if it is cut or has a null.
    #[inline(always)]
    fn whole_pair(&self) -> Option<(Pair<'a>, &'a [u8])> {
        let all = self.rest;
        let (name_length, rest) = all.split_first_chunk::<WIDTH>()?;
        let name_length = Self::length_of(*name_length);
        let (name, rest) = rest.split_at_checked(name_length)?;
        let (value_length, rest) = rest.split_first_chunk::<WIDTH>()?;
        let value_length = Self::length_of(*value_length);
        let value_at = self.end - rest.len() as u32;
        let name_at = value_at - WIDTH as u32 - name.len() as u32;
        let (value, rest) = rest.split_at_checked(value_length)?;
        // A null of four bytes is longer than any map.
        if WIDTH < 4 && is_null::<WIDTH>(self.nulls, name_length | value_length) {
            return None;
        }
        let letter = |at: usize| all.get(at).copied().unwrap_or(0);
        let letters = (letter(WIDTH), letter(WIDTH - 1 + name.len()));
        Some((Pair { name, value, name_at, value_at, letters }, rest))
    }
}

/// Lengths with the highest bit set are nulls, where there are any.
#[inline(always)]
fn is_null<const WIDTH: usize>(nulls: bool, length: usize) -> bool {
    nulls && length >> (8 * WIDTH - 1) == 1
}

/// What is behind a pair that has a null.
// By values: what is lent to it would have to lie in memory while the pairs are walked through.
#[cold]
#[inline(never)]
fn behind_null<const WIDTH: usize>(mut rest: &[u8], nulls: bool) -> Result<&[u8], Broken> {
    const CUT: Broken = spoilt("a header map is cut");
    for _ in 0..2 {
        let (length, behind) = rest.split_first_chunk::<WIDTH>().ok_or(CUT)?;
        let length = Even::<WIDTH>::length_of(*length);
        let length = if is_null::<WIDTH>(nulls, length) { 0 } else { length };
        rest = behind.get(length..).ok_or(CUT)?;
    }
    Ok(rest)
}

impl<'a, const WIDTH: usize> NextPair<'a> for Even<'a, WIDTH> {
    fn next(&mut self) -> Result<Option<Pair<'a>>, Broken> {
        while !self.rest.is_empty() {
            if let Some((pair, rest)) = self.whole_pair() {
                self.rest = rest;
                return Ok(Some(pair));
            }
            self.rest = behind_null::<WIDTH>(self.rest, self.nulls)?;
        }
        Ok(None)
    }

    #[inline(always)]
    fn record(mut self, most: usize, recorder: &mut Recorder<'_>) -> Result<(), Broken> {
        loop {
            // What is rare is not in this loop, and takes no register from it.
            while recorder.fields() < most
                && let Some((pair, rest)) = self.whole_pair()
            {
                pair.record(recorder);
                self.rest = rest;
            }
            if self.rest.is_empty() {
                return Ok(());
            }
            if self.whole_pair().is_some() {
                return Err(TOO_MUCH);
            }
            self.rest = behind_null::<WIDTH>(self.rest, self.nulls)?;
        }
    }
}

/// Pairs in order. A pair with a null is passed over.
pub(super) struct Pairs<'a> {
    form: &'a RpcHeaders,
    map: &'a [u8],
    map_at: u32,
    at: usize,
    /// Pairs still to come, where the map says how many.
    left: Option<u64>,
}

impl<'a> Pairs<'a> {
    /// `map_at`: where the map is said to begin.
    pub fn new(form: &'a RpcHeaders, map: &'a [u8], map_at: u32) -> Result<Self, Broken> {
        let mut pairs = Self { form, map, map_at, at: 0, left: None };
        if let RpcHeaders::Pairs { count_bytes: bytes @ 1.., little_endian, .. } = form
            && !map.is_empty()
        {
            let count = pairs.take(usize::from(*bytes))?;
            pairs.left = read_number(count, *little_endian);
        }
        Ok(pairs)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let end = self.at.checked_add(length).ok_or(spoilt("a header map is cut"))?;
        let bytes = self.map.get(self.at..end).ok_or(spoilt("a header map is cut"))?;
        self.at = end;
        Ok(bytes)
    }

    /// Text behind its length; `None` for a null.
    fn counted(&mut self, bytes: u8, little: bool, nulls: bool) -> Result<Option<&'a [u8]>, Broken> {
        let length =
            read_number(self.take(usize::from(bytes))?, little).ok_or(spoilt("a header map is cut"))?;
        if nulls && length >> (8 * u32::from(bytes) - 1) & 1 == 1 {
            return Ok(None);
        }
        usize::try_from(length)
            .map_err(|_| spoilt("a header map is cut"))
            .and_then(|length| self.take(length))
            .map(Some)
    }

    fn line(&mut self, between: &str, behind: &str) -> Result<Pair<'a>, Broken> {
        let rest = self.map.get(self.at..).unwrap_or(&[]);
        let end = memchr::memmem::find(rest, behind.as_bytes()).ok_or(spoilt("a header line has no end"))?;
        let line = rest.get(..end).unwrap_or(&[]);
        let middle =
            memchr::memmem::find(line, between.as_bytes()).ok_or(spoilt("a header line has no value"))?;
        let name = line.get(..middle).unwrap_or(&[]);
        let value = line.get(middle + between.len()..).unwrap_or(&[]);
        let pair = self.pair((name, self.at), (value, self.at + middle + between.len()));
        self.at += end + behind.len();
        Ok(pair)
    }

    /// Of texts that begin so far into the map.
    fn pair(&self, (name, name_at): (&'a [u8], usize), (value, value_at): (&'a [u8], usize)) -> Pair<'a> {
        let (name_at, value_at) = (self.map_at + name_at as u32, self.map_at + value_at as u32);
        let letters = name.first().copied().zip(name.last().copied()).unwrap_or((0, 0));
        Pair { name, value, name_at, value_at, letters }
    }
}

impl<'a> NextPair<'a> for Pairs<'a> {
    fn next(&mut self) -> Result<Option<Pair<'a>>, Broken> {
        loop {
            if self.at >= self.map.len() {
                return match self.left {
                    None | Some(0) => Ok(None),
                    Some(_) => Err(spoilt("a header map is cut")),
                };
            }
            match (&mut self.left, self.form) {
                (Some(0), _) => return Err(spoilt("a header map is longer than its pairs")),
                (Some(left), _) => *left -= 1,
                (None, _) => {}
            }
            match self.form {
                RpcHeaders::Pairs { name_bytes, value_bytes, little_endian, nulls, .. } => {
                    let name = self.counted(*name_bytes, *little_endian, *nulls)?;
                    let name_end = self.at;
                    let value = self.counted(*value_bytes, *little_endian, *nulls)?;
                    if let (Some(name), Some(value)) = (name, value) {
                        let pair = self.pair((name, name_end - name.len()), (value, self.at - value.len()));
                        return Ok(Some(pair));
                    }
                }
                RpcHeaders::Text { between, behind, .. } => return self.line(between, behind).map(Some),
            }
        }
    }
}

/// Begins a map of so many pairs.
pub(super) fn put_count(form: &RpcHeaders, pairs: usize, to: &mut Vec<u8>) -> bool {
    match form {
        RpcHeaders::Pairs { count_bytes: bytes @ 1.., little_endian, .. } => {
            put_number(pairs, *bytes, *little_endian, to)
        }
        _ => true,
    }
}

/// Adds a pair; false if it cannot be written in this form.
pub(super) fn put_pair(form: &RpcHeaders, name: &[u8], value: &[u8], to: &mut Vec<u8>) -> bool {
    match form {
        RpcHeaders::Pairs { name_bytes, value_bytes, little_endian, nulls, .. } => {
            let signs = u32::from(*nulls);
            for (text, bytes) in [(name, *name_bytes), (value, *value_bytes)] {
                if text.len() as u64 >> (8 * u32::from(bytes) - signs) != 0
                    || !put_number(text.len(), bytes, *little_endian, to)
                {
                    return false;
                }
                to.extend_from_slice(text);
            }
            true
        }
        RpcHeaders::Text { between, behind, .. } => {
            let splits = |text: &[u8], by: &str| memchr::memmem::find(text, by.as_bytes()).is_some();
            if splits(name, between) || splits(name, behind) || splits(value, behind) {
                return false;
            }
            for piece in [name, between.as_bytes(), value, behind.as_bytes()] {
                to.extend_from_slice(piece);
            }
            true
        }
    }
}

/// The low bytes of a number; false if it needs more.
pub(super) fn put_number(value: usize, bytes: u8, little: bool, to: &mut Vec<u8>) -> bool {
    let (value, bytes) = (value as u64, usize::from(bytes.min(8)));
    if bytes < 8 && value >> (8 * bytes) != 0 {
        return false;
    }
    let start = to.len();
    to.extend_from_slice(value.to_be_bytes().get(8 - bytes..).unwrap_or(&[]));
    if little && let Some(written) = to.get_mut(start..) {
        written.reverse();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where maps are said to begin.
    const AT: u32 = 70;

    fn bolt() -> RpcHeaders {
        RpcHeaders::Pairs {
            count_bytes: 0,
            name_bytes: 4,
            value_bytes: 4,
            little_endian: false,
            nulls: true,
            last_wins: true,
        }
    }

    /// By the reader for every form; even pairs by their own, too, which must see the same.
    fn read(form: &RpcHeaders, map: &[u8]) -> Result<Vec<(String, String)>, &'static str> {
        let found =
            Pairs::new(form, map, AT).map_err(|broken| broken.what).and_then(|pairs| read_all(pairs, map));
        if let RpcHeaders::Pairs { count_bytes: 0, name_bytes: 4, value_bytes: 4, nulls, .. } = form {
            assert_eq!(found, read_all(Even::<4>::new(map, AT, *nulls), map));
        }
        found
    }

    fn read_all<'a>(mut pairs: impl NextPair<'a>, map: &[u8]) -> Result<Vec<(String, String)>, &'static str> {
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        while let Some(pair) = pairs.next().map_err(|broken| broken.what)? {
            assert_eq!(&map[(pair.value_at - AT) as usize..][..pair.value.len()], pair.value);
            assert_eq!(&map[(pair.name_at - AT) as usize..][..pair.name.len()], pair.name);
            found.push((text(pair.name), text(pair.value)));
        }
        Ok(found)
    }

    #[test]
    fn pairs_with_nulls_are_passed_over_and_nothing_moves() {
        let mut map = vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'x'];
        map.extend([0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff]);
        assert!(put_pair(&bolt(), b"name", b"", &mut map));
        assert_eq!(read(&bolt(), &map), Ok(vec![("name".into(), String::new())]));
    }

    #[test]
    fn cut_maps_are_refused() {
        for map in
            [&[0, 0, 0][..], &[0, 0, 0, 9, b'a'], &[0, 0, 0, 1, b'a'], &[0, 0, 0, 1, b'a', 0, 0, 0, 2, b'b']]
        {
            assert_eq!(read(&bolt(), map), Err("a header map is cut"), "{map:?}");
        }
    }

    #[test]
    fn counted_pairs_and_lines_are_read_as_they_are_written() {
        let counted = RpcHeaders::Pairs {
            count_bytes: 2,
            name_bytes: 2,
            value_bytes: 1,
            little_endian: true,
            nulls: false,
            last_wins: false,
        };
        let lines = RpcHeaders::Text { between: "=".into(), behind: ";".into(), last_wins: false };
        for form in [counted, lines] {
            let mut map = Vec::new();
            assert!(put_count(&form, 2, &mut map));
            assert!(put_pair(&form, b"a", b"1=2", &mut map) && put_pair(&form, b"b", b"", &mut map));
            assert_eq!(read(&form, &map), Ok(vec![("a".into(), "1=2".into()), ("b".into(), String::new())]));
            map.push(b'x');
            assert!(read(&form, &map).is_err());
            let too_long = [b'v'; 70_000];
            assert!(!put_pair(&form, b"a;", &too_long, &mut Vec::new()));
        }
    }
}
