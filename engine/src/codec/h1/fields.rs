//! Field lines of heads and trailers: what each says about the message, and which end at this hop.
//!
//! In: a complete section that lies in a block's arena already. Out: entries of the block, and what the fields of this
//! hop meant. Invariant: a field that frames the message is understood here once, or the message is refused.

use super::{Malformed, bad};
use crate::codec::syntax::{self, members, trim};
use crate::message::{HeaderBlock, NameId, NameSet, Protocol, Span};

/// Longest field name: what an entry of a block can hold.
const MAX_NAME: usize = 32 * 1024;

/// A line of a section.
pub(super) enum Line {
    Field {
        id: NameId,
        name: Span,
        /// Without blanks around it.
        value: Span,
        /// It reads `name: value`, as we write lines ourselves.
        is_plain: bool,
        next: usize,
    },
    /// The blank line that ends the section, before this offset.
    End(usize),
}

/// The line that begins at `at`, its name lowered in place; `None` if it is not there to its end.
#[inline(always)]
pub(super) fn line(section: &mut [u8], at: usize) -> Result<Option<Line>, Malformed> {
    let rest = section.get_mut(at..).unwrap_or(&mut []);
    match rest {
        [b'\r', b'\n', ..] => return Ok(Some(Line::End(at + 2))),
        [] | [b'\r'] => return Ok(None),
        _ => {}
    }
    let name_length = syntax::lower_token(rest);
    match rest.get(name_length) {
        Some(b':') if (1..=MAX_NAME).contains(&name_length) => {}
        None => return Ok(None),
        Some(b' ' | b'\t') if name_length == 0 => return Err(bad("folded header line")),
        Some(b' ' | b'\t') => return Err(bad("blank before colon")),
        _ => return Err(bad("bad header name")),
    }
    let (name, text) = rest.split_at_mut_checked(name_length + 1).unwrap_or((&mut [], &mut []));
    let Some(end) = syntax::control_at(text) else { return Ok(None) };
    match text.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) | None => return Ok(None),
        _ => return Err(bad("control byte in header value")),
    }
    let text = text.get(..end).unwrap_or(&[]);
    let (start, length) = match text {
        // One blank in front and none behind, as nearly always.
        [b' ', value @ ..]
            if !matches!(
                (value.first(), value.last()),
                (Some(b' ' | b'\t'), _) | (_, Some(b' ' | b'\t'))
            ) =>
        {
            (1, value.len())
        }
        _ => {
            let value = trim(text);
            ((value.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize), value.len())
        }
    };
    Ok(Some(Line::Field {
        id: NameId::of(name.get(..name_length).unwrap_or(&[])),
        name: span(at, name_length),
        value: span(at + name_length + 1 + start, length),
        is_plain: start == 1 && length + 1 == end,
        next: at + name_length + 1 + end + 2,
    }))
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
    /// Field lines, those of the hop included.
    pub lines: usize,
    /// Further names in `Connection`; the fields they name are removed.
    nominated: Vec<Vec<u8>>,
}

impl Hop {
    /// Parses the fields of `section`, which begin at `at`, into the block, whose arena will begin with the section. Says where the
    /// section ends; `None` if its blank line is not there.
    pub fn gather(
        &mut self,
        block: &mut HeaderBlock,
        section: &mut [u8],
        mut at: usize,
        is_request: bool,
    ) -> Result<Option<usize>, Malformed> {
        loop {
            match line(section, at)? {
                None => return Ok(None),
                Some(Line::End(end)) => return Ok(Some(end)),
                Some(Line::Field { id, name, value, is_plain, next }) => {
                    let start = value.start as usize;
                    let text = section.get(start..start + value.length as usize).unwrap_or(&[]);
                    if self.note(id, text, value, is_request)? {
                        if is_plain {
                            block.push_line(id, name, value);
                        } else {
                            block.push_known(id, name, value);
                        }
                    }
                    self.lines += 1;
                    at = next;
                }
            }
        }
    }

    /// What `Connection`, `TE` and `Upgrade` mean for the other fields, once the section lies in the block's arena.
    pub fn apply(&self, block: &mut HeaderBlock, is_request: bool) -> Result<(), Malformed> {
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

/// Parses a complete trailer section. Fields that frame, route or authenticate have no business there (RFC 9110
/// §6.5.1) and are left out.
pub(super) fn parse_trailers(section: &mut [u8]) -> Result<Box<HeaderBlock>, Malformed> {
    let mut block = Box::new(HeaderBlock::with_capacity(section.len(), 8));
    let mut at = 0;
    while let Some(Line::Field { id, name, value, next, .. }) = line(section, at)? {
        if id == NameId::OTHER || !NOT_IN_TRAILERS.contains(id) {
            block.push_known(id, name, value);
        }
        at = next;
    }
    block.stash(section);
    Ok(block)
}

const NOT_IN_TRAILERS: NameSet = NameSet::of(&[
    NameId::HOST,
    NameId::CONTENT_LENGTH,
    NameId::TRANSFER_ENCODING,
    NameId::CONNECTION,
    NameId::KEEP_ALIVE,
    NameId::PROXY_CONNECTION,
    NameId::UPGRADE,
    NameId::TE,
    NameId::TRAILER,
    NameId::AUTHORIZATION,
    NameId::COOKIE,
    NameId::SET_COOKIE,
    NameId::EXPECT,
    NameId::CONTENT_TYPE,
    NameId::CONTENT_ENCODING,
]);
