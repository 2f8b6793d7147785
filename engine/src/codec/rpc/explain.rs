//! Says field by field what frames hold: for whoever writes a description, and for a look at a capture.
//!
//! In: a plan and bytes of one direction of a connection. Out: frames with rows; the first that cannot be understood ends the list,
//! with the reason. The same code that carries traffic reads here, so what is shown is what the engine understands.

use super::compile;
use super::description::Description;
use super::head::Reading;
use super::layout::Layout;
use super::shape::Slot;
use super::{Broken, WHOLE, broken};
use crate::message::HeaderBlock;
use crate::plan::{PlanError, RpcExplained, RpcKind, RpcProtocol, RpcRow, RpcSeen};

/// Frames that are explained of one text.
const MAX_FRAMES: usize = 10_000;
/// Bytes of a part that are shown.
const MAX_SHOWN: usize = 4_096;

/// Explains frame after frame.
pub fn explain(plan: &RpcProtocol, bytes: &[u8]) -> Result<RpcExplained, PlanError> {
    let description = compile(plan)?;
    let mut explained = RpcExplained { frames: Vec::new(), left: 0, problem: String::new() };
    let mut at = 0;
    while at < bytes.len() && explained.frames.len() < MAX_FRAMES {
        let rest = bytes.get(at..).unwrap_or(&[]);
        match explain_frame(&description, rest) {
            Ok(Some(mut frame)) => {
                frame.offset = at as u64;
                at += frame.size as usize;
                explained.frames.push(frame);
            }
            Ok(None) => {
                "the frame is not whole".clone_into(&mut explained.problem);
                break;
            }
            Err(broken) => {
                broken.what.clone_into(&mut explained.problem);
                break;
            }
        }
    }
    explained.left = (bytes.len() - at) as u64;
    Ok(explained)
}

fn explain_frame(description: &Description, bytes: &[u8]) -> Result<Option<RpcSeen>, Broken> {
    let Some(located) = description.locate(bytes)? else { return Ok(None) };
    let shape = description.shape(located.shape).ok_or(broken("no such frame"))?;
    let mut layout = Layout::default();
    let Some(size) = shape.measure(bytes, &mut layout)? else { return Ok(None) };
    if size as u64 > description.limits.frame {
        return Err(broken("a frame is larger than the protocol allows"));
    }
    let Some(frame) = bytes.get(..size) else { return Ok(None) };
    shape.lay(frame.get(..size.min(WHOLE)).unwrap_or(frame), size, &mut layout)?;
    let reading = Reading { description, index: located.shape, shape, frame, layout: &layout };
    let mut seen = RpcSeen {
        offset: 0,
        size: size as u64,
        frame: located.kind,
        shape: shape.name.to_string(),
        rows: rows(&reading),
        service: String::new(),
        method: String::new(),
        status: None,
        deadline: None,
        headers: Vec::new(),
        checksum: None,
    };
    if let Some(checksum) = shape.checksum.as_ref().filter(|_| layout.has_checksum) {
        let body = frame.get(layout.body_start()..layout.body_start() + layout.body_length()).unwrap_or(&[]);
        seen.checksum =
            Some(checksum.place.read(frame, &layout) == Some(checksum.over(frame, &[body], &layout)));
    }
    match located.kind {
        RpcKind::Request | RpcKind::OneWay => {
            let head = reading.request(false)?;
            seen.service = text(head.authority());
            seen.method = text(head.path().get(head.authority().len() + 2..).unwrap_or(&[]));
            seen.deadline = head.deadline_milliseconds;
            seen.headers = headers(&head.headers);
        }
        RpcKind::Response => {
            let head = reading.response()?;
            seen.status = Some(head.status);
            seen.headers = headers(&head.headers);
        }
        RpcKind::Heartbeat | RpcKind::HeartbeatAnswer | RpcKind::GoAway => {}
    }
    Ok(Some(seen))
}

fn headers(block: &HeaderBlock) -> Vec<(String, String)> {
    block.iter().map(|(_, name, value)| (text(name), text(value))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rows(reading: &Reading<'_>) -> Vec<RpcRow> {
    let (shape, frame, layout) = (reading.shape, reading.frame, reading.layout);
    let trailing = shape.checksum.as_ref().filter(|checksum| checksum.trails && !layout.has_checksum);
    let mut rows = Vec::new();
    let bytes_at = |start: usize, length: usize| frame.get(start..start + length).unwrap_or(&[]);
    for item in &shape.items {
        match &item.slot {
            Slot::Number(number, _) if trailing.is_some_and(|checksum| checksum.place == number.place) => {}
            Slot::Number(number, bits) => {
                let (start, width) = (number.place.at(layout), usize::from(number.place.width));
                let value = number.read_signed(frame, layout);
                rows.push(row(&item.name, start, width, bytes_at(start, width), value));
                for (name, bits) in bits {
                    rows.push(row(name, start, 0, &[], bits.read_signed(frame, layout)));
                }
            }
            Slot::Magic { place, value } => {
                let start = place.at(layout);
                rows.push(row(&item.name, start, value.len(), bytes_at(start, value.len()), None));
            }
            Slot::Part(index) => {
                let (start, end) = layout.span(*index);
                let shown = bytes_at(start, end - start);
                let shown = shown.get(..MAX_SHOWN).unwrap_or(shown);
                rows.push(row(&item.name, start, end - start, shown, None));
            }
        }
    }
    rows
}

fn row(name: &str, offset: usize, length: usize, bytes: &[u8], number: Option<i64>) -> RpcRow {
    RpcRow {
        name: name.to_owned(),
        offset: offset as u64,
        length: length as u64,
        bytes: bytes.to_vec(),
        number,
    }
}
