//! From the plan to a `Description`: names become places, patterns numbers. What a careless plan could break is refused here.
//!
//! In: `plan::RpcProtocol`. Out: a description whose shapes have sound places, or the path of what has none. Whoever plans (our
//! own compiler, or another control plane's) need not be believed: codecs rely on what is checked here.

mod items;
mod sources;
mod templates;

use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;

use items::compile_shape;
use sources::{Sources, compile_body, compile_sources, is_told_twice};
use templates::compile_templates;

use super::WHOLE;
use super::description::{
    Attribute, Description, Heartbeat, Opening, Origin, Preamble, Reader, Texts, Value,
};
use super::map::Form;
use super::shape::{Shape, Slot};
use super::trace::Trace;
use super::window::Window;
use crate::bytes::decimal;
use crate::message::{NameId, NameSet, QuickHash};
use crate::plan::{self, PlanError, RpcKind};

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
    let told = |shape: usize| {
        let windows = openings.iter().filter(|opening| usize::from(opening.shape) == shape);
        Window::common(windows.map(|opening| &opening.window))
    };
    let told: Vec<_> = (0..shapes.len()).map(told).collect();
    let shapes = shapes.into_iter().zip(&told).enumerate().map(|(index, (mut shape, told))| {
        if let Some(told) = told {
            shape.pinned = shape.pinned.known(index as u16, *told);
        }
        shape
    });
    let shapes: Box<[Shape]> = shapes.collect();
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
    let mut readers = Vec::with_capacity(shapes.len());
    for (index, told) in told.iter().enumerate() {
        let here = |sources: &Sources| sources.get(index).cloned().unwrap_or_default();
        let mut names = NameSet::default();
        let mut mine = Vec::with_capacity(attributes.len());
        for (id, name, sources) in &attributes {
            let sources = here(sources);
            if sources.is_empty() {
                continue;
            }
            let value = match (Value::of(&sources), told) {
                (Value::Number(number), Some(told)) => match number.told_by(told) {
                    Some(number) => Value::Told(preamble.add(decimal(number).as_bytes())),
                    None => Value::Number(number),
                },
                (value, _) => value,
            };
            names.insert(*id);
            mine.push(Attribute { id: *id, name: *name, value });
        }
        readers.push(Reader {
            service: Texts::new(here(&service)),
            method: Texts::new(here(&method)),
            agrees: is_told_twice(&plan.method),
            is_told_in_front: method.get(index).is_some_and(|sources| {
                sources.iter().filter(|source| !matches!(source.origin, Origin::Body(_))).count() > 1
            }),
            deadline: here(&deadline),
            attributes: mine.into(),
            names,
        });
    }
    let readers: Box<[Reader]> = readers.into();
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
    let ids = u32::MAX >> (32 - 8 * u32::from(shapes.first().map_or(4, Shape::id_width)));
    let trace = plan.trace.as_ref().map(|trace| Trace::compile(trace, &plan.limits));
    Ok(Description {
        name: plan.name.as_str().into(),
        digest: digest_of(plan)?,
        openings,
        detection: windows("detection", &plan.detection)?,
        headers: plan.headers.as_ref().map(Form::new),
        wanted: wanted.into(),
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
        // As many as there are ids, but for 0.
        limits: plan::RpcLimits { provider_calls: plan.limits.provider_calls.min(ids - 1), ..plan.limits },
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
        let is_alone = openings.iter().all(|earlier: &Opening| !earlier.window.meets(&window));
        openings.push(Opening { window, shape: opening.shape as u16, kind: opening.frame, is_alone });
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
