//! What the exchanges of a worker share, and what they leave for each other to do.
//!
//! An exchange never touches another: it leaves a `Todo`, and `Streams` carries those out, one after another, before it
//! returns to the reactor.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::exchange::Errand;
use super::head::DateText;
use super::origin::{Caller, Failure};
use super::port::Port;
use crate::bytes::is_same;
use crate::filter::{CallRequest, Instances, Token};
use crate::message::{HeaderBlock, Key, RequestHead, ResponseFlags, ResponseHead, Tick};
use crate::plan::LocalWorkload;
use crate::snapshot::Snapshot;
use crate::upstream::{Cluster, Pools, Seats};

/// A worker's own, beside its exchanges.
pub struct Shared {
    pub seats: Seats,
    pub pools: Pools,
    pub instances: Instances,
    pub found: Found,
    pub todo: VecDeque<Todo>,
    /// Answers to filters' calls, left here by their callers.
    pub answers: Answers,
    pub date: DateText,
    pub own: Own,
    /// What surely was not processed is sent again, routes' retries apart.
    pub resends: bool,
}

/// Clusters of the present snapshot that were found last, each at a place that its name's address gives: routes keep their names where
/// they are. To compare a name costs less than to hash it. Emptied with each snapshot, and each second, so that nothing lives on here.
#[derive(Debug, Default)]
pub struct Found([Option<Arc<Cluster>>; 16]);

impl Found {
    /// As `Snapshot::cluster`, of the snapshot that is in force.
    pub fn cluster(&mut self, snapshot: &Snapshot, name: &str) -> Option<&Arc<Cluster>> {
        // Memory is given out in pieces of sixteen bytes.
        let place = name.as_ptr().addr() / 16 % self.0.len();
        let place = self.0.get_mut(place)?;
        let is_known = |known: &Arc<Cluster>| is_same(known.name().as_bytes(), name.as_bytes());
        if !place.as_ref().is_some_and(is_known) {
            *place = snapshot.cluster(name).cloned();
        }
        place.as_ref()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Who we are.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Our identity's URI, empty if we have none.
    pub principal: String,
    /// Our `x-envoy-peer-metadata` and `-id`; empty if there is nothing to tell.
    pub metadata: String,
    pub metadata_id: String,
    /// Name and cluster of our node, for `add_user_agent`.
    pub node: (String, String),
}

impl Own {
    pub fn new(workload: &LocalWorkload) -> Self {
        if workload.name.is_empty() {
            return Self { principal: workload.principal.clone(), ..Self::default() };
        }
        Self {
            principal: workload.principal.clone(),
            metadata: super::head::peer_metadata::encode(workload),
            metadata_id: format!("sidecar~~{}.{}~", workload.name, workload.namespace),
            ..Self::default()
        }
    }
}

/// What is to be done beside the exchange at hand.
#[derive(Debug)]
pub enum Todo {
    /// Start an engine-born exchange that nobody waits for, and give it the body of `parent`.
    /// `body`: what has come of it; `end`: that is all.
    Mirror { parent: Key, head: Box<RequestHead>, errand: Errand, body: Vec<u8>, end: bool },
    /// A filter asks a cluster.
    Call(CallRequest),
}

/// What became of a filter's call.
#[derive(Debug)]
pub struct FilterAnswer {
    pub token: Token,
    pub result: Result<Collected, ResponseFlags>,
}

/// A whole response.
#[derive(Debug, Default)]
pub struct Collected {
    pub head: ResponseHead,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderBlock>,
}

pub type Answers = Rc<RefCell<VecDeque<FilterAnswer>>>;

/// An exchange's view of its worker, for one event.
pub struct Turn<'a, P: Port> {
    pub port: &'a mut P,
    pub shared: &'a mut Shared,
    /// What came with the head at hand.
    pub whole: Whole<'a>,
}

/// The body that came with a head and is the end of its message, until somebody takes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whole<'a> {
    pub body: &'a [u8],
    pub is_response: bool,
    /// It may go on its way with its head: no filter looks at it.
    pub goes_along: bool,
}

impl<'a> Whole<'a> {
    pub fn request(body: &'a [u8]) -> Self {
        Self { body, ..Self::default() }
    }

    pub fn response(body: &'a [u8]) -> Self {
        Self { body, is_response: true, goes_along: false }
    }

    pub fn of_request(&self) -> &'a [u8] {
        if self.is_response { &[] } else { self.body }
    }

    pub fn take(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.body)
    }

    /// Takes it for the head that goes out now, a response's or a request's.
    pub fn take_along(&mut self, is_response: bool) -> &'a [u8] {
        if self.goes_along && self.is_response == is_response { self.take() } else { &[] }
    }
}

impl<'a, P: Port> Turn<'a, P> {
    pub fn new(port: &'a mut P, shared: &'a mut Shared) -> Self {
        Self { port, shared, whole: Whole::default() }
    }

    pub fn now(&self) -> Tick {
        self.port.now()
    }
}

impl Shared {
    pub fn new(workers: u32, seed: u64, workload: &LocalWorkload) -> Self {
        Self {
            seats: Seats::new(workers, seed),
            pools: Pools::default(),
            instances: Instances::default(),
            found: Found::default(),
            todo: VecDeque::new(),
            answers: Answers::default(),
            date: DateText::default(),
            own: Own::new(workload),
            resends: true,
        }
    }

    /// Nobody has left anything to do.
    pub fn is_quiet(&self) -> bool {
        self.todo.is_empty() && !self.pools.has_steps() && self.answers.borrow().is_empty()
    }

    pub fn call_for_filter(&mut self, call: CallRequest) {
        self.todo.push_back(Todo::Call(call));
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("pools", &self.pools)
            .field("todo", &self.todo)
            .finish_non_exhaustive()
    }
}

/// Bytes of an answer to a filter; a longer one counts as failed.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// Collects the answer to a filter's call.
#[derive(Debug)]
pub struct FilterCaller {
    token: Token,
    collected: Option<Collected>,
    answers: Answers,
}

impl FilterCaller {
    pub fn new(token: Token, answers: &Answers) -> Self {
        Self { token, collected: Some(Collected::default()), answers: Rc::clone(answers) }
    }

    fn finish(&mut self, flags: Option<ResponseFlags>) {
        let Some(collected) = self.collected.take() else { return };
        let result = flags.map_or(Ok(collected), Err);
        self.answers.borrow_mut().push_back(FilterAnswer { token: self.token, result });
    }
}

impl Caller for FilterCaller {
    fn head(&mut self, _: &mut dyn Port, head: &ResponseHead, end: bool) {
        if let Some(collected) = &mut self.collected {
            collected.head = head.clone();
        }
        if end {
            self.finish(None);
        }
    }

    fn data(&mut self, _: &mut dyn Port, bytes: &[u8], end: bool) -> usize {
        let fits = self.collected.as_mut().is_some_and(|collected| {
            let fits = collected.body.len() + bytes.len() <= ANSWER_LIMIT;
            if fits {
                collected.body.extend_from_slice(bytes);
            }
            fits
        });
        if !fits {
            self.finish(Some(ResponseFlags::default()));
        } else if end {
            self.finish(None);
        }
        bytes.len()
    }

    fn trailers(&mut self, _: &mut dyn Port, trailers: &HeaderBlock) {
        if let Some(collected) = &mut self.collected {
            collected.trailers = Some(trailers.clone());
        }
        self.finish(None);
    }

    fn failed(&mut self, _: &mut dyn Port, failure: &Failure) {
        self.finish(Some(failure.flags));
    }
}

/// Names a cluster for an errand.
pub fn errand(cluster: &str, timeout: Option<u64>) -> Errand {
    Errand { timeout, ..Errand::to(cluster) }
}
