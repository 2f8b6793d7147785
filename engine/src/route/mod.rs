//! Which way a request, or a connection, goes: decided from the head, the tables and a random number, and nothing else.
//!
//! In: plan structs once, then heads. Out: a [`Decision`] that the exchange carries out, and the changes a route makes to heads.
//! Invariant: deciding allocates nothing (save for clusters named by a header, and redirects), looks up hosts in constant
//! time and is pure: equal inputs give equal decisions. Callers: `snapshot` compiles, `stream` and `reactor` decide.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod action;
mod candidates;
mod chain_match;
mod headers;
mod host;
mod matches;
mod overrides;
mod redirect;
mod retry;
mod rewrite;
mod table;
#[cfg(test)]
mod tests;
mod weight;

pub use action::{Action, Fixed, Forward, IdleTimeout, Mirror};
pub use chain_match::{ChainInput, ChainTable};
pub use headers::{HeaderChanges, RequestSource, ResponseSource};
pub use matches::Share;
pub use overrides::{CompileOverride, NoOverrides, Override, Overrides};
pub use retry::{RetryOn, RetryPolicy};
pub use rewrite::set_host;
pub use table::{CompiledRoute, Decision, RouteInput, Table, VirtualHost};
