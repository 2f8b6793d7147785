//! The end of an exchange: the one place that takes it out, and records it.

use std::rc::Rc;

use super::Streams;
use super::binding::Binding;
use super::exchange::Exchange;
use super::notes::Notes;
use super::origin::Origin;
use super::port::Port;
use super::shared::{Shared, Turn};
use super::site::{HttpSite, Site};
use crate::filter::Context;
use crate::message::{Key, Protocol, ResetReason, ResponseFlags};
use crate::telemetry::{HttpCounter, Reporter, class_of};

impl Streams {
    /// Takes the exchange out of the slab. Whatever ended it, it passes here, once.
    pub(super) fn finish<P: Port>(&mut self, port: &mut P, key: Key) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        end(exchange, port, &mut self.shared);
        self.exchanges.discard(key);
    }

    /// A request that the codec answered by itself: nobody saw it, but it counts and is logged. With status 0 there was no
    /// answer, since it was no request that was understood: it is only logged.
    pub(super) fn log_unseen<P: Port>(
        &mut self,
        port: &mut P,
        site: &Rc<Site>,
        protocol: Protocol,
        status: u16,
        what: &'static str,
    ) {
        let mut notes = Notes::new(protocol, port.now(), port.wall());
        notes.status = status;
        notes.flags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
        notes.details = what.replace(' ', "_").into();
        let facts = notes.facts(site, None, None);
        if status > 0 {
            port.recorder().record(&facts);
        }
        if let Some(chain) = site.chain_ref() {
            port.log(chain, &facts);
        }
    }
}

fn end<P: Port>(exchange: &mut Exchange, port: &mut P, shared: &mut Shared) {
    if exchange.attempt.as_ref().is_some_and(|attempt| !attempt.is_over()) {
        exchange.drop_attempt(&mut Turn::new(port, shared), ResetReason::Cancelled);
    }
    exchange.notes.moments.ended = port.clock();
    if let Origin::Client { connection, stream } = exchange.origin {
        if (!exchange.up.is_complete() || exchange.request.one_way) && !exchange.origin_gone {
            // The response is whole, the rest of the request is not wanted (HTTP/1 lingers by itself). Or there is no response,
            // and the codec cannot see that the call is over.
            exchange.origin.reset(port, ResetReason::NoError);
        }
        let now = port.now();
        if let Some(Binding::Downstream(bound)) = port.binding(connection) {
            bound.streams.remove(stream);
            if bound.streams.is_empty() {
                bound.idle_since = now;
            }
        }
    }
    let site = Rc::clone(&exchange.site);
    let Some(http) = &site.http else { return };
    http.counters.decrement(HttpCounter::RqActive);
    http.counters.increment(HttpCounter::RqCompleted);
    if exchange.notes.status > 0 {
        http.counters.increment(class_of(exchange.notes.status).1);
    }
    if exchange.notes.flags.contains(ResponseFlags::DOWNSTREAM_REMOTE_RESET) {
        http.counters.increment(HttpCounter::RqRxReset);
    }
    let is_told = site.reporter != Reporter::None
        || !http.manager.access_logs.is_empty()
        || http.filters.wants_finish();
    if is_told {
        tell(exchange, port, &site, http);
    }
}

/// Filters, metrics and logs learn how it went.
fn tell<P: Port>(exchange: &mut Exchange, port: &mut P, site: &Site, http: &HttpSite) {
    let mut facts = exchange.notes.facts(site, Some(&exchange.request), exchange.response.as_deref());
    facts.trailers = exchange.down.trailers();
    if http.filters.wants_finish() {
        let (now, wall, random) = (port.now(), port.wall(), port.random());
        let overrides = exchange.notes.decision.overrides();
        let mut context =
            Context::new(exchange.key, now, wall, random, &site.peer, overrides, &http.counters, &facts);
        context.client = exchange.notes.client;
        context.route = exchange.notes.decision.route().map(AsRef::as_ref);
        http.filters.finish(&mut context, &mut exchange.states, &facts);
    }
    port.recorder().record(&facts);
    if let Some(chain) = site.chain_ref() {
        port.log(chain, &facts);
    }
}
