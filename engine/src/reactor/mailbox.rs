//! The only way into a worker from other threads: letters in order, and the newest snapshot, which is never refused.
//!
//! Bounded: a sender is told when the box is full and does what its letter's failure means (close the socket, count the
//! report). One wake a batch: a worker that has been woken and not yet looked is not woken again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Letters that may wait. A worker empties its box once a turn.
const CAPACITY: usize = 8_192;

/// What wakes the worker out of its wait.
pub type Wake = Box<dyn Fn() + Send + Sync>;

struct Inner<S, L> {
    snapshot: Option<Arc<S>>,
    letters: VecDeque<L>,
}

/// A worker's box. `S`: snapshot, `L`: letter.
pub struct Mailbox<S, L> {
    inner: Mutex<Inner<S, L>>,
    woken: AtomicBool,
    wake: Wake,
}

impl<S, L> fmt::Debug for Mailbox<S, L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mailbox(…)")
    }
}

impl<S, L> Mailbox<S, L> {
    pub fn new(wake: Wake) -> Arc<Self> {
        let inner = Inner { snapshot: None, letters: VecDeque::new() };
        Arc::new(Self { inner: Mutex::new(inner), woken: AtomicBool::new(false), wake })
    }

    /// The letter comes back if the box is full.
    pub fn post(&self, letter: L) -> Result<(), L> {
        {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            if inner.letters.len() >= CAPACITY {
                return Err(letter);
            }
            inner.letters.push_back(letter);
        }
        self.wake();
        Ok(())
    }

    /// Like `post`, for the few letters of the engine itself that must arrive (drain, stop, listeners).
    pub fn post_always(&self, letter: L) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).letters.push_back(letter);
        self.wake();
    }

    /// Replaces a snapshot that the worker has not taken yet.
    pub fn post_snapshot(&self, snapshot: Arc<S>) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).snapshot = Some(snapshot);
        self.wake();
    }

    /// What has arrived: the snapshot is newer than every letter, or as old.
    pub fn take(&self, letters: &mut VecDeque<L>) -> Option<Arc<S>> {
        // Before the look: a letter that comes during it wakes again.
        if !self.woken.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        letters.append(&mut inner.letters);
        inner.snapshot.take()
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_batch_wakes_once_and_the_newest_snapshot_wins() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        let mailbox = Mailbox::new(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let mut letters = VecDeque::new();
        assert_eq!(mailbox.take(&mut letters), None);
        mailbox.post(1).unwrap();
        mailbox.post_snapshot(Arc::new("old"));
        mailbox.post_snapshot(Arc::new("new"));
        mailbox.post(2).unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert_eq!(mailbox.take(&mut letters).as_deref(), Some(&"new"));
        assert_eq!(letters, [1, 2]);
        mailbox.post_always(3);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_full_box_gives_the_letter_back() {
        let mailbox: Arc<Mailbox<(), usize>> = Mailbox::new(Box::new(|| {}));
        for number in 0..CAPACITY {
            mailbox.post(number).unwrap();
        }
        assert_eq!(mailbox.post(7), Err(7));
        mailbox.post_always(8);
    }
}
