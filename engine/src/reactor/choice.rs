//! What a client's connection speaks, and the codec for it: by ALPN, else by the plan, else by the first bytes. Pure.
//!
//! Invariant: a framed protocol that first bytes told goes before HTTP; what is neither gets the codec whose answer its bytes deserve.

use super::inspection::{Recognised, recognise};
use super::intake::Arrival;
use crate::codec::detect::Detected;
use crate::codec::{AnyCodec, Framed, h1, h2};
use crate::plan::{HttpConnectionManager, Protocol};
use crate::snapshot::{Chain, HttpManager, Terminal};
use crate::stream::port::is_http2;

/// What a client's connection speaks.
pub(super) enum Choice {
    Http(Protocol),
    Rpc(Framed),
    /// The first bytes must show.
    Look,
}

pub(super) fn choose(manager: &HttpManager, alpn: Option<&str>, arrival: &Arrival) -> Choice {
    let (protocol, framed) = (manager.options.protocol, &manager.rpc);
    match (&arrival.rpc, &framed[..]) {
        (Some(Some(protocol)), _) => return Choice::Rpc(protocol.clone()),
        (None, [only]) if protocol == Protocol::Rpc => return Choice::Rpc(only.clone()),
        (None, _) if protocol == Protocol::Rpc => return Choice::Look,
        // The codec says what is wrong with the bytes, and how.
        (Some(None), [first, ..]) if protocol == Protocol::Rpc => return Choice::Rpc(first.clone()),
        _ => {}
    }
    let may_be_framed = arrival.rpc.is_none() && !framed.is_empty() && protocol == Protocol::Auto;
    match choose_http(protocol, alpn, arrival.detected) {
        Some(Protocol::Http1) if may_be_framed && !alpn.is_some_and(|alpn| alpn.contains("http/1")) => {
            Choice::Look
        }
        Some(version) => Choice::Http(version),
        None => Choice::Look,
    }
}

/// What first bytes say about the framed protocols of a chain.
pub(super) fn recognise_in(chain: &Chain, bytes: &[u8]) -> Recognised {
    match &chain.terminal {
        Terminal::Http(manager) => recognise(manager.rpc.iter(), bytes),
        Terminal::Tcp(_) => Recognised::No,
    }
}

/// Which HTTP a connection speaks; `None`: the first bytes must show.
fn choose_http(plan: Protocol, alpn: Option<&str>, detected: Option<Detected>) -> Option<Protocol> {
    match (plan, alpn, detected) {
        (Protocol::Http1 | Protocol::Http2 | Protocol::Rpc, _, _) => Some(plan),
        (Protocol::Auto, Some(alpn), _) if is_http2(alpn) => Some(Protocol::Http2),
        (Protocol::Auto, Some(alpn), _) if alpn.ends_with("http/1.1") || alpn.ends_with("http/1.0") => {
            Some(Protocol::Http1)
        }
        (Protocol::Auto, _, Some(Detected::Http2)) => Some(Protocol::Http2),
        // Whatever it is, the codec of HTTP/1 has the answer to it.
        (Protocol::Auto, _, Some(_)) => Some(Protocol::Http1),
        (Protocol::Auto, _, None) => None,
    }
}

/// The codec of an HTTP connection, as its manager sets it up.
pub(super) fn codec_of(options: &HttpConnectionManager, version: Protocol, is_tls: bool) -> AnyCodec {
    let max_head_bytes = options.max_request_headers_bytes as usize;
    let max_fields = options.max_request_headers as usize;
    let pass_expect = options.proxy_100_continue;
    if version == Protocol::Http2 {
        let http2 = &options.http2;
        let default = h2::Settings::default();
        return h2::Server::new(h2::Settings {
            max_head_bytes,
            max_fields,
            head_timeout: options.request_headers_timeout.or(default.head_timeout),
            max_concurrent_streams: http2.max_concurrent_streams,
            stream_window: http2.stream_window,
            connection_window: http2.connection_window,
            keepalive_interval: http2.keepalive_interval,
            keepalive_timeout: http2.keepalive_timeout.unwrap_or(default.keepalive_timeout),
            pass_expect,
            ..default
        })
        .into();
    }
    h1::Server::new(h1::Settings {
        max_head_bytes,
        max_fields,
        head_timeout: options.request_headers_timeout.or(h1::Settings::default().head_timeout),
        accept_http_10: options.http1.accept_http_10,
        absolute_form: options.http1.absolute_url,
        pass_expect,
        trailers: options.http1.enable_trailers,
        is_tls,
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_versions_follow_plan_alpn_and_first_bytes() {
        let cases = [
            (Protocol::Http1, Some("h2"), Some(Detected::Http2), Some(Protocol::Http1)),
            (Protocol::Auto, Some("h2"), None, Some(Protocol::Http2)),
            (Protocol::Auto, Some("http/1.1"), None, Some(Protocol::Http1)),
            (Protocol::Auto, Some("istio-http/1.1"), None, Some(Protocol::Http1)),
            (Protocol::Auto, Some("istio-h2"), None, Some(Protocol::Http2)),
            (Protocol::Auto, Some("istio"), Some(Detected::Http2), Some(Protocol::Http2)),
            (Protocol::Auto, None, Some(Detected::Tcp), Some(Protocol::Http1)),
            (Protocol::Auto, None, None, None),
            (Protocol::Auto, Some("istio"), None, None),
        ];
        for (plan, alpn, detected, expected) in cases {
            assert_eq!(choose_http(plan, alpn, detected), expected, "{plan:?} {alpn:?} {detected:?}");
        }
    }
}
