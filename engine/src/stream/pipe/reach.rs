//! The way to an endpoint: one is picked and dialled, another if it cannot be reached, until there is a connection or none is left.
//!
//! Invariant: what an attempt holds (permits, the count of open connections) is released once, by whatever ends it. Nothing of the
//! client's has left before there is a connection, so that trying elsewhere repeats nothing.

use std::rc::Rc;
use std::sync::Arc;

use super::{Pipe, Side};
use crate::message::{Key, ResponseFlags};
use crate::stream::binding::{Binding, End, FarEnd};
use crate::stream::pools::{address_of, dial_tls, failure_of};
use crate::stream::port::{Dial, DialErrorKind, DialOutcome, Port, Speak};
use crate::stream::resend;
use crate::stream::shared::Turn;
use crate::telemetry::ClusterCounter;
use crate::upstream::{Endpoint, Failure, PickContext, Priority, Report, Resource};

impl Pipe {
    /// Picks an endpoint, unless `other` is to be it, and dials it.
    pub(super) fn attempt<P: Port>(&mut self, turn: &mut Turn<'_, P>, other: Option<Arc<Endpoint>>) {
        let Some(cluster) = self.notes.cluster.clone() else { return };
        let now = turn.now();
        self.notes.attempts += 1;
        let context = PickContext {
            now,
            original_destination: self.site.peer.original_destination.or(self.site.peer.local),
            destination_header: None,
            tried: &self.tried,
            reselections: self.tried.len() as u32 * 3,
        };
        let seat = turn.shared.seats.take(&cluster, turn.port.recorder(), now);
        let Some(permit) = seat.acquire(Priority::Default, Resource::Connections) else {
            return self.fail(turn, ResponseFlags::UPSTREAM_OVERFLOW, "upstream_overflow");
        };
        let Some(endpoint) = other.or_else(|| seat.pick(&context)) else {
            return self.fail(turn, ResponseFlags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream");
        };
        seat.counters.increment(ClusterCounter::CxTotal);
        seat.counters.increment(ClusterCounter::CxActive);
        let policy = cluster.policy();
        let in_flight = policy.counts_active().then(|| endpoint.begin());
        let dial = Dial {
            address: address_of(endpoint.address()),
            source: policy.source_address.clone(),
            tls: endpoint.tls().map(|cell| dial_tls(cell, None, |_| true, None)),
            speak: Speak::Tcp,
            deadline: now.after_milliseconds(policy.connect_timeout),
            keepalive: policy.tcp_keepalive,
            buffer_limit: policy.buffer_limit,
            binding: Binding::Pipe { pipe: self.key, end: End::Endpoint },
        };
        self.held = Some((permit, in_flight));
        self.tried.push(endpoint.id());
        self.notes.endpoint = Some(endpoint);
        self.endpoint = Side::Dialing(turn.port.dial(dial));
    }

    pub(super) fn dialed<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key, outcome: DialOutcome) {
        if self.endpoint != Side::Dialing(connection) {
            return;
        }
        match outcome {
            Ok(()) => self.connected(turn, connection),
            Err(error) => {
                self.endpoint = Side::None;
                let timed_out = failure_of(&error) == Failure::ConnectTimeout;
                if error.kind == DialErrorKind::Connect
                    && let (Some(cluster), Some(endpoint)) = (&self.notes.cluster, &self.notes.endpoint)
                {
                    cluster.note_declined(endpoint, turn.now());
                }
                self.notes.upstream_failure = error.what;
                self.count(turn, ClusterCounter::CxConnectFail);
                if timed_out {
                    self.count(turn, ClusterCounter::CxConnectTimeout);
                }
                self.report(turn, Report::ConnectFailure);
                self.release(turn);
                if self.notes.attempts < self.proxy.max_connect_attempts {
                    return self.attempt(turn, None);
                }
                if let Some(other) = self.find_other(turn) {
                    return self.attempt(turn, Some(other));
                }
                self.notes.flags.add(ResponseFlags::UPSTREAM_RETRY_LIMIT);
                self.fail(turn, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "upstream_connection_failure");
            }
        }
    }

    /// Nothing of the client's has left: another endpoint may have it, beyond the attempts that the proxy allows.
    fn find_other<P: Port>(&mut self, turn: &mut Turn<'_, P>) -> Option<Arc<Endpoint>> {
        let cluster = self.notes.cluster.as_ref()?;
        let now = turn.now();
        let may = turn.shared.resends
            && self.notes.attempts <= u32::from(resend::MAX_RESENDS)
            && resend::is_early(cluster, self.notes.moments.started, now);
        if !may {
            return None;
        }
        let tried = self.tried.len() as u32;
        let context =
            PickContext { now, tried: &self.tried, reselections: tried * 3, ..PickContext::default() };
        let seat = turn.shared.seats.take(cluster, turn.port.recorder(), now);
        let other = seat.pick_other(&context)?;
        seat.counters.increment(ClusterCounter::RqResent);
        Some(other)
    }

    fn connected<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key) {
        let now = turn.port.clock();
        self.endpoint = Side::Open(connection);
        self.was_connected = true;
        self.notes.upstream = turn.port.peer(connection).cloned().map(|peer| Rc::new(FarEnd(peer)));
        self.report(turn, Report::Answered(200));
        if let Some(endpoint) = &self.notes.endpoint {
            endpoint.note_connected();
        }
        let _ = turn.port.open_stream(connection);
        let facts = self.notes.facts(&self.site, None, None);
        turn.port.recorder().opened(&facts, now);
        self.deadlines.touch(now);
        self.flush(turn, End::Endpoint);
    }

    pub(super) fn report<P: Port>(&self, turn: &mut Turn<'_, P>, report: Report) {
        let (Some(cluster), Some(endpoint)) = (&self.notes.cluster, &self.notes.endpoint) else { return };
        let now = turn.now();
        turn.shared.seats.take(cluster, turn.port.recorder(), now).report(endpoint, report, now);
    }

    fn count<P: Port>(&self, turn: &mut Turn<'_, P>, counter: ClusterCounter) {
        let Some(cluster) = &self.notes.cluster else { return };
        let now = turn.now();
        turn.shared.seats.take(cluster, turn.port.recorder(), now).counters.increment(counter);
    }

    /// The endpoint's connection, or the attempt at one, is over.
    pub(super) fn release<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.held.take().is_none() {
            return;
        }
        let Some(cluster) = &self.notes.cluster else { return };
        let now = turn.now();
        turn.shared
            .seats
            .take(cluster, turn.port.recorder(), now)
            .counters
            .decrement(ClusterCounter::CxActive);
    }
}
