//! Protocols without I/O: bytes to events, commands to bytes. See `contract`.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod any;
pub mod contract;
pub mod detect;
pub mod dns;
mod framed;
pub mod h1;
pub mod h2;
pub mod native;
pub mod rpc;
mod syntax;
pub mod tcp;
#[cfg(test)]
pub(crate) mod testing;

pub use any::AnyCodec;
pub use framed::Framed;
