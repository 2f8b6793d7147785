//! Memory for frames of callers that are not whole yet, counted for all connections of a worker.
//!
//! A frame waits in its connection's carry until it is whole, so many callers that send half a frame each would together hold
//! much. In: how many bytes a frame needs. Out: whether it may be waited for, and whether a connection may be read at all. Invariant:
//! what was reserved in a thread is at most `BUDGET`; a frame that has its reservation can always become whole, and gives it
//! back within the time that a frame may take: so whoever waits goes on some time. A worker is a thread and its connections
//! stay with it, hence the count is the thread's.

use std::cell::Cell;

use super::WHOLE;

/// Bytes that frames which are not whole may hold in a worker.
const BUDGET: usize = 64 << 20;

thread_local! {
    static RESERVED: Cell<usize> = const { Cell::new(0) };
    static HAS_STARVED: Cell<bool> = const { Cell::new(false) };
}

/// What one connection has reserved.
#[derive(Debug, Default)]
pub(super) struct Gather {
    reserved: usize,
    /// What the frame that has begun needs; 0: none has.
    wanted: usize,
}

impl Gather {
    /// The frame that has begun needs so many bytes. Without a reservation its connection is not read.
    #[cold]
    pub fn reserve(&mut self, bytes: usize) {
        self.wanted = bytes;
        let more = bytes.saturating_sub(self.reserved);
        let all = RESERVED.get() + more;
        if all <= BUDGET {
            RESERVED.set(all);
            self.reserved += more;
        }
    }

    /// The frame is there.
    #[inline]
    pub fn release(&mut self) {
        if self.wanted > 0 {
            RESERVED.set(RESERVED.get().saturating_sub(self.reserved));
            (self.reserved, self.wanted) = (0, 0);
        }
    }

    /// Whether more bytes of this connection can be taken in. Where not, `starved` tells its worker to ask again.
    #[inline]
    pub fn may_read(&self) -> bool {
        let has_its_share = self.wanted > 0 && self.reserved >= self.wanted;
        let may = has_its_share || RESERVED.get() <= BUDGET - WHOLE;
        if !may {
            HAS_STARVED.set(true);
        }
        may
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        RESERVED.set(RESERVED.get().saturating_sub(self.reserved));
    }
}

/// Whether connections of this thread were left unread for want of memory and may be read again now. True once.
pub fn is_fed_again() -> bool {
    HAS_STARVED.get() && RESERVED.get() <= BUDGET - WHOLE && HAS_STARVED.replace(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_read_beyond_the_budget_but_those_who_have_begun() {
        let mut frames: Vec<Gather> = (0..BUDGET / WHOLE).map(|_| Gather::default()).collect();
        let new = Gather::default();
        for frame in &mut frames {
            assert!(frame.may_read() && new.may_read());
            frame.reserve(10);
            frame.reserve(WHOLE);
        }
        assert!(!new.may_read() && frames[0].may_read());
        assert!(!is_fed_again());
        frames[0].release();
        assert!(new.may_read());
        assert!(is_fed_again() && !is_fed_again());
        drop(frames);
        assert_eq!(RESERVED.get(), 0);
    }
}
