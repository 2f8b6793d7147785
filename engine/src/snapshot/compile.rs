//! Listeners, from plan to what workers use.

use std::sync::Arc;

use super::listener::{Chain, HttpManager, Listener, Routes, Sought, TcpProxy, Terminal};
use super::secrets::SecretStore;
use crate::codec::Framed;
use crate::filter::{self, NetworkChain, Registry};
use crate::matching::Range;
use crate::plan::{self, Address, PlanError, RouteSource};
use crate::route::{ChainTable, Table};
use crate::telemetry::AccessLogger;

/// Milliseconds for a TLS handshake where the chain says nothing.
const HANDSHAKE_TIMEOUT: u64 = 10_000;

/// What listeners are compiled with. Filters are known by where they stand (listener and chain), so that their state
/// lives through changes around them.
pub(super) struct Parts<'a> {
    pub secrets: &'a mut SecretStore,
    pub registry: &'a Registry,
}

/// Chains that `former` had are taken over as they are.
pub(super) fn compile_listener(
    mut plan: plan::Listener,
    former: Option<&Listener>,
    parts: &mut Parts<'_>,
) -> Result<Listener, PlanError> {
    check(&plan)?;
    let sought = compile_sought(&mut plan.listener_filters)?;
    let matches: Vec<_> = plan.chains.iter().map(|chain| chain.matches.clone()).collect();
    let table = ChainTable::compile(&matches)?;
    let scope = Scope {
        listener: plan.name.as_str().into(),
        direction: plan.direction,
        accepts_http1_in_http2: plan.accepts_http1_in_http2,
        former,
    };
    let mut chains = Vec::with_capacity(plan.chains.len());
    for (index, chain) in plan.chains.into_iter().enumerate() {
        let place = if chain.name.is_empty() { index.to_string() } else { chain.name.clone() };
        let compiled = compile_chain(chain, &place, &scope, parts);
        chains.push(compiled.map_err(|problem| problem.within(&format!("chains[{index}]")))?);
    }
    let default_chain = plan
        .default_chain
        .map(|chain| compile_chain(chain, "default", &scope, parts))
        .transpose()
        .map_err(|problem| problem.within("default_chain"))?;
    let stat_prefix = if plan.stat_prefix.is_empty() {
        stat_prefix_of(&plan.address)
    } else {
        plan.stat_prefix.as_str().into()
    };
    Ok(Listener {
        name: scope.listener,
        address: plan.address,
        bind: plan.bind,
        use_original_destination: plan.use_original_destination,
        transparent: plan.transparent,
        direction: plan.direction,
        filters: plan.listener_filters.into(),
        sought,
        detection_timeout: plan.detection_timeout,
        continue_on_detection_timeout: plan.continue_on_detection_timeout,
        stat_prefix,
        connection_limit: plan.connection_limit,
        tcp_keepalive: plan.tcp_keepalive,
        buffer_limit: plan.buffer_limit,
        chains: chains.into(),
        default_chain,
        access_logs: AccessLogger::compile_all(&plan.access_logs, "access_logs")?,
        table,
    })
}

/// The protocols of all inspectors, which have none afterwards.
fn compile_sought(filters: &mut [plan::ListenerFilter]) -> Result<Sought, PlanError> {
    let mut sought = Vec::new();
    for (place, filter) in filters.iter_mut().enumerate() {
        let plan::ListenerFilter::ProtocolInspector { protocols, .. } = filter else { continue };
        for (index, protocol) in std::mem::take(protocols).iter().enumerate() {
            let path = format!("listener_filters[{place}].protocols[{index}]");
            let framed = Framed::compile(protocol).map_err(|problem| problem.within(&path))?;
            if !framed.is_certain() {
                return Err(PlanError::new(path, "its first bytes do not tell it: a port must declare it"));
            }
            sought.push(framed);
        }
    }
    Ok(sought.into())
}

fn check(plan: &plan::Listener) -> Result<(), PlanError> {
    if let Address::Name { host, .. } = &plan.address {
        return Err(PlanError::new("address", format!("a listener cannot listen on the name \"{host}\"")));
    }
    if let Address::Pipe { path } = &plan.address
        && (path.is_empty() || path.len() > 107)
    {
        return Err(PlanError::new("address.path", "a Unix socket's path has 1 to 107 bytes"));
    }
    if plan.chains.is_empty() && plan.default_chain.is_none() {
        return Err(PlanError::new("chains", "a listener needs a filter chain"));
    }
    Ok(())
}

/// As Envoy names a listener's counters: address and port, joined by `_`.
fn stat_prefix_of(address: &Address) -> Arc<str> {
    match address {
        Address::Socket { ip, port } => format!("{ip}_{port}").into(),
        Address::Pipe { path } => path.as_str().into(),
        Address::Name { host, port } => format!("{host}_{port}").into(),
    }
}

/// What a chain takes from its listener.
struct Scope<'a> {
    listener: Arc<str>,
    direction: plan::TrafficDirection,
    accepts_http1_in_http2: bool,
    former: Option<&'a Listener>,
}

impl Scope<'_> {
    /// The same chain of the former version: equal in every field, and in what it takes from the listener.
    fn find_former(&self, digest: &[u8; 32]) -> Option<&Arc<Chain>> {
        let former = self.former?;
        if (former.direction, &former.name) != (self.direction, &self.listener) {
            return None;
        }
        let mut chains = former.chains.iter().chain(&former.default_chain);
        chains.find(|chain| {
            chain.digest == *digest && chain.accepts_http1_in_http2 == self.accepts_http1_in_http2
        })
    }
}

fn digest_of(plan: &plan::FilterChain) -> Result<[u8; 32], PlanError> {
    let bytes = plan::encode(plan)?;
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
    Ok(digest)
}

fn compile_chain(
    plan: plan::FilterChain,
    place: &str,
    scope: &Scope<'_>,
    parts: &mut Parts<'_>,
) -> Result<Arc<Chain>, PlanError> {
    let digest = digest_of(&plan)?;
    if let Some(same) = scope.find_former(&digest) {
        return Ok(Arc::clone(same));
    }
    let tls = plan
        .tls
        .as_ref()
        .map(|tls| parts.secrets.server(tls))
        .transpose()
        .map_err(|problem| problem.within("tls"))?;
    let terminal = match plan.terminal {
        plan::Terminal::Http { manager } => {
            compile_http(manager, &format!("{}/{place}", scope.listener), parts)
                .map(|manager| Terminal::Http(Arc::new(manager)))
                .map_err(|problem| problem.within("terminal.manager"))?
        }
        plan::Terminal::Tcp { proxy } => compile_tcp(&proxy)
            .map(|proxy| Terminal::Tcp(Arc::new(proxy)))
            .map_err(|problem| problem.within("terminal.proxy"))?,
    };
    Ok(Arc::new(Chain {
        name: plan.name.into(),
        listener: Arc::clone(&scope.listener),
        direction: scope.direction,
        accepts_http1_in_http2: scope.accepts_http1_in_http2,
        tls,
        handshake_timeout: plan.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT),
        network_filters: NetworkChain::compile(&plan.network_filters)?,
        terminal,
        digest,
    }))
}

fn compile_http(
    mut plan: plan::HttpConnectionManager,
    scope: &str,
    parts: &mut Parts<'_>,
) -> Result<HttpManager, PlanError> {
    let taken = RouteSource::Named { name: String::new() };
    let routes = match std::mem::replace(&mut plan.routes, taken) {
        RouteSource::Named { name } | RouteSource::Generic { name } if name.is_empty() => {
            return Err(PlanError::new("routes.name", "a route table needs a name"));
        }
        RouteSource::Named { name } => Routes::Named(name.into()),
        RouteSource::Generic { name } => Routes::Generic(name.into()),
        RouteSource::Inline { table } => Table::compile(&table, parts.registry)
            .map(|table| Routes::Inline(Arc::new(table)))
            .map_err(|problem| problem.within("routes.table"))?,
    };
    let filters = filter::Chain::compile(&std::mem::take(&mut plan.filters), scope, parts.registry)?;
    let access_logs = AccessLogger::compile_all(&std::mem::take(&mut plan.access_logs), "access_logs")?;
    let internal_ranges = Range::compile_all(&plan.internal_ranges, "internal_ranges")?;
    let described = std::mem::take(&mut plan.rpc);
    let rpc = described.iter().enumerate().map(|(index, protocol)| {
        Framed::compile(protocol).map_err(|problem| problem.within(&format!("rpc[{index}]")))
    });
    let rpc: Box<[_]> = rpc.collect::<Result<_, _>>()?;
    if rpc.is_empty() && plan.protocol == plan::Protocol::Rpc {
        return Err(PlanError::new("rpc", "there is no protocol to speak"));
    }
    Ok(HttpManager {
        rpc,
        stat_prefix: plan.stat_prefix.as_str().into(),
        options: plan,
        routes,
        filters,
        access_logs,
        internal_ranges,
    })
}

fn compile_tcp(plan: &plan::TcpProxy) -> Result<TcpProxy, PlanError> {
    if plan.targets.iter().all(|target| target.weight == 0) {
        return Err(PlanError::new("targets", "a TCP proxy needs a cluster with a weight"));
    }
    let access_logs = AccessLogger::compile_all(&plan.access_logs, "access_logs")?;
    Ok(TcpProxy::new(plan, access_logs))
}
