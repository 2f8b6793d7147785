//! A codec under a fuzzer: bytes in pieces, and an exchange that answers at once.

use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::contract::{Codec, Command, Event, Input, StreamId};
use mainstay_engine::message::{ResponseHead, Tick};

/// Feeds `bytes` in pieces of `step`, answers requests, grants credit, and ends as the reactor would.
pub fn drive(codec: &mut impl Codec, bytes: &[u8], step: usize) {
    let (mut outbox, mut pool, mut carry) = (Outbox::default(), Pool::default(), Vec::new());
    let mut now = Tick(0);
    for (number, piece) in bytes.chunks(step.max(1)).enumerate() {
        carry.extend_from_slice(piece);
        let ended = (number + 1) * step.max(1) >= bytes.len();
        let mut buffer = std::mem::take(&mut carry);
        let mut input = Input::new(&mut buffer, ended);
        loop {
            let mut out = Out::new(&mut outbox, &mut pool);
            let answer = match codec.next_event(&mut input, &mut out, now) {
                Ok(Some(event)) => note(event),
                Ok(None) => break,
                Err(_) => {
                    assert!(codec.is_finished(), "a fault ends the connection");
                    break;
                }
            };
            let Some((stream, bytes, end)) = answer else { continue };
            let _ = codec.perform(Command::GrantCredit { stream, bytes }, &mut out, now);
            if end {
                let head = ResponseHead::with_status(200);
                let _ =
                    codec.perform(Command::SendResponse { stream, head: &head, body: &[], end: false }, &mut out, now);
                let _ = codec.perform(Command::SendData { stream, bytes: b"ok", end: true }, &mut out, now);
            }
        }
        let consumed = input.consumed();
        carry = buffer.split_off(consumed);
        assert!(outbox.len() < 4 << 20, "outbox without bound");
        if number % 3 == 0 {
            outbox.clear(&mut pool);
            codec.on_room();
        }
        now = now.after_milliseconds(7);
        if codec.deadline().is_some_and(|deadline| deadline <= now) {
            let _ = codec.on_deadline(now, &mut Out::new(&mut outbox, &mut pool));
        }
        if codec.is_finished() {
            break;
        }
    }
    let open = codec.open_streams();
    let mut resets = 0;
    while codec.next_reset().is_some() {
        resets += 1;
        assert!(resets <= open + 1, "more resets than streams");
    }
}

/// Stream, bytes of data, whether its message has ended.
fn note(event: Event<'_>) -> Option<(StreamId, usize, bool)> {
    match event {
        Event::RequestReceived { stream, body, end, .. }
        | Event::ResponseReceived { stream, body, end, .. } => {
            assert!(body.is_empty() || end, "a body that comes with its head is whole");
            Some((stream, 0, end))
        }
        Event::DataReceived { stream, bytes, end } => Some((stream, bytes.len(), end)),
        Event::TrailersReceived { stream, .. } => Some((stream, 0, true)),
        _ => None,
    }
}
