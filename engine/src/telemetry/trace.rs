//! W3C trace context (level 1) and request ids: kept as they came, or made.
//!
//! A valid `traceparent` passes unchanged: this proxy exports no spans, and a parent nobody exported would tear the trace. The
//! same holds for the traces of framed protocols, which their descriptions say where to find: what logs tell is the id that the
//! protocol's own tools log.

use crate::bytes::hexadecimal_word;
use crate::codec::rpc;
use crate::message::{Name, NameId, RequestHead};

/// Longest id of a trace that is told, bytes: W3C's have 32, SOFATracer's up to 32, others less.
const MAX_ID: usize = 48;

/// What the log says of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; MAX_ID],
    length: u8,
    pub sampled: bool,
}

impl TraceContext {
    /// 32 hexadecimal digits, unless a framed protocol has ids of its own.
    pub fn trace_id(&self) -> &str {
        let id = self.trace_id.get(..usize::from(self.length)).unwrap_or(&[]);
        std::str::from_utf8(id).unwrap_or_default()
    }

    /// `None` for an id that no log could hold.
    fn of(id: &[u8], sampled: bool) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let mut trace_id = [0; MAX_ID];
        trace_id.get_mut(..id.len())?.copy_from_slice(id);
        (!id.is_empty() && id.iter().all(is_plain)).then_some(Self {
            trace_id,
            length: id.len() as u8,
            sampled,
        })
    }

    /// `00-<32 hex>-<16 hex>-<2 hex>`; of later versions the part that is defined. Zero ids are invalid.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split('-');
        let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        let version = digits(parts.next(), 2)?;
        let trace_id = digits(parts.next(), 32).filter(|id| !zero(id))?;
        digits(parts.next(), 16).filter(|id| !zero(id))?;
        let flags = u8::from_str_radix(digits(parts.next(), 2)?, 16).ok()?;
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        Self::of(trace_id.as_bytes(), flags & 1 == 1)
    }

    fn make(share: f64, mut random: impl FnMut() -> u64) -> (Self, Vec<u8>) {
        let mut part = || random().max(1);
        let (high, low, parent) = (part(), part(), part());
        // 53 bits, as many as a share can tell apart.
        let sampled = ((part() >> 11) as f64) < share.clamp(0.0, 1.0) * (1_u64 << 53) as f64;
        let mut trace_id = [0; MAX_ID];
        let digits = [hexadecimal_word(high), hexadecimal_word(low)];
        let id = digits.as_flattened();
        if let Some(place) = trace_id.get_mut(..id.len()) {
            place.copy_from_slice(id);
        }
        let mut header = Vec::with_capacity(55);
        header.extend_from_slice(b"00-");
        header.extend_from_slice(id);
        header.push(b'-');
        header.extend_from_slice(&hexadecimal_word(parent));
        header.extend_from_slice(if sampled { b"-01" } else { b"-00" });
        (Self { trace_id, length: id.len() as u8, sampled }, header)
    }
}

/// A part of a `traceparent`: so many lower-case hexadecimal digits.
fn digits(part: Option<&str>, length: usize) -> Option<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    part.filter(|part| part.len() == length && part.bytes().all(is_digit))
}

/// Keeps the request's trace context, or gives it one of which `share` (0 to 1) is sampled. A malformed one is replaced, and the
/// `tracestate` that belonged to it goes.
pub fn ensure_trace(head: &mut RequestHead, share: f64, random: impl FnMut() -> u64) -> TraceContext {
    if let Some(kept) = only_value(head).and_then(TraceContext::parse) {
        return kept;
    }
    let (made, header) = TraceContext::make(share, random);
    head.headers.remove_id(NameId::TRACESTATE);
    head.headers.set_id(NameId::TRACEPARENT, &header);
    made
}

/// Keeps the trace that a call of a framed protocol brings, or begins one of which `share` is sampled, if the description says how.
pub fn ensure_rpc_trace(
    head: &mut RequestHead,
    trace: &rpc::Trace,
    share: f64,
    random: impl FnMut() -> u64,
) -> Option<TraceContext> {
    match told(head, trace) {
        Told::Nothing => {}
        Told::Unspeakable => return None,
        Told::Trace(kept) => return Some(kept),
    }
    if trace.begin.is_empty() || !trace.has_room(head) {
        return None;
    }
    let (made, context) = TraceContext::make(share, random);
    for (name, value) in &trace.begin {
        let value = match value {
            rpc::TraceValue::TraceId => made.trace_id().as_bytes(),
            rpc::TraceValue::SpanId => context.get(36..52).unwrap_or(&[]),
            rpc::TraceValue::Context => &context,
            rpc::TraceValue::Sampled if made.sampled => b"true",
            rpc::TraceValue::Sampled => b"false",
            rpc::TraceValue::Text(text) => text,
        };
        head.headers.set(name, value);
    }
    Some(made)
}

/// What a call of a framed protocol tells of its trace.
enum Told {
    Nothing,
    /// An id that no log could hold.
    Unspeakable,
    Trace(TraceContext),
}

fn told(head: &RequestHead, trace: &rpc::Trace) -> Told {
    let value = |name: &Option<Name>| name.as_ref().and_then(|name| head.headers.get(name));
    if let Some(id) = value(&trace.id).filter(|id| !id.is_empty()) {
        let sampled = value(&trace.sampled).is_none_or(|text| matches!(text, b"true" | b"1"));
        return TraceContext::of(id, sampled).map_or(Told::Unspeakable, Told::Trace);
    }
    value(&trace.context).and_then(TraceContext::parse).map_or(Told::Nothing, Told::Trace)
}

/// The trace that a call tells of, for logs where tracing is off.
pub(super) fn told_trace(head: &RequestHead, trace: &rpc::Trace) -> Option<TraceContext> {
    match told(head, trace) {
        Told::Trace(context) => Some(context),
        Told::Nothing | Told::Unspeakable => None,
    }
}

/// Several of them say nothing.
fn only_value(head: &RequestHead) -> Option<&[u8]> {
    let mut values = head.headers.all_id(NameId::TRACEPARENT);
    values.next().filter(|_| values.next().is_none())
}

/// A UUID of version 4 (RFC 9562 §5.4) out of two random numbers.
pub fn request_id(high: u64, low: u64) -> [u8; 36] {
    let high = hexadecimal_word((high & !0xf000) | 0x4000);
    let low = hexadecimal_word((low & !(0b11 << 62)) | (0b10 << 62));
    let mut text = [b'-'; 36];
    let parts = [
        (0..8, &high, 0..8),
        (9..13, &high, 8..12),
        (14..18, &high, 12..16),
        (19..23, &low, 0..4),
        (24..36, &low, 4..16),
    ];
    for (place, digits, part) in parts {
        if let (Some(place), Some(part)) = (text.get_mut(place), digits.get(part)) {
            place.copy_from_slice(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn numbers() -> impl FnMut() -> u64 {
        let mut last = 0;
        move || {
            last += 1;
            last
        }
    }

    #[test]
    fn trace_parents_are_judged_as_the_standard_says() {
        for (text, sampled) in [
            (VALID, Some(true)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", Some(false)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more", Some(true)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", None),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", None),
            ("", None),
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()).map(|made| made.sampled), sampled, "{text}");
        }
    }

    #[test]
    fn a_context_is_kept_or_made() {
        let mut head = RequestHead::default();
        head.headers.push(b"traceparent", VALID.as_bytes());
        head.headers.push(b"tracestate", b"a=b");
        let kept = ensure_trace(&mut head, 0.0, numbers());
        assert_eq!(kept.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(head.headers.get_id(NameId::TRACEPARENT), Some(VALID.as_bytes()));
        assert!(head.headers.contains_id(NameId::TRACESTATE));
        // Two of them say nothing.
        head.headers.push(b"traceparent", VALID.as_bytes());
        let made = ensure_trace(&mut head, 1.0, numbers());
        assert!(made.sampled);
        assert_eq!(head.headers.all_id(NameId::TRACEPARENT).count(), 1);
        assert!(!head.headers.contains_id(NameId::TRACESTATE));
        assert!(!ensure_trace(&mut RequestHead::default(), 0.0, numbers()).sampled);
    }

    proptest! {
        #[test]
        fn what_is_made_is_valid(seed: u64, share in 0.0f64..=1.0) {
            let mut state = seed;
            let random = || { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); state };
            let mut head = RequestHead::default();
            let made = ensure_trace(&mut head, share, random);
            let header = head.headers.get_id(NameId::TRACEPARENT).unwrap();
            prop_assert_eq!(TraceContext::parse(header), Some(made));
        }

        #[test]
        fn ids_are_uuids_of_version_4(high: u64, low: u64) {
            let id = String::from_utf8(request_id(high, low).to_vec()).unwrap();
            prop_assert_eq!(id.len(), 36);
            prop_assert_eq!(&id[14..15], "4");
            prop_assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
            let in_place = |(at, byte): (usize, u8)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            };
            prop_assert!(id.bytes().enumerate().all(in_place));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            TraceContext::parse(&bytes);
        }
    }
}
