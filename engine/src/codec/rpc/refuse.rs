//! Frames that are broken, and requests that nobody sees: what their senders learn, and whether the connection goes on.
//!
//! In: a frame and what is wrong with it. Out: a reply in the outbox, the end of one call, or of the connection. Invariant: the end of a frame is
//! believed only where its lengths add up.

use super::Broken;
use super::calls::Asked;
use super::connection::{Incoming, State};
use super::description::Description;
use super::layout::Layout;
use super::receive::Seen;
use crate::bytes::Out;
use crate::codec::contract::{ConnectionFault, Event, Input, StreamId};
use crate::plan::RpcKind;

/// A larger frame than so many times the limit is none: its length cannot be believed.
const BELIEVED: u64 = 16;

impl State {
    /// A reply to a request that nobody sees.
    pub fn answer(
        &mut self,
        description: &Description,
        seen: &Seen<'_>,
        frame: &[u8],
        status: u16,
        message: &str,
        out: &mut Out<'_>,
    ) {
        let front = frame.get(..seen.layout.body_start()).unwrap_or(&[]);
        let id = seen.shape.id.read(frame, seen.layout).unwrap_or(0);
        let asked = Asked { shape: seen.located.shape, front, id };
        self.put_error(description, asked, status, message.as_bytes(), out);
    }

    /// A frame is broken. A server's answer whose end is known costs only its own call: the others that wait on the connection are
    /// other people's. Anything else ends the connection.
    #[cold]
    pub fn spoilt<'b>(
        &mut self,
        description: &Description,
        input: &mut Input<'b>,
        broken: Broken,
        out: &mut Out<'_>,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let answer = self.is_client && broken.has_end;
        let Some((id, size)) = answer.then(|| id_and_size(description, input.rest())).flatten() else {
            return Err(self.refuse(description, input.rest(), broken, out));
        };
        let stream = u32::try_from(id).ok().filter(|stream| self.calls.get(*stream).is_some());
        if stream.is_some_and(|stream| self.is_writing(stream)) {
            return Err(self.refuse(description, input.rest(), broken, out));
        }
        self.frame_due = None;
        self.incoming = Incoming::Skip(size);
        let Some(stream) = stream else { return Ok(None) };
        self.calls.end(stream);
        Ok(Some(Event::StreamReset { stream: StreamId(stream), reason: broken.reason, unprocessed: false }))
    }

    /// A broken frame ends the connection; if it was a request, its sender learns why.
    pub fn refuse(
        &mut self,
        description: &Description,
        frame: &[u8],
        broken: Broken,
        out: &mut Out<'_>,
    ) -> ConnectionFault {
        if let Ok(Some(located)) = description.locate(frame)
            && let Some(shape) = description.shape(located.shape)
            && located.kind == RpcKind::Request
            && !self.is_client
        {
            let front = frame.get(..shape.fixed).unwrap_or(&[]);
            // The id is believed only where it needs no lengths to be found.
            if let Some(id) = shape.id.read(front, &Layout::default()).filter(|_| shape.id.behind == 0) {
                let asked = Asked { shape: located.shape, front, id };
                self.put_error(description, asked, 400, broken.what.as_bytes(), out);
                return ConnectionFault { answered: Some(400), ..self.fault(broken) };
            }
        }
        self.fault(broken)
    }
}

/// Of a response, as far as they can be believed.
fn id_and_size(description: &Description, frame: &[u8]) -> Option<(u64, usize)> {
    let located = description.locate(frame).ok()??;
    let shape = description.shape(located.shape)?;
    let size = shape.measure(frame, &mut Layout::default()).ok()??;
    let is_fit = located.kind == RpcKind::Response
        && shape.id.behind == 0
        && size as u64 <= description.limits.frame.saturating_mul(BELIEVED);
    Some((shape.id.read(frame, &Layout::default()).filter(|_| is_fit)?, size))
}
