//! All that a filter may know and ask for.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use super::remembered::Remembered;
use crate::message::{Key, Peer, RequestHead, Tick};
use crate::route::{CompiledRoute, Override, Overrides};
use crate::telemetry::log_format::Source;
use crate::telemetry::{Group, HttpCounter};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Request,
    Response,
}

/// Finds a filter of an exchange again, as long as there is that exchange: a late answer finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    pub exchange: Key,
    pub filter: u16,
    pub direction: Direction,
}

/// A request that a filter asks the exchange to make (an engine-born exchange); the answer comes to `on_answer`.
#[derive(Debug)]
pub struct CallRequest {
    pub cluster: String,
    pub head: Box<RequestHead>,
    pub body: Vec<u8>,
    /// The answer fails after this moment.
    pub deadline: Tick,
    pub token: Token,
}

/// What filters asked for in a run; the exchange empties it.
#[derive(Debug, Default)]
pub struct Wishes {
    pub calls: Vec<CallRequest>,
    /// Each filter has one wake-up; a later wish moves it. Filters that resume themselves from outside of a callback hand their token to
    /// the exchange's `resume`.
    pub wakes: Vec<(Token, Tick)>,
}

/// Built by the exchange for each run of the chain.
pub struct Context<'a> {
    pub exchange: Key,
    pub now: Tick,
    /// Wall clock, nanoseconds since the epoch.
    pub wall: u64,
    pub peer: &'a Peer,
    /// The client's address as trusted hops forwarded it.
    pub client: Option<SocketAddr>,
    pub route: Option<&'a CompiledRoute>,
    /// Of the peer's connection.
    pub remembered: Option<&'a Remembered>,
    /// `Decision::overrides`.
    pub overrides: &'a Overrides,
    /// Of the connection manager.
    pub counters: &'a Group<HttpCounter>,
    /// Answers command operators about the exchange.
    pub source: &'a dyn Source,
    /// Hardly a run leaves any.
    pub wishes: Option<Box<Wishes>>,
    /// The route is to be decided again: the step tells.
    pub(super) refresh_route: bool,
    random: u64,
    /// Of the calling filter, where the route says something for it.
    pub(super) name: Option<Arc<str>>,
    pub(super) effective: Option<&'a Override>,
    pub(super) filter: u16,
    pub(super) direction: Direction,
}

impl<'a> Context<'a> {
    /// `random`: a fresh number; filters get others made from it.
    #[allow(clippy::too_many_arguments)] // The exchange names each once; a builder would hide nothing.
    pub fn new(
        exchange: Key,
        now: Tick,
        wall: u64,
        random: u64,
        peer: &'a Peer,
        overrides: &'a Overrides,
        counters: &'a Group<HttpCounter>,
        source: &'a dyn Source,
    ) -> Self {
        Self {
            exchange,
            now,
            wall,
            peer,
            client: peer.remote,
            route: None,
            remembered: None,
            overrides,
            counters,
            source,
            wishes: None,
            refresh_route: false,
            random,
            name: None,
            effective: None,
            filter: 0,
            direction: Direction::Request,
        }
    }

    /// The route's configuration for this filter (the most specific), if it has one of that type.
    pub fn config<T: Any + Send + Sync>(&self) -> Option<&'a T> {
        self.effective.and_then(|made| made.downcast_ref())
    }

    /// Every level's configuration of that type for this filter, the most specific first.
    pub fn configs<T: Any + Send + Sync>(&self) -> impl DoubleEndedIterator<Item = &'a T> {
        let name = self.name.clone();
        name.into_iter().flat_map(|name| self.overrides.all(name)).filter_map(|made| made.downcast_ref())
    }

    /// A fresh random number.
    pub fn random(&mut self) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Finds the calling filter, in the direction of this callback, again.
    pub fn token(&self) -> Token {
        Token { exchange: self.exchange, filter: self.filter, direction: self.direction }
    }

    /// Asks a cluster; a filter that needs the answer returns `Pause`.
    pub fn call(&mut self, cluster: &str, head: Box<RequestHead>, body: Vec<u8>, deadline: Tick) {
        let token = self.token();
        let call = CallRequest { cluster: cluster.to_owned(), head, body, deadline, token };
        self.wishes.get_or_insert_default().calls.push(call);
    }

    pub fn wake_at(&mut self, moment: Tick) {
        let token = self.token();
        let wakes = &mut self.wishes.get_or_insert_default().wakes;
        wakes.retain(|(other, _)| *other != token);
        wakes.push((token, moment));
    }

    /// Has the route decided again before the next filter, since this one changed what it is decided from.
    pub fn refresh_route(&mut self) {
        self.refresh_route = true;
    }
}
