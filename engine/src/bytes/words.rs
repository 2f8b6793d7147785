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
        None => rest.iter().position(|&byte| is_hit(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
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
