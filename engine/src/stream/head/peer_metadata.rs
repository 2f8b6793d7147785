//! `x-envoy-peer-metadata`: what workloads tell each other about themselves, for the labels of Istio's metrics.
//!
//! In: the field's value, a `google.protobuf.Struct` in base64. Out: labels, or nothing if it is not one; and our own
//! value, made once. What a peer says here is only believed for labels; its principal comes from its certificate.

use super::base64;
use crate::message::SpiffeId;
use crate::plan::LocalWorkload;
use crate::telemetry::PeerLabels;

/// Longer values are not looked at, bytes.
const MAX_VALUE: usize = 4 * 1024;
/// A label longer than this is cut: labels are kept as long as the process lives. Bytes.
const MAX_LABEL: usize = 128;
/// Struct → LABELS; nothing Istio sends lies deeper.
const MAX_DEPTH: usize = 2;

const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

/// Labels of a peer from its identity and its field, if it sent one.
pub fn labels(identity: Option<&SpiffeId>, field: Option<&[u8]>) -> PeerLabels {
    let mut labels = field.and_then(parse).unwrap_or_default();
    if let Some(identity) = identity {
        labels.principal = identity.as_str().to_owned();
        if let Some(namespace) = identity.namespace() {
            labels.namespace = namespace.to_owned();
        }
    }
    labels
}

fn parse(field: &[u8]) -> Option<PeerLabels> {
    if field.len() > MAX_VALUE {
        return None;
    }
    let bytes = base64::decode(field)?;
    let mut labels = PeerLabels::default();
    visit(&bytes, 0, &mut |depth, key, value| {
        let target = match (depth, key) {
            (0, "WORKLOAD_NAME") => &mut labels.workload,
            (0, "NAMESPACE") => &mut labels.namespace,
            (0, "CLUSTER_ID") => &mut labels.cluster,
            (1, "app") => &mut labels.app,
            (1, "version") => &mut labels.version,
            (1, CANONICAL_NAME) => &mut labels.canonical_name,
            (1, CANONICAL_REVISION) => &mut labels.canonical_revision,
            _ => return,
        };
        *target = value.chars().filter(|letter| !letter.is_control()).take(MAX_LABEL).collect();
    })?;
    Some(labels)
}

/// Our own field's value.
pub fn encode(own: &LocalWorkload) -> String {
    let labels = structure(&[
        ("app", text(&own.app)),
        (CANONICAL_NAME, text(&own.canonical_name)),
        (CANONICAL_REVISION, text(&own.canonical_revision)),
        ("version", text(&own.version)),
    ]);
    let mut nested = Vec::new();
    put_field(&mut nested, 5, &labels);
    let bytes = structure(&[
        ("CLUSTER_ID", text(&own.cluster)),
        ("LABELS", nested),
        ("NAME", text(&own.name)),
        ("NAMESPACE", text(&own.namespace)),
        ("WORKLOAD_NAME", text(&own.name)),
    ]);
    base64::encode(&bytes)
}

// The three messages of google/protobuf/struct.proto that occur: Struct { map<string, Value> fields = 1 },
// Value { string string_value = 3; Struct struct_value = 5 }, and a map's entry { key = 1; value = 2 }.

/// A `Value` holding text.
fn text(text: &str) -> Vec<u8> {
    let mut value = Vec::new();
    put_field(&mut value, 3, text.as_bytes());
    value
}

/// A `Struct`; fields without a value are left out.
fn structure(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in fields.iter().filter(|(_, value)| value.len() > 2) {
        let mut entry = Vec::new();
        put_field(&mut entry, 1, key.as_bytes());
        put_field(&mut entry, 2, value);
        put_field(&mut bytes, 1, &entry);
    }
    bytes
}

fn put_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// Calls `found(depth, key, value)` for each text in a `Struct`. `None` if the bytes are not one.
fn visit(structure: &[u8], depth: usize, found: &mut impl FnMut(usize, &str, &str)) -> Option<()> {
    let mut rest = structure;
    while let Some((number, entry)) = next_field(&mut rest)? {
        if number != 1 {
            continue;
        }
        let (mut key, mut value, mut rest) = (&[][..], &[][..], entry);
        while let Some((number, bytes)) = next_field(&mut rest)? {
            match number {
                1 => key = bytes,
                2 => value = bytes,
                _ => {}
            }
        }
        let key = std::str::from_utf8(key).ok()?;
        while let Some((number, bytes)) = next_field(&mut value)? {
            match number {
                3 => found(depth, key, std::str::from_utf8(bytes).ok()?),
                5 if depth + 1 < MAX_DEPTH && key == "LABELS" => visit(bytes, depth + 1, found)?,
                _ => {}
            }
        }
    }
    Some(())
}

/// The next field of a message: its number and bytes (empty for numbers). Outer `None`: malformed; inner: no more.
#[allow(clippy::option_option)]
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<Option<(u64, &'a [u8])>> {
    if rest.is_empty() {
        return Some(None);
    }
    let tag = varint(rest)?;
    let length = match tag & 7 {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(Some((tag >> 3, bytes)))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_workload_is_understood_by_its_peer() {
        let own = LocalWorkload {
            name: "cart-v2".into(),
            namespace: "shop".into(),
            app: "cart".into(),
            version: "v2".into(),
            canonical_name: "cart".into(),
            canonical_revision: "v2".into(),
            cluster: "here".into(),
            principal: String::new(),
        };
        let identity = SpiffeId::parse("spiffe://cluster.local/ns/real/sa/cart").unwrap();
        let labels = labels(Some(&identity), Some(encode(&own).as_bytes()));
        assert_eq!(
            (labels.workload.as_str(), labels.app.as_str(), labels.version.as_str(), labels.cluster.as_str()),
            ("cart-v2", "cart", "v2", "here")
        );
        assert_eq!((labels.canonical_name.as_str(), labels.canonical_revision.as_str()), ("cart", "v2"));
        // A certificate outweighs what a peer says of itself.
        assert_eq!(labels.namespace, "real");
        assert_eq!(labels.principal, "spiffe://cluster.local/ns/real/sa/cart");
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(base64::encode(&bytes).as_bytes());
        }
    }
}
