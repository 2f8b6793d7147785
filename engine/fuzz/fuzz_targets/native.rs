//! Whole connections of native codecs, both roles. First byte: role and size of the pieces.
#![no_main]

mod drive;

use libfuzzer_sys::fuzz_target;
use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::AnyCodec;
use mainstay_engine::codec::contract::{Codec, Command, Event, Input};
use mainstay_engine::codec::native::{Options, Protocol, TABLE};
use mainstay_engine::message::Tick;

/// A call by the codec's name, so that its client waits for an answer.
fn call(name: &str) -> &'static [u8] {
    match name {
        "thrift-compact" => b"\0\0\0\x08\x82\x21\x05\x03add\0",
        _ => panic!("a native codec without a call"),
    }
}

/// A client that has sent the call.
fn asking(protocol: &Protocol) -> AnyCodec {
    let mut call = call(protocol.name()).to_vec();
    let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
    let mut out = Out::new(&mut outbox, &mut pool);
    let mut server = AnyCodec::from(protocol.server());
    let mut client = AnyCodec::from(protocol.client());
    let stream = client.open_stream().expect("a stream");
    let mut input = Input::new(&mut call, false);
    let Ok(Some(Event::RequestReceived { head, body, end, .. })) = server.next_event(&mut input, &mut out, Tick(0)) else {
        panic!("a call");
    };
    client.perform(Command::SendRequest { stream, head: &head, body, end }, &mut out, Tick(0)).expect("it is sent");
    client
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let step = usize::from(first >> 1) + 1;
    for entry in TABLE {
        let protocol = Protocol::compile(entry.name, &Options::new()).expect("a codec");
        let _ = protocol.recognise(rest);
        if first & 1 == 0 {
            drive::drive(&mut AnyCodec::from(protocol.server()), rest, step);
        } else {
            drive::drive(&mut asking(&protocol), rest, step);
        }
    }
});
