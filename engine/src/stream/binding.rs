//! What the stream room keeps with a connection: the reactor stores it in the connection's slot and never looks inside.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::port::TimerSlot;
use super::site::Site;
use crate::codec::contract::StreamId;
use crate::message::{Key, Peer, Tick};

/// The stream room's part of a connection.
#[derive(Debug, Default)]
pub enum Binding {
    /// Not ours: being inspected, or a connection of another room.
    #[default]
    None,
    Downstream(Box<Downstream>),
    Upstream(Box<Upstream>),
    /// Dialled to see whether that works.
    Probe,
    /// One end of a layer-4 connection.
    Pipe {
        pipe: Key,
        end: End,
    },
}

/// Which end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Client,
    Endpoint,
}

/// A client's connection with HTTP on it.
#[derive(Debug)]
pub struct Downstream {
    pub(super) site: Rc<Site>,
    pub(super) streams: StreamTable,
    pub(super) timer: TimerSlot,
    pub(super) since: Tick,
    pub(super) idle_since: Tick,
    /// Requests taken.
    pub(super) requests: u32,
    /// It has been told to end.
    pub(super) draining: bool,
}

/// What a new exchange takes from its client's connection.
#[derive(Debug)]
pub(super) struct Born {
    pub key: Key,
    pub site: Rc<Site>,
    /// Requests that the connection has brought, this one included.
    pub requests: u32,
}

impl Downstream {
    /// An exchange begins on this stream.
    pub(super) fn admit(&mut self, stream: StreamId, key: Key) -> Born {
        self.streams.insert(stream, key);
        self.requests = self.requests.saturating_add(1);
        Born { key, site: Rc::clone(&self.site), requests: self.requests }
    }
}

/// Who is at the far end of a connection of ours, to be shared within the worker.
#[derive(Debug)]
pub struct FarEnd(pub Arc<Peer>);

/// A pooled connection to an endpoint.
#[derive(Debug, Default)]
pub struct Upstream {
    pub(super) streams: StreamTable,
    /// Who is there, once it is open: each exchange takes a handle, which needs no atomic operation.
    pub(super) peer: Option<Rc<FarEnd>>,
    /// HTTP/1 requests ride inside HTTP/2 on it.
    pub(super) carries_http1: bool,
}

/// Which exchange a stream belongs to. Sorted by stream: streams are opened in rising order, so adding is a push; and mostly end in
/// that order, so taking one out moves few others, of a thousand that callers of RPC may have on a connection. Where they are
/// numbered one by one and none is missing between, a stream's place is its distance from the first: it is looked for there first,
/// since each other place that is looked at is a line of the cache.
#[derive(Debug, Default)]
pub struct StreamTable(VecDeque<(StreamId, Key)>);

impl StreamTable {
    pub fn insert(&mut self, stream: StreamId, exchange: Key) {
        if self.0.capacity() == 0 {
            // HTTP/1 never has more.
            self.0.reserve_exact(1);
        }
        match self.0.back() {
            Some((last, _)) if *last >= stream => {
                let at = self.0.partition_point(|(known, _)| *known < stream);
                self.0.insert(at, (stream, exchange));
            }
            _ => self.0.push_back((stream, exchange)),
        }
    }

    pub fn find(&self, stream: StreamId) -> Option<Key> {
        let at = self.place(stream)?;
        self.0.get(at).map(|(_, key)| *key)
    }

    pub fn remove(&mut self, stream: StreamId) -> Option<Key> {
        let at = self.place(stream)?;
        if at == 0 {
            return self.0.pop_front().map(|(_, key)| key);
        }
        self.0.remove(at).map(|(_, key)| key)
    }

    fn place(&self, stream: StreamId) -> Option<usize> {
        let (first, _) = self.0.front()?;
        let distance = stream.0.checked_sub(first.0)? as usize;
        match self.0.get(distance) {
            Some((known, _)) if *known == stream => Some(distance),
            _ => self.0.binary_search_by_key(&stream, |(known, _)| *known).ok(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn keys(&self) -> Vec<Key> {
        self.0.iter().map(|(_, key)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn finds_what_a_plain_map_finds(
            first in any::<u32>(),
            step in 1u32..3,
            steps in proptest::collection::vec((any::<bool>(), 0u32..40), 0..80),
        ) {
            let (mut table, mut model, mut next) = (StreamTable::default(), BTreeMap::new(), first);
            for (opens, number) in steps {
                if opens {
                    let (stream, key) = (StreamId(next), Key::from_bits(u64::from(number)));
                    table.insert(stream, key);
                    model.insert(stream, key);
                    next = next.wrapping_add(step);
                } else {
                    let stream = StreamId(first.wrapping_add(number));
                    prop_assert_eq!(table.find(stream), model.get(&stream).copied());
                    prop_assert_eq!(table.remove(stream), model.remove(&stream));
                }
                prop_assert_eq!(table.is_empty(), model.is_empty());
                prop_assert_eq!(table.keys(), model.values().copied().collect::<Vec<_>>());
            }
        }
    }
}
