//! Where exchanges come in: what all of a client's connection share.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::head::{caller, peer_metadata};
use crate::filter::{Instance, Remembered};
use crate::message::{Peer, SECOND, Tick};
use crate::plan::TrafficDirection;
use crate::snapshot::{Chain, HttpManager, Snapshot};
use crate::telemetry::{Group, HttpCounter, PeerLabels, Reporter};

/// A client's connection, as its exchanges know it; or the engine itself, for those that are born here.
#[derive(Debug)]
pub struct Site {
    pub peer: Arc<Peer>,
    pub reporter: Reporter,
    pub http: Option<HttpSite>,
    pub connection_id: u64,
    /// What filters have found out about the peer.
    pub remembered: Remembered,
    chain: Option<Arc<Chain>>,
    /// Labels of the client by what it said last: it mostly says the same.
    said: RefCell<Option<(Vec<u8>, Arc<PeerLabels>)>>,
    /// Labels of a client that has no way to say anything, and when to look for them again.
    calling: RefCell<Option<(Arc<PeerLabels>, Tick)>>,
}

/// How long a caller that no endpoint was found of is not looked for, nanoseconds: the looking costs, and services come and go.
const LOOK_AGAIN: u64 = 60 * SECOND;

/// What only HTTP has.
pub struct HttpSite {
    pub manager: Arc<HttpManager>,
    pub filters: Rc<Instance>,
    pub counters: Arc<Group<HttpCounter>>,
}

impl std::fmt::Debug for HttpSite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpSite").field("manager", &self.manager).finish_non_exhaustive()
    }
}

impl Site {
    /// Of a connection that a listener took.
    pub fn of(chain: &Arc<Chain>, peer: &Arc<Peer>, http: Option<HttpSite>, connection_id: u64) -> Self {
        let reporter = match chain.direction {
            TrafficDirection::Inbound => Reporter::Destination,
            TrafficDirection::Outbound => Reporter::Source,
            TrafficDirection::Unspecified => Reporter::None,
        };
        Self {
            peer: Arc::clone(peer),
            reporter,
            http,
            connection_id,
            remembered: Remembered::default(),
            chain: Some(Arc::clone(chain)),
            said: RefCell::default(),
            calling: RefCell::default(),
        }
    }

    /// The engine's own.
    pub fn born() -> Self {
        Self {
            peer: Arc::default(),
            reporter: Reporter::None,
            http: None,
            connection_id: 0,
            remembered: Remembered::default(),
            chain: None,
            said: RefCell::default(),
            calling: RefCell::default(),
        }
    }

    pub fn chain(&self) -> &str {
        self.chain.as_ref().map_or("", |chain| &chain.name)
    }

    pub fn chain_ref(&self) -> Option<&Arc<Chain>> {
        self.chain.as_ref()
    }

    /// HTTP/1 inside HTTP/2 is taken from mesh peers.
    pub fn takes_http1_in_http2(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| chain.accepts_http1_in_http2)
    }

    /// Who the client is, from its certificate and what it says (`x-envoy-peer-metadata`).
    pub fn client_labels(&self, field: Option<&[u8]>) -> Arc<PeerLabels> {
        let field = field.unwrap_or(&[]);
        let mut said = self.said.borrow_mut();
        match &*said {
            Some((known, labels)) if known == field => Arc::clone(labels),
            _ => {
                let told = Some(field).filter(|field| !field.is_empty());
                let labels = Arc::new(peer_metadata::labels(self.peer.identity.as_ref(), told));
                *said = Some((field.to_vec(), Arc::clone(&labels)));
                labels
            }
        }
    }

    /// Who calls by a protocol that has no place for `x-envoy-peer-metadata`: from its certificate and what we know of endpoints.
    pub fn caller_labels(&self, snapshot: &Snapshot, now: Tick) -> Arc<PeerLabels> {
        let mut calling = self.calling.borrow_mut();
        match &*calling {
            Some((labels, again)) if now < *again => Arc::clone(labels),
            _ => {
                let address = self.peer.remote.map(|address| address.ip());
                let (labels, is_found) = caller::labels(self.peer.identity.as_ref(), address, snapshot);
                let again =
                    if is_found || self.peer.identity.is_none() { Tick(u64::MAX) } else { now + LOOK_AGAIN };
                let labels = Arc::new(labels);
                *calling = Some((Arc::clone(&labels), again));
                labels
            }
        }
    }

    pub fn is_inbound(&self) -> bool {
        self.reporter == Reporter::Destination
    }
}
