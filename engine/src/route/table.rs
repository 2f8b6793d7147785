//! A route table, compiled: virtual hosts, their routes in order, and the decision.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::action::{Action, Fixed, Forward, Inherited};
use super::candidates::Candidates;
use super::headers::HeaderChanges;
use super::host::HostIndex;
use super::matches::Matcher;
use super::overrides::{CompileOverride, Overrides};
use super::redirect::Redirector;
use super::retry::RetryPolicy;
use super::rewrite::{set_host, set_path};
use crate::message::{Name, NameId, RequestHead, ResponseHead};
use crate::plan::{self, PlanError, RouteTable};
use crate::telemetry::log_format::Source;

/// What is decided from.
#[derive(Debug, Clone, Copy)]
pub struct RouteInput<'a> {
    pub head: &'a RequestHead,
    /// The client's connection is TLS; for hosts that require it, unless `x-forwarded-proto` says otherwise.
    pub is_tls: bool,
    /// One fresh number; shares and weights are taken from it.
    pub random: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Decision {
    /// To the cluster of that name, if the snapshot has it (else `Forward::cluster_not_found_status`). `named`: by the request; most
    /// clusters are the route's own (`cluster`). `weighted`: which entry of the weighted clusters, to be handed back to the
    /// route's functions.
    Forward { route: Arc<CompiledRoute>, named: Option<Box<str>>, weighted: Option<u16> },
    /// `route` is `None` when the virtual host requires TLS.
    Redirect { route: Option<Arc<CompiledRoute>>, status: u16, location: Box<[u8]> },
    /// With the route's `response`.
    Respond { route: Arc<CompiledRoute> },
    /// No virtual host or no route: 404, flag NR, details `route_not_found`.
    NotFound,
    /// 404 unless a filter answers.
    NonForwarding { route: Arc<CompiledRoute> },
}

impl Decision {
    pub fn route(&self) -> Option<&Arc<CompiledRoute>> {
        match self {
            Self::Forward { route, .. } | Self::Respond { route } | Self::NonForwarding { route } => {
                Some(route)
            }
            Self::Redirect { route, .. } => route.as_ref(),
            Self::NotFound => None,
        }
    }

    pub fn weighted(&self) -> Option<u16> {
        match self {
            Self::Forward { weighted, .. } => *weighted,
            _ => None,
        }
    }

    /// Name of the cluster that takes the request; empty if none does.
    pub fn cluster(&self) -> &str {
        match self {
            Self::Forward { named: Some(name), .. } => name,
            Self::Forward { route, weighted, .. } => {
                route.forward().map_or("", |forward| forward.cluster(*weighted))
            }
            _ => "",
        }
    }

    /// What the route says for filters by their names.
    pub fn overrides(&self) -> &Overrides {
        self.route().map_or(Overrides::none(), |route| route.overrides(self.weighted()))
    }
}

#[derive(Debug)]
pub struct Table {
    pub name: Box<str>,
    index: HostIndex,
    hosts: Box<[Host]>,
    internal_only: Box<[Name]>,
    to_https: Redirector,
}

#[derive(Debug)]
struct Host {
    policy: Arc<VirtualHost>,
    routes: Box<[Arc<CompiledRoute>]>,
    candidates: Candidates,
}

/// What all routes of a virtual host share.
#[derive(Debug)]
pub struct VirtualHost {
    pub name: Box<str>,
    /// `x-envoy-attempt-count` to the endpoint.
    pub send_attempt_count: bool,
    return_attempt_count: bool,
    require_tls: bool,
    request: HeaderChanges,
    response: HeaderChanges,
    level: Arc<Level>,
}

/// What all virtual hosts of a table share.
#[derive(Debug)]
struct Level {
    request: HeaderChanges,
    response: HeaderChanges,
    most_specific_wins: bool,
}

#[derive(Debug)]
pub struct CompiledRoute {
    /// Empty if unnamed.
    pub name: Box<str>,
    /// `decorator.operation`, empty if none.
    pub operation: Box<str>,
    pub host: Arc<VirtualHost>,
    pub action: Action,
    /// `x-envoy-attempt-count` to the client: the host's, at hand for each response.
    pub return_attempt_count: bool,
    /// Requests, or responses, are changed on their way at all: mostly they are not.
    changes_request: bool,
    changes_response: bool,
    matcher: Matcher,
    request: HeaderChanges,
    response: HeaderChanges,
    overrides: Overrides,
}

impl Table {
    /// `overrides` compiles what routes say for filters (`filter::Registry`).
    pub fn compile(plan: &RouteTable, overrides: &dyn CompileOverride) -> Result<Self, PlanError> {
        let level = Arc::new(Level {
            request: HeaderChanges::of_request(&plan.headers)?,
            response: HeaderChanges::of_response(&plan.headers)?,
            most_specific_wins: plan.most_specific_headers_win,
        });
        let mut index = HostIndex::new(plan.ignore_port, plan.case_sensitive);
        let mut hosts = Vec::with_capacity(plan.virtual_hosts.len());
        for (number, host) in plan.virtual_hosts.iter().enumerate() {
            let path = format!("virtual_hosts[{number}]");
            for (position, domain) in host.domains.iter().enumerate() {
                index
                    .insert(domain, number as u32)
                    .map_err(|problem| problem.within(&format!("{path}.domains[{position}]")))?;
            }
            let scope = format!("{}/{}", plan.name, host.name);
            hosts.push(
                Host::compile(host, &level, &scope, overrides).map_err(|problem| problem.within(&path))?,
            );
        }
        Ok(Self {
            name: plan.name.as_str().into(),
            index,
            hosts: hosts.into(),
            internal_only: plan.internal_only_headers.iter().map(|name| Name::new(name)).collect(),
            to_https: Redirector::to_https(),
        })
    }

    /// Pure: equal inputs give equal decisions.
    pub fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let head = input.head;
        let Some(host) = self.index.find(head.authority()).and_then(|index| self.hosts.get(index as usize))
        else {
            return Decision::NotFound;
        };
        if host.policy.require_tls && !is_https(input) {
            let location = self.to_https.location(head, 0).into();
            return Decision::Redirect { route: None, status: self.to_https.status, location };
        }
        host.find(input).map_or(Decision::NotFound, |route| route.decide(input))
    }

    /// Removes from a request that came from outside what only the inside may send (`internal_only_headers`).
    pub fn remove_internal_headers(&self, head: &mut RequestHead) {
        for name in &self.internal_only {
            head.headers.remove(name);
        }
    }

    /// Every route, by virtual host and in order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<CompiledRoute>> {
        self.hosts.iter().flat_map(|host| &host.routes)
    }

    /// Names of the virtual hosts with their domains are the plan's; how many there are is for pages.
    pub fn virtual_hosts(&self) -> usize {
        self.hosts.len()
    }
}

impl Host {
    fn compile(
        plan: &plan::VirtualHost,
        level: &Arc<Level>,
        scope: &str,
        compiler: &dyn CompileOverride,
    ) -> Result<Self, PlanError> {
        let retry = plan
            .retry
            .as_ref()
            .map(|retry| RetryPolicy::compile(retry).map(Arc::new).map_err(|problem| problem.within("retry")))
            .transpose()?;
        let policy = Arc::new(VirtualHost {
            name: plan.name.as_str().into(),
            send_attempt_count: plan.send_attempt_count,
            return_attempt_count: plan.return_attempt_count,
            require_tls: plan.require_tls,
            request: HeaderChanges::of_request(&plan.headers)?,
            response: HeaderChanges::of_response(&plan.headers)?,
            level: Arc::clone(level),
        });
        let overrides = Overrides::compile(&plan.filters, scope, compiler)?;
        let compile = |(index, route): (usize, &plan::Route)| {
            // A route is the same place as long as it has its name and matches the same; its position may change.
            let mut hasher = DefaultHasher::new();
            route.matches.hash(&mut hasher);
            let scope = format!("{scope}/{}/{:016x}", route.name, hasher.finish());
            let inherited = Inherited {
                retry: retry.as_ref(),
                mirrors: &plan.mirrors,
                overrides: &overrides,
                scope: &scope,
                compiler,
            };
            CompiledRoute::compile(route, &policy, inherited)
                .map(Arc::new)
                .map_err(|problem| problem.within(&format!("routes[{index}]")))
        };
        let routes: Box<[_]> =
            plan.routes.iter().enumerate().map(compile).collect::<Result<_, PlanError>>()?;
        let candidates = Candidates::new(routes.iter().map(|route: &Arc<CompiledRoute>| &route.matcher));
        Ok(Self { policy, routes, candidates })
    }

    /// The first route that matches.
    fn find(&self, input: &RouteInput<'_>) -> Option<&Arc<CompiledRoute>> {
        let matches = |route: usize, proven| {
            let route = self.routes.get(route);
            route.is_some_and(|route| route.matcher.matches(input.head, proven, input.random))
        };
        self.routes.get(self.candidates.first(input.head, self.routes.len(), matches)?)
    }
}

/// A proxy before us may have ended TLS: what it says of the client's scheme counts, as in Envoy.
fn is_https(input: &RouteInput<'_>) -> bool {
    let forwarded = input.head.headers.get_id(NameId::X_FORWARDED_PROTO);
    forwarded.map_or(input.is_tls, |scheme| scheme == b"https")
}

impl CompiledRoute {
    fn compile(
        plan: &plan::Route,
        host: &Arc<VirtualHost>,
        inherited: Inherited<'_>,
    ) -> Result<Self, PlanError> {
        let overrides =
            Overrides::compile(&plan.filters, inherited.scope, inherited.compiler)?.over(inherited.overrides);
        let inherited = Inherited { overrides: &overrides, ..inherited };
        let action = Action::compile(&plan.action, &inherited).map_err(|problem| problem.within("action"))?;
        let (request, response) =
            (HeaderChanges::of_request(&plan.headers)?, HeaderChanges::of_response(&plan.headers)?);
        let changes = |levels: [&HeaderChanges; 3]| levels.iter().any(|changes| !changes.is_empty());
        let by_action =
            |changes: fn(&Forward) -> bool| matches!(&action, Action::Forward(forward) if changes(forward));
        Ok(Self {
            name: plan.name.as_str().into(),
            operation: plan.operation.as_str().into(),
            host: Arc::clone(host),
            return_attempt_count: host.return_attempt_count,
            changes_request: changes([&request, &host.request, &host.level.request])
                || by_action(Forward::changes_request),
            changes_response: changes([&response, &host.response, &host.level.response])
                || by_action(Forward::changes_response),
            action,
            matcher: Matcher::compile(&plan.matches).map_err(|problem| problem.within("matches"))?,
            request,
            response,
            overrides,
        })
    }

    fn decide(self: &Arc<Self>, input: &RouteInput<'_>) -> Decision {
        let route = Arc::clone(self);
        match &self.action {
            Action::Forward(forward) => {
                let (named, weighted) = forward.choose(input.head, input.random);
                Decision::Forward { route, named, weighted }
            }
            Action::Redirect(redirect) => {
                let matched = self.matcher.matched_length(input.head.path());
                let location = redirect.0.location(input.head, matched).into();
                Decision::Redirect { route: Some(route), status: redirect.0.status, location }
            }
            Action::Respond(_) => Decision::Respond { route },
            Action::NonForwarding => Decision::NonForwarding { route },
        }
    }

    /// The forwarding action, if it is one.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// The answer, if the route answers by itself.
    pub fn response(&self) -> Option<&Fixed> {
        match &self.action {
            Action::Respond(response) => Some(response),
            _ => None,
        }
    }

    /// What the route says for filters by their names.
    pub fn overrides(&self, weighted: Option<u16>) -> &Overrides {
        let entry = self.forward().and_then(|forward| forward.weighted(weighted));
        entry.map_or(&self.overrides, |entry| &entry.overrides)
    }

    /// The changes of a request on its way to the endpoint, in Envoy's order: headers of the weighted cluster, then route,
    /// virtual host, table (or the reverse where the most specific wins); then host and path. Once per request, not per attempt.
    #[inline]
    pub fn apply_request(&self, weighted: Option<u16>, head: &mut RequestHead, source: &dyn Source) {
        if self.changes_request {
            self.change_request(weighted, head, source);
        }
    }

    fn change_request(&self, weighted: Option<u16>, head: &mut RequestHead, source: &dyn Source) {
        let entry = self.forward().and_then(|forward| forward.weighted(weighted));
        if let Some(entry) = entry {
            entry.request.apply_request(head, source);
            if let Some(host) = &entry.host {
                head.set_authority(host);
            }
        }
        for changes in self.levels(&self.request, &self.host.request, &self.host.level.request) {
            changes.apply_request(head, source);
        }
        let Some(forward) = self.forward() else { return };
        if let Some(host) = forward.host_rewrite.as_ref().and_then(|rewriter| rewriter.rewrite(head)) {
            set_host(head, &host, forward.append_forwarded_host);
        }
        if let Some(rewriter) = &forward.path_rewrite {
            let path = rewriter.rewrite(head.path(), self.matcher.matched_length(head.path()));
            set_path(head, &path);
        }
    }

    /// The changes of a response on its way down, local replies of a matched route included.
    #[inline]
    pub fn apply_response(&self, weighted: Option<u16>, head: &mut ResponseHead, source: &dyn Source) {
        if self.changes_response {
            self.change_response(weighted, head, source);
        }
    }

    fn change_response(&self, weighted: Option<u16>, head: &mut ResponseHead, source: &dyn Source) {
        if let Some(entry) = self.forward().and_then(|forward| forward.weighted(weighted)) {
            entry.response.apply_response(head, source);
        }
        for changes in self.levels(&self.response, &self.host.response, &self.host.level.response) {
            changes.apply_response(head, source);
        }
    }

    fn levels<'a>(
        &self,
        route: &'a HeaderChanges,
        host: &'a HeaderChanges,
        table: &'a HeaderChanges,
    ) -> [&'a HeaderChanges; 3] {
        if self.host.level.most_specific_wins { [table, host, route] } else { [route, host, table] }
    }
}
