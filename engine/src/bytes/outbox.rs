//! What a connection still has to write, in order, in pooled blocks.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::pool::{Block, Pool};

/// The queue of bytes to write. Grows by a small block, then by large ones.
#[derive(Debug, Default)]
pub struct Outbox {
    blocks: VecDeque<Block>,
    len: usize,
}

impl Outbox {
    /// Above this many bytes a codec accepts no more data (back-pressure), in bytes.
    pub const HIGH_MARK: usize = 64 * 1024;

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room below the high mark: what `SendData` may accept now.
    pub fn room(&self) -> usize {
        Self::HIGH_MARK.saturating_sub(self.len)
    }

    pub fn put(&mut self, pool: &mut Pool, mut bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(last) = self.blocks.back_mut() {
            let taken = last.append(bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
        }
        while !bytes.is_empty() {
            let mut block = if self.blocks.is_empty() { pool.small() } else { pool.large() };
            let taken = block.append(bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
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
        self.pieces().next().unwrap_or(&[])
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

/// Where a codec writes: an outbox with the pool that feeds it. Writing marks the connection dirty; the flush is the reactor's.
#[derive(Debug)]
pub struct Out<'a> {
    pub outbox: &'a mut Outbox,
    pub pool: &'a mut Pool,
}

impl Out<'_> {
    pub fn put(&mut self, bytes: &[u8]) {
        self.outbox.put(self.pool, bytes);
    }

    pub fn room(&self) -> usize {
        self.outbox.room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..8), step in 1usize..50_000) {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            let mut expected = Vec::new();
            for piece in &pieces {
                outbox.put(&mut pool, piece);
                expected.extend_from_slice(piece);
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
