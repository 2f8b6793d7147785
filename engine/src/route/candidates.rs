//! Which routes of a virtual host can match at all: where many of them test the path, or one header, for equality, its value leaves few.
//!
//! In: the matchers of all routes, later a request. Out: the first route that matches. Routes are asked in order, all that can match
//! among them; whether one does is still asked of its matcher, but for the test that the value has passed by finding it.

use std::collections::HashMap;

use super::matches::{Asked, Matcher, Test};
use crate::matching::{Field, without_query};
use crate::message::{QuickHash, RequestHead, Values};

/// Routes that test the same for equality before it is worth a look-up.
const WORTH_IT: usize = 4;

/// The routes to ask, for any request.
#[derive(Debug, Default)]
pub(super) struct Candidates(Option<ByValue>);

#[derive(Debug)]
struct ByValue {
    asked: Asked,
    /// Routes that want this value of it.
    routes: HashMap<Box<[u8]>, Vec<Wanting>, QuickHash>,
    /// Routes that take any value.
    others: Vec<usize>,
}

/// A route, and which of its tests a value has passed that led to it.
#[derive(Debug)]
struct Wanting {
    route: usize,
    test: Test,
}

impl Candidates {
    pub fn new<'m>(matchers: impl Iterator<Item = &'m Matcher> + Clone) -> Self {
        let mut counts: HashMap<Asked, usize> = HashMap::new();
        for (_, asked, _) in matchers.clone().flat_map(Matcher::wanted_values) {
            *counts.entry(asked).or_default() += 1;
        }
        let Some((asked, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
            return Self::default();
        };
        if count < WORTH_IT {
            return Self::default();
        }
        let mut made = ByValue { asked, routes: HashMap::default(), others: Vec::new() };
        for (route, matcher) in matchers.enumerate() {
            match matcher.wanted_values().find(|(_, asked, _)| *asked == made.asked) {
                Some((test, _, value)) => {
                    made.routes.entry(value.into()).or_default().push(Wanting { route, test });
                }
                None => made.others.push(route),
            }
        }
        Self(Some(made))
    }

    /// The first of so many routes that `matches(route, test)`; `test`: the one that needs no asking.
    pub fn first(
        &self,
        head: &RequestHead,
        routes: usize,
        matches: impl Fn(usize, Option<Test>) -> bool,
    ) -> Option<usize> {
        let any = || (0..routes).find(|&route| matches(route, None));
        let Some(by_value) = &self.0 else { return any() };
        let wanting = match &by_value.asked {
            Asked::Path => by_value.routes.get(without_query(head.path())),
            Asked::Field(Field::Header(name)) => match head.headers.values(name) {
                Values::None => None,
                Values::One(value) => by_value.routes.get(value),
                // Each of them is tested by itself: too rare to be worth a look-up of its own.
                Values::Several => return any(),
            },
            Asked::Field(field) => field.of_request(head).and_then(|value| by_value.routes.get(&*value)),
        };
        let mut others = by_value.others.as_slice();
        for wanting in wanting.map_or(&[][..], Vec::as_slice) {
            while let Some((&route, behind)) = others.split_first()
                && route < wanting.route
            {
                if matches(route, None) {
                    return Some(route);
                }
                others = behind;
            }
            if matches(wanting.route, Some(wanting.test)) {
                return Some(wanting.route);
            }
        }
        others.iter().copied().find(|&route| matches(route, None))
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
        by_path(PathMatch::Prefix { text: "/".to_owned() }, false, headers)
    }

    fn by_path(path: PathMatch, ignore_case: bool, headers: Vec<(u8, u8, bool, bool)>) -> Matcher {
        let plan = RouteMatch {
            path,
            ignore_case,
            headers: headers.into_iter().map(wants).collect(),
            query: vec![],
            grpc_only: false,
            fraction: None,
        };
        Matcher::compile(&plan).unwrap()
    }

    proptest! {
        #[test]
        fn each_route_that_matches_is_found_in_its_turn(
            routes in proptest::collection::vec((
                "/[ab?]?", any::<bool>(), any::<bool>(),
                proptest::collection::vec((0u8..2, 0u8..4, any::<bool>(), any::<bool>()), 0..3),
            ), 0..12),
            path in "/[aAb]?[?#]?a?",
            fields in proptest::collection::vec((0u8..2, 0u8..5), 0..4),
        ) {
            let made = |(text, is_exact, ignore_case, headers)| {
                let path = if is_exact { PathMatch::Exact { text } } else { PathMatch::Prefix { text } };
                by_path(path, ignore_case, headers)
            };
            let matchers: Vec<_> = routes.into_iter().map(made).collect();
            let mut head = RequestHead::default();
            for (name, value) in fields {
                head.headers.push(format!("x-{name}").as_bytes(), format!("v{value}").as_bytes());
            }
            head.set_path(path.as_bytes());
            let candidates = Candidates::new(matchers.iter());
            let matching = |route: usize| matchers[route].matches(&head, None, 0);
            // Each in its turn is the first when those before it are passed over.
            let mut passed = 0;
            for expected in (0..matchers.len()).filter(|&route| matching(route)) {
                let found = candidates.first(&head, matchers.len(), |route, test| {
                    let is_meant = matchers[route].matches(&head, test, 0);
                    assert_eq!(is_meant, matching(route), "{route} {test:?}");
                    is_meant && route >= passed
                });
                prop_assert_eq!(found, Some(expected));
                passed = expected + 1;
            }
            let last = candidates.first(&head, matchers.len(), |route, test| {
                matchers[route].matches(&head, test, 0) && route >= passed
            });
            prop_assert_eq!(last, None);
        }
    }

    #[test]
    fn routes_by_one_header_leave_one_to_ask() {
        let matchers: Vec<_> = (0..10).map(|value| matcher(vec![(0, value, false, false)])).collect();
        let candidates = Candidates::new(matchers.iter());
        let mut head = RequestHead::default();
        head.headers.push(b"x-0", b"v7");
        let asked = std::cell::RefCell::new(Vec::new());
        candidates.first(&head, matchers.len(), |route, test| {
            asked.borrow_mut().push((route, test));
            false
        });
        assert_eq!(*asked.borrow(), [(7, Some(Test::Header(0)))]);
    }

    #[test]
    fn routes_by_exact_path_leave_one_to_ask() {
        let exact = |number| PathMatch::Exact { text: format!("/shop.Cart/Do{number}") };
        let matchers: Vec<_> = (0..10).map(|number| by_path(exact(number), false, vec![])).collect();
        let candidates = Candidates::new(matchers.iter());
        let mut head = RequestHead::default();
        head.set_path(b"/shop.Cart/Do4?x=1");
        let found = candidates.first(&head, matchers.len(), |route, test| {
            assert_eq!((route, test), (4, Some(Test::Path)));
            matchers[route].matches(&head, test, 0)
        });
        assert_eq!(found, Some(4));
    }
}
