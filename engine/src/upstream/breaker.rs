//! Circuit breakers: limits of a cluster that hold for the process, whatever the number of workers.
//!
//! A `Gate` counts permits of all workers. A worker leases them in blocks of limit ÷ (16 × workers): large limits are
//! uncontended (at worst a block a worker lies unused), small ones (block 0) are exact, and none is ever exceeded. Where
//! there is no limit nothing is counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::budget::Budget;
use crate::plan::{CircuitBreakers, Thresholds};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    Connections,
    Pending,
    Requests,
    Retries,
}

/// `priority` of the route: each has limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Priority {
    #[default]
    Default,
    High,
}

const UNLIMITED: u32 = u32::MAX;

/// One limit and how much of it is out, worker blocks included.
#[derive(Debug)]
pub struct Gate {
    limit: AtomicU32,
    used: AtomicU32,
}

impl Gate {
    fn new() -> Self {
        Self { limit: AtomicU32::new(UNLIMITED), used: AtomicU32::new(0) }
    }

    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Relaxed)).filter(|&limit| limit != UNLIMITED)
    }

    pub fn used(&self) -> u32 {
        self.used.load(Relaxed)
    }

    /// Takes up to `wanted`, never beyond `limit`; how many it got.
    fn take(&self, wanted: u32, limit: u32) -> u32 {
        let mut used = self.used.load(Relaxed);
        loop {
            let granted = wanted.min(limit.saturating_sub(used));
            if granted == 0 {
                return 0;
            }
            match self.used.compare_exchange_weak(used, used + granted, Relaxed, Relaxed) {
                Ok(_) => return granted,
                Err(now) => used = now,
            }
        }
    }

    fn give(&self, count: u32) {
        self.used.fetch_sub(count, Relaxed);
    }
}

/// The limits of a cluster. They outlive its updates: what is out stays counted when a limit moves.
#[derive(Debug)]
pub struct Breakers {
    gates: [[Gate; 4]; 2],
    budgets: [Budget; 2],
}

impl Default for Breakers {
    fn default() -> Self {
        Self {
            gates: std::array::from_fn(|_| std::array::from_fn(|_| Gate::new())),
            budgets: std::array::from_fn(|_| Budget::default()),
        }
    }
}

impl Breakers {
    pub fn set(&self, plan: &CircuitBreakers) {
        self.set_priority(Priority::Default, &plan.default);
        self.set_priority(Priority::High, &plan.high);
    }

    fn set_priority(&self, priority: Priority, plan: &Thresholds) {
        let limits = [
            (Resource::Connections, plan.max_connections),
            (Resource::Pending, plan.max_pending),
            (Resource::Requests, plan.max_requests),
            (Resource::Retries, plan.max_retries),
        ];
        for (resource, limit) in limits {
            // u32::MAX, as Istio writes "no limit", counts as none.
            self.gate(priority, resource).limit.store(limit.unwrap_or(UNLIMITED), Relaxed);
        }
        self.budget(priority).set(plan.retry_budget_percent, plan.retry_budget_minimum);
    }

    pub fn gate(&self, priority: Priority, resource: Resource) -> &Gate {
        let [default, high] = &self.gates;
        let gates = if priority == Priority::High { high } else { default };
        let [connections, pending, requests, retries] = gates;
        match resource {
            Resource::Connections => connections,
            Resource::Pending => pending,
            Resource::Requests => requests,
            Resource::Retries => retries,
        }
    }

    fn budget(&self, priority: Priority) -> &Budget {
        let [default, high] = &self.budgets;
        if priority == Priority::High { high } else { default }
    }

    /// The limit now in force; a retry budget reads how many requests are under way.
    fn limit(&self, priority: Priority, resource: Resource) -> u32 {
        let budget = self.budget(priority);
        match resource {
            Resource::Retries if budget.is_set() => {
                budget.allowed(self.gate(priority, Resource::Requests).used())
            }
            _ => self.gate(priority, resource).limit.load(Relaxed),
        }
    }

    /// Whether permits are counted at all.
    fn counts(&self, priority: Priority, resource: Resource, limit: u32) -> bool {
        limit != UNLIMITED || resource == Resource::Requests && self.budget(priority).is_set()
    }

    /// How many permits a worker keeps at hand. Budgets move and their base must be true: none for them.
    fn block(&self, priority: Priority, resource: Resource, limit: u32, workers: u32) -> u32 {
        match resource {
            Resource::Requests | Resource::Retries if self.budget(priority).is_set() => 0,
            _ => limit / (16 * workers.max(1)),
        }
    }
}

/// One worker's hand on a cluster's breakers: the permits it has leased and not given out. It does not leave its worker, so that
/// permits from a block cost no atomic operation.
#[derive(Debug)]
pub struct Lease {
    breakers: Arc<Breakers>,
    workers: u32,
    spare: [[Cell<u32>; 4]; 2],
}

impl Lease {
    pub fn new(breakers: Arc<Breakers>, workers: u32) -> Rc<Self> {
        Rc::new(Self { breakers, workers, spare: Default::default() })
    }

    /// `None`: the limit is reached.
    pub fn acquire(self: &Rc<Self>, priority: Priority, resource: Resource) -> Option<Permit> {
        let limit = self.breakers.limit(priority, resource);
        if !self.breakers.counts(priority, resource, limit) {
            return Some(Permit(None));
        }
        let held = || Some(Permit(Some((Rc::clone(self), priority, resource))));
        let gate = self.breakers.gate(priority, resource);
        if gate.used() > limit {
            // The limit has been lowered below what is out: nothing more leaves, from blocks neither.
            gate.give(self.spare(priority, resource).take());
            return None;
        }
        if self.take_spare(priority, resource) {
            return held();
        }
        let block = self.breakers.block(priority, resource, limit, self.workers);
        match gate.take(block.max(1), limit) {
            0 => None,
            granted => {
                let spare = self.spare(priority, resource);
                spare.set(spare.get() + granted - 1);
                held()
            }
        }
    }

    fn spare(&self, priority: Priority, resource: Resource) -> &Cell<u32> {
        let [default, high] = &self.spare;
        let spare = if priority == Priority::High { high } else { default };
        let [connections, pending, requests, retries] = spare;
        match resource {
            Resource::Connections => connections,
            Resource::Pending => pending,
            Resource::Requests => requests,
            Resource::Retries => retries,
        }
    }

    fn take_spare(&self, priority: Priority, resource: Resource) -> bool {
        let spare = self.spare(priority, resource);
        let Some(rest) = spare.get().checked_sub(1) else { return false };
        spare.set(rest);
        true
    }

    fn give_back(&self, priority: Priority, resource: Resource) {
        let limit = self.breakers.limit(priority, resource);
        let block = self.breakers.block(priority, resource, limit, self.workers);
        let spare = self.spare(priority, resource);
        let gate = self.breakers.gate(priority, resource);
        if limit == UNLIMITED || block == 0 {
            gate.give(1 + spare.take());
            return;
        }
        let count = spare.get() + 1;
        spare.set(count);
        if count > block {
            // Half a block stays, so that a worker at the edge does not go to the gate each time.
            let rest = count.min(block / 2);
            spare.set(rest);
            gate.give(count - rest);
        }
    }

    /// Gives back what lies unused: for a worker that has been quiet.
    pub fn release_spare(&self) {
        for priority in [Priority::Default, Priority::High] {
            for resource in [Resource::Connections, Resource::Pending, Resource::Requests, Resource::Retries]
            {
                let count = self.spare(priority, resource).take();
                self.breakers.gate(priority, resource).give(count);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release_spare();
    }
}

/// The right to one connection, request …; given back when dropped. Empty where there is no limit.
#[derive(Debug)]
pub struct Permit(Option<(Rc<Lease>, Priority, Resource)>);

impl Permit {
    /// A permit for what is not limited.
    pub fn free() -> Self {
        Self(None)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((lease, priority, resource)) = self.0.take() {
            lease.give_back(priority, resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::testing::UNLIMITED as NO_LIMITS;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicI64;

    const DEFAULT: Priority = Priority::Default;
    const REQUESTS: Resource = Resource::Requests;

    fn breakers(default: Thresholds) -> Arc<Breakers> {
        let breakers = Arc::<Breakers>::default();
        breakers.set(&CircuitBreakers { default, high: NO_LIMITS });
        breakers
    }

    fn limited(max_requests: u32) -> Arc<Breakers> {
        breakers(Thresholds { max_requests: Some(max_requests), ..NO_LIMITS })
    }

    #[test]
    fn small_limits_are_exact_over_workers() {
        let breakers = limited(3);
        let leases: Vec<_> = (0..4).map(|_| Lease::new(Arc::clone(&breakers), 4)).collect();
        let mut held: Vec<_> = leases.iter().filter_map(|lease| lease.acquire(DEFAULT, REQUESTS)).collect();
        assert_eq!(held.len(), 3);
        held.pop();
        assert!(leases[3].acquire(DEFAULT, REQUESTS).is_some(), "what one gives back another may take");
    }

    #[test]
    fn priorities_have_limits_of_their_own() {
        let breakers = limited(0);
        let lease = Lease::new(breakers, 1);
        assert!(lease.acquire(DEFAULT, REQUESTS).is_none());
        assert!(lease.acquire(Priority::High, REQUESTS).is_some());
    }

    #[test]
    fn what_is_unlimited_is_not_counted() {
        let breakers = breakers(NO_LIMITS);
        let lease = Lease::new(Arc::clone(&breakers), 1);
        let _permit = lease.acquire(DEFAULT, REQUESTS).unwrap();
        assert_eq!(breakers.gate(DEFAULT, REQUESTS).used(), 0);
    }

    #[test]
    fn a_lowered_limit_lets_nothing_more_out() {
        let breakers = limited(1_000);
        let lease = Lease::new(Arc::clone(&breakers), 1);
        let mut held: Vec<_> = (0..100).map(|_| lease.acquire(DEFAULT, REQUESTS).unwrap()).collect();
        breakers.set(&CircuitBreakers {
            default: Thresholds { max_requests: Some(10), ..NO_LIMITS },
            high: NO_LIMITS,
        });
        while held.len() >= 10 {
            assert!(lease.acquire(DEFAULT, REQUESTS).is_none(), "{} are out", held.len());
            held.pop();
        }
        assert!(lease.acquire(DEFAULT, REQUESTS).is_some());
    }

    #[test]
    fn retries_are_a_share_of_requests_under_way() {
        let breakers = breakers(Thresholds {
            retry_budget_percent: Some(20.0),
            retry_budget_minimum: 1,
            max_retries: Some(1_000),
            ..NO_LIMITS
        });
        let lease = Lease::new(breakers, 1);
        let mut requests = Vec::new();
        let mut retries = Vec::new();
        for (active, allowed) in [(1, 1), (5, 1), (10, 2), (50, 10)] {
            requests.resize_with(active, || lease.acquire(DEFAULT, REQUESTS).unwrap());
            while let Some(permit) = lease.acquire(DEFAULT, Resource::Retries) {
                retries.push(permit);
            }
            assert_eq!(retries.len(), allowed, "{active} requests under way");
        }
    }

    #[test]
    fn a_quiet_worker_keeps_no_permits() {
        let breakers = limited(1_024);
        let lease = Lease::new(Arc::clone(&breakers), 1);
        drop(lease.acquire(DEFAULT, REQUESTS));
        assert!(breakers.gate(DEFAULT, REQUESTS).used() > 0, "a block is leased");
        lease.release_spare();
        assert_eq!(breakers.gate(DEFAULT, REQUESTS).used(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn threads_together_never_exceed_a_limit(limit in 1u32..400, seeds in proptest::collection::vec(any::<u64>(), 4)) {
            let breakers = limited(limit);
            let (out, worst, refused) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(0));
            std::thread::scope(|scope| {
                for seed in &seeds {
                    let (breakers, out, worst, refused) = (Arc::clone(&breakers), &out, &worst, &refused);
                    scope.spawn(move || {
                        let lease = Lease::new(breakers, 4);
                        let mut cursor = super::super::Cursor::new(*seed);
                        let mut held = Vec::new();
                        for _ in 0..3_000 {
                            if cursor.below(3) > 0 {
                                match lease.acquire(DEFAULT, REQUESTS) {
                                    Some(permit) => {
                                        held.push(permit);
                                        worst.fetch_max(out.fetch_add(1, Relaxed) + 1, Relaxed);
                                    }
                                    None => drop(refused.fetch_add(1, Relaxed)),
                                }
                            } else if !held.is_empty() {
                                // Counted down before it is given back, so that the count is never too high.
                                out.fetch_sub(1, Relaxed);
                                held.swap_remove(cursor.below(held.len() as u64) as usize);
                            }
                        }
                        out.fetch_sub(held.len() as i64, Relaxed);
                    });
                }
            });
            prop_assert!(worst.load(Relaxed) <= i64::from(limit), "{} out of {limit}", worst.load(Relaxed));
            prop_assert!(refused.load(Relaxed) > 0, "the limit was never tried");
            prop_assert_eq!(breakers.gate(DEFAULT, REQUESTS).used(), 0, "all came back");
        }
    }
}
