//! How many series may carry names that callers choose: services and methods of framed protocols.
//!
//! In: hashes of label sets that workers want to begin or have ended. Out: whether one may. Shared by all workers, since the limit is
//! of a metric as it is read; asked only when a worker meets a label set for the first time, and never once the limit is reached.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Series with names of services and methods, of a metric.
pub const NAMED_SERIES_LIMIT: usize = 2_000;

/// Who is counted under names.
#[derive(Debug, Default)]
pub(super) struct NamedSeries {
    count: AtomicUsize,
    /// How many workers have a series of these labels, by their hash.
    holders: Mutex<HashMap<u64, u32>>,
}

impl NamedSeries {
    /// A worker begins a series. False: it must do without names.
    pub fn begin(&self, hash: u64) -> bool {
        if self.count.load(Relaxed) >= NAMED_SERIES_LIMIT {
            return false;
        }
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let count = holders.len();
        match holders.entry(hash) {
            Entry::Occupied(mut known) => *known.get_mut() += 1,
            Entry::Vacant(_) if count >= NAMED_SERIES_LIMIT => return false,
            Entry::Vacant(free) => _ = free.insert(1),
        }
        self.count.store(holders.len(), Relaxed);
        true
    }

    /// A worker has forgotten a series that had begun.
    pub fn end(&self, hash: u64) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut known) = holders.entry(hash) {
            *known.get_mut() -= 1;
            if *known.get() == 0 {
                known.remove();
            }
        }
        self.count.store(holders.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_what_they_count_and_nobody_goes_beyond_the_limit() {
        let named = NamedSeries::default();
        for hash in 0..NAMED_SERIES_LIMIT as u64 {
            assert!(named.begin(hash));
            if hash == 0 {
                assert!(named.begin(hash), "another worker has it too");
            }
        }
        assert!(!named.begin(1 << 40));
        named.end(0);
        assert!(!named.begin(1 << 40), "the other worker still has it");
        named.end(0);
        assert!(named.begin(1 << 40));
    }
}
