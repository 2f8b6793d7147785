//! The composition root: threads, sockets, configuration in force, and the way out. Readable top to bottom.
//!
//! In: settings once, deltas afterwards. Out: reports and events. Invariant: what can fail with a reason (a port that is
//! taken, an admin beyond loopback) fails where it was asked for; workers only ever see what has been judged. Threads: N
//! workers, an acceptor if N > 1, a slow worker (the same loop without clients: calls of Python, health checks), `errands` for
//! what blocks, admin's. None takes signals, none outlives `shutdown`.

mod calls;
mod configuration;
mod facts;
#[cfg(test)]
mod limits;
mod listening;
mod threads;
mod view;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use calls::Calls;
use configuration::{Configuration, lock};
use threads::Threads;

use crate::admin::{Admin, Answer, Audience, Console, Questions};
use crate::filter::Registry;
use crate::plan::{Address, ApplyReport, Delta, EngineSettings, Event, Held};
use crate::reactor::{DrainOrder, Epoch, Errands, Events, Letter, Level, Room, Scope, Shared, Value, sys};
use crate::snapshot::{Builder, KeyRing};
use crate::telemetry::{Telemetry, Trouble};

/// Why the engine as a whole said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError(pub String);

impl std::fmt::Display for EngineError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}

/// Which connections a drain is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainScope {
    Inbound,
    Process,
}

/// One data plane. Dropping it does not end its threads, `shutdown` does.
pub struct Engine {
    body: Arc<Body>,
    console: Arc<Console>,
    admins: Mutex<Vec<Admin>>,
    keys: Arc<KeyRing>,
    calls: Calls,
    errands: Arc<Errands>,
}

/// What the admin pages look at while Python holds the engine.
struct Body {
    settings: EngineSettings,
    epoch: Epoch,
    shared: Arc<Shared>,
    telemetry: Arc<Telemetry>,
    configuration: Arc<Configuration>,
    threads: Arc<Threads>,
    questions: Questions,
    ready: AtomicBool,
    drains: AtomicU64,
    /// Prometheus text of whoever runs the engine.
    metrics: Mutex<Arc<str>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Engine({})", self.body.settings.node_id)
    }
}

impl Engine {
    pub fn start(settings: EngineSettings) -> Result<Self, EngineError> {
        let admins = judge(&settings)?;
        let failed = |what: &str, error: std::io::Error| EngineError(format!("{what}: {error}"));
        sys::raise_descriptor_limit();
        let epoch = Epoch::default();
        let events = Events::new().map_err(|error| failed("events", error))?;
        let shared = Shared::new(events, connection_limit(&settings));
        let keys = Arc::new(KeyRing::default());
        let telemetry = Telemetry::new(settings.workload.clone());
        let builder = Builder::new(Arc::clone(&keys), threads::random());
        let errands = Errands::start().map_err(|error| failed("errands", error))?;
        shared.log.write_by(&errands);
        if settings.log_json {
            shared.log.write_json();
        }
        tell_of_logs(&shared, &telemetry);
        let threads = Threads::start(&settings, epoch, &shared, &telemetry, builder.snapshot())
            .map_err(|error| failed("threads", error))?;
        let threads = Arc::new(threads);
        let configuration = Configuration::new(builder, Arc::clone(&threads), Arc::clone(&shared));
        facts::keep(&configuration, &shared, threads.slow(), &errands, epoch);
        let body = Arc::new(Body {
            settings,
            epoch,
            shared,
            telemetry,
            configuration,
            threads,
            questions: Questions::default(),
            ready: AtomicBool::new(false),
            drains: AtomicU64::new(0),
            metrics: Mutex::new("".into()),
        });
        let console = Arc::new(Console::new(Arc::clone(&body) as Arc<_>));
        let calls = Calls::new(body.threads.slow());
        let engine = Self { body, console, admins: Mutex::default(), keys, calls, errands };
        for (what, address, audience) in admins {
            match Admin::start(address, audience, Arc::clone(&engine.console) as Arc<_>) {
                Ok(admin) => engine.open(what, admin),
                Err(error) => {
                    engine.shutdown(Duration::ZERO);
                    return Err(EngineError(format!("{what}: {address} cannot be bound: {error}")));
                }
            }
        }
        Ok(engine)
    }

    fn open(&self, what: &str, admin: Admin) {
        let (name, address) = (what.to_owned(), admin.address().to_string());
        self.body.shared.emit(Event::ListenerBound { name, address });
        lock(&self.admins).push(admin);
    }

    /// Puts a change in force: judged resource by resource, then published to every worker, then sockets follow.
    pub fn apply(&self, delta: Delta) -> ApplyReport {
        self.body.configuration.apply(delta, self.body.epoch.now())
    }

    /// Checks the upserts of a delta that is to wait, as far as that can be done before; nothing changes.
    pub fn check(&self, delta: &Delta) -> ApplyReport {
        self.body.configuration.check(&delta.upserts)
    }

    /// What has happened, at most 256 events; empty when the time is up.
    pub fn wait(&self, timeout: Duration) -> Vec<Event> {
        self.body.shared.events.wait(timeout)
    }

    pub fn set_timer(&self, delay: Duration, token: u64) {
        self.body.shared.events.set_timer(delay, token);
    }

    pub fn signal_descriptor(&self) -> i32 {
        self.body.shared.events.signal_descriptor()
    }

    pub fn held(&self) -> Vec<Held> {
        self.body.configuration.held()
    }

    /// Names and addresses of bound listeners.
    pub fn listeners(&self) -> Vec<(String, String)> {
        self.body.configuration.listeners()
    }

    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Names of the filters that there are.
    pub fn extensions(&self) -> Vec<String> {
        Registry::extensions().into_iter().map(|extension| extension.name.to_owned()).collect()
    }

    /// Opens a gRPC call on a cluster; the number names it in events.
    pub fn open_grpc(&self, cluster: String, path: String, metadata: Vec<(String, String)>) -> u64 {
        self.calls.open(cluster, path, metadata, |event| self.body.shared.emit(event))
    }

    /// One message of a call; `end` half-closes it behind.
    pub fn send(&self, call: u64, message: Vec<u8>, end: bool) -> Result<(), EngineError> {
        let sent = self.calls.send(call, message, end);
        sent.then_some(())
            .ok_or_else(|| EngineError("the engine is busy: the message was not sent".to_owned()))
    }

    /// Lets so many more messages of a call come.
    pub fn grant(&self, call: u64, messages: u32) {
        self.calls.grant(call, messages);
    }

    /// No event of the call follows.
    pub fn cancel(&self, call: u64) {
        self.calls.cancel(call);
    }

    /// An admin page as its listener would serve it; `None`: what was asked is no target.
    pub fn render(&self, page: &str) -> Option<Vec<u8>> {
        self.console.render(page).map(|answer| answer.body)
    }

    pub fn set_log_level(&self, room: &str, level: &str) -> Result<(), EngineError> {
        self.body.shared.log.set_level(room, level).map_err(EngineError)
    }

    /// Python's answer to an `Asked` event.
    pub fn answer(&self, token: u64, answer: Answer) {
        self.body.questions.answer(token, answer);
    }

    /// Prometheus text to show behind the engine's own.
    pub fn set_metrics(&self, text: &str) {
        *lock(&self.body.metrics) = text.into();
    }

    pub fn set_ready(&self, ready: bool) {
        self.body.ready.store(ready, Ordering::Release);
    }

    /// Begins to drain; a `Drained` event with the returned token ends it.
    pub fn drain(&self, scope: DrainScope, min: Duration, max: Duration) -> u64 {
        self.body.begin_drain(scope, min, max)
    }

    /// Ends every thread; `Stopped` is the last event. A second call does nothing. Python has drained before, so nothing is
    /// waited for but the threads' present turns and errands, and these for `deadline` at most.
    pub fn shutdown(&self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        for admin in std::mem::take(&mut *lock(&self.admins)) {
            admin.stop();
        }
        if self.body.threads.stop(deadline) {
            self.body.configuration.close();
            self.errands.stop(deadline);
            self.body.shared.emit(Event::Stopped {});
        }
    }
}

impl Body {
    fn begin_drain(&self, scope: DrainScope, min: Duration, max: Duration) -> u64 {
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
}

/// Lost access log lines are counted; the engine's own log says where, why and for how long.
fn tell_of_logs(shared: &Arc<Shared>, telemetry: &Telemetry) {
    let shared = Arc::clone(shared);
    telemetry.tell_trouble(move |trouble| match trouble {
        Trouble::Begun { place, reason } => shared.log.say(Room::Telemetry, Level::Error, || {
            let (path, reason) = (Value(place), Value(reason));
            format!("access log lines are lost: the file takes none path={path} reason={reason}")
        }),
        Trouble::Over { place, lost } => shared.log.say(Room::Telemetry, Level::Info, || {
            format!("access log lines are written again path={} lost={lost}", Value(place))
        }),
    });
}

/// The listeners of the engine itself, if the settings may be.
fn judge(
    settings: &EngineSettings,
) -> Result<Vec<(&'static str, std::net::SocketAddr, Audience)>, EngineError> {
    if !(1..=256).contains(&settings.workers) {
        return Err(EngineError("workers: must be 1 to 256".to_owned()));
    }
    let wanted = [
        ("admin", &settings.admin, Audience::Admin),
        ("metrics", &settings.metrics, Audience::Metrics),
        ("health", &settings.health, Audience::Health),
        ("registry", &settings.registry, Audience::Lent),
    ];
    let mut judged = Vec::new();
    for (what, address, audience) in wanted {
        let address = match address {
            None => continue,
            Some(Address::Socket { ip, port }) => (*ip, *port).into(),
            Some(_) => return Err(EngineError(format!("{what}: must be an IP address and a port"))),
        };
        let is_open = audience == Audience::Admin && !std::net::SocketAddr::ip(&address).is_loopback();
        if is_open && !settings.admin_beyond_loopback {
            return Err(EngineError(format!(
                "admin: {address} is not loopback; set admin_beyond_loopback if everybody who reaches it may change the engine"
            )));
        }
        judged.push((what, address, audience));
    }
    Ok(judged)
}

/// As set, else 80 % of the descriptors.
fn connection_limit(settings: &EngineSettings) -> usize {
    match settings.max_connections {
        Some(limit) => limit as usize,
        None => usize::try_from(sys::descriptor_limit() / 10 * 8).unwrap_or(usize::MAX),
    }
}
