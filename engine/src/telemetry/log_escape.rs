//! Texts as JSON strings. Nearly all of them are written as they are: they are looked through eight bytes at a time.

use std::io::Write;

use crate::bytes::{Word, find};

/// Where the first byte is that a string does not take as it is, or that may begin a character.
fn first_special(bytes: &[u8]) -> Option<usize> {
    let is_special = |byte: u8| !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\';
    let marks = |word: Word| word.below(0x20) | word.equal(b'"') | word.equal(b'\\') | word.beyond_graphic();
    find(bytes, marks, is_special)
}

/// Appends the text of a JSON string.
#[inline]
pub(super) fn push_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    match first_special(bytes) {
        None => out.extend_from_slice(bytes),
        Some(_) => escape(bytes, out),
    }
}

/// Escapes what `out` has from `start` on.
pub(super) fn escape_from(start: usize, out: &mut Vec<u8>) {
    let written = out.get(start..).unwrap_or(&[]);
    if let Some(at) = first_special(written) {
        let raw = written.get(at..).unwrap_or(&[]).to_vec();
        out.truncate(start + at);
        escape(&raw, out);
    }
}

/// The text of a JSON string (RFC 8259 §7); bytes that are no UTF-8 become the replacement character.
#[cold]
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
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
}
