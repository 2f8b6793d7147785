//! Which bytes HTTP allows where: one table for both versions, so that what one accepts the other may send.

use crate::bytes::{Word, find};

// Evaluated by the compiler: an index out of bounds would not build.
#[allow(clippy::indexing_slicing)]
const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
                | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        );
        byte += 1;
    }
    table
}

static TOKEN: [bool; 256] = token_table();

#[allow(clippy::indexing_slicing)]
const fn lower_table() -> [u8; 256] {
    let (mut table, tokens) = ([0; 256], token_table());
    let mut byte = 0;
    while byte < 256 {
        if tokens[byte] {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
}

static LOWER: [u8; 256] = lower_table();

/// Lowers the token at the front in place and says how long it is.
pub(super) fn lower_token(bytes: &mut [u8]) -> usize {
    for (index, byte) in bytes.iter_mut().enumerate() {
        let lower = LOWER.get(usize::from(*byte)).copied().unwrap_or(0);
        if lower == 0 {
            return index;
        }
        *byte = lower;
    }
    bytes.len()
}

/// The first byte that no field value may hold (RFC 9110 §5.5), a line's end among them.
pub(super) fn control_at(bytes: &[u8]) -> Option<usize> {
    let is_control = |byte: u8| byte < 0x20 || byte == 0x7f;
    let at = find(bytes, |word| word.below(0x20) | word.equal(0x7f), is_control)?;
    if bytes.get(at) != Some(&b'\t') {
        return Some(at);
    }
    // Values with tabs are rare.
    let behind = bytes.get(at + 1..)?;
    behind.iter().position(|&byte| is_control(byte) && byte != b'\t').map(|next| at + 1 + next)
}

/// Bytes of a token (RFC 9110 §5.6.2): methods and field names.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).is_some_and(|&allowed| allowed)
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// A field value (RFC 9110 §5.5): no control bytes but tab.
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    control_at(bytes).is_none()
}

/// What may stand in a request target: no blanks, no control bytes, no fragment. Bytes above ASCII pass, since clients
/// send paths in UTF-8 as they are.
pub(super) fn is_target(bytes: &[u8]) -> bool {
    let is_foreign = |byte: u8| byte <= 0x20 || byte == 0x7f || byte == b'#';
    let marks = |word: Word| word.below(0x21) | word.equal(0x7f) | word.equal(b'#');
    !bytes.is_empty() && find(bytes, marks, is_foreign).is_none()
}

// As above.
#[allow(clippy::indexing_slicing)]
const fn authority_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
                | b':' | b'[' | b']' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        );
        byte += 1;
    }
    table
}

static AUTHORITY: [bool; 256] = authority_table();

/// `host[:port]` (RFC 3986 §3.2) without user information; may be empty.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| AUTHORITY.get(usize::from(byte)).is_some_and(|&allowed| allowed))
}

/// Without blanks and tabs at both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or(&[])
}

/// The members of a comma-separated list, empty ones left out.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// A decimal length (RFC 9110 §8.6): digits only, no sign, fits 64 bits.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn control_bytes_are_found_wherever_they_are(
            bytes in proptest::collection::vec(prop_oneof![8 => 0x20u8..=0x7e, 1 => any::<u8>(), 1 => Just(b'\t')], 0..40),
        ) {
            let forbidden = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
            prop_assert_eq!(control_at(&bytes), bytes.iter().position(forbidden));
        }

        #[test]
        fn tokens_are_lowered_up_to_their_end(bytes in "[A-Za-z0-9!-]{0,9}[: \\[é]?[A-Z]{0,3}") {
            let mut lowered = bytes.clone().into_bytes();
            let length = lower_token(&mut lowered);
            let end = bytes.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(bytes.len());
            prop_assert_eq!(length, end);
            let (token, rest) = bytes.as_bytes().split_at(end);
            prop_assert_eq!(lowered, [&token.to_ascii_lowercase(), rest].concat());
        }
    }

    #[test]
    fn lengths_are_digits_only() {
        for (text, length) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("0x1", None),
            ("1 ", None),
            ("1,1", None),
        ] {
            assert_eq!(content_length(text.as_bytes()), length, "{text}");
        }
    }
}
