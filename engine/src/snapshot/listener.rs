//! A listener as workers see it: how to find the chain of a connection, and what its chains do.
//!
//! Immutable. A listener whose configuration is unchanged keeps its `Arc` from one snapshot to the next, and so does each
//! chain: pointer equality tells what connections must be drained.

use std::sync::Arc;

use crate::codec::Framed;
use crate::filter::{self, NetworkChain};
use crate::matching::Range;
use crate::message::RequestHead;
use crate::plan::{self, HttpConnectionManager, ListenerFilter, TcpKeepalive, TrafficDirection};
use crate::route::{ChainInput, ChainTable, Table};
use crate::telemetry::AccessLogger;
use crate::tls::ServerCell;

#[derive(Debug)]
pub struct Listener {
    pub name: Arc<str>,
    pub address: plan::Address,
    /// False: no socket of its own; found by original destination.
    pub bind: bool,
    pub use_original_destination: bool,
    pub transparent: bool,
    pub direction: TrafficDirection,
    /// Without the protocols that they look for.
    pub filters: Box<[ListenerFilter]>,
    pub sought: Sought,
    /// Milliseconds; `None` = wait for ever.
    pub detection_timeout: Option<u64>,
    pub continue_on_detection_timeout: bool,
    /// Prefix of counters.
    pub stat_prefix: Arc<str>,
    pub connection_limit: Option<u32>,
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Outbox high mark per connection in bytes.
    pub buffer_limit: Option<u32>,
    pub chains: Box<[Arc<Chain>]>,
    pub default_chain: Option<Arc<Chain>>,
    /// For connections that no chain took, and TCP connections beside their chain's own.
    pub access_logs: Box<[AccessLogger]>,
    pub(super) table: ChainTable,
}

/// Framed protocols that a listener tells by first bytes.
pub type Sought = Arc<[Framed]>;

impl Listener {
    /// The chain of a connection; `None`: nobody takes it.
    pub fn find_chain(&self, input: &ChainInput<'_>) -> Option<&Arc<Chain>> {
        match self.table.find(input) {
            Some(index) => self.chains.get(index),
            None => self.default_chain.as_ref(),
        }
    }

    /// What the connections of `chain` keep using is still in force.
    pub fn holds(&self, chain: &Arc<Chain>) -> bool {
        self.chains.iter().chain(&self.default_chain).any(|known| Arc::ptr_eq(known, chain))
    }
}

/// A filter chain: what becomes of a connection.
#[derive(Debug)]
pub struct Chain {
    pub name: Arc<str>,
    /// Name of its listener.
    pub listener: Arc<str>,
    pub direction: TrafficDirection,
    /// Takes HTTP/1 inside HTTP/2 from authenticated mesh peers.
    pub accepts_http1_in_http2: bool,
    pub tls: Option<Arc<ServerCell>>,
    /// Milliseconds.
    pub handshake_timeout: u64,
    pub network_filters: NetworkChain,
    pub terminal: Terminal,
    pub(super) digest: [u8; 32],
}

#[derive(Debug, Clone)]
pub enum Terminal {
    Http(Arc<HttpManager>),
    Tcp(Arc<TcpProxy>),
}

/// The HTTP connection manager of a chain.
#[derive(Debug)]
pub struct HttpManager {
    /// As the plan says; `routes`, `filters` and `access_logs` have been taken out.
    pub options: HttpConnectionManager,
    pub stat_prefix: Arc<str>,
    pub routes: Routes,
    pub filters: Arc<filter::Chain>,
    pub access_logs: Box<[AccessLogger]>,
    /// `options.internal_ranges`.
    pub internal_ranges: Box<[Range]>,
    /// `options.rpc`, which has been taken out.
    pub rpc: Box<[Framed]>,
}

impl HttpManager {
    /// The framed protocol that a request came in.
    pub fn rpc_of(&self, head: &RequestHead) -> Option<&Framed> {
        let frame = head.frame?;
        self.rpc.iter().find(|protocol| protocol.digest() == frame.protocol)
    }
}

/// Where an HTTP manager's routes are.
#[derive(Debug, Clone)]
pub enum Routes {
    /// In the snapshot, by name.
    Named(Arc<str>),
    /// In the snapshot, among those of framed protocols.
    Generic(Arc<str>),
    Inline(Arc<Table>),
}

/// The TCP proxy of a chain. Durations in milliseconds.
#[derive(Debug)]
pub struct TcpProxy {
    pub stat_prefix: Arc<str>,
    targets: Box<[(Arc<str>, u64)]>,
    /// `None` = unlimited.
    pub idle_timeout: Option<u64>,
    pub max_connection_duration: Option<u64>,
    pub max_connect_attempts: u32,
    pub access_logs: Box<[AccessLogger]>,
}

impl TcpProxy {
    pub(super) fn new(plan: &plan::TcpProxy, access_logs: Box<[AccessLogger]>) -> Self {
        let mut sum = 0;
        let targets = plan.targets.iter().map(|target| {
            sum += u64::from(target.weight);
            (Arc::from(target.cluster.as_str()), sum)
        });
        Self {
            targets: targets.collect(),
            stat_prefix: plan.stat_prefix.as_str().into(),
            idle_timeout: plan.idle_timeout,
            max_connection_duration: plan.max_connection_duration,
            max_connect_attempts: plan.max_connect_attempts.max(1),
            access_logs,
        }
    }

    /// Names of all clusters, for pages.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.targets.iter().map(|(cluster, _)| cluster)
    }

    /// The cluster of one connection, by weight.
    pub fn cluster(&self, random: u64) -> Option<&Arc<str>> {
        let (_, sum) = self.targets.last()?;
        let point = random.checked_rem(*sum)?;
        self.targets.iter().find(|(_, below)| point < *below).map(|(cluster, _)| cluster)
    }
}
