//! Frames (RFC 9113 §4, §6): their headers in both directions, and the small frames we write.

use crate::bytes::Out;
use crate::message::ResetReason;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;
/// Largest payload that every peer takes, and that we take.
pub(super) const MAX_PAYLOAD: usize = 16_384;

/// Frame types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Must be ignored (RFC 9113 §5.5).
    Unknown,
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::ResetStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::ResetStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown => u8::MAX,
        }
    }
}

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub length: usize,
    pub kind: Kind,
    pub flags: u8,
    pub stream: u32,
}

impl Frame {
    /// `None` until nine bytes are there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEADER>()?;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes a frame's header.
pub(super) fn put_header(out: &mut Out<'_>, length: usize, kind: Kind, flags: u8, stream: u32) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.put(&[a, b, c, kind.byte(), flags, s0, s1, s2, s3]);
}

/// A whole small frame; one `put`, since it is one cache line.
fn put_small<const LENGTH: usize>(
    out: &mut Out<'_>,
    kind: Kind,
    flags: u8,
    stream: u32,
    payload: [u8; LENGTH],
) {
    put_header(out, LENGTH, kind, flags, stream);
    out.put(&payload);
}

pub(super) fn put_reset(out: &mut Out<'_>, stream: u32, code: ErrorCode) {
    put_small(out, Kind::ResetStream, 0, stream, (code as u32).to_be_bytes());
}

pub(super) fn put_window_update(out: &mut Out<'_>, stream: u32, increment: u32) {
    put_small(out, Kind::WindowUpdate, 0, stream, increment.to_be_bytes());
}

pub(super) fn put_ping(out: &mut Out<'_>, flags: u8, payload: [u8; 8]) {
    put_small(out, Kind::Ping, flags, 0, payload);
}

pub(super) fn put_settings_ack(out: &mut Out<'_>) {
    put_header(out, 0, Kind::Settings, ACK, 0);
}

pub(super) fn put_go_away(out: &mut Out<'_>, last: u32, code: ErrorCode) {
    let mut payload = [0; 8];
    let (first, second) = payload.split_at_mut(4);
    first.copy_from_slice(&last.to_be_bytes());
    second.copy_from_slice(&(code as u32).to_be_bytes());
    put_small(out, Kind::GoAway, 0, 0, payload);
}

/// Error codes (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum ErrorCode {
    NoError = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    SettingsTimeout = 4,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// What a peer's code means to the exchange.
pub(super) fn reason_of(code: u32) -> ResetReason {
    match code {
        0 => ResetReason::NoError,
        1 => ResetReason::ProtocolError,
        7 => ResetReason::Refused,
        8 => ResetReason::Cancelled,
        11 => ResetReason::Overloaded,
        _ => ResetReason::Failed,
    }
}

/// The code that tells a peer why we reset.
pub(super) fn code_of(reason: ResetReason) -> ErrorCode {
    match reason {
        ResetReason::NoError => ErrorCode::NoError,
        ResetReason::ProtocolError => ErrorCode::Protocol,
        ResetReason::Refused => ErrorCode::RefusedStream,
        ResetReason::Cancelled | ResetReason::Timeout => ErrorCode::Cancel,
        ResetReason::Overloaded => ErrorCode::EnhanceYourCalm,
        ResetReason::Failed | ResetReason::ConnectionClosed => ErrorCode::Internal,
    }
}

/// What a peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong {
    pub code: ErrorCode,
    /// For the log: without bytes of the peer.
    pub what: &'static str,
}

pub(super) const fn wrong(code: ErrorCode, what: &'static str) -> Wrong {
    Wrong { code, what }
}

pub(super) const fn protocol_error(what: &'static str) -> Wrong {
    wrong(ErrorCode::Protocol, what)
}

/// The payload of DATA or HEADERS without padding and priority, as a range; `None` if the padding is longer than the frame
/// (RFC 9113 §6.1).
pub(super) fn content(frame: &Frame, payload: &[u8]) -> Option<std::ops::Range<usize>> {
    let (mut start, mut padding) = (0, 0);
    if frame.has(PADDED) {
        padding = usize::from(*payload.first()?);
        start = 1;
    }
    if frame.kind == Kind::Headers && frame.has(PRIORITY) {
        start += 5;
    }
    let end = payload.len().checked_sub(padding)?;
    (start <= end).then_some(start..end)
}
