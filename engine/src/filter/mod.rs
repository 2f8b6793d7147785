//! Filters: policy on the way of a request, each a folder, all behind one contract.
//!
//! In: plan structs, compiled by [`Registry`] into a [`Chain`] that a snapshot holds; a worker makes its own [`Instance`] of it.
//! Out: verdicts, and wishes (calls, wake-ups, another route) that the exchange carries out. Invariant: a filter knows its
//! [`Context`] and its own state, nothing else; filters that do not want a callback cost nothing there, and those without state
//! allocate nothing. A new filter is a folder here, a variant in `plan/extension.rs` and a row in `registry.rs`.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod chain;
mod context;
mod contract;
mod header_mutation;
mod instance;
mod local_rate_limit;
mod network;
mod rbac;
mod registry;
mod remembered;
mod state;
#[cfg(test)]
mod testing;

pub use chain::{Chain, Instances};
pub use context::{CallRequest, Context, Direction, Token, Wishes};
pub use contract::{Answer, Data, HttpFilter, HttpFilterFactory, LocalReply, Verdict, Wants};
pub use instance::{Instance, Run, Step};
pub use network::{Counts, NetworkChain, NetworkContext, NetworkFilter, NetworkVerdict};
pub use registry::{Extension, Registry};
pub use remembered::Remembered;
pub use state::{StateSlot, States};
