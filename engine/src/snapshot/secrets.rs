//! Secrets in force, generated keys, and the TLS contexts made of them.
//!
//! A context is a cell that filter chains and clusters share by the text of its plan. When a secret changes, the cells
//! that name it are filled anew: new handshakes use the new context, connections and listeners stay as they are. A cell
//! that cannot be filled keeps its last good context, and the secret is refused. A server's cell whose secrets have not all
//! come yet turns clients away until they have, so that the other chains of its listener serve.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::plan::{DownstreamTls, PlanError, SecretMaterial, UpstreamTls};
use crate::tls::{ClientCell, ClientParts, Key, Material, Secrets, ServerCell, ServerContext};

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

/// All secrets, and the cells that hang on them. Owned by the builder.
#[derive(Debug, Default)]
pub struct SecretStore {
    materials: HashMap<String, Arc<Material>>,
    keys: Arc<KeyRing>,
    servers: HashMap<Arc<DownstreamTls>, Weak<ServerCell>>,
    clients: HashMap<Arc<UpstreamTls>, Weak<ClientCell>>,
}

impl Secrets for SecretStore {
    fn material(&self, name: &str) -> Option<Arc<Material>> {
        self.materials.get(name).cloned()
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
        let plan = Arc::new(plan.clone());
        let cell = Arc::new(ServerCell::compile(Arc::clone(&plan), self)?);
        self.servers.insert(plan, Arc::downgrade(&cell));
        Ok(cell)
    }

    /// The cell of a client context, shared by all clusters with the same plan.
    pub fn client(&mut self, plan: &UpstreamTls) -> Result<Arc<ClientCell>, PlanError> {
        if let Some(found) = self.clients.get(plan).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let plan = Arc::new(plan.clone());
        let cell = Arc::new(ClientCell::compile(Arc::clone(&plan), self)?);
        self.clients.insert(plan, Arc::downgrade(&cell));
        Ok(cell)
    }

    /// Puts a secret in force: every cell that names it is made anew first; if one cannot be, nothing changes.
    pub fn upsert(&mut self, name: &str, material: &SecretMaterial) -> Result<(), PlanError> {
        let compiled = Material::compile(material, &|id| self.keys.get(id))?;
        let former = self.materials.insert(name.to_owned(), Arc::new(compiled));
        self.refill(name).inspect_err(|_| {
            match former {
                Some(former) => self.materials.insert(name.to_owned(), former),
                None => self.materials.remove(name),
            };
        })
    }

    /// Every secret in force, by name.
    pub fn list(&self) -> Vec<(String, Arc<Material>)> {
        let mut all: Vec<_> =
            self.materials.iter().map(|(name, material)| (name.clone(), Arc::clone(material))).collect();
        all.sort_by(|left, right| left.0.cmp(&right.0));
        all
    }

    /// Drops the cells that nothing uses any more; called after each delta.
    pub fn sweep(&mut self) {
        self.servers.retain(|_, cell| cell.strong_count() > 0);
        self.clients.retain(|_, cell| cell.strong_count() > 0);
    }

    /// Every secret in force by its name, for pages: of a certificate's key nothing can be had but signatures.
    pub fn materials(&self) -> Vec<(String, Arc<Material>)> {
        let mut all: Vec<_> =
            self.materials.iter().map(|(name, material)| (name.clone(), Arc::clone(material))).collect();
        all.sort_by(|(left, _), (right, _)| left.cmp(right));
        all
    }

    /// Forgets a secret. Contexts made of it go on until their chains and clusters go.
    pub fn remove(&mut self, name: &str) {
        self.materials.remove(name);
    }

    /// Contexts of which another secret has gone keep what they have: it is none of this secret's fault.
    fn has_all(&self, certificates: &[String], validation: Option<&String>) -> bool {
        certificates.iter().chain(validation).all(|name| self.materials.contains_key(name))
    }

    fn refill(&self, name: &str) -> Result<(), PlanError> {
        let mut servers = Vec::new();
        for cell in self.servers.values().filter_map(Weak::upgrade).filter(|cell| cell.names(name)) {
            if !self.has_all(&cell.plan().certificates, cell.plan().validation.as_ref()) {
                continue;
            }
            let context = ServerContext::compile(cell.plan(), self)?;
            servers.push((cell, context));
        }
        let mut clients = Vec::new();
        for cell in self.clients.values().filter_map(Weak::upgrade).filter(|cell| cell.names(name)) {
            if !self.has_all(&cell.plan().certificates, cell.plan().validation.as_ref()) {
                continue;
            }
            let parts = ClientParts::find(cell.plan(), self)?;
            clients.push((cell, parts));
        }
        for (cell, context) in servers {
            cell.store(context);
        }
        for (cell, parts) in clients {
            cell.store(parts);
        }
        Ok(())
    }
}
