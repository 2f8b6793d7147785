//! The connection manager's work on heads, before the route is decided and before a response goes down.
//!
//! In: a head as the codec understood it (fields of the hop are gone already), the plan, the peer. Out: the head in the
//! one form that routes, filters and upstreams see, or the reply that ends the matter. Pure but for the head.

mod base64;
pub mod caller;
mod certificate;
mod client;
mod date;
mod path;
pub mod peer_metadata;

pub use client::{Client, append};
pub use date::DateText;
pub use path::{EscapedSlashes, PathOptions, PathOutcome, normalize};

use crate::codec::rpc;
use crate::matching::Range;
use crate::message::{NameId, Peer, Protocol, RequestHead, ResponseHead};
use crate::plan;
use crate::telemetry::{TraceContext, ensure_rpc_trace, ensure_trace, request_id};

/// Where a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Entrance<'a> {
    pub manager: &'a plan::HttpConnectionManager,
    pub peer: &'a Peer,
    /// Whose clients may steer us by `x-envoy-*` fields.
    pub internal: &'a [Range],
    /// The listener takes HTTP/1 inside HTTP/2 from mesh peers.
    pub takes_http1_in_http2: bool,
    /// Where the request's protocol tells traces, if it is a framed one and tracing is on.
    pub trace: Option<&'a rpc::Trace>,
    /// Our identity's URI, empty if we have none.
    pub own: &'a str,
}

/// What became of a request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// `carried`: what the request was before a sidecar put it into HTTP/2.
    GoOn { client: Client, carried: Option<Protocol>, trace: Option<TraceContext> },
    /// Answered at once: status, details.
    Refused(u16, &'static str),
    /// 307 to this location, same host.
    Redirected(Vec<u8>),
}

/// Brings a request's head into form. `random` feeds a request id and a trace.
pub fn receive(entrance: Entrance<'_>, head: &mut RequestHead, mut random: impl FnMut() -> u64) -> Received {
    let Entrance { manager, peer, own, .. } = entrance;
    if head.protocol == Protocol::Rpc {
        // Nothing of HTTP is put into frames, but a trace where their protocol has one.
        let client = Client { address: peer.remote, is_internal: false, is_edge: false };
        let trace = manager.tracing.zip(entrance.trace);
        let trace = trace.and_then(|(share, trace)| ensure_rpc_trace(head, trace, share, &mut random));
        return Received::GoOn { client, carried: None, trace };
    }
    let is_connect = head.method() == b"CONNECT";
    if head.authority().is_empty() && head.protocol != Protocol::Http10 {
        return Received::Refused(400, "missing_host_header");
    }
    if head.path().is_empty() && !is_connect {
        return Received::Refused(404, "missing_path_rejected");
    }
    if manager.underscores != plan::Underscores::Keep && !settle_underscores(manager.underscores, head) {
        return Received::Refused(400, "unexpected_underscore");
    }
    strip_port(manager, peer, head);
    if manager.strip_trailing_host_dot {
        strip_dot(head);
    }
    let options = PathOptions {
        normalize: manager.normalize_path,
        merge_slashes: manager.merge_slashes,
        escaped_slashes: EscapedSlashes::named(&manager.escaped_slashes),
    };
    match normalize(head.path(), options) {
        PathOutcome::AsItIs => {}
        PathOutcome::Replaced(path) => head.set_path(&path),
        PathOutcome::Reject => return Received::Refused(400, "path_normalization_failed"),
        // A gRPC client does not follow redirects.
        PathOutcome::Redirect(_) if head.is_grpc() => {
            return Received::Refused(400, "path_normalization_failed");
        }
        PathOutcome::Redirect(path) => return Received::Redirected(path),
    }
    let client = client::identify(entrance, head);
    certificate::forward(manager, peer, own, &mut head.headers);
    set_request_id(manager, client, head, &mut random);
    let trace = manager.tracing.map(|share| ensure_trace(head, share, &mut random));
    if !manager.via.is_empty() {
        append(&mut head.headers, NameId::VIA, b", ", manager.via.as_bytes());
    }
    let carried = carried(entrance, head);
    Received::GoOn { client, carried, trace }
}

/// Believed only from a mesh peer whose certificate was verified, where the listener was told to; gone in any case.
fn carried(entrance: Entrance<'_>, head: &mut RequestHead) -> Option<Protocol> {
    let field = NameId::MAINSTAY_ORIG_PROTO;
    let believed =
        entrance.takes_http1_in_http2 && entrance.peer.identity.is_some() && head.protocol == Protocol::Http2;
    let carried = match head.headers.get_id(field)? {
        b"HTTP/1.1" if believed => Some(Protocol::Http11),
        _ => None,
    };
    head.headers.remove_id(field);
    carried
}

/// Whether the request may go on. Applications that turn `-` into `_`, as CGI does, cannot tell such a header from the one that a
/// proxy before them has checked.
fn settle_underscores(action: plan::Underscores, head: &mut RequestHead) -> bool {
    if action == plan::Underscores::Drop {
        head.headers.remove_where(|_, name, _| name.contains(&b'_'));
        return true;
    }
    !head.headers.iter().any(|(_, name, _)| name.contains(&b'_'))
}

/// `strip_trailing_host_dot`: of the host, with or without a port behind it.
fn strip_dot(head: &mut RequestHead) {
    let authority = head.authority();
    let end = memchr::memrchr(b':', authority).unwrap_or(authority.len());
    let (host, port) = authority.split_at(end);
    if let Some(host) = host.strip_suffix(b".")
        && !host.is_empty()
    {
        let stripped = [host, port].concat();
        head.set_authority(&stripped);
    }
}

/// `strip_any_host_port`, `strip_matching_host_port`.
fn strip_port(manager: &plan::HttpConnectionManager, peer: &Peer, head: &mut RequestHead) {
    if !manager.strip_any_host_port && !manager.strip_matching_host_port {
        return;
    }
    let authority = head.authority();
    let Some(colon) = memchr::memrchr(b':', authority) else { return };
    let port =
        authority.get(colon + 1..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    // The last colon of a bare IPv6 address in brackets lies inside them.
    let (Some(port), Some(host)) = (port, authority.get(..colon)) else { return };
    let matches = peer.original_destination.or(peer.local).is_some_and(|local| local.port() == port);
    if manager.strip_any_host_port || matches {
        let host = host.to_vec();
        head.set_authority(&host);
    }
}

fn set_request_id(
    manager: &plan::HttpConnectionManager,
    client: Client,
    head: &mut RequestHead,
    mut random: impl FnMut() -> u64,
) {
    if !manager.generate_request_id {
        return;
    }
    let override_theirs = client.is_edge && !manager.preserve_external_request_id;
    if override_theirs || !head.headers.contains_id(NameId::X_REQUEST_ID) {
        head.headers.set_id(NameId::X_REQUEST_ID, &request_id(random(), random()));
    }
}

/// What the connection manager adds to a final response of HTTP. `is_ours`: made here, not by an upstream.
pub fn send(
    manager: &plan::HttpConnectionManager,
    request: &RequestHead,
    head: &mut ResponseHead,
    date: &[u8],
    is_ours: bool,
) {
    let headers = &mut head.headers;
    if let Some(name) = &manager.server_name
        && (is_ours || !manager.server_name_if_absent || !headers.contains_id(NameId::SERVER))
    {
        headers.set_id(NameId::SERVER, name.as_bytes());
    }
    if !headers.contains_id(NameId::DATE) {
        headers.push_id(NameId::DATE, date);
    }
    if manager.always_set_request_id_in_response
        && let Some(id) = request.headers.get_id(NameId::X_REQUEST_ID)
    {
        headers.set_id(NameId::X_REQUEST_ID, id);
    }
    if !manager.via.is_empty() {
        append(headers, NameId::VIA, b", ", manager.via.as_bytes());
    }
}

#[cfg(test)]
mod tests;
