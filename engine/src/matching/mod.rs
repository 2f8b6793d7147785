//! Matchers of text, headers, query parameters and addresses, compiled once from the plan and shared by TLS, routes and policies.
//!
//! In: plan structs, and later values of a request. Out: yes or no, without allocation. Invariant: no value of a peer makes
//! a matcher run longer than linear time (regular expressions are automata of bounded size).
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod address;
mod header;
mod path;
mod pattern;
mod query;
mod text;

pub use address::Range;
pub use header::{Field, HeaderMatcher, Lent};
pub use path::PathMatcher;
pub use pattern::{MAX_PATTERN_BYTES, Pattern, Substitution};
pub use query::QueryMatcher;
pub use text::TextMatcher;

/// A path without its query and fragment.
pub fn without_query(path: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'?', b'#', path).unwrap_or(path.len());
    path.get(..end).unwrap_or(path)
}

/// The query of a path, without `?` and fragment; `None` if it has none.
pub fn query_of(path: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr2(b'?', b'#', path)?;
    let rest = path.get(start..)?.strip_prefix(b"?")?;
    let end = rest.iter().position(|&byte| byte == b'#').unwrap_or(rest.len());
    rest.get(..end)
}
