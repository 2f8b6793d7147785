//! What the stream room keeps with a connection: the reactor stores it in the connection's slot and never looks inside.

use std::sync::Arc;

use super::port::TimerSlot;
use crate::codec::contract::StreamId;
use crate::message::Key;

/// The stream room's part of a connection.
#[derive(Debug, Default)]
pub enum Binding {
    /// Not ours: being inspected, or a connection of another room.
    #[default]
    None,
    Downstream(Box<Downstream>),
    Upstream(Box<Upstream>),
}

/// A client's connection.
#[derive(Debug)]
pub struct Downstream {
    pub(super) streams: StreamTable,
    pub(super) timer: TimerSlot,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Upstream {
    pub(super) streams: StreamTable,
    pub(super) timer: TimerSlot,
    pub(super) cluster: Arc<str>,
}

/// Which exchange a stream belongs to. Sorted by stream: streams are opened in rising order, so adding is a push.
#[derive(Debug, Default)]
pub struct StreamTable(Vec<(StreamId, Key)>);

impl StreamTable {
    pub fn insert(&mut self, stream: StreamId, exchange: Key) {
        match self.0.last() {
            Some((last, _)) if *last >= stream => {
                let at = self.0.partition_point(|(known, _)| *known < stream);
                self.0.insert(at, (stream, exchange));
            }
            _ => self.0.push((stream, exchange)),
        }
    }

    pub fn find(&self, stream: StreamId) -> Option<Key> {
        let at = self.0.binary_search_by_key(&stream, |(known, _)| *known).ok()?;
        self.0.get(at).map(|(_, key)| *key)
    }

    pub fn remove(&mut self, stream: StreamId) -> Option<Key> {
        let at = self.0.binary_search_by_key(&stream, |(known, _)| *known).ok()?;
        Some(self.0.remove(at).1)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn keys(&self) -> Vec<Key> {
        self.0.iter().map(|(_, key)| *key).collect()
    }
}
