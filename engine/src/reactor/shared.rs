//! What the threads of one engine share: a few counts, pressure, and the queue of events to Python.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::plan::Event;

/// Events that may wait for Python; notices beyond are joined or dropped and counted.
pub const EVENT_CAPACITY: usize = 1_024;
/// Events of one `wait`.
pub const EVENT_BATCH: usize = 256;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events on their way to Python.
#[derive(Debug, Default)]
pub struct Events {
    queue: Mutex<VecDeque<Event>>,
    arrived: Condvar,
    dropped: AtomicU64,
}

impl Events {
    /// Never blocks. What Python asked for (answers, timers, ends) is bounded by what it asked and always kept; of the
    /// health of an endpoint only the newest counts; other notices are dropped when the queue is full.
    pub fn push(&self, event: Event) {
        let mut queue = lock(&self.queue);
        if queue.len() >= EVENT_CAPACITY {
            match &event {
                Event::EndpointHealth { cluster, address, .. } => {
                    queue.retain(|known| {
                        !matches!(known, Event::EndpointHealth { cluster: c, address: a, .. } if c == cluster && a == address)
                    });
                }
                Event::Trouble { .. } | Event::Asked { .. } | Event::Signal { .. } => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                _ => {}
            }
        }
        queue.push_back(event);
        self.arrived.notify_one();
    }

    /// Room for a question to Python; a full queue answers by the question's failure mode.
    pub fn has_room(&self) -> bool {
        lock(&self.queue).len() < EVENT_CAPACITY
    }

    /// What has happened, at most a batch; empty when the time is up.
    pub fn wait(&self, timeout: Duration) -> Vec<Event> {
        let until = Instant::now().checked_add(timeout);
        let mut queue = lock(&self.queue);
        while queue.is_empty() {
            let left = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3_600),
            };
            if left.is_zero() {
                return Vec::new();
            }
            queue = self.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = queue.len().min(EVENT_BATCH);
        queue.drain(..count).collect()
    }
}

/// How close the process is to a limit, 0 to 1,000. Written by whoever measures, read at stream start.
#[derive(Debug, Default)]
pub struct Pressure(AtomicU32);

impl Pressure {
    const NO_KEEP_ALIVE: u32 = 920;
    const NO_ACCEPTING: u32 = 950;
    const NO_EXCHANGES: u32 = 980;
    /// A step is left only when the pressure is this far below it.
    const HYSTERESIS: u32 = 20;

    /// `share`: of the limit that is nearest, in thousandths.
    pub fn report(&self, share: u32) {
        let former = self.0.load(Ordering::Relaxed);
        if share >= former || former - share >= Self::HYSTERESIS {
            self.0.store(share, Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn ends_keep_alive(&self) -> bool {
        self.get() >= Self::NO_KEEP_ALIVE
    }

    pub fn stops_accepting(&self) -> bool {
        self.get() >= Self::NO_ACCEPTING
    }

    pub fn refuses_exchanges(&self) -> bool {
        self.get() >= Self::NO_EXCHANGES
    }
}

/// What all workers and the border know together.
#[derive(Debug)]
pub struct Shared {
    pub events: Events,
    /// Live connections of the process, both sides.
    pub live: AtomicUsize,
    pub max_connections: usize,
    pub pressure: Pressure,
    draining: AtomicBool,
    /// Panics caught, for the admin page and for giving up when they pile up.
    pub panics: AtomicU64,
    /// Live connections by listener, for its limit.
    listeners: Mutex<HashMap<Arc<str>, Arc<AtomicU32>>>,
}

impl Shared {
    pub fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            events: Events::default(),
            live: AtomicUsize::new(0),
            max_connections,
            pressure: Pressure::default(),
            draining: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            listeners: Mutex::default(),
        })
    }

    pub fn emit(&self, event: Event) {
        self.events.push(event);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Clients wait in the backlog: the process is at its limit.
    pub fn may_accept(&self) -> bool {
        self.live.load(Ordering::Relaxed) < self.max_connections && !self.pressure.stops_accepting()
    }

    /// The count of a listener's live connections.
    pub fn listener(&self, name: &Arc<str>) -> Arc<AtomicU32> {
        Arc::clone(lock(&self.listeners).entry(Arc::clone(name)).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_notices_and_keeps_answers() {
        let events = Events::default();
        for token in 0..EVENT_CAPACITY as u64 {
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
            assert!(batch.len() <= EVENT_BATCH);
            seen.extend(batch);
        }
        assert_eq!((seen.len(), seen.last()), (EVENT_CAPACITY + 1, Some(&Event::Stopped {})));
    }

    #[test]
    fn pressure_falls_with_hysteresis() {
        let pressure = Pressure::default();
        pressure.report(985);
        assert!(pressure.refuses_exchanges() && pressure.stops_accepting());
        pressure.report(975);
        assert!(pressure.refuses_exchanges());
        pressure.report(960);
        assert!(!pressure.refuses_exchanges() && pressure.stops_accepting());
    }
}
