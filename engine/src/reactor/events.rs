//! What Python waits for: events of all threads, its own timers, and signals.
//!
//! Bounded: what Python asked for (answers, timers, ends) is bounded by what it asked and always kept; of the health of an
//! endpoint only the newest counts when the queue is full; other notices are dropped then, and counted.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sys;
use crate::plan::Event;

/// Events that may wait for Python.
const CAPACITY: usize = 1_024;
/// Events of one `wait`.
const BATCH: usize = 256;

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Python's timers, in order and by token.
    timers: BTreeSet<(Instant, u64)>,
    due: HashMap<u64, Instant>,
}

/// Events on their way to Python.
#[derive(Debug)]
pub struct Events {
    queue: Mutex<Queue>,
    /// A byte in it: look at the queue.
    wake: (OwnedFd, OwnedFd),
    /// Signal numbers, as `signal.set_wakeup_fd` writes them.
    signals: (OwnedFd, OwnedFd),
    dropped: AtomicU64,
}

impl Events {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            wake: sys::pipe()?,
            signals: sys::pipe()?,
            dropped: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never blocks.
    pub fn push(&self, event: Event) {
        {
            let mut queue = self.lock();
            if queue.events.len() >= CAPACITY {
                match &event {
                    Event::EndpointHealth { cluster, address, .. } => queue.events.retain(|known| {
                        !matches!(known, Event::EndpointHealth { cluster: c, address: a, .. } if c == cluster && a == address)
                    }),
                    Event::Trouble { .. } | Event::Asked { .. } => {
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    _ => {}
                }
            }
            queue.events.push_back(event);
        }
        self.wake_up();
    }

    /// Room for a question to Python; a full queue answers by the question's failure mode.
    pub fn has_room(&self) -> bool {
        self.lock().events.len() < CAPACITY
    }

    /// Notices dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A `Timer` event after the delay; a second call with the same token moves it.
    pub fn set_timer(&self, delay: Duration, token: u64) {
        {
            let mut queue = self.lock();
            let at = Instant::now() + delay.min(Duration::from_secs(10 * 365 * 86_400));
            if let Some(former) = queue.due.insert(token, at) {
                queue.timers.remove(&(former, token));
            }
            queue.timers.insert((at, token));
        }
        self.wake_up();
    }

    /// For `signal.set_wakeup_fd`.
    pub fn signal_descriptor(&self) -> RawFd {
        self.signals.1.as_raw_fd()
    }

    /// What has happened, at most a batch; empty when the time is up.
    pub fn wait(&self, timeout: Duration) -> Vec<Event> {
        let until = Instant::now() + timeout.min(Duration::from_secs(86_400));
        loop {
            let mut bytes = [0; 256];
            // Before the look: what is pushed during it wakes again.
            while sys::read_pipe(self.wake.0.as_fd(), &mut bytes).is_ok_and(|count| count == bytes.len()) {}
            let signals = sys::read_pipe(self.signals.0.as_fd(), &mut bytes).unwrap_or(0);
            let now = Instant::now();
            let mut queue = self.lock();
            for number in bytes.iter().take(signals) {
                queue.events.push_back(Event::Signal { number: u32::from(*number) });
            }
            while let Some(&(at, token)) = queue.timers.first()
                && at <= now
            {
                queue.timers.pop_first();
                queue.due.remove(&token);
                queue.events.push_back(Event::Timer { token });
            }
            if !queue.events.is_empty() {
                let count = queue.events.len().min(BATCH);
                return queue.events.drain(..count).collect();
            }
            let next = queue.timers.first().map_or(until, |&(at, _)| at.min(until));
            drop(queue);
            let left = next.saturating_duration_since(now);
            if left.is_zero() && until <= now {
                return Vec::new();
            }
            // Rounded up: a wait that ends too early would spin.
            let milliseconds = left.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
            sys::wait_readable(&[self.wake.0.as_fd(), self.signals.0.as_fd()], milliseconds);
        }
    }

    fn wake_up(&self) {
        sys::write_pipe(self.wake.1.as_fd(), &[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_notices_and_keeps_answers() {
        let events = Events::new().unwrap();
        for token in 0..CAPACITY as u64 {
            events.push(Event::Timer { token });
        }
        assert!(!events.has_room());
        events.push(Event::Trouble { what: String::new() });
        events.push(Event::Stopped {});
        let mut seen = Vec::new();
        loop {
            let batch = events.wait(Duration::ZERO);
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= BATCH);
            seen.extend(batch);
        }
        assert_eq!((seen.len(), seen.last()), (CAPACITY + 1, Some(&Event::Stopped {})));
        assert_eq!(events.dropped(), 1);
    }

    #[test]
    fn timers_move_and_signals_come_as_events() {
        let events = Events::new().unwrap();
        events.set_timer(Duration::from_secs(3_600), 1);
        events.set_timer(Duration::ZERO, 1);
        assert_eq!(events.wait(Duration::from_secs(5)), [Event::Timer { token: 1 }]);
        assert_eq!(events.wait(Duration::ZERO), []);
        sys::write_pipe(events.signals.1.as_fd(), &[15]);
        assert_eq!(events.wait(Duration::from_secs(5)), [Event::Signal { number: 15 }]);
    }

    #[test]
    fn an_event_of_another_thread_ends_the_wait() {
        let events = std::sync::Arc::new(Events::new().unwrap());
        let other = std::sync::Arc::clone(&events);
        let thread = std::thread::spawn(move || other.push(Event::Stopped {}));
        assert_eq!(events.wait(Duration::from_secs(30)), [Event::Stopped {}]);
        thread.join().unwrap();
    }
}
