//! Framed RPC protocols, made of descriptions (`plan::RpcProtocol`): Bolt, Dubbo, Thrift, and whatever users describe.
//!
//! `compile` turns a plan into a `Description`: offsets, masks, tables. `look` finds by a frame's first 16 bytes what it is and by a few
//! numbers how long (`shape`). `head` reads what routes want to know (`gathered`, `map`, `hessian`), `write` makes frames: one that came, with another
//! id, or one of ours (heartbeats, their answers, error replies). `connection` is the codec, `receive` (and `pieces`) and `send` its two directions; `refuse` and `ending` say what
//! becomes of what cannot go on.
//!
//! Invariant: frames up to `WHOLE` bytes are taken and given whole, so no half frame enters a connection that others share; larger ones
//! pass in pieces, one at a time on a connection. Nothing is read beyond the input, and every length is checked before it is used.

mod attachments;
mod calls;
mod checksum;
mod compile;
mod connection;
mod description;
mod ending;
mod explain;
mod gather;
mod gathered;
mod head;
mod heartbeat;
mod hessian;
mod layout;
mod look;
mod map;
mod pieces;
mod place;
mod receive;
mod refuse;
mod send;
mod shape;
mod summing;
#[cfg(test)]
mod tests;
mod trace;
mod whole;
mod window;
mod write;

pub use compile::compile;
pub use connection::Connection;
pub use description::Description;
pub use explain::explain;
pub use gather::is_fed_again;
pub(super) use head::is_unreadable;
pub(super) use send::words_of;
pub use trace::{Trace, TraceValue};
pub use window::Match;
pub(super) use window::{Window, judge_all};

use crate::message::ResetReason;

/// Frames up to this size are handled whole, bytes.
pub const WHOLE: usize = 64 * 1024;

/// Longest checksum behind a body, bytes.
const MAX_TAIL: usize = 8;

/// A frame handled whole, or the next piece of a larger one, must arrive within, milliseconds.
pub(super) const FRAME_TIMEOUT: u64 = 30_000;

/// Whether a frame of so many bytes is sent as it comes instead of whole. Its connection carries nothing else meanwhile.
pub fn goes_in_pieces(size: u64) -> bool {
    size > (WHOLE - MAX_TAIL) as u64
}

/// A frame that its protocol does not know, or that goes beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Broken {
    what: &'static str,
    reason: ResetReason,
    /// Where it ends can be believed: what comes behind it can be read.
    has_end: bool,
}

#[inline(always)]
const fn broken(what: &'static str) -> Broken {
    Broken { what, reason: ResetReason::ProtocolError, has_end: false }
}

/// Of a frame whose lengths add up.
#[inline(always)]
const fn spoilt(what: &'static str) -> Broken {
    Broken { what, reason: ResetReason::ProtocolError, has_end: true }
}

/// A peer is too slow.
const fn late(what: &'static str) -> Broken {
    Broken { what, reason: ResetReason::Timeout, has_end: false }
}
