//! HTTP/1.1 and 1.0 (RFC 9112), both roles.
//!
//! `head`, `fields` and `body` are the only places that judge what a peer framed; `write` frames anew from what was understood,
//! so no doubt about lengths ever travels on. `server` and `client` are the connections.

mod body;
mod client;
mod fields;
mod head;
mod server;
#[cfg(test)]
mod tests;
mod write;

pub use client::Client;
pub use server::Server;

/// Limits and habits of one connection. The defaults are those of ARCHITECTURE.md's table of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a head, and of trailers; more is 431 (414 within the request line).
    pub max_head_bytes: usize,
    /// Fields of a head, and of trailers; more is 431.
    pub max_fields: usize,
    /// From a head's first byte to its last, milliseconds; later is 408. `None` = unlimited.
    pub head_timeout: Option<u64>,
    /// Otherwise HTTP/1.0 requests get 426.
    pub accept_http_10: bool,
    /// Otherwise requests with an absolute target get 400.
    pub absolute_form: bool,
    /// Leave `Expect: 100-continue` to the upstream instead of answering it at once.
    pub pass_expect: bool,
    /// Otherwise trailers are dropped both ways.
    pub trailers: bool,
    /// The connection is TLS: the scheme of requests in origin form.
    pub is_tls: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_head_bytes: 60 * 1024,
            max_fields: 100,
            head_timeout: Some(10_000),
            accept_http_10: true,
            absolute_form: true,
            pass_expect: false,
            trailers: true,
            is_tls: false,
        }
    }
}

/// Bytes that HTTP/1 forbids, or that go beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Malformed {
    /// What a server answers.
    status: u16,
    what: &'static str,
}

const fn bad(what: &'static str) -> Malformed {
    Malformed { status: 400, what }
}
