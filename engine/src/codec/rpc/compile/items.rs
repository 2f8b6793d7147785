//! Lays a shape's items one behind the other: numbers get places, parts lengths, and what would not add up is refused.

use super::super::WHOLE;
use super::super::layout::{Layout, MAX_PARTS};
use super::super::place::{Length, Number, Place};
use super::super::shape::{Item, LookInto, Part, Pinned, PlainLength, Shape, Slot};
use super::super::summing::{Checksum, Edge};
use super::{MAX_ITEMS, refuse, windows};
use crate::plan::{self, PlanError, RpcAlgorithm, RpcSize};

/// Where items stand, while they are laid one behind the other.
struct Laying<'a> {
    plan: &'a plan::RpcShape,
    items: Vec<Item>,
    parts: Vec<Part>,
    /// Bytes of numbers behind the last part.
    gap: usize,
}

pub(super) fn compile_shape(plan: &plan::RpcShape, protocol: &plan::RpcProtocol) -> Result<Shape, PlanError> {
    let mut laying = Laying { plan, items: Vec::new(), parts: Vec::new(), gap: 0 };
    if plan.items.is_empty() || plan.items.len() > MAX_ITEMS {
        return Err(refuse("items", "there must be 1 to 64 items"));
    }
    for (index, item) in plan.items.iter().enumerate() {
        laying.add(index, item).map_err(|error| error.within(&format!("items[{index}]")))?;
    }
    let size = plan.size.as_ref().map(|length| laying.length("size", length)).transpose()?;
    let fixed = laying.parts.first().map_or(0, |part| part.gap);
    if fixed == 0 || fixed > 256 {
        return Err(refuse("items", "there must be 1 to 256 bytes in front of the first part"));
    }
    for (index, part) in laying.parts.iter().enumerate() {
        if size.is_some() {
            continue;
        }
        if part.length.is_none_or(|length| length.number.place.behind != 0) {
            let reason = "without a size of the frame, lengths must stand in front of all parts";
            return Err(refuse(format!("parts[{index}]"), reason));
        }
    }
    if size.is_some_and(|length| length.number.place.behind != 0) {
        return Err(refuse("size", "the size must stand in front of all parts"));
    }
    laying.finish(size, fixed, protocol)
}

impl Laying<'_> {
    fn add(&mut self, index: usize, item: &plan::RpcItem) -> Result<(), PlanError> {
        if self.items.iter().any(|known| *known.name == *item.name) {
            return Err(refuse("name", "there are two items of this name"));
        }
        let place = |width: u8, laying: &Self| {
            Place::new(laying.parts.len() as u8, laying.gap as u32, width, item.little_endian)
        };
        let slot = match &item.size {
            RpcSize::Number { bytes } => {
                if !(1..=8).contains(bytes) {
                    return Err(refuse("size", "a number has 1 to 8 bytes"));
                }
                let whole = number_of(place(*bytes, self), 0, 0, item.signed)?;
                let bits = item.bits.iter().map(|bits| {
                    Ok((bits.name.as_str().into(), number_of(whole.place, bits.at, bits.count, false)?))
                });
                let slot = Slot::Number(whole, bits.collect::<Result<_, PlanError>>()?);
                self.gap += usize::from(*bytes);
                slot
            }
            RpcSize::Magic { value } => {
                if value.is_empty() || value.len() > 64 {
                    return Err(refuse("size", "magic has 1 to 64 bytes"));
                }
                let slot = Slot::Magic { place: place(0, self), value: value.as_slice().into() };
                self.gap += value.len();
                slot
            }
            RpcSize::Told { by } => {
                let length = self.length("size.by", by)?;
                self.part(Some(length))?
            }
            RpcSize::Rest {} => {
                let later_parts = self.plan.items.iter().skip(index + 1);
                let is_last = later_parts
                    .into_iter()
                    .all(|item| matches!(item.size, RpcSize::Number { .. } | RpcSize::Magic { .. }));
                if !is_last || self.plan.size.is_none() {
                    return Err(refuse("size", "only the last part of a frame of known size takes the rest"));
                }
                self.part(None)?
            }
        };
        self.items.push(Item { name: item.name.as_str().into(), slot });
        Ok(())
    }

    fn part(&mut self, length: Option<Length>) -> Result<Slot, PlanError> {
        if self.parts.len() == MAX_PARTS {
            return Err(refuse("size", "a frame has at most 8 parts"));
        }
        self.parts.push(Part { gap: std::mem::take(&mut self.gap), length });
        Ok(Slot::Part(self.parts.len() - 1))
    }

    fn number(&self, path: &str, name: &str) -> Result<Number, PlanError> {
        match self.items.iter().find(|item| *item.name == *name).map(|item| &item.slot) {
            Some(Slot::Number(number, _)) => Ok(*number),
            _ => Err(refuse(path, format!("there is no number {name} in front of it"))),
        }
    }

    fn length(&self, path: &str, length: &plan::RpcLength) -> Result<Length, PlanError> {
        if !(1..=1_024).contains(&length.times) || !(-65_536..=65_536).contains(&length.plus) {
            return Err(refuse(path, "times goes from 1 to 1,024, plus from -65,536 to 65,536"));
        }
        let number = self.number(&format!("{path}.item"), &length.item)?;
        Ok(Length::new(number, u64::from(length.times), length.plus))
    }

    fn part_index(&self, path: &str, name: &str) -> Result<usize, PlanError> {
        match self.items.iter().find(|item| *item.name == *name).map(|item| &item.slot) {
            Some(Slot::Part(index)) => Ok(*index),
            _ => Err(refuse(path, format!("there is no part {name}"))),
        }
    }

    fn finish(
        self,
        size: Option<Length>,
        fixed: usize,
        protocol: &plan::RpcProtocol,
    ) -> Result<Shape, PlanError> {
        let body = self.part_index("body", &self.plan.body)?;
        if body + 1 != self.parts.len() {
            return Err(refuse("body", "the body must be the last part"));
        }
        let behind_all = self.parts.len() as u8;
        let checksum =
            self.plan.checksum.as_ref().map(|checksum| self.checksum(checksum, protocol)).transpose()?;
        let trailing: usize =
            checksum.as_ref().filter(|sum| sum.trails).map_or(0, |sum| usize::from(sum.place.width));
        if self.gap != trailing {
            return Err(refuse("items", "only a checksum may stand behind the body"));
        }
        let id = self.number("id", &self.plan.id)?.place;
        if id.behind == behind_all {
            return Err(refuse("id", "the id must stand in front of the body"));
        }
        let status = self.plan.status.as_ref().map(|field| self.field("status", field)).transpose()?;
        let headers = self.plan.headers.as_ref().map(|name| self.part_index("headers", name)).transpose()?;
        if headers == Some(body) || (headers.is_some() && protocol.headers.is_none()) {
            return Err(refuse("headers", "the header map is a part of its own, and its form must be known"));
        }
        if headers.and_then(|part| self.parts.get(part)).is_some_and(|part| part.length.is_none()) {
            return Err(refuse("headers", "the header map needs a length"));
        }
        let pinned = protocol
            .pinned
            .iter()
            .filter_map(|name| self.number("pinned", name).ok().map(|number| number.place));
        Ok(Shape {
            name: self.plan.name.as_str().into(),
            fixed,
            size,
            id,
            status,
            headers,
            look: LookInto::new(windows("look_into_body", &self.plan.look_into_body)?),
            pinned: Pinned::new(pinned.collect()),
            checksum,
            plain_lengths: if size.is_none() { PlainLength::all(&self.parts) } else { None },
            parts: self.parts.into(),
            items: self.items.into(),
        })
    }

    fn field(&self, path: &str, field: &plan::RpcField) -> Result<Number, PlanError> {
        let whole = self.number(path, &field.item)?;
        number_of(whole.place, field.at, field.count, whole.signed).map_err(|error| error.within(path))
    }

    fn checksum(
        &self,
        checksum: &plan::RpcChecksum,
        protocol: &plan::RpcProtocol,
    ) -> Result<Checksum, PlanError> {
        let path = "checksum";
        let place = self.number(path, &checksum.item)?.place;
        let trails = usize::from(place.behind) == self.parts.len();
        let (first, _) = self.edges(path, &checksum.first)?;
        let (_, last) = self.edges(path, &checksum.last)?;
        let nowhere = Layout::default();
        let order = |edge: &Edge| (edge.behind, edge.at(&nowhere));
        let mine = Edge { behind: place.behind, offset: place.offset };
        if order(&first) > order(&last) || (order(&first) <= order(&mine) && order(&mine) < order(&last)) {
            return Err(refuse(path, "it covers itself, or nothing"));
        }
        if !trails && order(&mine) < order(&last) && protocol.limits.frame > WHOLE as u64 {
            return Err(refuse(path, "in front of what it covers it needs frames of 64 KiB at most"));
        }
        if !trails && !checksum.present.is_empty() {
            return Err(refuse(path, "only behind the body it may be absent"));
        }
        let wide =
            matches!(checksum.algorithm, RpcAlgorithm::Crc32 | RpcAlgorithm::Crc32c | RpcAlgorithm::Adler32);
        if wide && place.width != 4 {
            return Err(refuse(path, "it needs 4 bytes"));
        }
        let present = windows("checksum.present", &checksum.present)?;
        if present.iter().any(|window| window.length > self.parts.first().map_or(0, |part| part.gap)) {
            return Err(refuse("checksum.present", "what tells of it must lie in front of all parts"));
        }
        Ok(Checksum {
            place,
            algorithm: checksum.algorithm,
            first,
            last,
            present,
            verify: checksum.verify,
            trails,
            last_is_in_front: usize::from(last.behind) < self.parts.len(),
        })
    }

    /// Beginning and end of an item.
    fn edges(&self, path: &str, name: &str) -> Result<(Edge, Edge), PlanError> {
        let item = self.items.iter().find(|item| *item.name == *name);
        match item.map(|item| &item.slot) {
            Some(Slot::Number(number, _)) => {
                let (behind, offset) = (number.place.behind, number.place.offset);
                Ok((Edge { behind, offset }, Edge { behind, offset: offset + u32::from(number.place.width) }))
            }
            Some(Slot::Magic { place, value }) => {
                let (behind, offset) = (place.behind, place.offset);
                Ok((Edge { behind, offset }, Edge { behind, offset: offset + value.len() as u32 }))
            }
            Some(Slot::Part(part)) => {
                let gap = self.parts.get(*part).map_or(0, |part| part.gap) as u32;
                Ok((Edge { behind: *part as u8, offset: gap }, Edge { behind: *part as u8 + 1, offset: 0 }))
            }
            None => Err(refuse(path, format!("there is no item {name}"))),
        }
    }
}

/// `count` 0: the whole number.
pub(super) fn number_of(place: Place, at: u8, count: u8, signed: bool) -> Result<Number, PlanError> {
    let width = 8 * place.width;
    let count = if count == 0 { width } else { count };
    if u16::from(at) + u16::from(count) > u16::from(width) {
        return Err(refuse("bits", "there are not so many"));
    }
    let mask = if count == 64 { u64::MAX } else { (1 << count) - 1 };
    Ok(Number::new(place, at, mask, signed))
}
