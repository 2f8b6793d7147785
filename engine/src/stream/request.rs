//! The request on its way up: its head into form, the route, then head, body and trailers towards the attempt.

use std::rc::Rc;
use std::sync::LazyLock;

use super::direction::Stage;
use super::exchange::{Exchange, Phase};
use super::head::{self, Entrance, Received};
use super::origin::Origin;
use super::port::Port;
use super::reply::flagged;
use super::shared::{Own, Turn};
use super::site::HttpSite;
use super::timeouts::Limit;
use crate::codec::Framed;
use crate::codec::contract::Command;
use crate::filter::{LocalReply, Run};
use crate::message::{HeaderBlock, MILLISECOND, Name, NameId, NameSet, Protocol, ResetReason, ResponseFlags};
use crate::telemetry::HttpCounter;

static DOWNSTREAM_SERVICE_CLUSTER: LazyLock<Name> =
    LazyLock::new(|| Name::new("x-envoy-downstream-service-cluster"));
static DOWNSTREAM_SERVICE_NODE: LazyLock<Name> =
    LazyLock::new(|| Name::new("x-envoy-downstream-service-node"));

impl Exchange {
    /// A client's request has come. `end`: this is all of it, with the body that lies in the turn.
    pub fn begin<P: Port>(&mut self, turn: &mut Turn<'_, P>, end: bool) {
        if turn.whole.body.is_empty() {
            return self.begin_head(turn, end);
        }
        // Filters see a body when its head has gone on its way.
        turn.whole.goes_along =
            self.site.http.as_ref().is_some_and(|http| !http.filters.wants_request_data());
        self.begin_head(turn, false);
        let body = turn.whole.take();
        if !body.is_empty() {
            // It could not go with its head.
            self.up.take_ahead(body.len());
            self.request_data(turn, body, true);
        }
        self.hold_credit(turn);
    }

    fn begin_head<P: Port>(&mut self, turn: &mut Turn<'_, P>, end: bool) {
        let site = Rc::clone(&self.site);
        let Some(http) = &site.http else { return self.finish() };
        let now = turn.now();
        self.set_limits_of(http, now);
        if end {
            self.request_ended(turn);
        }
        if turn.port.refuses_exchanges() {
            http.counters.increment(HttpCounter::RqOverload);
            let mut reply = flagged(503, "envoy overloaded", "overload", ResponseFlags::OVERLOAD_MANAGER);
            reply.headers.push_id(NameId::X_ENVOY_LOCAL_OVERLOADED, b"true");
            return self.reply(turn, reply);
        }
        if self.request.method() == b"CONNECT" {
            return self.reply(turn, LocalReply::new(403, "", "upgrade_failed"));
        }
        let traced = http.manager.options.tracing.and_then(|_| http.manager.rpc_of(&self.request));
        let entrance = Entrance {
            trace: traced.and_then(Framed::trace),
            manager: &http.manager.options,
            peer: &site.peer,
            internal: &http.manager.internal_ranges,
            takes_http1_in_http2: site.takes_http1_in_http2(),
            own: site.peer.own_uri.as_deref().unwrap_or(&turn.shared.own.principal),
        };
        match head::receive(entrance, &mut self.request, || turn.port.random()) {
            Received::Refused(status, details) => {
                return self.reply(turn, LocalReply::new(status, "", details));
            }
            Received::Redirected(path) => {
                http.counters.increment(HttpCounter::RqRedirectedNormalized);
                let mut reply = LocalReply::new(307, "", "path_normalization_redirect");
                reply.headers.push_id(NameId::LOCATION, &path);
                return self.reply(turn, reply);
            }
            Received::GoOn { client, carried, trace } => {
                self.notes.trace = trace;
                self.notes.client = client.address;
                self.notes.protocol = carried.unwrap_or(self.notes.protocol);
                let random = turn.port.random();
                let table = turn.port.snapshot().routes(&http.manager.routes).map(AsRef::as_ref);
                if let Some(table) = table.filter(|_| !client.is_internal) {
                    table.remove_internal_headers(&mut self.request);
                }
                self.note_peer(turn);
                if http.manager.options.add_user_agent {
                    self.say_who_asks(&turn.shared.own);
                }
                self.decide_by(table, random);
            }
        }
        self.filter_request_head(turn, Run::All);
    }

    fn set_limits_of(&mut self, http: &HttpSite, now: crate::message::Tick) {
        let plan = &http.manager.options;
        let after = |limit: Option<u64>| limit.map(|milliseconds| now.after_milliseconds(milliseconds));
        let idle = plan.stream_idle_timeout.map(|milliseconds| milliseconds.saturating_mul(MILLISECOND));
        self.deadlines.set_idle(idle);
        self.deadlines.set(Limit::Request, after(plan.request_timeout));
        self.deadlines.set(Limit::Duration, after(plan.max_stream_duration));
    }

    /// `add_user_agent`: from which service's proxy the request comes.
    fn say_who_asks(&mut self, own: &Own) {
        let (id, cluster) = &own.node;
        let headers = &mut self.request.headers;
        headers.set(&DOWNSTREAM_SERVICE_CLUSTER, cluster.as_bytes());
        if !id.is_empty() {
            headers.set(&DOWNSTREAM_SERVICE_NODE, id.as_bytes());
        }
        if !headers.contains_id(NameId::USER_AGENT) {
            headers.push_id(NameId::USER_AGENT, cluster.as_bytes());
        }
    }

    /// Who the client says it is, for labels; not for the application.
    fn note_peer<P: Port>(&mut self, turn: &Turn<'_, P>) {
        if !self.site.is_inbound() {
            return;
        }
        if self.request.protocol == Protocol::Rpc {
            let now = turn.now();
            self.notes.client_labels = Some(self.site.caller_labels(turn.port.snapshot(), now));
            return;
        }
        let own = &turn.shared.own;
        let field = self.request.headers.get_id(NameId::X_ENVOY_PEER_METADATA);
        self.notes.asked_who_we_are = field.is_some() && !own.metadata.is_empty();
        self.notes.client_labels = Some(self.site.client_labels(field));
        self.request.headers.remove_ids(PEER_METADATA);
    }

    /// Body bytes have come from the asking side.
    pub fn request_data<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8], end: bool) {
        if self.is_finished() {
            return;
        }
        self.touch(turn.now());
        self.note_data(turn, bytes, end);
        if self.phase == Phase::Deciding || self.up.paused_at.is_some() {
            self.up.hold(bytes);
            if self.up.collects {
                self.collect_request(turn);
            }
            return;
        }
        let end = end && self.up.trailers().is_none();
        if let Some(bytes) = self.filter_request_data(turn, Run::All, bytes, end) {
            self.send_up(turn, &bytes);
        }
    }

    /// The body that came with the head goes out with it.
    pub fn take_body<'b, P: Port>(&mut self, turn: &mut Turn<'b, P>) -> &'b [u8] {
        let body = turn.whole.take_along(false);
        if !body.is_empty() {
            self.up.take_ahead(body.len());
            self.note_data(turn, body, true);
        }
        body
    }

    /// Of the body that came with the head, what is still here.
    fn hold_credit<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let bytes = self.up.settle_ahead();
        if let Origin::Client { connection, stream } = self.origin
            && bytes > 0
            && !self.is_finished()
        {
            let _ = turn.port.perform(connection, Command::HoldCredit { stream, bytes });
        }
    }

    fn note_data<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8], end: bool) {
        self.notes.received += bytes.len() as u64;
        self.up.received += bytes.len() as u64;
        if self.request.is_grpc() {
            self.notes.note_messages(0, bytes);
        }
        if end {
            self.request_ended(turn);
        }
    }

    pub fn request_trailers<P: Port>(&mut self, turn: &mut Turn<'_, P>, trailers: Box<HeaderBlock>) {
        if self.is_finished() {
            return;
        }
        self.touch(turn.now());
        self.up.set_trailers(trailers);
        self.request_ended(turn);
        if self.up.collects {
            return self.collect_request(turn);
        }
        if self.phase != Phase::Deciding
            && self.up.paused_at.is_none()
            && self.pass_request_trailers(turn, Run::All)
        {
            self.flush_up(turn);
        }
    }

    pub fn request_ended<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        self.up.stage = Stage::Ended;
        self.deadlines.set(Limit::Request, None);
        let now = turn.now();
        self.notes.moments.request_complete.get_or_insert(now);
        if self.phase > Phase::Deciding {
            self.start_route_timeout(now);
        }
    }

    /// The route's limit runs from the end of the request.
    pub(super) fn start_route_timeout(&mut self, now: crate::message::Tick) {
        if self.deadlines.route().is_none() && !self.is_tunnel {
            let limit = self.tries.route_timeout;
            self.deadlines.set(Limit::Route, limit.map(|limit| now.after_milliseconds(limit)));
        }
    }

    /// Bytes that the filters have passed: to the attempt at once if it takes them and none wait before.
    fn send_up<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8]) {
        let stream = self.attempt.as_ref().and_then(|attempt| attempt.open_stream());
        let Some((connection, stream)) = stream.filter(|_| self.up.waiting().is_empty()) else {
            self.up.hold(bytes);
            return;
        };
        let end = self.up.is_complete() && self.up.trailers().is_none();
        let Ok(accepted) = turn.port.perform(connection, Command::SendData { stream, bytes, end }) else {
            // A retry may want the bytes.
            self.up.hold(bytes);
            return self.refused_up(turn);
        };
        let credit = self.up.pass(bytes, accepted.bytes);
        self.note_sent_up(turn, end && accepted.bytes == bytes.len());
        self.origin.grant(turn.port, credit);
        if self.up.is_complete() && !self.up.end_sent {
            self.flush_up(turn);
        }
        self.after_sending_up(turn);
    }

    /// Sends what waits, as far as the attempt takes it.
    pub fn flush_up<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.up.paused_at.is_some() || self.phase == Phase::Deciding {
            return;
        }
        let Some((connection, stream)) = self.attempt.as_ref().and_then(|attempt| attempt.open_stream())
        else {
            return;
        };
        let ends = self.up.is_complete() && self.up.trailers().is_none();
        let waiting = self.up.waiting();
        if !waiting.is_empty() || (ends && !self.up.end_sent) {
            let size = waiting.len();
            let command = Command::SendData { stream, bytes: waiting, end: ends };
            let Ok(accepted) = turn.port.perform(connection, command) else { return self.refused_up(turn) };
            let credit = self.up.advance(accepted.bytes);
            self.origin.grant(turn.port, credit);
            self.note_sent_up(turn, ends && accepted.bytes == size);
        }
        if self.up.waiting().is_empty()
            && self.up.is_complete()
            && !self.up.end_sent
            && let Some(trailers) = self.up.trailers()
            && turn.port.perform(connection, Command::SendTrailers { stream, trailers }).is_ok()
        {
            self.note_sent_up(turn, true);
        }
        self.after_sending_up(turn);
    }

    /// The attempt's stream takes nothing more. HTTP's reset is under way; a frame that cannot be made has none.
    #[cold]
    fn refused_up<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.request.protocol != Protocol::Rpc {
            return;
        }
        let connection = self.attempt.as_ref().and_then(|attempt| attempt.open_stream()).map(|(key, _)| key);
        if connection.is_some_and(|connection| turn.port.is_open(connection)) && !self.head_sent {
            return self.unwritable(turn);
        }
        self.upstream_reset(turn, ResetReason::ProtocolError, false);
    }

    fn note_sent_up<P: Port>(&mut self, turn: &mut Turn<'_, P>, end: bool) {
        self.touch(turn.now());
        self.up.end_sent |= end;
    }

    pub fn after_sending_up<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.up.end_sent && self.request.one_way {
            // Nobody answers, so nobody is waited for: it went well.
            self.notes.status = 200;
            self.forget_stream(turn, true);
            return self.finish();
        }
        if self.up.end_sent {
            self.share_connection(turn);
            self.release_if_over(turn);
            if self.is_tunnel {
                self.settle();
            }
        }
    }
}

/// What sidecars tell each other of themselves.
const PEER_METADATA: NameSet =
    NameSet::of(&[NameId::X_ENVOY_PEER_METADATA, NameId::X_ENVOY_PEER_METADATA_ID]);

/// What the asking side is not to see of an endpoint's sidecar.
pub const BETWEEN_SIDECARS: NameSet = NameSet::of(&[
    NameId::X_ENVOY_PEER_METADATA,
    NameId::X_ENVOY_PEER_METADATA_ID,
    NameId::MAINSTAY_ORIG_PROTO,
]);
