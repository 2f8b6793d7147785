//! Sources of names, deadlines and attributes, as each shape has them, and what of a body they need.

use super::super::description::{Body, MAX_WANTED, Origin, Source};
use super::super::place::Number;
use super::super::shape::{Shape, Slot};
use super::refuse;
use crate::plan::{self, PlanError, RpcOrigin};

/// By shape: those that frames of it have.
pub(super) type Sources = Vec<Box<[Source]>>;

pub(super) fn compile_sources(
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
            Origin::Number(Number::new(whole.place, field.at, mask, signed))
        }
        Slot::Magic { value, .. } => Origin::Text(value.clone()),
        Slot::Part(index) => Origin::Part(*index),
    })
}

/// Whether a header and the body each name it. Servers differ in which of the two they obey, and policies judge one.
pub(super) fn is_told_twice(sources: &[plan::RpcSource]) -> bool {
    let any = |is_so: fn(&RpcOrigin) -> bool| sources.iter().any(|source| is_so(&source.from));
    any(|origin| matches!(origin, RpcOrigin::Header { .. }))
        && any(|origin| matches!(origin, RpcOrigin::Body { .. }))
}

pub(super) fn compile_body(body: &plan::RpcBody, wanted_by_attributes: bool) -> Result<Body, PlanError> {
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
