//! Dubbo 2 with hessian 2, written by hand: a call with one `byte[]` argument, and its answer.

use super::{Broken, Told, number};

const HEAD: usize = 16;
const MAGIC: [u8; 2] = [0xda, 0xbb];
const CALL: u8 = 0xc2;
const ANSWER: u8 = 0x02;
const EVENT: u8 = 0x20;
const IS_REQUEST: u8 = 0x80;
const OK: u8 = 20;
const VALUE: u8 = 0x91;
const PATH: &str = "com.example.shop.CartService";
/// Dubbo's version, path, the service's version, method, types of the arguments.
const NAMES: [&str; 5] = ["2.0.2", PATH, "1.0.0", "addItem", "[B"];
const ATTACHMENTS: [(&str, &str); 6] = [
    ("path", PATH),
    ("interface", PATH),
    ("version", "1.0.0"),
    ("timeout", "3000"),
    ("x-route", "r50"),
    ("x-tenant", "blue"),
];

pub fn measure(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= HEAD).then(|| HEAD + number::<4>(bytes, 12) as usize)
}

pub fn put_request(body: usize, out: &mut Vec<u8>) {
    let mut data = Vec::new();
    NAMES.iter().for_each(|text| put_text(text, &mut data));
    put_binary(&vec![b'x'; body], &mut data);
    data.push(b'H');
    for text in ATTACHMENTS.iter().flat_map(|(name, value)| [name, value]) {
        put_text(text, &mut data);
    }
    data.push(b'Z');
    put_frame(CALL, 0, &[0; 8], &[&data], out);
}

fn put_frame(flags: u8, status: u8, id: &[u8], data: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[flags, status]);
    out.extend_from_slice(id);
    out.extend_from_slice(&(data.iter().map(|part| part.len()).sum::<usize>() as u32).to_be_bytes());
    data.iter().for_each(|part| out.extend_from_slice(part));
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    assert!(text.len() < 32, "texts of one length byte are enough here");
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn put_binary(bytes: &[u8], out: &mut Vec<u8>) {
    let length = (bytes.len() as u16).to_be_bytes();
    match bytes.len() {
        0..=1_023 => out.extend_from_slice(&[0x34 | length[0], length[1]]),
        _ => out.extend_from_slice(&[b'B', length[0], length[1]]),
    }
    out.extend_from_slice(bytes);
}

/// A binary with the bytes that tell its length, and its content.
fn binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, length) = match *bytes.first()? {
        b'B' => (3, number::<2>(bytes, 1) as usize),
        first @ 0x34..=0x37 => (2, usize::from(first & 3) << 8 | usize::from(*bytes.get(1)?)),
        _ => return None,
    };
    Some((bytes.get(..before + length)?, bytes.get(before..before + length)?))
}

pub fn answer(frame: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let (flags, id) = (frame[2], &frame[4..12]);
    match flags {
        CALL => {}
        _ if flags & IS_REQUEST != 0 && flags & EVENT != 0 => {
            put_frame(ANSWER | EVENT, OK, id, &[b"N"], out);
            return Ok(());
        }
        _ => return Err(Broken),
    }
    let mut rest = &frame[HEAD..];
    for _ in NAMES {
        let length = usize::from(*rest.first().ok_or(Broken)?);
        rest = rest.get(1 + length..).ok_or(Broken)?;
    }
    let (argument, _) = binary(rest).ok_or(Broken)?;
    put_frame(ANSWER, OK, id, &[&[VALUE], argument], out);
    Ok(())
}

/// Ids have 8 bytes; ours fit in the lower half.
pub fn set_id(frame: &mut [u8], id: u32) {
    frame[8..12].copy_from_slice(&id.to_be_bytes());
}

pub fn told(frame: &[u8], body: usize) -> Option<Told> {
    if frame[2] != ANSWER {
        return None;
    }
    let content = frame.get(HEAD + 1..).and_then(binary).map(|(_, content)| content);
    let good = frame[3] == OK
        && frame.get(HEAD) == Some(&VALUE)
        && content.is_some_and(|content| {
            content.len() == body && content.iter().step_by(64).all(|byte| *byte == b'x')
        });
    Some(Told { id: number::<4>(frame, 8) as u32, good })
}
