//! The deadlines of an exchange, and the timer that looks at them.
//!
//! In: moments at which something began or moved. Out: what has run out. Only the nearest deadline is held against the timer, and it
//! may lie too early: a deadline that is moved away or dropped leaves it where it is, and the timer, when it fires, finds nothing
//! due and is armed anew. So activity costs a store. Invariant: nothing runs out before `nearest`.

use super::port::{Owner, Port, TimerSlot};
use crate::message::{Key, Tick};

/// What limits an exchange. In the order of precedence when several have run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The longest that the stream may live.
    Duration,
    /// The route's limit for request and response.
    Route,
    /// The connection manager's limit for receiving the request.
    Request,
    /// Without a byte either way.
    Idle,
    PerTry,
    /// Without a byte from or to the endpoint, while an attempt runs.
    PerTryIdle,
    /// The longest that a stream to the cluster may live.
    Upstream,
    /// Not a limit: the time has come to try again.
    BackOff,
    /// Not a limit: a filter wants to be woken.
    Wake,
}

/// No deadline: what never comes. An `Option` would take twice the room, of which a thousand calls under way have much.
const NEVER: Tick = Tick(u64::MAX);

/// The deadlines of one exchange.
#[derive(Debug)]
pub struct Deadlines {
    nearest: Tick,
    moved: Tick,
    duration: Tick,
    route: Tick,
    request: Tick,
    per_try: Tick,
    upstream: Tick,
    back_off: Tick,
    wake: Tick,
    /// Nanoseconds, `u64::MAX`: no limit.
    idle: u64,
    per_try_idle: u64,
}

impl Deadlines {
    /// None yet; the first movement is now.
    #[inline]
    pub fn since(now: Tick) -> Self {
        Self {
            nearest: NEVER,
            moved: now,
            duration: NEVER,
            route: NEVER,
            request: NEVER,
            per_try: NEVER,
            upstream: NEVER,
            back_off: NEVER,
            wake: NEVER,
            idle: u64::MAX,
            per_try_idle: u64::MAX,
        }
    }

    /// Something moved on the stream.
    pub fn touch(&mut self, now: Tick) {
        self.moved = now;
    }

    /// The limit is reached at that moment, or never. Not for `Idle` and `PerTryIdle`, which move with what comes and goes.
    pub fn set(&mut self, limit: Limit, at: Option<Tick>) {
        let at = at.unwrap_or(NEVER);
        match limit {
            Limit::Duration => self.duration = at,
            Limit::Route => self.route = at,
            Limit::Request => self.request = at,
            Limit::PerTry => self.per_try = at,
            Limit::Upstream => self.upstream = at,
            Limit::BackOff => self.back_off = at,
            Limit::Wake => self.wake = at,
            Limit::Idle | Limit::PerTryIdle => return,
        }
        self.nearest = self.nearest.min(at);
    }

    /// Nanoseconds without a byte either way.
    pub fn set_idle(&mut self, span: Option<u64>) {
        self.idle = span.unwrap_or(u64::MAX);
        self.nearest = self.nearest.min(self.moved + self.idle);
    }

    /// Nanoseconds without a byte from or to the endpoint.
    pub fn set_per_try_idle(&mut self, span: Option<u64>) {
        self.per_try_idle = span.unwrap_or(u64::MAX);
        self.nearest = self.nearest.min(self.moved + self.per_try_idle);
    }

    /// The route's limit, if its time runs.
    pub fn route(&self) -> Option<Tick> {
        Some(self.route).filter(|at| *at != NEVER)
    }

    fn each(&self) -> [(Limit, Tick); 9] {
        [
            (Limit::Duration, self.duration),
            (Limit::Route, self.route),
            (Limit::Request, self.request),
            (Limit::Idle, self.moved + self.idle),
            (Limit::PerTry, self.per_try),
            (Limit::PerTryIdle, self.moved + self.per_try_idle),
            (Limit::Upstream, self.upstream),
            (Limit::BackOff, self.back_off),
            (Limit::Wake, self.wake),
        ]
    }

    /// No deadline lies before this.
    pub fn nearest(&self) -> Tick {
        self.nearest
    }

    /// What has run out by now.
    pub fn expired(&self, now: Tick) -> Option<Limit> {
        self.each().into_iter().find(|(_, at)| *at <= now).map(|(what, _)| what)
    }

    /// The attempt has its answer, or is over: what limited it alone goes.
    pub fn end_of_try(&mut self) {
        (self.per_try, self.per_try_idle) = (NEVER, u64::MAX);
    }

    /// The timer has fired: it is armed anew for what is left.
    pub fn look_again(&mut self) {
        self.nearest = self.each().into_iter().map(|(_, at)| at).fold(NEVER, Tick::min);
    }
}

/// A timer and when it fires.
#[derive(Debug)]
pub struct Timer {
    /// `NEVER`: it is not armed.
    armed: Tick,
    slot: TimerSlot,
}

impl Default for Timer {
    fn default() -> Self {
        Self { armed: NEVER, slot: TimerSlot::default() }
    }
}

impl Timer {
    /// Sees to it that it fires no later than `nearest`.
    pub fn cover<P: Port>(&mut self, port: &mut P, owner: Owner, nearest: Tick) {
        if nearest < self.armed {
            self.armed = nearest;
            port.arm(&mut self.slot, owner, Some(nearest));
        }
    }

    /// It has fired: it is not armed any more.
    pub fn fired(&mut self) {
        *self = Self::default();
    }

    /// The owner is over.
    pub fn disarm<P: Port>(&mut self, port: &mut P, owner: Owner) {
        if self.armed != NEVER {
            port.arm(&mut self.slot, owner, None);
            *self = Self::default();
        }
    }
}

/// The timers of exchanges: one for each place in their slab, not one for each exchange.
///
/// Nearly all exchanges end long before any of their limits, and the next one takes the place. So the timer of a place stays
/// armed when its exchange ends, and the next finds it armed early enough: under load timers are armed once in a route's
/// timeout for each place, and not for each exchange. One that fires looks at whoever is there then, and is armed anew for what
/// limits that one; it finds nobody once for each place after a load has ended. Invariant: while an exchange with a limit is in a
/// place, the place's timer fires no later than the limit. As many as exchanges were ever under way at once, 24 bytes each.
#[derive(Debug, Default)]
pub struct Timers(Vec<Timer>);

impl Timers {
    /// The exchange is to be looked at no later than `nearest`.
    pub fn cover<P: Port>(&mut self, port: &mut P, exchange: Key, nearest: Tick) {
        let place = exchange.slot();
        if self.0.len() <= place as usize {
            self.0.resize_with(place as usize + 1, Timer::default);
        }
        if let Some(timer) = self.0.get_mut(place as usize) {
            timer.cover(port, Owner::Exchange(place), nearest);
        }
    }

    /// The timer of the place has fired.
    pub fn fired(&mut self, place: u32) {
        if let Some(timer) = self.0.get_mut(place as usize) {
            timer.fired();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTABLE: [Limit; 7] = [
        Limit::Duration,
        Limit::Route,
        Limit::Request,
        Limit::PerTry,
        Limit::Upstream,
        Limit::BackOff,
        Limit::Wake,
    ];

    #[derive(Debug, Clone)]
    enum Step {
        Set(usize, Option<u64>),
        Idle(Option<u64>),
        PerTryIdle(Option<u64>),
        Touch,
        EndOfTry,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let after = || proptest::option::of(0u64..1_000);
        let step = prop_oneof![
            (0..SETTABLE.len(), after()).prop_map(|(limit, after)| Step::Set(limit, after)),
            after().prop_map(Step::Idle),
            after().prop_map(Step::PerTryIdle),
            Just(Step::Touch),
            Just(Step::EndOfTry),
            (0u64..500).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Held against plain optional moments, of which all are looked at with every step.
        #[test]
        fn a_timer_that_follows_the_nearest_is_never_late(steps in steps()) {
            let mut now = Tick(0);
            let mut deadlines = Deadlines::since(now);
            let mut plain = [None::<Tick>; 7];
            let (mut moved, mut idle, mut per_try_idle) = (now, None::<u64>, None::<u64>);
            let mut armed = NEVER;
            for step in steps {
                match step {
                    Step::Set(limit, after) => {
                        let at = after.map(|after| now + after);
                        deadlines.set(SETTABLE[limit], at);
                        plain[limit] = at;
                    }
                    Step::Idle(span) => {
                        deadlines.set_idle(span);
                        idle = span;
                    }
                    Step::PerTryIdle(span) => {
                        deadlines.set_per_try_idle(span);
                        per_try_idle = span;
                    }
                    Step::Touch => {
                        deadlines.touch(now);
                        moved = now;
                    }
                    Step::EndOfTry => {
                        deadlines.end_of_try();
                        (plain[3], per_try_idle) = (None, None);
                    }
                    Step::Pass(time) => now = now + time,
                }
                armed = armed.min(deadlines.nearest());
                let spans = [idle, per_try_idle].into_iter().flatten().map(|span| moved + span);
                let due = plain.into_iter().flatten().chain(spans).min();
                prop_assert!(due.is_none_or(|due| armed <= due), "{armed:?} is later than {due:?}");
                prop_assert_eq!(deadlines.expired(now).is_some(), due.is_some_and(|due| due <= now));
                if armed <= now {
                    deadlines.look_again();
                    armed = deadlines.nearest();
                    prop_assert_eq!(Some(armed).filter(|at| *at != NEVER), due, "exact once looked at");
                }
            }
        }
    }
}
