//! Workers: sockets, transports, timers and the turn in which they are served.
//!
//! In: readiness of sockets, letters of other threads. Out: events for `stream`, bytes for sockets. Invariant: an event
//! is handled, its effects on other connections included, before the next is asked for, and each connection that got
//! something to write is written to once, at the end of the turn. Nothing here knows how HTTP looks.

mod driver;
mod epoll;
mod mailbox;
pub mod sys;
mod wheel;

pub use driver::{Driver, Incoming, Readiness, Wanted};
pub use epoll::{Epoch, Epoll};
pub use mailbox::Mailbox;
pub use wheel::Wheel;
