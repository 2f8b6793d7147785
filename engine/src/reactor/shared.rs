//! What the threads of one engine share: a few counts, pressure, and the queue of events to Python.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::events::Events;
use super::log::Log;
use crate::plan::Event;

/// How close the process is to a limit, 0 to 1,000. Written by whoever measures, read at stream start.
#[derive(Debug, Default)]
pub struct Pressure(AtomicU32);

impl Pressure {
    const TRIMMING: u32 = 850;
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

    /// Workers give unused blocks back.
    pub fn trims(&self) -> bool {
        self.get() >= Self::TRIMMING
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
    pub log: Log,
    draining: AtomicBool,
    /// Panics caught, for the admin page and for giving up when they pile up.
    pub panics: AtomicU64,
    /// Live connections by listener, for its limit.
    listeners: Mutex<HashMap<Arc<str>, Arc<AtomicU32>>>,
}

impl Shared {
    pub fn new(events: Events, max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            events,
            live: AtomicUsize::new(0),
            max_connections,
            pressure: Pressure::default(),
            log: Log::default(),
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
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(listeners.entry(Arc::clone(name)).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
