//! Tables of an endpoint set: which share of requests each priority takes, and its endpoints by rank and locality.
//!
//! Envoy's rules: a priority's health is over-provisioned, so that with 140 % a level spills only below 71 % healthy
//! endpoints; degraded endpoints take what the healthy ones cannot; with too few healthy endpoints in all levels
//! together, a level below the panic threshold ignores health; if every level panics, load goes by size.

use std::sync::Arc;

use super::Cursor;
use super::weights::Part;
use crate::plan::Health;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::set::{SetLocality, Shape};

/// What picks read. Empty: no endpoint may be used.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Shares of requests in order of preference; `below` rises to 100.
    shares: Box<[Share]>,
}

#[derive(Debug)]
struct Share {
    below: u8,
    panicked: bool,
    parts: Parts,
}

/// The endpoints of one priority and rank.
#[derive(Debug)]
enum Parts {
    One(Part),
    /// Running sums of effective locality weights.
    Localities {
        sums: Box<[u64]>,
        parts: Box<[Part]>,
    },
}

impl Parts {
    fn is_empty(&self) -> bool {
        match self {
            Self::One(part) => part.members.is_empty(),
            Self::Localities { parts, .. } => parts.is_empty(),
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Level {
    priority: u32,
    total: u64,
    healthy: u64,
    degraded: u64,
}

fn percent(part: u64, total: u64, overprovisioning: u32) -> u64 {
    (part * u64::from(overprovisioning)).checked_div(total).unwrap_or(0).min(100)
}

impl Tables {
    pub fn build(
        endpoints: &[Arc<Endpoint>],
        localities: &[SetLocality],
        overprovisioning: u32,
        shape: Shape,
    ) -> Self {
        let health: Vec<Health> = endpoints.iter().map(|endpoint| endpoint.health()).collect();
        let levels = levels(localities, &health);
        let loads = loads(&levels, overprovisioning, shape.panic_threshold);
        let mut builder =
            Builder { endpoints, health: &health, localities, overprovisioning, shape, parts: 0 };
        let (mut shares, mut below) = (Vec::new(), 0);
        for (level, load) in levels.iter().zip(&loads) {
            let ranks = [(Rank::Healthy, load.healthy), (Rank::Degraded, load.degraded)];
            for (rank, share) in ranks {
                if share == 0 {
                    continue;
                }
                let rank = if load.panics { Rank::All } else { rank };
                let parts = builder.parts(level.priority, rank);
                below += share as u8;
                if !parts.is_empty() {
                    shares.push(Share { below, panicked: load.panics, parts });
                }
            }
        }
        Self { shares: shares.into() }
    }

    /// The part for one request.
    pub fn choose(&self, cursor: &mut Cursor) -> Option<&Part> {
        let share = match &*self.shares {
            [only] => only,
            shares => {
                let point = cursor.below(100) as u8;
                shares.iter().find(|share| point < share.below).or_else(|| shares.last())?
            }
        };
        cursor.panicked = share.panicked;
        match &share.parts {
            Parts::One(part) => Some(part),
            Parts::Localities { sums, parts } => {
                let point = cursor.below(*sums.last()?);
                parts.get(sums.partition_point(|&sum| sum <= point))
            }
        }
    }
}

fn levels(localities: &[SetLocality], health: &[Health]) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for locality in localities {
        let at = levels.partition_point(|level| level.priority < locality.priority);
        if levels.get(at).is_none_or(|level| level.priority != locality.priority) {
            levels.insert(at, Level { priority: locality.priority, ..Level::default() });
        }
        let members = health.get(locality.start as usize..locality.end as usize).unwrap_or_default();
        if let Some(level) = levels.get_mut(at) {
            level.total += members.len() as u64;
            level.healthy += members.iter().filter(|health| **health == Health::Healthy).count() as u64;
            level.degraded += members.iter().filter(|health| **health == Health::Degraded).count() as u64;
        }
    }
    levels
}

/// Percent of all requests that a level takes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Load {
    healthy: u64,
    degraded: u64,
    panics: bool,
}

fn loads(levels: &[Level], overprovisioning: u32, panic_threshold: u32) -> Vec<Load> {
    let healthy = |level: &Level| percent(level.healthy, level.total, overprovisioning);
    let degraded = |level: &Level| percent(level.degraded, level.total, overprovisioning);
    let available: u64 = levels.iter().map(|level| healthy(level) + degraded(level)).sum::<u64>().min(100);
    let panics = |level: &Level| {
        // Levels without endpoints neither panic nor keep others from it.
        level.total > 0
            && available < 100
            && (level.healthy + level.degraded) * 100 < u64::from(panic_threshold) * level.total
    };
    if levels.iter().all(|level| level.total == 0 || panics(level)) {
        return by_size(levels);
    }
    let mut loads: Vec<Load> =
        levels.iter().map(|level| Load { panics: panics(level), ..Load::default() }).collect();
    if available == 0 {
        return loads;
    }
    let mut left = 100;
    for (load, level) in loads.iter_mut().zip(levels) {
        load.healthy = (healthy(level) * 100 / available).min(left);
        left -= load.healthy;
    }
    for (load, level) in loads.iter_mut().zip(levels) {
        load.degraded = (degraded(level) * 100 / available).min(left);
        left -= load.degraded;
    }
    // What rounding left over goes to the first that takes anything.
    if let Some(first) = loads.iter_mut().find(|load| load.healthy > 0) {
        first.healthy += left;
    } else if let Some(first) = loads.iter_mut().find(|load| load.degraded > 0) {
        first.degraded += left;
    }
    loads
}

/// Every level panics: all endpoints are used, so load goes by how many a level has.
fn by_size(levels: &[Level]) -> Vec<Load> {
    let total: u64 = levels.iter().map(|level| level.total).sum();
    let mut left = 100;
    let mut loads: Vec<Load> = levels
        .iter()
        .map(|level| {
            let share = (level.total * 100).checked_div(total).unwrap_or(0);
            left -= share;
            Load { healthy: share, degraded: 0, panics: level.total > 0 }
        })
        .collect();
    if let Some(first) = loads.iter_mut().find(|load| load.healthy > 0) {
        first.healthy += left;
    }
    loads
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Healthy,
    Degraded,
    /// Panic: whatever its health, save what the configuration is draining.
    All,
}

impl Rank {
    fn takes(self, health: Health) -> bool {
        match self {
            Self::Healthy => health == Health::Healthy,
            Self::Degraded => health == Health::Degraded,
            Self::All => true,
        }
    }
}

struct Builder<'a> {
    endpoints: &'a [Arc<Endpoint>],
    health: &'a [Health],
    localities: &'a [SetLocality],
    overprovisioning: u32,
    shape: Shape,
    parts: u32,
}

impl Builder<'_> {
    fn parts(&mut self, priority: u32, rank: Rank) -> Parts {
        let localities: Vec<&SetLocality> =
            self.localities.iter().filter(|locality| locality.priority == priority).collect();
        if self.shape.weighted_localities && rank != Rank::All {
            let (mut sum, mut sums, mut parts) = (0, Vec::new(), Vec::new());
            for locality in &localities {
                let members = self.members(locality, rank);
                let size = u64::from(locality.end - locality.start);
                let effective =
                    u64::from(locality.weight) * percent(members.len() as u64, size, self.overprovisioning);
                if effective > 0 {
                    sum += effective;
                    sums.push(sum);
                    parts.push(self.part(members));
                }
            }
            if !parts.is_empty() {
                return Parts::Localities { sums: sums.into(), parts: parts.into() };
            }
        }
        let members = localities.iter().flat_map(|locality| self.members(locality, rank)).collect();
        Parts::One(self.part(members))
    }

    fn members(&self, locality: &SetLocality, rank: Rank) -> Vec<u32> {
        let takes = |&index: &u32| self.health.get(index as usize).is_some_and(|&health| rank.takes(health));
        (locality.start..locality.end).filter(takes).collect()
    }

    fn part(&mut self, members: Vec<u32>) -> Part {
        let weight =
            |&index: &u32| self.endpoints.get(index as usize).map_or(1, |endpoint| endpoint.weight());
        let weights: Vec<u32> = members.iter().map(weight).collect();
        let number = self.parts;
        self.parts += 1;
        Part::new(number, members, &weights, self.shape.steps)
    }
}
