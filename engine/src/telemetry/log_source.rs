//! What command operators say of an exchange that is over.

use std::net::SocketAddr;
use std::sync::OnceLock;

use super::facts::Facts;
use super::log_format::{Operator, Piece, Source, Value};
use super::log_part::{Fields, What};
use super::log_time::write_time;
use super::trace::told_trace;
use crate::bytes::{push_address, push_decimal, push_ip};
use crate::matching::{Field, Lent};
use crate::message::{MILLISECOND, NameId, Protocol, Tick};

/// The value of an operator with its type, for logs that keep types.
pub(super) enum Typed<'a> {
    Number(u64),
    Text(&'a [u8]),
    /// Made for the occasion, in the caller's buffer.
    Written,
    /// As `Written`; digits, letters and simple signs, which no notation escapes.
    Plain,
    Absent,
}

/// What a value depends on: how long a text of it may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depends {
    /// On nothing that changes while we run.
    Nothing,
    /// On the client's connection, and whom it speaks for.
    Connection,
    /// On where the request went and what became of it: few of these differ between the calls of a service.
    Course,
    /// On what the call says, but mostly it says the same as others of its course.
    Steady,
    /// On more than is worth keeping.
    Call,
}

/// `log_texts` keeps what is told here to depend on a connection or a course by a key of all that is read for it: whoever changes
/// one of these values in `typed` looks there too.
fn depends(operator: &Operator) -> Depends {
    let value = match operator {
        Operator::Fixed { .. } => return Depends::Nothing,
        Operator::Value(value) => *value,
        _ => return Depends::Call,
    };
    match value {
        Value::Hostname | Value::VirtualClusterName => Depends::Nothing,
        Value::ConnectionId
        | Value::DownstreamDirectRemoteAddress
        | Value::DownstreamDirectRemoteAddressWithoutPort
        | Value::DownstreamLocalAddress
        | Value::DownstreamLocalAddressWithoutPort
        | Value::DownstreamLocalPort
        | Value::DownstreamRemoteAddress
        | Value::DownstreamRemoteAddressWithoutPort
        | Value::DownstreamRemotePort
        | Value::DownstreamPeerCertificateFingerprint
        | Value::DownstreamPeerSerial
        | Value::DownstreamPeerSubject
        | Value::DownstreamPeerUriSan
        | Value::DownstreamTlsCipher
        | Value::DownstreamTlsVersion
        | Value::FilterChainName
        | Value::RequestedServerName => Depends::Connection,
        Value::ConnectionTerminationDetails
        | Value::Protocol
        | Value::ResponseCode
        | Value::ResponseCodeDetails
        | Value::ResponseFlags
        | Value::RouteName
        | Value::RpcProtocol
        | Value::UpstreamCluster
        | Value::UpstreamClusterRaw
        | Value::UpstreamHost
        | Value::UpstreamRemoteAddress
        | Value::UpstreamRemotePort
        | Value::UpstreamTransportFailureReason => Depends::Course,
        Value::BytesReceived
        | Value::BytesSent
        | Value::DownstreamTransportFailureReason
        | Value::Duration
        | Value::GrpcStatus
        | Value::GrpcStatusNumber
        | Value::RequestDuration
        | Value::ResponseDuration
        | Value::ResponseTxDuration
        | Value::RpcMethod
        | Value::RpcOneWay
        | Value::RpcRequestId
        | Value::RpcService
        | Value::RpcStatus
        | Value::StreamId
        | Value::TraceId
        | Value::UpstreamLocalAddress
        | Value::UpstreamRequestAttemptCount => Depends::Call,
    }
}

/// What the text of a part may be kept for.
pub(super) fn depends_on(what: &What) -> Depends {
    match what {
        What::Nothing => Depends::Nothing,
        What::One { operator: Operator::Value(Value::RpcMethod | Value::RpcService), .. }
        | What::UpstreamLocal
        | What::Request(_) => Depends::Steady,
        What::Response(Fields { otherwise: Some(field), .. }) if is_service_time(field) => Depends::Call,
        What::Response(_) => Depends::Steady,
        What::One { operator, .. } => depends(operator),
        What::Several(format) => {
            let operators = format.pieces().iter().filter_map(|piece| match piece {
                Piece::Text(_) => None,
                Piece::Operator { operator, .. } => Some(depends(operator)),
            });
            operators
                .filter(|each| *each != Depends::Nothing)
                .reduce(|one, other| if one == other { one } else { Depends::Call })
                .unwrap_or(Depends::Nothing)
        }
        What::Count(_) | What::Started | What::ServiceTime(_) | What::Kept { .. } => Depends::Call,
    }
}

impl Source for Facts<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match typed(self, operator, out) {
            Typed::Number(number) => {
                push_decimal(out, number);
                true
            }
            Typed::Text(text) => {
                out.extend_from_slice(text);
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
        Operator::Request { name, otherwise } => lent(name, otherwise.as_ref(), |field| {
            facts.request.and_then(|head| field.lend_of_request(head, out))
        }),
        Operator::Response { name, otherwise } => {
            lent(name, otherwise.as_ref(), |field| lend_of_answer(facts, field, out))
        }
        Operator::Trailer { name, otherwise } => lent(name, otherwise.as_ref(), |field| {
            facts.trailers.and_then(|block| field.lend_of_trailers(block, out))
        }),
        Operator::StartTime { format } => {
            write_time(format, facts.moments.started_wall, out);
            if format.is_empty() { Typed::Plain } else { Typed::Written }
        }
        Operator::Fixed { text } => {
            text.as_deref().map_or(Typed::Absent, |found| Typed::Text(found.as_bytes()))
        }
        Operator::Value(value) => of_value(facts, *value, out),
    }
}

pub(super) fn is_service_time(field: &Field) -> bool {
    matches!(field, Field::Header(name) if name.id == NameId::X_ENVOY_UPSTREAM_SERVICE_TIME)
}

/// A field of the answer; or what HTTP's answers have in a field and those of framed protocols have no place for.
#[inline]
pub(super) fn lend_of_answer<'f>(facts: &Facts<'f>, field: &Field, out: &mut Vec<u8>) -> Option<Lent<'f>> {
    let head = facts.response?;
    match facts.service_time {
        Some(milliseconds) if is_service_time(field) => {
            let from = out.len();
            push_decimal(out, milliseconds.into());
            Some(Lent::Pushed { from })
        }
        _ => field.lend_of_response(head, out),
    }
}

fn lent<'f>(
    name: &'f Field,
    otherwise: Option<&'f Field>,
    mut look: impl FnMut(&'f Field) -> Option<Lent<'f>>,
) -> Typed<'f> {
    match look(name).or_else(|| look(otherwise?)) {
        Some(Lent::Here(value)) => Typed::Text(value),
        Some(Lent::Pushed { .. }) => Typed::Written,
        None => Typed::Absent,
    }
}

fn text(value: &str) -> Typed<'_> {
    bytes(value.as_bytes())
}

fn bytes(value: &[u8]) -> Typed<'_> {
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
    let is_stream = facts.protocol == Protocol::Tcp;
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
            Some((_, Some(name))) => Typed::Text(name.as_bytes()),
            Some((status, None)) => made(&status.to_string(), out),
            None => Typed::Absent,
        },
        Value::GrpcStatusNumber => {
            facts.grpc_status.map_or(Typed::Absent, |status| Typed::Number(status.into()))
        }
        Value::Hostname => text(host_name()),
        Value::Protocol if facts.protocol == Protocol::Tcp => Typed::Absent,
        Value::Protocol if let Some(rpc) = facts.rpc => Typed::Text(rpc.protocol.as_bytes()),
        Value::Protocol => Typed::Text(facts.protocol.text().as_bytes()),
        Value::RequestedServerName => text(peer.server_name.as_deref().unwrap_or_default()),
        Value::ResponseCode => Typed::Number(facts.status.into()),
        Value::ResponseCodeDetails if is_stream => Typed::Absent,
        Value::ResponseCodeDetails => joined(facts.details, out),
        Value::ResponseFlags if facts.flags.is_empty() => Typed::Text(b"-"),
        Value::ResponseFlags => made(&facts.flags.text(), out),
        Value::RpcProtocol => facts.rpc.map_or(Typed::Absent, |rpc| Typed::Text(rpc.protocol.as_bytes())),
        Value::RpcService => bytes(facts.rpc.map_or(b"", |rpc| rpc.service)),
        Value::RpcMethod => bytes(facts.rpc.map_or(b"", |rpc| rpc.method)),
        Value::RpcRequestId => facts.rpc.map_or(Typed::Absent, |rpc| Typed::Number(rpc.id)),
        Value::RpcStatus => facts.rpc.and_then(|rpc| rpc.status).map_or(Typed::Absent, Typed::Number),
        Value::RpcOneWay => match facts.rpc {
            Some(rpc) => Typed::Text(if rpc.one_way { b"true" } else { b"false" }),
            None => Typed::Absent,
        },
        Value::RouteName => text(facts.route),
        Value::StreamId => text(facts.request_id()),
        Value::TraceId => match facts.trace_id() {
            "" => told_trace_id(facts, out),
            id => text(id),
        },
        Value::UpstreamCluster | Value::UpstreamClusterRaw => text(facts.cluster),
        Value::UpstreamHost | Value::UpstreamRemoteAddress => address(facts.upstream, out),
        Value::UpstreamLocalAddress => address(facts.upstream_local, out),
        Value::UpstreamRemotePort => port(facts.upstream),
        Value::UpstreamRequestAttemptCount => Typed::Number(facts.attempts.into()),
        Value::UpstreamTransportFailureReason => joined(facts.upstream_failure, out),
        Value::VirtualClusterName => Typed::Absent,
    }
}
