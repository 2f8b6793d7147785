//! The engine as its admin pages see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::configuration::{Configuration, lock};
use super::{Body, DrainScope};
use crate::admin::{APPLICATIONS_PATIENCE, Answer, OPERATORS_PATIENCE, Request, State, View};
use crate::plan::{Asker, EngineSettings, Held};
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;
use crate::tls::Material;

/// How long a drain that an operator asked for may take, seconds; Envoy's `--drain-time-s`.
const DRAIN: Duration = Duration::from_secs(600);

impl Body {
    fn put(&self, request: &Request, asker: Asker, patience: Duration) -> Option<Answer> {
        if !self.shared.events.has_room() {
            return None;
        }
        self.questions.ask(request, asker, patience, |event| self.shared.emit(event))
    }
}

impl View for Body {
    fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    fn state(&self) -> State {
        if self.shared.is_draining() {
            State::Draining
        } else if self.ready.load(Ordering::Acquire) {
            State::Live
        } else {
            State::PreInitializing
        }
    }

    fn uptime(&self) -> Duration {
        Duration::from_nanos(self.epoch.now().0)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Configuration::snapshot(&self.configuration)
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn foreign_metrics(&self) -> Arc<str> {
        Arc::clone(&lock(&self.metrics))
    }

    fn connections(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }

    fn listeners(&self) -> Vec<(String, String)> {
        self.configuration.listeners()
    }

    fn held(&self) -> Vec<Held> {
        self.configuration.held()
    }

    fn secrets(&self) -> Vec<(String, Arc<Material>)> {
        self.configuration.materials()
    }

    fn log_levels(&self) -> Vec<(String, String)> {
        self.shared.log.levels()
    }

    fn set_log_level(&self, room: &str, level: &str) -> Result<(), String> {
        self.shared.log.set_level(room, level)
    }

    fn ask(&self, request: &Request) -> Option<Answer> {
        self.put(request, Asker::Operator, OPERATORS_PATIENCE)
    }

    fn lend(&self, request: &Request) -> Option<Answer> {
        self.put(request, Asker::Application, APPLICATIONS_PATIENCE)
    }

    fn drain(&self, inbound_only: bool) {
        let scope = if inbound_only { DrainScope::Inbound } else { DrainScope::Process };
        self.begin_drain(scope, Duration::ZERO, DRAIN);
    }

    /// Python ends the process as it would at a signal: in order, and within its own time.
    fn quit(&self) {
        self.shared.emit(crate::plan::Event::Signal { number: libc::SIGTERM.unsigned_abs() });
    }
}
