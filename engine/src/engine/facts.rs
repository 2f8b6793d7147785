//! Keeps the facts that configuration lives on: names are resolved on `errands`, endpoints are probed from the slow worker.
//!
//! In: what the builder says is due. Out: answers to the builder, which makes snapshots and events of them. One chore of the
//! slow worker, nudged by every delta and every answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::configuration::Configuration;
use super::threads::{Handle, random};
use crate::message::{SECOND, Tick};
use crate::reactor::{
    Board, Chore, Driver, Epoch, Errands, Found, Letter, Shared, Unresolved, descriptor_share, look_up,
    memory_share,
};
use crate::snapshot::{Lookup, Probe};
use crate::stream::{Port, ProbeKey, Streams};
use crate::telemetry::ClusterCounter;
use crate::upstream::NameAnswer;

struct Facts {
    configuration: Arc<Configuration>,
    shared: Arc<Shared>,
    errands: Arc<Errands>,
    slow: Handle,
    epoch: Epoch,
    next_sweep: Tick,
    deadline: Option<Tick>,
    /// Probes under way, by token, and the verdicts that have come meanwhile.
    probes: HashMap<u64, ProbeKey>,
    verdicts: Verdicts,
}

type Verdicts = Rc<RefCell<Vec<(u64, bool)>>>;

/// Moves the chore in with the slow worker.
pub(super) fn keep(
    configuration: &Arc<Configuration>,
    shared: &Arc<Shared>,
    slow: &Handle,
    errands: &Arc<Errands>,
    epoch: Epoch,
) {
    let (configuration, errands) = (Arc::clone(configuration), Arc::clone(errands));
    let shared = Arc::clone(shared);
    let handle = slow.clone();
    slow.inbox.post_always(Letter::Chore(Box::new(move || {
        Box::new(Facts {
            configuration,
            shared,
            errands,
            slow: handle,
            epoch,
            next_sweep: Tick::default(),
            deadline: None,
            probes: HashMap::new(),
            verdicts: Verdicts::default(),
        })
    })));
}

impl<D: Driver> Chore<D> for Facts {
    fn act(&mut self, streams: &mut Streams, board: &mut Board<D>) {
        let now = self.epoch.now();
        let verdicts = self.verdicts.take();
        for (token, _) in &verdicts {
            self.probes.remove(token);
        }
        let sweeps = self.next_sweep <= now;
        if sweeps {
            self.next_sweep = now + SECOND;
            let share = memory_share().into_iter().chain(descriptor_share()).max();
            self.shared.pressure.report(share.unwrap_or(0));
        }
        for (token, passed) in verdicts {
            self.configuration.learn(|builder| ((), builder.probed(token, passed, now)));
        }
        let (due, deadline) = self.configuration.learn(|builder| {
            if sweeps {
                builder.sweep(now);
            }
            let (due, outcome) = builder.poll(now);
            ((due, builder.deadline()), outcome)
        });
        self.deadline = deadline.into_iter().chain([self.next_sweep]).min();
        for token in due.cancelled {
            if let Some(probe) = self.probes.remove(&token) {
                streams.cancel_probe(board, probe);
            }
        }
        for probe in due.probes {
            self.begin(&probe, streams, board);
        }
        for lookup in due.lookups {
            self.look_up(lookup);
        }
    }

    fn deadline(&self) -> Option<Tick> {
        self.deadline
    }
}

impl Facts {
    fn begin<D: Driver>(&mut self, probe: &Probe, streams: &mut Streams, board: &mut Board<D>) {
        let Some(check) = probe.plan() else { return };
        let (token, slow, verdicts) = (probe.token, self.slow.clone(), Rc::clone(&self.verdicts));
        let counters = board.recorder().cluster(&probe.cluster.policy().stat_name);
        counters.increment(ClusterCounter::HealthAttempt);
        let verdict = Box::new(move |passed| {
            let counter = if passed { ClusterCounter::HealthSuccess } else { ClusterCounter::HealthFailure };
            counters.increment(counter);
            verdicts.borrow_mut().push((token, passed));
            slow.inbox.post_always(Letter::Nudge);
        });
        let key = streams.probe(board, &probe.cluster, &probe.endpoint, check, verdict);
        self.probes.insert(token, key);
    }

    fn look_up(&self, lookup: Lookup) {
        let configuration = Arc::clone(&self.configuration);
        let (slow, epoch, asked) = (self.slow.clone(), self.epoch, lookup.clone());
        let queued = self.errands.run(move || {
            let answer = resolve(&lookup.name);
            configuration.learn(|builder| ((), builder.resolved(&lookup, answer, epoch.now())));
            slow.inbox.post_always(Letter::Nudge);
        });
        if queued.is_err() {
            let now = self.epoch.now();
            self.configuration.learn(|builder| ((), builder.resolved(&asked, NameAnswer::Failed, now)));
        }
    }
}

fn resolve(name: &str) -> NameAnswer {
    match look_up(name, random()) {
        Ok(Found { addresses, ttl }) => {
            NameAnswer::Addresses { addresses, ttl: ttl.map(|seconds| u64::from(seconds) * 1_000) }
        }
        Err(Unresolved) => NameAnswer::Failed,
    }
}
