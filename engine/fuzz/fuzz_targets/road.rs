//! A caller's stream of sound frames through both connections of a proxy: what leaves is as sound as what came.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::contract::{Codec, Command, Event, Input, StreamId};
use mainstay_engine::codec::rpc::{Connection, Description};
use mainstay_engine::message::Tick;

const NOW: Tick = Tick(1);

/// Requests go up by as many connections as there are kinds of frames (`pin`); each must be understood by a server there.
pub fn pass(description: &Arc<Description>, stream: &[u8]) {
    let mut down = Connection::server(Arc::clone(description));
    let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
    let mut ups: HashMap<u64, (Connection, Outbox, Vec<u8>)> = HashMap::new();
    let mut calls: HashMap<StreamId, (u64, StreamId)> = HashMap::new();
    let (mut came, mut bytes_came) = (0, 0);
    let mut buffer = stream.to_vec();
    let mut input = Input::new(&mut buffer, false);
    loop {
        let mut out = Out::new(&mut outbox, &mut pool);
        let event = match down.next_event(&mut input, &mut out, NOW) {
            Ok(Some(event)) => event,
            Ok(None) if outbox.room() == 0 => {
                outbox.clear(&mut pool);
                down.on_room();
                continue;
            }
            // A name or a header that is not allowed: nothing to compare.
            Ok(None) | Err(_) => break,
        };
        match event {
            Event::RequestReceived { stream, head, body, end } => {
                let pin = head.frame.map_or(0, |frame| frame.pin);
                let (up, outbox, sent) = ups.entry(pin).or_insert_with(|| {
                    (Connection::client(Arc::clone(description)), Outbox::default(), Vec::new())
                });
                let Some(open) = up.open_stream() else { return };
                let command = Command::SendRequest { stream: open, head: &head, body, end };
                let accepted = up
                    .perform(command, &mut Out::new(outbox, &mut pool), NOW)
                    .expect("it came from such a frame")
                    .bytes;
                drain(outbox, &mut pool, sent);
                let rest = body.get(accepted..).unwrap_or(&[]);
                if !rest.is_empty() {
                    pass_on(up, open, (rest, end), outbox, &mut pool, sent);
                }
                calls.insert(stream, (pin, open));
                bytes_came += body.len();
                came += 1;
            }
            Event::DataReceived { stream, bytes, end } => {
                bytes_came += bytes.len();
                let Some((pin, open)) = calls.get(&stream) else { continue };
                let Some((up, outbox, sent)) = ups.get_mut(pin) else { continue };
                pass_on(up, *open, (bytes, end), outbox, &mut pool, sent);
                let credit = Command::GrantCredit { stream, bytes: bytes.len() };
                let _ = down.perform(credit, &mut Out::new(&mut Outbox::default(), &mut pool), NOW);
            }
            _ => {}
        }
    }
    let (mut arrived, mut bytes_arrived) = (0, 0);
    for (_, _, mut sent) in ups.into_values() {
        let mut server = Connection::server(Arc::clone(description));
        let mut input = Input::new(&mut sent, false);
        loop {
            let mut out = Out::new(&mut outbox, &mut pool);
            match server.next_event(&mut input, &mut out, NOW) {
                Ok(Some(Event::RequestReceived { body, .. })) => {
                    bytes_arrived += body.len();
                    arrived += 1;
                }
                Ok(Some(Event::DataReceived { stream, bytes, .. })) => {
                    bytes_arrived += bytes.len();
                    let credit = Command::GrantCredit { stream, bytes: bytes.len() };
                    let _ = server.perform(credit, &mut out, NOW);
                }
                Ok(Some(_)) => {}
                Ok(None) if outbox.room() == 0 => {
                    outbox.clear(&mut pool);
                    server.on_room();
                }
                Ok(None) => break,
                Err(fault) => panic!("a proxy sent what nobody understands: {fault:?}"),
            }
        }
        assert!(input.rest().is_empty(), "a proxy sent half a frame");
    }
    assert_eq!((came, bytes_came), (arrived, bytes_arrived));
}

/// Data of a body, all of it.
fn pass_on(
    up: &mut Connection,
    stream: StreamId,
    (mut rest, end): (&[u8], bool),
    outbox: &mut Outbox,
    pool: &mut Pool,
    sent: &mut Vec<u8>,
) {
    loop {
        let command = Command::SendData { stream, bytes: rest, end };
        let accepted = up
            .perform(command, &mut Out::new(outbox, pool), NOW)
            .expect("as many bytes as were announced")
            .bytes;
        drain(outbox, pool, sent);
        rest = rest.get(accepted..).unwrap_or(&[]);
        if rest.is_empty() {
            break;
        }
        up.on_room();
    }
}

fn drain(outbox: &mut Outbox, pool: &mut Pool, sent: &mut Vec<u8>) {
    sent.extend(outbox.pieces().flatten());
    outbox.clear(pool);
}
