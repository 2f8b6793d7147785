//! What the engine tells Python: one batch of these a `wait`, as MessagePack. `mainstay.engine` holds the twins.

use serde::{Deserialize, Serialize};

use super::delta::Kind;
use super::route::serde_bytes_compat;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The server of a lent gRPC call answered with a head.
    GrpcOpened {
        call: u64,
    },
    /// One message (without its five-byte prefix), at most as many as were granted.
    GrpcMessage {
        call: u64,
        #[serde(with = "serde_bytes_compat")]
        message: Vec<u8>,
    },
    /// The call is over: gRPC status (14 if there was no connection) and its text. Nothing of this call follows.
    GrpcClosed {
        call: u64,
        status: u32,
        message: String,
    },
    Timer {
        token: u64,
    },
    /// A POSIX signal number that arrived at the process.
    Signal {
        number: u32,
    },
    /// A listener has its socket; `address` as text with the port that was chosen.
    ListenerBound {
        name: String,
        address: String,
    },
    /// The resource that waited for facts of its own (first DNS answer, first health pass) is in force.
    Warmed {
        resource: Kind,
        name: String,
    },
    /// Found out after it was accepted (a port that is taken, say): the old version serves on.
    Refused {
        resource: Kind,
        name: String,
        path: String,
        reason: String,
    },
    /// The drain with this token is over: no stream is left, or its time was up (`cut`: streams reset).
    Drained {
        token: u64,
        cut: u64,
    },
    /// An active health check changed its mind.
    EndpointHealth {
        cluster: String,
        address: String,
        healthy: bool,
    },
    /// Somebody waits for an answer of Python: an operator for a page that only it knows, or the application that registers.
    Asked {
        token: u64,
        asker: Asker,
        method: String,
        path: String,
        #[serde(with = "serde_bytes_compat")]
        body: Vec<u8>,
    },
    /// A worker caught a panic or ended.
    Trouble {
        what: String,
    },
    /// The last event: every thread has ended.
    Stopped {},
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// On the admin listener; the answer is due within a second.
    Operator,
    /// On the listener lent to the application beside us; the answer is due within ten.
    Application,
}

/// What the engine holds of a resource: for a brain that starts over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    pub resource: Kind,
    pub name: String,
    pub digest: String,
}
