//! Our verifier: chains by webpki against the bundle of the peer's trust domain, then the alternative names the plan asks for.
//!
//! A peer whose SPIFFE trust domain has a bundle of its own is judged by that bundle alone; all others by the common
//! roots. No bundle, no peer: unknown trust fails closed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::certificate::describe;
use crate::matching::TextMatcher;
use crate::message::{PeerCertificate, SpiffeId};
use crate::plan::{AlternativeNames, PlanError, StringMatch, ValidationContext};

/// Trust roots, compiled.
pub struct Trust {
    common: Option<Roots>,
    domains: HashMap<String, Roots>,
    provider: Arc<CryptoProvider>,
}

struct Roots {
    store: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Trust({} domains)", self.domains.len())
    }
}

impl Trust {
    pub fn compile(plan: &ValidationContext, provider: &Arc<CryptoProvider>) -> Result<Self, PlanError> {
        let common = if plan.roots.is_empty() {
            None
        } else {
            Some(
                roots(&plan.roots, provider)
                    .map_err(|reason| PlanError::new("material.context.roots", reason))?,
            )
        };
        let mut domains = HashMap::new();
        for (index, bundle) in plan.domains.iter().enumerate() {
            let path = || format!("material.context.domains[{index}].roots");
            domains.insert(
                bundle.domain.clone(),
                roots(&bundle.roots, provider).map_err(|reason| PlanError::new(path(), reason))?,
            );
        }
        if common.is_none() && domains.is_empty() {
            return Err(PlanError::new("material.context", "has no trust roots"));
        }
        Ok(Self { common, domains, provider: Arc::clone(provider) })
    }

    /// Trust domains with how many roots each has; the empty name stands for all others.
    pub fn domains(&self) -> BTreeMap<String, usize> {
        let common = self.common.iter().map(|roots| (String::new(), roots.store.len()));
        let domains = self.domains.iter().map(|(name, roots)| (name.clone(), roots.store.len()));
        domains.chain(common).collect()
    }

    /// The roots that judge this peer.
    fn roots_for(&self, peer: &PeerCertificate) -> Result<&Roots, Error> {
        identity(peer)
            .and_then(|id| self.domains.get(id.trust_domain()))
            .or(self.common.as_ref())
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

/// The SPIFFE id of a certificate: its only URI name (SPIFFE X.509-SVID §2: exactly one).
pub fn identity(peer: &PeerCertificate) -> Option<SpiffeId> {
    match peer.uris.as_slice() {
        [uri] => SpiffeId::parse(uri),
        _ => None,
    }
}

fn roots(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Roots, String> {
    use rustls::pki_types::pem::PemObject;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        store.add(certificate).map_err(|error| format!("holds a root that cannot be used: {error}"))?;
    }
    if store.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    let store = Arc::new(store);
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&store), Arc::clone(provider))
        .build()
        .map_err(|error| format!("cannot be used: {error}"))?;
    Ok(Roots { store, clients })
}

/// Alternative-name rules, compiled: any URI or DNS name that one of them matches is enough; none at all means no rule.
#[derive(Debug)]
pub struct NameRules(Vec<TextMatcher>);

impl NameRules {
    pub fn compile(plan: &AlternativeNames) -> Result<Self, PlanError> {
        let compile = |(index, matches): (usize, &StringMatch)| {
            TextMatcher::compile(matches)
                .map_err(|problem| problem.within(&format!("alternative_names.any_of[{index}]")))
        };
        Ok(Self(plan.any_of.iter().enumerate().map(compile).collect::<Result<_, _>>()?))
    }

    pub fn accept(&self, peer: &PeerCertificate) -> bool {
        self.0.is_empty()
            || peer
                .uris
                .iter()
                .chain(&peer.dns_names)
                .any(|name| self.0.iter().any(|rule| rule.matches(name.as_bytes())))
    }
}

fn name_refused() -> Error {
    Error::InvalidCertificate(CertificateError::NotValidForName)
}

/// Verifies clients; `mandatory`: a client without a certificate is turned away.
#[derive(Debug)]
pub struct Clients {
    pub trust: Arc<Trust>,
    pub names: NameRules,
    pub mandatory: bool,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let peer = describe(end_entity);
        let verified =
            self.trust.roots_for(&peer)?.clients.verify_client_cert(end_entity, intermediates, now)?;
        if self.names.accept(&peer) { Ok(verified) } else { Err(name_refused()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies servers. Without name rules the host name must match when `check_host` is set, as for any web server.
#[derive(Debug)]
pub struct Servers {
    /// `None`: the plan asked for no verification at all.
    pub trust: Option<Arc<Trust>>,
    pub names: Arc<NameRules>,
    pub check_host: bool,
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let peer = describe(end_entity);
        let parsed = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &trust.roots_for(&peer)?.store,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        if self.check_host {
            rustls::client::verify_server_name(&parsed, server_name)?;
        }
        if self.names.accept(&peer) { Ok(ServerCertVerified::assertion()) } else { Err(name_refused()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
