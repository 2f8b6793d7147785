//! What a route does with a request, compiled.

use std::sync::Arc;

use super::headers::HeaderChanges;
use super::matches::Share;
use super::overrides::{CompileOverride, Overrides};
use super::redirect::Redirector;
use super::retry::RetryPolicy;
use super::rewrite::{HostRewriter, PathRewriter};
use super::weight::{Weights, another};
use crate::matching::Field;
use crate::message::RequestHead;
use crate::plan::{self, InternalRedirect, PlanError, RouteAction};

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // One per route and built once: a box would only add a hop.
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(Fixed),
    NonForwarding,
}

/// How to redirect; the location is part of the decision.
#[derive(Debug)]
pub struct Redirect(pub(super) Redirector);

/// `direct_response`: the answer, ready.
#[derive(Debug)]
pub struct Fixed {
    pub status: u16,
    pub body: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleTimeout {
    /// The connection manager's.
    Inherited,
    Unlimited,
    Milliseconds(u64),
}

/// A request goes to a cluster. Durations in milliseconds; `None` = no limit.
#[derive(Debug)]
pub struct Forward {
    upstreams: Upstreams,
    pub(super) path_rewrite: Option<PathRewriter>,
    pub(super) host_rewrite: Option<HostRewriter>,
    pub append_forwarded_host: bool,
    /// From the end of the downstream request to the end of the response.
    pub timeout: Option<u64>,
    pub idle_timeout: IdleTimeout,
    pub max_duration: Option<u64>,
    /// `None` = grpc-timeout is ignored; `Some(0)` = honoured without a cap.
    pub grpc_timeout_max: Option<u64>,
    /// The route's, else the virtual host's.
    pub retry: Option<Arc<RetryPolicy>>,
    /// The route's, else the virtual host's.
    pub mirrors: Box<[Mirror]>,
    upgrades: Box<[(Box<[u8]>, bool)]>,
    /// Status when the cluster does not exist.
    pub cluster_not_found_status: u16,
    pub high_priority: bool,
    pub internal_redirect: Option<InternalRedirect>,
}

#[derive(Debug, Clone)]
pub struct Mirror {
    pub cluster: Arc<str>,
    share: Share,
    /// `-shadow` is appended to the host.
    pub shadow_host: bool,
}

impl Mirror {
    pub fn takes(&self, random: u64) -> bool {
        self.share.takes(random)
    }

    fn compile_all(plans: &[plan::Mirror], path: &str) -> Result<Box<[Self]>, PlanError> {
        let compile = |(index, plan): (usize, &plan::Mirror)| {
            let share = plan.fraction.map_or(Ok(Share::ALL), Share::compile);
            let share = share.map_err(|problem| problem.within(&format!("{path}[{index}].fraction")))?;
            Ok(Self { cluster: plan.cluster.as_str().into(), share, shadow_host: plan.shadow_host })
        };
        plans.iter().enumerate().map(compile).collect()
    }
}

#[derive(Debug)]
enum Upstreams {
    Cluster(Arc<str>),
    Header(Field),
    Weighted { weights: Weights, entries: Box<[Weighted]> },
}

/// One of several clusters, with what it says for itself.
#[derive(Debug)]
pub(super) struct Weighted {
    cluster: Arc<str>,
    pub request: HeaderChanges,
    pub response: HeaderChanges,
    pub host: Option<Box<[u8]>>,
    pub overrides: Overrides,
}

/// What a virtual host lends to its routes.
pub(super) struct Inherited<'a> {
    pub retry: Option<&'a Arc<RetryPolicy>>,
    pub mirrors: &'a [plan::Mirror],
    pub overrides: &'a Overrides,
    pub scope: &'a str,
    pub compiler: &'a dyn CompileOverride,
}

impl Action {
    pub(super) fn compile(plan: &RouteAction, inherited: &Inherited<'_>) -> Result<Self, PlanError> {
        match plan {
            RouteAction::Redirect { redirect } => Redirector::compile(redirect)
                .map(|made| Self::Redirect(Redirect(made)))
                .map_err(|problem| problem.within("redirect")),
            RouteAction::Respond { response } => {
                if !(200..=599).contains(&response.status) {
                    let reason = format!("{} is no status of a final response", response.status);
                    return Err(PlanError::new("response.status", reason));
                }
                Ok(Self::Respond(Fixed { status: response.status, body: response.body.as_slice().into() }))
            }
            RouteAction::NonForwarding {} => Ok(Self::NonForwarding),
            RouteAction::Forward { .. } => Forward::compile(plan, inherited).map(Self::Forward),
        }
    }
}

impl Forward {
    fn compile(plan: &RouteAction, inherited: &Inherited<'_>) -> Result<Self, PlanError> {
        let RouteAction::Forward {
            upstreams,
            path_rewrite,
            host_rewrite,
            append_forwarded_host,
            timeout,
            idle_timeout,
            unlimited_idle,
            max_duration,
            grpc_timeout_max,
            retry,
            mirrors,
            upgrades,
            cluster_not_found_status,
            high_priority,
            internal_redirect,
        } = plan
        else {
            return Err(PlanError::new("kind", "not a forwarding action"));
        };
        let retry = match retry {
            Some(own) => {
                Some(Arc::new(RetryPolicy::compile(own).map_err(|problem| problem.within("retry"))?))
            }
            None => inherited.retry.cloned(),
        };
        let within = |path: &'static str| move |problem: PlanError| problem.within(path);
        Ok(Self {
            upstreams: Upstreams::compile(upstreams, inherited).map_err(within("upstreams"))?,
            path_rewrite: path_rewrite
                .as_ref()
                .map(PathRewriter::compile)
                .transpose()
                .map_err(within("path_rewrite"))?,
            host_rewrite: host_rewrite
                .as_ref()
                .map(HostRewriter::compile)
                .transpose()
                .map_err(within("host_rewrite"))?,
            append_forwarded_host: *append_forwarded_host,
            timeout: *timeout,
            idle_timeout: match (unlimited_idle, idle_timeout) {
                (true, _) => IdleTimeout::Unlimited,
                (false, Some(milliseconds)) => IdleTimeout::Milliseconds(*milliseconds),
                (false, None) => IdleTimeout::Inherited,
            },
            max_duration: *max_duration,
            grpc_timeout_max: *grpc_timeout_max,
            retry,
            mirrors: if mirrors.is_empty() {
                Mirror::compile_all(inherited.mirrors, "mirrors")?
            } else {
                Mirror::compile_all(mirrors, "mirrors")?
            },
            upgrades: upgrades
                .iter()
                .map(|(name, allowed)| (name.to_ascii_lowercase().into_bytes().into(), *allowed))
                .collect(),
            cluster_not_found_status: *cluster_not_found_status,
            high_priority: *high_priority,
            internal_redirect: internal_redirect.clone(),
        })
    }

    /// The name of the cluster that takes this request, where the request says it, and which weighted entry it is of. An absent
    /// header names the empty cluster, which never exists.
    pub(super) fn choose(&self, head: &RequestHead, random: u64) -> (Option<Box<str>>, Option<u16>) {
        match &self.upstreams {
            Upstreams::Cluster(_) => (None, None),
            Upstreams::Header(field) => {
                let name = field.of_request(head).unwrap_or_default();
                (Some(String::from_utf8_lossy(&name).into()), None)
            }
            Upstreams::Weighted { weights, .. } => (None, Some(weights.pick(another(random)) as u16)),
        }
    }

    /// The name of the cluster that takes a request of this weighted entry, where no request says it.
    pub(super) fn cluster(&self, weighted: Option<u16>) -> &str {
        match &self.upstreams {
            Upstreams::Cluster(name) => name,
            Upstreams::Header(_) => "",
            Upstreams::Weighted { .. } => self.weighted(weighted).map_or("", |entry| &entry.cluster),
        }
    }

    pub(super) fn weighted(&self, index: Option<u16>) -> Option<&Weighted> {
        match (&self.upstreams, index) {
            (Upstreams::Weighted { entries, .. }, Some(index)) => entries.get(usize::from(index)),
            _ => None,
        }
    }

    /// Requests are changed on their way: rewritten, or as a weighted cluster says.
    pub(super) fn changes_request(&self) -> bool {
        self.path_rewrite.is_some()
            || self.host_rewrite.is_some()
            || self.entries().iter().any(|entry| entry.host.is_some() || !entry.request.is_empty())
    }

    /// Responses are changed as a weighted cluster says.
    pub(super) fn changes_response(&self) -> bool {
        self.entries().iter().any(|entry| !entry.response.is_empty())
    }

    fn entries(&self) -> &[Weighted] {
        match &self.upstreams {
            Upstreams::Weighted { entries, .. } => entries,
            _ => &[],
        }
    }

    /// Names of every cluster the route may choose without looking at a header.
    pub fn clusters(&self) -> Vec<&Arc<str>> {
        match &self.upstreams {
            Upstreams::Cluster(name) => vec![name],
            Upstreams::Header(_) => Vec::new(),
            Upstreams::Weighted { entries, .. } => entries.iter().map(|entry| &entry.cluster).collect(),
        }
    }

    /// Whether the route speaks of this upgrade; `None` = as the connection manager says. `name` in lower case.
    pub fn allows_upgrade(&self, name: &[u8]) -> Option<bool> {
        self.upgrades.iter().find(|(known, _)| **known == *name).map(|(_, allowed)| *allowed)
    }

    /// The host becomes the endpoint's name once one is picked (`auto_host_rewrite`): see `set_host`.
    pub fn takes_host_of_endpoint(&self) -> bool {
        matches!(self.host_rewrite, Some(HostRewriter::Endpoint))
    }

    /// What a hashing balancer picks by; `None`: the plan carries no hash policy, such a balancer picks at random.
    pub fn hash(&self, _: &RequestHead) -> Option<u64> {
        None
    }
}

impl Upstreams {
    fn compile(plan: &plan::Upstreams, inherited: &Inherited<'_>) -> Result<Self, PlanError> {
        match plan {
            plan::Upstreams::Cluster { name } if name.is_empty() => {
                Err(PlanError::new("name", "a cluster needs a name"))
            }
            plan::Upstreams::Cluster { name } => Ok(Self::Cluster(name.as_str().into())),
            plan::Upstreams::Header { name } if name.is_empty() => {
                Err(PlanError::new("name", "a header needs a name"))
            }
            plan::Upstreams::Header { name } => Ok(Self::Header(Field::new(name))),
            plan::Upstreams::Weighted { clusters } => {
                if clusters.len() > usize::from(u16::MAX) {
                    return Err(PlanError::new("clusters", "more than 65,535 weighted clusters"));
                }
                let weights = Weights::compile(clusters.iter().map(|cluster| cluster.weight))
                    .map_err(|problem| problem.within("clusters"))?;
                let compile = |(index, plan)| {
                    Weighted::compile(plan, inherited)
                        .map_err(|problem: PlanError| problem.within(&format!("clusters[{index}]")))
                };
                let entries = clusters.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
                Ok(Self::Weighted { weights, entries })
            }
        }
    }
}

impl Weighted {
    fn compile(plan: &plan::WeightedCluster, inherited: &Inherited<'_>) -> Result<Self, PlanError> {
        if plan.name.is_empty() {
            return Err(PlanError::new("name", "a cluster needs a name"));
        }
        let scope = format!("{}/{}", inherited.scope, plan.name);
        Ok(Self {
            cluster: plan.name.as_str().into(),
            request: HeaderChanges::of_request(&plan.headers)?,
            response: HeaderChanges::of_response(&plan.headers)?,
            host: plan.host_rewrite.as_ref().map(|host| host.as_bytes().into()),
            overrides: Overrides::compile(&plan.filters, &scope, inherited.compiler)?
                .over(inherited.overrides),
        })
    }
}
