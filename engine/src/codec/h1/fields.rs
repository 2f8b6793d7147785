//! Field lines of heads and trailers: what each says about the message, and which end at this hop.
//!
//! In: a complete section that lies in a block's arena already. Out: entries of the block, and what the fields of this
//! hop meant. Invariant: a field that frames the message is understood here once, or the message is refused.

use super::{Malformed, bad};
use crate::codec::syntax::{self, is_token_byte, members, trim};
use crate::message::{HeaderBlock, NameId, Protocol, Span};

/// Longest field name: what an entry of a block can hold.
const MAX_NAME: usize = 32 * 1024;

/// Lines of a complete section, without their CRLF, each with its offset; the blank line ends them.
pub(super) fn lines(section: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = section.get(start..)?;
        let line = rest.get(..memchr::memchr(b'\n', rest)?.checked_sub(1)?)?;
        let offset = start;
        start += line.len() + 2;
        (!line.is_empty()).then_some((offset, line))
    })
}

pub(super) fn span(start: usize, length: usize) -> Span {
    Span { start: start as u32, length: length as u32 }
}

/// How the transfer codings end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Transfer {
    #[default]
    None,
    Chunked,
    Other,
}

/// What the fields say about the message and the connection, gathered as they pass. Fields that end at this hop
/// (RFC 9110 §7.6.1) are noted here and do not enter the block.
#[derive(Debug, Default)]
pub(super) struct Hop {
    close: bool,
    keep_alive: bool,
    pub upgrade_option: bool,
    te_trailers: bool,
    pub expects_continue: bool,
    transfer: Transfer,
    pub content_length: Option<u64>,
    pub upgrade: Option<Span>,
    pub host: Option<Span>,
    /// Further names in `Connection`; the fields they name are removed.
    nominated: Vec<Vec<u8>>,
}

impl Hop {
    /// Parses the fields of `section` (already in the block's arena at `base`) into the block.
    pub fn gather(
        &mut self,
        block: &mut HeaderBlock,
        section: &[u8],
        base: usize,
        is_request: bool,
    ) -> Result<(), Malformed> {
        for (offset, line) in lines(section) {
            let (name_length, value) = split_field(line)?;
            let start = base + offset;
            let name = span(start, name_length);
            block.slice_mut(name).make_ascii_lowercase();
            let id = NameId::of(block.slice(name));
            let value_start = start + (value.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
            let value_span = span(value_start, value.len());
            if self.note(id, value, value_span, is_request)? {
                block.push_known(id, name, value_span);
            }
        }
        if !self.nominated.is_empty() {
            if is_request && self.nominated.iter().any(|name| is_end_to_end(name)) {
                return Err(bad("connection option names a field for all recipients"));
            }
            let nominated = &self.nominated;
            block.remove_where(|_, name, _| nominated.iter().any(|unwanted| unwanted == name));
        }
        if self.te_trailers {
            block.push_id(NameId::TE, b"trailers");
        }
        if let Some(upgrade) = self.upgrade {
            block.slice_mut(upgrade).make_ascii_lowercase();
        }
        Ok(())
    }

    /// True if the field stays in the block.
    fn note(&mut self, id: NameId, value: &[u8], at: Span, is_request: bool) -> Result<bool, Malformed> {
        match id {
            NameId::OTHER => return Ok(true),
            NameId::HOST if is_request => {
                if self.host.replace(at).is_some() {
                    return Err(bad("several Host fields"));
                }
            }
            NameId::CONTENT_LENGTH => {
                let length = syntax::content_length(value).ok_or(bad("bad content length"))?;
                if self.content_length.replace(length).is_some() {
                    return Err(bad("several content lengths"));
                }
                return Ok(true);
            }
            NameId::TRANSFER_ENCODING => {
                for coding in members(value) {
                    if self.transfer == Transfer::Chunked {
                        return Err(bad("transfer coding after chunked"));
                    }
                    let chunked = coding.eq_ignore_ascii_case(b"chunked") && self.transfer == Transfer::None;
                    self.transfer = if chunked { Transfer::Chunked } else { Transfer::Other };
                }
                if self.transfer == Transfer::None {
                    return Err(bad("empty transfer coding"));
                }
            }
            NameId::CONNECTION => self.note_options(value),
            NameId::UPGRADE => self.upgrade = Some(at),
            NameId::TE => {
                self.te_trailers |= members(value).any(|coding| {
                    coding
                        .split(|&byte| byte == b';')
                        .next()
                        .map(trim)
                        .is_some_and(|name| name.eq_ignore_ascii_case(b"trailers"))
                });
            }
            NameId::EXPECT => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
                return Ok(true);
            }
            NameId::KEEP_ALIVE | NameId::PROXY_CONNECTION | NameId::HTTP2_SETTINGS => {}
            _ => return Ok(true),
        }
        Ok(false)
    }

    fn note_options(&mut self, value: &[u8]) {
        for option in members(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_option = true;
            } else if !option.eq_ignore_ascii_case(b"te") {
                self.nominated.push(option.to_ascii_lowercase());
            }
        }
    }

    pub fn persists(&self, protocol: Protocol) -> bool {
        !self.close && (protocol == Protocol::Http11 || self.keep_alive)
    }

    pub fn transfer(&self, protocol: Protocol) -> Result<Transfer, Malformed> {
        match (self.transfer, self.content_length) {
            (Transfer::None, _) => Ok(Transfer::None),
            (_, Some(_)) => Err(bad("both content length and transfer coding")),
            _ if protocol == Protocol::Http10 => Err(bad("transfer coding in HTTP/1.0")),
            (Transfer::Other, None) => Err(bad("transfer coding other than chunked")),
            (Transfer::Chunked, None) => Ok(Transfer::Chunked),
        }
    }
}

/// Fields that RFC 9110 §7.6.1 forbids to nominate, and those that policy rests on: removing them by request would let
/// a client blind the next hop.
fn is_end_to_end(name: &[u8]) -> bool {
    matches!(
        name,
        b"host"
            | b"content-length"
            | b"cache-control"
            | b"authorization"
            | b"cookie"
            | b"x-request-id"
            | b"traceparent"
            | b"tracestate"
    ) || [b"x-forwarded-".as_slice(), b"x-envoy-", b"mainstay-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Length of the name, and the value without blanks around it.
fn split_field(line: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let name_length = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
    match line.get(name_length) {
        Some(b' ' | b'\t') if name_length == 0 => return Err(bad("folded header line")),
        Some(b' ' | b'\t') => return Err(bad("blank before colon")),
        Some(b':') if (1..=MAX_NAME).contains(&name_length) => {}
        _ => return Err(bad("bad header name")),
    }
    let value = trim(line.get(name_length + 1..).unwrap_or(&[]));
    if syntax::is_field_value(value) {
        Ok((name_length, value))
    } else {
        Err(bad("control byte in header value"))
    }
}

/// The start line and the rest of a section.
pub(super) fn split_start(section: &[u8]) -> Result<(&[u8], usize), Malformed> {
    let (_, line) = lines(section).next().ok_or(bad("empty start line"))?;
    Ok((line, line.len() + 2))
}

/// Parses a complete trailer section. Fields that frame, route or authenticate have no business there (RFC 9110
/// §6.5.1) and are left out.
pub(super) fn parse_trailers(section: &[u8]) -> Result<Box<HeaderBlock>, Malformed> {
    let mut block = Box::new(HeaderBlock::with_capacity(section.len(), 8));
    let base = block.stash(section).start as usize;
    for (offset, line) in lines(section) {
        let (name_length, value) = split_field(line)?;
        let start = base + offset;
        let name = span(start, name_length);
        block.slice_mut(name).make_ascii_lowercase();
        let id = NameId::of(block.slice(name));
        let value_start = start + (value.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
        let forbidden = matches!(
            id,
            NameId::HOST
                | NameId::CONTENT_LENGTH
                | NameId::TRANSFER_ENCODING
                | NameId::CONNECTION
                | NameId::KEEP_ALIVE
                | NameId::PROXY_CONNECTION
                | NameId::UPGRADE
                | NameId::TE
                | NameId::TRAILER
                | NameId::AUTHORIZATION
                | NameId::COOKIE
                | NameId::SET_COOKIE
                | NameId::EXPECT
                | NameId::CONTENT_TYPE
                | NameId::CONTENT_ENCODING
        );
        if !forbidden {
            block.push_known(id, name, span(value_start, value.len()));
        }
    }
    Ok(block)
}
