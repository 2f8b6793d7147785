//! The deadlines of an exchange: one timer, at the nearest.
//!
//! In: moments at which something began or moved. Out: what has run out. Moving a deadline away leaves the timer where it is; when it
//! fires early it is armed anew, so activity costs a store.

use super::port::{Owner, Port, TimerSlot};
use crate::message::Tick;

/// What ran out. In the order of precedence when several have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The longest that the stream may live.
    Duration,
    /// The route's limit for request and response.
    Route,
    /// The connection manager's limit for receiving the request.
    Request,
    Idle,
    PerTry,
    PerTryIdle,
    /// The longest that a stream to the cluster may live.
    Upstream,
    /// Not a limit: the time has come to try again.
    BackOff,
    /// Not a limit: a filter wants to be woken.
    Wake,
}

/// The deadlines of one exchange.
#[derive(Debug, Default)]
pub struct Deadlines {
    pub duration: Option<Tick>,
    pub route: Option<Tick>,
    pub request: Option<Tick>,
    pub per_try: Option<Tick>,
    pub upstream: Option<Tick>,
    pub back_off: Option<Tick>,
    pub wake: Option<Tick>,
    /// Nanoseconds without a byte either way.
    pub idle_span: Option<u64>,
    /// Nanoseconds without a byte from or to the endpoint, while an attempt runs.
    pub per_try_idle_span: Option<u64>,
    moved: Tick,
    armed: Option<Tick>,
    slot: TimerSlot,
}

impl Deadlines {
    /// Something moved on the stream.
    pub fn touch(&mut self, now: Tick) {
        self.moved = now;
    }

    fn each(&self) -> [(Expired, Option<Tick>); 9] {
        let after = |span: Option<u64>| span.map(|span| self.moved + span);
        [
            (Expired::Duration, self.duration),
            (Expired::Route, self.route),
            (Expired::Request, self.request),
            (Expired::Idle, after(self.idle_span)),
            (Expired::PerTry, self.per_try),
            (Expired::PerTryIdle, after(self.per_try_idle_span)),
            (Expired::Upstream, self.upstream),
            (Expired::BackOff, self.back_off),
            (Expired::Wake, self.wake),
        ]
    }

    /// The nearest deadline.
    pub fn nearest(&self) -> Option<Tick> {
        // Without a branch for each: this is asked for with every event.
        let none = Tick(u64::MAX);
        let nearest = self.each().into_iter().map(|(_, at)| at.unwrap_or(none)).fold(none, Tick::min);
        (nearest != none).then_some(nearest)
    }

    /// What has run out by now.
    pub fn expired(&self, now: Tick) -> Option<Expired> {
        self.each().into_iter().find(|(_, at)| at.is_some_and(|at| at <= now)).map(|(what, _)| what)
    }

    /// The attempt has its answer, or is over: what limited it alone goes.
    pub fn end_of_try(&mut self) {
        self.per_try = None;
        self.per_try_idle_span = None;
    }

    /// The timer has fired: it is not armed any more.
    pub fn fired(&mut self) {
        self.armed = None;
        self.slot = TimerSlot::default();
    }

    /// Sees to it that the timer fires no later than the nearest deadline.
    pub fn arm<P: Port>(&mut self, port: &mut P, owner: Owner) {
        let nearest = self.nearest();
        let late = match (nearest, self.armed) {
            (Some(nearest), Some(armed)) => nearest < armed,
            (nearest, _) => nearest.is_some(),
        };
        if late {
            self.armed = nearest;
            port.arm(&mut self.slot, owner, nearest);
        }
    }

    /// The owner is over.
    pub fn disarm<P: Port>(&mut self, port: &mut P, owner: Owner) {
        if self.armed.take().is_some() {
            port.arm(&mut self.slot, owner, None);
        }
    }
}
