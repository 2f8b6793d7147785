//! What an HTTP filter is, and what it can answer.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::context::Context;
use super::state::StateSlot;
use crate::message::{HeaderBlock, RequestHead, ResponseFlags, ResponseHead};
use crate::telemetry::Facts;

/// What happens after a callback.
#[derive(Debug)]
pub enum Verdict {
    Continue,
    /// This direction waits until the filter resumes it (`Context::token`); its body is held, up to the limit, then credit is
    /// withheld. The other direction goes on.
    Pause,
    /// Asked of a head or of data: the filter wants the whole body. It gets one further data callback with all of it and
    /// `end`; what exceeds the limit is answered with 413 (a response: 500).
    Collect,
    /// Ends the exchange with this reply. In a response callback it takes the response's place, if its head is not sent.
    Reply(Box<LocalReply>),
}

/// A reply made here; its form follows the protocol (HTTP, gRPC trailers-only, RPC error frame).
#[derive(Debug, Clone)]
pub struct LocalReply {
    pub status: u16,
    pub body: Cow<'static, [u8]>,
    /// Further header fields.
    pub headers: HeaderBlock,
    /// `None`: the one that corresponds to `status`.
    pub grpc_status: Option<u32>,
    /// `%RESPONSE_CODE_DETAILS%`, without blanks.
    pub details: Cow<'static, str>,
    pub flags: ResponseFlags,
}

impl LocalReply {
    #[cold]
    pub fn new(status: u16, body: &'static str, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            body: Cow::Borrowed(body.as_bytes()),
            headers: HeaderBlock::default(),
            grpc_status: None,
            details: details.into(),
            flags: ResponseFlags::default(),
        }
    }
}

/// Bytes of a body on their way: borrowed, unless a filter puts others in their place.
#[derive(Debug)]
pub struct Data<'a>(Cow<'a, [u8]>);

impl<'a> Data<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn replace(&mut self, bytes: Vec<u8>) {
        self.0 = Cow::Owned(bytes);
    }

    /// What the filters left; borrowed if none of them changed it.
    pub fn into_inner(self) -> Cow<'a, [u8]> {
        self.0
    }
}

/// What became of a call that a filter asked for.
#[derive(Debug)]
pub enum Answer<'a> {
    Response {
        head: &'a ResponseHead,
        body: &'a [u8],
        trailers: Option<&'a HeaderBlock>,
    },
    /// No connection, a reset, or the deadline.
    Failed {
        flags: ResponseFlags,
    },
}

/// Callbacks that a filter has something to do in; the others are not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants(pub u16);

impl Wants {
    pub const REQUEST_HEAD: Self = Self(1);
    pub const REQUEST_DATA: Self = Self(1 << 1);
    pub const REQUEST_TRAILERS: Self = Self(1 << 2);
    pub const RESPONSE_HEAD: Self = Self(1 << 3);
    pub const RESPONSE_DATA: Self = Self(1 << 4);
    pub const RESPONSE_TRAILERS: Self = Self(1 << 5);
    pub const FINISH: Self = Self(1 << 6);
    /// `RESPONSE_HEAD`, but no head of a response need come by before the filter has left something in its state.
    pub const RESPONSE_HEAD_IF_STATE: Self = Self(1 << 7);

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// One of these is wanted.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A filter's instance: one per worker and configuration. State across requests lies in it (cells), state across workers in the
/// factory it came from (atomics). Callbacks must not block.
#[allow(unused_variables)]
pub trait HttpFilter {
    fn on_request_head(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        head: &mut RequestHead,
        end: bool,
    ) -> Verdict {
        Verdict::Continue
    }

    fn on_request_data(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        data: &mut Data<'_>,
        end: bool,
    ) -> Verdict {
        Verdict::Continue
    }

    fn on_request_trailers(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        trailers: &mut HeaderBlock,
    ) -> Verdict {
        Verdict::Continue
    }

    /// Local replies pass through here too.
    fn on_response_head(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        head: &mut ResponseHead,
        end: bool,
    ) -> Verdict {
        Verdict::Continue
    }

    fn on_response_data(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        data: &mut Data<'_>,
        end: bool,
    ) -> Verdict {
        Verdict::Continue
    }

    fn on_response_trailers(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        trailers: &mut HeaderBlock,
    ) -> Verdict {
        Verdict::Continue
    }

    /// The answer to `Context::call`. Of a paused direction `Continue` resumes it behind this filter, `Pause` waits on. The
    /// request's head may still be changed if its direction is the paused one.
    fn on_answer(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        head: &mut RequestHead,
        answer: &Answer<'_>,
    ) -> Verdict {
        Verdict::Continue
    }

    /// The moment asked for with `Context::wake_at` has come; verdicts as in `on_answer`.
    fn on_wake(&self, context: &mut Context<'_>, state: &mut StateSlot, head: &mut RequestHead) -> Verdict {
        Verdict::Continue
    }

    /// Once, when the exchange is over, however it ended; what the filter asks for here is not done.
    fn on_finish(&self, context: &mut Context<'_>, state: &mut StateSlot, facts: &Facts<'_>) {}
}

/// A compiled configuration, shared by all workers; as long as it does not change it survives updates, and its state with it.
pub trait HttpFilterFactory: Send + Sync {
    fn instance(self: Arc<Self>) -> Rc<dyn HttpFilter>;
}
