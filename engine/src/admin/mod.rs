//! The admin listener: what an operator at three in the morning asks a proxy, answered by a thread of its own.
//!
//! In: HTTP/1.1 requests on loopback. Out: pages. Invariant: it answers while every worker is busy and while Python is
//! stuck; what changes something is POST only; the Host header must name a loopback address (DNS rebinding); secrets are
//! on no page. The application beside us has a listener of its own (`lent`). Nothing here knows a codec or a worker: `Pages` is all it asks.

mod certs;
mod clusters;
mod config_dump;
mod console;
mod lent;
mod listeners;
mod questions;
mod request;
mod server;
mod stats;
#[cfg(test)]
mod tests;
mod view;

pub use console::Console;
pub use questions::{APPLICATIONS_PATIENCE, OPERATORS_PATIENCE, Questions};
pub use request::{Method, Request};
pub use server::{Admin, Answer, Audience, Pages};
pub use view::{State, View};
