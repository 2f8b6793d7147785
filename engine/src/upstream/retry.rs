//! Whether an attempt is followed by another: pure, from what became of it, what went before, and the policy.
//!
//! The classes and their meaning are Envoy's (`x-envoy-retry-on`, `x-envoy-retry-grpc-on`). Whether a breaker or budget
//! allows the retry is asked afterwards, by the caller.

use std::borrow::Cow;

use crate::matching::HeaderMatcher;
use crate::message::{MILLISECOND, NameId, RequestHead, ResetReason, ResponseHead};
use crate::plan::{self, PlanError};

/// Retry classes, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classes(u32);

macro_rules! classes {
    ($($name:ident = $bit:literal, $text:literal);+ $(;)?) => {
        impl Classes {
            $(pub const $name: Self = Self(1 << $bit);)+
            const NAMES: &'static [(&'static str, Self)] = &[$(($text, Self::$name)),+];
        }
    };
}

classes! {
    SERVER_ERROR = 0, "5xx";
    GATEWAY_ERROR = 1, "gateway-error";
    RESET = 2, "reset";
    RESET_BEFORE_REQUEST = 3, "reset-before-request";
    CONNECT_FAILURE = 4, "connect-failure";
    RATE_LIMITED = 5, "envoy-ratelimited";
    RETRIABLE_4XX = 6, "retriable-4xx";
    REFUSED_STREAM = 7, "refused-stream";
    STATUSES = 8, "retriable-status-codes";
    HEADERS = 9, "retriable-headers";
    GRPC_CANCELLED = 10, "cancelled";
    GRPC_DEADLINE = 11, "deadline-exceeded";
    GRPC_INTERNAL = 12, "internal";
    GRPC_EXHAUSTED = 13, "resource-exhausted";
    GRPC_UNAVAILABLE = 14, "unavailable";
}

impl Classes {
    fn find(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class)
    }

    fn has(self, class: Self) -> bool {
        self.0 & class.0 != 0
    }

    fn add(&mut self, class: Self) {
        self.0 |= class.0;
    }
}

/// A route's retry policy, compiled.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    classes: Classes,
    /// Retries beside the first attempt.
    pub attempts: u32,
    /// Milliseconds; `None` = only the route's timeout.
    pub per_try_timeout: Option<u64>,
    pub per_try_idle_timeout: Option<u64>,
    base: u64,
    max: u64,
    statuses: Box<[u16]>,
    headers: Box<[HeaderMatcher]>,
    /// Only requests that one of these matches are retried; empty: all.
    request_headers: Box<[HeaderMatcher]>,
    pub avoid_previous_hosts: bool,
    pub host_selection_attempts: u32,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy)]
pub enum Attempted<'a> {
    /// A response head; `grpc_status` if it came with the head.
    Answered { head: &'a ResponseHead, grpc_status: Option<u32> },
    /// No connection came about.
    ConnectFailure,
    /// The stream ended before a response head. `sent`: any of the request had been sent; `unprocessed`: the peer surely
    /// did not process it.
    Reset { reason: ResetReason, sent: bool, unprocessed: bool },
    /// The per-try timeout ran out.
    TryTimeout,
}

/// What went before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryHistory {
    /// Retries made so far.
    pub retries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after so many nanoseconds.
    Retry { after: u64 },
    /// It would be retried, but the attempts are used up (flag URX).
    Exhausted,
    /// The outcome stands.
    No,
}

/// Milliseconds, where the plan gives no back-off (Envoy's).
const DEFAULT_BASE: u64 = 25;

impl RetryPolicy {
    /// Refuses at `retry_on[i]` a class that is not known.
    pub fn compile(plan: &plan::RetryPolicy) -> Result<Self, PlanError> {
        let mut classes = Classes::default();
        for (index, name) in plan.retry_on.iter().enumerate() {
            classes.add(Classes::find(name).ok_or_else(|| {
                PlanError::new(format!("retry_on[{index}]"), format!("\"{name}\" is no class of retries"))
            })?);
        }
        let base = if plan.back_off.base == 0 { DEFAULT_BASE } else { plan.back_off.base };
        Ok(Self {
            classes,
            attempts: plan.attempts,
            per_try_timeout: plan.per_try_timeout,
            per_try_idle_timeout: plan.per_try_idle_timeout,
            base,
            max: plan.back_off.max.max(base),
            statuses: plan.retriable_statuses.clone().into(),
            headers: HeaderMatcher::compile_all(&plan.retriable_headers, "retriable_headers")?,
            request_headers: HeaderMatcher::compile_all(
                &plan.retriable_request_headers,
                "retriable_request_headers",
            )?,
            avoid_previous_hosts: plan.avoid_previous_hosts,
            host_selection_attempts: plan.host_selection_attempts,
        })
    }

    /// The policy of a route without one: nothing is retried unless the request's headers ask for it.
    pub fn none() -> Self {
        Self {
            classes: Classes::default(),
            attempts: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            base: DEFAULT_BASE,
            max: 10 * DEFAULT_BASE,
            statuses: Box::default(),
            headers: Box::default(),
            request_headers: Box::default(),
            avoid_previous_hosts: false,
            host_selection_attempts: 0,
        }
    }

    /// The policy for one request: the route's, with what trusted `x-envoy-*` headers add (the caller has removed those of
    /// untrusted clients), or none if the request is not one that the route retries.
    pub fn for_request<'p>(&'p self, head: &RequestHead) -> Option<Cow<'p, Self>> {
        let excluded = !self.request_headers.is_empty()
            && !self.request_headers.iter().any(|matcher| matcher.matches(head));
        let asks = HEADERS.iter().any(|&name| head.headers.contains_id(name));
        let policy = if asks { Cow::Owned(self.asked_by(head, excluded)) } else { Cow::Borrowed(self) };
        (policy.classes != Classes::default() && policy.attempts > 0 && (!excluded || asks)).then_some(policy)
    }

    fn asked_by(&self, head: &RequestHead, excluded: bool) -> Self {
        let text = |name: NameId| head.headers.get_id(name).and_then(|value| std::str::from_utf8(value).ok());
        let mut policy = self.clone();
        if excluded {
            policy.classes = Classes::default();
        }
        for name in [RETRY_ON, RETRY_GRPC_ON] {
            let asked = text(name).unwrap_or("").split(',').filter_map(|class| Classes::find(class.trim()));
            asked.for_each(|class| policy.classes.add(class));
        }
        if let Some(retries) = text(MAX_RETRIES).and_then(|value| value.trim().parse().ok()) {
            policy.attempts = retries;
        }
        if let Some(milliseconds) = text(TRY_TIMEOUT).and_then(|value| value.trim().parse().ok()) {
            policy.per_try_timeout = Some(milliseconds).filter(|&milliseconds| milliseconds > 0);
        }
        if let Some(codes) = text(RETRIABLE_CODES) {
            let codes = codes.split(',').filter_map(|code| code.trim().parse().ok());
            policy.statuses = policy.statuses.iter().copied().chain(codes).collect();
        }
        policy
    }

    /// Whether an attempt that ended so is followed by another. `random` spreads the back-off.
    pub fn decide(&self, attempted: &Attempted<'_>, history: RetryHistory, random: u64) -> RetryDecision {
        if !self.wants(attempted) {
            return RetryDecision::No;
        }
        if history.retries >= self.attempts {
            return RetryDecision::Exhausted;
        }
        RetryDecision::Retry { after: self.back_off(history.retries, random) }
    }

    /// Fully jittered: anything between 0 and base × 2^n − 1, at most `max` (Envoy's JitteredExponentialBackOff).
    fn back_off(&self, retries: u32, random: u64) -> u64 {
        let ceiling = self.base.saturating_mul(1 << retries.min(20)).min(self.max);
        random % (ceiling.saturating_mul(MILLISECOND)).max(1)
    }

    fn wants(&self, attempted: &Attempted<'_>) -> bool {
        let classes = self.classes;
        match attempted {
            Attempted::Answered { head, grpc_status } => self.wants_answer(head, *grpc_status),
            Attempted::ConnectFailure => {
                [Classes::CONNECT_FAILURE, Classes::SERVER_ERROR, Classes::GATEWAY_ERROR, Classes::RESET]
                    .into_iter()
                    .chain([Classes::RESET_BEFORE_REQUEST])
                    .any(|class| classes.has(class))
            }
            Attempted::Reset { reason, sent, unprocessed } => {
                // What the caller sees would be a 503 (or 504).
                let as_error = classes.has(Classes::SERVER_ERROR)
                    || classes.has(Classes::GATEWAY_ERROR)
                    || classes.has(Classes::RESET);
                let refused = *unprocessed || *reason == ResetReason::Refused;
                as_error
                    || refused && classes.has(Classes::REFUSED_STREAM)
                    || !sent && classes.has(Classes::RESET_BEFORE_REQUEST)
            }
            // A 504 to the caller, and a reset of the stream from here.
            Attempted::TryTimeout => {
                classes.has(Classes::SERVER_ERROR)
                    || classes.has(Classes::GATEWAY_ERROR)
                    || classes.has(Classes::RESET)
            }
        }
    }

    fn wants_answer(&self, head: &ResponseHead, grpc_status: Option<u32>) -> bool {
        let (classes, status) = (self.classes, head.status);
        let limited = head.headers.contains_id(NameId::X_ENVOY_RATELIMITED);
        if limited {
            return classes.has(Classes::RATE_LIMITED);
        }
        classes.has(Classes::SERVER_ERROR) && (500..600).contains(&status)
            || classes.has(Classes::GATEWAY_ERROR) && (502..=504).contains(&status)
            || classes.has(Classes::RETRIABLE_4XX) && status == 409
            || classes.has(Classes::STATUSES) && self.statuses.contains(&status)
            || classes.has(Classes::HEADERS)
                && self.headers.iter().any(|matcher| matcher.matches_response(head))
            || grpc_status.and_then(class_of_grpc).is_some_and(|class| classes.has(class))
    }
}

const RETRY_ON: NameId = NameId::X_ENVOY_RETRY_ON;
const RETRY_GRPC_ON: NameId = NameId::X_ENVOY_RETRY_GRPC_ON;
const MAX_RETRIES: NameId = NameId::X_ENVOY_MAX_RETRIES;
const RETRIABLE_CODES: NameId = NameId::X_ENVOY_RETRIABLE_STATUS_CODES;
const TRY_TIMEOUT: NameId = NameId::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS;
const HEADERS: [NameId; 5] = [RETRY_ON, RETRY_GRPC_ON, MAX_RETRIES, RETRIABLE_CODES, TRY_TIMEOUT];

fn class_of_grpc(status: u32) -> Option<Classes> {
    match status {
        1 => Some(Classes::GRPC_CANCELLED),
        4 => Some(Classes::GRPC_DEADLINE),
        8 => Some(Classes::GRPC_EXHAUSTED),
        13 => Some(Classes::GRPC_INTERNAL),
        14 => Some(Classes::GRPC_UNAVAILABLE),
        _ => None,
    }
}
