//! Transcripts and tables of both roles: what a peer sends, what the exchange sees and answers, what goes out.

mod conformance;
mod floods;
mod flow;
mod heads;
mod life;
mod properties;

use super::{Client, Server, Settings};
use crate::codec::contract::{Codec, Command, StreamId};
use crate::codec::detect::HTTP2_PREFACE;
use crate::codec::testing::{Bench, Seen, request};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const END: u8 = END_STREAM | END_HEADERS;

/// A frame as it travels.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without compression.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let put = |bytes: &mut Vec<u8>, text: &str| {
        match text.len() {
            short @ 0..127 => bytes.push(short as u8),
            long => {
                bytes.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    bytes.push(rest as u8 | 128);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
            }
        }
        bytes.extend(text.as_bytes());
    };
    for (name, value) in fields {
        bytes.push(0);
        put(&mut bytes, name);
        put(&mut bytes, value);
    }
    bytes
}

pub const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "shop"), (":path", "/")];
pub const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":authority", "shop"), (":path", "/")];

pub fn with(fields: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<u8> {
    block(&[fields, more].concat())
}

pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END, stream, &block(GET))
}

/// A request whose body is still to come.
pub fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(POST))
}

/// What was written, frame by frame: kind, flags, stream, payload.
pub type Frames = Vec<(u8, u8, u32, Vec<u8>)>;

pub fn frames(mut bytes: &[u8]) -> Frames {
    bytes = bytes.strip_prefix(HTTP2_PREFACE).unwrap_or(bytes);
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        frames.push((bytes[3], bytes[4], stream, bytes[9..9 + length].to_vec()));
        bytes = &bytes[9 + length..];
    }
    frames
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = entries
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub fn server_with(settings: Settings) -> Bench<Server> {
    let mut bench = Bench::new(Server::new(settings));
    let mut hello = HTTP2_PREFACE.to_vec();
    hello.extend(frame(SETTINGS, 0, 0, &[]));
    hello.extend(frame(SETTINGS, 1, 0, &[]));
    assert_eq!(bench.receive(&hello), []);
    bench.sent();
    bench
}

/// After the opening words.
pub fn server() -> Bench<Server> {
    server_with(Settings::default())
}

pub fn client_with(settings: Settings) -> Bench<Client> {
    let mut bench = Bench::new(Client::new(settings));
    let hello = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat();
    assert_eq!(bench.receive(&hello), [Seen::Capacity(u32::MAX)]);
    bench.sent();
    bench
}

pub fn client() -> Bench<Client> {
    client_with(Settings::default())
}

/// A client with one request under way.
pub fn asking(method: &str, end: bool) -> (Bench<Client>, StreamId) {
    let mut bench = client();
    let stream = ask(&mut bench, method, end);
    (bench, stream)
}

pub fn ask(bench: &mut Bench<Client>, method: &str, end: bool) -> StreamId {
    let stream = bench.codec.open_stream().unwrap();
    let head = request(method, "shop", "/", &[]);
    bench.send(Command::SendRequest { stream, head: &head, body: &[], end }).unwrap();
    bench.sent();
    stream
}

/// The code of a connection error that was told to the peer.
pub fn go_away_code(sent: &[u8]) -> Option<u32> {
    frames(sent)
        .iter()
        .find(|(kind, ..)| *kind == GOAWAY)
        .map(|(.., payload)| u32::from_be_bytes(payload[4..8].try_into().unwrap()))
}

/// Stream and code of the first reset that was sent.
pub fn reset(sent: &[u8]) -> Option<(u32, u32)> {
    frames(sent)
        .iter()
        .find(|(kind, ..)| *kind == RST_STREAM)
        .map(|(_, _, stream, payload)| (*stream, u32::from_be_bytes(payload[..4].try_into().unwrap())))
}
