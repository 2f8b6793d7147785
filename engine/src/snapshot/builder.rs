//! Deltas in, snapshots out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::compile::{Parts, compile_listener};
use super::secrets::{KeyRing, SecretStore};
use super::view::Snapshot;
use crate::filter::Registry;
use crate::plan::{
    self, ApplyReport, Delta, Discovery, Held, Kind, PlanError, RefusedResource, Removal, Upsert,
};
use crate::route::Table;
use crate::upstream::{Cluster, Interner, Membership, Source};

/// Where a cluster's endpoints come from.
#[derive(Debug)]
enum Endpoints {
    Own(Arc<Membership>),
    /// By an endpoints resource of this name.
    Service(Arc<str>),
}

/// Makes snapshots. One per engine, behind a mutex, called outside the workers.
pub struct Builder {
    current: Arc<Snapshot>,
    secrets: SecretStore,
    interner: Interner,
    registry: Registry,
    digests: BTreeMap<(Kind, Arc<str>), Box<str>>,
    memberships: HashMap<Arc<str>, Arc<Membership>>,
    clusters: HashMap<Arc<str>, Endpoints>,
    /// Clusters by the endpoints resource they use.
    users: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

/// What one delta changes.
struct Draft {
    next: Snapshot,
    /// Something that workers hold has changed, so that they need the next snapshot.
    changed: bool,
}

impl Builder {
    pub fn new(keys: Arc<KeyRing>) -> Self {
        Self {
            current: Arc::default(),
            secrets: SecretStore::new(keys),
            interner: Interner::default(),
            registry: Registry::default(),
            digests: BTreeMap::new(),
            memberships: HashMap::new(),
            clusters: HashMap::new(),
            users: HashMap::new(),
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.current
    }

    /// Puts a delta in force: upserts in the order of their kinds, then removals in reverse. A resource that fails is
    /// refused with path and reason and keeps its last good version. The snapshot is there if workers need a new one
    /// (new endpoints and secrets reach them through what they hold).
    pub fn apply(&mut self, delta: Delta) -> (Option<Arc<Snapshot>>, ApplyReport) {
        let mut report = ApplyReport::default();
        let mut draft = Draft { next: Snapshot::clone(&self.current), changed: false };
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
        self.secrets.sweep();
        self.interner.sweep();
        let published = draft.changed.then(|| self.publish(draft.next));
        report.generation = self.current.generation;
        (published, report)
    }

    fn publish(&mut self, mut next: Snapshot) -> Arc<Snapshot> {
        next.generation = self.current.generation + 1;
        self.current = Arc::new(next);
        Arc::clone(&self.current)
    }

    /// What is held of each resource: for a brain that starts over.
    pub fn held(&self) -> Vec<Held> {
        let held = |((resource, name), digest): (&(Kind, Arc<str>), &Box<str>)| Held {
            resource: *resource,
            name: name.to_string(),
            digest: digest.to_string(),
        };
        self.digests.iter().map(held).collect()
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
            Kind::Route => {
                let plan = decode(upsert, |plan: &plan::RouteTable| &plan.name)?;
                let table = Table::compile(&plan, &self.registry)?;
                draft.next.tables.insert(&upsert.name, Arc::new(table));
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
        for cluster in self.users.get(&service).into_iter().flatten() {
            if let Some(cluster) = draft.next.clusters.get(cluster) {
                cluster.set_membership(&membership);
            }
        }
        self.memberships.insert(service, membership);
        Ok(())
    }

    fn upsert_cluster(&mut self, plan: &plan::Cluster, draft: &mut Draft) -> Result<(), PlanError> {
        let former = draft.next.clusters.get(&plan.name).cloned();
        let secrets = &mut self.secrets;
        let cluster =
            Cluster::compile(plan, &mut |tls| secrets.client(tls), &mut self.interner, former.as_deref())?;
        let own = match &plan.discovery {
            Discovery::Static { localities } => Membership {
                localities: Membership::localities(localities, &mut self.interner)
                    .map_err(|problem| problem.within("discovery"))?,
                ..Membership::default()
            },
            _ => Membership::default(),
        };
        let name = Arc::clone(cluster.name());
        self.forget_use(&name);
        let endpoints = match &cluster.policy().source {
            Source::Service(service) => {
                self.users.entry(Arc::clone(service)).or_default().insert(Arc::clone(&name));
                Endpoints::Service(Arc::clone(service))
            }
            _ => Endpoints::Own(Arc::new(own)),
        };
        let membership = match &endpoints {
            Endpoints::Own(membership) => Arc::clone(membership),
            Endpoints::Service(service) => self.memberships.get(service).cloned().unwrap_or_default(),
        };
        cluster.take_force(&membership);
        self.clusters.insert(Arc::clone(&name), endpoints);
        draft.next.clusters.insert(&name, Arc::new(cluster));
        draft.changed = true;
        Ok(())
    }

    fn forget_use(&mut self, cluster: &str) {
        if let Some(Endpoints::Service(service)) = self.clusters.get(cluster)
            && let Some(users) = self.users.get_mut(service)
        {
            users.remove(cluster);
            if users.is_empty() {
                let service = Arc::clone(service);
                self.users.remove(&service);
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
                self.forget_use(&name);
                self.clusters.remove(&name);
                draft.changed |= draft.next.clusters.remove(&name).is_some();
            }
            Kind::Route => draft.changed |= draft.next.tables.remove(&name).is_some(),
            Kind::Listener => draft.changed |= draft.next.listeners.remove(&name).is_some(),
        }
    }
}

/// The typed struct of an upsert, whose own name must be the resource's.
fn decode<T: DeserializeOwned>(upsert: &Upsert, name: impl Fn(&T) -> &String) -> Result<T, PlanError> {
    let plan: T = rmp_serde::from_slice(&upsert.body)
        .map_err(|error| PlanError::new("", format!("cannot be decoded: {error}")))?;
    if *name(&plan) != upsert.name {
        return Err(PlanError::new("name", format!("is \"{}\", not \"{}\"", name(&plan), upsert.name)));
    }
    Ok(plan)
}
