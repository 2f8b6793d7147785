//! What is known of an exchange or a layer-4 connection when it is over: plain values, borrowed from the exchange.
//!
//! In: the exchange fills it once, in `finish`. Out: metrics, access log, span. Nothing here decides anything.

use std::net::SocketAddr;

use super::trace::TraceContext;
use crate::codec::rpc;
use crate::message::{HeaderBlock, NameId, Peer, Protocol, RequestHead, ResponseFlags, ResponseHead, Tick};

/// Which side of a call reports (`reporter` label): the outbound listener of the source, the inbound one of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    Source,
    Destination,
    /// Listener without a direction: Envoy's counters only.
    None,
}

/// Labels of the other side for Istio's metrics; empty text is reported as `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PeerLabels {
    pub workload: String,
    pub namespace: String,
    pub principal: String,
    pub app: String,
    pub version: String,
    pub canonical_name: String,
    pub canonical_revision: String,
    pub cluster: String,
}

impl PeerLabels {
    /// Of an other side that said nothing.
    pub const NONE: &Self = &Self {
        workload: String::new(),
        namespace: String::new(),
        principal: String::new(),
        app: String::new(),
        version: String::new(),
        canonical_name: String::new(),
        canonical_revision: String::new(),
        cluster: String::new(),
    };
}

/// What a call of a framed protocol has beyond a request's facts.
#[derive(Debug, Clone, Copy)]
pub struct RpcFacts<'a> {
    /// Name of the protocol (`request_protocol`).
    pub protocol: &'a str,
    /// As the frame says them; empty if it does not.
    pub service: &'a [u8],
    pub method: &'a [u8],
    /// The caller's id.
    pub id: u64,
    /// The protocol's own status as the caller saw it; `None` if it was told nothing.
    pub status: Option<u64>,
    /// Where the protocol tells traces.
    pub trace: Option<&'a rpc::Trace>,
    pub one_way: bool,
}

/// Moments in the life of an exchange; `None` if it never came to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moments {
    pub started: Tick,
    pub request_complete: Option<Tick>,
    pub first_upstream_received: Option<Tick>,
    pub ended: Tick,
    /// Wall clock at `started`, nanoseconds since the epoch.
    pub started_wall: u64,
}

/// What finished. `request` is `None` for layer 4.
#[derive(Debug)]
pub struct Facts<'a> {
    pub reporter: Reporter,
    /// Protocol of the downstream side, or what was carried inside it (`mainstay-orig-proto`).
    pub protocol: Protocol,
    pub peer: &'a Peer,
    /// Client address as trusted hops forwarded it (`%DOWNSTREAM_REMOTE_ADDRESS%`).
    pub client: Option<SocketAddr>,
    pub request: Option<&'a RequestHead>,
    pub response: Option<&'a ResponseHead>,
    /// Of a call of a framed protocol.
    pub rpc: Option<RpcFacts<'a>>,
    /// Trailers of the response.
    pub trailers: Option<&'a HeaderBlock>,
    /// gRPC status from trailers or head, if the request was gRPC and one came.
    pub grpc_status: Option<u32>,
    /// Status sent down; 0 if none was (as Envoy prints it).
    pub status: u16,
    pub flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'a str,
    pub route: &'a str,
    pub filter_chain: &'a str,
    /// Name of the chosen cluster, empty if none was.
    pub cluster: &'a str,
    /// Service host the cluster stands for (`destination_service`), name and namespace, from cluster labels; empty if unknown.
    pub service_host: &'a str,
    pub service_name: &'a str,
    pub service_namespace: &'a str,
    pub upstream: Option<SocketAddr>,
    pub upstream_local: Option<SocketAddr>,
    /// The connection to the endpoint was mutual TLS (Source), or the client's was (Destination).
    pub mutual_tls: bool,
    /// Upstream connection failure reason, for the log.
    pub upstream_failure: &'a str,
    /// Why the client's TLS handshake failed, for the log.
    pub downstream_failure: &'a str,
    /// Labels of the other side: the endpoint's (Source) or the client's (Destination).
    pub other: &'a PeerLabels,
    /// The other side's identity as its certificate shows it, for labels that do not say; empty if unknown.
    pub other_principal: &'a str,
    pub attempts: u32,
    /// Body bytes.
    pub received: u64,
    pub sent: u64,
    /// Header bytes as they were counted by the codec.
    pub received_headers: u64,
    pub sent_headers: u64,
    /// gRPC messages, counted only for streams.
    pub request_messages: u64,
    pub response_messages: u64,
    pub moments: Moments,
    /// Milliseconds from the end of the request to the answer that counts, of a call of a framed protocol; HTTP's answers have it in a
    /// field.
    pub service_time: Option<u32>,
    pub trace: Option<&'a TraceContext>,
    pub connection_id: u64,
}

impl PeerLabels {
    /// Of somebody who said nothing.
    pub const UNKNOWN: Self = Self {
        workload: String::new(),
        namespace: String::new(),
        principal: String::new(),
        app: String::new(),
        version: String::new(),
        canonical_name: String::new(),
        canonical_revision: String::new(),
        cluster: String::new(),
    };
}

impl<'a> Facts<'a> {
    /// What is known of a connection that has only come in.
    pub fn of_connection(peer: &'a Peer, other: &'a PeerLabels) -> Self {
        Self {
            reporter: Reporter::None,
            protocol: Protocol::Tcp,
            peer,
            client: None,
            request: None,
            response: None,
            rpc: None,
            trailers: None,
            grpc_status: None,
            status: 0,
            flags: ResponseFlags::default(),
            details: "",
            route: "",
            filter_chain: "",
            cluster: "",
            service_host: "",
            service_name: "",
            service_namespace: "",
            upstream: None,
            upstream_local: None,
            mutual_tls: false,
            upstream_failure: "",
            downstream_failure: "",
            other,
            other_principal: "",
            attempts: 0,
            received: 0,
            sent: 0,
            received_headers: 0,
            sent_headers: 0,
            request_messages: 0,
            response_messages: 0,
            moments: Moments::default(),
            service_time: None,
            trace: None,
            connection_id: 0,
        }
    }

    /// `x-request-id` as it went on; empty if there was none.
    pub fn request_id(&self) -> &'a str {
        let id = self.request.and_then(|head| head.headers.get_id(NameId::X_REQUEST_ID));
        id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or("")
    }

    /// Empty if it is not traced.
    pub fn trace_id(&self) -> &'a str {
        self.trace.map_or("", TraceContext::trace_id)
    }

    /// Its trace is sampled.
    pub fn is_sampled(&self) -> bool {
        self.trace.is_some_and(|trace| trace.sampled)
    }

    /// From the first byte of the request to the last of the response, nanoseconds.
    pub fn duration(&self) -> u64 {
        self.moments.ended.since(self.moments.started)
    }
}
