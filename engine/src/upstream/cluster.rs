//! A cluster: what the configuration says (`Policy`), and what lives on through its changes (`Shared`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::balance::{self, Cursor, PickContext};
use super::breaker::Breakers;
use super::destination::Destinations;
use super::endpoint::{Endpoint, Spec};
use super::intern::Interner;
use super::outlier;
use super::set::{EndpointSet, Membership, Shape, same_tls};
use crate::message::{SECOND, Tick};
use crate::plan::{
    self, CircuitBreakers, Discovery, HealthCheck, LoadBalancer, LocalityBalancing, OutlierDetection,
    PlanError, TcpKeepalive, UpstreamHttp, UpstreamTls,
};
use crate::tls::ClientCell;

/// How endpoints are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the cluster itself.
    Static,
    /// By an endpoints resource of this name.
    Service(Arc<str>),
    /// By resolving names.
    Names { refresh: u64, respect_ttl: bool },
    /// Where each connection was meant to go.
    OriginalDestination { header: bool, cleanup_interval: u64 },
}

impl Source {
    fn compile(plan: &Discovery, interner: &mut Interner) -> Self {
        match plan {
            Discovery::Static { .. } => Self::Static,
            Discovery::StrictDns { refresh, respect_ttl, .. } => {
                Self::Names { refresh: *refresh, respect_ttl: *respect_ttl }
            }
            Discovery::Eds { service } => Self::Service(interner.text(service)),
            Discovery::OriginalDestination { header, cleanup_interval } => {
                Self::OriginalDestination { header: *header, cleanup_interval: *cleanup_interval }
            }
        }
    }
}

/// What no type can rule out.
fn check(plan: &plan::Cluster) -> Result<(), PlanError> {
    let provided = plan.load_balancer == LoadBalancer::ClusterProvided {};
    let original = matches!(plan.discovery, Discovery::OriginalDestination { .. });
    if provided != original {
        return Err(PlanError::new(
            "load_balancer",
            "cluster_provided belongs to original destination clusters, and they to it",
        ));
    }
    if plan.name.is_empty() {
        return Err(PlanError::new("name", "a cluster needs a name"));
    }
    if plan.connect_timeout == 0 {
        return Err(PlanError::new("connect_timeout", "must be above 0"));
    }
    if plan.panic_threshold > 100 {
        return Err(PlanError::new("panic_threshold", "is a percentage"));
    }
    if plan.outlier.is_some_and(|outlier| outlier.interval == 0 || outlier.base_ejection_time == 0) {
        return Err(PlanError::new("outlier", "interval and base_ejection_time must be above 0"));
    }
    for (index, health) in plan.health_checks.iter().enumerate() {
        if health.timeout == 0 || health.interval == 0 {
            return Err(PlanError::new(
                format!("health_checks[{index}]"),
                "timeout and interval must be above 0",
            ));
        }
    }
    Ok(())
}

/// What the configuration says of a cluster.
#[derive(Debug)]
pub struct Policy {
    pub name: Arc<str>,
    /// Name in counters.
    pub stat_name: Arc<str>,
    pub source: Source,
    pub balancer: LoadBalancer,
    /// Milliseconds.
    pub connect_timeout: u64,
    pub http: UpstreamHttp,
    pub outlier: Option<OutlierDetection>,
    pub tcp_keepalive: Option<TcpKeepalive>,
    pub source_address: Option<plan::Address>,
    pub health_checks: Box<[HealthCheck]>,
    /// For Istio's metrics; empty if unknown.
    pub service_host: Arc<str>,
    pub service_name: Arc<str>,
    pub service_namespace: Arc<str>,
    pub close_on_health_failure: bool,
    /// Bytes that may wait on a connection before their source is held back; `None` = the usual.
    pub buffer_limit: Option<u32>,
    /// For endpoints that no socket match takes; `None` = clear text.
    pub tls: Option<Arc<ClientCell>>,
    pub socket_matches: Box<[SocketMatch]>,
    breakers: CircuitBreakers,
    shape: Shape,
}

/// TLS for endpoints that carry all of `labels`.
#[derive(Debug)]
pub struct SocketMatch {
    pub name: Arc<str>,
    pub labels: Arc<[(String, String)]>,
    pub tls: Option<Arc<ClientCell>>,
}

impl Policy {
    fn compile(
        plan: &plan::Cluster,
        tls: &mut ClientTls<'_>,
        interner: &mut Interner,
    ) -> Result<Self, PlanError> {
        check(plan)?;
        let mut matches = Vec::with_capacity(plan.socket_matches.len());
        for (index, candidate) in plan.socket_matches.iter().enumerate() {
            let context = candidate.tls.as_ref().map(&mut *tls).transpose();
            matches.push(SocketMatch {
                name: interner.text(&candidate.name),
                labels: interner.pairs(&candidate.labels),
                tls: context.map_err(|problem| problem.within(&format!("socket_matches[{index}].tls")))?,
            });
        }
        let own = plan.tls.as_ref().map(&mut *tls).transpose().map_err(|problem| problem.within("tls"))?;
        let mut label = |name: &str| {
            let found = plan.labels.iter().find(|(known, _)| known == name);
            interner.text(found.map_or("", |(_, value)| value))
        };
        let (service_host, service_name, service_namespace) =
            (label("host"), label("name"), label("namespace"));
        let name: Arc<str> = interner.text(&plan.name);
        let stat_name =
            if plan.stat_name.is_empty() { Arc::clone(&name) } else { interner.text(&plan.stat_name) };
        Ok(Self {
            name,
            stat_name,
            source: Source::compile(&plan.discovery, interner),
            balancer: plan.load_balancer.clone(),
            connect_timeout: plan.connect_timeout,
            http: plan.http.clone(),
            outlier: plan.outlier,
            tcp_keepalive: plan.tcp_keepalive,
            source_address: plan.source_address.clone(),
            health_checks: plan.health_checks.clone().into(),
            service_host,
            service_name,
            service_namespace,
            close_on_health_failure: plan.close_on_health_failure,
            buffer_limit: plan.buffer_limit,
            tls: own,
            socket_matches: matches.into(),
            breakers: plan.breakers,
            shape: Shape {
                weighted_localities: plan.locality == LocalityBalancing::Weighted,
                panic_threshold: plan.panic_threshold,
                steps: plan.load_balancer == LoadBalancer::RoundRobin {},
            },
        })
    }

    /// The first match whose labels the endpoint all has, else the cluster's own.
    pub fn tls_of(&self, endpoint: &Spec) -> Option<Arc<ClientCell>> {
        self.tls_for_labels(&endpoint.socket_labels)
    }

    fn tls_for_labels(&self, labels: &[(String, String)]) -> Option<Arc<ClientCell>> {
        let matching = self
            .socket_matches
            .iter()
            .find(|candidate| candidate.labels.iter().all(|label| labels.contains(label)));
        match matching {
            Some(found) => found.tls.clone(),
            None => self.tls.clone(),
        }
    }

    /// The balancer looks at requests under way: attempts hold an `InFlight`.
    pub fn counts_active(&self) -> bool {
        matches!(self.balancer, LoadBalancer::LeastRequest { .. })
    }
}

/// What outlives updates of a cluster. Changed under `change`; read without a lock.
#[derive(Debug)]
pub(super) struct Shared {
    pub current: ArcSwap<EndpointSet>,
    /// Whoever changes endpoints, health or ejections holds this.
    pub change: Mutex<Change>,
    pub breakers: Arc<Breakers>,
    pub destinations: Destinations,
    /// Nanoseconds: the latest end of an endpoint's `avoided_until`, so that a pick looks at one number while all is well.
    pub avoiding_until: AtomicU64,
}

/// Finds the endpoints now in force, for a worker that keeps the set it saw last.
#[derive(Debug, Clone)]
pub(super) struct Current(Arc<Shared>);

impl std::ops::Deref for Current {
    type Target = ArcSwap<EndpointSet>;
    fn deref(&self) -> &Self::Target {
        &self.0.current
    }
}

/// How long an endpoint is avoided that declined a connection or a request, nanoseconds. Short: only this process knows of
/// it, and one that is started again shall soon have its share.
const AVOIDED: u64 = SECOND;

/// What is only touched while something changes.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Endpoints ejected now.
    pub ejected: u32,
    /// When the ejections were last looked through.
    pub swept: Tick,
}

/// A cluster as one snapshot has it.
#[derive(Debug)]
pub struct Cluster {
    policy: Policy,
    shared: Arc<Shared>,
}

/// Compiles TLS contexts for a cluster: shared by equal plans, following their secrets.
pub type ClientTls<'a> = dyn FnMut(&UpstreamTls) -> Result<Arc<ClientCell>, PlanError> + 'a;

impl Cluster {
    /// `former`: the version it replaces, whose endpoints, permits and ejections live on. Endpoints are set afterwards,
    /// by `set_membership`, except for static ones.
    pub fn compile(
        plan: &plan::Cluster,
        tls: &mut ClientTls<'_>,
        interner: &mut Interner,
        former: Option<&Self>,
    ) -> Result<Self, PlanError> {
        let policy = Policy::compile(plan, tls, interner)?;
        let shared = match former {
            Some(former) => Arc::clone(&former.shared),
            None => Arc::new(Shared {
                current: ArcSwap::from_pointee(EndpointSet::default()),
                change: Mutex::default(),
                breakers: Arc::default(),
                destinations: Destinations::default(),
                avoiding_until: AtomicU64::new(0),
            }),
        };
        Ok(Self { policy, shared })
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub fn name(&self) -> &Arc<str> {
        &self.policy.name
    }

    /// The same for all versions of a cluster, another for each cluster that is there.
    pub(super) fn identity(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    pub fn breakers(&self) -> &Arc<Breakers> {
        &self.shared.breakers
    }

    /// For all versions of the cluster.
    pub(super) fn current(&self) -> Current {
        Current(Arc::clone(&self.shared))
    }

    /// The endpoints now in force.
    pub fn endpoints(&self) -> Guard<Arc<EndpointSet>> {
        self.shared.current.load()
    }

    /// Every endpoint there is, original destinations included: for those who show or count them.
    pub fn list_endpoints(&self) -> Vec<Arc<Endpoint>> {
        match self.policy.source {
            Source::OriginalDestination { .. } => self.shared.destinations.list(),
            _ => self.endpoints().endpoints.to_vec(),
        }
    }

    /// Where a request goes depends on where its client meant to go.
    pub fn is_of_original_destinations(&self) -> bool {
        matches!(self.policy.source, Source::OriginalDestination { .. })
    }

    /// An endpoint for a request, `None` if none may be used. `cursor` is the calling worker's.
    pub fn pick(&self, cursor: &mut Cursor, context: &PickContext<'_>) -> Option<Arc<Endpoint>> {
        self.pick_from(&self.endpoints(), cursor, context)
    }

    /// As `pick`, from the set that is in force and that the caller holds already.
    pub(super) fn pick_from(
        &self,
        set: &EndpointSet,
        cursor: &mut Cursor,
        context: &PickContext<'_>,
    ) -> Option<Arc<Endpoint>> {
        cursor.panicked = false;
        if let Source::OriginalDestination { header, .. } = self.policy.source {
            let wanted = context.destination_header.filter(|_| header).or(context.original_destination)?;
            return self.destination(wanted, context.now);
        }
        let avoiding = self.shared.avoiding_until.load(Relaxed) > context.now.0;
        balance::pick(set, &self.policy.balancer, cursor, context, avoiding)
    }

    /// One that is not among `context.tried`, of whatever priority; `None` if all were tried. Original destinations have no
    /// other.
    pub fn pick_other(&self, cursor: &mut Cursor, context: &PickContext<'_>) -> Option<Arc<Endpoint>> {
        if self.is_of_original_destinations() {
            return None;
        }
        let context = PickContext { reselections: context.reselections.max(1), ..*context };
        let set = self.endpoints();
        let avoiding = self.shared.avoiding_until.load(Relaxed) > context.now.0;
        let picked = balance::pick(&set, &self.policy.balancer, cursor, &context, avoiding)?;
        if !context.tried.contains(&picked.id()) {
            return Some(picked);
        }
        balance::any_untried(&set, cursor, &context)
    }

    /// The endpoint has declined a connection or a request: others are asked first for a moment.
    pub fn note_declined(&self, endpoint: &Endpoint, now: Tick) {
        let until = now + AVOIDED;
        endpoint.state.avoided_until.store(until.0, Relaxed);
        self.shared.avoiding_until.fetch_max(until.0, Relaxed);
    }

    fn destination(&self, wanted: SocketAddr, now: Tick) -> Option<Arc<Endpoint>> {
        self.shared.destinations.find(wanted, self.policy.tls_for_labels(&[]), now)
    }

    /// Forgets original destinations that nobody has used for the cleanup interval. Called by the slow worker.
    pub fn sweep_destinations(&self, now: Tick) {
        if let Source::OriginalDestination { cleanup_interval, .. } = self.policy.source {
            self.shared.destinations.sweep(cleanup_interval, now);
        }
    }

    /// Puts this version in force: its limits, and `membership` under its TLS contexts and balancing. Called once, when the
    /// snapshot that holds it is published; a version that still warms leaves everything to its predecessor.
    pub fn take_force(&self, membership: &Membership) {
        self.shared.breakers.set(&self.policy.breakers);
        self.set_membership(membership);
    }

    /// The endpoints are these from now on. States of addresses that stay are kept.
    pub fn set_membership(&self, membership: &Membership) {
        let mut change = self.change();
        let former = self.shared.current.load_full();
        let set = self.build_set(membership, &former);
        if !self.policy.health_checks.is_empty() && set.await_first_pass(&former) {
            // Their bits have just changed.
            let set = set.retabled(self.policy.shape);
            change.ejected = outlier::count_ejected(&set);
            self.shared.current.store(Arc::new(set));
            return;
        }
        change.ejected = outlier::count_ejected(&set);
        self.shared.current.store(Arc::new(set));
    }

    /// What `membership` would be in this version, without putting it in force: for warming. New endpoints wait for their
    /// first pass where there are checks.
    /// `former`: the preview before this one.
    pub fn preview(&self, membership: &Membership, former: Option<&EndpointSet>) -> Arc<EndpointSet> {
        let current = self.shared.current.load();
        let former = former.unwrap_or(&current);
        let set = self.build_set(membership, former);
        if !self.policy.health_checks.is_empty() {
            set.await_first_pass(former);
        }
        Arc::new(set)
    }

    /// Puts a previewed set in force, states and all.
    pub fn adopt(&self, membership: &Membership, preview: &EndpointSet) {
        self.shared.breakers.set(&self.policy.breakers);
        let mut change = self.change();
        let set = self.build_set(membership, preview);
        change.ejected = outlier::count_ejected(&set);
        self.shared.current.store(Arc::new(set));
    }

    fn build_set(&self, membership: &Membership, former: &EndpointSet) -> EndpointSet {
        EndpointSet::build(membership, former, self.policy.shape, &|spec| self.policy.tls_of(spec))
    }

    /// The endpoint is one of this cluster as it is now, under the same TLS context, and its connections may stay.
    pub fn holds(&self, endpoint: &Endpoint) -> bool {
        if matches!(self.policy.source, Source::OriginalDestination { .. }) {
            return same_tls(endpoint.tls(), self.policy.tls_for_labels(&[]).as_ref());
        }
        let set = self.endpoints();
        let found = set.endpoints.iter().find(|known| known.id() == endpoint.id());
        found.is_some_and(|found| {
            same_tls(found.tls(), endpoint.tls())
                && !(self.policy.close_on_health_failure && found.failed_health_check())
        })
    }

    pub(super) fn change(&self) -> MutexGuard<'_, Change> {
        self.shared.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Health of some endpoint has changed: picks follow from now on. The caller holds `change`.
    pub(super) fn retable(&self, _change: &mut Change) {
        let set = self.shared.current.load().retabled(self.policy.shape);
        self.shared.current.store(Arc::new(set));
    }
}
