//! What other threads write to a worker.

use std::sync::Arc;

use super::board::Board;
use super::chore::MakeChore;
use super::doors::{Admitted, Door};
use super::drain::DrainOrder;
use super::driver::Driver;
use super::mailbox::Mailbox;
use crate::snapshot::Snapshot;
use crate::stream::Streams;

/// Runs once on a worker's thread, between turns.
pub type Task<D> = Box<dyn FnOnce(&mut Streams, &mut Board<D>) + Send>;

/// A letter to a worker.
pub enum Letter<D: Driver> {
    /// A connection that the acceptor took.
    Admitted(Admitted<D::Socket>),
    /// A listener's socket to accept on (only where the worker accepts for itself).
    Listen(Door<D::Socket>),
    /// The listener of this name is gone, or has another address: its socket is closed.
    Unlisten(Arc<str>),
    Drain(Arc<DrainOrder>),
    /// Work that needs the worker's exchanges: calls of Python, health checks.
    Task(Task<D>),
    /// Moves in and acts at once.
    Chore(MakeChore<D>),
    /// The chores have something new to look at.
    Nudge,
    Stop,
}

/// A worker's mailbox.
pub type Inbox<D> = Mailbox<Snapshot, Letter<D>>;

impl<D: Driver> std::fmt::Debug for Letter<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Admitted(_) => "Admitted",
            Self::Listen(_) => "Listen",
            Self::Unlisten(_) => "Unlisten",
            Self::Drain(_) => "Drain",
            Self::Task(_) => "Task",
            Self::Chore(_) => "Chore",
            Self::Nudge => "Nudge",
            Self::Stop => "Stop",
        })
    }
}
