//! The configuration in force and how it spreads: judged by the builder, handed to every worker, sockets follow.
//!
//! In: deltas of Python, facts of the slow worker (names resolved, endpoints checked). Out: snapshots in mailboxes, sockets for
//! whoever accepts, events. Invariant: snapshots leave in the order in which they were made, since the builder's lock is held
//! until they are posted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::listening::Listening;
use super::threads::Threads;
use crate::message::Tick;
use crate::plan::{ApplyReport, Delta, Held, Kind, Upsert};
use crate::reactor::{Letter, Level, Room, Shared, Value};
use crate::snapshot::{Builder, Outcome, Snapshot};
use crate::tls::Material;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Configuration {
    builder: Mutex<Builder>,
    listening: Mutex<Listening>,
    /// The newest one, for those who only look: the builder may be busy for a while.
    current: Mutex<Arc<Snapshot>>,
    threads: Arc<Threads>,
    shared: Arc<Shared>,
}

impl Configuration {
    pub fn new(builder: Builder, threads: Arc<Threads>, shared: Arc<Shared>) -> Arc<Self> {
        let current = Mutex::new(Arc::clone(builder.snapshot()));
        Arc::new(Self { builder: Mutex::new(builder), listening: Mutex::default(), current, threads, shared })
    }

    pub fn apply(&self, delta: Delta, now: Tick) -> ApplyReport {
        let names_listeners = delta.upserts.iter().any(|upsert| upsert.resource == Kind::Listener);
        let mut builder = lock(&self.builder);
        let (snapshot, report) = builder.apply(delta, now);
        if let Some(snapshot) = snapshot {
            self.publish(&snapshot);
        } else if names_listeners {
            // Nothing new, but an address that was taken may be free by now.
            self.follow(&self.snapshot());
        }
        drop(builder);
        for refused in &report.refused {
            self.shared.log.say(Room::Snapshot, Level::Warning, || {
                let (name, path, why) = (Value(&refused.name), Value(&refused.path), Value(&refused.reason));
                let kind = refused.resource;
                format!("a resource was refused kind={kind:?} name={name} path={path} why={why}")
            });
        }
        self.shared.log.say(Room::Snapshot, Level::Debug, || {
            format!("a delta was applied generation={} accepted={}", report.generation, report.accepted)
        });
        // Names to resolve and endpoints to check may be new.
        self.threads.slow().inbox.post_always(Letter::Nudge);
        report
    }

    /// Checks what waits, changing nothing.
    pub fn check(&self, upserts: &[Upsert]) -> ApplyReport {
        lock(&self.builder).check(upserts)
    }

    /// What a fact changes.
    pub fn learn<T>(&self, learn: impl FnOnce(&mut Builder) -> (T, Outcome)) -> T {
        let mut builder = lock(&self.builder);
        let (value, outcome) = learn(&mut builder);
        if let Some(snapshot) = outcome.snapshot {
            self.publish(&snapshot);
        }
        for event in outcome.events {
            self.shared.emit(event);
        }
        value
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.current))
    }

    pub fn held(&self) -> Vec<Held> {
        lock(&self.builder).held()
    }

    pub fn materials(&self) -> Vec<(String, Arc<Material>)> {
        lock(&self.builder).materials()
    }

    /// Names and addresses of bound listeners.
    pub fn listeners(&self) -> Vec<(String, String)> {
        lock(&self.listening).list()
    }

    /// The sockets end with their threads; what else they left goes here.
    pub fn close(&self) {
        lock(&self.listening).clear();
    }

    fn publish(&self, snapshot: &Arc<Snapshot>) {
        *lock(&self.current) = Arc::clone(snapshot);
        for handle in self.threads.all() {
            handle.inbox.post_snapshot(Arc::clone(snapshot));
        }
        self.follow(snapshot);
    }

    fn follow(&self, snapshot: &Snapshot) {
        lock(&self.listening).follow(snapshot, self.threads.acceptor(), &self.shared);
    }
}
