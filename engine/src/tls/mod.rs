//! TLS as a transport under the codec, over rustls' unbuffered interface: our buffers only.
//!
//! In: plan structs with the secrets they name, and bytes of one connection. Out: contexts shared by connections, plain
//! bytes, bytes to send, and the peer's verified identity, known before the first event of a codec. No socket, no HTTP.

mod cell;
mod certificate;
mod context;
mod fault;
mod inspect;
mod keys;
mod material;
mod step;
#[cfg(test)]
mod tests;
mod transport;
mod verify;

pub use cell::{ClientCell, ServerCell};
pub use certificate::{describe, validity};
pub use context::{ClientContext, ClientParts, ServerContext};
pub use fault::{FaultKind, TlsFault};
pub use inspect::{ClientHello, Inspected, inspect};
pub use keys::{Key, KeyError};
pub use material::{Material, Secrets};
pub use transport::{Opened, Transport};
