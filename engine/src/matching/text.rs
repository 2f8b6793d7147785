//! `envoy.type.matcher.v3.StringMatcher`, compiled.

use super::pattern::Pattern;
use crate::bytes::is_same;
use crate::plan::{PlanError, StringMatch, StringTest};

#[derive(Debug, Clone)]
pub struct TextMatcher {
    test: Test,
    ignore_case: bool,
}

#[derive(Debug, Clone)]
enum Test {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    Regex(Box<Pattern>),
}

impl TextMatcher {
    /// Refuses at `test.text` what is no regular expression.
    pub fn compile(plan: &StringMatch) -> Result<Self, PlanError> {
        let bytes = |text: &String| text.as_bytes().into();
        let test = match &plan.test {
            StringTest::Exact { text } => Test::Exact(bytes(text)),
            StringTest::Prefix { text } => Test::Prefix(bytes(text)),
            StringTest::Suffix { text } => Test::Suffix(bytes(text)),
            StringTest::Contains { text } => Test::Contains(bytes(text)),
            StringTest::Regex { text } => Test::Regex(Box::new(
                Pattern::compile(text).map_err(|reason| PlanError::new("test.text", reason))?,
            )),
        };
        Ok(Self { test, ignore_case: plan.ignore_case })
    }

    pub fn exact(text: &str) -> Self {
        Self { test: Test::Exact(text.as_bytes().into()), ignore_case: false }
    }

    /// The one text that passes, if there is only one.
    pub fn only_value(&self) -> Option<&[u8]> {
        match &self.test {
            Test::Exact(text) if !self.ignore_case => Some(text),
            _ => None,
        }
    }

    /// How dear the test is, by and large in nanoseconds.
    pub fn cost(&self) -> u32 {
        match &self.test {
            Test::Exact(_) | Test::Prefix(_) | Test::Suffix(_) => 5,
            Test::Contains(_) => 30,
            Test::Regex(_) => 100,
        }
    }

    pub fn matches(&self, value: &[u8]) -> bool {
        let equal = |left: &[u8], right: &[u8]| {
            if self.ignore_case { left.eq_ignore_ascii_case(right) } else { is_same(left, right) }
        };
        match &self.test {
            Test::Exact(text) => equal(value, text),
            Test::Prefix(text) => value.get(..text.len()).is_some_and(|start| equal(start, text)),
            Test::Suffix(text) => value
                .len()
                .checked_sub(text.len())
                .and_then(|start| value.get(start..))
                .is_some_and(|end| equal(end, text)),
            Test::Contains(text) => {
                text.is_empty() || value.windows(text.len()).any(|window| equal(window, text))
            }
            Test::Regex(pattern) => pattern.matches(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_with_and_without_case() {
        let kinds = |text: &str| {
            let text = text.to_owned();
            [
                StringTest::Exact { text: text.clone() },
                StringTest::Prefix { text: text.clone() },
                StringTest::Suffix { text: text.clone() },
                StringTest::Contains { text },
            ]
        };
        for (value, expected) in [
            ("cart", [true; 4]),
            ("carts", [false, true, false, true]),
            ("a-cart", [false, false, true, true]),
            ("a-carts", [false, false, false, true]),
            ("car", [false; 4]),
            ("", [false; 4]),
        ] {
            for (test, expected) in kinds("cart").into_iter().zip(expected) {
                for ignore_case in [false, true] {
                    let matcher =
                        TextMatcher::compile(&StringMatch { test: test.clone(), ignore_case }).unwrap();
                    assert_eq!(matcher.matches(value.as_bytes()), expected, "{test:?} on {value}");
                    let upper = value.to_ascii_uppercase();
                    assert_eq!(
                        matcher.matches(upper.as_bytes()),
                        expected && ignore_case,
                        "{test:?} on {upper}"
                    );
                }
            }
        }
    }
}
