//! Templates of frames that we make ourselves.

use super::super::description::{Given, Template};
use super::super::shape::{Shape, Slot};
use super::items::number_of;
use super::refuse;
use crate::plan::{self, PlanError};

pub(super) fn compile_templates(
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
