//! What stands in front of a message's body, and the messages that are made here.
//!
//! ```text
//! length 4 · 82 · type (3 bits) version (5 bits) · sequence varint · name's length varint · name │ a struct: the body
//! ```
//!
//! In: the first bytes of a frame. Out: a `Front`, or that more are needed, or what is wrong. Pure.

use super::Declared;
use crate::message::{NameId, ResponseHead};

/// First byte behind the length.
pub(super) const PROTOCOL: u8 = 0x82;
const VERSION: u8 = 1;
/// Bytes of a frame behind its length: what peers take at most.
pub(super) const MAX_FRAME: usize = 0xff_ffff;
/// Longest name, bytes.
const MAX_NAME: usize = 1_024;
/// Of the body: enough to tell which field a result has, and whether an exception is of ours.
const RESULT: usize = 4;
/// What stands for a call that surely did not reach its provider, among the statuses of replies.
pub(super) const UNREACHED: u16 = 421;
/// How the exception begins that says so: the type in front of the text, and one that no server has (503, in zigzag).
const UNREACHED_EXCEPTION: [u8; 3] = [0x25, 0xee, 0x07];
/// Bytes of the length in front.
const LENGTH: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Reply,
    Exception,
    OneWay,
}

/// What a frame says in front of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Front<'a> {
    pub kind: Kind,
    pub sequence: u32,
    pub name: &'a [u8],
    /// Bytes in front of the body, the length included.
    pub size: usize,
    pub body: usize,
    /// A reply whose result is one of the exceptions that the method declares.
    pub is_declared: bool,
    /// An exception by which the provider's sidecar says that its application got nothing of the call.
    pub is_unreached: bool,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong {
    pub what: &'static str,
    /// A call that can be told so: its sequence.
    pub call: Option<u32>,
}

fn wrong<T>(what: &'static str) -> Result<T, Wrong> {
    Err(Wrong { what, call: None })
}

/// Looks at the first bytes of a frame; `None`: more are needed.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Front<'_>>, Wrong> {
    let Some((length, frame)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    // No byte of another frame is looked at.
    let (frame, is_all) = match frame.get(..length) {
        Some(frame) => (frame, true),
        None => (frame, false),
    };
    let short = || if is_all { wrong("a frame ends within its head") } else { Ok(None) };
    let [protocol, kind, rest @ ..] = frame else { return short() };
    if *protocol != PROTOCOL || kind & 0x1f != VERSION {
        return wrong("no such frame");
    }
    let kind = match kind >> 5 {
        1 => Kind::Call,
        2 => Kind::Reply,
        3 => Kind::Exception,
        4 => Kind::OneWay,
        _ => return wrong("no such message"),
    };
    let Some((sequence, rest)) = varint(rest)? else { return short() };
    let spoilt = |what| Err(Wrong { what, call: (kind == Kind::Call).then_some(sequence) });
    if length > MAX_FRAME {
        return spoilt("a frame is larger than the protocol allows");
    }
    let Some((named, rest)) = varint(rest)? else { return short() };
    if named as usize > MAX_NAME {
        return spoilt("a name is too long");
    }
    let Some((name, result)) = rest.split_at_checked(named as usize) else { return short() };
    if matches!(kind, Kind::Reply | Kind::Exception) && result.len() < RESULT && !is_all {
        return Ok(None);
    }
    let inside = frame.len() - result.len();
    let is_declared = kind == Kind::Reply && is_declared(result);
    let is_unreached = kind == Kind::Exception && result.starts_with(&UNREACHED_EXCEPTION);
    let (size, body) = (LENGTH + inside, length - inside);
    Ok(Some(Front { kind, sequence, name, size, body, is_declared, is_unreached }))
}

/// A result's only field is 0, what the method returns, or an exception's; a method that returns nothing has none. A header is the
/// distance to the last id and a type, or a type and the id itself.
fn is_declared(result: &[u8]) -> bool {
    match result {
        [0, ..] | [] => false,
        [header, ..] if header >> 4 != 0 => true,
        [_, id @ ..] => matches!(varint(id), Ok(Some((1.., _)))),
    }
}

/// The HTTP status that stands for a response.
pub(super) fn status_of(front: &Front<'_>, declared: Declared) -> u16 {
    match front.kind {
        Kind::Exception if front.is_unreached => 503,
        Kind::Exception => 500,
        _ if front.is_declared && declared == Declared::ServerError => 500,
        _ => 200,
    }
}

/// The number by which logs know a response.
pub(super) fn number_of(kind: Kind) -> u64 {
    if kind == Kind::Exception { 3 } else { 2 }
}

/// The status of a reply of ours.
pub(super) fn status_of_reply(head: &ResponseHead) -> u16 {
    let is_unreached = head.status == 503 && head.headers.contains_id(NameId::MAINSTAY_UNREACHED);
    if is_unreached { UNREACHED } else { head.status }
}

/// The type of a TApplicationException: unknown method, protocol error, internal error; 503 is of ours.
pub(super) fn exception_of(status: u16) -> u16 {
    match status {
        404 => 1,
        UNREACHED => 503,
        401 | 403 | 408 | 429 => 6,
        400..=499 => 7,
        _ => 6,
    }
}

/// An exception of the framework, as a server answers what it cannot serve.
pub(super) fn exception(sequence: u32, name: &[u8], status: u16, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, PROTOCOL, 3 << 5 | VERSION];
    put_varint(sequence, &mut frame);
    put_varint(name.len() as u32, &mut frame);
    frame.extend_from_slice(name);
    // 1: string message, 2: i32 type (in zigzag), end; in any order.
    let is_unreached = status == UNREACHED;
    if is_unreached {
        frame.extend_from_slice(&UNREACHED_EXCEPTION);
        frame.extend_from_slice(&[0x08, 1 << 1]);
    } else {
        frame.push(0x18);
    }
    put_varint(message.len() as u32, &mut frame);
    frame.extend_from_slice(message);
    if !is_unreached {
        frame.push(0x15);
        put_varint(u32::from(exception_of(status)) << 1, &mut frame);
    }
    frame.push(0);
    let length = (frame.len() - LENGTH) as u32;
    if let Some(front) = frame.first_chunk_mut::<LENGTH>() {
        *front = length.to_be_bytes();
    }
    frame
}

/// A number of up to 32 bits, seven a byte, the lowest first; `None`: more bytes are needed.
fn varint(bytes: &[u8]) -> Result<Option<(u32, &[u8])>, Wrong> {
    let mut number = 0_u64;
    for at in 0..5 {
        let Some(byte) = bytes.get(at) else { return Ok(None) };
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let Ok(number) = u32::try_from(number) else { break };
            return Ok(Some((number, bytes.get(at + 1..).unwrap_or(&[]))));
        }
    }
    wrong("a number is too long")
}

pub(super) fn put_varint(mut number: u32, to: &mut Vec<u8>) {
    while number > 0x7f {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
