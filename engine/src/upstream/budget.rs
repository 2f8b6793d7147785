//! Retry budget: retries may be a share of the requests under way, with a floor.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const UNSET: u32 = u32::MAX;

/// `share`: retries per million requests under way, or `UNSET`.
#[derive(Debug)]
pub struct Budget {
    share: AtomicU32,
    minimum: AtomicU32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { share: AtomicU32::new(UNSET), minimum: AtomicU32::new(0) }
    }
}

impl Budget {
    pub fn set(&self, percent: Option<f64>, minimum: u32) {
        let share = percent.map_or(UNSET, |percent| (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32);
        self.minimum.store(minimum, Relaxed);
        self.share.store(share, Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.share.load(Relaxed) != UNSET
    }

    /// How many retries may be under way at once while `active` requests are.
    pub fn allowed(&self, active: u32) -> u32 {
        let share = u64::from(active) * u64::from(self.share.load(Relaxed)) / 1_000_000;
        (share as u32).max(self.minimum.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_with_a_floor() {
        let budget = Budget::default();
        assert!(!budget.is_set());
        budget.set(Some(20.0), 3);
        for (active, allowed) in [(0, 3), (10, 3), (15, 3), (20, 4), (1_000, 200)] {
            assert_eq!(budget.allowed(active), allowed, "{active} requests under way");
        }
    }
}
