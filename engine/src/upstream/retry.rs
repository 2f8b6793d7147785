//! Whether an attempt is followed by another: pure, from what became of it, what went before, and the route's policy.
//!
//! The classes and their meaning are Envoy's (`x-envoy-retry-on`, `x-envoy-retry-grpc-on`). Whether a breaker or budget
//! allows the retry is asked afterwards, by the caller.
//!
//! Calls of framed protocols may not be repeatable, and no method tells which are. So the classes part in two. `connect-failure`,
//! `reset-before-request`, `refused-stream`, `unavailable` and `resource-exhausted` repeat what surely did not run: nothing
//! of it had been written, or the server said that it was too busy. `5xx`, `gateway-error`, `reset`, `internal`,
//! `deadline-exceeded`, and statuses and headers that a route lists, repeat what may have run: naming one says that the
//! route's calls are idempotent. A one-way call is never repeated, since nobody learns what became of it.

use crate::matching::HeaderMatcher;
use crate::message::{MILLISECOND, NameId, NameSet, Protocol, RequestHead, ResetReason, ResponseHead};
use crate::plan::BackOff;
use crate::route::{RetryOn, RetryPolicy};

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

/// Which policy is for one request.
#[derive(Debug)]
pub enum Policy {
    /// Nothing is retried, and there is no limit per try.
    None,
    OfRoute,
    Own(Box<RetryPolicy>),
}

/// The policy for one request: the route's, with what trusted `x-envoy-*` headers add (the caller has removed those of
/// untrusted clients). A request that the route's policy does not cover is not retried, whatever its headers ask.
pub fn policy_for(route: Option<&RetryPolicy>, head: &RequestHead) -> Policy {
    if head.one_way {
        return Policy::None;
    }
    let is_covered = route.is_none_or(|policy| policy.covers(head));
    if is_covered && !head.headers.may_contain(HEADERS) {
        return if route.is_some() { Policy::OfRoute } else { Policy::None };
    }
    let mut policy = route.map_or_else(no_retries, RetryPolicy::clone);
    let text = |name: NameId| {
        head.headers.get_id(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("")
    };
    for name in [NameId::X_ENVOY_RETRY_ON, NameId::X_ENVOY_RETRY_GRPC_ON] {
        for class in text(name).split(',').filter_map(RetryOn::parse) {
            policy.on = policy.on.with(class);
        }
    }
    if !is_covered {
        policy.on = RetryOn::default();
    }
    if let Ok(retries) = text(NameId::X_ENVOY_MAX_RETRIES).trim().parse() {
        policy.attempts = retries;
    }
    if let Ok(milliseconds) = text(NameId::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS).trim().parse() {
        policy.per_try_timeout = Some(milliseconds).filter(|&milliseconds| milliseconds > 0);
    }
    let codes = text(NameId::X_ENVOY_RETRIABLE_STATUS_CODES);
    let codes: Vec<u16> = codes.split(',').filter_map(|code| code.trim().parse().ok()).collect();
    if !codes.is_empty() {
        policy.statuses = policy.statuses.iter().copied().chain(codes).collect();
    }
    let names = text(NameId::X_ENVOY_RETRIABLE_HEADER_NAMES).split(',').map(str::trim);
    let present: Vec<_> = names.filter(|name| !name.is_empty()).map(HeaderMatcher::present).collect();
    if !present.is_empty() {
        policy.response_headers = policy.response_headers.iter().cloned().chain(present).collect();
    }
    Policy::Own(Box::new(policy))
}

const HEADERS: NameSet = NameSet::of(&[
    NameId::X_ENVOY_RETRY_ON,
    NameId::X_ENVOY_RETRY_GRPC_ON,
    NameId::X_ENVOY_MAX_RETRIES,
    NameId::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    NameId::X_ENVOY_RETRIABLE_STATUS_CODES,
    NameId::X_ENVOY_RETRIABLE_HEADER_NAMES,
]);

/// Of a route without a policy: one retry, if headers name a class.
fn no_retries() -> RetryPolicy {
    RetryPolicy {
        on: RetryOn::default(),
        attempts: 1,
        per_try_timeout: None,
        per_try_idle_timeout: None,
        back_off: BackOff { base: DEFAULT_BASE, max: 10 * DEFAULT_BASE },
        statuses: Box::default(),
        response_headers: Box::default(),
        request_headers: Box::default(),
        avoid_previous_hosts: false,
        host_selection_attempts: 0,
    }
}

/// Whether an attempt that ended so is followed by another. `random` spreads the back-off.
pub fn decide(
    policy: &RetryPolicy,
    attempted: &Attempted<'_>,
    history: RetryHistory,
    random: u64,
) -> RetryDecision {
    if !wants(policy, attempted) {
        return RetryDecision::No;
    }
    if history.retries >= policy.attempts {
        return RetryDecision::Exhausted;
    }
    RetryDecision::Retry { after: back_off(policy.back_off, history.retries, random) }
}

/// Fully jittered: anything below base × 2^n, at most `max` (Envoy's JitteredExponentialBackOff).
fn back_off(plan: BackOff, retries: u32, random: u64) -> u64 {
    let base = if plan.base == 0 { DEFAULT_BASE } else { plan.base };
    let ceiling = base.saturating_mul(1 << retries.min(20)).min(plan.max.max(base));
    random % ceiling.saturating_mul(MILLISECOND).max(1)
}

/// What the caller would see as 502, 503 or 504, or as a reset.
const AS_ERROR: RetryOn = RetryOn(RetryOn::SERVER_ERROR.0 | RetryOn::GATEWAY_ERROR.0 | RetryOn::RESET.0);

fn wants(policy: &RetryPolicy, attempted: &Attempted<'_>) -> bool {
    let on = policy.on;
    match attempted {
        Attempted::Answered { head, grpc_status } => wants_answer(policy, head, *grpc_status),
        Attempted::ConnectFailure => {
            on.contains(AS_ERROR.with(RetryOn::CONNECT_FAILURE).with(RetryOn::RESET_BEFORE_REQUEST))
        }
        Attempted::Reset { reason, sent, unprocessed } => {
            let refused = *unprocessed || *reason == ResetReason::Refused;
            on.contains(AS_ERROR)
                || refused && on.contains(RetryOn::REFUSED_STREAM)
                || !sent && on.contains(RetryOn::RESET_BEFORE_REQUEST)
        }
        Attempted::TryTimeout => on.contains(AS_ERROR),
    }
}

/// What a caller would see as a success may be tried again for its fields, or for a status that is listed.
const BY_FIELDS: RetryOn = RetryOn(RetryOn::RATE_LIMITED.0 | RetryOn::RETRIABLE_HEADERS.0);

fn wants_answer(policy: &RetryPolicy, head: &ResponseHead, grpc_status: Option<u32>) -> bool {
    let (on, status) = (policy.on, head.status);
    let is_listed = on.contains(RetryOn::RETRIABLE_STATUSES) && policy.statuses.contains(&status);
    if status < 400 && grpc_status.is_none() && !is_listed && !on.contains(BY_FIELDS) {
        return false;
    }
    if head.headers.contains_id(NameId::X_ENVOY_RATELIMITED) {
        // A refusal by a rate limiter is not an error to try again, unless asked for.
        return on.contains(RetryOn::RATE_LIMITED);
    }
    on.contains(RetryOn::SERVER_ERROR) && (500..600).contains(&status)
        || on.contains(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status)
        || on.contains(RetryOn::RETRIABLE_4XX) && status == 409
        || is_listed
        || on.contains(RetryOn::RETRIABLE_HEADERS)
            && policy.response_headers.iter().any(|matcher| matcher.matches_response(head))
        || grpc_status.and_then(class_of_grpc).is_some_and(|class| on.contains(class))
        || head.protocol == Protocol::Rpc
            && classes_of_call(status).is_some_and(|classes| on.contains(classes))
}

/// What framed protocols say by the outcomes that HTTP's statuses stand for: 503 is a server that was too busy to begin.
fn classes_of_call(status: u16) -> Option<RetryOn> {
    match status {
        503 => Some(
            RetryOn::GRPC_UNAVAILABLE.with(RetryOn::GRPC_RESOURCE_EXHAUSTED).with(RetryOn::REFUSED_STREAM),
        ),
        500 => Some(RetryOn::GRPC_INTERNAL),
        504 => Some(RetryOn::GRPC_DEADLINE_EXCEEDED),
        _ => None,
    }
}

fn class_of_grpc(status: u32) -> Option<RetryOn> {
    match status {
        1 => Some(RetryOn::GRPC_CANCELLED),
        4 => Some(RetryOn::GRPC_DEADLINE_EXCEEDED),
        8 => Some(RetryOn::GRPC_RESOURCE_EXHAUSTED),
        13 => Some(RetryOn::GRPC_INTERNAL),
        14 => Some(RetryOn::GRPC_UNAVAILABLE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{HeaderMatch, HeaderTest};
    use proptest::prelude::*;

    fn policy(classes: &[&str]) -> RetryPolicy {
        let on = classes.iter().map(|class| RetryOn::parse(class).unwrap());
        RetryPolicy { on: on.fold(RetryOn::default(), RetryOn::with), attempts: 2, ..no_retries() }
    }

    fn answer(status: u16) -> ResponseHead {
        ResponseHead::with_status(status)
    }

    fn retries(policy: &RetryPolicy, attempted: &Attempted<'_>) -> bool {
        matches!(decide(policy, attempted, RetryHistory::default(), 0), RetryDecision::Retry { .. })
    }

    /// Every class against every kind of failure: the table in Envoy's documentation of `x-envoy-retry-on`.
    #[test]
    fn classes_retry_what_their_names_say() {
        let reset = |reason, sent, unprocessed| Attempted::Reset { reason, sent, unprocessed };
        let heads: Vec<_> = [200, 404, 409, 429, 500, 502, 503, 504].map(answer).into();
        let mut cases: Vec<(String, Attempted<'_>)> = heads
            .iter()
            .map(|head| (head.status.to_string(), Attempted::Answered { head, grpc_status: None }))
            .collect();
        cases.push(("connect".into(), Attempted::ConnectFailure));
        cases.push(("reset".into(), reset(ResetReason::ConnectionClosed, true, false)));
        cases.push(("unsent".into(), reset(ResetReason::ConnectionClosed, false, false)));
        cases.push(("refused".into(), reset(ResetReason::Refused, true, true)));
        cases.push(("timeout".into(), Attempted::TryTimeout));
        for (class, expected) in [
            ("5xx", "500 502 503 504 connect reset unsent refused timeout"),
            ("gateway-error", "502 503 504 connect reset unsent refused timeout"),
            ("reset", "connect reset unsent refused timeout"),
            ("reset-before-request", "connect unsent"),
            ("connect-failure", "connect"),
            ("retriable-4xx", "409"),
            ("refused-stream", "refused"),
            ("envoy-ratelimited", ""),
            ("retriable-status-codes", "404"),
            ("retriable-headers", ""),
            ("unavailable", ""),
        ] {
            let policy = RetryPolicy { statuses: [404].into(), ..policy(&[class]) };
            let retried: Vec<_> = cases
                .iter()
                .filter(|(_, attempted)| retries(&policy, attempted))
                .map(|(name, _)| &**name)
                .collect();
            assert_eq!(retried.join(" "), expected, "{class}");
        }
    }

    #[test]
    fn grpc_statuses_have_classes_of_their_own() {
        let head = answer(200);
        for (class, status) in [
            ("cancelled", 1),
            ("deadline-exceeded", 4),
            ("resource-exhausted", 8),
            ("internal", 13),
            ("unavailable", 14),
        ] {
            for other in 0..17 {
                let attempted = Attempted::Answered { head: &head, grpc_status: Some(other) };
                assert_eq!(retries(&policy(&[class]), &attempted), other == status, "{class} on {other}");
            }
        }
    }

    #[test]
    fn calls_are_repeated_if_they_did_not_run_or_the_route_says_that_they_may() {
        let reset =
            |sent, unprocessed| Attempted::Reset { reason: ResetReason::ConnectionClosed, sent, unprocessed };
        let heads: Vec<_> = [200, 400, 403, 404, 500, 502, 503, 504]
            .map(|status| ResponseHead { protocol: Protocol::Rpc, ..answer(status) })
            .into();
        let mut cases: Vec<(String, Attempted<'_>)> = heads
            .iter()
            .map(|head| (head.status.to_string(), Attempted::Answered { head, grpc_status: None }))
            .collect();
        cases.push(("connect".into(), Attempted::ConnectFailure));
        cases.push(("lost".into(), reset(true, false)));
        cases.push(("unsent".into(), reset(false, true)));
        cases.push(("timeout".into(), Attempted::TryTimeout));
        for (class, expected) in [
            ("connect-failure", "connect"),
            ("reset-before-request", "connect unsent"),
            ("refused-stream", "503 unsent"),
            ("unavailable", "503"),
            ("resource-exhausted", "503"),
            ("cancelled", ""),
            ("internal", "500"),
            ("deadline-exceeded", "504"),
            ("gateway-error", "502 503 504 connect lost unsent timeout"),
            ("5xx", "500 502 503 504 connect lost unsent timeout"),
            ("reset", "connect lost unsent timeout"),
        ] {
            let policy = policy(&[class]);
            let retried: Vec<_> = cases
                .iter()
                .filter(|(_, attempted)| retries(&policy, attempted))
                .map(|(name, _)| &**name)
                .collect();
            assert_eq!(retried.join(" "), expected, "{class}");
        }
        let mut one_way = RequestHead::default();
        one_way.one_way = true;
        assert!(matches!(policy_for(Some(&policy(&["5xx"])), &one_way), Policy::None));
    }

    #[test]
    fn rate_limited_answers_are_retried_only_if_asked_for() {
        let mut head = answer(503);
        head.headers.push(b"x-envoy-ratelimited", b"true");
        let attempted = Attempted::Answered { head: &head, grpc_status: None };
        assert!(!retries(&policy(&["5xx"]), &attempted));
        assert!(retries(&policy(&["5xx", "envoy-ratelimited"]), &attempted));
    }

    #[test]
    fn what_an_overloaded_proxy_shed_is_tried_elsewhere_as_envoy_does() {
        let mut head = answer(503);
        head.headers.push(b"x-envoy-overloaded", b"true");
        assert!(retries(&policy(&["5xx"]), &Attempted::Answered { head: &head, grpc_status: None }));
    }

    #[test]
    fn headers_of_the_answer_can_ask_for_a_retry() {
        let matcher = HeaderMatch {
            name: "x-again".into(),
            test: HeaderTest::Present { present: true },
            invert: false,
            absent_as_empty: false,
        };
        let matcher = crate::matching::HeaderMatcher::compile(&matcher).unwrap();
        let policy = RetryPolicy { response_headers: [matcher].into(), ..policy(&["retriable-headers"]) };
        let mut head = answer(200);
        assert!(!retries(&policy, &Attempted::Answered { head: &head, grpc_status: None }));
        head.headers.push(b"x-again", b"1");
        assert!(retries(&policy, &Attempted::Answered { head: &head, grpc_status: None }));
    }

    #[test]
    fn attempts_run_out() {
        let policy = policy(&["5xx"]);
        let decisions: Vec<_> = (0..3)
            .map(|retries| decide(&policy, &Attempted::ConnectFailure, RetryHistory { retries }, 7))
            .collect();
        let again = RetryDecision::Retry { after: 7 };
        assert_eq!(decisions, [again, again, RetryDecision::Exhausted]);
        let head = answer(200);
        let fine = Attempted::Answered { head: &head, grpc_status: None };
        assert_eq!(decide(&policy, &fine, RetryHistory { retries: 9 }, 7), RetryDecision::No);
    }

    /// The policy of a request that has a say in it.
    fn asked(route: Option<&RetryPolicy>, head: &RequestHead) -> Box<RetryPolicy> {
        match policy_for(route, head) {
            Policy::Own(policy) => policy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn request_headers_add_to_the_route() {
        let route = policy(&["connect-failure"]);
        let mut head = RequestHead::default();
        assert!(matches!(policy_for(Some(&route), &head), Policy::OfRoute));
        assert!(matches!(policy_for(None, &head), Policy::None));
        head.headers.push(b"x-envoy-retry-on", b"5xx, retriable-status-codes,nonsense");
        head.headers.push(b"x-envoy-retry-grpc-on", b"unavailable");
        head.headers.push(b"x-envoy-max-retries", b"5");
        head.headers.push(b"x-envoy-retriable-status-codes", b"418, 404");
        head.headers.push(b"x-envoy-upstream-rq-per-try-timeout-ms", b"250");
        let made = asked(Some(&route), &head);
        assert_eq!((made.attempts, made.per_try_timeout), (5, Some(250)));
        for status in [500, 418, 404] {
            let head = answer(status);
            assert!(retries(&made, &Attempted::Answered { head: &head, grpc_status: None }), "{status}");
        }
        assert!(made.on.contains(RetryOn::CONNECT_FAILURE) && made.on.contains(RetryOn::GRPC_UNAVAILABLE));
        assert_eq!(asked(None, &head).attempts, 5);
    }

    #[test]
    fn a_caller_names_headers_whose_presence_is_retried() {
        let mut head = RequestHead::default();
        head.headers.push(b"x-envoy-retry-on", b"retriable-headers");
        head.headers.push(b"x-envoy-retriable-header-names", b"x-again, x-other,");
        let asked = asked(None, &head);
        for (name, retried) in [("x-other", true), ("x-again", true), ("x-more", false)] {
            let mut head = answer(200);
            head.headers.push(name.as_bytes(), b"");
            let attempted = Attempted::Answered { head: &head, grpc_status: None };
            assert_eq!(retries(&asked, &attempted), retried, "{name}");
        }
    }

    #[test]
    fn no_header_overcomes_a_policy_for_other_requests() {
        let only = HeaderMatch {
            name: "x-idempotent".into(),
            test: HeaderTest::Present { present: true },
            invert: false,
            absent_as_empty: false,
        };
        let request_headers = HeaderMatcher::compile_all(&[only], "").unwrap();
        let limited = RetryPolicy { per_try_timeout: Some(9), request_headers, ..policy(&["5xx"]) };
        let mut head = RequestHead::default();
        head.headers.push(b"x-envoy-retry-on", b"5xx");
        let asked = asked(Some(&limited), &head);
        assert!(asked.on.is_empty());
        assert_eq!(asked.per_try_timeout, Some(9), "a try has its time whether or not another follows");
    }

    proptest! {
        #[test]
        fn back_off_is_jittered_below_a_doubling_ceiling(base in 1u64..1_000, factor in 1u64..50, retries in 0u32..40, random: u64) {
            let plan = BackOff { base, max: base * factor };
            let after = back_off(plan, retries, random);
            let ceiling = (base << retries.min(20)).min(plan.max) * MILLISECOND;
            prop_assert!(after < ceiling);
        }
    }
}
