//! Tests of a request's path without its query and fragment, made on the path as it came.
//!
//! Where the query begins is looked for only by a test that must know: no text with `?` or `#` in it starts a bare path, so
//! that a prefix of the whole path without them is one of the bare path too.

use super::pattern::Pattern;
use super::text::TextMatcher;
use super::without_query;
use crate::bytes::is_same;
use crate::plan::{PlanError, StringMatch, StringTest};

#[derive(Debug, Clone)]
pub struct PathMatcher {
    test: Test,
    ignore_case: bool,
}

#[derive(Debug, Clone)]
enum Test {
    /// The text has `?` or `#` in it, and no bare path has.
    Never,
    Prefix(Box<[u8]>),
    Exact(Box<[u8]>),
    /// A prefix that ends where a segment does.
    Segments(Box<[u8]>),
    Pattern(Box<Pattern>),
    Text(TextMatcher),
}

impl PathMatcher {
    /// Refuses at `test.text` what is no regular expression.
    pub fn compile(plan: &StringMatch) -> Result<Self, PlanError> {
        Ok(match &plan.test {
            StringTest::Exact { text } => Self::exact(text, plan.ignore_case),
            StringTest::Prefix { text } => Self::prefix(text, plan.ignore_case),
            _ => Self { test: Test::Text(TextMatcher::compile(plan)?), ignore_case: plan.ignore_case },
        })
    }

    pub fn prefix(text: &str, ignore_case: bool) -> Self {
        Self::of(text, ignore_case, Test::Prefix)
    }

    pub fn exact(text: &str, ignore_case: bool) -> Self {
        Self::of(text, ignore_case, Test::Exact)
    }

    /// `/a` is a prefix of `/a` and `/a/b`, but not of `/ab`.
    pub fn segments(text: &str, ignore_case: bool) -> Self {
        Self::of(text, ignore_case, Test::Segments)
    }

    pub fn pattern(pattern: Pattern) -> Self {
        Self { test: Test::Pattern(Box::new(pattern)), ignore_case: false }
    }

    fn of(text: &str, ignore_case: bool, test: fn(Box<[u8]>) -> Test) -> Self {
        let test = if text.contains(['?', '#']) { Test::Never } else { test(text.as_bytes().into()) };
        Self { test, ignore_case }
    }

    /// The one bare path that passes, if there is only one.
    pub fn only_value(&self) -> Option<&[u8]> {
        match &self.test {
            Test::Exact(text) if !self.ignore_case => Some(text),
            _ => None,
        }
    }

    /// `path` with its query.
    pub fn matches(&self, path: &[u8]) -> bool {
        let starts = |text: &[u8]| {
            path.get(..text.len()).is_some_and(|start| {
                if self.ignore_case { start.eq_ignore_ascii_case(text) } else { is_same(start, text) }
            })
        };
        let next = |text: &[u8]| path.get(text.len());
        match &self.test {
            Test::Never => false,
            Test::Prefix(text) => starts(text),
            Test::Exact(text) => starts(text) && matches!(next(text), None | Some(b'?' | b'#')),
            Test::Segments(text) => starts(text) && matches!(next(text), None | Some(b'/' | b'?' | b'#')),
            Test::Pattern(pattern) => pattern.matches(without_query(path)),
            Test::Text(matcher) => matcher.matches(without_query(path)),
        }
    }

    /// How dear the test is, by and large in nanoseconds.
    pub fn cost(&self) -> u32 {
        match &self.test {
            Test::Never | Test::Prefix(_) | Test::Exact(_) | Test::Segments(_) => 5,
            Test::Pattern(_) => 100,
            Test::Text(matcher) => 10 + matcher.cost(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_path_as_it_came_tells_what_the_bare_one_tells(
            text in "[/aB?#]{0,3}", path in "/[/aAbB?#]{0,6}", ignore_case: bool, kind in 0..5,
        ) {
            let bare = path.split(['?', '#']).next().unwrap();
            let equal = |left: &str, right: &str| {
                if ignore_case { left.eq_ignore_ascii_case(right) } else { left == right }
            };
            let starts = bare.get(..text.len()).is_some_and(|start| equal(start, &text));
            let string = |test| PathMatcher::compile(&StringMatch { test, ignore_case }).unwrap();
            let text = text.clone();
            let (made, expected) = match kind {
                0 => (PathMatcher::prefix(&text, ignore_case), starts),
                1 => (PathMatcher::exact(&text, ignore_case), equal(bare, &text)),
                2 => {
                    let rest = starts.then(|| bare.get(text.len()..).unwrap());
                    let ends = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                    (PathMatcher::segments(&text, ignore_case), ends)
                }
                3 => {
                    let end = bare.len().checked_sub(text.len()).and_then(|start| bare.get(start..));
                    let ends = end.is_some_and(|end| equal(end, &text));
                    (string(StringTest::Suffix { text }), ends)
                }
                _ => {
                    let pattern = format!("{}.*", regex::escape(&text));
                    let starts = bare.starts_with(&text);
                    (PathMatcher::pattern(Pattern::compile(&pattern).unwrap()), starts)
                }
            };
            prop_assert_eq!(made.matches(path.as_bytes()), expected, "{:?} on {}", made, path);
            if let Some(only) = made.only_value() {
                prop_assert_eq!(bare.as_bytes() == only, expected);
            }
        }
    }
}
