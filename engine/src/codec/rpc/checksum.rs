//! Checksums, piece by piece.

use crate::plan::RpcAlgorithm;

/// Reflected polynomial.
const CASTAGNOLI: u32 = 0x82f6_3b78;
/// Bytes that are taken at once.
const SLICES: usize = 16;

static CRC32C: [[u32; 256]; SLICES] = tables(CASTAGNOLI);

// Evaluated by the compiler: an index out of bounds would not build.
#[allow(clippy::indexing_slicing)]
const fn tables(polynomial: u32) -> [[u32; 256]; SLICES] {
    let mut tables = [[0; 256]; SLICES];
    let mut byte = 0;
    while byte < 256 {
        let mut word = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            word = if word & 1 == 1 { word >> 1 ^ polynomial } else { word >> 1 };
            bit += 1;
        }
        tables[0][byte] = word;
        byte += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// A checksum that is being reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// As it would be if nothing followed.
    Crc(u32),
    Crc32c(u32),
    Adler(u32, u32),
    Sum(u64),
    Xor(u8),
}

impl Running {
    pub fn new(algorithm: RpcAlgorithm) -> Self {
        match algorithm {
            RpcAlgorithm::Crc32 => Self::Crc(0),
            RpcAlgorithm::Crc32c => Self::Crc32c(!0),
            RpcAlgorithm::Adler32 => Self::Adler(1, 0),
            RpcAlgorithm::Sum => Self::Sum(0),
            RpcAlgorithm::Xor => Self::Xor(0),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(value) => {
                // By the processor's carry-less multiplication, where it has one.
                let mut hasher = crc32fast::Hasher::new_with_initial(*value);
                hasher.update(bytes);
                *value = hasher.finalize();
            }
            Self::Crc32c(word) => *word = crc(&CRC32C, *word, bytes),
            Self::Adler(low, high) => adler(low, high, bytes),
            Self::Sum(sum) => {
                *sum = bytes.iter().fold(*sum, |sum, &byte| sum.wrapping_add(u64::from(byte)));
            }
            Self::Xor(all) => *all = bytes.iter().fold(*all, |all, &byte| all ^ byte),
        }
    }

    /// The checksum, cut to the width that it is written in.
    pub fn value(self, width: u8) -> u64 {
        let value = match self {
            Self::Crc(value) => u64::from(value),
            Self::Crc32c(word) => u64::from(!word),
            Self::Adler(low, high) => u64::from(high << 16 | low),
            Self::Sum(sum) => sum,
            Self::Xor(all) => u64::from(all),
        };
        if width >= 8 { value } else { value & ((1 << (8 * u32::from(width))) - 1) }
    }
}

// Rows and columns are within the tables: a byte, and a constant below SLICES.
#[allow(clippy::indexing_slicing)]
fn crc(tables: &[[u32; 256]; SLICES], mut word: u32, bytes: &[u8]) -> u32 {
    let mut chunks = bytes.chunks_exact(SLICES);
    for chunk in &mut chunks {
        let Some(&[a, b, c, d, rest @ ..]) = chunk.first_chunk::<SLICES>() else { break };
        let [e, f, g, h] = (u32::from_le_bytes([a, b, c, d]) ^ word).to_le_bytes();
        word =
            tables[15][e as usize] ^ tables[14][f as usize] ^ tables[13][g as usize] ^ tables[12][h as usize];
        let mut slice = SLICES - 4;
        for byte in rest {
            slice -= 1;
            word ^= tables[slice][byte as usize];
        }
    }
    chunks
        .remainder()
        .iter()
        .fold(word, |word, &byte| word >> 8 ^ tables[0][((word ^ u32::from(byte)) & 0xff) as usize])
}

/// So many bytes cannot overflow the sums (RFC 1950).
const ADLER_RUN: usize = 5_552;

fn adler(low: &mut u32, high: &mut u32, bytes: &[u8]) {
    for run in bytes.chunks(ADLER_RUN) {
        for &byte in run {
            *low += u32::from(byte);
            *high += *low;
        }
        *low %= 65_521;
        *high %= 65_521;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(algorithm: RpcAlgorithm, bytes: &[u8]) -> u64 {
        let mut running = Running::new(algorithm);
        running.update(bytes);
        running.value(4)
    }

    #[test]
    fn known_values() {
        let text = b"123456789";
        assert_eq!(whole(RpcAlgorithm::Crc32, text), 0xcbf4_3926);
        assert_eq!(whole(RpcAlgorithm::Crc32c, text), 0xe306_9283);
        assert_eq!(whole(RpcAlgorithm::Adler32, text), 0x091e_01de);
        assert_eq!(whole(RpcAlgorithm::Sum, text), 477);
        assert_eq!(whole(RpcAlgorithm::Xor, text), 0x31);
        assert_eq!(whole(RpcAlgorithm::Crc32, b"The quick brown fox jumps over the lazy dog"), 0x414f_a339);
    }

    proptest! {
        #[test]
        fn pieces_give_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            for algorithm in [RpcAlgorithm::Crc32, RpcAlgorithm::Crc32c, RpcAlgorithm::Adler32, RpcAlgorithm::Sum, RpcAlgorithm::Xor] {
                let (front, back) = bytes.split_at(cut.min(bytes.len()));
                let mut running = Running::new(algorithm);
                running.update(front);
                running.update(back);
                prop_assert_eq!(running.value(4), whole(algorithm, &bytes));
            }
        }
    }
}
