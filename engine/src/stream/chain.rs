//! Runs the filters: requests in the order of the chain, responses in reverse, and from where they stopped when they resume.
//!
//! In: heads, data and trailers of one exchange. Out: whether the event goes on its way, with what the filters made of it; a
//! pause, a reply and a new route are dealt with here.

use std::borrow::Cow;
use std::rc::Rc;

use super::exchange::{Exchange, Phase};
use super::notes::Known;
use super::port::Port;
use super::reply::flagged;
use super::shared::{FilterAnswer, Turn};
use super::timeouts::Limit;
use crate::filter::{Answer, Context, Data, Direction, Instance, Run, Step, Token, Wishes};
use crate::message::{HeaderBlock, RequestHead, ResponseFlags, ResponseHead};

/// Bytes that a filter may collect of a body; more is answered with 413, or 500 for a response.
pub const COLLECT_LIMIT: usize = 1024 * 1024;

/// What is lent to the filters of one run: the exchange's parts, apart from each other. `known`: the heads that command
/// operators may speak of, save the one that is lent itself.
macro_rules! run {
    ($exchange:ident, $turn:ident, $http:ident, $known:expr, |$filters:ident, $context:ident, $states:ident| $call:expr) => {{
        let (request, response): (Option<&RequestHead>, Option<&ResponseHead>) = $known;
        let known = Known { request, response, ..$exchange.notes.known(&$exchange.site) };
        let mut $context = Context::new(
            $exchange.key,
            $turn.port.now(),
            $turn.port.wall(),
            $turn.port.random(),
            &$exchange.site.peer,
            $exchange.notes.decision.overrides(),
            &$http.counters,
            &known,
        );
        $context.client = $exchange.notes.client;
        $context.remembered = Some(&$exchange.site.remembered);
        $context.route = $exchange.notes.decision.route().map(AsRef::as_ref);
        let $filters: &Instance = &$http.filters;
        let $states = &mut $exchange.states;
        let step = $call;
        (step, $context.wishes.take())
    }};
}

impl Exchange {
    /// The request's head goes through the filters from `run` on.
    pub fn filter_request_head<P: Port>(&mut self, turn: &mut Turn<'_, P>, mut run: Run) {
        let site = Rc::clone(&self.site);
        let http = site.http.as_ref().filter(|http| http.filters.wants_request_head());
        let Some(http) = http else { return self.head_passed(turn) };
        loop {
            let end = self.up.is_complete() && self.up.waiting().is_empty() && self.up.trailers().is_none();
            let head: &mut RequestHead = &mut self.request;
            let (step, wishes) = run!(self, turn, http, (None, None), |filters, context, states| filters
                .request_head(run, &mut context, states, head, end));
            self.grant_wishes(turn, wishes);
            match step {
                Step::Done => return self.head_passed(turn),
                Step::Paused { at, collect } => return self.pause_request(turn, at, collect),
                Step::Replied { reply, .. } => return self.reply(turn, *reply),
                Step::RefreshRoute { at } => {
                    self.decide_route(turn);
                    run = Run::After(at);
                }
            }
        }
    }

    fn pause_request<P: Port>(&mut self, turn: &mut Turn<'_, P>, at: usize, collect: bool) {
        self.up.pause(at);
        self.up.collects = collect;
        if collect {
            self.collect_request(turn);
        }
    }

    /// More of a body that a filter collects has come.
    pub fn collect_request<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.up.waiting().len() > COLLECT_LIMIT {
            let reply =
                flagged(413, "Payload Too Large", "request_payload_too_large", ResponseFlags::default());
            return self.reply(turn, reply);
        }
        if self.up.is_complete() {
            self.resume_request(turn, true);
        } else {
            let credit = self.up.grant_held();
            self.origin.grant(turn.port, credit);
        }
    }

    /// The filter that paused the request lets it go on. `collected`: it gets the whole body first.
    fn resume_request<P: Port>(&mut self, turn: &mut Turn<'_, P>, collected: bool) {
        let Some(at) = self.up.resume() else { return };
        self.up.collects = false;
        let held = self.up.take_waiting();
        if collected || !held.is_empty() {
            let run = if collected { Run::From(at) } else { Run::After(at) };
            let end = self.up.is_complete() && self.up.trailers().is_none();
            match self.filter_request_data(turn, run, &held, end) {
                Some(bytes) => self.up.hold(&bytes),
                None => return,
            }
        }
        if self.phase == Phase::Deciding {
            return self.filter_request_head(turn, Run::After(at));
        }
        if !self.pass_request_trailers(turn, Run::After(at)) {
            return;
        }
        self.flush_up(turn);
    }

    /// Body bytes through the filters from `run` on. `None`: they are held, or the exchange is answered.
    pub fn filter_request_data<'b, P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        run: Run,
        bytes: &'b [u8],
        end: bool,
    ) -> Option<Cow<'b, [u8]>> {
        let site = Rc::clone(&self.site);
        let http = site.http.as_ref().filter(|http| http.filters.wants_request_data());
        let Some(http) = http else { return Some(Cow::Borrowed(bytes)) };
        let mut data = Data::new(bytes);
        let (step, wishes) =
            run!(self, turn, http, (Some(&*self.request), None), |filters, context, states| filters
                .request_data(run, &mut context, states, &mut data, end));
        self.grant_wishes(turn, wishes);
        let data = data.into_inner();
        let credit = self.up.resized(bytes.len(), data.len());
        self.origin.grant(turn.port, credit);
        match step {
            Step::Done | Step::RefreshRoute { .. } => Some(data),
            Step::Paused { at, collect } => {
                self.up.hold(&data);
                self.pause_request(turn, at, collect);
                None
            }
            Step::Replied { reply, .. } => {
                self.reply(turn, *reply);
                None
            }
        }
    }

    /// Trailers, if they are there, through the filters. False if they are held, or the exchange is answered.
    pub fn pass_request_trailers<P: Port>(&mut self, turn: &mut Turn<'_, P>, run: Run) -> bool {
        let site = Rc::clone(&self.site);
        let Some(http) = &site.http else { return true };
        let Some(mut trailers) = self.up.take_trailers() else { return true };
        let block: &mut HeaderBlock = &mut trailers;
        let (step, wishes) =
            run!(self, turn, http, (Some(&*self.request), None), |filters, context, states| filters
                .request_trailers(run, &mut context, states, block));
        self.up.set_trailers(trailers);
        self.grant_wishes(turn, wishes);
        match step {
            Step::Done | Step::RefreshRoute { .. } => true,
            Step::Paused { at, .. } => {
                self.up.pause(at);
                false
            }
            Step::Replied { reply, .. } => {
                self.reply(turn, *reply);
                false
            }
        }
    }

    /// The response's head goes through the filters from `run` on.
    pub fn filter_response_head<P: Port>(&mut self, turn: &mut Turn<'_, P>, run: Run) {
        let site = Rc::clone(&self.site);
        let http = site.http.as_ref().filter(|http| http.filters.wants_response_head(&self.states));
        let Some(http) = http else { return self.response_passed(turn) };
        let Some(mut head) = self.response.take() else { return };
        let end = self.down.is_complete() && self.down.waiting().is_empty() && self.down.trailers().is_none();
        let lent: &mut ResponseHead = &mut head;
        let (step, wishes) =
            run!(self, turn, http, (Some(&*self.request), None), |filters, context, states| filters
                .response_head(run, &mut context, states, lent, end));
        self.response = Some(head);
        self.grant_wishes(turn, wishes);
        match step {
            Step::Done | Step::RefreshRoute { .. } => self.response_passed(turn),
            Step::Paused { at, collect } => self.pause_response(turn, at, collect),
            Step::Replied { at, reply } => self.replace_response(turn, at, *reply),
        }
    }

    /// A filter puts a reply in the response's place; the filters in front of it see that one.
    fn replace_response<P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        at: usize,
        reply: crate::filter::LocalReply,
    ) {
        if self.head_sent {
            return self.reply(turn, reply);
        }
        self.notes.flags.add(reply.flags);
        self.notes.details = reply.details.clone();
        self.drop_attempt(turn, crate::message::ResetReason::Cancelled);
        let (head, body) = super::reply::form(&self.request, reply);
        self.down = super::direction::Direction::ours(&body);
        self.response = Some(head.into());
        self.filter_response_head(turn, Run::After(at));
    }

    fn pause_response<P: Port>(&mut self, turn: &mut Turn<'_, P>, at: usize, collect: bool) {
        self.down.pause(at);
        self.down.collects = collect;
        if collect {
            self.collect_response(turn);
        }
    }

    /// More of a response that a filter collects has come.
    pub fn collect_response<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.down.waiting().len() > COLLECT_LIMIT {
            let flags = ResponseFlags::default();
            return self.reply(turn, flagged(500, "", "response_payload_too_large", flags));
        }
        if self.down.is_complete() {
            self.resume_response(turn, true);
        } else {
            let credit = self.down.grant_held();
            self.grant_attempt(turn, credit);
        }
    }

    fn resume_response<P: Port>(&mut self, turn: &mut Turn<'_, P>, collected: bool) {
        let Some(at) = self.down.resume() else { return };
        self.down.collects = false;
        let held = self.down.take_waiting();
        if collected || !held.is_empty() {
            let run = if collected { Run::From(at) } else { Run::After(at) };
            let end = self.down.is_complete() && self.down.trailers().is_none();
            match self.filter_response_data(turn, run, &held, end) {
                Some(bytes) => self.down.hold(&bytes),
                None => return,
            }
        }
        if !self.head_sent {
            return self.filter_response_head(turn, Run::After(at));
        }
        if self.pass_response_trailers(turn, Run::After(at)) {
            self.flush_down(turn);
        }
    }

    /// As `filter_request_data`, on the way down.
    pub fn filter_response_data<'b, P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        run: Run,
        bytes: &'b [u8],
        end: bool,
    ) -> Option<Cow<'b, [u8]>> {
        let site = Rc::clone(&self.site);
        let http = site.http.as_ref().filter(|http| http.filters.wants_response_data());
        let Some(http) = http else { return Some(Cow::Borrowed(bytes)) };
        let mut data = Data::new(bytes);
        let (step, wishes) = run!(
            self,
            turn,
            http,
            (Some(&*self.request), self.response.as_deref()),
            |filters, context, states| filters.response_data(run, &mut context, states, &mut data, end)
        );
        self.grant_wishes(turn, wishes);
        let data = data.into_inner();
        let credit = self.down.resized(bytes.len(), data.len());
        self.grant_attempt(turn, credit);
        match step {
            Step::Done | Step::RefreshRoute { .. } => Some(data),
            Step::Paused { at, collect } => {
                self.down.hold(&data);
                self.pause_response(turn, at, collect);
                None
            }
            Step::Replied { at, reply } => {
                self.replace_response(turn, at, *reply);
                None
            }
        }
    }

    /// As `pass_request_trailers`, on the way down.
    pub fn pass_response_trailers<P: Port>(&mut self, turn: &mut Turn<'_, P>, run: Run) -> bool {
        let site = Rc::clone(&self.site);
        let Some(http) = &site.http else { return true };
        let Some(mut trailers) = self.down.take_trailers() else { return true };
        let block: &mut HeaderBlock = &mut trailers;
        let (step, wishes) = run!(
            self,
            turn,
            http,
            (Some(&*self.request), self.response.as_deref()),
            |filters, context, states| filters.response_trailers(run, &mut context, states, block)
        );
        self.down.set_trailers(trailers);
        self.grant_wishes(turn, wishes);
        match step {
            Step::Done | Step::RefreshRoute { .. } => true,
            Step::Paused { at, .. } => {
                self.down.pause(at);
                false
            }
            Step::Replied { at, reply } => {
                self.replace_response(turn, at, *reply);
                false
            }
        }
    }

    /// The answer to a filter's call.
    pub fn filter_answered<P: Port>(&mut self, turn: &mut Turn<'_, P>, answer: &FilterAnswer) {
        let given = match &answer.result {
            Ok(collected) => Answer::Response {
                head: &collected.head,
                body: &collected.body,
                trailers: collected.trailers.as_ref(),
            },
            Err(flags) => Answer::Failed { flags: *flags },
        };
        let Token { filter, direction, .. } = answer.token;
        let at = usize::from(filter);
        let site = Rc::clone(&self.site);
        let Some(http) = &site.http else { return };
        let head: &mut RequestHead = &mut self.request;
        let (step, wishes) = run!(self, turn, http, (None, None), |filters, context, states| filters.answer(
            at,
            direction,
            &mut context,
            states,
            head,
            &given
        ));
        self.resumed(turn, answer.token, step, wishes);
    }

    /// The moments have come that filters asked for.
    pub fn wake_filters<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let now = turn.now();
        let Some(rare) = &mut self.rare else { return self.deadlines.set(Limit::Wake, None) };
        let (due, later) = std::mem::take(&mut rare.wakes).into_iter().partition(|(_, at)| *at <= now);
        rare.wakes = later;
        self.deadlines.set(Limit::Wake, rare.wakes.iter().map(|(_, at)| *at).min());
        let due: Vec<_> = due;
        for (token, _) in due {
            let site = Rc::clone(&self.site);
            let Some(http) = site.http.as_ref().filter(|_| !self.is_finished()) else { return };
            let at = usize::from(token.filter);
            let head: &mut RequestHead = &mut self.request;
            let (step, wishes) = run!(self, turn, http, (None, None), |filters, context, states| filters
                .wake(at, token.direction, &mut context, states, head));
            self.resumed(turn, token, step, wishes);
        }
    }

    /// A filter has spoken outside of its turn: its direction goes on if it was the one that waited.
    fn resumed<P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        token: Token,
        step: Step,
        wishes: Option<Box<Wishes>>,
    ) {
        self.grant_wishes(turn, wishes);
        let at = Some(token.filter);
        match (step, token.direction) {
            (Step::Replied { reply, .. }, Direction::Request) => self.reply(turn, *reply),
            (Step::Replied { at, reply }, Direction::Response) => self.replace_response(turn, at, *reply),
            (Step::Paused { .. }, _) => {}
            (step, Direction::Request) => {
                if matches!(step, Step::RefreshRoute { .. }) && self.phase == Phase::Deciding {
                    self.decide_route(turn);
                }
                if self.up.paused_at == at && !self.up.collects {
                    self.resume_request(turn, false);
                }
            }
            (_, Direction::Response) => {
                if self.down.paused_at == at && !self.down.collects {
                    self.resume_response(turn, false);
                }
            }
        }
    }
}
