//! A worker in memory: real codecs and the real `Streams`, peers that are byte strings, a clock that tests move.

pub mod bolt;
mod plans;
mod worker;

pub use plans::*;
pub use worker::*;
