//! Listening sockets: accept fairly, stop at limits, survive the lack of descriptors.
//!
//! In: sockets and their readiness. Out: connections for the worker, or for the acceptor to hand on. At the process's limit
//! and under pressure accepting stops and clients wait in the backlog; at a listener's limit they are accepted and closed,
//! as in Envoy. Where descriptors are out a reserved one accepts and closes one client, and accepting rests for 100 ms.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::driver::{Driver, Incoming};
use super::log::{Level, Room, Value};
use super::shared::Shared;
use crate::message::{MILLISECOND, Tick};
use crate::telemetry::{ListenerCounter, Recorder};

/// Accepts of one listener in a row.
const ACCEPTS: usize = 64;
/// How long accepting rests without descriptors, or at the limit of connections.
const REST: u64 = 100 * MILLISECOND;
/// Marks the tokens of listeners among those of connections, whose slots never grow so far.
const DOOR: u64 = 1 << 31;

/// A listening socket.
#[derive(Debug)]
pub struct Door<S> {
    pub listener: Arc<str>,
    /// Prefix of its counters.
    pub stat_prefix: Arc<str>,
    pub socket: S,
    /// Live connections at most; shared, since a new version of the listener may change it.
    pub limit: Arc<AtomicU32>,
}

/// One of a listener's live connections, counted while this lives.
#[derive(Debug)]
pub struct Live(Arc<AtomicU32>);

impl Live {
    pub fn enter(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that came in.
#[derive(Debug)]
pub struct Admitted<S> {
    pub listener: Arc<str>,
    pub incoming: Incoming<S>,
    pub live: Live,
}

#[derive(Debug)]
struct Slot<S> {
    door: Door<S>,
    live: Arc<AtomicU32>,
    is_ready: bool,
}

/// The doors of one thread.
#[derive(Debug)]
pub struct Doors<D: Driver> {
    slots: Vec<Option<Slot<D::Socket>>>,
    is_resting: bool,
    reserve: Option<File>,
    /// Who turned a client away, at its limit or for want of descriptors, once for each.
    overflowed: Vec<Arc<str>>,
    /// Whose clients wait in the backlog, since the process is at its limit or under pressure; once for each rest.
    paused: Vec<Arc<str>>,
}

impl<D: Driver> Default for Doors<D> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            is_resting: false,
            reserve: File::open("/dev/null").ok(),
            overflowed: Vec::new(),
            paused: Vec::new(),
        }
    }
}

/// Which door a token names, if it names one.
pub(super) fn door_of(token: u64) -> Option<usize> {
    (token & DOOR != 0).then_some((token & (DOOR - 1)) as usize)
}

impl<D: Driver> Doors<D> {
    pub fn open(&mut self, driver: &mut D, shared: &Shared, door: Door<D::Socket>) -> io::Result<()> {
        let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        driver.watch_listener(&door.socket, DOOR | index as u64)?;
        let live = shared.listener(&door.listener);
        let slot = Some(Slot { door, live, is_ready: true });
        match self.slots.get_mut(index) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        Ok(())
    }

    pub fn close(&mut self, driver: &mut D, listener: &str) {
        for slot in &mut self.slots {
            if let Some(known) = slot
                && &*known.door.listener == listener
            {
                driver.unwatch(&known.door.socket);
                *slot = None;
            }
        }
    }

    pub fn close_all(&mut self, driver: &mut D) {
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            driver.unwatch(&slot.door.socket);
        }
    }

    pub fn mark_ready(&mut self, index: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.is_ready = true;
        }
    }

    /// Somebody may be at a door.
    pub fn is_waiting(&self) -> bool {
        !self.is_resting && self.slots.iter().flatten().any(|slot| slot.is_ready)
    }

    /// Counts the clients that were turned away, and the rests.
    pub fn count(&mut self, recorder: &Recorder) {
        for stat_prefix in self.paused.drain(..) {
            recorder.listener(&stat_prefix).increment(ListenerCounter::AcceptPaused);
        }
        for stat_prefix in self.overflowed.drain(..) {
            recorder.listener(&stat_prefix).increment(ListenerCounter::CxOverflow);
        }
    }

    /// The rest is over.
    pub fn reopen(&mut self) {
        self.is_resting = false;
    }

    /// Lets in who waits. `Some`: accepting rests until then.
    pub fn admit(
        &mut self,
        driver: &mut D,
        shared: &Shared,
        now: Tick,
        admitted: &mut Vec<Admitted<D::Socket>>,
    ) -> Option<Tick> {
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.is_ready) {
            for _ in 0..ACCEPTS {
                if !shared.may_accept() {
                    self.paused.push(Arc::clone(&slot.door.stat_prefix));
                    self.is_resting = true;
                    return Some(now + REST);
                }
                match driver.accept(&slot.door.socket) {
                    Ok(incoming) => {
                        if slot.live.load(Ordering::Relaxed) >= slot.door.limit.load(Ordering::Relaxed) {
                            self.overflowed.push(Arc::clone(&slot.door.stat_prefix));
                            shared.log.say(Room::Reactor, Level::Debug, || {
                                let listener = Value(&slot.door.listener);
                                format!(
                                    "a client was turned away listener={listener} why=\"connection limit\""
                                )
                            });
                            continue;
                        }
                        let listener = Arc::clone(&slot.door.listener);
                        admitted.push(Admitted { listener, incoming, live: Live::enter(&slot.live) });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        slot.is_ready = false;
                        break;
                    }
                    Err(error) if is_exhausted(&error) => {
                        // The client would else wait for an answer that never comes.
                        self.overflowed.push(Arc::clone(&slot.door.stat_prefix));
                        shared.log.say(Room::Reactor, Level::Warning, || {
                            let listener = Value(&slot.door.listener);
                            format!("a client was turned away listener={listener} why={}", Value(&error))
                        });
                        if self.reserve.take().is_some() {
                            drop(driver.accept(&slot.door.socket));
                            self.reserve = File::open("/dev/null").ok();
                        }
                        self.is_resting = true;
                        return Some(now + REST);
                    }
                    // The client has gone meanwhile (ECONNABORTED): the next one.
                    Err(_) => {}
                }
            }
        }
        None
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
