//! Base64 (RFC 4648 §4) for the header fields that carry bytes: certificates and peer metadata.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for triple in bytes.chunks(3) {
        let word =
            triple.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - triple.len()));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place) & 63) as usize;
            text.push(match ALPHABET.get(digit) {
                Some(&letter) if place <= triple.len() => char::from(letter),
                _ => '=',
            });
        }
    }
    text
}

/// `None` for anything that is not base64; padding may be missing.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|&letter| letter == b'=').unwrap_or(text.len());
    let (digits, padding) = text.split_at_checked(end)?;
    if padding.len() > 2 || padding.iter().any(|&letter| letter != b'=') || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut word = 0u32;
        for &letter in group {
            let digit = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(digit);
        }
        word <<= 6 * (4 - group.len());
        bytes.extend(word.to_be_bytes().get(1..group.len())?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_undoes_encode(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn no_text_breaks_it(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&text);
        }
    }

    #[test]
    fn words_of_the_rfc() {
        assert_eq!(encode(b"foobar"), "Zm9vYmFy");
        assert_eq!((encode(b"foob"), encode(b"fooba")), ("Zm9vYg==".into(), "Zm9vYmE=".into()));
        assert_eq!(decode(b"Zm9vYg"), Some(b"foob".to_vec()));
        assert_eq!((decode(b"Zm9vY"), decode(b"Zm=v"), decode(b"Zm 9")), (None, None, None));
    }
}
