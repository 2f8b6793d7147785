//! Heads and bodies on their way out, framed anew from what was understood.
//!
//! In: heads without hop-by-hop fields, and body data. Out: bytes in the outbox. Invariant: the framing fields come
//! from here alone. The field `content-length` of a head says how long its body will be; without it a body that does
//! not end with its head goes in chunks (to HTTP/1.0: until the close).

use super::head::Asked;
use crate::bytes::{Out, decimal, hexadecimal};
use crate::codec::contract::{Accepted, Refused};
use crate::codec::syntax::content_length;
use crate::message::{HeaderBlock, Lines, NameId, NameSet, Protocol, RequestHead, ResponseHead};

/// A body on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sending {
    /// The head has not been sent.
    #[default]
    Head,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    UntilClose,
    /// A response without a body by its nature: what is given is taken and dropped.
    Bodiless,
    Ended,
}

impl Sending {
    /// As much of `bytes` as the outbox and the announced length take. `Err`: the body is longer or shorter than announced, or over.
    pub fn data(&mut self, bytes: &[u8], end: bool, out: &mut Out<'_>) -> Result<Accepted, Refused> {
        let accepted = bytes.len().min(out.room());
        let taken = bytes.get(..accepted).unwrap_or(&[]);
        let end = end && accepted == bytes.len();
        match self {
            Self::Head | Self::Ended => return Err(Refused),
            Self::Bodiless => {
                if end {
                    *self = Self::Ended;
                }
                return Ok(Accepted { bytes: bytes.len() });
            }
            Self::Length(rest) => {
                *rest = rest.checked_sub(taken.len() as u64).ok_or(Refused)?;
                if end && *rest > 0 {
                    return Err(Refused);
                }
                out.put(taken);
            }
            Self::UntilClose => out.put(taken),
            Self::Chunked => put_chunk(out, taken, end),
        }
        if end {
            *self = Self::Ended;
        }
        Ok(Accepted { bytes: accepted })
    }

    /// Ends the body; only chunks can carry the trailers, otherwise they are dropped.
    pub fn trailers(
        &mut self,
        trailers: &HeaderBlock,
        carry: bool,
        out: &mut Out<'_>,
    ) -> Result<(), Refused> {
        if *self != Self::Chunked || !carry {
            return self.data(&[], true, out).map(|_| ());
        }
        out.put(b"0\r\n");
        put_fields(out, trailers);
        out.put(b"\r\n");
        *self = Self::Ended;
        Ok(())
    }

    pub fn has_ended(self) -> bool {
        self == Self::Ended
    }
}

fn put_chunk(out: &mut Out<'_>, bytes: &[u8], end: bool) {
    if !bytes.is_empty() {
        out.put(hexadecimal(bytes.len() as u64).as_bytes());
        out.put(b"\r\n");
        out.put(bytes);
        out.put(if end { b"\r\n0\r\n\r\n" } else { b"\r\n" });
    } else if end {
        out.put(b"0\r\n\r\n");
    }
}

fn put_field(out: &mut Out<'_>, name: &[u8], value: &[u8]) {
    out.put_pair((name, *b": "), (value, *b"\r\n"));
}

/// Fields that belong to the hop or to the framing.
const OF_THE_HOP: NameSet = NameSet::of(&[
    NameId::CONTENT_LENGTH,
    NameId::TRANSFER_ENCODING,
    NameId::CONNECTION,
    NameId::KEEP_ALIVE,
    NameId::PROXY_CONNECTION,
    NameId::UPGRADE,
    NameId::HTTP2_SETTINGS,
    NameId::HOST,
]);

/// All fields but those of the hop.
fn put_fields(out: &mut Out<'_>, block: &HeaderBlock) {
    for lines in block.lines(OF_THE_HOP) {
        match lines {
            Lines::Ready(lines) => out.put(lines),
            Lines::Field { name, value } => put_field(out, name, value),
        }
    }
}

fn announced(block: &HeaderBlock) -> Option<u64> {
    block.get_id(NameId::CONTENT_LENGTH).and_then(content_length)
}

fn put_length(out: &mut Out<'_>, length: u64) -> Sending {
    put_field(out, b"content-length", decimal(length).as_bytes());
    if length == 0 { Sending::Ended } else { Sending::Length(length) }
}

fn put_chunked(out: &mut Out<'_>) -> Sending {
    put_field(out, b"transfer-encoding", b"chunked");
    Sending::Chunked
}

/// A request's head for an HTTP/1.1 upstream; says how its body goes.
pub(super) fn put_request(out: &mut Out<'_>, head: &RequestHead, end: bool) -> Sending {
    let method = head.method();
    let target = if method == b"CONNECT" { head.authority() } else { head.path() };
    out.put_parts([method, b" ", target, b" HTTP/1.1\r\n"]);
    put_field(out, b"host", head.authority());
    put_fields(out, &head.headers);
    if let Some(upgrade) = head.upgrade() {
        put_field(out, b"connection", b"upgrade");
        put_field(out, b"upgrade", upgrade);
    }
    if head.headers.contains_id(NameId::TE) {
        put_field(out, b"connection", b"te");
    }
    let sending = match announced(&head.headers) {
        _ if method == b"CONNECT" => Sending::Ended,
        Some(length) if !end => put_length(out, length),
        None if !end => put_chunked(out),
        // Methods that usually have a body say that there is none (RFC 9110 §8.6).
        None if !matches!(method, b"POST" | b"PUT" | b"PATCH") => Sending::Ended,
        _ => put_length(out, 0),
    };
    out.put(b"\r\n");
    sending
}

/// To whom a response goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipient {
    pub protocol: Protocol,
    pub asked: Asked,
    /// The connection is kept after this response.
    pub persists: bool,
}

/// A final response's head, or 101; says how its body goes.
pub(super) fn put_response(out: &mut Out<'_>, head: &ResponseHead, end: bool, to: Recipient) -> Sending {
    put_status(out, head.status);
    put_fields(out, &head.headers);
    if let Some(upgrade) = head.headers.get_id(NameId::UPGRADE) {
        put_field(out, b"connection", b"upgrade");
        put_field(out, b"upgrade", upgrade);
    }
    let length = announced(&head.headers);
    let is_tunnel = head.status == 101 || (to.asked == Asked::Connect && (200..300).contains(&head.status));
    let is_bodiless = matches!(head.status, 100..=199 | 204 | 304) || to.asked == Asked::Head;
    let sending = match length {
        _ if is_tunnel => Sending::Ended,
        _ if is_bodiless => {
            if let (Some(length), false) = (length, head.status < 200 || head.status == 204) {
                put_length(out, length);
            }
            if end { Sending::Ended } else { Sending::Bodiless }
        }
        _ if end => put_length(out, 0),
        // An announced 0 without an end: the end comes by a command of its own.
        Some(0) => {
            put_length(out, 0);
            Sending::Length(0)
        }
        Some(length) => put_length(out, length),
        None if to.protocol == Protocol::Http10 => Sending::UntilClose,
        None => put_chunked(out),
    };
    if !is_tunnel && (!to.persists || sending == Sending::UntilClose) {
        put_field(out, b"connection", b"close");
    } else if to.protocol == Protocol::Http10 && !is_tunnel {
        put_field(out, b"connection", b"keep-alive");
    }
    out.put(b"\r\n");
    sending
}

/// A 1xx head other than 101.
pub(super) fn put_interim(out: &mut Out<'_>, head: &ResponseHead) {
    put_status(out, head.status);
    put_fields(out, &head.headers);
    out.put(b"\r\n");
}

/// The answer to a request that was not understood; the connection ends behind it.
pub(super) fn put_refusal(out: &mut Out<'_>, status: u16) {
    put_status(out, status);
    if status == 426 {
        put_field(out, b"upgrade", b"HTTP/1.1");
        put_field(out, b"connection", b"upgrade");
    }
    out.put(b"connection: close\r\ncontent-length: 0\r\n\r\n");
}

pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn put_status(out: &mut Out<'_>, status: u16) {
    if status == 200 {
        return out.put(b"HTTP/1.1 200 OK\r\n");
    }
    let number = decimal(u64::from(status));
    out.put_parts([b"HTTP/1.1 ", number.as_bytes(), b" ", reason(status).as_bytes(), b"\r\n"]);
}

/// Reason phrases of RFC 9110 §15 and its kin; empty for others (the blank before it stays, RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
