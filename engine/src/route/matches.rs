//! Whether a route is meant: path, headers, query, and its share of requests.

use crate::matching::{Field, HeaderMatcher, Pattern, QueryMatcher, query_of, without_query};
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
        random % self.denominator < self.numerator
    }
}

/// The path part of a match. Bytes of the route are compared with the path as it came, without query.
#[derive(Debug, Clone)]
enum PathTest {
    Prefix(Box<[u8]>),
    Exact(Box<[u8]>),
    SeparatedPrefix(Box<[u8]>),
    Regex(Box<Pattern>),
}

#[derive(Debug, Clone)]
pub(super) struct Matcher {
    path: PathTest,
    ignore_case: bool,
    headers: Box<[HeaderMatcher]>,
    query: Box<[QueryMatcher]>,
    grpc_only: bool,
    share: Option<Share>,
}

impl Matcher {
    pub fn compile(plan: &RouteMatch) -> Result<Self, PlanError> {
        let path = match &plan.path {
            PathMatch::Prefix { text } => PathTest::Prefix(text.as_bytes().into()),
            PathMatch::Exact { text } => PathTest::Exact(text.as_bytes().into()),
            PathMatch::SeparatedPrefix { text } => {
                if text.len() < 2 || text.ends_with('/') || text.contains(['?', '#']) {
                    return Err(PlanError::new(
                        "path.text",
                        "a path-separated prefix is longer than \"/\", does not end in \"/\", and has no query or fragment",
                    ));
                }
                PathTest::SeparatedPrefix(text.as_bytes().into())
            }
            PathMatch::Regex { text } => PathTest::Regex(Box::new(
                Pattern::compile(&text.0).map_err(|reason| PlanError::new("path.text", reason))?,
            )),
        };
        let query = plan.query.iter().enumerate().map(|(index, query)| {
            QueryMatcher::compile(query).map_err(|problem| problem.within(&format!("query[{index}]")))
        });
        Ok(Self {
            path,
            ignore_case: plan.ignore_case,
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

    /// Header fields that must have exactly one value.
    pub fn wanted_values(&self) -> impl Iterator<Item = (&Field, &[u8])> {
        self.headers.iter().filter_map(|matcher| Some((&matcher.field, matcher.only_value()?)))
    }

    pub fn matches(&self, head: &RequestHead, bare_path: &[u8], random: u64) -> bool {
        self.matches_path(bare_path)
            && (!self.grpc_only || head.is_grpc())
            && self.headers.iter().all(|matcher| matcher.matches(head))
            && (self.query.is_empty() || {
                let query = query_of(head.path());
                self.query.iter().all(|matcher| matcher.matches(query))
            })
            && self.share.is_none_or(|share| share.takes(random))
    }

    fn matches_path(&self, path: &[u8]) -> bool {
        match &self.path {
            PathTest::Prefix(text) => path.get(..text.len()).is_some_and(|start| self.equal(start, text)),
            PathTest::Exact(text) => self.equal(path, text),
            PathTest::SeparatedPrefix(text) => {
                path.get(..text.len()).is_some_and(|start| self.equal(start, text))
                    && matches!(path.get(text.len()), None | Some(b'/'))
            }
            PathTest::Regex(pattern) => pattern.matches(path),
        }
    }

    fn equal(&self, left: &[u8], right: &[u8]) -> bool {
        if self.ignore_case { left.eq_ignore_ascii_case(right) } else { left == right }
    }

    /// How many bytes of a path that matched a prefix rewrite replaces.
    pub fn matched_length(&self, path: &[u8]) -> usize {
        match &self.path {
            PathTest::Prefix(text) | PathTest::SeparatedPrefix(text) => text.len().min(path.len()),
            PathTest::Exact(_) | PathTest::Regex(_) => without_query(path).len(),
        }
    }
}
