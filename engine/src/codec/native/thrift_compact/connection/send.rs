//! Commands → bytes for the peer. Invariant: a frame has as many bytes behind its front as it said, or its connection is cut, since
//! the peer would take the next frame for the rest of this one; a reply of ours is written when it is whole.

use super::{Connection, Outgoing};
use crate::bytes::Out;
use crate::codec::contract::{Ending, Refused};
use crate::codec::native::thrift_compact::frame;
use crate::codec::rpc::words_of;
use crate::message::{BodyLength, RequestHead, ResetReason, ResponseHead};

/// Longest text of a reply of ours, bytes.
const MAX_MESSAGE: usize = 1_024;

impl Connection {
    pub(super) fn send_request(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let frame = head.frame.filter(|frame| frame.protocol == self.protocol.digest).ok_or(Refused)?;
        let call = self.call.as_mut().filter(|_| self.is_client).ok_or(Refused)?;
        if !matches!(call.outgoing, Outgoing::Nothing) {
            return Err(Refused);
        }
        (call.sequence, call.one_way) = (frame.number as u32, head.one_way);
        call.outgoing = Outgoing::Body(bytes_of(head.body));
        out.put(head.headers.slice(frame.bytes));
        self.send(body, end, out)
    }

    pub(super) fn send_response(
        &mut self,
        head: &ResponseHead,
        body: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let call = self.call.as_mut().filter(|call| !self.is_client && !call.one_way).ok_or(Refused)?;
        if !matches!(call.outgoing, Outgoing::Nothing) {
            return Err(Refused);
        }
        match head.frame {
            Some(frame) if frame.protocol == self.protocol.digest => {
                call.outgoing = Outgoing::Body(bytes_of(head.body));
                out.put(head.headers.slice(frame.bytes));
            }
            Some(_) => return Err(Refused),
            None => {
                call.outgoing = Outgoing::Reply { status: frame::status_of_reply(head), message: Vec::new() }
            }
        }
        self.send(body, end, out)
    }

    pub(super) fn send(&mut self, bytes: &[u8], end: bool, out: &mut Out<'_>) -> Result<usize, Refused> {
        let call = self.call.as_mut().ok_or(Refused)?;
        let (accepted, is_over) = match &mut call.outgoing {
            Outgoing::Nothing | Outgoing::Ended => return Err(Refused),
            Outgoing::Reply { status, message } => {
                let room = MAX_MESSAGE.saturating_sub(message.len()).min(bytes.len());
                message.extend_from_slice(bytes.get(..room).unwrap_or(&[]));
                if end {
                    let words = if message.is_empty() { words_of(*status) } else { message };
                    out.put(&frame::exception(call.sequence, &call.name, *status, words));
                }
                (bytes.len(), end)
            }
            Outgoing::Body(left) => {
                let accepted = bytes.len().min(out.room());
                let is_over = end && accepted == bytes.len();
                if accepted > *left || (is_over && accepted < *left) {
                    // Not as long as it said: only a broken connection tells.
                    self.over = Some(Ending::Aborted);
                    return Err(Refused);
                }
                *left -= accepted;
                out.put(bytes.get(..accepted).unwrap_or(&[]));
                self.blocked = accepted < bytes.len();
                (accepted, is_over)
            }
        };
        if is_over {
            self.sent();
        }
        Ok(accepted)
    }

    pub(super) fn reset(&mut self, reason: ResetReason, out: &mut Out<'_>) -> Result<(), Refused> {
        let call = self.call.as_ref().ok_or(Refused)?;
        match &call.outgoing {
            Outgoing::Body(_) => self.over = Some(Ending::Aborted),
            Outgoing::Nothing if self.is_client => {}
            // The provider is at this call still.
            _ if self.is_client => self.over = Some(Ending::Closed),
            _ if call.one_way => {}
            _ => {
                let (status, message): (_, &[u8]) = match reason {
                    ResetReason::Timeout => (504, b"timeout"),
                    ResetReason::Overloaded => (503, b"overloaded"),
                    _ => (502, b"the connection to the provider failed"),
                };
                out.put(&frame::exception(call.sequence, &call.name, status, message));
            }
        }
        self.end_call();
        Ok(())
    }
}

fn bytes_of(length: BodyLength) -> usize {
    match length {
        BodyLength::Known(length) => usize::try_from(length).unwrap_or(usize::MAX),
        BodyLength::Empty | BodyLength::Unknown => 0,
    }
}
