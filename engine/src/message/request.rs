//! Head of a request, whatever protocol carried it.

use super::frame::Frame;
use super::headers::{HeaderBlock, Span};

/// What carried a message. `Rpc` is any framed protocol described as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    Http10,
    #[default]
    Http11,
    Http2,
    Rpc,
    Tcp,
}

impl Protocol {
    /// As Envoy's `%PROTOCOL%` prints it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Rpc => "RPC",
            Self::Tcp => "-",
        }
    }
}

/// What is known of a body's length when its head arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// The head ends the message.
    #[default]
    Empty,
    Known(u64),
    /// Delimited by chunks, frames or the end of the connection.
    Unknown,
}

/// Head of a request. For RPC, authority = service, path = `/service/method`, method = `POST`.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// Header fields; never pseudo-headers, never `Host` (it is the authority).
    pub headers: HeaderBlock,
    pub protocol: Protocol,
    pub body: BodyLength,
    /// Protocol asked for by `Upgrade` (lower-case, in `headers`' arena), when this is an upgrade request.
    pub upgrade: Option<Span>,
    /// The caller expects no answer (RPC).
    pub one_way: bool,
    /// Milliseconds the caller still waits, where the protocol says so (grpc-timeout stays a header; RPC frames have a field).
    pub deadline_milliseconds: Option<u64>,
    /// As it came, where a framed protocol carried it.
    pub frame: Option<Frame>,
    method: Span,
    scheme: Span,
    authority: Span,
    path: Span,
}

impl RequestHead {
    pub fn method(&self) -> &[u8] {
        self.headers.slice(self.method)
    }
    /// `http` or `https`.
    pub fn scheme(&self) -> &[u8] {
        self.headers.slice(self.scheme)
    }
    pub fn authority(&self) -> &[u8] {
        self.headers.slice(self.authority)
    }
    /// Path with query, as in the request target's origin form.
    pub fn path(&self) -> &[u8] {
        self.headers.slice(self.path)
    }
    /// The method of a call of a framed protocol; no method has a slash in its name.
    pub fn rpc_method(&self) -> Option<&[u8]> {
        if self.protocol != Protocol::Rpc {
            return None;
        }
        let path = self.path();
        path.get(memchr::memrchr(b'/', path)? + 1..)
    }
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|span| self.headers.slice(span))
    }

    pub fn set_method(&mut self, value: &[u8]) {
        self.method = self.headers.stash(value);
    }
    pub fn set_scheme(&mut self, value: &[u8]) {
        self.scheme = self.headers.stash(value);
    }
    pub fn set_authority(&mut self, value: &[u8]) {
        self.authority = self.headers.stash(value);
    }
    pub fn set_path(&mut self, value: &[u8]) {
        self.path = self.headers.stash(value);
    }

    /// For codecs whose arena already holds the texts.
    pub fn set_spans(&mut self, method: Span, scheme: Span, authority: Span, path: Span) {
        (self.method, self.scheme, self.authority, self.path) = (method, scheme, authority, path);
    }

    /// `application/grpc` and its kin: decides the form of local replies and how outcomes are read.
    pub fn is_grpc(&self) -> bool {
        if self.protocol == Protocol::Rpc {
            // Whatever a frame's map says.
            return false;
        }
        self.headers
            .get_id(super::NameId::CONTENT_TYPE)
            .and_then(|value| value.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    }

    /// Forgets everything but keeps the memory. Named one by one, so that no field is forgotten and none is moved.
    pub fn clear(&mut self) {
        let Self {
            headers,
            protocol,
            body,
            upgrade,
            one_way,
            deadline_milliseconds,
            frame,
            method,
            scheme,
            authority,
            path,
        } = self;
        headers.clear();
        (*protocol, *body, *upgrade, *one_way) = (Protocol::default(), BodyLength::default(), None, false);
        (*deadline_milliseconds, *frame) = (None, None);
        for span in [method, scheme, authority, path] {
            *span = Span::default();
        }
    }
}
