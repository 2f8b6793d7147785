//! Facts that configuration waits for or lives on: answers of the resolver, health of endpoints, time.
//!
//! The slow worker asks `poll` at `deadline`, does what `Due` says (look-ups, probes) and brings answers back; each call says
//! what came of it: a snapshot to publish, events for Python. All pure but for the time that is given.

use std::sync::Arc;

use super::builder::{Builder, Draft, Endpoints};
use super::monitor::{Probe, Verdict};
use super::view::Snapshot;
use super::warm::{LIMIT, Warming};
use crate::message::Tick;
use crate::plan::{Event, Kind};
use crate::upstream::{Cluster, Membership, NameAnswer};

/// A name to resolve for a cluster: answer with `Builder::resolved`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    pub cluster: Arc<str>,
    pub name: String,
}

/// What the slow worker is to do now.
#[derive(Debug, Default)]
pub struct Due {
    pub lookups: Vec<Lookup>,
    /// Answer each with `Builder::probed`.
    pub probes: Vec<Probe>,
    /// Probes, by token, that are to be ended without an answer.
    pub cancelled: Vec<u64>,
}

/// What came of a fact.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For the workers.
    pub snapshot: Option<Arc<Snapshot>>,
    pub events: Vec<Event>,
}

impl Builder {
    /// When `poll` has something to do next, as far as is known now.
    pub fn deadline(&self) -> Option<Tick> {
        let names = self.names.values().filter_map(|names| names.deadline()).min();
        let warming = self.warming.values().map(|warming| warming.until).min();
        [names, warming, self.monitor.deadline()].into_iter().flatten().min()
    }

    /// What is due at `now`.
    pub fn poll(&mut self, now: Tick) -> (Due, Outcome) {
        let mut due = Due::default();
        for (cluster, names) in &mut self.names {
            let lookups = names.due(now).into_iter();
            due.lookups.extend(lookups.map(|name| Lookup { cluster: Arc::clone(cluster), name }));
        }
        let turn = self.monitor.poll(now, &mut || self.dice.roll());
        (due.probes, due.cancelled) = (turn.probes, turn.cancelled);
        let mut events = Vec::new();
        for verdict in turn.verdicts {
            events.push(self.judge(&verdict));
        }
        let outcome = self.finish_warming(now, events);
        (due, outcome)
    }

    /// What the resolver says of a name.
    pub fn resolved(&mut self, lookup: &Lookup, answer: NameAnswer, now: Tick) -> Outcome {
        let Some(names) = self.names.get_mut(&lookup.cluster) else { return Outcome::default() };
        if names.answered(&lookup.name, answer, now) {
            let membership = self.membership_of(&lookup.cluster, &Endpoints::Names);
            if self.warming.contains_key(&lookup.cluster) {
                self.rewarm(&lookup.cluster, membership, now);
            } else if let Some(cluster) = self.current.clusters.get(&lookup.cluster).cloned() {
                self.replace_membership(&cluster, &membership, now);
            }
        }
        self.finish_warming(now, Vec::new())
    }

    /// What became of a probe.
    pub fn probed(&mut self, token: u64, passed: bool, now: Tick) -> Outcome {
        let random = self.dice.roll();
        let verdict = self.monitor.answered(token, passed, now, random);
        let events = verdict.map(|verdict| self.judge(&verdict)).into_iter().collect();
        self.finish_warming(now, events)
    }

    /// Brings ejected endpoints back and forgets quiet destinations; about once a second.
    pub fn sweep(&self, now: Tick) {
        for (_, cluster) in self.current.clusters.iter() {
            cluster.sweep_ejections(now);
            cluster.sweep_destinations(now);
        }
    }

    /// An endpoint's health has changed: its cluster, in force or warming, follows.
    fn judge(&self, verdict: &Verdict) -> Event {
        let (cluster, endpoint) = (verdict.cluster.name(), &verdict.endpoint);
        if let Some(warming) = self.warming.get(cluster) {
            warming.preview.set_checked(endpoint.id(), verdict.healthy);
        }
        if let Some(current) = self.current.clusters.get(cluster) {
            current.set_checked(endpoint.id(), verdict.healthy);
        }
        Event::EndpointHealth {
            cluster: cluster.to_string(),
            address: endpoint.address().to_string(),
            healthy: verdict.healthy,
        }
    }

    /// A new version: in force at once if it waits for nothing, else beside its predecessor.
    pub(super) fn begin_warming(&mut self, cluster: Arc<Cluster>, endpoints: Endpoints, draft: &mut Draft) {
        let name = Arc::clone(cluster.name());
        let membership = self.membership_of(&name, &endpoints);
        if cluster.policy().health_checks.is_empty() && self.is_resolved(&name, &endpoints) {
            cluster.take_force(&membership);
            self.install(cluster, endpoints, draft);
            return;
        }
        let preview = cluster.preview(&membership, None);
        self.monitor.watch(&cluster, &preview, draft.now, &mut || self.dice.roll());
        let until = draft.now.after_milliseconds(LIMIT);
        let warming = Warming { cluster, endpoints, membership, preview, until };
        if self.is_warm(&warming) {
            self.put_in_force(warming, draft);
        } else {
            self.warming.insert(name, warming);
        }
    }

    fn put_in_force(&mut self, warmed: Warming, draft: &mut Draft) {
        warmed.cluster.adopt(&warmed.membership, &warmed.preview);
        self.install(warmed.cluster, warmed.endpoints, draft);
    }

    /// A version that warms has other endpoints now.
    pub(super) fn rewarm(&mut self, cluster: &str, membership: Arc<Membership>, now: Tick) {
        if let Some(warming) = self.warming.get_mut(cluster) {
            warming.preview = warming.cluster.preview(&membership, Some(&warming.preview));
            warming.membership = membership;
            self.monitor.watch(&warming.cluster, &warming.preview, now, &mut || self.dice.roll());
        }
    }

    fn is_resolved(&self, cluster: &str, endpoints: &Endpoints) -> bool {
        !matches!(endpoints, Endpoints::Names)
            || self.names.get(cluster).is_none_or(|names| names.is_settled())
    }

    fn is_warm(&self, warming: &Warming) -> bool {
        let name = warming.cluster.name();
        self.is_resolved(name, &warming.endpoints) && self.monitor.is_settled(name)
    }

    fn finish_warming(&mut self, now: Tick, mut events: Vec<Event>) -> Outcome {
        let ready: Vec<_> = self
            .warming
            .iter()
            .filter(|(_, warming)| warming.until <= now || self.is_warm(warming))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        if ready.is_empty() {
            return Outcome { snapshot: None, events };
        }
        let mut draft = self.draft(now);
        for name in ready {
            if let Some(warming) = self.warming.remove(&name) {
                self.put_in_force(warming, &mut draft);
                events.push(Event::Warmed { resource: Kind::Cluster, name: name.to_string() });
            }
        }
        Outcome { snapshot: self.publish(draft), events }
    }
}
