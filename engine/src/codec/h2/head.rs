//! Heads and trailers, between header blocks and the message types.
//!
//! In: complete blocks of the peer; heads of ours. Out: heads that RFC 9113 §8 allows, or what is wrong with them; blocks.
//! Invariant: what belongs to a hop neither comes in nor goes out, and a request has one authority.

use super::hpack_decode::{Bad, Decoded, Decoder, Limits, Size};
use super::hpack_encode::Encoder;
use crate::codec::syntax::{self, trim};
use crate::message::{BodyLength, HeaderBlock, NameId, Protocol, RequestHead, ResponseHead, Span, fresh};

/// A block that could be decoded.
#[derive(Debug)]
pub(super) enum Read<T> {
    Fine(T),
    TooLarge,
    Malformed(&'static str),
}

#[derive(Debug)]
pub(super) struct Request {
    pub head: Box<RequestHead>,
    pub content_length: Option<u64>,
    pub expects_continue: bool,
}

#[derive(Debug)]
pub(super) struct Response {
    pub head: Box<ResponseHead>,
    pub content_length: Option<u64>,
}

/// What the fields say together, gathered as they pass.
#[derive(Debug, Default)]
struct Gathered {
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    status: Option<Span>,
    host: Option<Span>,
    content_length: Option<u64>,
    cookies: u32,
    expects_continue: bool,
    has_fields: bool,
    wrong: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Request,
    Response,
    Trailers,
}

impl Gathered {
    fn take(&mut self, block: &mut HeaderBlock, field: Decoded, place: Place) {
        let noted = match block.slice(field.name).first() {
            Some(b':') => self.pseudo(block.slice(field.name), field.value, place),
            _ => self.field(block, field, place),
        };
        if let Err(what) = noted {
            self.wrong.get_or_insert(what);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: Span, place: Place) -> Result<(), &'static str> {
        if self.has_fields {
            return Err("pseudo-header behind a field");
        }
        let slot = match (place, name) {
            (Place::Request, b":method") => &mut self.method,
            (Place::Request, b":scheme") => &mut self.scheme,
            (Place::Request, b":authority") => &mut self.authority,
            (Place::Request, b":path") => &mut self.path,
            (Place::Response, b":status") => &mut self.status,
            _ => return Err("pseudo-header that does not belong here"),
        };
        match slot.replace(value) {
            Some(_) => Err("pseudo-header twice"),
            None => Ok(()),
        }
    }

    fn field(&mut self, block: &mut HeaderBlock, field: Decoded, place: Place) -> Result<(), &'static str> {
        self.has_fields = true;
        let name = block.slice(field.name);
        // A known name is fine as it is.
        if field.id == NameId::OTHER && !is_lower_token(name) {
            return Err("bad header name");
        }
        let value = trimmed(block, field.value);
        let text = block.slice(value);
        if !syntax::is_field_value(text) {
            return Err("control byte in header value");
        }
        match field.id {
            NameId::CONNECTION
            | NameId::PROXY_CONNECTION
            | NameId::KEEP_ALIVE
            | NameId::TRANSFER_ENCODING
            | NameId::UPGRADE => return Err("field of HTTP/1 connections"),
            NameId::TE if !text.eq_ignore_ascii_case(b"trailers") => return Err("TE other than trailers"),
            _ if place == Place::Trailers && !may_trail(field.id) => return Ok(()),
            NameId::HOST if place == Place::Request => {
                return match self.host.replace(value) {
                    Some(_) => Err("several Host fields"),
                    None => Ok(()),
                };
            }
            NameId::CONTENT_LENGTH => {
                let length = syntax::content_length(text).ok_or("bad content length")?;
                if self.content_length.replace(length).is_some() {
                    return Err("several content lengths");
                }
            }
            NameId::EXPECT => self.expects_continue |= text.eq_ignore_ascii_case(b"100-continue"),
            NameId::COOKIE => self.cookies += 1,
            _ => {}
        }
        if usize::from(field.name.length as u16) != field.name.length as usize {
            return Err("header name too long");
        }
        block.push_known(field.id, field.name, value);
        if field.secret {
            block.mark_secret();
        }
        Ok(())
    }
}

/// RFC 9113 §8.2.1 forbids blanks around a value; they are dropped, since enough peers send them.
fn trimmed(block: &HeaderBlock, value: Span) -> Span {
    let text = block.slice(value);
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if !is_blank(text.first()) && !is_blank(text.last()) {
        return value;
    }
    let length = trim(text).len() as u32;
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count() as u32;
    Span { start: value.start + blanks.min(value.length), length }
}

fn is_lower_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| syntax::is_token_byte(byte) && !byte.is_ascii_uppercase())
}

/// Fields that frame, route or authenticate have no business in trailers (RFC 9110 §6.5.1).
fn may_trail(id: NameId) -> bool {
    !matches!(
        id,
        NameId::HOST
            | NameId::CONTENT_LENGTH
            | NameId::TE
            | NameId::TRAILER
            | NameId::AUTHORIZATION
            | NameId::COOKIE
            | NameId::SET_COOKIE
            | NameId::EXPECT
            | NameId::CONTENT_TYPE
            | NameId::CONTENT_ENCODING
    )
}

/// What an arena should hold for a compressed block of this size.
fn capacity(block: &[u8]) -> usize {
    (block.len() * 2).clamp(256, 8 * 1024) + 128
}

pub(super) fn read_request(
    decoder: &mut Decoder,
    block: &[u8],
    end: bool,
    limits: Limits,
) -> Result<Read<Request>, Bad> {
    let mut head = fresh::<RequestHead>();
    head.headers.make_room(capacity(block), 24);
    head.protocol = Protocol::Http2;
    let mut gathered = Gathered::default();
    let size = decoder.decode(block, &mut head.headers, limits, |block, field| {
        gathered.take(block, field, Place::Request);
    })?;
    if size == Size::TooLarge {
        return Ok(Read::TooLarge);
    }
    Ok(match understand(&mut head, &gathered, end) {
        Ok(()) => Read::Fine(Request {
            content_length: gathered.content_length,
            expects_continue: gathered.expects_continue && !end,
            head,
        }),
        Err(what) => Read::Malformed(what),
    })
}

fn understand(head: &mut RequestHead, gathered: &Gathered, end: bool) -> Result<(), &'static str> {
    if let Some(what) = gathered.wrong {
        return Err(what);
    }
    let block = &head.headers;
    let method = gathered.method.ok_or("no :method")?;
    if !syntax::is_token(block.slice(method)) {
        return Err("bad :method");
    }
    let authority = match (gathered.authority, gathered.host) {
        (Some(authority), Some(host)) if !block.slice(host).eq_ignore_ascii_case(block.slice(authority)) => {
            return Err("Host differs from :authority");
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err("neither :authority nor Host"),
    };
    if authority.length == 0 || !syntax::is_authority(block.slice(authority)) {
        return Err("bad :authority");
    }
    if block.slice(method) == b"CONNECT" {
        if gathered.scheme.is_some() || gathered.path.is_some() {
            return Err("CONNECT with :scheme or :path");
        }
        head.set_spans(method, Span::default(), authority, Span::default());
        head.body = if end { BodyLength::Empty } else { BodyLength::Unknown };
        return Ok(());
    }
    let scheme = gathered.scheme.ok_or("no :scheme")?;
    let path = gathered.path.ok_or("no :path")?;
    let text = block.slice(path);
    let is_asterisk = text == b"*" && block.slice(method) == b"OPTIONS";
    if !(syntax::is_target(text) && (text.first() == Some(&b'/') || is_asterisk)) {
        return Err("bad :path");
    }
    head.headers.slice_mut(scheme).make_ascii_lowercase();
    if !matches!(head.headers.slice(scheme), b"http" | b"https") {
        return Err("bad :scheme");
    }
    if end && gathered.content_length.is_some_and(|length| length > 0) {
        return Err("no body, but a content length");
    }
    head.set_spans(method, scheme, authority, path);
    head.body = body(end, gathered.content_length);
    if gathered.cookies > 1 {
        join_cookies(&mut head.headers);
    }
    Ok(())
}

fn body(end: bool, content_length: Option<u64>) -> BodyLength {
    match content_length {
        _ if end => BodyLength::Empty,
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Unknown,
    }
}

/// Cookies may be split for better compression; elsewhere they are one field (RFC 9113 §8.2.3).
fn join_cookies(block: &mut HeaderBlock) {
    let joined = block.all_id(NameId::COOKIE).collect::<Vec<_>>().join(&b"; "[..]);
    block.set_id(NameId::COOKIE, &joined);
}

pub(super) fn read_response(
    decoder: &mut Decoder,
    block: &[u8],
    end: bool,
    limits: Limits,
) -> Result<Read<Response>, Bad> {
    let mut head = fresh::<ResponseHead>();
    head.headers.make_room(capacity(block), 24);
    head.protocol = Protocol::Http2;
    let mut gathered = Gathered::default();
    let size = decoder.decode(block, &mut head.headers, limits, |block, field| {
        gathered.take(block, field, Place::Response);
    })?;
    if size == Size::TooLarge {
        return Ok(Read::TooLarge);
    }
    let status = match (gathered.wrong, gathered.status.map(|span| head.headers.slice(span))) {
        (Some(what), _) => return Ok(Read::Malformed(what)),
        (None, Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'])) => {
            [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'))
        }
        (None, _) => return Ok(Read::Malformed("bad :status")),
    };
    head.status = status;
    head.body = body(end, gathered.content_length);
    Ok(Read::Fine(Response { content_length: gathered.content_length, head }))
}

pub(super) fn read_trailers(
    decoder: &mut Decoder,
    block: &[u8],
    limits: Limits,
) -> Result<Read<Box<HeaderBlock>>, Bad> {
    let mut trailers = Box::new(HeaderBlock::with_capacity(capacity(block), 8));
    let mut gathered = Gathered::default();
    let size = decoder.decode(block, &mut trailers, limits, |block, field| {
        gathered.take(block, field, Place::Trailers);
    })?;
    Ok(match (size, gathered.wrong) {
        (Size::TooLarge, _) => Read::TooLarge,
        (Size::Fits, Some(what)) => Read::Malformed(what),
        (Size::Fits, None) => Read::Fine(trailers),
    })
}

/// Decodes a block that nobody wants, for the table's sake.
pub(super) fn skip(decoder: &mut Decoder, block: &[u8]) -> Result<(), Bad> {
    let nothing = Limits { bytes: 0, fields: 0 };
    decoder.decode(block, &mut HeaderBlock::default(), nothing, |_, _| {}).map(|_| ())
}

pub(super) fn encode_request(encoder: &mut Encoder, head: &RequestHead, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.method(head.method(), out);
    if head.method() != b"CONNECT" {
        encoder.scheme(head.scheme(), out);
        encoder.path(head.path(), head.is_grpc(), out);
    }
    encoder.authority(head.authority(), out);
    encode_fields(encoder, &head.headers, out);
}

pub(super) fn encode_response(encoder: &mut Encoder, head: &ResponseHead, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.status(head.status, out);
    encode_fields(encoder, &head.headers, out);
}

pub(super) fn encode_trailers(encoder: &mut Encoder, trailers: &HeaderBlock, out: &mut Vec<u8>) {
    encoder.begin(out);
    encode_fields(encoder, trailers, out);
}

fn encode_fields(encoder: &mut Encoder, block: &HeaderBlock, out: &mut Vec<u8>) {
    for (id, name, value, secret) in block.iter_marked() {
        match id {
            NameId::CONNECTION
            | NameId::PROXY_CONNECTION
            | NameId::KEEP_ALIVE
            | NameId::TRANSFER_ENCODING
            | NameId::UPGRADE
            | NameId::HTTP2_SETTINGS
            | NameId::HOST => {}
            NameId::TE if !value.eq_ignore_ascii_case(b"trailers") => {}
            _ => encoder.field(id, name, value, secret, out),
        }
    }
}
