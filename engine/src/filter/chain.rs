//! A chain of filters: compiled once for all workers, an instance per worker, a run per event.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use super::context::{Context, Direction};
use super::contract::{Answer, Data, HttpFilter, HttpFilterFactory, LocalReply, Verdict, Wants};
use super::registry::{Registry, SwitchedOff};
use super::state::{StateSlot, States};
use crate::message::{HeaderBlock, RequestHead, ResponseHead};
use crate::plan::{self, PlanError};
use crate::telemetry::Facts;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The filters of a connection manager, as a snapshot holds them.
pub struct Chain {
    id: u64,
    filters: Box<[Member]>,
}

struct Member {
    name: Arc<str>,
    disabled: bool,
    wants: Wants,
    factory: Arc<dyn HttpFilterFactory>,
}

impl Chain {
    /// `scope`: where the chain stands (listener and filter chain), the same as long as that place exists. Filters may share
    /// a name, as Istio's two of RBAC do: a route's settings by that name are for all of them, what they remember is not.
    pub fn compile(
        plans: &[plan::HttpFilter],
        scope: &str,
        registry: &Registry,
    ) -> Result<Arc<Self>, PlanError> {
        let mut filters: Vec<Member> = Vec::with_capacity(plans.len());
        for (index, plan) in plans.iter().enumerate() {
            let path = format!("filters[{index}]");
            let twins = filters.iter().filter(|other| *other.name == *plan.name).count();
            let scope =
                if twins == 0 { Cow::Borrowed(scope) } else { Cow::Owned(format!("{scope}#{twins}")) };
            let (wants, factory) = registry
                .http(&scope, &plan.name, &plan.config)
                .map_err(|problem| problem.within("config").within(&path))?;
            let name = Arc::from(plan.name.as_str());
            filters.push(Member { name, disabled: plan.disabled, wants, factory });
        }
        Ok(Arc::new(Self { id: NEXT.fetch_add(1, Relaxed), filters: filters.into() }))
    }

    /// Filters that no plan names, for tests of the contract and of those who run chains.
    #[cfg(test)]
    pub(crate) fn of(filters: Vec<(&str, Wants, Arc<dyn HttpFilterFactory>)>) -> Arc<Self> {
        let member =
            |(name, wants, factory)| Member { name: Arc::from(name), disabled: false, wants, factory };
        let id = u64::MAX - NEXT.fetch_add(1, Relaxed);
        Arc::new(Self { id, filters: filters.into_iter().map(member).collect() })
    }

    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// For pages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| &*filter.name)
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.filters.iter().map(|filter| &filter.name)).finish()
    }
}

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
struct Placed {
    name: Arc<str>,
    disabled: bool,
    filter: Rc<dyn HttpFilter>,
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
    fn new(chain: &Chain, filters: Box<[Placed]>) -> Self {
        let forward = |wanted: Wants| -> Box<[u16]> {
            let wants = |(_, member): &(usize, &Member)| member.wants.meets(wanted);
            chain.filters.iter().enumerate().filter(wants).map(|(index, _)| index as u16).collect()
        };
        let backward = |wanted: Wants| forward(wanted).iter().rev().copied().collect();
        Self {
            filters,
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
                Verdict::Continue if std::mem::take(&mut context.wishes.refresh_route) => {
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

/// A filter's instance, with what it was made by.
type Made = (Arc<dyn HttpFilterFactory>, Rc<dyn HttpFilter>);

/// A worker's instances, by chain. A filter whose configuration did not change keeps its instance when the chain around it does.
#[derive(Default)]
pub struct Instances {
    by_chain: HashMap<u64, (Weak<Chain>, Rc<Instance>)>,
    /// By the factory's address, which the factory held here keeps from being used again.
    by_factory: HashMap<usize, Made>,
    tidy_at: usize,
}

impl Instances {
    pub fn of(&mut self, chain: &Arc<Chain>) -> Rc<Instance> {
        if let Some((_, found)) = self.by_chain.get(&chain.id) {
            return Rc::clone(found);
        }
        let filters = chain.filters.iter().map(|member| Placed {
            name: Arc::clone(&member.name),
            disabled: member.disabled,
            filter: self.instance(&member.factory),
        });
        let made = Rc::new(Instance::new(chain, filters.collect()));
        self.by_chain.insert(chain.id, (Arc::downgrade(chain), Rc::clone(&made)));
        if self.by_chain.len() >= self.tidy_at {
            self.tidy();
        }
        made
    }

    fn instance(&mut self, factory: &Arc<dyn HttpFilterFactory>) -> Rc<dyn HttpFilter> {
        let key = Arc::as_ptr(factory).cast::<()>() as usize;
        let make = || (Arc::clone(factory), Arc::clone(factory).instance());
        Rc::clone(&self.by_factory.entry(key).or_insert_with(make).1)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.by_chain.len() + self.by_factory.len()
    }

    /// Forgets what no snapshot holds any more; amortised by waiting until twice as many chains are known.
    fn tidy(&mut self) {
        self.by_chain.retain(|_, (chain, _)| chain.strong_count() > 0);
        self.by_factory.retain(|_, (_, filter)| Rc::strong_count(filter) > 1);
        self.tidy_at = 2 * self.by_chain.len().max(8);
    }
}
