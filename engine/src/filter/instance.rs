//! A worker's filters of one chain, and a run of them for an event.
//!
//! Invariant: an event passes filters in the chain's order if it goes to the endpoint, in reverse if it goes to the client; only those
//! that want it are asked, and none that the route's settings switch off. Where a run stopped is a [`Step`], from where it goes on a
//! [`Run`].

use std::rc::Rc;
use std::sync::Arc;

use super::context::{Context, Direction};
use super::contract::{Answer, Data, HttpFilter, LocalReply, Verdict, Wants};
use super::registry::SwitchedOff;
use super::state::{StateSlot, States};
use crate::message::{HeaderBlock, RequestHead, ResponseHead};
use crate::telemetry::Facts;

/// Where a run of the chain has come to.
#[derive(Debug)]
pub enum Step {
    /// Past the last filter: the event goes on its way.
    Done,
    /// Filter `at` holds this direction; go on from `Run::after(at)` when it resumes. `collect`: it wants the whole body, and
    /// then the data callback (`Run::from(at)`).
    Paused {
        at: usize,
        collect: bool,
    },
    Replied {
        at: usize,
        reply: Box<LocalReply>,
    },
    /// Decide the route anew, then go on from `Run::after(at)`.
    RefreshRoute {
        at: usize,
    },
}

/// From where on the filters run: all, one and those behind it, or those behind one. Behind means nearer to the endpoint for
/// requests, nearer to the client for responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    All,
    From(usize),
    After(usize),
}

impl Run {
    fn includes(self, filter: usize, direction: Direction) -> bool {
        match (self, direction) {
            (Self::All, _) => true,
            (Self::From(at), Direction::Request) => filter >= at,
            (Self::After(at), Direction::Request) => filter > at,
            (Self::From(at), Direction::Response) => filter <= at,
            (Self::After(at), Direction::Response) => filter < at,
        }
    }
}

/// A filter's instance in its place.
pub(super) struct Placed {
    pub name: Arc<str>,
    pub disabled: bool,
    pub filter: Rc<dyn HttpFilter>,
}

/// A worker's filters of one chain. Each list has the indices that want that callback, in the order of their turn.
pub struct Instance {
    filters: Box<[Placed]>,
    request_head: Box<[u16]>,
    request_data: Box<[u16]>,
    request_trailers: Box<[u16]>,
    response_head: Box<[u16]>,
    /// Some of those who want heads of responses want every one.
    wants_all_response_heads: bool,
    response_data: Box<[u16]>,
    response_trailers: Box<[u16]>,
    finish: Box<[u16]>,
}

impl Instance {
    /// `filters`: each in its place, with the callbacks that it wants.
    pub(super) fn new(filters: impl Iterator<Item = (Placed, Wants)>) -> Self {
        let (filters, wants): (Vec<_>, Vec<_>) = filters.unzip();
        let forward = |wanted: Wants| -> Box<[u16]> {
            let meets = |(_, wants): &(usize, &Wants)| wants.meets(wanted);
            wants.iter().enumerate().filter(meets).map(|(index, _)| index as u16).collect()
        };
        let backward = |wanted: Wants| forward(wanted).iter().rev().copied().collect();
        Self {
            filters: filters.into(),
            request_head: forward(Wants::REQUEST_HEAD),
            request_data: forward(Wants::REQUEST_DATA),
            request_trailers: forward(Wants::REQUEST_TRAILERS),
            response_head: backward(Wants::RESPONSE_HEAD.and(Wants::RESPONSE_HEAD_IF_STATE)),
            wants_all_response_heads: !forward(Wants::RESPONSE_HEAD).is_empty(),
            response_data: backward(Wants::RESPONSE_DATA),
            response_trailers: backward(Wants::RESPONSE_TRAILERS),
            finish: forward(Wants::FINISH),
        }
    }

    /// Whether anyone looks at heads of requests: if not, they need not come by here.
    pub fn wants_request_head(&self) -> bool {
        !self.request_head.is_empty()
    }

    /// Whether anyone looks at the head of this response, by what the filters have left.
    pub fn wants_response_head(&self, states: &States) -> bool {
        self.wants_all_response_heads || !self.response_head.is_empty() && !states.is_empty()
    }

    pub fn wants_finish(&self) -> bool {
        !self.finish.is_empty()
    }

    /// Whether anyone looks at bodies.
    pub fn wants_request_data(&self) -> bool {
        !self.request_data.is_empty()
    }

    pub fn wants_response_data(&self) -> bool {
        !self.response_data.is_empty()
    }

    pub fn request_head(
        &self,
        run: Run,
        context: &mut Context<'_>,
        states: &mut States,
        head: &mut RequestHead,
        end: bool,
    ) -> Step {
        self.run(run, Direction::Request, &self.request_head, context, states, |filter, context, state| {
            filter.on_request_head(context, state, head, end)
        })
    }

    pub fn request_data(
        &self,
        run: Run,
        context: &mut Context<'_>,
        states: &mut States,
        data: &mut Data<'_>,
        end: bool,
    ) -> Step {
        self.run(run, Direction::Request, &self.request_data, context, states, |filter, context, state| {
            filter.on_request_data(context, state, data, end)
        })
    }

    pub fn request_trailers(
        &self,
        run: Run,
        context: &mut Context<'_>,
        states: &mut States,
        trailers: &mut HeaderBlock,
    ) -> Step {
        self.run(
            run,
            Direction::Request,
            &self.request_trailers,
            context,
            states,
            |filter, context, state| filter.on_request_trailers(context, state, trailers),
        )
    }

    pub fn response_head(
        &self,
        run: Run,
        context: &mut Context<'_>,
        states: &mut States,
        head: &mut ResponseHead,
        end: bool,
    ) -> Step {
        self.run(run, Direction::Response, &self.response_head, context, states, |filter, context, state| {
            filter.on_response_head(context, state, head, end)
        })
    }

    pub fn response_data(
        &self,
        run: Run,
        context: &mut Context<'_>,
        states: &mut States,
        data: &mut Data<'_>,
        end: bool,
    ) -> Step {
        self.run(run, Direction::Response, &self.response_data, context, states, |filter, context, state| {
            filter.on_response_data(context, state, data, end)
        })
    }

    pub fn response_trailers(
        &self,
        run: Run,
        context: &mut Context<'_>,
        states: &mut States,
        trailers: &mut HeaderBlock,
    ) -> Step {
        self.run(
            run,
            Direction::Response,
            &self.response_trailers,
            context,
            states,
            |filter, context, state| filter.on_response_trailers(context, state, trailers),
        )
    }

    /// The answer to a call of filter `at`. `Step::Done`: the direction may go on from `Run::After(at)`.
    pub fn answer(
        &self,
        at: usize,
        direction: Direction,
        context: &mut Context<'_>,
        states: &mut States,
        head: &mut RequestHead,
        answer: &Answer<'_>,
    ) -> Step {
        self.one(at, direction, context, states, |filter, context, state| {
            filter.on_answer(context, state, head, answer)
        })
    }

    /// The wake-up that filter `at` asked for; as `answer`.
    pub fn wake(
        &self,
        at: usize,
        direction: Direction,
        context: &mut Context<'_>,
        states: &mut States,
        head: &mut RequestHead,
    ) -> Step {
        self.one(at, direction, context, states, |filter, context, state| {
            filter.on_wake(context, state, head)
        })
    }

    /// The exchange is over.
    pub fn finish(&self, context: &mut Context<'_>, states: &mut States, facts: &Facts<'_>) {
        for &index in &self.finish {
            self.one(usize::from(index), Direction::Request, context, states, |filter, context, state| {
                filter.on_finish(context, state, facts);
                Verdict::Continue
            });
        }
    }

    fn one(
        &self,
        at: usize,
        direction: Direction,
        context: &mut Context<'_>,
        states: &mut States,
        call: impl FnMut(&dyn HttpFilter, &mut Context<'_>, &mut StateSlot) -> Verdict,
    ) -> Step {
        self.run(Run::All, direction, &[at as u16], context, states, call)
    }

    fn run(
        &self,
        run: Run,
        direction: Direction,
        turns: &[u16],
        context: &mut Context<'_>,
        states: &mut States,
        mut call: impl FnMut(&dyn HttpFilter, &mut Context<'_>, &mut StateSlot) -> Verdict,
    ) -> Step {
        for &index in turns {
            let at = usize::from(index);
            let Some(placed) = self.filters.get(at).filter(|_| run.includes(at, direction)) else { continue };
            let effective =
                if context.overrides.is_empty() { None } else { context.overrides.get(&placed.name) };
            let is_off = match effective {
                Some(made) => made.is::<SwitchedOff>(),
                None => placed.disabled,
            };
            if is_off {
                continue;
            }
            (context.effective, context.filter, context.direction) = (effective, index, direction);
            context.name = effective.map(|_| Arc::clone(&placed.name));
            match states.with(at, |state| call(placed.filter.as_ref(), context, state)) {
                Verdict::Continue if std::mem::take(&mut context.refresh_route) => {
                    return Step::RefreshRoute { at };
                }
                Verdict::Continue => {}
                Verdict::Pause => return Step::Paused { at, collect: false },
                Verdict::Collect => return Step::Paused { at, collect: true },
                Verdict::Reply(reply) => return Step::Replied { at, reply },
            }
        }
        Step::Done
    }
}
