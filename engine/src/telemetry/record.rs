//! The one recorder: when an exchange ends, its facts become counts here, once.
//!
//! A worker owns one `Recorder`; `Telemetry` is what all share, for those who read.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::access_log::AccessLogger;
use super::counters::{ClusterCounter, Group, HttpCounter, ListenerCounter, TcpCounter};
use super::facts::{Facts, Reporter};
use super::log_buffer::{LogBuffers, LogWriter, Trouble};
use super::named::NamedSeries;
use super::series::{SeriesTable, SharedSeries, add};
use crate::message::{MICROSECOND, Protocol, Tick};
use crate::plan::LocalWorkload;

type Groups<C> = Arc<Mutex<Vec<Arc<Group<C>>>>>;

/// A worker's counts as readers see them.
#[derive(Debug, Clone, Default)]
pub struct Shard {
    pub series: SharedSeries,
    pub dropped: Arc<AtomicU64>,
    pub dropped_names: Arc<AtomicU64>,
    pub clusters: Groups<ClusterCounter>,
    pub listeners: Groups<ListenerCounter>,
    pub http: Groups<HttpCounter>,
    pub tcp: Groups<TcpCounter>,
}

/// All workers' counts, and who we are.
#[derive(Debug)]
pub struct Telemetry {
    pub local: LocalWorkload,
    logs: LogWriter,
    named: Arc<NamedSeries>,
    shards: Mutex<Vec<Shard>>,
}

impl Telemetry {
    pub fn new(local: LocalWorkload) -> Arc<Self> {
        Arc::new(Self { local, logs: LogWriter::default(), named: Arc::default(), shards: Mutex::default() })
    }

    /// A recorder for one more worker.
    pub fn recorder(&self) -> Recorder {
        let table = SeriesTable::sharing(Arc::clone(&self.named));
        let shard = Shard {
            series: table.shared(),
            dropped: Arc::clone(&table.dropped),
            dropped_names: Arc::clone(&table.dropped_names),
            ..Shard::default()
        };
        lock(&self.shards).push(shard.clone());
        Recorder { table, shard, logs: self.logs.buffers() }
    }

    /// Brings the gauges of who is in each cluster up to date, of those that have counters at all. `members`: total, healthy
    /// and ejected endpoints by the cluster's name in counters. For readers, before they read: workers write none of these.
    pub fn set_members(&self, members: &dyn Fn(&str) -> [u32; 3]) {
        let mut told = HashSet::new();
        for group in self.shards().iter().flat_map(|shard| lock(&shard.clusters).clone()) {
            // Readers add the workers' groups up: one of them says it all.
            let values = if told.insert(group.name.clone()) { members(&group.name) } else { [0; 3] };
            let gauges = [
                ClusterCounter::MembershipTotal,
                ClusterCounter::MembershipHealthy,
                ClusterCounter::EjectionsActive,
            ];
            for (gauge, value) in gauges.into_iter().zip(values) {
                group.set(gauge, value.into());
            }
        }
    }

    /// From now on `tell` hears of places that take no access log lines, and of those that do again.
    pub fn tell_trouble(&self, tell: impl Fn(Trouble) + Send + Sync + 'static) {
        self.logs.tell_by(tell);
    }

    /// Access log lines that were dropped since nobody could take them.
    pub fn dropped_lines(&self) -> u64 {
        self.logs.dropped()
    }

    pub fn shards(&self) -> Vec<Shard> {
        lock(&self.shards).clone()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's hand on its own counts.
#[derive(Debug)]
pub struct Recorder {
    table: SeriesTable,
    shard: Shard,
    logs: LogBuffers,
}

impl Recorder {
    /// Counters of a scope, made on first use; the worker keeps the handle.
    pub fn cluster(&self, name: &str) -> Arc<Group<ClusterCounter>> {
        group(&self.shard.clusters, name)
    }

    pub fn listener(&self, name: &str) -> Arc<Group<ListenerCounter>> {
        group(&self.shard.listeners, name)
    }

    pub fn http(&self, stat_prefix: &str) -> Arc<Group<HttpCounter>> {
        group(&self.shard.http, stat_prefix)
    }

    pub fn tcp(&self, stat_prefix: &str) -> Arc<Group<TcpCounter>> {
        group(&self.shard.tcp, stat_prefix)
    }

    /// A layer-4 connection has reached its endpoint (`istio_tcp_connections_opened_total`).
    pub fn opened(&mut self, facts: &Facts<'_>, now: Tick) {
        if facts.reporter != Reporter::None
            && let Some(series) = self.table.find(facts, now)
        {
            add(&series.opened, 1);
        }
    }

    /// An exchange or a layer-4 connection is over.
    pub fn record(&mut self, facts: &Facts<'_>) {
        if facts.reporter == Reporter::None {
            return;
        }
        let Some(series) = self.table.find(facts, facts.moments.ended) else { return };
        if facts.protocol == Protocol::Tcp {
            add(&series.closed, 1);
            add(&series.received_bytes, facts.received);
            add(&series.sent_bytes, facts.sent);
            return;
        }
        add(&series.requests, 1);
        add(&series.request_messages, facts.request_messages);
        add(&series.response_messages, facts.response_messages);
        let histograms = [
            (&series.duration, facts.duration() / MICROSECOND),
            (&series.request_bytes, facts.received + facts.received_headers),
            (&series.response_bytes, facts.sent + facts.sent_headers),
        ];
        for (histogram, value) in histograms {
            if let Some(histogram) = histogram {
                histogram.add(value);
            }
        }
    }

    /// A line for each of these logs.
    pub fn log(&mut self, loggers: &[AccessLogger], facts: &Facts<'_>) {
        for logger in loggers.iter().filter(|logger| logger.wants(facts)) {
            self.logs.log(logger, facts);
        }
    }

    /// Hands lines to the writer that have waited; the worker calls it each second.
    pub fn flush_logs(&mut self) {
        self.logs.flush();
    }

    /// Forgets series without traffic; cheap enough for once a minute.
    pub fn sweep(&mut self, now: Tick) {
        self.table.sweep(now);
    }
}

fn group<C: super::counters::Counter>(groups: &Groups<C>, name: &str) -> Arc<Group<C>> {
    let mut groups = lock(groups);
    if let Some(found) = groups.iter().find(|group| group.name == name) {
        return Arc::clone(found);
    }
    let made = Arc::new(Group::new(name));
    groups.push(Arc::clone(&made));
    made
}
