//! Tells a protocol by a connection's first bytes.
//!
//! In: the bytes read so far (they stay in the carry). Out: a protocol, or that more are needed. Pure: whoever asks
//! keeps the timer, on which the answer is TCP, so that protocols whose server speaks first lose nothing. Invariant:
//! more bytes never change an answer that was given.

use super::syntax::{is_target, is_token_byte};

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// More bytes are needed.
    Wait,
    /// A TLS handshake record (RFC 8446 §5.1); `tls::inspect` reads its ClientHello.
    Tls,
    /// The connection preface of HTTP/2 (RFC 9113 §3.4).
    Http2,
    /// A request line of HTTP/1.0 or 1.1.
    Http1,
    /// None of these.
    Tcp,
}

/// The connection preface of HTTP/2.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method believed to be one, bytes.
const MAX_METHOD: usize = 24;
/// A request line that has not ended by then is taken for HTTP/1, whose codec has the answer to long lines, bytes.
const MAX_LINE: usize = 8 * 1024;

/// Judges the first bytes of a connection.
pub fn detect(bytes: &[u8]) -> Detected {
    match bytes {
        [] => Detected::Wait,
        [22, rest @ ..] => tls(rest),
        _ if bytes.starts_with(HTTP2_PREFACE) => Detected::Http2,
        _ if HTTP2_PREFACE.starts_with(bytes) => Detected::Wait,
        _ => request_line(bytes),
    }
}

/// Behind the record type: version 3.x, a length, ClientHello.
fn tls(rest: &[u8]) -> Detected {
    let plausible = rest.first().is_none_or(|&major| major == 3)
        && rest.get(1).is_none_or(|&minor| minor <= 4)
        && rest.get(4).is_none_or(|&message| message == 1);
    match (plausible, rest.len()) {
        (false, _) => Detected::Tcp,
        (true, 0..5) => Detected::Wait,
        (true, _) => Detected::Tls,
    }
}

fn request_line(bytes: &[u8]) -> Detected {
    // One empty line in front is forgiven, as the codec does.
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    if matches!(bytes, [] | [b'\r']) {
        return Detected::Wait;
    }
    let method = bytes.iter().take_while(|&&byte| is_token_byte(byte)).count();
    match bytes.get(method) {
        None if method <= MAX_METHOD => return Detected::Wait,
        Some(b' ') if (1..=MAX_METHOD).contains(&method) => {}
        _ => return Detected::Tcp,
    }
    let rest = bytes.get(method + 1..).unwrap_or(&[]);
    let window = rest.get(..MAX_LINE).unwrap_or(rest);
    let Some(newline) = memchr::memchr(b'\n', window) else { return unfinished(window) };
    let line = window.get(..newline).unwrap_or(&[]);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_http = [b" HTTP/1.1".as_slice(), b" HTTP/1.0"]
        .iter()
        .any(|version| line.strip_suffix(*version).is_some_and(is_target));
    if is_http { Detected::Http1 } else { Detected::Tcp }
}

/// A line without its end: target, perhaps a blank and a part of the version.
fn unfinished(window: &[u8]) -> Detected {
    let target = window.iter().take_while(|&&byte| byte != b' ').count();
    let (target, version) = window.split_at_checked(target).unwrap_or((window, &[]));
    let plausible = (target.is_empty() && version.is_empty() || is_target(target))
        && [b" HTTP/1.1\r".as_slice(), b" HTTP/1.0\r"].iter().any(|whole| whole.starts_with(version));
    match plausible {
        false => Detected::Tcp,
        true if window.len() == MAX_LINE => Detected::Http1,
        true => Detected::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let cases: &[(&[u8], Detected)] = &[
            (b"", Detected::Wait),
            (b"\x16\x03\x01\x02\x00", Detected::Wait),
            (b"\x16\x03\x01\x02\x00\x01\x00", Detected::Tls),
            (b"\x16\x03\x01\x02\x00\x02", Detected::Tcp),
            (b"\x16\x02", Detected::Tcp),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Detected::Wait),
            (HTTP2_PREFACE, Detected::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSN", Detected::Tcp),
            (b"PR", Detected::Wait),
            (b"PROPFIND /x HTTP/1.1\r\n", Detected::Http1),
            (b"GET / HTTP/1.1\r\n", Detected::Http1),
            (b"GET / HTTP/1.0\n", Detected::Http1),
            (b"\r\nGET / HTTP/1.1\r\n", Detected::Http1),
            (b"GET http://a/ HT", Detected::Wait),
            (b"GET / FTP", Detected::Tcp),
            (b"GET /\r\n", Detected::Tcp),
            (b"GET  / HTTP/1.1\r\n", Detected::Tcp),
            (b"EHLO mail.example.org\r\n", Detected::Tcp),
            (b"*1\r\n$4\r\nPING\r\n", Detected::Tcp),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", Detected::Tcp),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Detected::Tcp),
        ];
        for (bytes, expected) in cases {
            assert_eq!(detect(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        let long = [b"GET /".as_slice(), &[b'a'; 9_000]].concat();
        assert_eq!(detect(&long), Detected::Http1);
    }

    fn openings() -> impl Strategy<Value = Vec<u8>> {
        let start = prop_oneof![
            Just(HTTP2_PREFACE.to_vec()),
            Just(b"\x16\x03\x03\x00\x50\x01".to_vec()),
            Just(b"GET /a?b HTTP/1.1\r\n".to_vec()),
            Just(b"\r\nOPTIONS * HTTP/1.0\r\n".to_vec()),
            Just(Vec::new()),
        ];
        (start, any::<proptest::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..30)).prop_map(
            |(mut start, keep, tail)| {
                start.truncate(keep.index(start.len() + 1));
                start.extend(tail);
                start
            },
        )
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_an_answer(bytes in openings()) {
            let answers: Vec<_> = (0..=bytes.len()).map(|end| detect(&bytes[..end])).collect();
            for pair in answers.windows(2) {
                prop_assert!(pair[0] == Detected::Wait || pair[0] == pair[1], "{:?}", answers);
            }
        }
    }
}
