//! Which routes of a virtual host can match at all: where many of them test one header for equality, its value leaves few.
//!
//! In: the matchers of all routes, later a request. Out: indices in order, among which is every route that matches. Whether one does
//! is still asked of its matcher.

use std::borrow::Cow;
use std::collections::HashMap;

use super::matches::Matcher;
use crate::matching::Field;
use crate::message::{QuickHash, RequestHead};

/// Routes that test a header for equality before it is worth a look-up.
const WORTH_IT: usize = 4;

/// The routes to ask, for any request.
#[derive(Debug, Default)]
pub(super) struct Candidates(Option<ByValue>);

#[derive(Debug)]
struct ByValue {
    field: Field,
    /// Routes that want this value of the field.
    routes: HashMap<Box<[u8]>, Vec<u32>, QuickHash>,
    /// Routes that take any value of it.
    others: Vec<u32>,
}

impl Candidates {
    pub fn new<'m>(matchers: impl Iterator<Item = &'m Matcher> + Clone) -> Self {
        let mut counts: HashMap<&Field, usize> = HashMap::new();
        for (field, _) in matchers.clone().flat_map(Matcher::wanted_values) {
            *counts.entry(field).or_default() += 1;
        }
        let Some((field, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
            return Self::default();
        };
        if count < WORTH_IT {
            return Self::default();
        }
        let mut made = ByValue { field: field.clone(), routes: HashMap::default(), others: Vec::new() };
        for (index, matcher) in matchers.enumerate() {
            let wanted = matcher.wanted_values().find(|(known, _)| *known == field);
            let list = match wanted {
                Some((_, value)) => made.routes.entry(value.into()).or_default(),
                None => &mut made.others,
            };
            list.push(index as u32);
        }
        Self(Some(made))
    }

    /// Indices of the routes to ask, in order; `None`: all of them.
    pub fn of(&self, head: &RequestHead) -> Option<impl Iterator<Item = usize>> {
        let by_value = self.0.as_ref()?;
        let value = match &by_value.field {
            Field::Header(name) => {
                let mut values = head.headers.all(name);
                let first = values.next();
                if values.next().is_some() {
                    // Each of them is tested by itself: too rare to be worth a look-up of its own.
                    return None;
                }
                first.map(Cow::Borrowed)
            }
            field => field.of_request(head),
        };
        let wanted = value.and_then(|value| by_value.routes.get(&*value)).map_or(&[][..], Vec::as_slice);
        let (mut wanted, mut others) = (wanted.iter().peekable(), by_value.others.iter().peekable());
        Some(std::iter::from_fn(move || {
            let from_wanted = match (wanted.peek(), others.peek()) {
                (Some(left), Some(right)) => left < right,
                (left, _) => left.is_some(),
            };
            let next = if from_wanted { wanted.next() } else { others.next() };
            next.map(|index| *index as usize)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{HeaderMatch, HeaderTest, PathMatch, RouteMatch, StringMatch, StringTest};
    use proptest::prelude::*;

    fn wants((name, value, invert, ignore_case): (u8, u8, bool, bool)) -> HeaderMatch {
        let test = StringTest::Exact { text: format!("v{value}") };
        HeaderMatch {
            name: format!("x-{name}"),
            test: HeaderTest::Text { matches: StringMatch { test, ignore_case } },
            invert,
            absent_as_empty: false,
        }
    }

    fn matcher(headers: Vec<(u8, u8, bool, bool)>) -> Matcher {
        let plan = RouteMatch {
            path: PathMatch::Prefix { text: "/".to_owned() },
            ignore_case: false,
            headers: headers.into_iter().map(wants).collect(),
            query: vec![],
            grpc_only: false,
            fraction: None,
        };
        Matcher::compile(&plan).unwrap()
    }

    proptest! {
        #[test]
        fn every_route_that_matches_is_asked_in_order(
            routes in proptest::collection::vec(
                proptest::collection::vec((0u8..2, 0u8..4, any::<bool>(), any::<bool>()), 0..3), 0..12),
            fields in proptest::collection::vec((0u8..2, 0u8..5), 0..4),
        ) {
            let matchers: Vec<_> = routes.into_iter().map(matcher).collect();
            let mut head = RequestHead::default();
            for (name, value) in fields {
                head.headers.push(format!("x-{name}").as_bytes(), format!("v{value}").as_bytes());
            }
            let matching = |index: &usize| matchers[*index].matches(&head, b"/", 0);
            let asked: Vec<_> = match Candidates::new(matchers.iter()).of(&head) {
                Some(few) => few.filter(matching).collect(),
                None => (0..matchers.len()).filter(matching).collect(),
            };
            let all: Vec<_> = (0..matchers.len()).filter(matching).collect();
            prop_assert_eq!(asked, all);
        }
    }

    #[test]
    fn routes_by_one_header_leave_one_to_ask() {
        let matchers: Vec<_> = (0..10).map(|value| matcher(vec![(0, value, false, false)])).collect();
        let candidates = Candidates::new(matchers.iter());
        let mut head = RequestHead::default();
        head.headers.push(b"x-0", b"v7");
        assert_eq!(candidates.of(&head).unwrap().collect::<Vec<_>>(), [7]);
    }
}
