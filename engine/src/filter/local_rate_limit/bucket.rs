//! A token bucket in one atomic word: no lock, no timer, exact over any number of workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::message::{SECOND, Tick};
use crate::plan::{PlanError, TokenBucket};

/// Envoy's least fill interval, milliseconds.
const MIN_INTERVAL: u64 = 50;
/// Rounding of sums of token times, as a share of a token.
const EPSILON: f64 = 1e-6;

/// Tokens refill steadily at `tokens_per_fill / fill_interval`. The state is the moment at which the bucket was, or will have
/// been, empty: what has flowed in since then are the tokens.
#[derive(Debug)]
pub struct Bucket {
    max: u32,
    /// Tokens a second.
    rate: f64,
    /// Seconds in which a token flows in, and in which all do.
    span: f64,
    full_span: f64,
    /// Bits of an f64, seconds since the engine started.
    empty_at: AtomicU64,
}

/// What became of asking for a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    pub allowed: bool,
    /// Tokens left, with what has flowed in of the next.
    tokens: f64,
}

impl Taken {
    /// Whole tokens left.
    pub fn left(self) -> u32 {
        (self.tokens + EPSILON).max(0.0).floor() as u32
    }

    /// Seconds until the next whole token, rounded up.
    pub fn reset(self, bucket: &Bucket) -> u64 {
        let left = (self.tokens + EPSILON).max(0.0).floor();
        ((left + 1.0 - self.tokens) / bucket.rate).ceil() as u64
    }
}

impl Bucket {
    pub fn compile(plan: &TokenBucket) -> Result<Self, PlanError> {
        if plan.max_tokens == 0 || plan.tokens_per_fill == 0 {
            let path = if plan.max_tokens == 0 { "max_tokens" } else { "tokens_per_fill" };
            return Err(PlanError::new(path, "must be at least 1"));
        }
        if plan.fill_interval < MIN_INTERVAL {
            return Err(PlanError::new("fill_interval", format!("must be at least {MIN_INTERVAL} ms")));
        }
        let rate = f64::from(plan.tokens_per_fill) * 1_000.0 / plan.fill_interval as f64;
        Ok(Self {
            max: plan.max_tokens,
            rate,
            span: 1.0 / rate,
            full_span: f64::from(plan.max_tokens) / rate,
            empty_at: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
        })
    }

    pub fn max(&self) -> u32 {
        self.max
    }

    /// Takes a token if there is one.
    pub fn take(&self, now: Tick) -> Taken {
        let now = now.0 as f64 / SECOND as f64;
        let full = now - self.full_span;
        let mut bits = self.empty_at.load(Relaxed);
        loop {
            // A bucket fuller than full is full; a worker whose clock reading is older sees fewer tokens, never more.
            let empty_at = f64::from_bits(bits).max(full);
            let tokens = (now - empty_at) * self.rate;
            if tokens < 1.0 - EPSILON {
                return Taken { allowed: false, tokens };
            }
            let next = (empty_at + self.span).to_bits();
            match self.empty_at.compare_exchange_weak(bits, next, Relaxed, Relaxed) {
                Ok(_) => return Taken { allowed: true, tokens: tokens - 1.0 },
                Err(seen) => bits = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn bucket(max_tokens: u32, tokens_per_fill: u32, fill_interval: u64) -> Bucket {
        Bucket::compile(&TokenBucket { max_tokens, tokens_per_fill, fill_interval }).unwrap()
    }

    #[test]
    fn a_full_bucket_empties_and_refills() {
        let made = bucket(3, 1, 1_000);
        let at = |milliseconds| Tick(0).after_milliseconds(milliseconds);
        let allowed: Vec<bool> = [0, 0, 0, 0, 999, 1_000, 1_001, 10_000, 10_000, 10_000, 10_000]
            .iter()
            .map(|&ms| made.take(at(ms)).allowed)
            .collect();
        let (yes, no) = (true, false);
        assert_eq!(allowed, [yes, yes, yes, no, no, yes, no, yes, yes, yes, no]);
        let told = |bucket: &Bucket, at| {
            let taken = bucket.take(at);
            (taken.allowed, taken.left(), taken.reset(bucket))
        };
        assert_eq!(told(&made, at(10_000)), (false, 0, 1));
        assert_eq!(told(&bucket(5, 5, 60_000), at(1)), (true, 4, 12));
    }

    #[test]
    fn nonsense_is_refused() {
        for (max, fill, interval, path) in
            [(0, 1, 1_000, "max_tokens"), (1, 0, 1_000, "tokens_per_fill"), (1, 1, 49, "fill_interval")]
        {
            let plan = TokenBucket { max_tokens: max, tokens_per_fill: fill, fill_interval: interval };
            assert_eq!(Bucket::compile(&plan).unwrap_err().path, path);
        }
    }

    #[test]
    fn four_threads_get_no_more_than_there_is() {
        let made = Arc::new(bucket(1_000, 1, 3_600_000));
        let count = || {
            let made = Arc::clone(&made);
            std::thread::spawn(move || (0..1_000).filter(|_| made.take(Tick(5)).allowed).count())
        };
        let threads: Vec<_> = (0..4).map(|_| count()).collect();
        let total: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(total, 1_000);
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            max in 1u32..20, fill in 1u32..20, interval in 50u64..5_000,
            steps in proptest::collection::vec(0u64..500, 1..200),
        ) {
            let made = bucket(max, fill, interval);
            let (mut now, mut allowed) = (1_000_000u64, 0u64);
            let start = now;
            for step in steps {
                now += step;
                allowed += u64::from(made.take(Tick(0).after_milliseconds(now)).allowed);
                let limit = f64::from(max) + (now - start) as f64 * f64::from(fill) / interval as f64;
                prop_assert!(allowed as f64 <= limit + 0.01, "{} > {}", allowed, limit);
            }
        }
    }
}
