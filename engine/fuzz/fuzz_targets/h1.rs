//! Whole HTTP/1 connections, both roles. First byte: role and size of the pieces.
#![no_main]

mod drive;

use libfuzzer_sys::fuzz_target;
use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::contract::{Codec, Command};
use mainstay_engine::codec::h1;
use mainstay_engine::message::{RequestHead, Tick};

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let step = usize::from(first >> 1) + 1;
    if first & 1 == 0 {
        return drive::drive(&mut h1::Server::new(h1::Settings::default()), rest, step);
    }
    let mut client = h1::Client::new(h1::Settings::default());
    if let Some(stream) = client.open_stream() {
        let mut head = RequestHead::default();
        head.set_method(if first & 2 == 0 { b"GET" } else { b"HEAD" });
        head.set_path(b"/");
        let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
        let mut out = Out::new(&mut outbox, &mut pool);
        let _ = client.perform(Command::SendRequest { stream, head: &head, body: &[], end: true }, &mut out, Tick(0));
    }
    drive::drive(&mut client, rest, step);
});
