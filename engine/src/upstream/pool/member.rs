//! A connection as its pool knows it.

use super::PoolId;
use crate::message::{Key, Tick};
use crate::upstream::breaker::Permit;

/// Where the pools keep a connection.
pub(super) type MemberId = Key;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Open,
    /// Takes no new streams; closed when it holds none.
    Retiring,
}

/// Who may take an open connection of a framed protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Every call whose frame is sent whole.
    Shared,
    /// Nobody new, so that it gets idle and a large frame can have it.
    Kept,
    /// A large frame is being written.
    Lent,
}

#[derive(Debug)]
pub(super) struct Member {
    pub connection: Key,
    pub pool: PoolId,
    pub phase: Phase,
    /// Streams it takes at once.
    pub streams: u32,
    pub active: u32,
    /// Streams it ever took.
    pub served: u32,
    /// When it was dialled, then when it opened.
    pub since: Tick,
    pub idle_since: Tick,
    /// In its pool's `ready`.
    pub listed: bool,
    pub permit: Permit,
    pub usage: Use,
}

impl Member {
    pub fn connecting(connection: Key, pool: PoolId, permit: Permit, now: Tick) -> Self {
        Self {
            connection,
            pool,
            phase: Phase::Connecting,
            streams: 0,
            active: 0,
            served: 0,
            since: now,
            idle_since: now,
            listed: false,
            permit,
            usage: Use::Shared,
        }
    }

    pub fn opened(&mut self, streams: u32, now: Tick) {
        self.phase = Phase::Open;
        self.streams = streams;
        self.since = now;
        self.idle_since = now;
    }

    pub fn has_room(&self) -> bool {
        self.phase == Phase::Open && self.active < self.streams
    }

    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Open && self.active == 0
    }
}
