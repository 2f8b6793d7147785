//! One request with its response, whatever the protocol: the state, and what moves it.
//!
//! In: events of the asking side and of the attempt's stream, timers, answers to filters. Out: commands. The phases go one
//! way, `Deciding → Connecting → Sending → Answered → Finished`, but for a retry, which goes back from `Sending` to
//! `Connecting`; each direction has its own `Stage`. `request`, `response`, `attempt`, `reply` and `expiry` hold the actions,
//! by what they are about. Invariant: an exchange that is `Finished` does nothing more; `Streams` takes it out and records it.

use std::rc::Rc;
use std::sync::Arc;

use super::attempt::{Attempt, Tries};
use super::direction::{Direction, Stage};
use super::notes::Notes;
use super::origin::Origin;
use super::port::Port;
use super::shared::Turn;
use super::site::Site;
use super::timeouts::{Deadlines, Limit};
use crate::codec::Framed;
use crate::filter::{States, Token, Wishes};
use crate::message::{Kept, Key, RequestHead, ResetReason, ResponseHead, Tick};
use crate::upstream::{Cluster, Endpoint, Priority};

/// How far the exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Filters look at the request's head.
    Deciding,
    /// An attempt waits for a connection, or for its time.
    Connecting,
    /// The request is on its way, no response head has come.
    Sending,
    /// A response, theirs or ours, is on its way down.
    Answered,
    Finished,
}

/// What an engine-born exchange has instead of a route.
#[derive(Debug, Clone)]
pub struct Errand {
    pub cluster: Arc<str>,
    /// Nanoseconds for the whole; `None` = no limit.
    pub timeout: Option<u64>,
    /// A health probe: this endpoint and no other, whatever its health; breakers, counters and outlier detection are passed by.
    pub pinned: Option<(Arc<Cluster>, Arc<Endpoint>)>,
    /// Of a pinned errand: by HTTP/2, whatever the cluster's protocol.
    pub http2: bool,
    /// The framed protocol that the request is of.
    pub rpc: Option<Framed>,
}

impl Errand {
    /// To a cluster of the snapshot, without a limit.
    pub fn to(cluster: &str) -> Self {
        Self { cluster: cluster.into(), timeout: None, pinned: None, http2: false, rpc: None }
    }
}

/// What few exchanges have: apart, so that the others need not carry the room for it.
#[derive(Debug, Default)]
pub struct Rare {
    /// Of an engine-born one.
    pub errand: Option<Errand>,
    /// Redirects followed here.
    pub redirects: u32,
    /// When filters want to be woken.
    pub wakes: Vec<(Token, Tick)>,
    /// Engine-born exchanges that get the same body.
    pub mirrors: Vec<Key>,
}

/// One request with its response.
#[derive(Debug)]
pub struct Exchange {
    pub key: Key,
    pub origin: Origin,
    pub site: Rc<Site>,
    pub phase: Phase,
    pub request: Kept<RequestHead>,
    pub response: Option<Kept<ResponseHead>>,
    /// The request's body.
    pub up: Direction,
    /// The response's body.
    pub down: Direction,
    /// The response's head has been sent.
    pub head_sent: bool,
    /// Both directions carry raw bytes (after 101, or 2xx to CONNECT).
    pub is_tunnel: bool,
    /// The asking side is gone: nothing is sent to it.
    pub origin_gone: bool,
    pub priority: Priority,
    pub attempt: Option<Attempt>,
    pub tries: Tries,
    pub notes: Notes,
    pub states: States,
    pub deadlines: Deadlines,
    /// What few exchanges have.
    pub rare: Option<Box<Rare>>,
}

impl Exchange {
    /// Inlined where it goes into its slab, so that it is written there once.
    #[inline]
    pub fn new(
        key: Key,
        origin: Origin,
        site: Rc<Site>,
        request: Box<RequestHead>,
        now: Tick,
        wall: u64,
    ) -> Self {
        let mut notes = Notes::new(request.protocol, now, wall);
        notes.received_headers = request.headers.bytes() as u64;
        Self {
            key,
            origin,
            site,
            phase: Phase::Deciding,
            request: request.into(),
            response: None,
            up: Direction::open(),
            down: Direction::default(),
            head_sent: false,
            is_tunnel: false,
            origin_gone: false,
            priority: Priority::Default,
            attempt: None,
            tries: Tries::default(),
            notes,
            states: States::default(),
            deadlines: Deadlines::since(now),
            rare: None,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// What it is instead of a route's, if the engine asks.
    pub fn errand(&self) -> Option<&Errand> {
        self.rare.as_ref()?.errand.as_ref()
    }

    /// Nothing more is to be done.
    pub fn finish(&mut self) {
        self.phase = Phase::Finished;
    }

    /// Finishes when everything that was to be said has been.
    pub fn settle(&mut self) {
        let answered = self.head_sent && self.down.end_sent;
        if answered && (!self.is_tunnel || self.up.end_sent) {
            self.finish();
        }
    }

    /// The asking side has cancelled, or its connection is gone.
    #[cold]
    pub fn origin_reset<P: Port>(&mut self, turn: &mut Turn<'_, P>, reason: ResetReason) {
        use crate::message::ResponseFlags as Flags;
        if self.is_finished() {
            return;
        }
        self.origin_gone = true;
        if self.request.one_way && self.up.is_complete() {
            // It has said all, and expected nothing: it may leave before its call does.
            return;
        }
        let (flag, details) = match reason {
            ResetReason::ConnectionClosed => (Flags::DOWNSTREAM_TERMINATION, "downstream_remote_disconnect"),
            ResetReason::ProtocolError => (Flags::DOWNSTREAM_PROTOCOL_ERROR, "downstream_protocol_error"),
            _ => (Flags::DOWNSTREAM_REMOTE_RESET, "downstream_remote_reset"),
        };
        self.notes.flags.add(flag);
        self.note_details(details);
        self.up.stage = if self.up.is_complete() { Stage::Ended } else { Stage::Reset };
        self.drop_attempt(turn, ResetReason::Cancelled);
        self.finish();
    }

    /// Cuts the asking side off: what it has of the response is not whole.
    #[cold]
    pub fn cut<P: Port>(&mut self, turn: &mut Turn<'_, P>, reason: ResetReason) {
        self.drop_attempt(turn, ResetReason::Cancelled);
        if self.origin_gone || self.fail_caller(turn) {
            return self.finish();
        }
        self.origin.reset(turn.port, reason);
        self.origin_gone = true;
        self.finish();
    }

    /// The first details count: what came later came of it.
    pub fn note_details(&mut self, details: impl Into<std::borrow::Cow<'static, str>>) {
        if self.notes.details.is_empty() {
            self.notes.details = details.into();
        }
    }

    /// Carries out what filters asked for, but for another route, which `Step::RefreshRoute` says.
    #[inline]
    pub fn grant_wishes<P: Port>(&mut self, turn: &mut Turn<'_, P>, wishes: Option<Box<Wishes>>) {
        if let Some(wishes) = wishes {
            self.grant(turn, *wishes);
        }
    }

    #[cold]
    fn grant<P: Port>(&mut self, turn: &mut Turn<'_, P>, wishes: Wishes) {
        for call in wishes.calls {
            turn.shared.call_for_filter(call);
        }
        if wishes.wakes.is_empty() {
            return;
        }
        let wakes = &mut self.rare.get_or_insert_default().wakes;
        for (token, at) in wishes.wakes {
            wakes.retain(|(known, _)| (known.filter, known.direction) != (token.filter, token.direction));
            wakes.push((token, at));
        }
        let next = wakes.iter().map(|(_, at)| *at).min();
        self.deadlines.set(Limit::Wake, next);
    }

    pub fn touch(&mut self, now: Tick) {
        self.deadlines.touch(now);
    }
}
