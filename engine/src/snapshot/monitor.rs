//! Active health checks of all clusters that have any: which probes to start, and what their answers mean.
//!
//! In: clusters in force or warming, time, answers by token. Out: probes, changed verdicts. An endpoint is healthy while
//! every check of its cluster says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::message::Tick;
use crate::plan::HealthCheck;
use crate::upstream::{Checker, Cluster, Endpoint, EndpointId, EndpointSet};

/// A probe to be made by the slow worker; it ends by an answer, or is cancelled.
#[derive(Debug, Clone)]
pub struct Probe {
    pub token: u64,
    pub cluster: Arc<Cluster>,
    pub endpoint: Arc<Endpoint>,
    /// Index in the policy's health checks.
    pub check: usize,
}

impl Probe {
    pub fn plan(&self) -> Option<&HealthCheck> {
        self.cluster.policy().health_checks.get(self.check)
    }
}

#[derive(Debug)]
struct Watched {
    endpoint: Arc<Endpoint>,
    /// One per check, with the token of its probe under way.
    checkers: Vec<(Checker, Option<u64>)>,
}

impl Watched {
    /// `None` while some check has no verdict.
    fn verdict(&self) -> Option<bool> {
        let verdicts = || self.checkers.iter().map(|(checker, _)| checker.is_healthy());
        if verdicts().any(|verdict| verdict == Some(false)) {
            return Some(false);
        }
        verdicts().all(|verdict| verdict.is_some()).then_some(true)
    }
}

#[derive(Debug)]
struct Group {
    cluster: Arc<Cluster>,
    endpoints: HashMap<EndpointId, Watched>,
    /// Version of the set that was last looked at.
    seen: u64,
}

/// An endpoint's verdict has changed.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub cluster: Arc<Cluster>,
    pub endpoint: Arc<Endpoint>,
    pub healthy: bool,
}

/// What is to be done about probes now.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub probes: Vec<Probe>,
    /// Probes that nobody waits for any more, by token.
    pub cancelled: Vec<u64>,
    pub verdicts: Vec<Verdict>,
}

#[derive(Debug, Default)]
pub(super) struct Monitor {
    groups: BTreeMap<Arc<str>, Group>,
    /// Probes under way: where they belong.
    probes: HashMap<u64, (Arc<str>, EndpointId, usize)>,
    next: u64,
    cancelled: Vec<u64>,
}

impl Monitor {
    /// Watches the endpoints of this version from now on (`set`: those in force, or of a preview).
    pub fn watch(
        &mut self,
        cluster: &Arc<Cluster>,
        set: &EndpointSet,
        now: Tick,
        random: &mut dyn FnMut() -> u64,
    ) {
        let checks = &cluster.policy().health_checks;
        let watched = checks.iter().any(|check| check.enabled.numerator > 0);
        if !watched {
            self.forget(cluster.name());
            return;
        }
        let group = self.groups.entry(Arc::clone(cluster.name())).or_insert_with(|| Group {
            cluster: Arc::clone(cluster),
            endpoints: HashMap::new(),
            seen: u64::MAX,
        });
        let same_checks =
            Arc::ptr_eq(&group.cluster, cluster) || group.cluster.policy().health_checks == *checks;
        if group.seen == set.version && Arc::ptr_eq(&group.cluster, cluster) {
            return;
        }
        (group.seen, group.cluster) = (set.version, Arc::clone(cluster));
        let mut former = std::mem::take(&mut group.endpoints);
        for endpoint in &set.endpoints {
            let kept = former.remove(&endpoint.id()).filter(|_| same_checks);
            let watched = match kept {
                Some(kept) => Watched { endpoint: Arc::clone(endpoint), ..kept },
                None => Watched {
                    endpoint: Arc::clone(endpoint),
                    checkers: checks.iter().map(|check| (Checker::new(check, now, random()), None)).collect(),
                },
            };
            group.endpoints.insert(endpoint.id(), watched);
        }
        for (_, token) in former.into_values().flat_map(|gone| gone.checkers) {
            self.cancelled.extend(token);
        }
    }

    pub fn forget(&mut self, cluster: &str) {
        if let Some(group) = self.groups.remove(cluster) {
            let gone = group.endpoints.into_values().flat_map(|gone| gone.checkers);
            self.cancelled.extend(gone.filter_map(|(_, token)| token));
        }
    }

    /// Every endpoint of the set has a verdict.
    pub fn is_settled(&self, cluster: &str) -> bool {
        self.groups
            .get(cluster)
            .is_none_or(|group| group.endpoints.values().all(|watched| watched.verdict().is_some()))
    }

    /// When `poll` has something next.
    pub fn deadline(&self) -> Option<Tick> {
        let checkers = self.groups.values().flat_map(|group| group.endpoints.values());
        checkers.flat_map(|watched| &watched.checkers).map(|(checker, _)| checker.deadline()).min()
    }

    /// Starts what is due, and ends what has taken too long.
    pub fn poll(&mut self, now: Tick, random: &mut dyn FnMut() -> u64) -> Turn {
        let mut turn = Turn::default();
        let mut expired = Vec::new();
        for group in self.groups.values_mut() {
            let checks = &group.cluster.policy().health_checks;
            for watched in group.endpoints.values_mut() {
                for (check, ((checker, token), plan)) in watched.checkers.iter_mut().zip(checks).enumerate() {
                    if checker.expired(now) {
                        expired.extend(*token);
                    } else if checker.starts(plan, now) {
                        self.next += 1;
                        *token = Some(self.next);
                        let place = (Arc::clone(group.cluster.name()), watched.endpoint.id(), check);
                        self.probes.insert(self.next, place);
                        turn.probes.push(Probe {
                            token: self.next,
                            cluster: Arc::clone(&group.cluster),
                            endpoint: Arc::clone(&watched.endpoint),
                            check,
                        });
                    }
                }
            }
        }
        for token in expired {
            turn.verdicts.extend(self.answered(token, false, now, random()));
            turn.cancelled.push(token);
        }
        for token in std::mem::take(&mut self.cancelled) {
            self.probes.remove(&token);
            turn.cancelled.push(token);
        }
        turn
    }

    /// What became of a probe; a verdict if the endpoint's has changed.
    pub fn answered(&mut self, token: u64, passed: bool, now: Tick, random: u64) -> Option<Verdict> {
        let (cluster, endpoint, check) = self.probes.remove(&token)?;
        let group = self.groups.get_mut(&cluster)?;
        let watched = group.endpoints.get_mut(&endpoint)?;
        let before = watched.verdict();
        let (checker, under_way) = watched.checkers.get_mut(check)?;
        if *under_way != Some(token) {
            return None;
        }
        *under_way = None;
        checker.answered(group.cluster.policy().health_checks.get(check)?, passed, now, random);
        let after = watched.verdict();
        let healthy = after.filter(|_| after != before)?;
        Some(Verdict {
            cluster: Arc::clone(&group.cluster),
            endpoint: Arc::clone(&watched.endpoint),
            healthy,
        })
    }
}
