//! Workers: sockets, transports, timers and the turn in which they are served.
//!
//! In: readiness of sockets, letters of other threads. Out: events for `stream`, bytes for sockets. Invariant: an event
//! is handled, its effects on other connections included, before the next is asked for, and each connection that got
//! something to write is written to once, at the end of the turn. Nothing here knows how HTTP looks.

mod acceptor;
mod board;
mod choice;
mod chore;
mod connection;
mod destinations;
mod dial;
mod doors;
mod drain;
mod driver;
mod epoll;
mod errands;
mod events;
mod inspection;
mod intake;
mod letter;
mod log;
mod mailbox;
mod names;
mod overload;
mod read;
mod settle;
mod shared;
#[cfg(test)]
mod simulated;
pub mod sys;
#[cfg(test)]
mod tests;
mod wheel;
mod worker;

pub use acceptor::{Acceptor, Seat};
pub use board::Board;
pub use chore::{Chore, MakeChore};
pub use doors::{Admitted, Door, Doors, Live};
pub use drain::{DrainOrder, Scope};
pub use driver::{Driver, Incoming, Readiness, Wanted};
pub use epoll::{Epoch, Epoll};
pub use errands::{Busy, Errands};
pub use events::Events;
pub use letter::{Inbox, Letter, Task};
pub use log::{Level, Log, Room, Value};
pub use mailbox::{Mailbox, Wake};
pub use names::{Found, Unresolved, look_up};
pub use overload::{descriptor_share, memory_share};
pub use shared::{Pressure, Shared};
pub use wheel::Wheel;
pub use worker::Worker;
