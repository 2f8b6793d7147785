//! Protocols without I/O: bytes to events, commands to bytes. See `contract`.

pub mod contract;
