//! What the next bytes are: the frame that they begin, if enough of it is there to be handled.
//!
//! In: bytes of a peer. Out: what frame it is, and where its parts lie. `glance` knows the frames that most are, and costs them little;
//! `look` knows all, and says what is wrong with one. Invariant: what the first sees, the second sees alike.

use super::description::{Description, Located};
use super::layout::Layout;
use super::shape::Shape;
use super::summing::Checksum;
use super::window::WINDOW;
use super::{Broken, WHOLE, broken, spoilt};
use crate::plan::RpcKind;

/// What the next bytes are.
pub(super) enum Look<'a> {
    Seen(Located, &'a Shape),
    /// So many bytes, to be handled or to know more.
    Needs(usize),
}

/// The next frame, if it is one of those that most are: whole, and of lengths that add up within all limits. Says nothing of others.
#[inline(always)]
pub(super) fn glance<'a>(
    description: &'a Description,
    bytes: &[u8],
    opening: &mut u16,
    layout: &mut Layout,
) -> Option<(Located, &'a Shape)> {
    let located = description.locate_known(bytes, opening)?;
    let shape = description.shape(located.shape)?;
    shape.lay_plainly(bytes, layout)?;
    let is_whole = layout.size <= bytes.len().min(WHOLE);
    let is_allowed = layout.size as u64 <= description.limits.frame
        && layout.body_start() as u64 <= description.limits.head;
    let is_fit = is_whole && is_allowed && (!layout.has_checksum || is_sound(shape, bytes, layout));
    is_fit.then_some((located, shape))
}

/// The next frame, if enough of it is there to be handled.
#[inline(never)]
pub(super) fn look<'a>(
    description: &'a Description,
    bytes: &[u8],
    layout: &mut Layout,
) -> Result<Look<'a>, Broken> {
    let Some(located) = description.locate(bytes)? else { return Ok(Look::Needs(WINDOW)) };
    let shape = description.shape(located.shape).ok_or(broken("no such frame"))?;
    let Some(size) = shape.measure(bytes, layout)? else { return Ok(Look::Needs(shape.fixed)) };
    if size as u64 > description.limits.frame {
        return Err(spoilt("a frame is larger than the protocol allows"));
    }
    let needed = size.min(WHOLE);
    let Some(frame) = bytes.get(..needed) else { return Ok(Look::Needs(needed)) };
    if shape.size.is_some() {
        shape.lay(frame, size, layout)?;
    }
    if layout.body_start() as u64 > description.limits.head {
        return Err(spoilt("a frame has too much in front of its body"));
    }
    let is_small = matches!(located.kind, RpcKind::Heartbeat | RpcKind::HeartbeatAnswer | RpcKind::GoAway);
    if needed < size && is_small {
        return Err(broken("a heartbeat is too large"));
    }
    // Of a large frame, one that covers nothing of the body and stands in front of it; the others run along with the body.
    let is_here = |sum: &Checksum| needed == size || (sum.last_is_in_front && !sum.trails);
    if layout.has_checksum && shape.checksum.as_ref().is_some_and(is_here) && !is_sound(shape, frame, layout)
    {
        return Err(broken("a checksum is wrong"));
    }
    Ok(Look::Seen(located, shape))
}

/// Whether a frame's checksum is right, where it is verified.
#[inline(never)]
fn is_sound(shape: &Shape, frame: &[u8], layout: &Layout) -> bool {
    let Some(checksum) = shape.checksum.as_ref().filter(|sum| sum.verify) else { return true };
    let body = frame.get(layout.body.0 as usize..layout.body.1 as usize).unwrap_or(&[]);
    checksum.place.read(frame, layout) == Some(checksum.over(frame, &[body], layout))
}
