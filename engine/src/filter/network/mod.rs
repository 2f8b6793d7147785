//! Filters of layer-4 connections, run once a connection is known (its TLS done) and before anything is dialled for it.

use std::borrow::Cow;
use std::sync::Arc;

use super::rbac::{Rules, Subject, Verdicts};
use super::registry::Extension;
use crate::message::{Peer, Tick};
use crate::plan::{self, NetworkFilterConfig, PlanError};
use crate::telemetry::{Group, HttpCounter, TcpCounter};

/// What happens after a callback of a network filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkVerdict {
    Continue,
    /// `details`: `%CONNECTION_TERMINATION_DETAILS%`.
    Close {
        details: Cow<'static, str>,
    },
}

/// Where counters of a connection are: its chain ends in a TCP proxy or in a connection manager.
#[derive(Debug, Clone, Copy)]
pub enum Counts<'a> {
    Tcp(&'a Group<TcpCounter>),
    Http(&'a Group<HttpCounter>),
}

/// All that a network filter may know.
#[derive(Debug, Clone, Copy)]
pub struct NetworkContext<'a> {
    pub now: Tick,
    pub peer: &'a Peer,
    pub counts: Counts<'a>,
}

/// A network filter: shared by all workers. Callbacks must not block.
#[allow(unused_variables)]
pub trait NetworkFilter: Send + Sync {
    fn on_connection(&self, context: &NetworkContext<'_>) -> NetworkVerdict {
        NetworkVerdict::Continue
    }

    /// Bytes of the client on their way to the codec or endpoint.
    fn on_data(&self, context: &NetworkContext<'_>, data: &[u8]) -> NetworkVerdict {
        NetworkVerdict::Continue
    }

    fn on_close(&self, context: &NetworkContext<'_>) {}

    /// Whether `on_data` is called at all.
    fn wants_data(&self) -> bool {
        false
    }
}

/// The network filters of a filter chain, without the terminal one.
pub struct NetworkChain {
    filters: Box<[Arc<dyn NetworkFilter>]>,
    wants_data: bool,
}

impl NetworkChain {
    pub fn compile(plans: &[plan::NetworkFilter]) -> Result<Self, PlanError> {
        let compile = |(index, plan): (usize, &plan::NetworkFilter)| {
            compile(&plan.config)
                .map_err(|problem| problem.within(&format!("network_filters[{index}].config")))
        };
        let filters = plans.iter().enumerate().map(compile).collect::<Result<Box<[_]>, _>>()?;
        let wants_data = filters.iter().any(|filter| filter.wants_data());
        Ok(Self { filters, wants_data })
    }

    /// In order; the first that closes ends it.
    pub fn on_connection(&self, context: &NetworkContext<'_>) -> NetworkVerdict {
        self.first_close(|filter| filter.on_connection(context))
    }

    pub fn on_data(&self, context: &NetworkContext<'_>, data: &[u8]) -> NetworkVerdict {
        if !self.wants_data {
            return NetworkVerdict::Continue;
        }
        self.first_close(|filter| filter.on_data(context, data))
    }

    pub fn on_close(&self, context: &NetworkContext<'_>) {
        for filter in &self.filters {
            filter.on_close(context);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    pub fn wants_data(&self) -> bool {
        self.wants_data
    }

    fn first_close(&self, mut call: impl FnMut(&dyn NetworkFilter) -> NetworkVerdict) -> NetworkVerdict {
        let verdicts = self.filters.iter().map(|filter| call(filter.as_ref()));
        verdicts
            .into_iter()
            .find(|verdict| *verdict != NetworkVerdict::Continue)
            .unwrap_or(NetworkVerdict::Continue)
    }
}

impl std::fmt::Debug for NetworkChain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "NetworkChain({})", self.filters.len())
    }
}

pub(super) const RBAC: Extension = Extension {
    category: "envoy.filters.network",
    name: "envoy.filters.network.rbac",
    type_url: "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
};

fn compile(config: &NetworkFilterConfig) -> Result<Arc<dyn NetworkFilter>, PlanError> {
    match config {
        NetworkFilterConfig::Rbac { rules, shadow_rules, stat_prefix: _ } => {
            Ok(Arc::new(Rbac(Rules::compile(rules.as_ref(), shadow_rules.as_ref())?)))
        }
    }
}

/// `envoy.filters.network.rbac`: who may connect.
struct Rbac(Rules);

impl NetworkFilter for Rbac {
    fn on_connection(&self, context: &NetworkContext<'_>) -> NetworkVerdict {
        let subject =
            Subject { peer: context.peer, client: context.peer.remote, request: None, remembered: None };
        let verdicts = self.0.judge(&subject);
        let count = |tcp, http| match context.counts {
            Counts::Tcp(group) => group.increment(tcp),
            Counts::Http(group) => group.increment(http),
        };
        match verdicts.shadow {
            Some(true) => count(TcpCounter::RbacShadowAllowed, HttpCounter::RbacShadowAllowed),
            Some(false) => count(TcpCounter::RbacShadowDenied, HttpCounter::RbacShadowDenied),
            None => {}
        }
        match verdicts.enforced {
            None => NetworkVerdict::Continue,
            Some(Ok(())) => {
                count(TcpCounter::RbacAllowed, HttpCounter::RbacAllowed);
                NetworkVerdict::Continue
            }
            Some(Err(policy)) => {
                count(TcpCounter::RbacDenied, HttpCounter::RbacDenied);
                NetworkVerdict::Close { details: Verdicts::details(policy).into() }
            }
        }
    }
}
