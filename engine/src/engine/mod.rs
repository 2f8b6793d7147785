//! The composition root: threads, sockets, configuration in force, and the way out. Readable top to bottom.
//!
//! In: settings once, deltas afterwards. Out: reports and events. Invariant: what can fail with a reason (a port that is
//! taken, an admin beyond loopback) fails where it was asked for; workers only ever see what has been judged. Threads: N
//! workers, an acceptor if N > 1, a slow worker (the same loop without clients: calls of Python, health checks), `errands` for
//! what blocks, admin's. None takes signals, none outlives `shutdown`.

mod listening;
mod threads;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use listening::Listening;
use threads::{Handle, Threads};

use crate::message::Tick;
use crate::plan::{ApplyReport, Delta, EngineSettings, Event, Held};
use crate::reactor::{Board, DrainOrder, Epoch, Epoll, Errands, Events, Letter, Scope, Shared, sys};
use crate::snapshot::{Builder, KeyRing};
use crate::stream::{GrpcCall, Streams};
use crate::telemetry::Telemetry;

/// Why the engine as a whole said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError(pub String);

impl std::fmt::Display for EngineError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}

impl EngineError {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Which connections a drain is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainScope {
    Inbound,
    Process,
}

/// One data plane.
pub struct Engine {
    settings: EngineSettings,
    epoch: Epoch,
    shared: Arc<Shared>,
    keys: Arc<KeyRing>,
    telemetry: Arc<Telemetry>,
    builder: Mutex<Builder>,
    listening: Mutex<Listening>,
    threads: Threads,
    errands: Arc<Errands>,
    ready: AtomicBool,
    drains: AtomicU64,
    calls: AtomicU64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Engine({})", self.settings.node_id)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub fn start(settings: EngineSettings) -> Result<Arc<Self>, EngineError> {
        if !(1..=256).contains(&settings.workers) {
            return Err(EngineError::new("workers: must be 1 to 256"));
        }
        let failed = |what: &str, error: std::io::Error| EngineError(format!("{what}: {error}"));
        sys::raise_descriptor_limit();
        let epoch = Epoch::default();
        let events = Events::new().map_err(|error| failed("events", error))?;
        let shared = Shared::new(events, connection_limit(&settings));
        let keys = Arc::new(KeyRing::default());
        let telemetry = Telemetry::new(settings.workload.clone());
        let builder = Builder::new(Arc::clone(&keys), threads::random());
        let errands = Errands::start().map_err(|error| failed("errands", error))?;
        let threads = Threads::start(&settings, epoch, &shared, &telemetry, builder.snapshot())
            .map_err(|error| failed("threads", error))?;
        Ok(Arc::new(Self {
            settings,
            epoch,
            shared,
            keys,
            telemetry,
            builder: Mutex::new(builder),
            listening: Mutex::default(),
            threads,
            errands,
            ready: AtomicBool::new(false),
            drains: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }))
    }

    /// Puts a change in force: judged resource by resource, then published to every worker, then sockets follow.
    pub fn apply(&self, delta: Delta) -> ApplyReport {
        let mut builder = lock(&self.builder);
        let (snapshot, report) = builder.apply(delta, self.epoch.now());
        if let Some(snapshot) = snapshot {
            for handle in self.threads.all() {
                handle.inbox.post_snapshot(Arc::clone(&snapshot));
            }
            lock(&self.listening).follow(&snapshot, self.threads.acceptor(), &self.shared);
        }
        report
    }

    /// What has happened, at most 256 events; empty when the time is up.
    pub fn wait(&self, timeout: Duration) -> Vec<Event> {
        self.shared.events.wait(timeout)
    }

    pub fn set_timer(&self, delay: Duration, token: u64) {
        self.shared.events.set_timer(delay, token);
    }

    pub fn signal_descriptor(&self) -> i32 {
        self.shared.events.signal_descriptor()
    }

    pub fn held(&self) -> Vec<Held> {
        lock(&self.builder).held()
    }

    /// Names and addresses of bound listeners.
    pub fn listeners(&self) -> Vec<(String, String)> {
        lock(&self.listening).list()
    }

    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// A process that drains is not ready, whatever Python says.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.shared.is_draining()
    }

    /// Begins to drain; a `Drained` event with the returned token ends it.
    pub fn drain(&self, scope: DrainScope, min: Duration, max: Duration) -> u64 {
        let token = self.drains.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.epoch.now();
        let after =
            |time: Duration| now.after_milliseconds(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let scope = match scope {
            DrainScope::Inbound => Scope::Inbound,
            DrainScope::Process => {
                self.shared.set_draining(true);
                Scope::All
            }
        };
        let shared = Arc::clone(&self.shared);
        let done = Box::new(move |cut| shared.emit(Event::Drained { token, cut }));
        let workers = self.threads.workers();
        let order = DrainOrder::new(scope, after(min), after(max.max(min)), workers.len(), done);
        for worker in workers {
            worker.inbox.post_always(Letter::Drain(Arc::clone(&order)));
        }
        token
    }

    /// Opens a gRPC call on a cluster; the number names it in events.
    pub fn open_grpc(&self, cluster: String, path: String, metadata: Vec<(String, String)>) -> u64 {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let call = GrpcCall { number, cluster, path, metadata };
        self.ask_slowly(move |streams, board| streams.open_grpc(board, &call));
        number
    }

    /// Sends one message; `end` half-closes the call behind it.
    pub fn send_grpc(&self, call: u64, message: Vec<u8>, end: bool) {
        self.ask_slowly(move |streams, board| streams.send_grpc(board, call, &message, end));
    }

    /// Lets so many more messages come.
    pub fn grant_grpc(&self, call: u64, messages: u32) {
        self.ask_slowly(move |streams, board| streams.grant_grpc(board, call, messages));
    }

    pub fn cancel_grpc(&self, call: u64) {
        self.ask_slowly(move |streams, board| streams.cancel_grpc(board, call));
    }

    /// Runs on the slow worker's thread, in the order of asking.
    fn ask_slowly(&self, task: impl FnOnce(&mut Streams, &mut Board<Epoll>) + Send + 'static) {
        self.threads.slow().inbox.post_always(Letter::Task(Box::new(task)));
    }

    /// Ends every thread; `Stopped` is the last event. A second call does nothing.
    pub fn shutdown(&self, _deadline: Duration) {
        if self.threads.stop() {
            lock(&self.listening).clear();
            self.errands.stop();
            self.shared.emit(Event::Stopped {});
        }
    }

    pub fn now(&self) -> Tick {
        self.epoch.now()
    }

    /// The worker without clients.
    pub fn slow_worker(&self) -> &Handle {
        self.threads.slow()
    }
}

/// As set, else 80 % of the descriptors.
fn connection_limit(settings: &EngineSettings) -> usize {
    match settings.max_connections {
        Some(limit) => limit as usize,
        None => usize::try_from(sys::descriptor_limit() / 10 * 8).unwrap_or(usize::MAX),
    }
}
