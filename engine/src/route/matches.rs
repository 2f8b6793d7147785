//! Whether a route is meant: path, headers, query, and its share of requests.

use crate::matching::{Field, HeaderMatcher, PathMatcher, Pattern, QueryMatcher, query_of, without_query};
use crate::message::RequestHead;
use crate::plan::{Fraction, PathMatch, PlanError, RouteMatch};

/// A share of requests, decided by a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    numerator: u64,
    denominator: u64,
}

impl Share {
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };

    pub fn compile(plan: Fraction) -> Result<Self, PlanError> {
        if plan.denominator == 0 {
            return Err(PlanError::new("denominator", "a fraction needs a denominator"));
        }
        Ok(Self { numerator: plan.numerator.into(), denominator: plan.denominator.into() })
    }

    /// One random number decides alike for all shares: what 10 % takes, 20 % takes too (as in Envoy).
    pub fn takes(self, random: u64) -> bool {
        self.numerator >= self.denominator || random % self.denominator < self.numerator
    }
}

/// One of a matcher's tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Path,
    Header(usize),
}

/// What of a request a test looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// The path without its query.
    Path,
    Field(Field),
}

#[derive(Debug, Clone)]
pub(super) struct Matcher {
    path: PathMatcher,
    /// Bytes of a path that matched, where they are always as many: those of a prefix.
    matched: Option<usize>,
    headers: Box<[HeaderMatcher]>,
    query: Box<[QueryMatcher]>,
    grpc_only: bool,
    share: Option<Share>,
}

impl Matcher {
    pub fn compile(plan: &RouteMatch) -> Result<Self, PlanError> {
        let (path, matched) = match &plan.path {
            PathMatch::Prefix { text } => (PathMatcher::prefix(text, plan.ignore_case), Some(text.len())),
            PathMatch::Exact { text } => (PathMatcher::exact(text, plan.ignore_case), None),
            PathMatch::SeparatedPrefix { text } => {
                if text.len() < 2 || text.ends_with('/') || text.contains(['?', '#']) {
                    return Err(PlanError::new(
                        "path.text",
                        "a path-separated prefix is longer than \"/\", does not end in \"/\", and has no query or fragment",
                    ));
                }
                (PathMatcher::segments(text, plan.ignore_case), Some(text.len()))
            }
            PathMatch::Regex { text } => {
                let pattern =
                    Pattern::compile(&text.0).map_err(|reason| PlanError::new("path.text", reason))?;
                (PathMatcher::pattern(pattern), None)
            }
        };
        let query = plan.query.iter().enumerate().map(|(index, query)| {
            QueryMatcher::compile(query).map_err(|problem| problem.within(&format!("query[{index}]")))
        });
        Ok(Self {
            path,
            matched,
            headers: HeaderMatcher::compile_all(&plan.headers, "headers")?,
            query: query.collect::<Result<_, _>>()?,
            grpc_only: plan.grpc_only,
            share: plan
                .fraction
                .map(Share::compile)
                .transpose()
                .map_err(|problem| problem.within("fraction"))?,
        })
    }

    /// What must have exactly one value, and by which test.
    pub fn wanted_values(&self) -> impl Iterator<Item = (Test, Asked, &[u8])> {
        let path = self.path.only_value().map(|value| (Test::Path, Asked::Path, value));
        let headers = self.headers.iter().enumerate().filter_map(|(index, matcher)| {
            Some((Test::Header(index), Asked::Field(matcher.field.clone()), matcher.only_value()?))
        });
        path.into_iter().chain(headers)
    }

    /// `proven`: a test that is known to hold.
    pub fn matches(&self, head: &RequestHead, proven: Option<Test>, random: u64) -> bool {
        let needs_no_asking = |index| proven == Some(Test::Header(index));
        let mut headers = self.headers.iter().enumerate();
        (proven == Some(Test::Path) || self.path.matches(head.path()))
            && (!self.grpc_only || head.is_grpc())
            && headers.all(|(index, matcher)| needs_no_asking(index) || matcher.matches(head))
            && (self.query.is_empty() || {
                let query = query_of(head.path());
                self.query.iter().all(|matcher| matcher.matches(query))
            })
            && self.share.is_none_or(|share| share.takes(random))
    }

    /// How many bytes of a path that matched a prefix rewrite replaces.
    pub fn matched_length(&self, path: &[u8]) -> usize {
        self.matched.map_or_else(|| without_query(path).len(), |length| length.min(path.len()))
    }
}
