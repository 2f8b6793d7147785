//! What a cluster's endpoints are at one moment: the list, and the tables that balancers read.
//!
//! `Membership` is an endpoints resource, compiled once and shared by all clusters that use it. `EndpointSet` is what one
//! cluster made of it; it is immutable, built off the workers when membership or health changes, and swapped in whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::address::Remote;
use super::balance::{Cursor, Tables};
use super::endpoint::{Endpoint, Spec, State};
use super::intern::Interner;
use crate::plan::{self, Locality, PlanError};
use crate::tls::ClientCell;

/// Endpoints of one locality and priority.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalitySpec {
    pub locality: Arc<Locality>,
    /// 0 is the highest.
    pub priority: u32,
    pub weight: u32,
    pub endpoints: Box<[Arc<Spec>]>,
}

/// Most priorities a membership may use: each level is a table.
const MAX_PRIORITY: u32 = 127;

/// An endpoints resource, compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    pub localities: Box<[LocalitySpec]>,
    /// Percent.
    pub overprovisioning: u32,
    /// Requests of a million that are dropped on purpose.
    pub drops_per_million: u32,
}

impl Default for Membership {
    fn default() -> Self {
        Self { localities: Box::default(), overprovisioning: 140, drops_per_million: 0 }
    }
}

impl Membership {
    pub fn compile(plan: &plan::Endpoints, interner: &mut Interner) -> Result<Self, PlanError> {
        if !(0.0..=100.0).contains(&plan.drop_percent) {
            return Err(PlanError::new("drop_percent", "must lie between 0 and 100"));
        }
        if plan.overprovisioning < 100 {
            return Err(PlanError::new("overprovisioning", "must be at least 100"));
        }
        Ok(Self {
            localities: Self::localities(&plan.localities, interner)?,
            overprovisioning: plan.overprovisioning,
            drops_per_million: (plan.drop_percent * 10_000.0).round() as u32,
        })
    }

    /// Refuses host names: those are for `Names`.
    pub fn localities(
        plans: &[plan::LocalityEndpoints],
        interner: &mut Interner,
    ) -> Result<Box<[LocalitySpec]>, PlanError> {
        let mut localities = Vec::with_capacity(plans.len());
        for (index, plan) in plans.iter().enumerate() {
            let within = |problem: PlanError| problem.within(&format!("localities[{index}]"));
            if plan.priority > MAX_PRIORITY {
                return Err(within(PlanError::new("priority", format!("is above {MAX_PRIORITY}"))));
            }
            let mut endpoints = Vec::with_capacity(plan.endpoints.len());
            for (number, endpoint) in plan.endpoints.iter().enumerate() {
                let spec = Spec::compile(endpoint, None, interner)
                    .map_err(|problem| within(problem.within(&format!("endpoints[{number}]"))))?;
                endpoints.push(Arc::new(spec));
            }
            localities.push(LocalitySpec {
                locality: interner.locality(&plan.locality),
                priority: plan.priority,
                weight: plan.weight,
                endpoints: endpoints.into(),
            });
        }
        Ok(localities.into())
    }

    /// The same, with every spec that equals one of `former` replaced by that object.
    #[must_use]
    pub fn sharing(mut self, former: &Self) -> Self {
        let known: HashMap<&Remote, &Arc<Spec>> = former.specs().map(|spec| (&spec.address, spec)).collect();
        for spec in self.localities.iter_mut().flat_map(|locality| locality.endpoints.iter_mut()) {
            if let Some(&same) = known.get(&spec.address)
                && same == spec
            {
                *spec = Arc::clone(same);
            }
        }
        self
    }

    pub fn specs(&self) -> impl Iterator<Item = &Arc<Spec>> {
        self.localities.iter().flat_map(|locality| locality.endpoints.iter())
    }
}

impl Spec {
    /// `address`: what a host name resolved to.
    pub(super) fn compile(
        plan: &plan::Endpoint,
        address: Option<Remote>,
        interner: &mut Interner,
    ) -> Result<Self, PlanError> {
        if plan.weight == 0 {
            return Err(PlanError::new("weight", "must be at least 1"));
        }
        let address = address.or_else(|| Remote::new(&plan.address)).ok_or_else(|| {
            PlanError::new("address", "a host name needs a cluster that resolves names (STRICT_DNS)")
        })?;
        Ok(Self {
            address,
            hostname: interner.text(&plan.hostname),
            weight: plan.weight,
            health: plan.health,
            socket_labels: interner.pairs(&plan.socket_labels),
            labels: interner.labels(&plan.labels),
            takes_http1_in_http2: plan.takes_http1_in_http2,
        })
    }
}

/// A run of `EndpointSet::endpoints` that shares locality, priority and locality weight.
#[derive(Debug, Clone, Default)]
pub struct SetLocality {
    pub locality: Arc<Locality>,
    pub priority: u32,
    pub weight: u32,
    pub start: u32,
    pub end: u32,
}

/// The endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Another for each set of the process; 0 is the empty one.
    pub version: u64,
    pub endpoints: Box<[Arc<Endpoint>]>,
    pub localities: Box<[SetLocality]>,
    pub overprovisioning: u32,
    pub drops_per_million: u32,
    pub(super) tables: Tables,
}

/// What decides on tables beside the endpoints themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub weighted_localities: bool,
    pub panic_threshold: u32,
    /// The balancer steps through weights in turn (round robin).
    pub steps: bool,
}

fn next_version() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

impl EndpointSet {
    /// The request is to be dropped on purpose (`drop_overloads`).
    pub(super) fn drops(&self, cursor: &mut Cursor) -> bool {
        let drops = self.drops_per_million;
        drops > 0 && cursor.below(1_000_000) < u64::from(drops)
    }

    /// The set for `membership`. States of addresses that `former` had are re-used, and whole endpoints where nothing changed.
    pub(super) fn build(
        membership: &Membership,
        former: &Self,
        shape: Shape,
        tls_of: &dyn Fn(&Spec) -> Option<Arc<ClientCell>>,
    ) -> Self {
        let mut known: HashMap<Remote, Arc<Endpoint>> = former
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.address().clone(), Arc::clone(endpoint)))
            .collect();
        let (mut endpoints, mut localities) = (Vec::new(), Vec::new());
        for locality in &membership.localities {
            let start = endpoints.len() as u32;
            for spec in &locality.endpoints {
                let endpoint = renew(known.get(&spec.address), spec, tls_of(spec));
                // An address that is named twice is one endpoint with one state.
                known.entry(spec.address.clone()).or_insert_with(|| Arc::clone(&endpoint));
                endpoints.push(endpoint);
            }
            localities.push(SetLocality {
                locality: Arc::clone(&locality.locality),
                priority: locality.priority,
                weight: locality.weight,
                start,
                end: endpoints.len() as u32,
            });
        }
        let tables = Tables::build(&endpoints, &localities, membership.overprovisioning, shape);
        Self {
            version: next_version(),
            endpoints: endpoints.into(),
            localities: localities.into(),
            overprovisioning: membership.overprovisioning,
            drops_per_million: membership.drops_per_million,
            tables,
        }
    }

    /// The same endpoints under their present health.
    pub(super) fn retabled(&self, shape: Shape) -> Self {
        Self {
            version: next_version(),
            endpoints: self.endpoints.clone(),
            localities: self.localities.clone(),
            overprovisioning: self.overprovisioning,
            drops_per_million: self.drops_per_million,
            tables: Tables::build(&self.endpoints, &self.localities, self.overprovisioning, shape),
        }
    }

    pub fn find(&self, address: &Remote) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.address() == address)
    }
}

/// `spec` under `tls`: the known endpoint itself if nothing changed, else a new one that keeps its state.
pub(super) fn renew(
    known: Option<&Arc<Endpoint>>,
    spec: &Arc<Spec>,
    tls: Option<Arc<ClientCell>>,
) -> Arc<Endpoint> {
    let Some(known) = known else {
        return Arc::new(Endpoint { spec: Arc::clone(spec), tls, state: Arc::new(State::new()) });
    };
    let same = same_tls(known.tls(), tls.as_ref());
    if same && (Arc::ptr_eq(&known.spec, spec) || known.spec == *spec) {
        return Arc::clone(known);
    }
    Arc::new(Endpoint { spec: Arc::clone(spec), tls, state: Arc::clone(&known.state) })
}

pub(super) fn same_tls(left: Option<&Arc<ClientCell>>, right: Option<&Arc<ClientCell>>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => Arc::ptr_eq(left, right),
        (None, None) => true,
        _ => false,
    }
}
