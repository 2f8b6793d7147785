//! Matches on strings, headers and query parameters, shared by routes and policies.

use serde::{Deserialize, Serialize};

/// `envoy.type.matcher.v3.StringMatcher`. `ignore_case` does not apply to regexes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringMatch {
    pub test: StringTest,
    pub ignore_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StringTest {
    Exact {
        text: String,
    },
    Prefix {
        text: String,
    },
    Suffix {
        text: String,
    },
    Contains {
        text: String,
    },
    /// RE2 syntax; the whole string must match, as in Envoy.
    Regex {
        text: String,
    },
}

/// A regular expression in RE2 syntax (`envoy.type.matcher.v3.RegexMatcher`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Regex(pub String);

/// `envoy.config.route.v3.HeaderMatcher`. Pseudo-headers are `:authority`, `:method`, `:path`, `:scheme`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderMatch {
    pub name: String,
    pub test: HeaderTest,
    /// The match succeeds when the test fails. An absent header fails every test but `Present { present: false }`.
    pub invert: bool,
    /// An absent header is tested as an empty one.
    pub absent_as_empty: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeaderTest {
    Present {
        present: bool,
    },
    Text {
        matches: StringMatch,
    },
    /// `start` inclusive, `end` exclusive.
    Range {
        start: i64,
        end: i64,
    },
}

/// `envoy.config.route.v3.QueryParameterMatcher`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryMatch {
    pub name: String,
    pub test: QueryTest,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum QueryTest {
    Present { present: bool },
    Text { matches: StringMatch },
}
