//! What heads of calls look like to routes, policies and logs: the same for every native codec.

use crate::codec::rpc::is_unreadable;
use crate::message::{Protocol, RequestHead, Span};

/// What a call asks for.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// The protocol's name.
    pub scheme: &'a str,
    pub service: &'a [u8],
    pub method: &'a [u8],
}

/// Names the call: authority = service, path = `/service/method`. Gives where service and method lie, for `Frame`; `None` if they have
/// characters that none has: policies read the path, and nobody may shift its slash.
pub fn put_name(head: &mut RequestHead, name: Name<'_>) -> Option<(Span, Span)> {
    let path = [b"/", name.service, b"/", name.method].concat();
    if name.method.contains(&b'/') || is_unreadable(&path) {
        return None;
    }
    head.protocol = Protocol::Rpc;
    let scheme = head.headers.stash(name.scheme.as_bytes());
    let verb = head.headers.stash(b"POST");
    let path = head.headers.stash(&path);
    let service = Span { start: path.start + 1, length: name.service.len() as u32 };
    let method = Span { start: service.start + service.length + 1, length: name.method.len() as u32 };
    head.set_spans(verb, scheme, service, path);
    Some((service, method))
}
