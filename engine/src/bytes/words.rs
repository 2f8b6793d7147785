//! Looks for bytes of a kind eight at a time: most texts hold none of them, and are mostly longer than a word.
//!
//! A test marks the top bit of each byte of a word that it finds. The lowest mark is true; a borrow may set others above it.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Eight bytes, the first of them lowest.
#[derive(Debug, Clone, Copy)]
pub struct Word(u64);

impl Word {
    #[inline]
    pub fn of(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// Marks bytes below `bound`, which is at most 128.
    #[inline]
    pub fn below(self, bound: u8) -> u64 {
        self.0.wrapping_sub(ONES * u64::from(bound)) & !self.0 & TOPS
    }

    /// Marks bytes equal to `byte`.
    #[inline]
    pub fn equal(self, byte: u8) -> u64 {
        let zeros = self.0 ^ (ONES * u64::from(byte));
        zeros.wrapping_sub(ONES) & !zeros & TOPS
    }

    /// Marks bytes from `first` to `last`, which are ASCII and above 0.
    #[inline]
    pub fn within(self, first: u8, last: u8) -> u64 {
        let low = self.0 & !TOPS;
        let reached = low + ONES * u64::from(128 - first);
        let passed = low + ONES * u64::from(127 - last);
        reached & !passed & !self.0 & TOPS
    }

    /// Marks DEL, and bytes that are no ASCII.
    #[inline]
    pub fn beyond_graphic(self) -> u64 {
        // A carry out of 0xff marks the byte above it, and 0xff is marked itself.
        (self.0 | self.0.wrapping_add(ONES)) & TOPS
    }

    /// Marks bytes that are no ASCII.
    #[inline]
    pub fn beyond_ascii(self) -> u64 {
        self.0 & TOPS
    }
}

/// The offset of the first byte that is found: by `marks` in a word, by `is_hit` alone. Both must mean the same.
#[inline]
pub fn find(bytes: &[u8], marks: impl Fn(Word) -> u64, is_hit: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut start = 0;
    for word in words {
        let found = marks(Word(u64::from_le_bytes(*word)));
        if found != 0 {
            return Some(start + (found.trailing_zeros() / 8) as usize);
        }
        start += 8;
    }
    if rest.is_empty() {
        return None;
    }
    match bytes.last_chunk::<8>() {
        // In part looked at already, and without a hit.
        Some(last) => match marks(Word(u64::from_le_bytes(*last))) {
            0 => None,
            found => Some(bytes.len() - 8 + (found.trailing_zeros() / 8) as usize),
        },
        // Mostly there is none, and a look at both ends says so.
        None if ends(bytes).is_some_and(|ends| marks(Word(ends)) == 0) => None,
        None => rest.iter().position(|&byte| is_hit(byte)),
    }
}

/// Whether two texts are equal but for the case of their ASCII letters.
#[inline]
pub fn equal_in_any_case(one: &[u8], other: &[u8]) -> bool {
    /// The bit that tells small letters from capitals, in each byte.
    const CASE: u64 = ONES * 0x20;
    let is_same = |one: u64, other: u64| {
        let letters = Word(one | CASE).within(b'a', b'z') >> 2;
        (one ^ other) & !letters == 0
    };
    if one.len() != other.len() {
        return false;
    }
    if let (Some(last), Some(other_last)) = (one.last_chunk(), other.last_chunk()) {
        let mut words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
        return words.all(|(one, other)| is_same(u64::from_le_bytes(*one), u64::from_le_bytes(*other)))
            // In part compared already.
            && is_same(u64::from_le_bytes(*last), u64::from_le_bytes(*other_last));
    }
    match (ends(one), ends(other)) {
        (Some(one), Some(other)) => is_same(one, other),
        _ => one.eq_ignore_ascii_case(other),
    }
}

/// The first four bytes and the last four, which overlap in a text of less than eight.
#[inline]
fn ends(text: &[u8]) -> Option<u64> {
    let (first, last) = (text.first_chunk()?, text.last_chunk()?);
    Some(u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_are_equal_but_for_the_case_of_letters(
            one in "[aZ@`{1]{0,20}",
            flips in proptest::collection::vec((0usize..20, any::<bool>()), 0..3),
        ) {
            let mut other = one.clone().into_bytes();
            for (at, is_case) in flips {
                if let Some(byte) = other.get_mut(at) {
                    *byte ^= if is_case { 0x20 } else { 1 };
                }
            }
            let expected = one.as_bytes().eq_ignore_ascii_case(&other);
            prop_assert_eq!(equal_in_any_case(one.as_bytes(), &other), expected);
            prop_assert!(!equal_in_any_case(&[one.as_bytes(), b"a"].concat(), one.as_bytes()));
        }

        #[test]
        fn words_find_what_bytes_find(bytes in proptest::collection::vec(any::<u8>(), 0..40), bound in 0u8..=128, byte: u8) {
            let below = find(&bytes, |word| word.below(bound), |each| each < bound);
            prop_assert_eq!(below, bytes.iter().position(|&each| each < bound));
            let equal = find(&bytes, |word| word.equal(byte), |each| each == byte);
            prop_assert_eq!(equal, bytes.iter().position(|&each| each == byte));
            let capital = find(&bytes, |word| word.within(b'A', b'Z'), |each| each.is_ascii_uppercase());
            prop_assert_eq!(capital, bytes.iter().position(u8::is_ascii_uppercase));
            let graphic = find(&bytes, Word::beyond_graphic, |each| each >= 0x7f);
            prop_assert_eq!(graphic, bytes.iter().position(|&each| each >= 0x7f));
            let beyond = find(&bytes, Word::beyond_ascii, |each| !each.is_ascii());
            prop_assert_eq!(beyond, bytes.iter().position(|each| !each.is_ascii()));
        }
    }
}
