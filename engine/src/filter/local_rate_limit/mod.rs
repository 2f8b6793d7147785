//! `envoy.filters.http.local_ratelimit`: a token bucket per configuration and process, shared by all workers.

mod bucket;

use std::any::Any;
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use bucket::Bucket;

use super::context::Context;
use super::contract::{HttpFilter, HttpFilterFactory, LocalReply, Verdict, Wants};
use super::state::StateSlot;
use crate::bytes::decimal;
use crate::message::{HeaderBlock, RequestHead, ResponseFlags, ResponseHead};
use crate::plan::{HttpFilterConfig, PlanError};
use crate::route::{HeaderChanges, Share};
use crate::telemetry::HttpCounter;

pub(super) const WANTS: Wants = Wants::REQUEST_HEAD.and(Wants::RESPONSE_HEAD_IF_STATE);

/// A compiled limit with its bucket: who holds it shares the tokens.
struct Limit {
    bucket: Option<Bucket>,
    enabled: Share,
    enforced: Share,
    status: u16,
    response: HeaderChanges,
    draft_headers: bool,
}

fn compile(config: &HttpFilterConfig) -> Result<Arc<Limit>, PlanError> {
    let HttpFilterConfig::LocalRateLimit {
        bucket,
        enabled,
        enforced,
        status,
        response_headers,
        draft_headers,
        stat_prefix: _,
    } = config
    else {
        return Err(PlanError::new("kind", "this is no configuration of a local rate limit"));
    };
    let share = |plan, path| Share::compile(plan).map_err(|problem| problem.within(path));
    if !(400..=599).contains(status) {
        return Err(PlanError::new("status", format!("{status} refuses nothing: 400 to 599 do")));
    }
    Ok(Arc::new(Limit {
        bucket: bucket
            .as_ref()
            .map(Bucket::compile)
            .transpose()
            .map_err(|problem| problem.within("bucket"))?,
        enabled: share(*enabled, "enabled")?,
        enforced: share(*enforced, "enforced")?,
        status: *status,
        response: HeaderChanges::compile(response_headers, "response_headers", &[], "")?,
        draft_headers: *draft_headers,
    }))
}

pub(super) fn factory(config: &HttpFilterConfig) -> Result<Arc<dyn HttpFilterFactory>, PlanError> {
    compile(config).map(|limit| limit as Arc<dyn HttpFilterFactory>)
}

pub(super) fn per_route(config: &HttpFilterConfig) -> Result<Arc<dyn Any + Send + Sync>, PlanError> {
    compile(config).map(|limit| limit as Arc<dyn Any + Send + Sync>)
}

impl HttpFilterFactory for Limit {
    fn instance(self: Arc<Self>) -> Rc<dyn HttpFilter> {
        Rc::new(LocalRateLimit(self))
    }
}

struct LocalRateLimit(Arc<Limit>);

impl HttpFilter for LocalRateLimit {
    fn on_request_head(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        _: &mut RequestHead,
        _: bool,
    ) -> Verdict {
        let limit = context.config::<Limit>().unwrap_or(&self.0);
        let Some(bucket) = limit.bucket.as_ref().filter(|_| limit.enabled.takes(context.random())) else {
            return Verdict::Continue;
        };
        context.counters.increment(HttpCounter::RateLimitEnabled);
        let taken = bucket.take(context.now);
        if limit.draft_headers {
            *state = StateSlot::Words([
                u64::from(bucket.max()) << 32 | u64::from(taken.left()),
                taken.reset(bucket),
            ]);
        }
        if taken.allowed {
            context.counters.increment(HttpCounter::RateLimitOk);
            return Verdict::Continue;
        }
        context.counters.increment(HttpCounter::RateLimited);
        if !limit.enforced.takes(context.random()) {
            return Verdict::Continue;
        }
        context.counters.increment(HttpCounter::RateLimitEnforced);
        let mut head = ResponseHead::default();
        limit.response.apply_response(&mut head, context.source);
        Verdict::Reply(Box::new(LocalReply {
            status: limit.status,
            body: Cow::Borrowed(b"local_rate_limited"),
            headers: head.headers,
            grpc_status: None,
            details: Cow::Borrowed("local_rate_limited"),
            flags: ResponseFlags::RATE_LIMITED,
        }))
    }

    fn on_response_head(
        &self,
        _: &mut Context<'_>,
        state: &mut StateSlot,
        head: &mut ResponseHead,
        _: bool,
    ) -> Verdict {
        if let Some([counts, reset]) = state.words() {
            let mut set = |name: &[u8], value: u64| set(&mut head.headers, name, value);
            set(b"x-ratelimit-limit", counts >> 32);
            set(b"x-ratelimit-remaining", counts & u64::from(u32::MAX));
            set(b"x-ratelimit-reset", reset);
        }
        Verdict::Continue
    }
}

fn set(block: &mut HeaderBlock, name: &[u8], value: u64) {
    block.remove_where(|_, found, _| found == name);
    block.push(name, decimal(value).as_bytes());
}
