//! SOFABolt 1 and 2, written by hand: what SOFARPC's Java client sends for a call, and its server's answer.

use super::{Broken, Told, number};

pub const REQUEST_CLASS: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
pub const RESPONSE_CLASS: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";
pub const SERVICE: &str = "com.example.shop.CartService:1.0";
pub const METHOD: &str = "addItem";
/// Bodies that a proxy does not look into: protobuf.
const CODEC: u8 = 11;
const CRC_ON: u8 = 1;
const CRC_BYTES: usize = 4;

/// Header pairs of a call.
pub const HEADERS: [(&str, &str); 11] = [
    ("service", SERVICE),
    ("sofa_head_target_service", SERVICE),
    ("sofa_head_method_name", METHOD),
    ("sofa_head_target_app", "cart"),
    ("type", "sync"),
    ("app", "web"),
    ("protocol", "bolt"),
    ("rpc_trace_context.sofaTraceId", "0a0fe9361732640000123100112345"),
    ("rpc_trace_context.sofaRpcId", "0.1"),
    ("x-route", "r50"),
    ("x-tenant", "blue"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    One,
    TwoWithCrc,
}

impl Version {
    /// Bytes that version 2 has between protocol and type.
    fn extra(self) -> usize {
        usize::from(self == Version::TwoWithCrc)
    }
}

/// Where things lie in a frame, from its first bytes.
#[derive(Clone, Copy, Debug)]
struct Places {
    kind: u8,
    command: u64,
    id: usize,
    status: usize,
    content: usize,
    /// Without the checksum.
    end: usize,
    crc: bool,
}

fn places(frame: &[u8]) -> Option<Places> {
    let second = usize::from(*frame.first()? == 2);
    let kind = *frame.get(1 + second)?;
    // Version 2 has a byte for its own version and one for switches; a response's status is shorter than a request's timeout.
    let lengths = 10 + 2 * second + if kind == 0 { 2 } else { 4 };
    frame.get(lengths + 7)?;
    let (class, map) = (number::<2>(frame, lengths) as usize, number::<2>(frame, lengths + 2) as usize);
    let content = lengths + 8 + class + map;
    Some(Places {
        kind,
        command: number::<2>(frame, 2 + second),
        id: 5 + second,
        status: 10 + 2 * second,
        content,
        end: content + number::<4>(frame, lengths + 4) as usize,
        crc: second == 1 && frame[1] == 2 && frame[11] & CRC_ON != 0,
    })
}

pub fn measure(bytes: &[u8]) -> Option<usize> {
    places(bytes).map(|places| places.end + if places.crc { CRC_BYTES } else { 0 })
}

pub fn put_request(version: Version, body: usize, out: &mut Vec<u8>) {
    const NO_TIMEOUT_SOON: u32 = 3_000;
    let mut map = Vec::new();
    for text in HEADERS.iter().flat_map(|(name, value)| [name, value]) {
        map.extend_from_slice(&(text.len() as u32).to_be_bytes());
        map.extend_from_slice(text.as_bytes());
    }
    let start = put_opening(version, [1, 0, 1], [0; 4], CODEC, out);
    out.extend_from_slice(&NO_TIMEOUT_SOON.to_be_bytes());
    out.extend_from_slice(&(REQUEST_CLASS.len() as u16).to_be_bytes());
    out.extend_from_slice(&(map.len() as u16).to_be_bytes());
    out.extend_from_slice(&(body as u32).to_be_bytes());
    out.extend_from_slice(REQUEST_CLASS);
    out.extend_from_slice(&map);
    out.resize(out.len() + body, b'x');
    put_crc(version, start, out);
}

pub fn answer(frame: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let places = places(frame).ok_or(Broken)?;
    if places.crc && number::<4>(frame, places.end) != u64::from(crc32fast::hash(&frame[..places.end])) {
        return Err(Broken);
    }
    let version = if places.crc { Version::TwoWithCrc } else { Version::One };
    let id = [0, 1, 2, 3].map(|at| frame[places.id + at]);
    let (class, content, command) = match (places.kind, places.command) {
        (1, 1) => (RESPONSE_CLASS, &frame[places.content..places.end], 2),
        (1, 0) => (&[][..], &[][..], 0),
        _ => return Ok(()),
    };
    let start = put_opening(version, [0, 0, command], id, frame[places.id + 4], out);
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(class.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(class);
    out.extend_from_slice(content);
    put_crc(version, start, out);
    Ok(())
}

/// Everything before timeout or status; `kind`: type and command. Says where the frame begins.
fn put_opening(version: Version, kind: [u8; 3], id: [u8; 4], codec: u8, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(if version == Version::One { &[1] } else { &[2, 2] });
    out.extend_from_slice(&kind);
    out.push(1);
    out.extend_from_slice(&id);
    out.push(codec);
    if version == Version::TwoWithCrc {
        out.push(CRC_ON);
    }
    start
}

fn put_crc(version: Version, start: usize, out: &mut Vec<u8>) {
    if version == Version::TwoWithCrc {
        let crc = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&crc.to_be_bytes());
    }
}

/// Of a frame made here, whole.
pub fn set_id(frame: &mut [u8], id: u32) {
    let version = if frame[0] == 1 { Version::One } else { Version::TwoWithCrc };
    let at = 5 + version.extra();
    frame[at..at + 4].copy_from_slice(&id.to_be_bytes());
    if version == Version::TwoWithCrc {
        let end = frame.len() - CRC_BYTES;
        let crc = crc32fast::hash(&frame[..end]);
        frame[end..].copy_from_slice(&crc.to_be_bytes());
    }
}

pub fn told(frame: &[u8], body: usize) -> Option<Told> {
    let places = places(frame).filter(|places| (places.kind, places.command) == (0, 2))?;
    let content = frame.get(places.content..places.end)?;
    let good = number::<2>(frame, places.status) == 0
        && content.len() == body
        && [content.first(), content.last()].iter().all(|byte| byte.is_none_or(|byte| *byte == b'x'));
    Some(Told { id: number::<4>(frame, places.id) as u32, good })
}
