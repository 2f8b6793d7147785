//! `envoy.config.route.v3.QueryParameterMatcher`, compiled. Names and values are compared as they came, not decoded.

use super::text::TextMatcher;
use crate::plan::{PlanError, QueryMatch, QueryTest};

#[derive(Debug, Clone)]
pub struct QueryMatcher {
    name: Box<[u8]>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present(bool),
    Text(TextMatcher),
}

impl QueryMatcher {
    pub fn compile(plan: &QueryMatch) -> Result<Self, PlanError> {
        let test = match &plan.test {
            QueryTest::Present { present } => Test::Present(*present),
            QueryTest::Text { matches } => {
                Test::Text(TextMatcher::compile(matches).map_err(|problem| problem.within("test.matches"))?)
            }
        };
        Ok(Self { name: plan.name.as_bytes().into(), test })
    }

    /// `query`: what follows `?`. The first parameter of the name counts.
    pub fn matches(&self, query: Option<&[u8]>) -> bool {
        let value = query.and_then(|query| {
            query.split(|&byte| byte == b'&').find_map(|pair| {
                let mut halves = pair.splitn(2, |&byte| byte == b'=');
                (halves.next() == Some(&self.name)).then(|| halves.next().unwrap_or(b""))
            })
        });
        match &self.test {
            Test::Present(wanted) => value.is_some() == *wanted,
            Test::Text(matcher) => value.is_some_and(|value| matcher.matches(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{StringMatch, StringTest};

    #[test]
    fn first_parameter_of_the_name_counts() {
        let exact = QueryTest::Text {
            matches: StringMatch { test: StringTest::Exact { text: "1".into() }, ignore_case: false },
        };
        let present = |present| QueryTest::Present { present };
        for (test, query, expected) in [
            (exact.clone(), Some("a=1"), true),
            (exact.clone(), Some("b=2&a=1&a=2"), true),
            (exact.clone(), Some("a=2&a=1"), false),
            (exact.clone(), Some("aa=1"), false),
            (exact, None, false),
            (present(true), Some("a"), true),
            (present(true), Some("b&ab="), false),
            (present(false), None, true),
        ] {
            let matcher = QueryMatcher::compile(&QueryMatch { name: "a".into(), test }).unwrap();
            assert_eq!(matcher.matches(query.map(str::as_bytes)), expected, "{query:?}");
        }
    }
}
