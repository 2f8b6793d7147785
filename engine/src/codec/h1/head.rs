//! Heads: where one ends, and what it says. Together with `fields` and `body` the only judge of how a peer framed a message.
//!
//! In: contiguous bytes from a message's first on. Out: a head whose block holds the raw bytes once, with offsets
//! into them. Invariant: a head is parsed when its first bytes come, and again only once its blank line is there; the search for that
//! resumes where it stopped, so trickled bytes cost linear work. What is doubtful is refused, never repaired (RFC 9112 §2.2, §11.2).

use super::fields::{Hop, Transfer, span};
use super::{Malformed, Settings, bad};
use crate::codec::contract::Input;
use crate::codec::syntax;
use crate::message::{BodyLength, HeaderBlock, NameId, Protocol, RequestHead, ResponseHead, Span, fresh};

const TOO_MANY_FIELDS: Malformed = Malformed { status: 431, what: "too many header fields" };
const TOO_LARGE: Malformed = Malformed { status: 431, what: "header fields too large" };
const LINE_TOO_LONG: Malformed = Malformed { status: 414, what: "request line too long" };
/// Looks for the blank line that ends a head or trailers.
#[derive(Debug, Default)]
pub(super) struct Search {
    scanned: usize,
    line_start: usize,
    lines: usize,
}

impl Search {
    /// The length of the section with its blank line, `None` while that is not there. `bytes` begin where they began in
    /// the call before.
    pub fn run(&mut self, bytes: &[u8], settings: &Settings) -> Result<Option<usize>, Malformed> {
        while let Some(at) = memchr::memchr(b'\n', bytes.get(self.scanned..).unwrap_or(&[])) {
            let newline = self.scanned + at;
            if newline == self.line_start || bytes.get(newline - 1) != Some(&b'\r') {
                return Err(bad("bare line feed"));
            }
            self.scanned = newline + 1;
            self.check_size(self.scanned, settings)?;
            if newline == self.line_start + 1 {
                let length = self.scanned;
                *self = Self::default();
                return Ok(Some(length));
            }
            self.lines += 1;
            self.line_start = self.scanned;
            if self.lines > settings.max_fields + 1 {
                return Err(TOO_MANY_FIELDS);
            }
        }
        self.scanned = bytes.len();
        self.check_size(self.scanned, settings)?;
        Ok(None)
    }

    /// Nothing has been looked at yet.
    pub fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    fn check_size(&self, length: usize, settings: &Settings) -> Result<(), Malformed> {
        match length > settings.max_head_bytes {
            true if self.lines == 0 => Err(LINE_TOO_LONG),
            true => Err(TOO_LARGE),
            false => Ok(()),
        }
    }
}

/// What a parser made of a section.
pub(super) struct Parsed<T> {
    pub head: T,
    /// Bytes of the section, its blank line included.
    length: usize,
    /// Its field lines.
    lines: usize,
}

/// Takes a head off the front of the input; `None` while it is not whole. Most are whole when their first bytes come, and are parsed at
/// once; else, and if anything is wrong, the search says what is missing or which limit is broken, wherever the input was cut.
pub(super) fn take_head<T>(
    input: &mut Input<'_>,
    search: &mut Search,
    settings: &Settings,
    parse: impl Fn(&mut [u8]) -> Result<Option<Parsed<T>>, Malformed>,
) -> Result<Option<T>, Malformed> {
    if search.is_fresh()
        && let Ok(Some(parsed)) = parse(input.rest_mut())
        && parsed.length <= settings.max_head_bytes
        && parsed.lines <= settings.max_fields
    {
        input.take(parsed.length);
        return Ok(Some(parsed.head));
    }
    let Some(length) = search.run(input.rest(), settings)? else { return Ok(None) };
    match parse(input.take(length))? {
        Some(parsed) => Ok(Some(parsed.head)),
        None => Err(bad("head without an end")),
    }
}

/// The start line, and where the next begins; `None` if it has no end yet.
fn start_line(section: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(newline) = memchr::memchr(b'\n', section) else { return Ok(None) };
    let line = section.get(..newline).and_then(|line| line.strip_suffix(b"\r"));
    match line {
        Some(line) if !line.is_empty() => Ok(Some((line, newline + 1))),
        _ => Err(bad("empty start line")),
    }
}

/// How a message's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Framing {
    #[default]
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    fn body(self) -> BodyLength {
        match self {
            Self::Empty | Self::Length(0) => BodyLength::Empty,
            Self::Length(length) => BodyLength::Known(length),
            Self::Chunked | Self::UntilClose => BodyLength::Unknown,
        }
    }
}

/// A request's head, understood.
#[derive(Debug)]
pub(super) struct Request {
    pub head: Box<RequestHead>,
    pub framing: Framing,
    pub persists: bool,
    pub expects_continue: bool,
}

/// Parses the request head at the front of `section`; `None` if it is not whole.
pub(super) fn parse_request(
    section: &mut [u8],
    settings: &Settings,
) -> Result<Option<Parsed<Request>>, Malformed> {
    let Some((line, fields)) = start_line(section)? else { return Ok(None) };
    let RequestLine { method, target, protocol } = split_request_line(line)?;
    if protocol == Protocol::Http10 && !settings.accept_http_10 {
        return Err(Malformed { status: 426, what: "HTTP/1.0 is not accepted here" });
    }
    let mut head = fresh::<RequestHead>();
    head.protocol = protocol;
    head.headers.make_room(section.len().min(MAX_ROOM) + 192, 24);
    let mut hop = Hop::default();
    let Some(length) = hop.gather(&mut head.headers, section, fields, true)? else { return Ok(None) };
    head.headers.stash(section.get(..length).unwrap_or(&[]));
    hop.apply(&mut head.headers, true)?;
    if hop.host.is_none() && protocol == Protocol::Http11 {
        return Err(bad("no Host field"));
    }
    let is_connect = head.headers.slice(method) == b"CONNECT";
    let target = Target { at: target, is_connect, host: hop.host };
    let (scheme, authority, path) = target.read(&mut head.headers, settings)?;
    head.set_spans(method, scheme, authority, path);
    let framing = match (hop.transfer(protocol)?, hop.content_length) {
        (Transfer::Chunked, _) => Framing::Chunked,
        (_, Some(length)) => Framing::Length(length),
        _ => Framing::Empty,
    };
    if is_connect && framing != Framing::Empty {
        return Err(bad("CONNECT with a body"));
    }
    head.body = framing.body();
    if hop.upgrade_option && protocol == Protocol::Http11 {
        // Asking for HTTP/2 this way is gone since RFC 9113 §3.1: such a request is answered as it is.
        head.upgrade =
            hop.upgrade.filter(|&upgrade| !matches!(head.headers.slice(upgrade), b"" | b"h2c" | b"h2"));
    }
    let expects_continue =
        hop.expects_continue && protocol == Protocol::Http11 && head.body != BodyLength::Empty;
    let head = Request { persists: hop.persists(protocol), head, framing, expects_continue };
    Ok(Some(Parsed { head, length, lines: hop.lines }))
}

/// Bytes of a section for which room is made beforehand: a read may bring far more than the head.
const MAX_ROOM: usize = 1_024;

struct RequestLine {
    method: Span,
    target: Span,
    protocol: Protocol,
}

fn split_request_line(line: &[u8]) -> Result<RequestLine, Malformed> {
    const BAD_LINE: Malformed = bad("bad request line");
    let (method, rest) = split_word(line).ok_or(BAD_LINE)?;
    let (target, version) = split_word(rest).ok_or(BAD_LINE)?;
    if !syntax::is_token(method) || !syntax::is_target(target) || version.contains(&b' ') {
        return Err(BAD_LINE);
    }
    Ok(RequestLine {
        method: span(0, method.len()),
        target: span(method.len() + 1, target.len()),
        protocol: protocol_of(version)?,
    })
}

/// What is before the first blank, and what is behind it.
fn split_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', text)?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

fn protocol_of(version: &[u8]) -> Result<Protocol, Malformed> {
    match version {
        b"HTTP/1.1" => Ok(Protocol::Http11),
        b"HTTP/1.0" => Ok(Protocol::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed { status: 505, what: "HTTP version not supported" })
        }
        _ => Err(bad("bad HTTP version")),
    }
}

/// A request target in one of its four forms (RFC 9112 §3.2).
struct Target {
    at: Span,
    is_connect: bool,
    host: Option<Span>,
}

impl Target {
    /// Scheme, authority and path.
    fn read(&self, block: &mut HeaderBlock, settings: &Settings) -> Result<(Span, Span, Span), Malformed> {
        let target = block.slice(self.at);
        if self.is_connect {
            let fine = syntax::is_authority(target) && target.contains(&b':');
            let (scheme, path) = (default_scheme(block, settings), Span::default());
            return if fine { Ok((scheme, self.at, path)) } else { Err(bad("bad target of CONNECT")) };
        }
        if target.first() == Some(&b'/') || (target == b"*" && block.slice(span(0, 8)) == b"OPTIONS ") {
            let authority = self.host.unwrap_or_default();
            if !syntax::is_authority(block.slice(authority)) {
                return Err(bad("bad Host field"));
            }
            return Ok((default_scheme(block, settings), authority, self.at));
        }
        if !settings.absolute_form {
            return Err(bad("absolute target"));
        }
        self.read_absolute(block)
    }

    fn read_absolute(&self, block: &mut HeaderBlock) -> Result<(Span, Span, Span), Malformed> {
        let target = block.slice(self.at);
        let scheme_length = match target {
            _ if starts_with_ignoring_case(target, b"http://") => 4,
            _ if starts_with_ignoring_case(target, b"https://") => 5,
            _ => return Err(bad("bad request target")),
        };
        let start = self.at.start as usize;
        let authority_start = scheme_length + 3;
        let rest = target.get(authority_start..).unwrap_or(&[]);
        let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let authority = span(start + authority_start, length);
        let path = span(start + authority_start + length, rest.len() - length);
        if length == 0 || !syntax::is_authority(block.slice(authority)) {
            return Err(bad("bad authority in request target"));
        }
        // RFC 9112 §3.2.2 lets the target win; one that disagrees with Host is an attempt to be routed two ways.
        let disagrees = |host: Span| !block.slice(host).eq_ignore_ascii_case(block.slice(authority));
        if self.host.is_some_and(disagrees) {
            return Err(bad("Host differs from the request target"));
        }
        let scheme = span(start, scheme_length);
        block.slice_mut(scheme).make_ascii_lowercase();
        Ok((scheme, authority, rooted(block, path)))
    }
}

/// The path with a slash in front, which an absolute target may leave out.
fn rooted(block: &mut HeaderBlock, path: Span) -> Span {
    if block.slice(path).first() == Some(&b'/') {
        return path;
    }
    let mut text = b"/".to_vec();
    text.extend_from_slice(block.slice(path));
    block.stash(&text)
}

fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn default_scheme(block: &mut HeaderBlock, settings: &Settings) -> Span {
    block.stash(if settings.is_tls { b"https" } else { b"http" })
}

/// What the request was, as far as its response's framing depends on it (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Asked {
    #[default]
    Content,
    Head,
    Connect,
}

impl Asked {
    pub fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Content,
        }
    }
}

#[derive(Debug)]
pub(super) struct Response {
    pub head: Box<ResponseHead>,
    pub framing: Framing,
    pub persists: bool,
}

/// Parses the response head at the front of `section`; `None` if it is not whole.
pub(super) fn parse_response(
    section: &mut [u8],
    asked: Asked,
) -> Result<Option<Parsed<Response>>, Malformed> {
    let Some((line, fields)) = start_line(section)? else { return Ok(None) };
    let (version, rest) = line.split_at_checked(8).ok_or(bad("bad status line"))?;
    let protocol = protocol_of(version)?;
    let status = match rest {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..]
            if matches!(reason.first(), None | Some(b' ')) && syntax::is_field_value(reason) =>
        {
            [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'))
        }
        _ => return Err(bad("bad status line")),
    };
    let mut head = fresh::<ResponseHead>();
    (head.status, head.protocol) = (status, protocol);
    head.headers.make_room(section.len().min(MAX_ROOM) + 128, 24);
    let mut hop = Hop::default();
    let Some(length) = hop.gather(&mut head.headers, section, fields, false)? else { return Ok(None) };
    head.headers.stash(section.get(..length).unwrap_or(&[]));
    hop.apply(&mut head.headers, false)?;
    let transfer = hop.transfer(protocol)?;
    let framing = match (status, transfer, hop.content_length) {
        (100..=199 | 204 | 304, ..) => Framing::Empty,
        _ if asked == Asked::Head || (asked == Asked::Connect && (200..300).contains(&status)) => {
            Framing::Empty
        }
        (_, Transfer::Chunked, _) => Framing::Chunked,
        (_, _, Some(length)) => Framing::Length(length),
        _ => Framing::UntilClose,
    };
    if status < 200 || status == 204 {
        head.headers.remove_id(NameId::CONTENT_LENGTH);
    }
    // 101 and 426 tell the next hop which protocol (RFC 9110 §7.8, §15.5.22).
    if let (101 | 426, Some(upgrade)) = (status, hop.upgrade) {
        let value = head.headers.slice(upgrade).to_vec();
        head.headers.push_id(NameId::UPGRADE, &value);
    }
    head.body = framing.body();
    let persists = hop.persists(protocol) && framing != Framing::UntilClose;
    Ok(Some(Parsed { head: Response { head, framing, persists }, length, lines: hop.lines }))
}
