//! The data plane of Mainstay: every byte of traffic passes here, and nothing that is not per byte or per request.
//!
//! Rooms in one-way order, each importing only those above it: `bytes`, `message`, `plan`, `matching`, `codec`, `tls`, `route`,
//! `telemetry`, `filter`, `upstream`, `snapshot`, `stream`, `reactor`, `admin`, `py`. ARCHITECTURE.md has the map.
#![cfg_attr(test, recursion_limit = "256")]

pub mod admin;
pub mod bytes;
pub mod codec;
pub mod engine;
pub mod filter;
pub mod matching;
pub mod message;
pub mod plan;
#[cfg(feature = "python")]
mod py;
pub mod reactor;
pub mod route;
pub mod snapshot;
pub mod stream;
pub mod telemetry;
pub mod tls;
pub mod upstream;
