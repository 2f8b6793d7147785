//! Equal pieces of configuration as one object: thousands of endpoints share a handful of names, labels and localities.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::plan::Locality;
use crate::telemetry::PeerLabels;

/// Owned by whoever compiles configuration; `sweep` forgets what nobody else holds.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    pairs: HashSet<Arc<[(String, String)]>>,
    /// By the pairs that the plan gives.
    labels: HashMap<Arc<[(String, String)]>, Arc<PeerLabels>>,
    localities: HashSet<Arc<Locality>>,
}

fn intern<T: Hash + Eq>(known: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(found) = known.get(&value) {
        return Arc::clone(found);
    }
    let made = Arc::new(value);
    known.insert(Arc::clone(&made));
    made
}

impl Interner {
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.texts.get(text) {
            return Arc::clone(found);
        }
        let made: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&made));
        made
    }

    pub fn pairs(&mut self, pairs: &[(String, String)]) -> Arc<[(String, String)]> {
        if let Some(found) = self.pairs.get(pairs) {
            return Arc::clone(found);
        }
        let made: Arc<[(String, String)]> = pairs.into();
        self.pairs.insert(Arc::clone(&made));
        made
    }

    /// Labels as the plan names them; what is not among them stays empty.
    pub fn labels(&mut self, pairs: &[(String, String)]) -> Arc<PeerLabels> {
        if let Some(found) = self.labels.get(pairs) {
            return Arc::clone(found);
        }
        let of = |name: &str| {
            pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let labels = Arc::new(PeerLabels {
            workload: of("workload"),
            namespace: of("namespace"),
            principal: of("principal"),
            app: of("app"),
            version: of("version"),
            canonical_name: of("canonical_name"),
            canonical_revision: of("canonical_revision"),
            cluster: of("cluster"),
        });
        let pairs = self.pairs(pairs);
        self.labels.insert(pairs, Arc::clone(&labels));
        labels
    }

    pub fn locality(&mut self, locality: &Locality) -> Arc<Locality> {
        match self.localities.get(locality) {
            Some(found) => Arc::clone(found),
            None => intern(&mut self.localities, locality.clone()),
        }
    }

    /// Forgets what is held here alone.
    pub fn sweep(&mut self) {
        self.texts.retain(|held| Arc::strong_count(held) > 1);
        self.labels.retain(|_, held| Arc::strong_count(held) > 1);
        self.pairs.retain(|held| Arc::strong_count(held) > 1);
        self.localities.retain(|held| Arc::strong_count(held) > 1);
    }
}
