//! Makes frames: one that came, under another id, with the header map as it is now; or one of ours, by a template.
//!
//! In: a head's frame and fields, or a template and the frame it is like. Out: all in front of the body, to be sealed when the body's
//! length is known. Invariant: what a peer wrote leaves as it came, but for the id, the header map if somebody changed it, the
//! lengths that depend on it, and the checksum.

use super::description::{Description, Given, Template};
use super::layout::Layout;
use super::map::{self, Form, NextPair, Pairs, put_number};
use super::place::Number;
use super::shape::{Shape, Slot};
use super::summing::Tail;
use super::{Broken, broken};
use crate::message::{Frame, HeaderBlock, NameId};
use crate::plan::RpcPiece;

/// Writes all in front of the body of a frame that came, under another id.
pub(super) fn put_front(
    description: &Description,
    shape: &Shape,
    frame: &Frame,
    headers: &HeaderBlock,
    id: u64,
    to: &mut Vec<u8>,
    layout: &mut Layout,
) -> Result<(), Broken> {
    let front = headers.slice(frame.bytes);
    shape.lay_front(front, layout)?;
    to.clear();
    match shape.headers {
        Some(part) if is_map_changed(description, frame, headers) => {
            let (start, end) = layout.span(part);
            to.extend_from_slice(front.get(..start).unwrap_or(&[]));
            put_map(description, layout.part(front, part), frame, headers, to)?;
            let length = to.len() - start;
            to.extend_from_slice(front.get(end..).unwrap_or(&[]));
            *layout = layout.with_part(part, length);
            tell_length(shape, part, layout, length, to)?;
            // Whoever reads it has the same limits, and would end a connection that others share.
            if to.len() as u64 > description.limits.head {
                return Err(broken("a frame has too much in front of its body"));
            }
        }
        _ => to.extend_from_slice(front),
    }
    shape.id.write(to, layout, id);
    Ok(())
}

fn tell_length(
    shape: &Shape,
    part: usize,
    layout: &Layout,
    length: usize,
    to: &mut [u8],
) -> Result<(), Broken> {
    match shape.parts.get(part).and_then(|part| part.length) {
        Some(told) if !told.write(to, layout, length) => Err(broken("a part is too large for its length")),
        _ => Ok(()),
    }
}

/// A pair was taken out, or a field added that belongs into the map.
pub(super) fn is_map_changed(description: &Description, frame: &Frame, headers: &HeaderBlock) -> bool {
    if headers.mark() == frame.mark {
        return false;
    }
    is_pair_gone(frame, headers) || headers.iter_since(frame.mark).any(|field| is_added(description, field))
}

fn is_pair_gone(frame: &Frame, headers: &HeaderBlock) -> bool {
    if headers.mark().removed() == 0 {
        return false;
    }
    let pairs = headers.iter_with_removed().skip(frame.attributes.into()).take(frame.pairs.into());
    pairs.filter(Option::is_none).count() > headers.repeated()
}

fn is_added(description: &Description, field: Option<(NameId, &[u8], &[u8])>) -> bool {
    field.is_some_and(|(id, ..)| description.takes(id))
}

/// The header map as it is now: pairs that are still there as they were written, then those that were added.
fn put_map(
    description: &Description,
    map: &[u8],
    frame: &Frame,
    headers: &HeaderBlock,
    to: &mut Vec<u8>,
) -> Result<(), Broken> {
    let Some(Form { plan: form, .. }) = &description.headers else { return Ok(()) };
    let (attributes, pairs) = (usize::from(frame.attributes), usize::from(frame.pairs));
    let received = frame.mark.fields() as usize;
    let is_pair = |index: usize| (attributes..attributes + pairs).contains(&index);
    let count = headers.iter_with_removed().enumerate().filter(|(index, field)| {
        if is_pair(*index) { field.is_some() } else { *index >= received && is_added(description, *field) }
    });
    let count = count.count();
    let mut fits = map::put_count(form, count, to) && count <= description.limits.headers as usize;
    let mut originals = Pairs::new(form, map, 0)?;
    for (index, field) in headers.iter_with_removed().enumerate().skip(attributes) {
        if index < attributes + pairs {
            let original = originals.next()?;
            if let (Some(_), Some(pair)) = (field, original) {
                fits &= map::put_pair(form, pair.name, pair.value, to);
            }
        } else if let Some((id, name, value)) = field
            && index >= received
            && description.takes(id)
        {
            let name = spelling(form, map, name).unwrap_or_else(|| description.spelling(name));
            fits &= map::put_pair(form, name, value, to);
        }
    }
    if fits { Ok(()) } else { Err(broken("a header cannot be written in this protocol")) }
}

/// How the peer wrote this name, whose upper-case letters are lost.
fn spelling<'a>(form: &'a crate::plan::RpcHeaders, map: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = Pairs::new(form, map, 0).ok()?;
    while let Ok(Some(pair)) = pairs.next() {
        if pair.name.eq_ignore_ascii_case(name) {
            return Some(pair.name);
        }
    }
    None
}

/// Makes the lengths say what the body is, now that it is known.
pub(super) fn seal(
    description: &Description,
    shape: &Shape,
    layout: &Layout,
    body_length: usize,
    front: &mut [u8],
) -> Result<Layout, Broken> {
    let sealed = layout.with_body(body_length);
    if sealed.size as u64 > description.limits.frame {
        return Err(broken("a frame is larger than the protocol allows"));
    }
    if body_length != layout.body_length() {
        tell_length(shape, shape.parts.len().saturating_sub(1), &sealed, body_length, front)?;
    }
    match &shape.size {
        Some(size) if !size.write(front, &sealed, sealed.size) => {
            Err(broken("a frame is too large for its length"))
        }
        _ => Ok(sealed),
    }
}

/// Reckons the checksum anew: puts it in front, or gives it for behind the body.
pub(super) fn put_checksum(shape: &Shape, layout: &Layout, front: &mut [u8], bodies: &[&[u8]]) -> Tail {
    let Some(checksum) = shape.checksum.as_ref().filter(|_| layout.has_checksum) else {
        return Tail::default();
    };
    let value = checksum.over(front, bodies, layout);
    if checksum.trails {
        return Tail::new(value, checksum.place.width, checksum.place.little);
    }
    checksum.place.write(front, layout, value);
    Tail::default()
}

/// What is to be told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Telling<'a> {
    pub id: Option<u64>,
    pub status: Option<u64>,
    pub message: &'a [u8],
}

/// Makes a whole frame by the template that is for frames like this one; false if there is none.
pub(super) fn make(
    description: &Description,
    templates: &[Template],
    like: u16,
    front: &[u8],
    telling: Telling<'_>,
    to: &mut Vec<u8>,
) -> bool {
    let Some(template) = templates.iter().find(|template| template.like == like) else { return false };
    let (Some(shape), Some(source)) = (description.shape(template.shape), description.shape(like)) else {
        return false;
    };
    to.clear();
    let maker = Maker { description, template, shape, source, front };
    maker.make(telling, to).is_ok()
}

struct Maker<'a> {
    description: &'a Description,
    template: &'a Template,
    shape: &'a Shape,
    source: &'a Shape,
    front: &'a [u8],
}

impl Maker<'_> {
    fn make(&self, telling: Telling<'_>, to: &mut Vec<u8>) -> Result<(), Broken> {
        let mut source = Layout::default();
        if self.source.lay_front(self.front, &mut source).is_err() {
            source = Layout::default();
        }
        let checksum =
            self.shape.checksum.as_ref().filter(|checksum| checksum.trails).map(|checksum| checksum.place);
        let mut spans = Vec::with_capacity(self.shape.parts.len());
        for item in &self.shape.items {
            match &item.slot {
                Slot::Number(number, _) if Some(number.place) == checksum => {}
                Slot::Number(number, _) => to.extend(std::iter::repeat_n(0, usize::from(number.place.width))),
                Slot::Magic { value, .. } => to.extend_from_slice(value),
                Slot::Part(index) => {
                    let start = to.len();
                    self.put_part(*index, &item.name, &source, telling, to)?;
                    spans.push((start as u32, to.len() as u32));
                }
            }
        }
        let bare = Layout::of(&spans);
        self.put_numbers(&source, &bare, telling, to);
        for (index, (start, end)) in spans.iter().enumerate() {
            tell_length(self.shape, index, &bare, (end - start) as usize, to)?;
        }
        let layout = self.shape.with_tail(bare, to);
        if let Some(size) = &self.shape.size
            && !size.write(to, &layout, layout.size)
        {
            return Err(broken("a frame is too large for its length"));
        }
        let (front, body) =
            to.split_at_mut_checked(layout.body_start()).ok_or(broken("a frame has no body"))?;
        let tail = put_checksum(self.shape, &layout, front, &[body]);
        to.extend_from_slice(tail.bytes());
        Ok(())
    }

    fn put_part(
        &self,
        index: usize,
        name: &str,
        source: &Layout,
        telling: Telling<'_>,
        to: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        if let Some((_, pieces)) = self.template.parts.iter().find(|(part, _)| *part == index) {
            for piece in pieces {
                let fits = match piece {
                    RpcPiece::Bytes { value } => {
                        to.extend_from_slice(value);
                        true
                    }
                    RpcPiece::Message { length_bytes, little_endian } => {
                        let fits = *length_bytes == 0
                            || put_number(telling.message.len(), *length_bytes, *little_endian, to);
                        to.extend_from_slice(telling.message);
                        fits
                    }
                    RpcPiece::Status { bytes, little_endian } => {
                        put_number(telling.status.unwrap_or(0) as usize, *bytes, *little_endian, to)
                    }
                };
                if !fits {
                    return Err(broken("a piece is too large for its length"));
                }
            }
        } else if self.template.copies.iter().any(|copied| **copied == *name) {
            if let Some(Slot::Part(part)) = self.source.item(name) {
                to.extend_from_slice(source.part(self.front, *part));
            }
        } else if self.shape.headers == Some(index)
            && let Some(Form { plan: form, .. }) = &self.description.headers
        {
            map::put_count(form, 0, to);
        }
        Ok(())
    }

    fn put_numbers(&self, source: &Layout, layout: &Layout, telling: Telling<'_>, to: &mut [u8]) {
        for name in &self.template.copies {
            if let (Some(Slot::Number(from, _)), Some(Slot::Number(into, _))) =
                (self.source.item(name), self.shape.item(name))
                && let Some(value) = from.read(self.front, source)
            {
                into.write(to, layout, value);
            }
        }
        if let (Some(number), Some(status)) = (self.shape.status, telling.status) {
            number.write(to, layout, status);
        }
        for Given { name, shift, count, value } in &self.template.values {
            if let Some(Slot::Number(whole, _)) = self.shape.item(name) {
                let mask =
                    if *count == 0 { whole.mask } else { u64::MAX >> (64 - u32::from((*count).min(64))) };
                Number::new(whole.place, *shift, mask, whole.signed).write(to, layout, *value);
            }
        }
        if let Some(id) = telling.id {
            self.shape.id.write(to, layout, id);
        }
    }
}
