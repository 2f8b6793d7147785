//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

/// A SPIFFE identity, `spiffe://trust-domain/path` (SPIFFE ID 1.0), checked when made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId(Arc<str>);

impl SpiffeId {
    /// `None` unless the text is a well-formed SPIFFE id (scheme, trust domain of `[a-z0-9._-]`, path without empty segments; at most 2,048 bytes).
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("spiffe://")?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        let domain_ok = !domain.is_empty()
            && domain.len() <= 255
            && domain
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte));
        let segment_ok = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let path_ok = !rest.contains('/') || path.split('/').all(segment_ok);
        (domain_ok && path_ok && text.len() <= 2_048).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn trust_domain(&self) -> &str {
        self.0.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or("")
    }

    /// Namespace of an Istio-shaped id (`/ns/<namespace>/sa/<account>`).
    pub fn namespace(&self) -> Option<&str> {
        self.segment_after("ns")
    }

    pub fn service_account(&self) -> Option<&str> {
        self.segment_after("sa")
    }

    fn segment_after(&self, marker: &str) -> Option<&str> {
        let mut segments = self.0.strip_prefix("spiffe://")?.split('/').skip(1);
        segments.find(|segment| *segment == marker)?;
        segments.next()
    }
}

/// The other end of a connection, known before the first event of its codec.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Address of the peer; `None` for Unix sockets.
    pub remote: Option<SocketAddr>,
    /// Our end of the connection.
    pub local: Option<SocketAddr>,
    /// Where the client meant to go, when the connection was redirected here.
    pub original_destination: Option<SocketAddr>,
    /// Server name of the ClientHello.
    pub server_name: Option<Arc<str>>,
    /// Negotiated ALPN.
    pub application_protocol: Option<Arc<str>>,
    /// The connection is TLS and ended here.
    pub is_tls: bool,
    /// By a session of before.
    pub is_resumed: bool,
    /// URI of the certificate that we showed.
    pub own_uri: Option<Arc<str>>,
    /// `TLSv1.3` and the like, for logs.
    pub tls_version: Option<&'static str>,
    pub tls_cipher: Option<&'static str>,
    /// Identity of a client certificate that was verified.
    pub identity: Option<SpiffeId>,
    /// Verified client certificate: subject, URI and DNS names (for forwarding and RBAC).
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// What is kept of a verified peer certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// RFC 2253 text.
    pub subject: String,
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
    /// SHA-256 of the DER, hex.
    pub digest: String,
    pub serial: String,
    /// The leaf, DER.
    pub der: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_are_checked_and_taken_apart() {
        let id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/cart").unwrap();
        assert_eq!(
            (id.trust_domain(), id.namespace(), id.service_account()),
            ("cluster.local", Some("shop"), Some("cart"))
        );
        for bad in [
            "",
            "http://a/b",
            "spiffe://",
            "spiffe:///a",
            "spiffe://A/b",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/",
            "spiffe://a/b?c",
        ] {
            assert_eq!(SpiffeId::parse(bad), None, "{bad}");
        }
    }
}
