//! The Huffman code of RFC 7541 appendix B.
//!
//! The code is canonical: codes of one length are consecutive in the order of their symbols, and shorter codes come first.
//! So the lengths say all; codes and decoding tables are computed from them by the compiler.

/// Bits of each byte's code; the 257th symbol, EOS, has 30.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

const EOS: u16 = 256;
const MAX_LENGTH: usize = 30;
/// Bits of one look-up, which finds up to two symbols: two letters or digits fit, whose codes have five to seven bits.
const SHORT: usize = 12;

/// What the next `SHORT` bits begin with.
#[derive(Clone, Copy)]
struct Short {
    symbols: [u8; 2],
    /// 0: a longer code.
    count: u8,
    /// Bits of the first code, and of all.
    first: u8,
    all: u8,
}

const NONE: Short = Short { symbols: [0; 2], count: 0, first: 0, all: 0 };

struct Tables {
    codes: [u32; 257],
    /// By the next `SHORT` bits.
    short: [Short; 1 << SHORT],
    /// By length: the first code, and where its symbol stands in `symbols`.
    first_code: [u32; MAX_LENGTH + 1],
    first_index: [u16; MAX_LENGTH + 1],
    count: [u16; MAX_LENGTH + 1],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
}

// Evaluated by the compiler: an index out of bounds would not build.
#[allow(clippy::indexing_slicing)]
const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [0; 257],
        short: [NONE; 1 << SHORT],
        first_code: [0; MAX_LENGTH + 1],
        first_index: [0; MAX_LENGTH + 1],
        count: [0; MAX_LENGTH + 1],
        symbols: [0; 257],
    };
    let (mut code, mut index, mut length) = (0u32, 0usize, 1usize);
    while length <= MAX_LENGTH {
        code <<= 1;
        tables.first_code[length] = code;
        tables.first_index[length] = index as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                tables.codes[symbol] = code;
                tables.symbols[index] = symbol as u16;
                tables.count[length] += 1;
                if length <= SHORT {
                    let spare = SHORT - length;
                    let mut low = 0;
                    while low < 1 << spare {
                        tables.short[(code as usize) << spare | low] = Short {
                            symbols: [symbol as u8, 0],
                            count: 1,
                            first: length as u8,
                            all: length as u8,
                        };
                        low += 1;
                    }
                }
                code += 1;
                index += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    add_second_symbols(&mut tables);
    tables
}

/// Where the bits behind a first code hold a whole second one, finds that too.
#[allow(clippy::indexing_slicing)]
const fn add_second_symbols(tables: &mut Tables) {
    let singles = tables.short;
    let mut bits = 0;
    while bits < singles.len() {
        let first = singles[bits];
        // The rest, with zeros behind: only a code that is no longer than the rest counts.
        let second = singles[(bits << first.first) & (singles.len() - 1)];
        let all = first.first + second.first;
        if first.count == 1 && second.count == 1 && all as usize <= SHORT {
            let symbols = [first.symbols[0], second.symbols[0]];
            tables.short[bits] = Short { symbols, count: 2, first: first.first, all };
        }
        bits += 1;
    }
}

static TABLES: Tables = tables();

/// Bytes that `text` takes when encoded.
pub(super) fn encoded_length(text: &[u8]) -> usize {
    let bits: usize =
        text.iter().map(|&byte| usize::from(LENGTHS.get(usize::from(byte)).copied().unwrap_or(0))).sum();
    bits.div_ceil(8)
}

pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0u32);
    for &byte in text {
        let index = usize::from(byte);
        let (Some(&code), Some(&length)) = (TABLES.codes.get(index), LENGTHS.get(index)) else { continue };
        bits = bits << length | u64::from(code);
        held += u32::from(length);
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        // Padded with the first bits of EOS, which are ones.
        out.push((bits << (8 - held)) as u8 | (0xff >> held));
    }
}

/// Not the code of any text: EOS, or padding that is too long or not of ones (RFC 7541 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadCode;

/// Appends what `code` stands for.
pub(super) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), BadCode> {
    // No code is shorter than five bits; one byte more, since two are written at a time.
    let start = out.len();
    out.resize(start + code.len() * 8 / 5 + 2, 0);
    let text = out.get_mut(start..).unwrap_or(&mut []);
    let length = decode_into(code, text)?;
    out.truncate(start + length);
    Ok(())
}

fn decode_into(code: &[u8], text: &mut [u8]) -> Result<usize, BadCode> {
    let mut rest = code;
    let mut length = 0;
    // `bits` holds the next `held` bits at its top.
    let (mut bits, mut held) = (0u64, 0u32);
    loop {
        if held < 32 {
            match rest.split_first_chunk::<4>() {
                Some((word, behind)) => {
                    bits |= u64::from(u32::from_be_bytes(*word)) << (32 - held);
                    held += 32;
                    rest = behind;
                }
                None => {
                    for &byte in std::mem::take(&mut rest) {
                        bits |= u64::from(byte) << (56 - held);
                        held += 8;
                    }
                }
            }
        }
        let short = TABLES.short.get((bits >> (64 - SHORT)) as usize).copied().unwrap_or(NONE);
        let (symbols, count, used) = if short.count > 0 && u32::from(short.all) <= held {
            (short.symbols, usize::from(short.count), u32::from(short.all))
        } else {
            let (symbol, used) = match short.count {
                0 => long(bits),
                _ => (u16::from(short.symbols[0]), u32::from(short.first)),
            };
            if used > held {
                // What is left is no whole code: it must be padding.
                let padding = !(u64::MAX.checked_shr(held).unwrap_or(0));
                return if held < 8 && bits == padding { Ok(length) } else { Err(BadCode) };
            }
            if symbol == EOS {
                return Err(BadCode);
            }
            ([symbol as u8, 0], 1, used)
        };
        if let Some(slots) = text.get_mut(length..length + 2) {
            slots.copy_from_slice(&symbols);
        }
        length += count;
        bits <<= used;
        held -= used;
    }
}

/// A code longer than `SHORT` bits at the top of `bits`: its symbol and length.
fn long(bits: u64) -> (u16, u32) {
    for length in SHORT + 1..=MAX_LENGTH {
        let code = (bits >> (64 - length)) as u32;
        let (Some(&first), Some(&count), Some(&index)) =
            (TABLES.first_code.get(length), TABLES.count.get(length), TABLES.first_index.get(length))
        else {
            break;
        };
        // Shorter codes were excluded, so `code` is at least the first of this length.
        let offset = code.wrapping_sub(first);
        if offset < u32::from(count) {
            let symbol = TABLES.symbols.get(usize::from(index) + offset as usize).copied();
            return (symbol.unwrap_or(EOS), length as u32);
        }
    }
    (EOS, MAX_LENGTH as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, BadCode> {
        let mut text = Vec::new();
        decode(code, &mut text).map(|()| text)
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 7541 appendix B: some of every length.
        for (symbol, code) in [
            (48, 0x0),
            (116, 0x9),
            (32, 0x14),
            (58, 0x5c),
            (88, 0xfc),
            (33, 0x3f8),
            (39, 0x7fa),
            (0, 0x1ff8),
            (92, 0x7fff0),
            (10, 0x3fff_fffc),
            (22, 0x3fff_fffe),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(TABLES.codes[symbol], code, "{symbol}");
        }
        assert_eq!((TABLES.codes[249], TABLES.codes[255]), (0xfff_fffe, 0x3ff_ffee));
    }

    #[test]
    fn examples_of_the_standard() {
        for (text, code) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-key", "25a849e95ba97d7f"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("private", "aec3771a4b"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        ] {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((hex.as_str(), out.len()), (code, encoded_length(text.as_bytes())));
            assert_eq!(decoded(&out).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn bad_padding_and_eos_are_refused() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        // "0" is 00000, then three ones.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        for code in [
            &[0b0000_0110][..],
            &[0b0000_0111, 0xff],
            &[0xff],
            &[0xff, 0xff, 0xff, 0xff],
            &[0b0000_0111, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(decoded(code), Err(BadCode), "{code:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            encode(&text, &mut out);
            prop_assert_eq!(out.len(), encoded_length(&text));
            prop_assert_eq!(decoded(&out), Ok(text));
        }

        #[test]
        fn what_decodes_is_the_only_code_of_its_text(code in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(text) = decoded(&code) {
                let mut again = Vec::new();
                encode(&text, &mut again);
                prop_assert_eq!(again, code);
            }
        }
    }
}
