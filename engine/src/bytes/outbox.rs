//! What a connection still has to write, in order, in pooled blocks.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::pool::{Block, Pool};

/// The queue of bytes to write. Grows by a small block, then by large ones.
#[derive(Debug, Default)]
pub struct Outbox {
    blocks: VecDeque<Block>,
    len: usize,
    /// Another high mark than `HIGH_MARK`; 0 = none.
    limit: u32,
}

/// The least limit: a frame or two must find room.
const LEAST_LIMIT: u32 = 1_024;

impl Outbox {
    /// Above this many bytes a codec accepts no more data (back-pressure), in bytes, unless `limit` says otherwise.
    pub const HIGH_MARK: usize = 64 * 1024;

    /// Sets the high mark of this connection; 0 is the usual one.
    pub fn limit(&mut self, bytes: u32) {
        self.limit = if bytes == 0 { 0 } else { bytes.max(LEAST_LIMIT) };
    }

    pub fn high_mark(&self) -> usize {
        if self.limit == 0 { Self::HIGH_MARK } else { self.limit as usize }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room below the high mark: what `SendData` may accept now.
    pub fn room(&self) -> usize {
        self.high_mark().saturating_sub(self.len)
    }

    /// Most of what is put is a few bytes for the block at hand.
    #[inline]
    pub fn put(&mut self, pool: &mut Pool, bytes: &[u8]) {
        if self.blocks.back_mut().is_some_and(|last| last.append_whole(bytes)) {
            self.len += bytes.len();
        } else {
            self.put_across(pool, bytes);
        }
    }

    /// Several pieces behind each other, with one look for room.
    #[inline]
    pub fn put_parts<const N: usize>(&mut self, pool: &mut Pool, parts: [&[u8]; N]) {
        if self.blocks.back_mut().is_some_and(|last| last.append_parts(parts)) {
            self.len += parts.iter().map(|part| part.len()).sum::<usize>();
        } else {
            parts.into_iter().for_each(|part| self.put(pool, part));
        }
    }

    /// Two pieces of which the first is edited where it goes; false if the block at hand has no room for both, and nothing was put.
    #[inline(always)]
    pub fn put_edited(&mut self, first: &[u8], second: &[u8], edit: impl FnOnce(&mut [u8])) -> bool {
        let is_put = self.blocks.back_mut().is_some_and(|last| last.append_edited(first, second, edit));
        self.len += if is_put { first.len() + second.len() } else { 0 };
        is_put
    }

    /// Two pieces with two bytes behind each: what a header field is.
    #[inline]
    pub fn put_pair(&mut self, pool: &mut Pool, first: (&[u8], [u8; 2]), second: (&[u8], [u8; 2])) {
        if self.blocks.back_mut().is_some_and(|last| last.append_pair(first, second)) {
            self.len += first.0.len() + second.0.len() + 4;
        } else {
            self.put_parts(pool, [first.0, &first.1, second.0, &second.1]);
        }
    }

    fn put_across(&mut self, pool: &mut Pool, mut bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(last) = self.blocks.back_mut() {
            let taken = last.append(bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
        }
        while !bytes.is_empty() {
            let mut block = if self.blocks.is_empty() { pool.small() } else { pool.large() };
            let taken = block.append(bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
            if self.blocks.capacity() == 0 {
                // It stays with the connection, and what an idle one keeps counts: one block is mostly enough.
                self.blocks.reserve_exact(1);
            }
            self.blocks.push_back(block);
        }
    }

    /// The queued pieces in order, for `writev` or for sealing.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(Block::filled).filter(|piece| !piece.is_empty())
    }

    /// Fills `slices` from the front and says how many were used.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (slot, piece) in slices.iter_mut().zip(self.pieces()) {
            *slot = IoSlice::new(piece);
            used += 1;
        }
        used
    }

    /// The first queued piece, empty if there is none.
    pub fn front(&self) -> &[u8] {
        match self.blocks.front().map(Block::filled) {
            Some([]) => self.pieces().next().unwrap_or(&[]),
            front => front.unwrap_or(&[]),
        }
    }

    /// Forgets the first `count` bytes: they have left.
    pub fn consume(&mut self, pool: &mut Pool, mut count: usize) {
        self.len = self.len.saturating_sub(count);
        while let Some(first) = self.blocks.front_mut() {
            count -= first.consume(count);
            if !first.filled().is_empty() {
                break;
            }
            if let Some(empty) = self.blocks.pop_front() {
                pool.give_back(empty);
            }
        }
    }

    pub fn clear(&mut self, pool: &mut Pool) {
        let len = self.len;
        self.consume(pool, len);
    }
}

/// Slices of this size and more are offered to the socket from where they lie, bytes.
const LARGE_SLICE: usize = 16 * 1024;
/// As long as no more than this waits in front of it (its own head, say), bytes.
const SMALL_BACKLOG: usize = 2 * 1024;

/// A way past the outbox: bulk moves without a copy. The reactor gives it, if the connection's socket took all that came before.
pub trait WriteThrough: std::fmt::Debug {
    /// Writes what `queued` holds and then `bytes`, as one write, and says how much of both together left.
    fn write(&mut self, queued: &Outbox, bytes: &[u8]) -> usize;
}

/// Where a codec writes: an outbox with the pool that feeds it. Writing marks the connection dirty; the flush is the reactor's.
#[derive(Debug)]
pub struct Out<'a> {
    pub outbox: &'a mut Outbox,
    pub pool: &'a mut Pool,
    through: Option<&'a mut dyn WriteThrough>,
}

impl<'a> Out<'a> {
    pub fn new(outbox: &'a mut Outbox, pool: &'a mut Pool) -> Self {
        Self { outbox, pool, through: None }
    }

    pub fn with_write_through(
        outbox: &'a mut Outbox,
        pool: &'a mut Pool,
        through: &'a mut dyn WriteThrough,
    ) -> Self {
        Self { outbox, pool, through: Some(through) }
    }

    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if bytes.len() >= LARGE_SLICE && self.outbox.len() <= SMALL_BACKLOG {
            self.put_through(bytes);
        } else {
            self.outbox.put(self.pool, bytes);
        }
    }

    /// Several small pieces behind each other (a header field, say), with one look for room.
    #[inline]
    pub fn put_parts<const N: usize>(&mut self, parts: [&[u8]; N]) {
        self.outbox.put_parts(self.pool, parts);
    }

    /// Two small pieces with two bytes behind each.
    #[inline]
    pub fn put_pair(&mut self, first: (&[u8], [u8; 2]), second: (&[u8], [u8; 2])) {
        self.outbox.put_pair(self.pool, first, second);
    }

    /// A socket that did not take everything is not tried again.
    fn put_through(&mut self, bytes: &[u8]) {
        let Some(through) = self.through.take() else { return self.outbox.put(self.pool, bytes) };
        let queued = self.outbox.len();
        let sent = through.write(self.outbox, bytes).min(queued + bytes.len());
        self.outbox.consume(self.pool, sent.min(queued));
        let rest = bytes.get(sent.saturating_sub(queued)..).unwrap_or(&[]);
        if rest.is_empty() {
            self.through = Some(through);
        } else {
            self.outbox.put(self.pool, rest);
        }
    }

    /// How much data a codec may accept now. What may be written through needs no room: a read of any size is taken whole,
    /// unless the connection has a limit, since what the socket does not take would stay here.
    pub fn room(&self) -> usize {
        match self.through {
            Some(_) if self.outbox.limit == 0 && self.outbox.len() <= SMALL_BACKLOG => usize::MAX,
            _ => self.outbox.room(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A socket that takes `room` bytes.
    #[derive(Debug)]
    struct Socket {
        room: usize,
        sent: Vec<u8>,
    }

    impl WriteThrough for Socket {
        fn write(&mut self, queued: &Outbox, bytes: &[u8]) -> usize {
            let whole: Vec<u8> = queued.pieces().flatten().chain(bytes).copied().collect();
            let taken = whole.len().min(self.room);
            self.sent.extend_from_slice(&whole[..taken]);
            self.room -= taken;
            taken
        }
    }

    #[test]
    fn a_limit_is_the_high_mark_also_where_it_could_be_written_through() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        assert_eq!(outbox.room(), Outbox::HIGH_MARK);
        outbox.limit(1);
        assert_eq!(outbox.room(), LEAST_LIMIT as usize);
        outbox.limit(20_000);
        outbox.put(&mut pool, &[0; 15_000]);
        assert_eq!((outbox.room(), outbox.high_mark()), (5_000, 20_000));
        let (mut outbox, mut socket) = (Outbox::default(), Socket { room: 0, sent: Vec::new() });
        assert_eq!(Out::with_write_through(&mut outbox, &mut pool, &mut socket).room(), usize::MAX);
        outbox.limit(20_000);
        assert_eq!(Out::with_write_through(&mut outbox, &mut pool, &mut socket).room(), 20_000);
    }

    proptest! {
        #[test]
        fn writing_through_keeps_the_order(
            room in 0usize..100_000,
            pieces in proptest::collection::vec(0usize..60_000, 0..5),
        ) {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            let mut socket = Socket { room, sent: Vec::new() };
            let mut out = Out::with_write_through(&mut outbox, &mut pool, &mut socket);
            let mut expected = Vec::new();
            for (number, &size) in pieces.iter().enumerate() {
                let piece: Vec<u8> = (0..size).map(|index| (index * 7 + number) as u8).collect();
                out.put(&piece);
                expected.extend_from_slice(&piece);
            }
            let mut seen = socket.sent;
            seen.extend(outbox.pieces().flatten());
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn what_goes_in_comes_out_in_order(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..8), step in 1usize..50_000) {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            let mut expected = Vec::new();
            for piece in &pieces {
                outbox.put(&mut pool, piece);
                outbox.put_parts(&mut pool, [piece, b": ", b"value"]);
                outbox.put_pair(&mut pool, (b"name", *b": "), (piece, *b"\r\n"));
                expected.extend_from_slice(&[piece.as_slice(), piece, b": valuename: ", piece, b"\r\n"].concat());
                let before = outbox.len();
                if outbox.put_edited(b"id = 0;", piece, |first| first[5] = b'7') {
                    expected.extend_from_slice(&[b"id = 7;", piece.as_slice()].concat());
                } else {
                    prop_assert_eq!(outbox.len(), before);
                }
            }
            prop_assert_eq!(outbox.len(), expected.len());
            let mut seen = Vec::new();
            while !outbox.is_empty() {
                let taken = outbox.front().len().min(step);
                seen.extend_from_slice(&outbox.front()[..taken]);
                outbox.consume(&mut pool, taken);
            }
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(outbox.blocks.len(), 0);
        }
    }
}
