//! Texts as JSON strings. Nearly all of them are written as they are: they are looked through eight bytes at a time.

use std::io::Write;

use super::log_sheet::Sheet;
use crate::bytes::{Word, find};

/// There is a byte that a string does not take as it is, or that may begin a character.
fn is_special(bytes: &[u8]) -> bool {
    let marks = |word: Word| word.below(0x20) | word.equal(b'"') | word.equal(b'\\') | word.beyond_graphic();
    let is_hit = |byte: u8| !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\';
    find(bytes, marks, is_hit).is_some()
}

/// Appends the text of a JSON string.
#[inline]
pub(super) fn push_escaped(bytes: &[u8], out: &mut Sheet) {
    if is_special(bytes) {
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
