//! Secrets in force, generated keys, and the TLS contexts made of them.
//!
//! A context is a cell that filter chains and clusters share by the text of its plan. When a secret changes, the cells
//! that name it are filled anew: new handshakes use the new context, connections and listeners stay as they are. A cell
//! that cannot be filled keeps its last good context, and the secret is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::plan::{DownstreamTls, PlanError, SecretMaterial, UpstreamTls};
use crate::tls::{ClientContext, Key, Secrets, ServerContext};

/// Generated and imported private keys, by number. Shared with the border.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: Mutex<(u64, HashMap<u64, Arc<Key>>)>,
}

impl KeyRing {
    pub fn add(&self, key: Key) -> u64 {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.0 += 1;
        let id = keys.0;
        keys.1.insert(id, Arc::new(key));
        id
    }

    pub fn get(&self, id: u64) -> Option<Arc<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).1.get(&id).cloned()
    }

    pub fn forget(&self, id: u64) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
    }
}

/// A server context that follows its secrets.
#[derive(Debug)]
pub struct ServerCell {
    plan: DownstreamTls,
    current: ArcSwap<ServerContext>,
}

impl ServerCell {
    /// The context for a new handshake.
    pub fn load(&self) -> Arc<ServerContext> {
        self.current.load_full()
    }

    /// Clients are verified: an identity shown by the handshake counts.
    pub fn verifies(&self) -> bool {
        self.plan.validation.is_some()
    }
}

/// A client context that follows its secrets.
#[derive(Debug)]
pub struct ClientCell {
    plan: UpstreamTls,
    current: ArcSwap<ClientContext>,
}

impl ClientCell {
    pub fn load(&self) -> Arc<ClientContext> {
        self.current.load_full()
    }

    pub fn plan(&self) -> &UpstreamTls {
        &self.plan
    }

    /// A certificate of ours is shown and the server is verified: mutual TLS.
    pub fn is_mutual(&self) -> bool {
        !self.plan.certificates.is_empty() && self.plan.validation.is_some()
    }
}

/// All secrets, and the cells that hang on them. Owned by the builder.
#[derive(Debug, Default)]
pub struct SecretStore {
    materials: HashMap<String, Arc<SecretMaterial>>,
    keys: Arc<KeyRing>,
    servers: HashMap<DownstreamTls, Weak<ServerCell>>,
    clients: HashMap<UpstreamTls, Weak<ClientCell>>,
}

impl Secrets for SecretStore {
    fn secret(&self, name: &str) -> Option<Arc<SecretMaterial>> {
        self.materials.get(name).cloned()
    }

    fn key(&self, id: u64) -> Option<Arc<Key>> {
        self.keys.get(id)
    }
}

impl SecretStore {
    pub fn new(keys: Arc<KeyRing>) -> Self {
        Self { keys, ..Self::default() }
    }

    /// The cell of a server context, shared by all chains with the same plan.
    pub fn server(&mut self, plan: &DownstreamTls) -> Result<Arc<ServerCell>, PlanError> {
        if let Some(found) = self.servers.get(plan).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let context = ServerContext::compile(plan, self)?;
        let cell = Arc::new(ServerCell { plan: plan.clone(), current: ArcSwap::from_pointee(context) });
        self.servers.insert(plan.clone(), Arc::downgrade(&cell));
        Ok(cell)
    }

    /// The cell of a client context, shared by all clusters with the same plan.
    pub fn client(&mut self, plan: &UpstreamTls) -> Result<Arc<ClientCell>, PlanError> {
        if let Some(found) = self.clients.get(plan).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let context = ClientContext::compile(plan, self)?;
        let cell = Arc::new(ClientCell { plan: plan.clone(), current: ArcSwap::from_pointee(context) });
        self.clients.insert(plan.clone(), Arc::downgrade(&cell));
        Ok(cell)
    }

    /// Puts a secret in force: every cell that names it is made anew first; if one cannot be, nothing changes.
    pub fn upsert(&mut self, name: &str, material: SecretMaterial) -> Result<(), PlanError> {
        let former = self.materials.insert(name.to_owned(), Arc::new(material));
        match self.refill(name) {
            Ok(()) => Ok(()),
            Err(problem) => {
                match former {
                    Some(former) => self.materials.insert(name.to_owned(), former),
                    None => self.materials.remove(name),
                };
                Err(problem)
            }
        }
    }

    /// Drops the cells that nothing uses any more; called after each delta.
    pub fn sweep(&mut self) {
        self.servers.retain(|_, cell| cell.strong_count() > 0);
        self.clients.retain(|_, cell| cell.strong_count() > 0);
    }

    /// Forgets a secret. Contexts made of it go on until their chains and clusters go.
    pub fn remove(&mut self, name: &str) {
        self.materials.remove(name);
    }

    fn refill(&self, name: &str) -> Result<(), PlanError> {
        let names = |certificates: &[String], validation: &Option<String>| {
            certificates.iter().any(|known| known == name) || validation.as_deref() == Some(name)
        };
        let mut servers = Vec::new();
        for cell in self.servers.values().filter_map(Weak::upgrade) {
            if names(&cell.plan.certificates, &cell.plan.validation) {
                let context = ServerContext::compile(&cell.plan, self)?;
                servers.push((cell, context));
            }
        }
        let mut clients = Vec::new();
        for cell in self.clients.values().filter_map(Weak::upgrade) {
            if names(&cell.plan.certificates, &cell.plan.validation) {
                let context = ClientContext::compile(&cell.plan, self)?;
                clients.push((cell, context));
            }
        }
        for (cell, context) in servers {
            cell.current.store(Arc::new(context));
        }
        for (cell, context) in clients {
            cell.current.store(Arc::new(context));
        }
        Ok(())
    }
}
