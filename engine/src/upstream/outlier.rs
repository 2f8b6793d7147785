//! Passive health: endpoints that fail several times in a row leave the rotation for a while.
//!
//! In: what became of each attempt, from the worker that made it. Out: an ejection (at once, by the worker that saw the
//! threshold reached) or a return (by the slow worker's `sweep_ejections`). The healthy path is one load; a success
//! stores only if there was something to clear.

use std::sync::atomic::Ordering::Relaxed;

use super::cluster::Cluster;
use super::endpoint::{EJECTED, Endpoint, State};
use super::set::EndpointSet;
use crate::message::{MILLISECOND, Tick};
use crate::plan::OutlierDetection;

/// What became of an attempt, as outlier detection sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The endpoint answered with this status (gRPC: mapped to HTTP by the caller).
    Answered(u16),
    /// It could not be reached.
    ConnectFailure,
    /// It did not answer in time.
    Timeout,
    /// The stream was reset, or the connection closed under it.
    Reset,
}

/// Which rule ejected an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejection {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
    /// A rule matched, but as many as allowed are out already.
    Overflow,
}

/// How a report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    server_error: bool,
    gateway_error: bool,
    local_error: bool,
}

fn counts(report: Report, split: bool) -> Counts {
    let none = Counts { server_error: false, gateway_error: false, local_error: false };
    match report {
        Report::Answered(status) => Counts {
            server_error: (500..600).contains(&status),
            gateway_error: (502..=504).contains(&status),
            local_error: false,
        },
        // Unless split, what happened on our side counts as the 503 or 504 that the caller sees.
        Report::ConnectFailure | Report::Timeout | Report::Reset if split => {
            Counts { local_error: true, ..none }
        }
        _ => Counts { server_error: true, gateway_error: true, local_error: false },
    }
}

fn clear(counter: &std::sync::atomic::AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}

/// One more in a row; true (and back to 0) when `limit` is reached.
fn reached(counter: &std::sync::atomic::AtomicU32, limit: Option<u32>) -> bool {
    let Some(limit) = limit else { return false };
    let count = counter.fetch_add(1, Relaxed) + 1;
    if count >= limit {
        counter.store(0, Relaxed);
        return true;
    }
    false
}

fn detect(policy: &OutlierDetection, state: &State, report: Report) -> Option<(Ejection, u32)> {
    let counts = counts(report, policy.split_local_origin);
    let mut found = None;
    if counts.server_error {
        if reached(&state.consecutive_5xx, policy.consecutive_5xx) {
            found = Some((Ejection::Consecutive5xx, policy.enforcing_consecutive_5xx));
        }
    } else if !counts.local_error {
        clear(&state.consecutive_5xx);
    }
    if counts.gateway_error {
        if reached(&state.consecutive_gateway, policy.consecutive_gateway_failure)
            && found.is_none_or(|(_, enforced)| enforced == 0)
        {
            found = Some((Ejection::ConsecutiveGatewayFailure, policy.enforcing_consecutive_gateway_failure));
        }
    } else if !counts.local_error {
        clear(&state.consecutive_gateway);
    }
    if counts.local_error {
        if reached(&state.consecutive_local, policy.consecutive_local_origin_failure) {
            found = Some((
                Ejection::ConsecutiveLocalOriginFailure,
                policy.enforcing_consecutive_local_origin_failure,
            ));
        }
    } else if policy.split_local_origin {
        clear(&state.consecutive_local);
    }
    found
}

impl Cluster {
    /// What became of an attempt at `endpoint`. `random` decides where only a share of detections is enforced. An answer
    /// with a value is for the counters.
    pub fn report(&self, endpoint: &Endpoint, report: Report, now: Tick, random: u64) -> Option<Ejection> {
        let policy = self.policy().outlier.as_ref()?;
        let (ejection, enforced) = detect(policy, &endpoint.state, report)?;
        if random % 100 >= u64::from(enforced) {
            return None;
        }
        self.eject(policy, endpoint, ejection, now)
    }

    fn eject(
        &self,
        policy: &OutlierDetection,
        endpoint: &Endpoint,
        ejection: Ejection,
        now: Tick,
    ) -> Option<Ejection> {
        let mut change = self.change();
        let set = self.endpoints();
        if endpoint.is_ejected() || !set.endpoints.iter().any(|known| known.id() == endpoint.id()) {
            return None;
        }
        let total = set.endpoints.len() as u64;
        let percent = u64::from(change.ejected + 1) * 100;
        // One may always leave, however small the cluster.
        if change.ejected > 0 && percent > u64::from(policy.max_ejection_percent) * total {
            return Some(Ejection::Overflow);
        }
        let longest = policy.max_ejection_time.max(policy.base_ejection_time);
        let times = u64::from(endpoint.state.ejections.load(Relaxed)) + 1;
        let duration = policy.base_ejection_time.saturating_mul(times).min(longest);
        if duration < longest {
            endpoint.state.ejections.store(times as u32, Relaxed);
        }
        endpoint.state.ejected_until.store(now.after_milliseconds(duration).0, Relaxed);
        endpoint.state.bits.fetch_or(EJECTED, Relaxed);
        change.ejected += 1;
        drop(set);
        self.retable(&mut change);
        Some(ejection)
    }

    /// Brings endpoints back whose time is over, and lets those that behaved for an interval be forgiven an ejection.
    /// Called by the slow worker about once a second; how many came back.
    pub fn sweep_ejections(&self, now: Tick) -> usize {
        let policy = self.policy().outlier.as_ref();
        let mut change = self.change();
        if policy.is_none() && change.ejected == 0 {
            return 0;
        }
        let forgives = policy
            .is_some_and(|policy| now.since(change.swept) >= policy.interval.saturating_mul(MILLISECOND));
        if forgives {
            change.swept = now;
        }
        let mut returned = 0;
        for endpoint in &self.endpoints().endpoints {
            let state = &endpoint.state;
            if endpoint.is_ejected() {
                if policy.is_none() || state.ejected_until.load(Relaxed) <= now.0 {
                    state.bits.fetch_and(!EJECTED, Relaxed);
                    returned += 1;
                }
            } else if forgives {
                let fewer = state.ejections.load(Relaxed).saturating_sub(1);
                state.ejections.store(fewer, Relaxed);
            }
        }
        if returned > 0 {
            change.ejected = count_ejected(&self.endpoints());
            self.retable(&mut change);
        }
        returned
    }

    /// Endpoints out of rotation by ejection.
    pub fn ejected(&self) -> u32 {
        self.change().ejected
    }
}

pub(super) fn count_ejected(set: &EndpointSet) -> u32 {
    set.endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count() as u32
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Cursor, PickContext};
    use super::*;
    use crate::plan;
    use std::sync::Arc;

    const OUTLIER: OutlierDetection = OutlierDetection {
        consecutive_5xx: Some(3),
        consecutive_gateway_failure: None,
        consecutive_local_origin_failure: Some(2),
        split_local_origin: false,
        interval: 10_000,
        base_ejection_time: 30_000,
        max_ejection_time: 100_000,
        max_ejection_percent: 50,
        enforcing_consecutive_5xx: 100,
        enforcing_consecutive_gateway_failure: 100,
        enforcing_consecutive_local_origin_failure: 100,
    };

    fn cluster_with(outlier: OutlierDetection, count: u8) -> Arc<Cluster> {
        cluster_of(&plan::Cluster { outlier: Some(outlier), ..cluster_plan("c") }, count)
    }

    fn at(seconds: u64) -> Tick {
        Tick::default().after_milliseconds(seconds * 1_000)
    }

    fn fail(cluster: &Cluster, number: usize, times: usize, now: Tick) -> Option<Ejection> {
        let endpoint = Arc::clone(&cluster.endpoints().endpoints[number]);
        (0..times).fold(None, |last, _| cluster.report(&endpoint, Report::Answered(500), now, 0).or(last))
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let cluster = cluster_with(OUTLIER, 4);
        let endpoint = Arc::clone(&cluster.endpoints().endpoints[0]);
        for report in [500, 503, 404, 500, 500, 200] {
            assert_eq!(cluster.report(&endpoint, Report::Answered(report), at(0), 0), None);
        }
        assert_eq!(fail(&cluster, 0, 3, at(0)), Some(Ejection::Consecutive5xx));
        assert!(endpoint.is_ejected());
        let mut cursor = Cursor::new(1);
        let picked = (0..50).filter_map(|_| cluster.pick(&mut cursor, &PickContext::default()));
        assert!(picked.into_iter().all(|picked| picked.id() != endpoint.id()));
    }

    #[test]
    fn ejections_last_longer_each_time_and_are_forgiven() {
        let cluster = cluster_with(OUTLIER, 4);
        let endpoint = Arc::clone(&cluster.endpoints().endpoints[0]);
        let mut now = at(100);
        for seconds in [30, 60, 90, 100, 100] {
            fail(&cluster, 0, 3, now);
            assert_eq!(
                endpoint.ejected_until(),
                Some(now.after_milliseconds(seconds * 1_000)),
                "{seconds} s"
            );
            assert_eq!(cluster.sweep_ejections(now.after_milliseconds(seconds * 1_000 - 1)), 0);
            now = now.after_milliseconds(seconds * 1_000);
            assert_eq!(cluster.sweep_ejections(now), 1);
            assert!(!endpoint.is_ejected());
        }
        for _ in 0..3 {
            now = now.after_milliseconds(10_000);
            cluster.sweep_ejections(now);
        }
        fail(&cluster, 0, 3, now);
        assert_eq!(endpoint.ejected_until(), Some(now.after_milliseconds(30_000)));
    }

    #[test]
    fn as_many_leave_as_allowed_and_one_always() {
        let cluster = cluster_with(OUTLIER, 4);
        let answers: Vec<_> = (0..4).map(|number| fail(&cluster, number, 3, at(0))).collect();
        let (out, overflow) = (Some(Ejection::Consecutive5xx), Some(Ejection::Overflow));
        assert_eq!(answers, [out, out, overflow, overflow]);
        assert_eq!(cluster.ejected(), 2);
        let strict = cluster_with(OutlierDetection { max_ejection_percent: 0, ..OUTLIER }, 4);
        assert_eq!(fail(&strict, 0, 3, at(0)), out);
        assert_eq!(fail(&strict, 1, 3, at(0)), overflow);
    }

    #[test]
    fn failures_of_ours_count_as_gateway_errors_unless_split() {
        let gateway =
            OutlierDetection { consecutive_gateway_failure: Some(2), consecutive_5xx: None, ..OUTLIER };
        for report in [Report::ConnectFailure, Report::Timeout, Report::Reset, Report::Answered(502)] {
            let cluster = cluster_with(gateway, 2);
            let endpoint = Arc::clone(&cluster.endpoints().endpoints[0]);
            assert_eq!(cluster.report(&endpoint, report, at(0), 0), None);
            let ejection = cluster.report(&endpoint, report, at(0), 0);
            assert_eq!(ejection, Some(Ejection::ConsecutiveGatewayFailure), "{report:?}");
        }
        let split = cluster_with(OutlierDetection { split_local_origin: true, ..gateway }, 2);
        let endpoint = Arc::clone(&split.endpoints().endpoints[0]);
        split.report(&endpoint, Report::ConnectFailure, at(0), 0);
        let ejection = split.report(&endpoint, Report::Reset, at(0), 0);
        assert_eq!(ejection, Some(Ejection::ConsecutiveLocalOriginFailure));
    }

    #[test]
    fn only_the_enforced_share_is_ejected() {
        let cluster = cluster_with(OutlierDetection { enforcing_consecutive_5xx: 30, ..OUTLIER }, 4);
        let endpoint = Arc::clone(&cluster.endpoints().endpoints[0]);
        let report = |random| {
            let attempt = |_| cluster.report(&endpoint, Report::Answered(500), at(0), random);
            (0..3).map(attempt).fold(None, |last, ejection| ejection.or(last))
        };
        assert_eq!(report(30), None);
        assert_eq!(report(29), Some(Ejection::Consecutive5xx));
    }

    #[test]
    fn ejections_live_through_changes_of_endpoints() {
        let cluster = cluster_with(OUTLIER, 4);
        fail(&cluster, 0, 3, at(0));
        cluster.set_membership(&membership(vec![locality_plan(0, (1..=6).map(endpoint_plan).collect())]));
        assert_eq!(cluster.ejected(), 1);
        assert!(cluster.endpoints().endpoints[0].is_ejected());
        cluster.set_membership(&membership(vec![locality_plan(0, (2..=6).map(endpoint_plan).collect())]));
        assert_eq!(cluster.ejected(), 0);
    }

    #[test]
    fn without_the_policy_everyone_comes_back() {
        let cluster = cluster_with(OUTLIER, 4);
        fail(&cluster, 0, 3, at(0));
        let mut no_tls = |_: &plan::UpstreamTls| Err(plan::PlanError::new("", ""));
        let mut interner = super::super::Interner::default();
        let next = Cluster::compile(&cluster_plan("c"), &mut no_tls, &mut interner, Some(&cluster)).unwrap();
        assert_eq!(next.sweep_ejections(at(1)), 1);
        assert_eq!(cluster.ejected(), 0);
    }

    #[test]
    fn workers_together_never_eject_more_than_allowed() {
        let cluster = cluster_with(OUTLIER, 10);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..10 {
                        fail(&cluster, number, 50, at(0));
                    }
                });
            }
        });
        let out = cluster.endpoints().endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count();
        assert_eq!((out, cluster.ejected()), (5, 5));
    }
}
