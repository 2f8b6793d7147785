//! A message that is whole goes out at once: front, body and what is behind it in one piece, with nothing kept in between.
//!
//! In: a head with its body. Out: a frame in the outbox, or word that it cannot go this way: a large frame is being written, the
//! peer takes nothing, its body is to be changed, it is too large for one piece, or something about it is wrong. Then it goes by a
//! draft (`send`), which also says what is wrong. Invariant: what leaves is byte for byte what the draft would have made.

use super::attachments::Edit;
use super::connection::State;
use super::description::Description;
use super::layout::Layout;
use super::shape::Shape;
use super::summing::{Checksum, Tail};
use super::window::{Opened, WINDOW};
use super::write;
use crate::bytes::Out;
use crate::message::{BodyLength, Frame, HeaderBlock};

/// A body up to this size goes out in one piece with what is in front of it and behind it, bytes.
const SMALL: usize = 4 * 1024;

/// A frame that came, and the body that it is to have now.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub frame: &'a Frame,
    pub headers: &'a HeaderBlock,
    /// How long its body was when it came.
    pub length: BodyLength,
    pub body: &'a [u8],
}

impl State {
    /// Sends all of a message under this id; false if it has to go by a draft.
    pub fn send_whole(
        &mut self,
        description: &Description,
        id: u64,
        message: Message<'_>,
        out: &mut Out<'_>,
    ) -> bool {
        let Message { frame, headers, body, .. } = message;
        let waits = self.writing.is_some() || self.is_client && out.room() == 0;
        if waits || super::goes_in_pieces(u64::from(frame.bytes.length) + body.len() as u64) {
            return false;
        }
        let shape = description.shape(frame.shape).filter(|_| frame.protocol == description.digest);
        let Some(shape) = shape else { return false };
        let is_changed = headers.mark() != frame.mark;
        if is_changed && Edit::of(description, shape, frame, headers).is_some() {
            return false;
        }
        let is_changed =
            is_changed && shape.headers.is_some() && write::is_map_changed(description, frame, headers);
        if !is_changed && keeps_numbers(shape, message) && put_renumbered(shape, message, id, out) {
            self.cut_if_stuck(out);
            return true;
        }
        let mut front = self.buffer();
        let tail = fill(description, shape, message, id, &mut front);
        if let Some(tail) = &tail {
            put_pieces(&front, body, tail.bytes(), out);
        }
        self.recycle(front);
        self.cut_if_stuck(out);
        tail.is_some()
    }
}

/// Nothing but the id is to be written anew in a frame whose header map is as it came: its body is as long, and there is no checksum.
#[inline]
fn keeps_numbers(shape: &Shape, message: Message<'_>) -> bool {
    let Message { frame, headers, length, body } = message;
    let was = match length {
        BodyLength::Known(length) => Some(length),
        BodyLength::Empty => Some(0),
        BodyLength::Unknown => None,
    };
    let has_checksum = |sum: &Checksum| sum.is_present(Opened::new(headers.slice(frame.bytes)));
    was == Some(body.len() as u64) && !shape.checksum.as_ref().is_some_and(has_checksum)
}

/// Sends a frame as it lies in the memory of its head, but for the id; false if its id is not among the first bytes.
#[inline]
fn put_renumbered(shape: &Shape, message: Message<'_>, id: u64, out: &mut Out<'_>) -> bool {
    let front = message.headers.slice(message.frame.bytes);
    let number = |front: &mut [u8]| shape.id.write(front, &Layout::default(), id);
    if shape.id.behind == 0
        && message.body.len() <= SMALL
        && out.outbox.put_edited(front, message.body, number)
    {
        return true;
    }
    put_in_pieces(shape, message, front, id, out)
}

/// As `put_renumbered`, where one block has no room for all of it.
#[inline(never)]
fn put_in_pieces(shape: &Shape, message: Message<'_>, front: &[u8], id: u64, out: &mut Out<'_>) -> bool {
    let Some((first, rest)) = front.split_first_chunk::<WINDOW>() else { return false };
    if shape.id.behind != 0 || shape.id.offset as usize + usize::from(shape.id.width) > WINDOW {
        return false;
    }
    let mut first = *first;
    shape.id.write(&mut first, &Layout::default(), id);
    if message.body.len() <= SMALL {
        out.put_parts([&first, rest, message.body]);
    } else {
        out.put_parts([&first, rest]);
        out.put(message.body);
    }
    true
}

/// All in front of the body, and what is behind it.
fn fill(
    description: &Description,
    shape: &Shape,
    message: Message<'_>,
    id: u64,
    front: &mut Vec<u8>,
) -> Option<Tail> {
    let Message { frame, headers, body, .. } = message;
    let mut layout = Layout::default();
    write::put_front(description, shape, frame, headers, id, front, &mut layout).ok()?;
    let sealed = write::seal(description, shape, &layout, body.len(), front).ok()?;
    Some(write::put_checksum(shape, &sealed, front, &[body]))
}

#[inline]
pub(super) fn put_pieces(front: &[u8], body: &[u8], tail: &[u8], out: &mut Out<'_>) {
    if body.len() <= SMALL {
        out.put_parts([front, body, tail]);
    } else {
        out.put(front);
        out.put(body);
        out.put(tail);
    }
}
