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
