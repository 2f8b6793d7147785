//! Which bytes HTTP allows where: one table for both versions, so that what one accepts the other may send.

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

/// Bytes of a token (RFC 9110 §5.6.2): methods and field names.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).is_some_and(|&allowed| allowed)
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// A field value (RFC 9110 §5.5): no control bytes but tab. Without short cut, so that it is done many bytes at a time.
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |fine, &byte| fine & ((byte >= 0x20) & (byte != 0x7f) | (byte == b'\t')))
}

/// What may stand in a request target: no blanks, no control bytes, no fragment. Bytes above ASCII pass, since clients
/// send paths in UTF-8 as they are.
pub(super) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().fold(true, |fine, &byte| fine & (byte > 0x20) & (byte != 0x7f) & (byte != b'#'))
}

/// `host[:port]` (RFC 3986 §3.2) without user information; may be empty.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte))
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
