//! The protocol-neutral request: what filters, routes, retries, limits, metrics and logs see, whatever carried it.
//!
//! Codecs fill heads, the exchange owns them until `finish`; nothing here knows a codec or a socket.

mod frame;
mod hash;
mod headers;
mod kept;
mod names;
mod outcome;
mod peer;
mod request;
mod response;
mod slot;
mod time;

pub use frame::Frame;
pub use hash::{QuickHash, QuickHasher};
pub use headers::{HeaderBlock, Lines, Mark, Recorder, Span, Values};
pub use kept::{Keep, Kept, fresh};
pub use names::{Name, NameId, NameSet};
pub use outcome::{Outcome, ResetReason, ResponseFlags};
pub use peer::{Peer, PeerCertificate, SpiffeId};
pub use request::{BodyLength, Protocol, RequestHead};
pub use response::ResponseHead;
pub use slot::{Key, Slab};
pub use time::{MICROSECOND, MILLISECOND, SECOND, Tick};
