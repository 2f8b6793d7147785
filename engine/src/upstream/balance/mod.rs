//! Which endpoint a request goes to: priority, locality, then one of its endpoints.
//!
//! The tables are built once per endpoint set and health change and shared by all workers; a worker's `Cursor` holds what
//! moves from pick to pick. Nothing here allocates per pick.

mod least_request;
mod priority;
mod random;
mod round_robin;
#[cfg(test)]
mod tests;
mod weights;

use std::net::SocketAddr;
use std::sync::Arc;

use super::endpoint::{Endpoint, EndpointId};
use super::set::EndpointSet;
use crate::message::Tick;
use crate::plan::{Health, LoadBalancer};
pub(super) use priority::Tables;
use weights::Part;

/// What a worker remembers of its picks in one cluster.
#[derive(Debug)]
pub struct Cursor {
    seed: u64,
    /// By number of the part (one part per priority, rank and locality).
    positions: Vec<u32>,
    /// The last pick ignored health because too few endpoints are healthy.
    pub panicked: bool,
}

impl Cursor {
    /// `seed`: any number, another for each worker, so that workers do not step in unison.
    pub fn new(seed: u64) -> Self {
        Self { seed: seed | 1, positions: Vec::new(), panicked: false }
    }

    /// xorshift64*: fair enough to spread requests, and no secret.
    pub(super) fn random(&mut self) -> u64 {
        let mut state = self.seed;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.seed = state;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, 0 if `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(bound)) >> 64) as u64
    }

    /// The next step of a part: counts up from a random start.
    fn step(&mut self, part: u32) -> u32 {
        let part = part as usize;
        while self.positions.len() <= part {
            let start = self.random() as u32;
            self.positions.push(start);
        }
        match self.positions.get_mut(part) {
            Some(position) => {
                *position = position.wrapping_add(1);
                *position
            }
            None => 0,
        }
    }
}

/// What a pick depends on beside the set.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickContext<'a> {
    pub now: Tick,
    /// Where the client meant to go; original destination clusters go there.
    pub original_destination: Option<SocketAddr>,
    /// `x-envoy-original-dst-host`, for clusters that believe it.
    pub destination_header: Option<SocketAddr>,
    /// Endpoints that earlier attempts used and that shall be passed over.
    pub tried: &'a [EndpointId],
    /// How many picks may be made to find one that was not tried (`host_selection_retry_max_attempts`); 0 = take the first.
    pub reselections: u32,
}

/// Picks made to find an endpoint that is not avoided, before its whole part is looked through.
const AVOIDING_PICKS: u32 = 3;

/// One pick: `None` if no endpoint may be used. `avoiding`: some endpoint of the cluster is avoided for now; it is picked
/// only where nobody else is.
pub(super) fn pick(
    set: &EndpointSet,
    balancer: &LoadBalancer,
    cursor: &mut Cursor,
    context: &PickContext<'_>,
    avoiding: bool,
) -> Option<Arc<Endpoint>> {
    let least = if avoiding { AVOIDING_PICKS } else { 0 };
    let mut reselections = context.reselections.max(least);
    let is_new = |endpoint: &Endpoint| context.reselections == 0 || !context.tried.contains(&endpoint.id());
    let is_wanted = |endpoint: &Endpoint| is_new(endpoint) && !(avoiding && endpoint.is_avoided(context.now));
    loop {
        let (part, endpoint) = pick_once(set, balancer, cursor)?;
        if reselections == 0 || is_wanted(endpoint) {
            return Some(Arc::clone(endpoint));
        }
        reselections -= 1;
        if reselections == 0 {
            let found = another(set, part, cursor, is_wanted).or_else(|| another(set, part, cursor, is_new));
            return Some(Arc::clone(found.unwrap_or(endpoint)));
        }
    }
}

/// An endpoint that was not tried, of the highest priority that has one, if possible none that is avoided.
pub(super) fn any_untried(
    set: &EndpointSet,
    cursor: &mut Cursor,
    context: &PickContext<'_>,
) -> Option<Arc<Endpoint>> {
    let start = cursor.below(set.endpoints.len() as u64) as usize;
    let priority_of = |index: usize| {
        let place = set.localities.iter().find(|locality| (index as u32) < locality.end);
        place.map_or(0, |locality| locality.priority)
    };
    let count = set.endpoints.len();
    (0..count)
        .map(|step| (start + step) % count)
        .filter_map(|index| Some((index, set.endpoints.get(index)?)))
        .filter(|(_, endpoint)| {
            endpoint.health() != Health::Unhealthy && !context.tried.contains(&endpoint.id())
        })
        .min_by_key(|(index, endpoint)| (endpoint.is_avoided(context.now), priority_of(*index)))
        .map(|(_, endpoint)| Arc::clone(endpoint))
}

/// An endpoint of the part that is wanted, if it has one. Draws alone may miss it: one that refuses every connection has no
/// requests under way, and so is the favourite of a balancer that looks for the least.
fn another<'s>(
    set: &'s EndpointSet,
    part: &Part,
    cursor: &mut Cursor,
    is_wanted: impl Fn(&Endpoint) -> bool,
) -> Option<&'s Arc<Endpoint>> {
    let start = cursor.below(part.members.len() as u64) as usize;
    let members = part.members.iter().cycle().skip(start).take(part.members.len());
    members.filter_map(|&index| set.endpoints.get(index as usize)).find(|endpoint| is_wanted(endpoint))
}

fn pick_once<'s>(
    set: &'s EndpointSet,
    balancer: &LoadBalancer,
    cursor: &mut Cursor,
) -> Option<(&'s Part, &'s Arc<Endpoint>)> {
    let part = set.tables.choose(cursor)?;
    let index = match balancer {
        LoadBalancer::RoundRobin {} => round_robin::pick(part, cursor),
        LoadBalancer::LeastRequest { choices } => least_request::pick(part, *choices, cursor, &set.endpoints),
        LoadBalancer::Random {} | LoadBalancer::ClusterProvided {} => random::pick(part, cursor),
    }?;
    Some((part, set.endpoints.get(index as usize)?))
}
