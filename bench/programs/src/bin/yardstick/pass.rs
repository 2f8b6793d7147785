//! Two connections of one proxy, and the exchange between them reduced to passing on.

use mainstay_bench::fail;
use mainstay_engine::bytes::{Out, Outbox, Pool};
use mainstay_engine::codec::contract::{Codec, Command, Event, Input, StreamId};
use mainstay_engine::message::Tick;

/// Where Bolt 1 has a frame's id.
const ID: usize = 5;

pub struct Pair<C> {
    down: Side<C>,
    up: Side<C>,
    pool: Pool,
    calls: Vec<u8>,
    answers: Vec<u8>,
    /// Bytes of one answer: all are of one size.
    answer: usize,
    /// Streams of a caller and of the server, in the order of the calls.
    streams: Vec<(StreamId, StreamId)>,
}

struct Side<C> {
    codec: C,
    outbox: Outbox,
}

const NOW: Tick = Tick(1);

impl<C: Codec> Pair<C> {
    pub fn new(down: C, up: C, (calls, answers): (Vec<u8>, Vec<u8>)) -> Self {
        let side = |codec| Side { codec, outbox: Outbox::default() };
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
        let mut current = StreamId(0);
        while let Some(event) = next(down, &mut input, pool) {
            match event {
                Event::RequestReceived { stream, head, body, end } => {
                    current = up.codec.open_stream().unwrap_or_else(|| fail("no stream is left"));
                    streams.push((stream, current));
                    perform(up, Command::SendRequest { stream: current, head: &head, body, end }, pool);
                }
                Event::DataReceived { stream, bytes, end } => {
                    perform(up, Command::SendData { stream: current, bytes, end }, pool);
                    perform(down, Command::GrantCredit { stream, bytes: bytes.len() }, pool);
                }
                _ => fail("a caller said something else"),
            }
        }
    }

    fn responses(&mut self) {
        let Pair { down, up, pool, answers, streams, answer, .. } = self;
        for (frame, (_, stream)) in answers.chunks_exact_mut(*answer).zip(streams.iter()) {
            frame[ID..ID + 4].copy_from_slice(&stream.0.to_be_bytes());
        }
        let mut input = Input::new(answers, false);
        let mut callers = streams.iter().map(|(caller, _)| *caller);
        let mut current = StreamId(0);
        while let Some(event) = next(up, &mut input, pool) {
            match event {
                Event::ResponseReceived { head, body, end, .. } => {
                    current = callers.next().unwrap_or_else(|| fail("an answer too many"));
                    perform(down, Command::SendResponse { stream: current, head: &head, body, end }, pool);
                }
                Event::DataReceived { stream, bytes, end } => {
                    perform(down, Command::SendData { stream: current, bytes, end }, pool);
                    perform(up, Command::GrantCredit { stream, bytes: bytes.len() }, pool);
                }
                _ => fail("a server said something else"),
            }
        }
    }
}

fn next<'b, C: Codec>(side: &mut Side<C>, input: &mut Input<'b>, pool: &mut Pool) -> Option<Event<'b>> {
    let mut out = Out::new(&mut side.outbox, pool);
    side.codec.next_event(input, &mut out, NOW).unwrap_or_else(|fault| fail(fault.what))
}

fn perform<C: Codec>(side: &mut Side<C>, command: Command<'_>, pool: &mut Pool) {
    let mut out = Out::new(&mut side.outbox, pool);
    if side.codec.perform(command, &mut out, NOW).is_err() {
        fail("a command was refused");
    }
}
