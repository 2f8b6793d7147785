//! SOFABolt as Java peers write it, for tests of the stream room: a described protocol under the same exchange as HTTP.

use crate::plan;

const REQUEST: u8 = 1;
const ONE_WAY: u8 = 2;

/// The description that comes with Mainstay, compiled.
pub fn protocol() -> plan::RpcProtocol {
    serde_json::from_str(include_str!("../../../testdata/protocols/bolt.json")).unwrap()
}

/// A port that speaks it.
pub fn codec() -> plan::RpcCodec {
    plan::RpcCodec::Described { protocol: Box::new(protocol()) }
}

fn request(kind: u8, id: u32, timeout: i32, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut map = Vec::new();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        map.extend((text.len() as u32).to_be_bytes());
        map.extend(text.as_bytes());
    }
    let mut bytes = vec![1, kind, 0, 1, 1];
    bytes.extend(id.to_be_bytes());
    bytes.push(11);
    bytes.extend(timeout.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend((map.len() as u16).to_be_bytes());
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(map);
    bytes.extend(body);
    bytes
}

/// `name`: `service/method`.
fn named(kind: u8, id: u32, timeout: i32, name: &str, body: &[u8]) -> Vec<u8> {
    let (service, method) = name.split_once('/').unwrap();
    request(kind, id, timeout, &[("service", service), ("sofa_head_method_name", method)], body)
}

pub fn call(id: u32, name: &str, body: &[u8]) -> Vec<u8> {
    named(REQUEST, id, -1, name, body)
}

/// Version 2 with its checksum, as a Java client of that version calls.
pub fn call_v2(id: u32, name: &str, body: &[u8]) -> Vec<u8> {
    let v1 = call(id, name, body);
    let mut bytes = vec![2, 2];
    bytes.extend(&v1[1..10]);
    bytes.push(1);
    bytes.extend(&v1[10..]);
    let sum = crc32(&bytes);
    bytes.extend(sum.to_be_bytes());
    bytes
}

/// Bit by bit, as its standard writes it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |word, byte| {
        (0..8).fold(word ^ u32::from(*byte), |word, _| word >> 1 ^ (0xedb8_8320 & (word & 1).wrapping_neg()))
    })
}

pub fn heartbeat(id: u32, timeout: i32) -> Vec<u8> {
    let mut bytes = vec![1, REQUEST, 0, 0, 1];
    bytes.extend(id.to_be_bytes());
    bytes.push(1);
    bytes.extend(timeout.to_be_bytes());
    bytes.extend([0; 8]);
    bytes
}

pub fn heartbeat_answer(id: u32) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0, 1];
    bytes.extend(id.to_be_bytes());
    bytes.extend([1, 0, 0]);
    bytes.extend([0; 8]);
    bytes
}

/// The caller waits so many milliseconds.
pub fn call_within(id: u32, timeout: i32, name: &str) -> Vec<u8> {
    named(REQUEST, id, timeout, name, b"")
}

/// With more headers.
pub fn call_with(id: u32, name: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let (service, method) = name.split_once('/').unwrap();
    let all = [&[("service", service), ("sofa_head_method_name", method)], headers].concat();
    request(REQUEST, id, -1, &all, b"")
}

pub fn one_way(id: u32, name: &str, body: &[u8]) -> Vec<u8> {
    named(ONE_WAY, id, -1, name, body)
}

/// `status`: Bolt's, 0 is success.
pub fn answer(id: u32, status: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 2, 1];
    bytes.extend(id.to_be_bytes());
    bytes.push(11);
    bytes.extend(status.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}
