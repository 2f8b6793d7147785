//! Replies made here, in the form that the protocol of the request asks for.
//!
//! HTTP: status, text, `content-length`. gRPC: trailers-only, 200 with the status that corresponds (RFC: gRPC over HTTP/2,
//! "HTTP2 Transport Mapping"). A reply passes the response filters as any response does.

use std::borrow::Cow;

use super::exchange::{Exchange, Phase};
use super::port::Port;
use super::shared::Turn;
use crate::bytes::decimal;
use crate::filter::LocalReply;
use crate::message::{BodyLength, NameId, Protocol, RequestHead, ResetReason, ResponseFlags, ResponseHead};

/// The gRPC status that stands for an HTTP status (gRPC's `http-grpc-status-mapping`).
pub fn grpc_status_of(status: u16) -> u32 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The HTTP status that stands for a gRPC status, for outlier detection.
pub fn status_of_grpc(grpc_status: u32) -> u16 {
    match grpc_status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Percent-encodes what `grpc-message` must not hold raw.
pub fn grpc_message(text: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    text.iter().fold(Vec::with_capacity(text.len()), |mut message, &byte| {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            message.push(byte);
        } else {
            message.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
        message
    })
}

/// Head and body of a reply to `request`.
pub fn form(request: &RequestHead, reply: LocalReply) -> (Box<ResponseHead>, Cow<'static, [u8]>) {
    let mut head = Box::new(ResponseHead::with_status(reply.status));
    head.headers = reply.headers;
    if request.protocol == Protocol::Rpc {
        if reply.flags.contains(ResponseFlags::RATE_LIMITED) {
            // The codec tells who is busy from who cannot be reached by it; it stands in no frame.
            head.headers.set_id(NameId::X_ENVOY_RATELIMITED, b"true");
        }
        if !reply.body.is_empty() {
            head.body = BodyLength::Known(reply.body.len() as u64);
        }
        return (head, reply.body);
    }
    if request.is_grpc() {
        let status = reply.grpc_status.unwrap_or_else(|| grpc_status_of(reply.status));
        head.status = 200;
        head.headers.set_id(NameId::CONTENT_TYPE, b"application/grpc");
        head.headers.set_id(NameId::GRPC_STATUS, decimal(status.into()).as_bytes());
        if !reply.body.is_empty() {
            head.headers.set_id(NameId::GRPC_MESSAGE, &grpc_message(&reply.body));
        }
        return (head, Cow::Borrowed(b""));
    }
    if !reply.body.is_empty() {
        if !head.headers.contains_id(NameId::CONTENT_TYPE) {
            head.headers.push_id(NameId::CONTENT_TYPE, b"text/plain");
        }
        head.headers.set_id(NameId::CONTENT_LENGTH, decimal(reply.body.len() as u64).as_bytes());
        head.body = BodyLength::Known(reply.body.len() as u64);
    }
    if request.method() == b"HEAD" {
        return (head, Cow::Borrowed(b""));
    }
    (head, reply.body)
}

/// A reply with a flag.
#[cold]
pub fn flagged(
    status: u16,
    body: &'static str,
    details: impl Into<Cow<'static, str>>,
    flags: ResponseFlags,
) -> LocalReply {
    LocalReply { flags, ..LocalReply::new(status, body, details) }
}

impl Exchange {
    /// Ends the exchange with a reply of ours; where a response is on its way already, by a reset.
    #[cold]
    pub fn reply<P: Port>(&mut self, turn: &mut Turn<'_, P>, reply: LocalReply) {
        if self.is_finished() {
            return;
        }
        self.notes.flags.add(reply.flags);
        self.note_details(reply.details.clone());
        self.drop_attempt(turn, ResetReason::Cancelled);
        if self.head_sent {
            self.cut(turn, ResetReason::Failed);
            return;
        }
        if self.fail_caller(turn) {
            return;
        }
        if self.request.one_way {
            // Nobody waits for an answer.
            self.notes.status = reply.status;
            return self.finish();
        }
        self.phase = Phase::Answered;
        let (mut head, body) = form(&self.request, reply);
        self.tell_attempts(&mut head);
        (self.notes.grpc_status, self.notes.service_time) = (None, None);
        self.notes.note_grpc_status(&head.headers);
        self.down = super::direction::Direction::ours(&body);
        self.begin_response(turn, head);
    }

    /// An engine-born exchange has no use for a reply in HTTP's form: it is told what happened.
    pub fn fail_caller<P: Port>(&mut self, turn: &mut Turn<'_, P>) -> bool {
        use super::origin::{Failure, Origin};
        match &mut self.origin {
            Origin::Client { .. } => return false,
            Origin::Nobody => {}
            Origin::Caller(caller) => {
                let failure = Failure {
                    flags: self.notes.flags,
                    details: self.notes.details.to_string(),
                    upstream: self.notes.upstream_failure.clone(),
                };
                caller.failed(turn.port, &failure);
            }
        }
        self.origin_gone = true;
        self.finish();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, content_type: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_method(method.as_bytes());
        head.headers.push(b"content-type", content_type.as_bytes());
        head
    }

    #[test]
    fn the_form_follows_the_request() {
        for (method, content_type, status, text, body) in [
            ("GET", "text/html", 503, "", "no healthy upstream"),
            ("HEAD", "text/html", 503, "", ""),
            ("POST", "application/grpc+proto", 200, "14", ""),
            ("POST", "application/grpcx", 503, "", "no healthy upstream"),
        ] {
            let reply = LocalReply::new(503, "no healthy upstream", "x");
            let (head, sent) = form(&request(method, content_type), reply);
            let grpc = head.headers.get_id(NameId::GRPC_STATUS).unwrap_or(b"");
            assert_eq!(
                (head.status, grpc, &*sent),
                (status, text.as_bytes(), body.as_bytes()),
                "{method} {content_type}"
            );
        }
    }

    #[test]
    fn grpc_messages_are_printable() {
        assert_eq!(grpc_message("50% é\n".as_bytes()), b"50%25 %C3%A9%0A");
    }
}
