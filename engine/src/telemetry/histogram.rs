//! Histograms with explicit bounds. One thread writes with relaxed stores; anyone reads without stopping it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of durations in microseconds: those of Istio's dashboards (0.5 ms to 1 h), and finer ones below 1 s for the live table.
pub const DURATION_BOUNDS: &[u64] = &[
    50,
    100,
    200,
    300,
    500,
    750,
    1_000,
    1_500,
    2_000,
    3_000,
    5_000,
    7_500,
    10_000,
    15_000,
    25_000,
    50_000,
    75_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Upper bounds of sizes in bytes, as Envoy's and Istio's.
pub const SIZE_BOUNDS: &[u64] = &[
    100,
    500,
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// Counts per bound, with one more for what lies above the last.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Called by the owning thread only.
    pub fn add(&self, value: u64) {
        let index = self.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get(index) {
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
        self.sum.store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }

    pub fn read(&self) -> Reading {
        Reading {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// A histogram's values at one moment; readings of several workers add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub bounds: &'static [u64],
    pub counts: Vec<u64>,
    pub sum: u64,
}

impl Reading {
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_under_the_first_bound_that_holds_them() {
        let histogram = Histogram::new(SIZE_BOUNDS);
        for value in [0, 100, 101, 2_000_000_000] {
            histogram.add(value);
        }
        let reading = histogram.read();
        assert_eq!((reading.counts[0], reading.counts[1], reading.counts[SIZE_BOUNDS.len()]), (2, 1, 1));
        assert_eq!((reading.total(), reading.sum), (4, 2_000_000_201));
    }

    #[test]
    fn bounds_ascend() {
        assert!(DURATION_BOUNDS.is_sorted() && SIZE_BOUNDS.is_sorted());
    }
}
