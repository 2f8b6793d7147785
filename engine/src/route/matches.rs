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

    /// Header fields that must have exactly one value, each with the index of its test.
    pub fn wanted_values(&self) -> impl Iterator<Item = (usize, &Field, &[u8])> {
        let tests = self.headers.iter().enumerate();
        tests.filter_map(|(index, matcher)| Some((index, &matcher.field, matcher.only_value()?)))
    }

    /// `proven`: the index of a header's test that is known to hold.
    pub fn matches(&self, head: &RequestHead, proven: Option<usize>, random: u64) -> bool {
        self.path.matches(head.path())
            && (!self.grpc_only || head.is_grpc())
            && self
                .headers
                .iter()
                .enumerate()
                .all(|(index, matcher)| Some(index) == proven || matcher.matches(head))
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
