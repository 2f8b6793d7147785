//! A quick hash for keys that we make ourselves: slots, ids, names of the configuration. Nobody outside chooses what it hashes,
//! so it need not withstand an attacker.

use std::hash::{BuildHasherDefault, Hasher};

/// For `HashMap`s of such keys.
pub type QuickHash = BuildHasherDefault<QuickHasher>;

/// Multiplies and rotates, word by word.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuickHasher(u64);

impl QuickHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        // An odd constant near 2^64 divided by the golden ratio spreads neighbouring keys.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for QuickHasher {
    /// The map takes its tag from the top bits and its slot from the bottom ones: both must differ.
    #[inline]
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        // What is left with bytes before it is a word, too; the length tells it from what is left alone.
        let tail = match bytes.last_chunk::<8>() {
            Some(_) if rest.is_empty() => 0,
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        self.mix(tail ^ (bytes.len() as u64).rotate_right(8));
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn neighbouring_keys_fall_into_different_slots() {
        let slots: HashSet<_> = (0u64..4_096).map(|key| QuickHash::default().hash_one(key) % 8_192).collect();
        assert!(slots.len() > 2_800, "{} slots", slots.len());
        let names: HashSet<_> = (0..1_000)
            .map(|number| QuickHash::default().hash_one(format!("outbound|80||service-{number}.shop")))
            .collect();
        assert_eq!(names.len(), 1_000);
    }
}
