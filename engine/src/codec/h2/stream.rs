//! The streams of a connection that are open, and those that were until lately.

use super::window::{ReceiveWindow, SendWindow};
use crate::message::Tick;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// Our head has not been sent.
    Head,
    Body,
    /// END_STREAM went with the head, since such a response has no body (HEAD, 204, 304): what is given is dropped.
    Bodiless,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Client role: the final response's head has not come.
    Head,
    Body,
    Ended,
}

/// Why `SendData` took less than it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    No,
    /// In the connection's queue: for its window, for room, or for its turn.
    InQueue,
    /// For the stream's own window.
    ForWindow,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub id: u32,
    pub sending: Sending,
    pub receiving: Receiving,
    pub waiting: Waiting,
    pub asked: Asked,
    pub send_window: SendWindow,
    pub receive_window: ReceiveWindow,
    /// Bytes handed over for which no credit has come back.
    pub uncredited: usize,
    /// Bytes of data still to come, as `content-length` says.
    pub expected: Option<u64>,
    pub born: Tick,
}

/// What the request was, as far as its response depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Content,
    Head,
    Connect,
}

impl Asked {
    pub fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Content,
        }
    }
}

impl Stream {
    pub fn has_ended(&self) -> bool {
        self.sending == Sending::Ended && self.receiving == Receiving::Ended
    }

    /// Notes data that has come, or its end: false if it disagrees with `content-length`.
    pub fn fits(&mut self, bytes: usize, end: bool) -> bool {
        let Some(expected) = &mut self.expected else { return true };
        match expected.checked_sub(bytes as u64) {
            Some(rest) => {
                *expected = rest;
                !end || rest == 0
            }
            None => false,
        }
    }
}

/// Open streams in the order of their numbers, which is the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Streams {
    list: Vec<Stream>,
}

impl Streams {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `stream` is younger than all others.
    pub fn push(&mut self, stream: Stream) {
        self.list.push(stream);
    }

    pub fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let position = self.find(id)?;
        self.list.get_mut(position)
    }

    pub fn remove(&mut self, id: u32) -> Option<Stream> {
        let position = self.find(id)?;
        Some(self.list.remove(position))
    }

    fn find(&self, id: u32) -> Option<usize> {
        match self.list.last() {
            Some(last) if last.id == id => Some(self.list.len() - 1),
            _ => self.list.binary_search_by_key(&id, |stream| stream.id).ok(),
        }
    }

    /// Takes the youngest, if its number is above `id`.
    pub fn pop_above(&mut self, id: u32) -> Option<Stream> {
        if self.list.last()?.id > id { self.list.pop() } else { None }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.list.iter_mut()
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The peer ended or reset it: it must send no more.
    ByPeer,
    /// We reset it: what the peer had sent by then still comes, and is dropped.
    ByUs,
}

const REMEMBERED: usize = 32;

/// The last few streams that closed, so that late frames are told from forbidden ones.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Number × 2, odd if closed by us; 0 where nothing is.
    marks: [u32; REMEMBERED],
    next: usize,
}

impl Memory {
    pub fn note(&mut self, id: u32, how: Closed) {
        if let Some(mark) = self.marks.get_mut(self.next) {
            *mark = id << 1 | u32::from(how == Closed::ByUs);
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    pub fn find(&self, id: u32) -> Option<Closed> {
        let mark = self.marks.iter().find(|&&mark| mark >> 1 == id)?;
        Some(if mark & 1 == 1 { Closed::ByUs } else { Closed::ByPeer })
    }
}
