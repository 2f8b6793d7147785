//! Istio's standard metrics: one series per combination of labels, per worker.
//!
//! In: facts. Out: readings that `prometheus` adds up over workers. Invariant: at most `SERIES_LIMIT` series a worker;
//! what comes beyond is counted in one series whose labels say `overflow`, and in `dropped`. Labels come from
//! configuration, endpoint metadata and verified identity, never from request data, but for service and method of framed protocols:
//! those have a limit of their own (`named`), beyond which the two say `overflow` and all other labels stay what they are.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::facts::{Facts, Reporter, RpcFacts};
use super::histogram::{DURATION_BOUNDS, Histogram, SIZE_BOUNDS};
use super::named::NamedSeries;
use crate::message::{Protocol, ResponseFlags, SECOND, Tick};

/// Series a worker keeps at most.
pub const SERIES_LIMIT: usize = 2_000;
/// Longest name of a service or method in a label, bytes; more is cut.
pub const NAME_LIMIT: usize = 256;
/// Series that are found without hashing their labels.
const RECENT: usize = 256;
/// What service and method are called beyond the limit.
const OVERFLOW: &[u8] = b"overflow";
/// A series without traffic for so long is dropped (Prometheus sees it end), in nanoseconds.
pub const QUIET_AFTER: u64 = 30 * 60 * SECOND;

/// The label values of a series. Own side's labels are the same for all and are not repeated here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    pub destination_is_local: bool,
    pub other: [String; 8],
    pub service_host: String,
    pub service_name: String,
    pub service_namespace: String,
    /// Name of what was called, if a framed protocol carried it.
    pub call: Option<Call>,
    pub protocol: String,
    pub is_tcp: bool,
    pub status: u16,
    pub grpc_status: Option<u32>,
    pub flags: u32,
    pub mutual_tls: MutualTls,
}

/// Service and method of a framed protocol, as the frame says them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub service: Box<[u8]>,
    pub method: Box<[u8]>,
}

/// The same, while it is looked for.
type Names<'a> = Option<(&'a [u8], &'a [u8])>;

/// `connection_security_policy`: the client side cannot always know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MutualTls {
    Yes,
    No,
    Unknown,
}

impl MutualTls {
    pub fn text(self) -> &'static str {
        match self {
            Self::Yes => "mutual_tls",
            Self::No => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// Counts of one series. One worker writes, anyone reads.
#[derive(Debug)]
pub struct Series {
    pub labels: Labels,
    pub requests: AtomicU64,
    pub duration: Option<Histogram>,
    pub request_bytes: Option<Histogram>,
    pub response_bytes: Option<Histogram>,
    pub request_messages: AtomicU64,
    pub response_messages: AtomicU64,
    pub opened: AtomicU64,
    pub closed: AtomicU64,
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
    touched: AtomicU64,
    /// It counts towards the limit of those with names.
    is_named: bool,
}

impl Series {
    fn new(labels: Labels, is_named: bool) -> Self {
        let http = !labels.is_tcp;
        let histogram = |bounds| http.then(|| Histogram::new(bounds));
        Self {
            labels,
            requests: AtomicU64::new(0),
            duration: histogram(DURATION_BOUNDS),
            request_bytes: histogram(SIZE_BOUNDS),
            response_bytes: histogram(SIZE_BOUNDS),
            request_messages: AtomicU64::new(0),
            response_messages: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            touched: AtomicU64::new(0),
            is_named,
        }
    }
}

/// Adds to a cell that only this thread writes.
pub(super) fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// A worker's series as others see them.
pub type SharedSeries = Arc<Mutex<Vec<Arc<Series>>>>;

/// A worker's series as it finds them: by a hash of the labels, compared in place without building them.
#[derive(Debug, Default)]
pub struct SeriesTable {
    by_hash: HashMap<u64, Vec<Arc<Series>>, PassThrough>,
    count: usize,
    /// What was found last at places that differ for most facts: to compare labels costs less than to hash them. Holds
    /// nothing that `by_hash` does not have.
    recent: Vec<Option<Arc<Series>>>,
    shared: SharedSeries,
    named: Arc<NamedSeries>,
    /// Times a new series was not made because of the limit.
    pub dropped: Arc<AtomicU64>,
    /// Calls that were counted without their names because of the limit.
    pub dropped_names: Arc<AtomicU64>,
}

impl SeriesTable {
    /// A worker's, who shares the limit of names with the others.
    pub(super) fn sharing(named: Arc<NamedSeries>) -> Self {
        Self { named, ..Self::default() }
    }

    pub fn shared(&self) -> SharedSeries {
        Arc::clone(&self.shared)
    }

    /// The series of these facts, made if it is new and the limit allows.
    pub fn find(&mut self, facts: &Facts<'_>, now: Tick) -> Option<&Series> {
        let names = names_of(facts);
        let place = place_of(facts, names);
        let is_known = |known: &Option<Arc<Series>>| {
            known.as_ref().is_some_and(|series| same(&series.labels, facts, names))
        };
        if !self.recent.get(place).is_some_and(is_known) {
            let found = self.look_up(facts, names, now);
            self.recent.resize(RECENT, None);
            *self.recent.get_mut(place)? = Some(found);
        }
        let found = self.recent.get(place)?.as_deref()?;
        found.touched.store(now.0, Relaxed);
        Some(found)
    }

    fn look_up(&mut self, facts: &Facts<'_>, mut names: Names<'_>, now: Tick) -> Arc<Series> {
        let mut hash = hash_of(facts, names);
        if let Some(found) = self.known(hash, facts, names) {
            return found;
        }
        let is_named = names.is_some_and(|names| names.0 != OVERFLOW) && self.named.begin(hash);
        if names.is_some() && !is_named {
            add(&self.dropped_names, 1);
            names = Some((OVERFLOW, OVERFLOW));
            hash = hash_of(facts, names);
            if let Some(found) = self.known(hash, facts, names) {
                return found;
            }
        }
        let (hash, labels) = if is_named || self.count < SERIES_LIMIT {
            (hash, labels_of(facts, names))
        } else {
            add(&self.dropped, 1);
            let labels = overflow_labels(facts);
            if let Some(found) =
                self.by_hash.get(&0).and_then(|list| list.iter().find(|series| series.labels == labels))
            {
                return Arc::clone(found);
            }
            (0, labels)
        };
        let series = Arc::new(Series::new(labels, is_named));
        series.touched.store(now.0, Relaxed);
        self.by_hash.entry(hash).or_default().push(Arc::clone(&series));
        self.count += usize::from(!is_named);
        self.lock().push(Arc::clone(&series));
        series
    }

    fn known(&self, hash: u64, facts: &Facts<'_>, names: Names<'_>) -> Option<Arc<Series>> {
        let list = self.by_hash.get(&hash)?;
        list.iter().find(|series| same(&series.labels, facts, names)).map(Arc::clone)
    }

    /// Drops the series that have been quiet; called now and then by the worker.
    pub fn sweep(&mut self, now: Tick) {
        self.recent.clear();
        let quiet = |series: &Arc<Series>| now.since(Tick(series.touched.load(Relaxed))) > QUIET_AFTER;
        let mut count = 0;
        self.by_hash.retain(|hash, list| {
            for ended in list.iter().filter(|series| series.is_named && quiet(series)) {
                debug_assert!(ended.labels.call.is_some());
                self.named.end(*hash);
            }
            list.retain(|series| !quiet(series));
            count += list.iter().filter(|series| !series.is_named).count();
            !list.is_empty()
        });
        self.count = count;
        self.lock().retain(|series| !quiet(series));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Series>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn protocol_text<'a>(facts: &Facts<'a>) -> &'a str {
    match (facts.protocol, facts.request) {
        (Protocol::Tcp, _) => "tcp",
        (Protocol::Rpc, _) => facts.rpc.map_or("rpc", |rpc| rpc.protocol),
        (_, Some(request)) if request.is_grpc() => "grpc",
        _ => "http",
    }
}

/// What was called, if a route took the call: what nobody configured is no label, and the log has it.
fn names_of<'a>(facts: &Facts<'a>) -> Names<'a> {
    let RpcFacts { service, method, .. } = facts.rpc?;
    if facts.flags.contains(ResponseFlags::NO_ROUTE) {
        return Some((b"", b""));
    }
    let cut = |name: &'a [u8]| name.get(..NAME_LIMIT).unwrap_or(name);
    Some((cut(service), cut(method)))
}

fn security(facts: &Facts<'_>) -> MutualTls {
    match (facts.mutual_tls, facts.reporter) {
        (true, _) => MutualTls::Yes,
        (false, Reporter::Destination) => MutualTls::No,
        (false, _) => MutualTls::Unknown,
    }
}

fn fields<'a>(facts: &Facts<'a>) -> [&'a str; 8] {
    let labels = facts.other;
    let principal =
        if labels.principal.is_empty() { facts.other_principal } else { labels.principal.as_str() };
    [
        &labels.workload,
        &labels.namespace,
        principal,
        &labels.app,
        &labels.version,
        &labels.canonical_name,
        &labels.canonical_revision,
        &labels.cluster,
    ]
}

fn labels_of(facts: &Facts<'_>, names: Names<'_>) -> Labels {
    Labels {
        destination_is_local: facts.reporter == Reporter::Destination,
        other: fields(facts).map(str::to_owned),
        service_host: facts.service_host.to_owned(),
        service_name: facts.service_name.to_owned(),
        service_namespace: facts.service_namespace.to_owned(),
        call: names.map(|(service, method)| Call { service: service.into(), method: method.into() }),
        protocol: protocol_text(facts).to_owned(),
        is_tcp: facts.protocol == Protocol::Tcp,
        status: facts.status,
        grpc_status: facts.grpc_status,
        flags: facts.flags.0,
        mutual_tls: security(facts),
    }
}

fn overflow_labels(facts: &Facts<'_>) -> Labels {
    Labels {
        destination_is_local: facts.reporter == Reporter::Destination,
        other: std::array::from_fn(|_| "overflow".to_owned()),
        service_host: "overflow".to_owned(),
        service_name: "overflow".to_owned(),
        service_namespace: "overflow".to_owned(),
        call: None,
        protocol: protocol_text(facts).to_owned(),
        is_tcp: facts.protocol == Protocol::Tcp,
        status: 0,
        grpc_status: None,
        flags: ResponseFlags::default().0,
        mutual_tls: MutualTls::Unknown,
    }
}

fn same(labels: &Labels, facts: &Facts<'_>, names: Names<'_>) -> bool {
    labels.status == facts.status
        && labels.flags == facts.flags.0
        && labels.grpc_status == facts.grpc_status
        && labels.destination_is_local == (facts.reporter == Reporter::Destination)
        && labels.mutual_tls == security(facts)
        && labels.service_host == facts.service_host
        && labels.service_name == facts.service_name
        && labels.service_namespace == facts.service_namespace
        && labels.call.as_ref().map(|call| (&*call.service, &*call.method)) == names
        && labels.is_tcp == (facts.protocol == Protocol::Tcp)
        && labels.protocol == protocol_text(facts)
        && labels.other.iter().zip(fields(facts)).all(|(known, given)| known == given)
}

/// Below `RECENT`. Where texts lie says nothing for sure, but is another for others.
fn place_of(facts: &Facts<'_>, names: Names<'_>) -> usize {
    let (service, method) = names.unwrap_or_default();
    let ends = |name: &[u8]| {
        let last = name.last_chunk::<8>().map_or(0, |last| u64::from_le_bytes(*last));
        last ^ u64::from(name.first().copied().unwrap_or(0)) << 8 ^ name.len() as u64
    };
    let words = [
        std::ptr::from_ref(facts.other).addr() as u64,
        facts.service_host.as_ptr().addr() as u64,
        u64::from(facts.status) << 32 | u64::from(facts.flags.0),
        ends(service),
        ends(method),
    ];
    let mut mixed = Fold(0);
    words.into_iter().for_each(|word| mixed.write_u64(word));
    (mixed.finish() >> 32) as usize % RECENT
}

fn hash_of(facts: &Facts<'_>, names: Names<'_>) -> u64 {
    let mut hash = Fold(u64::from(facts.status) << 32 | u64::from(facts.flags.0));
    hash.write_u64(facts.grpc_status.map_or(u64::MAX, u64::from));
    hash.write(facts.service_host.as_bytes());
    for field in fields(facts) {
        hash.write(field.as_bytes());
    }
    if let Some((service, method)) = names {
        hash.write(service);
        hash.write(method);
    }
    hash.finish() | 1
}

/// Multiply-and-rotate over eight bytes at a time: all labels but few are not chosen by an attacker, and the table is bounded.
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            if let Some(target) = word.get_mut(..chunk.len()) {
                target.copy_from_slice(chunk);
            }
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x51_7c_c1_b7_27_22_0a_95);
    }
}

/// The key is a hash already.
#[derive(Debug, Default, Clone)]
struct PassThrough;

impl BuildHasher for PassThrough {
    type Hasher = Identity;
    fn build_hasher(&self) -> Identity {
        Identity(0)
    }
}

struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}
