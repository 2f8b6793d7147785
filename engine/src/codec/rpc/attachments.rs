//! Changes what stands in the map of attachments behind the arguments of a hessian body, as `map` does with header maps.
//!
//! In: the fields of a head as they are now, then its whole body. Out: the body with those pairs. Invariant: only pairs of texts come
//! and go. A text is never referred to from elsewhere in a hessian stream (maps, lists and objects are), so that everything else
//! keeps its meaning where it stands. A body that is not understood to the end of the map, or that is too large to be handled
//! whole, is left alone.

use super::description::Description;
use super::hessian;
use super::shape::Shape;
use crate::message::{Frame, HeaderBlock};

/// Longest text in one piece, UTF-16 code units.
const MAX_UNITS: usize = 0x8000;

/// Name and value.
type Pair = (Box<[u8]>, Box<[u8]>);

/// What is to be done to a body's attachments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Edit {
    /// Which are taken out, in order.
    removed: Vec<usize>,
    added: Vec<Pair>,
}

impl Edit {
    /// `None` if nothing was changed, or nothing can be.
    pub fn of(
        description: &Description,
        shape: &Shape,
        frame: &Frame,
        headers: &HeaderBlock,
    ) -> Option<Box<Self>> {
        if headers.mark() == frame.mark || shape.headers.is_some() {
            return None;
        }
        description.body.as_ref()?.attachments_behind?;
        let first = usize::from(frame.attributes) + usize::from(frame.pairs);
        let received = frame.mark.fields() as usize;
        let mut edit = Self::default();
        for (index, field) in headers.iter_with_removed().enumerate().skip(first) {
            match field {
                None if index < received => edit.removed.push(index - first),
                Some((id, name, value)) if index >= received && description.takes(id) => {
                    edit.added.push((description.spelling(name).into(), value.into()));
                }
                _ => {}
            }
        }
        (!edit.removed.is_empty() || !edit.added.is_empty()).then(|| Box::new(edit))
    }

    /// The body as it is to be; `None`: as it is.
    pub fn apply(
        &self,
        description: &Description,
        shape: &Shape,
        front: &[u8],
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let form = description.body.as_ref().filter(|_| shape.looks_into_body(front))?;
        let found = hessian::look(form, body, description.limits.headers as usize);
        let end = found.map_end?;
        let mut edited = Vec::with_capacity(body.len() + 64 * self.added.len());
        let mut at = 0;
        for index in &self.removed {
            let taken = found.attachments.get(*index)?;
            edited.extend_from_slice(body.get(at..taken.start)?);
            at = taken.value.end;
        }
        edited.extend_from_slice(body.get(at..end)?);
        for (name, value) in &self.added {
            // A name that is there already, or was, is written as the peer wrote it.
            let known = found.attachments.iter().filter_map(|each| body.get(each.name.clone()));
            let spelled = known.into_iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(name);
            put_text(found.is_final, spelled, &mut edited)?;
            put_text(found.is_final, value, &mut edited)?;
        }
        edited.extend_from_slice(body.get(end..)?);
        Some(edited)
    }
}

/// A hessian string. `None` for what is none, or too long for one piece.
fn put_text(is_final: bool, text: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    let units = text.encode_utf16().count();
    match units {
        0..=0x1f => to.push(units as u8),
        0x20..=0x3ff if is_final => to.extend([0x30 | (units >> 8) as u8, units as u8]),
        0x20..=MAX_UNITS => to.extend([b'S', (units >> 8) as u8, units as u8]),
        _ => return None,
    }
    if units == text.chars().count() {
        to.extend_from_slice(text.as_bytes());
    } else {
        // Halves of a pair are written each by itself, as Java does.
        for unit in text.encode_utf16() {
            match unit {
                0..=0x7f => to.push(unit as u8),
                0x80..=0x7ff => to.extend([0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]),
                _ => to.extend([
                    0xe0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3f) as u8,
                    0x80 | (unit & 0x3f) as u8,
                ]),
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Five texts that say there are no arguments, then a map of these pairs; `noise` stands in between as values that are no texts.
    fn body(pairs: &[(String, String)], noise: &[i8]) -> Vec<u8> {
        let mut body = Vec::new();
        for text in ["2.0.2", "a.B", "1.0", "m", ""] {
            put_text(true, text.as_bytes(), &mut body).unwrap();
        }
        body.push(b'H');
        for (index, (name, value)) in pairs.iter().enumerate() {
            put_text(true, name.as_bytes(), &mut body).unwrap();
            put_text(true, value.as_bytes(), &mut body).unwrap();
            if let Some(number) = noise.get(index) {
                // A name whose value is a long, as eight bytes.
                put_text(true, b"number", &mut body).unwrap();
                body.push(b'L');
                body.extend(i64::from(*number).to_be_bytes());
            }
        }
        body.push(b'Z');
        body
    }

    fn pairs_of(body: &[u8]) -> Vec<(String, String)> {
        let description = super::super::tests::description("dubbo");
        let found = hessian::look(description.body.as_ref().unwrap(), body, 128);
        let text = |place: &std::ops::Range<usize>| String::from_utf8(body[place.clone()].to_vec()).unwrap();
        found.attachments.iter().map(|pair| (text(&pair.name), text(&pair.value))).collect()
    }

    proptest! {
        #[test]
        fn what_is_edited_is_as_if_it_had_been_written_so(
            pairs in proptest::collection::vec(("[a-z]{1,8}", "[a-zäß€]{0,40}"), 0..8),
            noise in proptest::collection::vec(any::<i8>(), 0..8),
            removed in proptest::collection::btree_set(0usize..8, 0..4),
            added in proptest::collection::vec(("x-[a-z]{1,8}", "[a-zäß€]{0,40}"), 0..4),
        ) {
            let description = super::super::tests::description("dubbo");
            let shape = description.shape(0).unwrap();
            let removed: Vec<usize> = removed.into_iter().filter(|index| *index < pairs.len()).collect();
            let boxed = |text: &String| text.as_bytes().into();
            let edit = Edit {
                removed: removed.clone(),
                added: added.iter().map(|(name, value)| (boxed(name), boxed(value))).collect(),
            };
            let front = [0xda, 0xbb, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            let edited = edit.apply(&description, shape, &front, &body(&pairs, &noise)).unwrap();
            let kept = pairs.iter().enumerate().filter(|(index, _)| !removed.contains(index));
            let wanted: Vec<_> = kept.map(|(_, pair)| pair.clone()).chain(added).collect();
            prop_assert_eq!(pairs_of(&edited), wanted);
            // Another serialisation is left alone.
            let json = [0xda, 0xbb, 0xc6, 0];
            prop_assert_eq!(edit.apply(&description, shape, &json, b"{}"), None);
        }

        #[test]
        fn any_body_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), removed in 0usize..3) {
            let description = super::super::tests::description("dubbo");
            let shape = description.shape(0).unwrap();
            let edit = Edit { removed: vec![removed], added: vec![(b"a"[..].into(), b"b"[..].into())] };
            let whole = [&body(&[], &[])[..], &bytes].concat();
            for body in [&bytes, &whole] {
                let _ = edit.apply(&description, shape, &[0xda, 0xbb, 0xc2, 0], body);
            }
        }

        #[test]
        fn texts_are_read_as_they_were_written(text in ".{0,80}|[a-zäß€😀]{900,1100}", is_final: bool) {
            let mut bytes = Vec::new();
            put_text(is_final, text.as_bytes(), &mut bytes).unwrap();
            prop_assert_eq!(hessian::only_text(&bytes, is_final).map(|place| place.end), Some(bytes.len()));
        }
    }

    #[test]
    fn lengths_are_told_as_peers_do() {
        for (is_final, units, lead) in [
            (true, 31, &[31][..]),
            (true, 32, &[0x30, 32]),
            (true, 1_023, &[0x33, 0xff]),
            (true, 1_024, &[b'S', 4, 0]),
            (false, 32, &[b'S', 0, 32]),
        ] {
            let mut bytes = Vec::new();
            put_text(is_final, &vec![b'x'; units], &mut bytes).unwrap();
            assert_eq!((&bytes[..lead.len()], bytes.len()), (lead, lead.len() + units));
        }
        assert_eq!(put_text(true, &vec![b'x'; MAX_UNITS + 1], &mut Vec::new()), None);
        assert_eq!(put_text(true, b"\xff", &mut Vec::new()), None);
        let mut bytes = Vec::new();
        put_text(true, "😀".as_bytes(), &mut bytes).unwrap();
        assert_eq!(bytes, [2, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
    }
}
