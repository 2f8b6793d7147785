//! What the pages ask of an engine: views and a few levers, nothing that waits for a worker.

use std::sync::Arc;
use std::time::Duration;

use super::request::Request;
use super::server::Answer;
use crate::message::Tick;
use crate::plan::{EngineSettings, Held};
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;
use crate::tls::Material;

/// As Envoy's `/ready` and `/server_info` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    PreInitializing,
    Live,
    Draining,
}

impl State {
    pub fn text(self) -> &'static str {
        match self {
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }

    /// Envoy's number in `server.state`.
    pub fn number(self) -> u32 {
        match self {
            Self::Live => 0,
            Self::Draining => 1,
            Self::PreInitializing => 2,
        }
    }
}

/// An engine as its pages see it. Called on the admin listener's threads: short locks only, save `ask`, which waits for Python
/// up to its own deadline.
pub trait View: Send + Sync + 'static {
    fn settings(&self) -> &EngineSettings;
    fn state(&self) -> State;
    /// Since the engine started; also the engine's present `Tick`.
    fn uptime(&self) -> Duration;
    fn snapshot(&self) -> Arc<Snapshot>;
    fn telemetry(&self) -> &Telemetry;
    /// Prometheus text of whoever runs the engine.
    fn foreign_metrics(&self) -> Arc<str>;
    /// Live connections of the process, both sides.
    fn connections(&self) -> usize;
    /// Bound listeners: name and address with the port that was chosen.
    fn listeners(&self) -> Vec<(String, String)>;
    fn held(&self) -> Vec<Held>;
    /// Secrets in force; of a certificate only what it says itself is shown.
    fn secrets(&self) -> Vec<(String, Arc<Material>)>;
    /// Rooms and their levels.
    fn log_levels(&self) -> Vec<(String, String)>;
    /// `room` empty: all of them. Refuses unknown rooms and levels by name.
    fn set_log_level(&self, room: &str, level: &str) -> Result<(), String>;
    /// Puts the request to the application around the engine (`Questions`); `None`: it did not answer in time.
    fn ask(&self, request: &Request) -> Option<Answer>;
    /// The same for a request of the application beside us, which has more time.
    fn lend(&self, request: &Request) -> Option<Answer>;
    /// Begins to drain, since nobody else does.
    fn drain(&self, inbound_only: bool);
    /// Ends the process, since nobody else does.
    fn quit(&self);

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.uptime().as_nanos()).unwrap_or(u64::MAX))
    }
}
