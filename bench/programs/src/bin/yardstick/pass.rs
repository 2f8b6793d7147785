//! Two connections of one proxy, and the exchange between them reduced to passing on.
//!
//! Both codecs stand behind the contract as they do in a proxy: nothing here knows which of them it asks, so that neither is compiled
//! into the loop that measures it. Heads go back to the thread's shelf, as an exchange's do.

use std::hint::black_box;

use mainstay_bench::fail;
use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::contract::{Codec, Command, Event, Input, StreamId};
use mainstay_engine::message::{Kept, Tick};

/// Where Bolt 1 has a frame's id.
const ID: usize = 5;

pub struct Pair {
    down: Side,
    up: Side,
    pool: Pool,
    calls: Vec<u8>,
    answers: Vec<u8>,
    /// Bytes of one answer: all are of one size.
    answer: usize,
    /// Streams of a caller and of the server, in the order of the calls.
    streams: Vec<(StreamId, StreamId)>,
}

struct Side {
    codec: Box<dyn Codec>,
    outbox: Outbox,
}

const NOW: Tick = Tick(1);

impl Pair {
    pub fn new(down: Box<dyn Codec>, up: Box<dyn Codec>, (calls, answers): (Vec<u8>, Vec<u8>)) -> Self {
        // No compiler may see which codec it is.
        let side = |codec| Side { codec: black_box(codec), outbox: Outbox::default() };
        let answer = answers.len() / super::CALLS;
        Pair {
            down: side(down),
            up: side(up),
            pool: Pool::default(),
            calls,
            answers,
            answer,
            streams: Vec::new(),
        }
    }

    pub fn pass(&mut self, times: usize) {
        for _ in 0..times {
            self.requests();
            self.responses();
            self.up.outbox.clear(&mut self.pool);
            self.down.outbox.clear(&mut self.pool);
        }
    }

    /// What goes to the server and to the caller.
    pub fn once(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.requests();
        self.responses();
        let bytes = |outbox: &Outbox| outbox.pieces().flatten().copied().collect();
        let written = (bytes(&self.up.outbox), bytes(&self.down.outbox));
        self.up.outbox.clear(&mut self.pool);
        self.down.outbox.clear(&mut self.pool);
        written
    }

    fn requests(&mut self) {
        let Pair { down, up, pool, calls, streams, .. } = self;
        streams.clear();
        let mut input = Input::new(calls, false);
        while let Some(event) = next(down, &mut input, pool) {
            let Event::RequestReceived { stream, head, body, end } = event else {
                fail("a caller said something else");
            };
            let head = Kept::from(head);
            let current = up.codec.open_stream().unwrap_or_else(|| fail("no stream is left"));
            streams.push((stream, current));
            perform(up, Command::SendRequest { stream: current, head: &head, body, end }, pool);
        }
    }

    fn responses(&mut self) {
        let Pair { down, up, pool, answers, streams, answer, .. } = self;
        for (frame, (_, stream)) in answers.chunks_exact_mut(*answer).zip(streams.iter()) {
            frame[ID..ID + 4].copy_from_slice(&stream.0.to_be_bytes());
        }
        let mut input = Input::new(answers, false);
        let mut callers = streams.iter().map(|(caller, _)| *caller);
        while let Some(event) = next(up, &mut input, pool) {
            let Event::ResponseReceived { head, body, end, .. } = event else {
                fail("a server said something else");
            };
            let head = Kept::from(head);
            let caller = callers.next().unwrap_or_else(|| fail("an answer too many"));
            perform(down, Command::SendResponse { stream: caller, head: &head, body, end }, pool);
        }
    }
}

fn next<'b>(side: &mut Side, input: &mut Input<'b>, pool: &mut Pool) -> Option<Event<'b>> {
    let mut out = Out::new(&mut side.outbox, pool);
    side.codec.next_event(input, &mut out, NOW).unwrap_or_else(|fault| fail(fault.what))
}

fn perform(side: &mut Side, command: Command<'_>, pool: &mut Pool) {
    let bytes = command.data();
    let mut out = Out::new(&mut side.outbox, pool);
    match side.codec.perform(command, &mut out, NOW) {
        Ok(accepted) if accepted.bytes == bytes => {}
        _ => fail("a command was refused"),
    }
}
