//! Ends before their time: of a call, or of the connection. A caller that waits is told, where its protocol has a word for it.

use super::Broken;
use super::calls::Asked;
use super::connection::{First, State};
use super::description::Description;
use super::write::{self, Telling};
use crate::bytes::Out;
use crate::codec::contract::{ConnectionFault, Ending, Refused};
use crate::message::ResetReason;

impl State {
    /// Answers a request from here. Nothing for protocols that cannot.
    pub fn put_error(
        &mut self,
        description: &Description,
        asked: Asked<'_>,
        status: u16,
        message: &[u8],
        out: &mut Out<'_>,
    ) {
        let mut frame = self.buffer();
        let telling = Telling { id: Some(asked.id), status: Some(description.reply_of(status)), message };
        if write::make(description, &description.error_replies, asked.shape, asked.front, telling, &mut frame)
        {
            self.put_whole(frame, out);
        }
    }

    /// The connection cannot go on.
    pub fn fault(&mut self, broken: Broken) -> ConnectionFault {
        // A caller may still be sending: what it is told must not be overtaken by a RST.
        self.over = Some(if self.is_client { Ending::Closed } else { Ending::Lingering });
        ConnectionFault { reason: broken.reason, answered: None, what: broken.what }
    }

    pub fn go_away(&mut self, description: &Description, gentle: bool, out: &mut Out<'_>) {
        self.draining |= !gentle;
        if self.is_client || std::mem::replace(&mut self.told_to_go, true) {
            return;
        }
        if let Some(First { shape, kept, .. }) = &self.first {
            let (shape, kept) = (*shape, kept.clone());
            let mut frame = self.buffer();
            let telling = Telling { id: Some(u64::from(self.calls.next_number())), ..Telling::default() };
            if write::make(description, &description.go_away, shape, kept.bytes(), telling, &mut frame) {
                self.put_whole(frame, out);
            }
        }
    }

    /// What was to be sent on this stream cannot be: it is over, and a caller that waits learns it.
    #[cold]
    pub fn give_up(&mut self, description: &Description, stream: u32, out: &mut Out<'_>) {
        let Some(call) = self.calls.remove(stream) else { return };
        if self.is_writing(stream) {
            self.over = Some(Ending::Aborted);
        } else if !self.is_client && !call.one_way {
            let message = b"the answer cannot be written in this protocol";
            self.put_error(description, call.asked(), 500, message, out);
        }
    }

    pub fn reset(
        &mut self,
        description: &Description,
        stream: u32,
        reason: ResetReason,
        out: &mut Out<'_>,
    ) -> Result<(), Refused> {
        let call = self.calls.remove(stream).ok_or(Refused)?;
        if call.waits {
            self.waiting.retain(|waiting| *waiting != stream);
        }
        if self.is_writing(stream) {
            // Half a frame cannot be taken back.
            self.over = Some(Ending::Aborted);
        } else if self.is_client && !call.waits && description.provider_calls() == 1 {
            // The provider is at this call still, and the next would wait behind it.
            self.over = Some(Ending::Closed);
        } else if !self.is_client && !call.one_way {
            let (status, message) = match reason {
                ResetReason::Timeout => (504, "timeout"),
                ResetReason::Overloaded => (503, "overloaded"),
                _ => (502, "the connection to the provider failed"),
            };
            self.put_error(description, call.asked(), status, message.as_bytes(), out);
        }
        Ok(())
    }
}
