//! Whole HTTP/2 connections, both roles. First byte: role and size of the pieces. The opening words are supplied.
#![no_main]

mod drive;

use libfuzzer_sys::fuzz_target;
use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::contract::{Codec, Command};
use mainstay_engine::codec::h2;
use mainstay_engine::message::{RequestHead, Tick};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let step = usize::from(first >> 1) + 1;
    if first & 1 == 0 {
        let all = [PREFACE, SETTINGS, rest].concat();
        return drive::drive(&mut h2::Server::new(h2::Settings::default()), &all, step);
    }
    let mut client = h2::Client::new(h2::Settings::default());
    let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
    for end in [true, false] {
        let Some(stream) = client.open_stream() else { break };
        let mut head = RequestHead::default();
        head.set_method(b"POST");
        head.set_scheme(b"http");
        head.set_authority(b"a");
        head.set_path(b"/");
        let mut out = Out::new(&mut outbox, &mut pool);
        let _ = client.perform(Command::SendRequest { stream, head: &head, body: &[], end }, &mut out, Tick(0));
    }
    drive::drive(&mut client, &[SETTINGS, rest].concat(), step);
});
