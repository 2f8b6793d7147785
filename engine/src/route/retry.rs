//! A route's retry policy, compiled: what the decision on a retry is made from.

use crate::matching::HeaderMatcher;
use crate::message::RequestHead;
use crate::plan::{self, BackOff, PlanError};

/// Classes of failures, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RetryOn(pub u32);

macro_rules! classes {
    ($($name:ident = $bit:literal, $text:literal),+ $(,)?) => {
        impl RetryOn {
            $(pub const $name: Self = Self(1 << $bit);)+
            /// Every class with its text.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),+];
        }
    };
}

classes! {
    SERVER_ERROR = 0, "5xx", GATEWAY_ERROR = 1, "gateway-error", RESET = 2, "reset",
    RESET_BEFORE_REQUEST = 3, "reset-before-request", CONNECT_FAILURE = 4, "connect-failure",
    RATE_LIMITED = 5, "envoy-ratelimited", RETRIABLE_4XX = 6, "retriable-4xx",
    REFUSED_STREAM = 7, "refused-stream", RETRIABLE_STATUSES = 8, "retriable-status-codes",
    RETRIABLE_HEADERS = 9, "retriable-headers", GRPC_CANCELLED = 10, "cancelled",
    GRPC_DEADLINE_EXCEEDED = 11, "deadline-exceeded", GRPC_INTERNAL = 12, "internal",
    GRPC_RESOURCE_EXHAUSTED = 13, "resource-exhausted", GRPC_UNAVAILABLE = 14, "unavailable",
    HTTP3_POST_CONNECT_FAILURE = 15, "http3-post-connect-failure",
}

impl RetryOn {
    /// The class of that text; `None` if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == text.trim()).map(|(class, _)| *class)
    }

    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// `envoy.config.route.v3.RetryPolicy`. Durations in milliseconds.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    pub on: RetryOn,
    /// Retries after the first attempt.
    pub attempts: u32,
    pub per_try_timeout: Option<u64>,
    pub per_try_idle_timeout: Option<u64>,
    pub back_off: BackOff,
    pub statuses: Box<[u16]>,
    /// Of the response: one that matches is retried.
    pub response_headers: Box<[HeaderMatcher]>,
    /// Of the request: if there are any, one must match.
    pub request_headers: Box<[HeaderMatcher]>,
    pub avoid_previous_hosts: bool,
    pub host_selection_attempts: u32,
}

impl RetryPolicy {
    pub fn compile(plan: &plan::RetryPolicy) -> Result<Self, PlanError> {
        let mut on = RetryOn::default();
        for (index, text) in plan.retry_on.iter().enumerate() {
            let class = RetryOn::parse(text).ok_or_else(|| {
                PlanError::new(format!("retry_on[{index}]"), format!("\"{text}\" is no class of failures"))
            })?;
            on = on.with(class);
        }
        Ok(Self {
            on,
            attempts: plan.attempts,
            per_try_timeout: plan.per_try_timeout,
            per_try_idle_timeout: plan.per_try_idle_timeout,
            back_off: plan.back_off,
            statuses: plan.retriable_statuses.clone().into(),
            response_headers: HeaderMatcher::compile_all(&plan.retriable_headers, "retriable_headers")?,
            request_headers: HeaderMatcher::compile_all(
                &plan.retriable_request_headers,
                "retriable_request_headers",
            )?,
            avoid_previous_hosts: plan.avoid_previous_hosts,
            host_selection_attempts: plan.host_selection_attempts,
        })
    }

    /// Some failure is followed by another attempt.
    pub fn may_retry(&self) -> bool {
        self.attempts > 0 && !self.on.is_empty()
    }

    /// Whether the policy is for this request.
    pub fn covers(&self, head: &RequestHead) -> bool {
        self.request_headers.is_empty() || self.request_headers.iter().any(|matcher| matcher.matches(head))
    }
}
