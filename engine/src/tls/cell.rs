//! Contexts that follow their secrets: what filter chains and clusters hold.
//!
//! A client cell checks its plan when it is made and builds the context (about 2 KiB with its session cache) at the first
//! handshake: of thousands of clusters a sidecar knows, it dials few.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::context::{ClientContext, ClientParts, ServerContext};
use super::material::Secrets;
use crate::plan::{DownstreamTls, PlanError, UpstreamTls};

/// A server context that follows its secrets.
#[derive(Debug)]
pub struct ServerCell {
    plan: Arc<DownstreamTls>,
    current: ArcSwap<ServerContext>,
}

impl ServerCell {
    pub fn compile(plan: Arc<DownstreamTls>, secrets: &dyn Secrets) -> Result<Self, PlanError> {
        let context = ServerContext::compile(&plan, secrets)?;
        Ok(Self { plan, current: ArcSwap::from_pointee(context) })
    }

    /// The context for a new handshake.
    pub fn load(&self) -> Arc<ServerContext> {
        self.current.load_full()
    }

    pub fn plan(&self) -> &Arc<DownstreamTls> {
        &self.plan
    }

    /// Clients are verified: an identity shown by the handshake counts.
    pub fn verifies(&self) -> bool {
        self.plan.validation.is_some()
    }

    /// The context is made of that secret.
    pub fn names(&self, secret: &str) -> bool {
        self.plan.certificates.iter().any(|known| known == secret)
            || self.plan.validation.as_deref() == Some(secret)
    }

    /// New handshakes use `context`.
    pub fn store(&self, context: ServerContext) {
        self.current.store(Arc::new(context));
    }
}

/// A client context that follows its secrets.
#[derive(Debug)]
pub struct ClientCell {
    plan: Arc<UpstreamTls>,
    parts: Mutex<ClientParts>,
    built: ArcSwapOption<ClientContext>,
}

impl ClientCell {
    pub fn compile(plan: Arc<UpstreamTls>, secrets: &dyn Secrets) -> Result<Self, PlanError> {
        let parts = ClientParts::find(&plan, secrets)?;
        Ok(Self { plan, parts: Mutex::new(parts), built: ArcSwapOption::empty() })
    }

    /// The context for a new handshake, built now if this is the first since its secrets changed.
    pub fn load(&self) -> Arc<ClientContext> {
        if let Some(built) = self.built.load_full() {
            return built;
        }
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = self.built.load_full() {
            return built;
        }
        let context = Arc::new(parts.build(&self.plan));
        self.built.store(Some(Arc::clone(&context)));
        context
    }

    pub fn plan(&self) -> &Arc<UpstreamTls> {
        &self.plan
    }

    /// A certificate of ours is shown and the server is verified: mutual TLS.
    pub fn is_mutual(&self) -> bool {
        !self.plan.certificates.is_empty() && self.plan.validation.is_some()
    }

    /// The context is made of that secret.
    pub fn names(&self, secret: &str) -> bool {
        self.plan.certificates.iter().any(|known| known == secret)
            || self.plan.validation.as_deref() == Some(secret)
    }

    /// New handshakes use a context made of `parts`.
    pub fn store(&self, parts: ClientParts) {
        let mut held = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        *held = parts;
        self.built.store(None);
    }
}
