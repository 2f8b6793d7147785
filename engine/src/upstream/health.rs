//! Active health checks as a state machine per endpoint and check: when to probe, and when the verdict changes.
//!
//! In: time and what became of a probe. Out: a probe to start, a change of verdict. The slow worker runs the probes (an
//! exchange or a connection) and tells the cluster; jitter comes with the random number.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use super::cluster::Cluster;
use super::endpoint::{EndpointId, FAILED_CHECK};
use super::set::EndpointSet;
use crate::message::{MILLISECOND, Tick};
use crate::plan::HealthCheck;

/// A verdict that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthChange {
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next probe starts at this moment.
    Resting(Tick),
    /// A probe is under way and fails at this moment.
    Probing(Tick),
}

/// One endpoint under one check.
#[derive(Debug, Clone)]
pub struct Checker {
    phase: Phase,
    /// `None`: not yet known; the first answer decides alone, as in Envoy.
    healthy: Option<bool>,
    /// Answers in a row against the verdict.
    contrary: u32,
}

impl Checker {
    /// `random` spreads the first probes of many endpoints over the initial delay, or over a tenth of the interval.
    pub fn new(plan: &HealthCheck, now: Tick, random: u64) -> Self {
        let spread = if plan.initial_delay > 0 { plan.initial_delay } else { plan.interval / 10 };
        let delay = random % (spread.saturating_mul(MILLISECOND) + 1);
        Self { phase: Phase::Resting(now + delay), healthy: None, contrary: 0 }
    }

    /// When `poll` has something to say next.
    pub fn deadline(&self) -> Tick {
        match self.phase {
            Phase::Resting(at) | Phase::Probing(at) => at,
        }
    }

    /// A probe is due: start it (it fails by itself at its timeout, see `expired`).
    pub fn starts(&mut self, plan: &HealthCheck, now: Tick) -> bool {
        match self.phase {
            Phase::Resting(at) if at <= now => {
                self.phase = Phase::Probing(now.after_milliseconds(plan.timeout));
                true
            }
            _ => false,
        }
    }

    /// The probe under way has taken too long: cancel it and answer `false`.
    pub fn expired(&self, now: Tick) -> bool {
        matches!(self.phase, Phase::Probing(at) if at <= now)
    }

    /// What became of the probe; a late answer is ignored.
    pub fn answered(
        &mut self,
        plan: &HealthCheck,
        passed: bool,
        now: Tick,
        random: u64,
    ) -> Option<HealthChange> {
        if !matches!(self.phase, Phase::Probing(_)) {
            return None;
        }
        // A tenth of jitter keeps the probes of many endpoints and proxies apart.
        let interval = plan.interval.saturating_mul(MILLISECOND);
        let jitter = random % (interval / 10 + 1);
        self.phase = Phase::Resting(now + (interval - interval / 20 + jitter));
        let threshold = match self.healthy {
            None => 1,
            Some(true) => plan.unhealthy_threshold,
            Some(false) => plan.healthy_threshold,
        };
        if self.healthy == Some(passed) {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        if self.contrary < threshold.max(1) {
            return None;
        }
        self.contrary = 0;
        self.healthy = Some(passed);
        Some(if passed { HealthChange::Healthy } else { HealthChange::Unhealthy })
    }

    pub fn is_healthy(&self) -> Option<bool> {
        self.healthy
    }
}

impl Cluster {
    /// An active check has changed its mind; picks follow from now on. False if the endpoint is not there any more.
    pub fn set_checked(&self, endpoint: EndpointId, healthy: bool) -> bool {
        let mut change = self.change();
        let set = self.endpoints();
        let Some(found) = set.endpoints.iter().find(|known| known.id() == endpoint) else { return false };
        mark(&found.state, healthy);
        drop(set);
        self.retable(&mut change);
        true
    }
}

fn mark(state: &super::endpoint::State, healthy: bool) {
    if healthy {
        state.bits.fetch_and(!FAILED_CHECK, Relaxed);
    } else {
        state.bits.fetch_or(FAILED_CHECK, Relaxed);
    }
}

impl EndpointSet {
    /// Marks an endpoint of a set that is not in force yet (a cluster that warms).
    pub fn set_checked(&self, endpoint: EndpointId, healthy: bool) -> bool {
        let found = self.endpoints.iter().find(|known| known.id() == endpoint);
        if let Some(found) = found {
            mark(&found.state, healthy);
        }
        found.is_some()
    }

    /// Endpoints that were not there before start out of rotation until their first pass. True if there are any.
    pub(super) fn await_first_pass(&self, former: &Self) -> bool {
        let known: HashSet<_> = former.endpoints.iter().map(|known| known.id()).collect();
        let mut found = false;
        for endpoint in self.endpoints.iter().filter(|endpoint| !known.contains(&endpoint.id())) {
            mark(&endpoint.state, false);
            found = true;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Cursor, PickContext};
    use super::*;
    use crate::plan::{Fraction, HealthCheckKind};
    use proptest::prelude::*;

    fn plan() -> HealthCheck {
        HealthCheck {
            check: HealthCheckKind::Tcp { send: Vec::new(), receive: Vec::new() },
            timeout: 1_000,
            interval: 10_000,
            initial_delay: 0,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            enabled: Fraction { numerator: 100, denominator: 100 },
        }
    }

    /// Answers the next probe at its time.
    fn probe(checker: &mut Checker, passed: bool) -> Option<HealthChange> {
        let now = checker.deadline();
        assert!(checker.starts(&plan(), now) && !checker.starts(&plan(), now));
        checker.answered(&plan(), passed, now.after_milliseconds(10), 0)
    }

    #[test]
    fn the_first_answer_decides_and_then_thresholds_do() {
        let mut checker = Checker::new(&plan(), Tick::default(), 0);
        let verdicts =
            [true, false, false, true, false, false, false, true, true].map(|p| probe(&mut checker, p));
        let (up, down) = (Some(HealthChange::Healthy), Some(HealthChange::Unhealthy));
        assert_eq!(verdicts, [up, None, None, None, None, None, down, None, up]);
        let mut checker = Checker::new(&plan(), Tick::default(), 0);
        assert_eq!(probe(&mut checker, false), down);
    }

    #[test]
    fn a_probe_without_an_answer_fails_at_its_timeout() {
        let mut checker = Checker::new(&plan(), Tick::default(), 0);
        let start = checker.deadline();
        checker.starts(&plan(), start);
        assert!(!checker.expired(start.after_milliseconds(999)));
        assert!(checker.expired(start.after_milliseconds(1_000)));
        checker.answered(&plan(), false, start.after_milliseconds(1_000), 0);
        assert_eq!(checker.is_healthy(), Some(false));
        assert_eq!(checker.answered(&plan(), true, start.after_milliseconds(1_001), 0), None, "too late");
        assert_eq!(checker.is_healthy(), Some(false));
    }

    #[test]
    fn failed_endpoints_leave_the_rotation_until_they_pass() {
        let cluster = cluster_of(&cluster_plan("c"), 2);
        let id = cluster.endpoints().endpoints[0].id();
        let mut cursor = Cursor::new(1);
        let mut picked = || {
            let picks = (0..20).filter_map(|_| cluster.pick(&mut cursor, &PickContext::default()));
            picks.map(|endpoint| number_of(&endpoint)).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(cluster.set_checked(id, false));
        assert_eq!(picked(), [2].into());
        assert!(cluster.set_checked(id, true));
        assert_eq!(picked(), [1, 2].into());
        assert!(!cluster.set_checked(EndpointId(0), false));
    }

    proptest! {
        #[test]
        fn probes_keep_their_rhythm(random: u64, passed: bool) {
            let mut checker = Checker::new(&plan(), Tick::default(), random);
            prop_assert!(checker.deadline() <= Tick::default().after_milliseconds(1_000));
            let now = checker.deadline();
            checker.starts(&plan(), now);
            checker.answered(&plan(), passed, now, random);
            let gap = checker.deadline().since(now) / MILLISECOND;
            prop_assert!((9_500..=10_500).contains(&gap), "{} ms", gap);
        }
    }
}
