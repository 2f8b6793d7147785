//! From commands to frames. A frame goes out when it is whole, however its parts come; only large ones go out in pieces.

use super::attachments::Edit;
use super::calls::{Draft, Kept};
use super::connection::{First, MAX_QUEUED, State, Writing};
use super::description::Description;
use super::layout::Layout;
use super::shape::Shape;
use super::summing::Summing;
use super::whole::{Message, put_pieces};
use super::write;
use crate::bytes::Out;
use crate::codec::contract::{Ending, Refused};
use crate::message::{BodyLength, Frame, HeaderBlock, NameId, NameSet, RequestHead, ResponseHead, Tick};

/// Longest text of a reply of ours, bytes.
const MAX_MESSAGE: usize = 1_024;

impl State {
    #[inline(always)]
    pub fn send_request(
        &mut self,
        description: &Description,
        stream: u32,
        head: &RequestHead,
        (body, end): (&[u8], bool),
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<usize, Refused> {
        let frame = head.frame.as_ref().ok_or(Refused)?;
        if !self.is_client || self.first.as_ref().is_some_and(|first| first.pin != frame.pin) {
            return Err(Refused);
        }
        let call = self.calls.get_mut(stream).ok_or(Refused)?;
        call.one_way = head.one_way;
        let id = call.id;
        let message = Message { frame, headers: &head.headers, length: head.body, body };
        let is_sent = end && self.send_whole(description, id, message, out);
        if !is_sent {
            self.begin(description, stream, frame, &head.headers, head.body)?;
        }
        if self.first.is_none() {
            let fixed = description.shape(frame.shape).map_or(0, |shape| shape.fixed);
            let front = head.headers.slice(frame.bytes);
            let kept = Kept::of(front, fixed);
            self.first = Some(First { shape: frame.shape, pin: frame.pin, kept });
        }
        self.heart.note_call(description, now);
        if is_sent {
            if head.one_way {
                self.calls.end(stream);
            }
            return Ok(body.len());
        }
        self.send_body(description, stream, (body, end), out)
    }

    /// The body that goes with a head. What is wrong with it shows again when it comes by itself.
    fn send_body(
        &mut self,
        description: &Description,
        stream: u32,
        (body, end): (&[u8], bool),
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        match (body, end) {
            ([], true) => self.finish(description, stream, &[], out).map(|()| 0),
            ([], false) => Ok(0),
            _ => Ok(self.send_data(description, stream, body, end, out).unwrap_or(0)),
        }
    }

    #[inline(always)]
    pub fn send_response(
        &mut self,
        description: &Description,
        stream: u32,
        head: &ResponseHead,
        (body, end): (&[u8], bool),
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let call = self.calls.get(stream).filter(|call| !call.one_way && !self.is_client).ok_or(Refused)?;
        let id = call.id;
        match &head.frame {
            Some(frame) if end => {
                let message = Message { frame, headers: &head.headers, length: head.body, body };
                if self.send_whole(description, id, message, out) {
                    self.calls.end(stream);
                    return Ok(body.len());
                }
                self.begin(description, stream, frame, &head.headers, head.body)?;
            }
            Some(frame) => self.begin(description, stream, frame, &head.headers, head.body)?,
            None => {
                let call = self.calls.get_mut(stream).ok_or(Refused)?;
                call.set_draft(Draft::Reply { status: status_of(head), message: Vec::new() });
            }
        }
        self.send_body(description, stream, (body, end), out)
    }

    /// Prepares a frame: all in front of its body.
    fn begin(
        &mut self,
        description: &Description,
        stream: u32,
        frame: &Frame,
        headers: &HeaderBlock,
        body: BodyLength,
    ) -> Result<(), Refused> {
        let shape =
            description.shape(frame.shape).filter(|_| frame.protocol == description.digest).ok_or(Refused)?;
        let mut bytes = self.buffer();
        let call = self.calls.get_mut(stream).ok_or(Refused)?;
        let mut layout = Layout::default();
        write::put_front(description, shape, frame, headers, call.id, &mut bytes, &mut layout)
            .map_err(|_| Refused)?;
        let edit = Edit::of(description, shape, frame, headers);
        call.set_draft(Draft::Frame { shape: frame.shape, layout, bytes, body, edit });
        Ok(())
    }

    /// Says how many bytes were accepted.
    pub fn send_data(
        &mut self,
        description: &Description,
        stream: u32,
        bytes: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        if self.is_writing(stream) {
            return self.write_on(stream, bytes, end, out);
        }
        // Half a frame may never become whole: towards a server, no other call may then be on the connection.
        let is_alone = self.writing.is_none() && (!self.is_client || self.calls.len() == 1);
        let call = self.calls.get_mut(stream).ok_or(Refused)?;
        match call.draft().ok_or(Refused)? {
            Draft::Reply { message, .. } => {
                let room = MAX_MESSAGE.saturating_sub(message.len()).min(bytes.len());
                message.extend_from_slice(bytes.get(..room).unwrap_or(&[]));
                if end {
                    self.finish(description, stream, &[], out)?;
                }
            }
            Draft::Frame { shape, layout, body: BodyLength::Known(length), .. }
                if is_alone
                    && super::goes_in_pieces(layout.body_start() as u64 + *length)
                    && description.shape(*shape).is_some_and(can_go_in_pieces) =>
            {
                let length = *length as usize;
                self.begin_writing(description, stream, length, out)?;
                return self.write_on(stream, bytes, end, out);
            }
            // A server that reads more slowly than callers send makes them wait.
            _ if end && self.is_client && out.room() == 0 && !bytes.is_empty() => {
                if !std::mem::replace(&mut call.waits, true) {
                    self.waiting.push_back(stream);
                }
                return Ok(0);
            }
            _ if end => self.finish(description, stream, bytes, out)?,
            Draft::Frame { bytes: gathered, .. } => {
                if (gathered.len() + bytes.len()) as u64 > description.limits.frame {
                    return Err(Refused);
                }
                gathered.extend_from_slice(bytes);
                self.calls.gather(stream, bytes.len());
                self.cut_if_stuck(out);
            }
        }
        Ok(bytes.len())
    }

    /// The message is whole with these last bytes of its body.
    fn finish(
        &mut self,
        description: &Description,
        stream: u32,
        last: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), Refused> {
        match self.calls.take_draft(stream).ok_or(Refused)? {
            Draft::Reply { status, message } => {
                if let Some(call) = self.calls.remove(stream) {
                    let message = if message.is_empty() { words_of(status) } else { &message };
                    self.put_error(description, call.asked(), status, message, out);
                }
            }
            Draft::Frame { shape, layout, mut bytes, edit, .. } => {
                let shape = description.shape(shape).ok_or(Refused)?;
                let mut last = last;
                let edited;
                if let Some(edit) = edit {
                    bytes.extend_from_slice(last);
                    let (front, body) = bytes.split_at_checked(layout.body_start()).ok_or(Refused)?;
                    edited = edit.apply(description, shape, front, body);
                    last = &[];
                    if let Some(edited) = &edited {
                        bytes.truncate(layout.body_start());
                        last = edited;
                    }
                }
                let (front, body) = bytes.split_at_mut_checked(layout.body_start()).ok_or(Refused)?;
                let length = body.len() + last.len();
                let sealed = write::seal(description, shape, &layout, length, front).map_err(|_| Refused)?;
                let tail = write::put_checksum(shape, &sealed, front, &[body, last]);
                if self.writing.is_none() {
                    put_pieces(&bytes, last, tail.bytes(), out);
                    self.recycle(bytes);
                    self.cut_if_stuck(out);
                } else {
                    bytes.extend_from_slice(last);
                    bytes.extend_from_slice(tail.bytes());
                    self.put_whole(bytes, out);
                }
                self.written(stream);
            }
        }
        Ok(())
    }

    /// A message has gone out: in the server role the call is over, in the client role a one-way call.
    fn written(&mut self, stream: u32) {
        let is_over =
            !self.is_client || self.calls.get(stream).is_some_and(|call| call.one_way || call.answered);
        if is_over {
            self.calls.end(stream);
        }
    }

    /// Begins a large frame, with what was gathered of it while another one went out.
    fn begin_writing(
        &mut self,
        description: &Description,
        stream: u32,
        length: usize,
        out: &mut Out<'_>,
    ) -> Result<(), Refused> {
        let Some(Draft::Frame { shape, layout, mut bytes, .. }) = self.calls.take_draft(stream) else {
            return Err(Refused);
        };
        let shape = description.shape(shape).ok_or(Refused)?;
        let (front, gathered) = bytes.split_at_mut_checked(layout.body_start()).ok_or(Refused)?;
        let sealed = write::seal(description, shape, &layout, length, front).map_err(|_| Refused)?;
        write::put_checksum(shape, &sealed, front, &[]);
        let mut summing = Summing::begin(shape, front, &sealed);
        if let Some(summing) = &mut summing {
            summing.update(gathered);
        }
        let left = length.checked_sub(gathered.len()).ok_or(Refused)?;
        out.put(&bytes);
        self.recycle(bytes);
        self.writing = Some(Writing { stream, left, summing, blocked: false });
        Ok(())
    }

    /// Goes on with the large frame.
    fn write_on(
        &mut self,
        stream: u32,
        bytes: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let Some(writing) = &mut self.writing else { return Err(Refused) };
        let room = if self.is_client { out.room() } else { MAX_QUEUED.saturating_sub(out.outbox.len()) };
        let accepted = bytes.len().min(room);
        let is_over = end && accepted == bytes.len();
        // A caller that takes nothing is cut off; a body that is not as long as it said spoils the connection.
        if (!self.is_client && accepted < bytes.len())
            || accepted > writing.left
            || (is_over && accepted < writing.left)
        {
            self.over = Some(Ending::Aborted);
            return Err(Refused);
        }
        let taken = bytes.get(..accepted).unwrap_or(&[]);
        if let Some(summing) = &mut writing.summing {
            summing.update(taken);
        }
        writing.left -= accepted;
        writing.blocked = accepted < bytes.len();
        let tail = writing.summing;
        out.put(taken);
        if is_over {
            if let Some(summing) = tail {
                out.put(summing.tail().bytes());
            }
            self.writing = None;
            self.written(stream);
            self.put_waiting(out);
        }
        Ok(accepted)
    }
}

/// Stands for a call that surely did not reach its provider among the statuses of replies: what HTTP says of requests that came to
/// a server that cannot answer them, and may be sent elsewhere.
pub(super) const UNREACHED: u16 = 421;

/// HTTP says 503 where we are busy and where nobody is there; framed protocols mostly have a word for each.
pub(super) fn status_of(head: &ResponseHead) -> u16 {
    if head.status == 503 && head.headers.contains_id(NameId::MAINSTAY_UNREACHED) {
        return UNREACHED;
    }
    let busy = NameSet::of(&[
        NameId::X_ENVOY_OVERLOADED,
        NameId::X_ENVOY_LOCAL_OVERLOADED,
        NameId::X_ENVOY_RATELIMITED,
    ]);
    if head.status == 503 && !head.headers.may_contain(busy) { 502 } else { head.status }
}

/// For replies that have a status and no text.
pub(in crate::codec) fn words_of(status: u16) -> &'static [u8] {
    match status {
        401 | 403 => b"denied",
        404 => b"no route for this call",
        408 | 504 => b"timeout",
        429 | 503 => b"overloaded",
        502 | UNREACHED => b"no provider can be reached",
        400..=499 => b"bad request",
        _ => b"the proxy failed",
    }
}

/// Whether a large frame can go out before all of it is there: not if a checksum over its body stands in front.
fn can_go_in_pieces(shape: &Shape) -> bool {
    shape.checksum.as_ref().is_none_or(|checksum| checksum.trails || checksum.last_is_in_front)
}
