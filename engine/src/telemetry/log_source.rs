//! What command operators say of an exchange that is over.

use std::net::SocketAddr;
use std::sync::OnceLock;

use super::facts::Facts;
use super::log_format::{Operator, Source, Value};
use super::log_time::write_time;
use super::trace::told_trace;
use crate::bytes::{push_address, push_decimal, push_ip};
use crate::matching::Field;
use crate::message::{MILLISECOND, Protocol, Tick};

/// The value of an operator with its type, for logs that keep types.
pub(super) enum Typed<'a> {
    Number(u64),
    Text(&'a str),
    /// Made for the occasion, in the caller's buffer.
    Written,
    /// As `Written`; digits, letters and simple signs, which no notation escapes.
    Plain,
    Absent,
}

impl Source for Facts<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match typed(self, operator, out) {
            Typed::Number(number) => {
                push_decimal(out, number);
                true
            }
            Typed::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                true
            }
            Typed::Written | Typed::Plain => true,
            Typed::Absent => false,
        }
    }
}

/// Numbers and texts that exist are returned, others are appended to `out`.
pub(super) fn typed<'f>(facts: &'f Facts<'_>, operator: &'f Operator, out: &mut Vec<u8>) -> Typed<'f> {
    match operator {
        Operator::Request { name, otherwise } => {
            let push = |field: &Field, out: &mut Vec<u8>| {
                facts.request.is_some_and(|head| field.push_of_request(head, out))
            };
            field(push(name, out) || otherwise.as_ref().is_some_and(|field| push(field, out)))
        }
        Operator::Response { name, otherwise } => {
            let push = |field: &Field, out: &mut Vec<u8>| {
                facts.response.is_some_and(|head| field.push_of_response(head, out))
            };
            field(push(name, out) || otherwise.as_ref().is_some_and(|field| push(field, out)))
        }
        Operator::Trailer { name, otherwise } => {
            let push = |field: &Field, out: &mut Vec<u8>| {
                facts.trailers.is_some_and(|block| field.push_of_trailers(block, out))
            };
            field(push(name, out) || otherwise.as_ref().is_some_and(|field| push(field, out)))
        }
        Operator::StartTime { format } => {
            write_time(format, facts.moments.started_wall, out);
            if format.is_empty() { Typed::Plain } else { Typed::Written }
        }
        Operator::Fixed { text } => text.as_deref().map_or(Typed::Absent, Typed::Text),
        Operator::Value(value) => of_value(facts, *value, out),
    }
}

fn field<'f>(found: bool) -> Typed<'f> {
    if found { Typed::Written } else { Typed::Absent }
}

fn text(value: &str) -> Typed<'_> {
    if value.is_empty() { Typed::Absent } else { Typed::Text(value) }
}

/// Blanks would break the columns of a text log.
fn joined<'f>(value: &'f str, out: &mut Vec<u8>) -> Typed<'f> {
    let plain = |byte: u8| (0x21..0x80).contains(&byte);
    if value.bytes().all(plain) || !value.contains(char::is_whitespace) {
        return text(value);
    }
    out.extend_from_slice(value.replace(char::is_whitespace, "_").as_bytes());
    Typed::Written
}

fn address<'f>(value: Option<SocketAddr>, out: &mut Vec<u8>) -> Typed<'f> {
    let Some(address) = value else { return Typed::Absent };
    push_address(out, address);
    Typed::Plain
}

fn ip<'f>(value: Option<SocketAddr>, out: &mut Vec<u8>) -> Typed<'f> {
    let Some(address) = value else { return Typed::Absent };
    push_ip(out, address.ip());
    Typed::Plain
}

fn port<'f>(value: Option<SocketAddr>) -> Typed<'f> {
    value.map_or(Typed::Absent, |address| Typed::Number(address.port().into()))
}

fn made<'f>(value: &str, out: &mut Vec<u8>) -> Typed<'f> {
    out.extend_from_slice(value.as_bytes());
    Typed::Written
}

/// Where tracing is off, applications may trace all the same.
fn told_trace_id<'f>(facts: &Facts<'_>, out: &mut Vec<u8>) -> Typed<'f> {
    let trace = facts.rpc.and_then(|rpc| rpc.trace).zip(facts.request);
    match trace.and_then(|(trace, head)| told_trace(head, trace)) {
        Some(context) => made(context.trace_id(), out),
        None => Typed::Absent,
    }
}

fn named<'f>(name: Option<&[u8]>, out: &mut Vec<u8>) -> Typed<'f> {
    out.extend_from_slice(name.unwrap_or_default());
    field(name.is_some_and(|name| !name.is_empty()))
}

fn milliseconds<'f>(from: Option<Tick>, to: Option<Tick>) -> Typed<'f> {
    match (from, to) {
        (Some(from), Some(to)) => Typed::Number(to.since(from) / MILLISECOND),
        _ => Typed::Absent,
    }
}

fn host_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
    })
}

/// As Envoy's `%GRPC_STATUS%` prints them.
fn grpc_name(status: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(status as usize).copied()
}

fn of_value<'f>(facts: &'f Facts<'_>, value: Value, out: &mut Vec<u8>) -> Typed<'f> {
    let peer = facts.peer;
    let moments = &facts.moments;
    let client = || facts.client.or(peer.remote);
    let local = || peer.original_destination.or(peer.local);
    let certificate = peer.certificate.as_deref();
    let is_stream = facts.request.is_none();
    match value {
        Value::BytesReceived => Typed::Number(facts.received),
        Value::BytesSent => Typed::Number(facts.sent),
        Value::ConnectionId => Typed::Number(facts.connection_id),
        Value::ConnectionTerminationDetails if is_stream => joined(facts.details, out),
        Value::ConnectionTerminationDetails => Typed::Absent,
        Value::DownstreamDirectRemoteAddress => address(peer.remote, out),
        Value::DownstreamDirectRemoteAddressWithoutPort => ip(peer.remote, out),
        Value::DownstreamLocalAddress => address(local(), out),
        Value::DownstreamLocalAddressWithoutPort => ip(local(), out),
        Value::DownstreamLocalPort => port(local()),
        Value::DownstreamRemoteAddress => address(client(), out),
        Value::DownstreamRemoteAddressWithoutPort => ip(client(), out),
        Value::DownstreamRemotePort => port(client()),
        Value::DownstreamPeerCertificateFingerprint => text(certificate.map_or("", |found| &found.digest)),
        Value::DownstreamPeerSerial => text(certificate.map_or("", |found| &found.serial)),
        Value::DownstreamPeerSubject => text(certificate.map_or("", |found| &found.subject)),
        Value::DownstreamPeerUriSan => match certificate.map(|found| found.uris.as_slice()) {
            None | Some([]) => Typed::Absent,
            Some(uris) => made(&uris.join(","), out),
        },
        Value::DownstreamTlsCipher => text(peer.tls_cipher.unwrap_or_default()),
        Value::DownstreamTransportFailureReason => joined(facts.downstream_failure, out),
        Value::DownstreamTlsVersion => text(peer.tls_version.unwrap_or_default()),
        Value::Duration => Typed::Number(facts.duration() / MILLISECOND),
        Value::RequestDuration => milliseconds(Some(moments.started), moments.request_complete),
        Value::ResponseDuration => milliseconds(Some(moments.started), moments.first_upstream_received),
        Value::ResponseTxDuration => milliseconds(moments.first_upstream_received, Some(moments.ended)),
        Value::FilterChainName => text(facts.filter_chain),
        Value::GrpcStatus => match facts.grpc_status.map(|status| (status, grpc_name(status))) {
            Some((_, Some(name))) => Typed::Text(name),
            Some((status, None)) => made(&status.to_string(), out),
            None => Typed::Absent,
        },
        Value::GrpcStatusNumber => {
            facts.grpc_status.map_or(Typed::Absent, |status| Typed::Number(status.into()))
        }
        Value::Hostname => text(host_name()),
        Value::Protocol if facts.protocol == Protocol::Tcp => Typed::Absent,
        Value::Protocol if let Some(rpc) = facts.rpc => Typed::Text(rpc.protocol),
        Value::Protocol => Typed::Text(facts.protocol.text()),
        Value::RequestedServerName => text(peer.server_name.as_deref().unwrap_or_default()),
        Value::ResponseCode => Typed::Number(facts.status.into()),
        Value::ResponseCodeDetails if is_stream => Typed::Absent,
        Value::ResponseCodeDetails => joined(facts.details, out),
        Value::ResponseFlags if facts.flags.is_empty() => Typed::Text("-"),
        Value::ResponseFlags => made(&facts.flags.text(), out),
        Value::RpcProtocol => facts.rpc.map_or(Typed::Absent, |rpc| Typed::Text(rpc.protocol)),
        Value::RpcService => named(facts.rpc.map(|rpc| rpc.service), out),
        Value::RpcMethod => named(facts.rpc.map(|rpc| rpc.method), out),
        Value::RpcRequestId => facts.rpc.map_or(Typed::Absent, |rpc| Typed::Number(rpc.id)),
        Value::RpcStatus => facts.rpc.and_then(|rpc| rpc.status).map_or(Typed::Absent, Typed::Number),
        Value::RpcOneWay => match facts.rpc {
            Some(rpc) => Typed::Text(if rpc.one_way { "true" } else { "false" }),
            None => Typed::Absent,
        },
        Value::RouteName => text(facts.route),
        Value::StreamId => text(facts.request_id),
        Value::TraceId if facts.trace_id.is_empty() => told_trace_id(facts, out),
        Value::TraceId => text(facts.trace_id),
        Value::UpstreamCluster | Value::UpstreamClusterRaw => text(facts.cluster),
        Value::UpstreamHost | Value::UpstreamRemoteAddress => address(facts.upstream, out),
        Value::UpstreamLocalAddress => address(facts.upstream_local, out),
        Value::UpstreamRemotePort => port(facts.upstream),
        Value::UpstreamRequestAttemptCount => Typed::Number(facts.attempts.into()),
        Value::UpstreamTransportFailureReason => joined(facts.upstream_failure, out),
        Value::VirtualClusterName => Typed::Absent,
    }
}
