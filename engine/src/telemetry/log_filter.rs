//! Which exchanges a log tells of (`envoy.config.accesslog.v3.AccessLogFilter`): a pure question to the facts.

use super::facts::Facts;
use crate::matching::HeaderMatcher;
use crate::message::{MILLISECOND, ResponseFlags};
use crate::plan::{Fraction, LogComparison, LogComparisonKind, LogFilter, PlanError};

/// Filters in filters at most.
const MAX_DEPTH: u32 = 16;
/// gRPC's UNKNOWN: a call without any status.
const UNKNOWN: u32 = 2;

/// A compiled filter.
#[derive(Debug)]
pub(super) enum Filter {
    Status(LogComparison),
    Duration(LogComparison),
    Traced,
    All(Box<[Filter]>),
    Any(Box<[Filter]>),
    Share { fraction: Fraction, by_request_id: bool },
    Header(HeaderMatcher),
    Flags { flags: ResponseFlags, is_any: bool },
    Grpc { statuses: Box<[u32]>, exclude: bool },
}

impl Filter {
    pub fn compile(plan: &LogFilter) -> Result<Self, PlanError> {
        Self::compile_at(plan, 0)
    }

    fn compile_at(plan: &LogFilter, depth: u32) -> Result<Self, PlanError> {
        if depth >= MAX_DEPTH {
            return Err(PlanError::new("", format!("filters nest deeper than {MAX_DEPTH}")));
        }
        let all = |plans: &[LogFilter]| -> Result<Box<[Self]>, PlanError> {
            let compile = |(index, plan)| {
                Self::compile_at(plan, depth + 1)
                    .map_err(|problem: PlanError| problem.within(&format!("filters[{index}]")))
            };
            plans.iter().enumerate().map(compile).collect()
        };
        Ok(match plan {
            LogFilter::StatusCode { comparison } => Self::Status(*comparison),
            LogFilter::Duration { comparison } => Self::Duration(*comparison),
            // No filter of ours answers health checks by itself, so none is one.
            LogFilter::NotHealthCheck {} => Self::All(Box::default()),
            LogFilter::Traceable {} => Self::Traced,
            LogFilter::And { filters } => Self::All(all(filters)?),
            LogFilter::Or { filters } => Self::Any(all(filters)?),
            LogFilter::Runtime { fraction, independent } => {
                Self::Share { fraction: *fraction, by_request_id: !independent }
            }
            LogFilter::Header { matches } => {
                Self::Header(HeaderMatcher::compile(matches).map_err(|problem| problem.within("matches"))?)
            }
            LogFilter::ResponseFlag { flags } => {
                let mut known = ResponseFlags::default();
                for (flag, _, _) in
                    ResponseFlags::ALL.iter().filter(|(_, text, _)| flags.iter().any(|name| name == text))
                {
                    known.add(*flag);
                }
                // Flags that are never set here (Envoy has more) match nothing.
                Self::Flags { flags: known, is_any: flags.is_empty() }
            }
            LogFilter::GrpcStatus { statuses, exclude } => {
                Self::Grpc { statuses: statuses.clone().into(), exclude: *exclude }
            }
        })
    }

    pub fn passes(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Status(comparison) => compare(*comparison, facts.status.into()),
            Self::Duration(comparison) => compare(*comparison, facts.duration() / MILLISECOND),
            Self::Traced => facts.is_sampled(),
            Self::All(filters) => filters.iter().all(|filter| filter.passes(facts)),
            Self::Any(filters) => filters.iter().any(|filter| filter.passes(facts)),
            Self::Share { fraction, by_request_id } => {
                let by_id = by_request_id.then(|| number_of(facts.request_id())).flatten();
                let number = by_id.unwrap_or_else(|| scatter(facts));
                number % u64::from(fraction.denominator.max(1)) < u64::from(fraction.numerator)
            }
            Self::Header(matcher) => facts.request.is_some_and(|head| matcher.matches(head)),
            Self::Flags { is_any: true, .. } => !facts.flags.is_empty(),
            Self::Flags { flags, .. } => facts.flags.0 & flags.0 != 0,
            Self::Grpc { statuses, exclude } => statuses.contains(&grpc_status(facts)) != *exclude,
        }
    }
}

fn compare(comparison: LogComparison, value: u64) -> bool {
    let limit = u64::from(comparison.value);
    match comparison.kind {
        LogComparisonKind::Eq => value == limit,
        LogComparisonKind::Ge => value >= limit,
        LogComparisonKind::Le => value <= limit,
        LogComparisonKind::Ne => value != limit,
    }
}

/// The first digits of a request id: the same request is chosen by every proxy on its way.
fn number_of(request_id: &str) -> Option<u64> {
    u64::from_str_radix(request_id.get(..8)?, 16).ok()
}

/// Numbers that are spread evenly and are no secret (splitmix64).
fn scatter(facts: &Facts<'_>) -> u64 {
    let seed = facts.moments.started_wall ^ facts.connection_id.rotate_left(32) ^ facts.moments.ended.0;
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Of trailers or head, else what stands for the HTTP status (gRPC's `http-grpc-status-mapping`).
fn grpc_status(facts: &Facts<'_>) -> u32 {
    facts.grpc_status.unwrap_or(match facts.status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => UNKNOWN,
    })
}
