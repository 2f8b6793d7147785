//! Work that lives on a worker beside its connections: lasting state, its own deadlines, and the worker's exchanges to ask with.
//!
//! Health checks and look-ups of the slow worker are such. A chore acts between turns, when its deadline has come or somebody
//! nudges it; what it starts answers through its own `Caller`s.

use super::board::Board;
use super::driver::Driver;
use crate::message::Tick;
use crate::stream::Streams;

pub trait Chore<D: Driver> {
    fn act(&mut self, streams: &mut Streams, board: &mut Board<D>);
    /// When it wants to act next, unless nudged.
    fn deadline(&self) -> Option<Tick>;
}

/// Makes a chore on the thread where it will live.
pub type MakeChore<D> = Box<dyn FnOnce() -> Box<dyn Chore<D>> + Send>;
