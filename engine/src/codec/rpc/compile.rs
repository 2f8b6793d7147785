//! From the plan to a `Description`: names become places, patterns numbers. What a careless plan could break is refused here.
//!
//! In: `plan::RpcProtocol`. Out: a description whose shapes have sound places, or the path of what has none. Whoever plans (our
//! own compiler, or another control plane's) need not be believed: codecs rely on what is checked here.

use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;

use super::WHOLE;
use super::description::{
    Attribute, Body, Description, Given, Heartbeat, MAX_WANTED, Opening, Origin, Preamble, Reader, Source,
    Template, Value, Wanted,
};
use super::shape::{
    Checksum, Edge, Item, Layout, Length, MAX_PARTS, Number, Part, Pinned, Place, PlainLength, Shape, Slot,
};
use super::trace::Trace;
use super::window::Window;
use crate::message::{NameId, QuickHash};
use crate::plan::{self, PlanError, RpcAlgorithm, RpcKind, RpcOrigin, RpcSize};

/// Openings, shapes, items: far more than any protocol has.
const MAX_OPENINGS: usize = 256;
const MAX_SHAPES: usize = 32;
const MAX_ITEMS: usize = 64;
/// Bytes of a frame that descriptions may allow.
const MAX_FRAME: u64 = 1 << 30;

fn refuse(path: impl Into<String>, reason: impl Into<String>) -> PlanError {
    PlanError::new(path, reason)
}

/// Makes a codec's description of a plan.
pub fn compile(plan: &plan::RpcProtocol) -> Result<Description, PlanError> {
    check_limits(plan)?;
    let shapes = plan.shapes.iter().enumerate().map(|(index, shape)| {
        compile_shape(shape, plan).map_err(|error| error.within(&format!("shapes[{index}]")))
    });
    let shapes: Box<[Shape]> = shapes.collect::<Result<_, _>>()?;
    let openings = compile_openings(plan, &shapes)?;
    let mut wanted = Vec::new();
    let mut sources =
        |path: &str, given: &[plan::RpcSource]| compile_sources(path, given, plan, &shapes, &mut wanted);
    let service = sources("service", &plan.service)?;
    let method = sources("method", &plan.method)?;
    let deadline = sources("deadline", &plan.deadline)?;
    let mut preamble = Preamble::new(&plan.name);
    let attributes = plan.attributes.iter().map(|each| {
        let name = each.name.to_ascii_lowercase();
        let span = preamble.add(name.as_bytes());
        Ok((NameId::of(name.as_bytes()), span, sources("attributes", &each.sources)?))
    });
    let attributes: Vec<_> = attributes.collect::<Result<_, PlanError>>()?;
    let readers = (0..shapes.len()).map(|index| {
        let here = |sources: &Sources| sources.get(index).cloned().unwrap_or_default();
        let attribute = |(id, name, sources): &_| {
            let sources = here(sources);
            (!sources.is_empty()).then(|| Attribute { id: *id, name: *name, value: Value::of(&sources) })
        };
        Reader {
            service: here(&service),
            method: here(&method),
            agrees: is_told_twice(&plan.method),
            is_told_in_front: method.get(index).is_some_and(|sources| {
                sources.iter().filter(|source| !matches!(source.origin, Origin::Body(_))).count() > 1
            }),
            deadline: here(&deadline),
            attributes: attributes.iter().filter_map(attribute).collect(),
        }
    });
    let readers: Box<[Reader]> = readers.collect();
    let templates = |path: &str, given: &[plan::RpcTemplate]| compile_templates(path, given, &shapes);
    let error_replies = templates("error_replies", &plan.error_replies)?;
    let heartbeat = plan.heartbeat.as_ref().map(|heartbeat| {
        Ok(Heartbeat {
            templates: templates("heartbeat.templates", &heartbeat.templates)?,
            interval: heartbeat.interval.max(1),
            longest_interval: heartbeat.longest_interval.max(heartbeat.interval).max(1),
            timeout: heartbeat.timeout.max(1),
            misses: heartbeat.misses.max(1),
        })
    });
    let remembers_parts = error_replies.iter().any(|template| {
        let shape = shapes.get(usize::from(template.shape));
        template
            .copies
            .iter()
            .any(|name| matches!(shape.and_then(|shape| shape.item(name)), Some(Slot::Part(_))))
    });
    let attribute_needs_body =
        readers.iter().flat_map(|reader| &reader.attributes).any(|attribute| attribute.value.needs_body());
    let trace = plan.trace.as_ref().map(|trace| Trace::compile(trace, &plan.limits));
    Ok(Description {
        name: plan.name.as_str().into(),
        digest: digest_of(plan)?,
        openings,
        detection: windows("detection", &plan.detection)?,
        headers: plan.headers.clone(),
        wanted: Wanted::new(wanted),
        preamble,
        readers,
        trace: trace.transpose().map_err(|error| error.within("trace"))?,
        body: plan
            .body
            .as_ref()
            .map(|body| compile_body(body, attribute_needs_body || is_told_twice(&plan.method)))
            .transpose()?,
        statuses: plan.statuses.iter().map(|known| (known.status, known.http)).collect(),
        other_status: plan.other_status,
        replies: plan.replies.iter().map(|known| (known.http, known.status)).collect(),
        other_reply: plan.other_reply,
        error_replies,
        heartbeat: heartbeat.transpose()?,
        heartbeat_answers: templates("heartbeat_answers", &plan.heartbeat_answers)?,
        go_away: templates("go_away", &plan.go_away)?,
        limits: plan.limits,
        remembers_parts,
        shapes,
    })
}

fn digest_of(plan: &plan::RpcProtocol) -> Result<NonZeroU64, PlanError> {
    let mut hasher = QuickHash::default().build_hasher();
    hasher.write(&plan::encode(plan)?);
    Ok(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
}

fn check_limits(plan: &plan::RpcProtocol) -> Result<(), PlanError> {
    let limits = &plan.limits;
    if plan.name.is_empty() || plan.name.len() > 63 || !plan.name.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(refuse("name", "is no name of a protocol"));
    }
    if limits.frame == 0 || limits.frame > MAX_FRAME || limits.head == 0 || limits.head > WHOLE as u64 {
        return Err(refuse("limits", "a frame may have up to 2^30 bytes, and 65,536 in front of its body"));
    }
    if limits.calls == 0 || limits.provider_calls == 0 || limits.headers == 0 {
        return Err(refuse("limits", "0 is no limit"));
    }
    match &plan.headers {
        Some(plan::RpcHeaders::Pairs { count_bytes, name_bytes, value_bytes, .. })
            if *count_bytes > 4 || !(1..=4).contains(name_bytes) || !(1..=4).contains(value_bytes) =>
        {
            return Err(refuse("headers", "lengths have 1 to 4 bytes"));
        }
        Some(plan::RpcHeaders::Text { between, behind, .. }) if between.is_empty() || behind.is_empty() => {
            return Err(refuse("headers", "names and values need something between and behind them"));
        }
        _ => {}
    }
    if plan.shapes.is_empty() || plan.shapes.len() > MAX_SHAPES || plan.openings.len() > MAX_OPENINGS {
        return Err(refuse("shapes", "there must be 1 to 32 shapes, and at most 256 openings"));
    }
    for (index, status) in plan.statuses.iter().enumerate() {
        if !(100..=599).contains(&status.http) {
            return Err(refuse(format!("statuses[{index}].http"), "is no status of HTTP"));
        }
    }
    if !(100..=599).contains(&plan.other_status) {
        return Err(refuse("other_status", "is no status of HTTP"));
    }
    Ok(())
}

fn compile_openings(plan: &plan::RpcProtocol, shapes: &[Shape]) -> Result<Box<[Opening]>, PlanError> {
    let mut openings = Vec::with_capacity(plan.openings.len());
    for (index, opening) in plan.openings.iter().enumerate() {
        let path = format!("openings[{index}]");
        let shape =
            shapes.get(opening.shape as usize).ok_or_else(|| refuse(&*path, "there is no such shape"))?;
        if opening.frame == RpcKind::Response && shape.status.is_none() {
            return Err(refuse(path, "a response needs a status"));
        }
        let window = window(&path, &opening.pattern)?;
        if window.length > shape.fixed {
            return Err(refuse(path, "what tells a shape must lie in front of its parts"));
        }
        openings.push(Opening { window, shape: opening.shape as u16, kind: opening.frame });
    }
    Ok(openings.into())
}

fn window(path: &str, pattern: &plan::RpcPattern) -> Result<Window, PlanError> {
    Window::new(&pattern.mask, &pattern.value)
        .ok_or_else(|| refuse(path, "a pattern has up to 16 bytes, and no ones outside of its mask"))
}

fn windows(path: &str, patterns: &[plan::RpcPattern]) -> Result<Box<[Window]>, PlanError> {
    patterns.iter().map(|pattern| window(path, pattern)).collect()
}

/// Where items stand, while they are laid one behind the other.
struct Laying<'a> {
    plan: &'a plan::RpcShape,
    items: Vec<Item>,
    parts: Vec<Part>,
    /// Bytes of numbers behind the last part.
    gap: usize,
}

fn compile_shape(plan: &plan::RpcShape, protocol: &plan::RpcProtocol) -> Result<Shape, PlanError> {
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
        let place = |width: u8, laying: &Self| Place {
            behind: laying.parts.len() as u8,
            offset: laying.gap as u32,
            width,
            little: item.little_endian,
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
            look: windows("look_into_body", &self.plan.look_into_body)?,
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
fn number_of(place: Place, at: u8, count: u8, signed: bool) -> Result<Number, PlanError> {
    let width = 8 * place.width;
    let count = if count == 0 { width } else { count };
    if u16::from(at) + u16::from(count) > u16::from(width) {
        return Err(refuse("bits", "there are not so many"));
    }
    let mask = if count == 64 { u64::MAX } else { (1 << count) - 1 };
    Ok(Number { place, shift: at, mask, signed })
}

/// By shape: those that frames of it have.
type Sources = Vec<Box<[Source]>>;

fn compile_sources(
    path: &str,
    sources: &[plan::RpcSource],
    protocol: &plan::RpcProtocol,
    shapes: &[Shape],
    wanted: &mut Vec<Box<[u8]>>,
) -> Result<Sources, PlanError> {
    let mut compiled = vec![Vec::new(); shapes.len()];
    for source in sources {
        let origin = match &source.from {
            RpcOrigin::Header { name } => {
                let known = wanted.iter().position(|known| **known == *name.as_bytes());
                let index = known.unwrap_or_else(|| {
                    wanted.push(name.as_bytes().into());
                    wanted.len() - 1
                });
                if index >= MAX_WANTED {
                    return Err(refuse(path, "at most 16 headers can be looked for"));
                }
                Origin::Header(index as u8)
            }
            RpcOrigin::Item { field } => {
                let found =
                    protocol.shapes.iter().flat_map(|shape| &shape.items).any(|item| item.name == field.item);
                if !found || protocol.shapes.iter().any(|shape| shape.body == field.item) {
                    return Err(refuse(path, format!("{} is no field to read", field.item)));
                }
                for (compiled, shape) in compiled.iter_mut().zip(shapes) {
                    compiled.extend(origin_of(shape, field).map(|origin| source_of(source, origin)));
                }
                continue;
            }
            RpcOrigin::Body { number } => {
                let values =
                    protocol.body.as_ref().map_or(0, |body| body.object.len().max(usize::from(body.values)));
                if usize::from(*number) >= values {
                    return Err(refuse(path, "the body has no such value"));
                }
                Origin::Body(*number)
            }
            RpcOrigin::Text { text } => Origin::Text(text.as_bytes().into()),
        };
        compiled.iter_mut().for_each(|compiled| compiled.push(source_of(source, origin.clone())));
    }
    Ok(compiled.into_iter().map(Vec::into_boxed_slice).collect())
}

fn source_of(source: &plan::RpcSource, origin: Origin) -> Source {
    Source { origin, before: source.before.as_bytes().into(), after: source.after.as_bytes().into() }
}

/// The item as it lies in one shape; a number without bits of it that are not asked for.
fn origin_of(shape: &Shape, field: &plan::RpcField) -> Option<Origin> {
    Some(match shape.item(&field.item)? {
        Slot::Number(whole, _) => {
            let mask = match field.count {
                0 => whole.mask,
                count => whole.mask & (u64::MAX >> (64 - u32::from(count.min(64)))),
            };
            let signed = whole.signed && field.count == 0;
            Origin::Number(Number { shift: field.at, mask, signed, ..*whole })
        }
        Slot::Magic { value, .. } => Origin::Text(value.clone()),
        Slot::Part(index) => Origin::Part(*index),
    })
}

/// Whether a header and the body each name it. Servers differ in which of the two they obey, and policies judge one.
fn is_told_twice(sources: &[plan::RpcSource]) -> bool {
    let any = |is_so: fn(&RpcOrigin) -> bool| sources.iter().any(|source| is_so(&source.from));
    any(|origin| matches!(origin, RpcOrigin::Header { .. }))
        && any(|origin| matches!(origin, RpcOrigin::Body { .. }))
}

fn compile_body(body: &plan::RpcBody, wanted_by_attributes: bool) -> Result<Body, PlanError> {
    if body.object.len() > MAX_WANTED || usize::from(body.values) > MAX_WANTED {
        return Err(refuse("body", "at most 16 values can be looked for"));
    }
    if body.attachments_behind.is_some_and(|number| number + 1 != body.values) {
        return Err(refuse("body.attachments_behind", "must be the last of the values"));
    }
    Ok(Body {
        dialect: body.dialect,
        object: body.object.iter().map(|name| name.as_bytes().into()).collect(),
        values: body.values,
        attachments_behind: body.attachments_behind,
        always: wanted_by_attributes || body.attachments_behind.is_some(),
    })
}

fn compile_templates(
    path: &str,
    templates: &[plan::RpcTemplate],
    shapes: &[Shape],
) -> Result<Box<[Template]>, PlanError> {
    let compiled = templates.iter().enumerate().map(|(index, template)| {
        let path = format!("{path}[{index}]");
        let shape =
            shapes.get(template.shape as usize).ok_or_else(|| refuse(&*path, "there is no such shape"))?;
        if shapes.get(template.like as usize).is_none() {
            return Err(refuse(&*path, "there is no shape to be like"));
        }
        let mut values = Vec::with_capacity(template.values.len());
        for value in &template.values {
            match shape.item(&value.field.item) {
                Some(Slot::Number(number, _)) => {
                    number_of(number.place, value.field.at, value.field.count, false)
                        .map_err(|error| error.within(&path))?;
                }
                _ => return Err(refuse(&*path, format!("{} is no number", value.field.item))),
            }
            let name: Box<str> = value.field.item.as_str().into();
            values.push(Given {
                name,
                shift: value.field.at,
                count: value.field.count,
                value: value.value as u64,
            });
        }
        let mut parts = Vec::with_capacity(template.parts.len());
        for part in &template.parts {
            match shape.item(&part.item) {
                Some(Slot::Part(index)) => parts.push((*index, part.pieces.clone().into())),
                _ => return Err(refuse(&*path, format!("{} is no part", part.item))),
            }
        }
        Ok(Template {
            like: template.like as u16,
            shape: template.shape as u16,
            values: values.into(),
            copies: template.copies.iter().map(|name| name.as_str().into()).collect(),
            parts: parts.into(),
        })
    });
    compiled.collect()
}
