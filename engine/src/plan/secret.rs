//! Secrets (`envoy.extensions.transport_sockets.tls.v3.Secret`). Nothing here is printed: `Debug` shows names only.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::route::serde_bytes_compat;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    pub name: String,
    pub material: SecretMaterial,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretMaterial {
    Certificate { chain: CertificateChain },
    Validation { context: ValidationContext },
}

/// `key`: PEM (PKCS#8, SEC1 or PKCS#1), or empty when `key_id` names a key that the engine generated.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateChain {
    /// PEM, leaf first.
    #[serde(with = "serde_bytes_compat")]
    pub certificates: Vec<u8>,
    #[serde(with = "serde_bytes_compat")]
    pub key: Vec<u8>,
    pub key_id: Option<u64>,
}

/// Trust roots: for any peer, and per SPIFFE trust domain; a peer of a listed domain is judged by that domain's roots alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationContext {
    /// PEM, may be empty if `domains` is not.
    #[serde(with = "serde_bytes_compat")]
    pub roots: Vec<u8>,
    pub domains: Vec<TrustDomainBundle>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDomainBundle {
    pub domain: String,
    #[serde(with = "serde_bytes_compat")]
    pub roots: Vec<u8>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({}, …)", self.name)
    }
}

impl fmt::Debug for SecretMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretMaterial(…)")
    }
}

impl fmt::Debug for CertificateChain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CertificateChain(…)")
    }
}

impl fmt::Debug for ValidationContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ValidationContext({} domains)", self.domains.len())
    }
}

impl fmt::Debug for TrustDomainBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TrustDomainBundle({})", self.domain)
    }
}
