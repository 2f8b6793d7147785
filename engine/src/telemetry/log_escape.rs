//! Texts as JSON strings. Nearly all of them are written as they are: they are looked through sixteen bytes at a time.

use std::io::Write;

use super::log_sheet::Sheet;
use crate::bytes::{Word, find};

/// A string does not take the byte as it is, or it is of a character that has several. Without branches, so that a chunk of
/// bytes is one register.
#[inline(always)]
fn is_special(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') > b'~' - b' ') | (byte == b'"') | (byte == b'\\')
}

fn has_special(bytes: &[u8]) -> bool {
    let any = |chunk: &[u8; 16]| chunk.iter().fold(false, |found, &byte| found | is_special(byte));
    let Some(last) = bytes.last_chunk() else {
        let marks =
            |word: Word| word.below(0x20) | word.equal(b'"') | word.equal(b'\\') | word.beyond_graphic();
        return find(bytes, marks, is_special).is_some();
    };
    any(last) || bytes.as_chunks().0.iter().any(any)
}

/// Appends the text of a JSON string.
#[inline]
pub(super) fn push_escaped(bytes: &[u8], out: &mut Sheet) {
    if has_special(bytes) {
        out.push_all(&escaped(bytes));
    } else {
        out.push_all(bytes);
    }
}

/// The text of a JSON string (RFC 8259 §7); bytes that are no UTF-8 become the replacement character.
#[cold]
pub(super) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => {
                    let _ = write!(out, "\\u{byte:04x}");
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_are_read_back(text in "[ -~\u{7f}\n\u{e9}\u{1}]{0,40}", plain in "[ !#-Z^-~]{0,80}", at in 0usize..80) {
            for text in [text.clone(), plain.clone(), plain[..at.min(plain.len())].to_owned() + &text] {
                let mut out = Sheet::default();
                out.push(b'"');
                push_escaped(text.as_bytes(), &mut out);
                out.push(b'"');
                prop_assert!(out.as_bytes().iter().all(|byte| *byte >= b' ' && *byte != 0x7f));
                prop_assert_eq!(serde_json::from_slice::<String>(out.as_bytes()).unwrap(), text);
            }
        }
    }
}
