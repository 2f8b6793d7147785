//! TLS contexts: what many connections share, compiled from the plan and the secrets it names.
//!
//! A secret that changes gives a new context under the same names: new handshakes use it, connections stay. Session
//! caches live in the context, so that no session outlives the trust it was made under.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ConfigBuilder, ServerConfig, SupportedProtocolVersion, WantsVerifier};

use super::certificate::describe;
use super::material::{Secrets, find_certificate, find_trust, provider};
use super::verify::{Clients, NameRules, Servers, Trust};
use crate::plan::{DownstreamTls, PlanError, TlsVersion, UpstreamTls};

/// Sessions kept for resumption, per server context.
const SESSIONS: usize = 1_024;
/// Of a client context, which talks to one service; rustls keeps up to eight tickets for each server name.
const CLIENT_SESSIONS: usize = 64;

fn versions(min: TlsVersion, max: TlsVersion) -> Result<Vec<&'static SupportedProtocolVersion>, PlanError> {
    let known = [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    let chosen: Vec<_> = known
        .into_iter()
        .filter(|(version, _)| min <= *version && *version <= max)
        .map(|(_, version)| version)
        .collect();
    if chosen.is_empty() { Err(PlanError::new("min_version", "is above max_version")) } else { Ok(chosen) }
}

fn protocols(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// Chooses by server name among several certificates, else the first.
#[derive(Debug)]
struct ByServerName(Vec<Shown>);

/// A certificate that may be shown, with its names.
#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    dns_names: Vec<String>,
    uri: Option<Arc<str>>,
}

impl ByServerName {
    fn choose(&self, name: Option<&str>) -> Option<&Shown> {
        let name = name.map(str::to_ascii_lowercase);
        let fits = |names: &[String]| {
            name.as_deref().is_some_and(|name| names.iter().any(|known| covers(known, name)))
        };
        self.0.iter().find(|shown| fits(&shown.dns_names)).or_else(|| self.0.first())
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).map(|shown| Arc::clone(&shown.key))
    }
}

/// A certificate's DNS name covers a host: equal, or a wildcard for exactly one label (RFC 6125 §6.4.3).
fn covers(known: &str, host: &str) -> bool {
    match known.strip_prefix("*.") {
        Some(suffix) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix)),
        None => known.eq_ignore_ascii_case(host),
    }
}

/// Server side of a filter chain. Without one of its secrets it serves nobody, neither without a certificate nor without
/// looking at the client's.
#[derive(Clone)]
pub struct ServerContext {
    /// Or the secret that has not come yet.
    pub(super) config: Result<Arc<ServerConfig>, Arc<str>>,
    certificates: Arc<ByServerName>,
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServerContext(…)")
    }
}

impl ServerContext {
    pub fn compile(plan: &DownstreamTls, secrets: &dyn Secrets) -> Result<Self, PlanError> {
        if plan.certificates.is_empty() {
            return Err(PlanError::new("certificates", "a TLS server needs at least one certificate"));
        }
        if plan.require_client_certificate && plan.validation.is_none() {
            return Err(PlanError::new(
                "validation",
                "client certificates are required, but there are no trust roots",
            ));
        }
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions(plan.min_version, plan.max_version)?)
            .map_err(|error| PlanError::new("min_version", error.to_string()))?;
        let names = NameRules::compile(&plan.alternative_names)?;
        let mut named = plan.certificates.iter().chain(&plan.validation);
        if let Some(missing) = named.find(|name| secrets.material(name).is_none()) {
            let certificates = Arc::new(ByServerName(vec![]));
            return Ok(Self { config: Err(missing.as_str().into()), certificates });
        }
        let mut keys = Vec::new();
        for (index, name) in plan.certificates.iter().enumerate() {
            let key = find_certificate(name, &format!("certificates[{index}]"), secrets)?;
            let names = key.cert.first().map(|leaf| describe(leaf)).unwrap_or_default();
            let uri = names.uris.first().map(|uri| uri.as_str().into());
            keys.push(Shown { key, dns_names: names.dns_names, uri });
        }
        let builder = match &plan.validation {
            Some(name) => builder.with_client_cert_verifier(Arc::new(Clients {
                trust: find_trust(name, secrets)?,
                names,
                mandatory: plan.require_client_certificate,
            })),
            None => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
        };
        let certificates = Arc::new(ByServerName(keys));
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols(&plan.application_protocols);
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        config.enable_secret_extraction = true;
        Ok(Self { config: Ok(Arc::new(config)), certificates })
    }

    /// URI of the certificate that is shown to who asks for this name.
    pub fn own_uri(&self, server_name: Option<&str>) -> Option<Arc<str>> {
        self.certificates.choose(server_name).and_then(|shown| shown.uri.clone())
    }
}

/// Client side of a cluster or of one of its transport socket matches.
#[derive(Clone)]
pub struct ClientContext {
    pub(super) config: Arc<ClientConfig>,
    /// What is sent as server name; empty = none (or the request's host, if `auto_server_name`).
    pub server_name: String,
    pub auto_server_name: bool,
    /// Servers are verified: an identity shown by the handshake counts.
    pub verifies: bool,
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientContext({})", self.server_name)
    }
}

/// What a client context is made of, found and checked; building from it cannot fail.
#[derive(Clone)]
pub struct ClientParts {
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    trust: Option<Arc<Trust>>,
    names: Arc<NameRules>,
    key: Option<Arc<CertifiedKey>>,
}

impl fmt::Debug for ClientParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientParts(…)")
    }
}

impl ClientParts {
    /// Refuses with the path inside `UpstreamTls`.
    pub fn find(plan: &UpstreamTls, secrets: &dyn Secrets) -> Result<Self, PlanError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions(plan.min_version, plan.max_version)?)
            .map_err(|error| PlanError::new("min_version", error.to_string()))?;
        let certificate = |name: &String| find_certificate(name, "certificates[0]", secrets);
        Ok(Self {
            builder,
            trust: plan.validation.as_deref().map(|name| find_trust(name, secrets)).transpose()?,
            names: Arc::new(NameRules::compile(&plan.alternative_names)?),
            key: plan.certificates.first().map(certificate).transpose()?,
        })
    }

    pub fn build(&self, plan: &UpstreamTls) -> ClientContext {
        let verifier = Servers {
            trust: self.trust.clone(),
            check_host: plan.auto_san_validation,
            names: Arc::clone(&self.names),
            provider: provider(),
        };
        let builder = self.builder.clone().dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.key {
            Some(key) => builder
                .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(key)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols(&plan.application_protocols);
        config.resumption = rustls::client::Resumption::in_memory_sessions(CLIENT_SESSIONS);
        config.enable_sni = plan.auto_server_name || !plan.server_name.is_empty();
        config.enable_secret_extraction = true;
        ClientContext {
            config: Arc::new(config),
            server_name: plan.server_name.clone(),
            auto_server_name: plan.auto_server_name,
            verifies: self.trust.is_some(),
        }
    }
}

impl ClientContext {
    pub fn compile(plan: &UpstreamTls, secrets: &dyn Secrets) -> Result<Self, PlanError> {
        Ok(ClientParts::find(plan, secrets)?.build(plan))
    }
}
