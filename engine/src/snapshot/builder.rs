//! Deltas in, snapshots out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::compile::{Parts, compile_listener};
use super::monitor::Monitor;
use super::secrets::{KeyRing, SecretStore};
use super::shards::Shards;
use super::view::Snapshot;
use super::warm::Warming;
use crate::filter::Registry;
use crate::message::Tick;
use crate::plan::{
    self, ApplyReport, Delta, Discovery, Held, Kind, PlanError, RefusedResource, Removal, Upsert,
};
use crate::route::Table;
use crate::tls::Material;
use crate::upstream::{Cluster, Interner, Membership, Names, Source};

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone)]
pub(super) enum Endpoints {
    /// Of the cluster itself, or none (original destination).
    Own(Arc<Membership>),
    /// By resolving names.
    Names,
    /// By an endpoints resource of this name.
    Service(Arc<str>),
}

/// Makes snapshots. One per engine, behind a mutex, called outside the workers.
pub struct Builder {
    pub(super) current: Arc<Snapshot>,
    secrets: SecretStore,
    pub(super) interner: Interner,
    registry: Registry,
    digests: BTreeMap<(Kind, Arc<str>), Box<str>>,
    /// Changes since what nothing holds any more was last forgotten.
    untidied: usize,
    memberships: HashMap<Arc<str>, Arc<Membership>>,
    /// Of clusters in force.
    pub(super) clusters: HashMap<Arc<str>, Endpoints>,
    /// Clusters, in force or warming, by the endpoints resource they use.
    users: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    pub(super) warming: BTreeMap<Arc<str>, Warming>,
    pub(super) names: BTreeMap<Arc<str>, Names>,
    pub(super) monitor: Monitor,
    pub(super) dice: Dice,
}

/// Random numbers that spread probes over time (splitmix64).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Builder(generation {})", self.current.generation)
    }
}

/// What one change makes of the snapshot.
pub(super) struct Draft {
    pub next: Snapshot,
    /// Something that workers hold has changed, so that they need the next snapshot.
    pub changed: bool,
    pub now: Tick,
}

impl Draft {
    fn tables(&mut self, kind: Kind) -> &mut Shards<Table> {
        if kind == Kind::GenericRoute { &mut self.next.generic_tables } else { &mut self.next.tables }
    }
}

impl Builder {
    /// `seed`: any number, another for each process.
    pub fn new(keys: Arc<KeyRing>, seed: u64) -> Self {
        Self {
            current: Arc::default(),
            secrets: SecretStore::new(keys),
            interner: Interner::default(),
            registry: Registry::default(),
            digests: BTreeMap::new(),
            untidied: 0,
            memberships: HashMap::new(),
            clusters: HashMap::new(),
            users: HashMap::new(),
            warming: BTreeMap::new(),
            names: BTreeMap::new(),
            monitor: Monitor::default(),
            dice: Dice(seed),
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.current
    }

    /// Puts a delta in force: upserts in the order of their kinds, then removals in reverse. A resource that fails is
    /// refused with path and reason and keeps its last good version. The snapshot is there if workers need a new one
    /// (new endpoints and secrets reach them through what they hold).
    pub fn apply(&mut self, delta: Delta, now: Tick) -> (Option<Arc<Snapshot>>, ApplyReport) {
        let mut report = ApplyReport::default();
        let mut draft = self.draft(now);
        let mut upserts = delta.upserts;
        upserts.sort_by_key(|upsert| upsert.resource);
        for upsert in &upserts {
            match self.upsert(upsert, &mut draft) {
                Ok(()) => report.accepted += 1,
                Err(problem) => report.refused.push(RefusedResource {
                    resource: upsert.resource,
                    name: upsert.name.clone(),
                    path: problem.path,
                    reason: problem.reason,
                }),
            }
        }
        let mut removals = delta.removals;
        removals.sort_by_key(|removal| std::cmp::Reverse(removal.resource));
        for removal in &removals {
            self.remove(removal, &mut draft);
            report.accepted += 1;
        }
        self.tidy(upserts.len() + removals.len());
        let published = self.publish(draft);
        report.generation = self.current.generation;
        (published, report)
    }

    /// Checks resources that wait for what they need, without putting them in force: they may wait for ever, and their
    /// author should hear of it. Route tables are checked; other kinds pass, and are judged by `apply`.
    pub fn check(&self, upserts: &[Upsert]) -> ApplyReport {
        let mut report = ApplyReport { generation: self.current.generation, ..ApplyReport::default() };
        for upsert in upserts {
            match self.try_out(upsert) {
                Ok(()) => report.accepted += 1,
                Err(problem) => report.refused.push(RefusedResource {
                    resource: upsert.resource,
                    name: upsert.name.clone(),
                    path: problem.path,
                    reason: problem.reason,
                }),
            }
        }
        report
    }

    fn try_out(&self, upsert: &Upsert) -> Result<(), PlanError> {
        if !matches!(upsert.resource, Kind::Route | Kind::GenericRoute) {
            return Ok(());
        }
        let plan = decode(upsert, |plan: &plan::RouteTable| &plan.name)?;
        Table::compile(&plan, &self.registry).map(drop)
    }

    /// Forgets what nothing holds any more, once enough has changed to pay for looking everything through.
    fn tidy(&mut self, changes: usize) {
        self.untidied += changes;
        if self.untidied * 4 >= self.digests.len() {
            self.untidied = 0;
            self.secrets.sweep();
            self.interner.sweep();
        }
    }

    pub(super) fn draft(&self, now: Tick) -> Draft {
        Draft { next: Snapshot::clone(&self.current), changed: false, now }
    }

    pub(super) fn publish(&mut self, mut draft: Draft) -> Option<Arc<Snapshot>> {
        if !draft.changed {
            return None;
        }
        draft.next.generation = self.current.generation + 1;
        self.current = Arc::new(draft.next);
        Some(Arc::clone(&self.current))
    }

    /// Secrets in force.
    pub fn materials(&self) -> Vec<(String, Arc<Material>)> {
        self.secrets.materials()
    }

    /// What is held of each resource: for a brain that starts over.
    pub fn held(&self) -> Vec<Held> {
        let digests = self.digests.iter();
        digests
            .map(|((resource, name), digest)| Held {
                resource: *resource,
                name: name.to_string(),
                digest: digest.to_string(),
            })
            .collect()
    }

    /// Secrets in force, by name.
    pub fn secrets(&self) -> Vec<(String, Arc<Material>)> {
        self.secrets.list()
    }

    fn upsert(&mut self, upsert: &Upsert, draft: &mut Draft) -> Result<(), PlanError> {
        let name: Arc<str> = upsert.name.as_str().into();
        let key = (upsert.resource, Arc::clone(&name));
        if self.digests.get(&key).is_some_and(|held| **held == *upsert.digest) {
            return Ok(());
        }
        match upsert.resource {
            Kind::Secret => {
                let plan: plan::Secret = decode(upsert, |plan: &plan::Secret| &plan.name)?;
                self.secrets.upsert(&upsert.name, &plan.material)?;
            }
            Kind::Endpoints => {
                self.upsert_endpoints(decode(upsert, |plan: &plan::Endpoints| &plan.service)?, draft)?
            }
            Kind::Cluster => {
                self.upsert_cluster(&decode(upsert, |plan: &plan::Cluster| &plan.name)?, draft)?
            }
            Kind::Route | Kind::GenericRoute => {
                let plan = decode(upsert, |plan: &plan::RouteTable| &plan.name)?;
                let table = Arc::new(Table::compile(&plan, &self.registry)?);
                draft.tables(upsert.resource).insert(&upsert.name, table);
                draft.changed = true;
            }
            Kind::Listener => {
                let plan = decode(upsert, |plan: &plan::Listener| &plan.name)?;
                let former = draft.next.listeners.get(&name);
                let mut parts = Parts { secrets: &mut self.secrets, registry: &self.registry };
                let listener = compile_listener(plan, former.map(|former| &**former), &mut parts)?;
                draft.next.listeners.insert(Arc::clone(&name), Arc::new(listener));
                draft.changed = true;
            }
        }
        self.digests.insert(key, upsert.digest.as_str().into());
        Ok(())
    }

    fn upsert_endpoints(&mut self, plan: plan::Endpoints, draft: &mut Draft) -> Result<(), PlanError> {
        let mut membership = Membership::compile(&plan, &mut self.interner)?;
        let service = self.interner.text(&plan.service);
        if let Some(former) = self.memberships.get(&service) {
            membership = membership.sharing(former);
        }
        let membership = Arc::new(membership);
        let users: Vec<_> = self.users.get(&service).into_iter().flatten().cloned().collect();
        self.memberships.insert(Arc::clone(&service), Arc::clone(&membership));
        for cluster in users {
            let uses =
                |endpoints: &Endpoints| matches!(endpoints, Endpoints::Service(used) if *used == service);
            if self.clusters.get(&cluster).is_some_and(uses)
                && let Some(cluster) = draft.next.clusters.get(&cluster)
            {
                self.replace_membership(cluster, &membership, draft.now);
            }
            if self.warming.get(&cluster).is_some_and(|warming| uses(&warming.endpoints)) {
                self.rewarm(&cluster, Arc::clone(&membership), draft.now);
            }
        }
        Ok(())
    }

    fn upsert_cluster(&mut self, plan: &plan::Cluster, draft: &mut Draft) -> Result<(), PlanError> {
        let former = draft.next.clusters.get(&plan.name).cloned();
        let secrets = &mut self.secrets;
        let cluster =
            Cluster::compile(plan, &mut |tls| secrets.client(tls), &mut self.interner, former.as_deref())?;
        let (endpoints, names) = self.find_endpoints(plan, &cluster)?;
        let cluster = Arc::new(cluster);
        // From here on nothing can fail: the former version is given up.
        let name = Arc::clone(cluster.name());
        let abandoned = self.warming.remove(&name).map(|warming| warming.endpoints);
        self.forget_use(&name, abandoned);
        match names {
            Some(names) => drop(self.names.insert(Arc::clone(&name), names)),
            None => drop(self.names.remove(&name)),
        }
        if let Endpoints::Service(service) = &endpoints {
            self.users.entry(Arc::clone(service)).or_default().insert(Arc::clone(&name));
        }
        self.begin_warming(cluster, endpoints, draft);
        Ok(())
    }

    /// Where the endpoints come from; fails if they are in the plan and wrong.
    fn find_endpoints(
        &mut self,
        plan: &plan::Cluster,
        cluster: &Cluster,
    ) -> Result<(Endpoints, Option<Names>), PlanError> {
        let within = |problem: PlanError| problem.within("discovery");
        let own = |membership| Endpoints::Own(Arc::new(membership));
        Ok(match (&plan.discovery, &cluster.policy().source) {
            (Discovery::StrictDns { localities, refresh, respect_ttl }, _) => {
                // Judged before the former names are given up.
                Names::new(localities, *refresh, *respect_ttl, None)
                    .membership(&mut self.interner)
                    .map_err(within)?;
                let former = self.names.remove(cluster.name());
                (Endpoints::Names, Some(Names::new(localities, *refresh, *respect_ttl, former)))
            }
            (Discovery::Static { localities }, _) => {
                let localities = Membership::localities(localities, &mut self.interner).map_err(within)?;
                (own(Membership { localities, ..Membership::default() }), None)
            }
            (_, Source::Service(service)) => (Endpoints::Service(Arc::clone(service)), None),
            _ => (own(Membership::default()), None),
        })
    }

    /// The endpoints as far as they are known.
    pub(super) fn membership_of(&mut self, cluster: &str, endpoints: &Endpoints) -> Arc<Membership> {
        match endpoints {
            Endpoints::Own(membership) => Arc::clone(membership),
            Endpoints::Service(service) => self.memberships.get(service).cloned().unwrap_or_default(),
            Endpoints::Names => {
                let names = self.names.get(cluster);
                let membership = names.map(|names| names.membership(&mut self.interner));
                // The plan was judged when it came; answers only add addresses.
                Arc::new(membership.and_then(Result::ok).unwrap_or_default())
            }
        }
    }

    /// New endpoints of a cluster in force.
    pub(super) fn replace_membership(&mut self, cluster: &Arc<Cluster>, membership: &Membership, now: Tick) {
        cluster.set_membership(membership);
        self.monitor.watch(cluster, &cluster.endpoints(), now, &mut || self.dice.roll());
    }

    /// A version is in force: workers find it in the next snapshot.
    pub(super) fn install(&mut self, cluster: Arc<Cluster>, endpoints: Endpoints, draft: &mut Draft) {
        let name = Arc::clone(cluster.name());
        self.monitor.watch(&cluster, &cluster.endpoints(), draft.now, &mut || self.dice.roll());
        let former = self.clusters.insert(Arc::clone(&name), endpoints);
        self.forget_use(&name, former);
        draft.next.clusters.insert(&name, cluster);
        draft.changed = true;
    }

    fn uses(&self, cluster: &str, service: &str) -> bool {
        let uses =
            |endpoints: &Endpoints| matches!(endpoints, Endpoints::Service(used) if **used == *service);
        self.clusters.get(cluster).is_some_and(uses)
            || self.warming.get(cluster).is_some_and(|warming| uses(&warming.endpoints))
    }

    /// A version of the cluster is gone, and with it its use of an endpoints resource, unless another version has it too.
    fn forget_use(&mut self, cluster: &str, gone: Option<Endpoints>) {
        if let Some(Endpoints::Service(service)) = gone
            && !self.uses(cluster, &service)
        {
            self.forget_user(&service, cluster);
        }
    }

    fn forget_user(&mut self, service: &str, cluster: &str) {
        if let Some(users) = self.users.get_mut(service) {
            users.remove(cluster);
            if users.is_empty() {
                self.users.remove(service);
            }
        }
    }

    fn remove(&mut self, removal: &Removal, draft: &mut Draft) {
        let name: Arc<str> = removal.name.as_str().into();
        self.digests.remove(&(removal.resource, Arc::clone(&name)));
        match removal.resource {
            Kind::Secret => self.secrets.remove(&name),
            // Clusters that use it keep what they have until they go or it comes again, as in Envoy.
            Kind::Endpoints => {
                self.memberships.remove(&name);
            }
            Kind::Cluster => {
                let warming = self.warming.remove(&name).map(|warming| warming.endpoints);
                let current = self.clusters.remove(&name);
                self.forget_use(&name, warming);
                self.forget_use(&name, current);
                self.names.remove(&name);
                self.monitor.forget(&name);
                draft.changed |= draft.next.clusters.remove(&name).is_some();
            }
            Kind::Route | Kind::GenericRoute => {
                draft.changed |= draft.tables(removal.resource).remove(&name).is_some();
            }
            Kind::Listener => draft.changed |= draft.next.listeners.remove(&name).is_some(),
        }
    }
}

/// The typed struct of an upsert, whose own name must be the resource's.
fn decode<T: DeserializeOwned>(upsert: &Upsert, name: impl Fn(&T) -> &String) -> Result<T, PlanError> {
    let plan: T = plan::decode(&upsert.body)?;
    if *name(&plan) != upsert.name {
        return Err(PlanError::new("name", format!("is \"{}\", not \"{}\"", name(&plan), upsert.name)));
    }
    Ok(plan)
}
