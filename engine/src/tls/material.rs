//! A secret, compiled once and shared by every context that names it: a usable certificate, or trust roots.
//!
//! The PEM of the plan is not kept; keys live on only inside rustls' signing key.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;

use super::keys::Key;
use super::verify::Trust;
use crate::plan::{CertificateChain, PlanError, SecretMaterial};

/// What a secret is good for.
pub enum Material {
    Certificate(Arc<CertifiedKey>),
    Trust(Arc<Trust>),
}

impl fmt::Debug for Material {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Certificate(_) => "Material::Certificate(…)",
            Self::Trust(_) => "Material::Trust(…)",
        })
    }
}

/// Looks compiled secrets up while a context is made.
pub trait Secrets {
    fn material(&self, name: &str) -> Option<Arc<Material>>;
}

/// One cryptography provider for the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

impl Material {
    /// `key`: finds a generated key by its number. Refuses with the path inside the secret.
    pub fn compile(plan: &SecretMaterial, key: &dyn Fn(u64) -> Option<Arc<Key>>) -> Result<Self, PlanError> {
        let provider = provider();
        match plan {
            SecretMaterial::Certificate { chain } => {
                certified(chain, key, &provider).map(|key| Self::Certificate(Arc::new(key)))
            }
            SecretMaterial::Validation { context } => {
                Trust::compile(context, &provider).map(|trust| Self::Trust(Arc::new(trust)))
            }
        }
    }
}

fn certified(
    chain: &CertificateChain,
    key: &dyn Fn(u64) -> Option<Arc<Key>>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PlanError> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&chain.certificates).collect::<Result<_, _>>().map_err(|error| {
            PlanError::new("material.chain.certificates", format!("the chain is not PEM: {error}"))
        })?;
    if certificates.is_empty() {
        return Err(PlanError::new("material.chain.certificates", "holds no certificate"));
    }
    let signing = provider
        .key_provider
        .load_private_key(private_key(chain, key)?)
        .map_err(|error| PlanError::new("material.chain.key", format!("the key cannot be used: {error}")))?;
    let certified = CertifiedKey::new(certificates, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err(PlanError::new("material.chain.key", "key and certificate do not belong together")),
    }
}

fn private_key(
    chain: &CertificateChain,
    key: &dyn Fn(u64) -> Option<Arc<Key>>,
) -> Result<PrivateKeyDer<'static>, PlanError> {
    match chain.key_id {
        Some(id) => {
            let key = key(id).ok_or_else(|| {
                PlanError::new("material.chain.key_id", format!("generated key {id} is not there"))
            })?;
            Ok(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()).into())
        }
        None => PrivateKeyDer::from_pem_slice(&chain.key)
            .map_err(|_| PlanError::new("material.chain.key", "the key is not PEM")),
    }
}

/// The certificate of that name; `path`: where the context names it.
pub(super) fn find_certificate(
    name: &str,
    path: &str,
    secrets: &dyn Secrets,
) -> Result<Arc<CertifiedKey>, PlanError> {
    match secrets.material(name).as_deref() {
        Some(Material::Certificate(key)) => Ok(Arc::clone(key)),
        Some(Material::Trust(_)) => {
            Err(PlanError::new(path, format!("secret \"{name}\" holds trust roots, not a certificate")))
        }
        None => Err(PlanError::new(path, format!("secret \"{name}\" is not there"))),
    }
}

/// The trust roots of that name.
pub(super) fn find_trust(name: &str, secrets: &dyn Secrets) -> Result<Arc<Trust>, PlanError> {
    match secrets.material(name).as_deref() {
        Some(Material::Trust(trust)) => Ok(Arc::clone(trust)),
        Some(Material::Certificate(_)) => Err(PlanError::new(
            "validation",
            format!("secret \"{name}\" holds a certificate, not trust roots"),
        )),
        None => Err(PlanError::new("validation", format!("secret \"{name}\" is not there"))),
    }
}
