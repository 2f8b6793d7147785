//! TLS contexts: what many connections share, compiled from the plan and the secrets it names.
//!
//! A secret that changes gives a new context under the same names: new handshakes use it, connections stay. Session
//! caches live in the context, so that no session outlives the trust it was made under.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use super::certificate::describe;
use super::keys::Key;
use super::verify::{Clients, NameRules, Servers, Trust};
use crate::plan::{CertificateChain, DownstreamTls, PlanError, SecretMaterial, TlsVersion, UpstreamTls};

/// Looks secrets and generated keys up while a context is compiled.
pub trait Secrets {
    fn secret(&self, name: &str) -> Option<Arc<SecretMaterial>>;
    fn key(&self, id: u64) -> Option<Arc<Key>>;
}

/// Sessions kept for resumption, per context.
const SESSIONS: usize = 1_024;

fn provider() -> Arc<CryptoProvider> {
    use std::sync::OnceLock;
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

fn versions(min: TlsVersion, max: TlsVersion) -> Result<Vec<&'static SupportedProtocolVersion>, PlanError> {
    let known = [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    let chosen: Vec<_> = known
        .into_iter()
        .filter(|(version, _)| min <= *version && *version <= max)
        .map(|(_, version)| version)
        .collect();
    if chosen.is_empty() { Err(PlanError::new("min_version", "is above max_version")) } else { Ok(chosen) }
}

fn certified(
    name: &str,
    path: &str,
    secrets: &dyn Secrets,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PlanError> {
    let refuse = |reason: String| PlanError::new(path, reason);
    let material = secrets.secret(name).ok_or_else(|| refuse(format!("secret \"{name}\" is not there")))?;
    let SecretMaterial::Certificate { chain } = &*material else {
        return Err(refuse(format!("secret \"{name}\" holds trust roots, not a certificate")));
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain.certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| refuse(format!("the certificate chain of secret \"{name}\" is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(refuse(format!("secret \"{name}\" holds no certificate")));
    }
    let key = private_key(chain, secrets).map_err(|reason| refuse(format!("secret \"{name}\": {reason}")))?;
    let signing = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| refuse(format!("the key of secret \"{name}\" cannot be used: {error}")))?;
    let certified = CertifiedKey::new(certificates, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err(refuse(format!("key and certificate of secret \"{name}\" do not belong together"))),
    }
}

fn private_key(chain: &CertificateChain, secrets: &dyn Secrets) -> Result<PrivateKeyDer<'static>, String> {
    match chain.key_id {
        Some(id) => {
            let key = secrets.key(id).ok_or_else(|| format!("generated key {id} is not there"))?;
            Ok(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()).into())
        }
        None => PrivateKeyDer::from_pem_slice(&chain.key).map_err(|_| "the key is not PEM".to_owned()),
    }
}

fn trust(name: &str, secrets: &dyn Secrets, provider: &Arc<CryptoProvider>) -> Result<Trust, PlanError> {
    let refuse = |reason: String| PlanError::new("validation", reason);
    let material = secrets.secret(name).ok_or_else(|| refuse(format!("secret \"{name}\" is not there")))?;
    let SecretMaterial::Validation { context } = &*material else {
        return Err(refuse(format!("secret \"{name}\" holds a certificate, not trust roots")));
    };
    Trust::compile(context, provider).map_err(|problem| refuse(format!("secret \"{name}\": {problem}")))
}

fn protocols(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// Chooses by server name among several certificates, else the first.
#[derive(Debug)]
struct ByServerName(Vec<(Arc<CertifiedKey>, Vec<String>)>);

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let fits = |names: &[String]| {
            name.as_deref().is_some_and(|name| names.iter().any(|known| covers(known, name)))
        };
        let chosen = self.0.iter().find(|(_, names)| fits(names)).or_else(|| self.0.first());
        chosen.map(|(key, _)| Arc::clone(key))
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

/// Server side of a filter chain.
#[derive(Clone)]
pub struct ServerContext {
    pub(super) config: Arc<ServerConfig>,
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServerContext(…)")
    }
}

impl ServerContext {
    pub fn compile(plan: &DownstreamTls, secrets: &dyn Secrets) -> Result<Self, PlanError> {
        let provider = provider();
        let mut keys = Vec::new();
        for (index, name) in plan.certificates.iter().enumerate() {
            let key = certified(name, &format!("certificates[{index}]"), secrets, &provider)?;
            let names = key.cert.first().map(|leaf| describe(leaf).dns_names).unwrap_or_default();
            keys.push((Arc::new(key), names));
        }
        if keys.is_empty() {
            return Err(PlanError::new("certificates", "a TLS server needs at least one certificate"));
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(plan.min_version, plan.max_version)?)
            .map_err(|error| PlanError::new("min_version", error.to_string()))?;
        let builder = match &plan.validation {
            Some(name) => builder.with_client_cert_verifier(Arc::new(Clients {
                trust: trust(name, secrets, &provider)?,
                names: NameRules::compile(&plan.alternative_names)?,
                mandatory: plan.require_client_certificate,
            })),
            None if plan.require_client_certificate => {
                return Err(PlanError::new(
                    "validation",
                    "client certificates are required, but there are no trust roots",
                ));
            }
            None => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByServerName(keys)));
        config.alpn_protocols = protocols(&plan.application_protocols);
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config) })
    }
}

/// Client side of a cluster or of one of its transport socket matches.
#[derive(Clone)]
pub struct ClientContext {
    pub(super) config: Arc<ClientConfig>,
    /// What is sent as server name; empty = none (or the request's host, if `auto_server_name`).
    pub server_name: String,
    pub auto_server_name: bool,
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientContext({})", self.server_name)
    }
}

impl ClientContext {
    pub fn compile(plan: &UpstreamTls, secrets: &dyn Secrets) -> Result<Self, PlanError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(plan.min_version, plan.max_version)?)
            .map_err(|error| PlanError::new("min_version", error.to_string()))?;
        let names = NameRules::compile(&plan.alternative_names)?;
        let verifier = Servers {
            trust: plan.validation.as_deref().map(|name| trust(name, secrets, &provider)).transpose()?,
            check_host: plan.auto_san_validation,
            names,
            provider: Arc::clone(&provider),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match plan.certificates.first() {
            Some(name) => {
                let key = certified(name, "certificates[0]", secrets, &provider)?;
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols(&plan.application_protocols);
        config.resumption = rustls::client::Resumption::in_memory_sessions(SESSIONS);
        config.enable_sni = plan.auto_server_name || !plan.server_name.is_empty();
        config.enable_secret_extraction = true;
        Ok(Self {
            config: Arc::new(config),
            server_name: plan.server_name.clone(),
            auto_server_name: plan.auto_server_name,
        })
    }
}
