//! A load generator for HTTP/1.1, HTTP/2 and framed RPC that knows each request's intended time.
//!
//! `load ADDRESS HEAD-FILE NAME=VALUE …`: `connections`, `seconds`, `rate`, `streams`, `life`, `rpc`, `body`. Rate 0: closed loop, the next request when
//! the last was answered. Otherwise requests are due at even distances, and latency counts from when they were due, so that a
//! stall is not hidden (coordinated omission). `streams` above 0: HTTP/2 with so many at a time. `rpc`: one of `bolt`, `bolt-crc`, `dubbo` with so many (at least one)
//! and `body` bytes in each. `life` above 0: a connection is
//! closed after so many requests, and another opened. The file holds a request's head. Prints one line of JSON.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mainstay_bench::frames::Block;
use mainstay_bench::rpc::{Request, Speech};
use mainstay_bench::wire::{Answer, Wire, http1, http2, rpc};
use mainstay_bench::{Pending, fail, read_all};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

struct Connection {
    stream: TcpStream,
    pending: Pending,
    wire: Wire,
    open: bool,
    /// Whether it stands in the queue of those that can take a request.
    queued: bool,
    answered: u64,
}

struct Given {
    address: SocketAddr,
    head: Rc<[u8]>,
    block: Rc<Block>,
    connections: usize,
    seconds: f64,
    rate: f64,
    streams: usize,
    life: u64,
    call: Option<Rc<Request>>,
}

#[derive(Default)]
struct Totals {
    requests: u64,
    failures: u64,
    latencies: Vec<u32>,
}

fn main() {
    let given = parse(&std::env::args().skip(1).collect::<Vec<_>>());
    let mut run = Run::new(given);
    let begun = Instant::now();
    run.run(begun);
    report(&mut run.totals, begun.elapsed().as_secs_f64());
}

fn parse(arguments: &[String]) -> Given {
    let [address, head, rest @ ..] = arguments else {
        fail(
            "usage: load ADDRESS HEAD-FILE [connections=N] [seconds=S] [rate=R] [streams=N] [life=N] [rpc=NAME] [body=N]",
        )
    };
    let text =
        std::fs::read_to_string(head).unwrap_or_else(|error| fail(&format!("cannot read {head}: {error}")));
    let mut given = Given {
        address: address.parse().unwrap_or_else(|_| fail(&format!("{address:?} is no IP:PORT"))),
        block: Rc::new(http2::block_of(&text)),
        head: Rc::from(text.as_bytes()),
        connections: 1,
        seconds: 1.0,
        rate: 0.0,
        streams: 0,
        life: 0,
        call: None,
    };
    let (mut speech, mut body) = (None, 0);
    for argument in rest {
        match argument.split_once('=') {
            Some(("connections", value)) => given.connections = number(value),
            Some(("seconds", value)) => given.seconds = number(value),
            Some(("rate", value)) => given.rate = number(value),
            Some(("streams", value)) => given.streams = number(value),
            Some(("life", value)) => given.life = number(value),
            Some(("rpc", "")) => {}
            Some(("rpc", name)) => {
                speech =
                    Some(Speech::named(name).unwrap_or_else(|| fail(&format!("{name:?} is no protocol"))));
            }
            Some(("body", value)) => body = number(value),
            _ => fail(&format!("{argument:?} is not known")),
        }
    }
    given.call = speech.map(|speech| Rc::new(speech.request(body)));
    given
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| fail(&format!("{text:?} is no number")))
}

struct Run {
    given: Given,
    poll: Poll,
    connections: Vec<Connection>,
    /// Slots that can take a request.
    free: VecDeque<usize>,
    /// At a rate: when requests are due that no connection could take yet.
    waiting: VecDeque<Instant>,
    totals: Totals,
    out: Vec<u8>,
    answers: Vec<Answer>,
}

impl Run {
    fn new(given: Given) -> Run {
        let poll = Poll::new().unwrap_or_else(|error| fail(&error.to_string()));
        let connections = (0..given.connections).map(|slot| connect(&poll, &given, slot)).collect();
        Run {
            given,
            poll,
            connections,
            free: VecDeque::new(),
            waiting: VecDeque::new(),
            totals: Totals::default(),
            out: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn run(&mut self, begun: Instant) {
        let rate = self.given.rate;
        let end = begun + Duration::from_secs_f64(self.given.seconds);
        let gap = if rate > 0.0 { Duration::from_secs_f64(1.0 / rate) } else { Duration::ZERO };
        let mut next = begun;
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; 256 * 1_024];
        loop {
            let now = Instant::now();
            if now >= end {
                return;
            }
            while rate > 0.0 && next <= now {
                self.waiting.push_back(next);
                next += gap;
            }
            self.ask(now);
            let until = if rate > 0.0 && self.waiting.is_empty() { next.min(end) } else { end };
            if self.poll.poll(&mut events, Some(until.saturating_duration_since(Instant::now()))).is_err() {
                continue;
            }
            for event in &events {
                let slot = event.token().0;
                if event.is_writable() {
                    self.writable(slot);
                }
                if event.is_readable() {
                    self.readable(slot, &mut buffer);
                }
            }
        }
    }

    /// Hands out what is due; all requests for one connection leave in one write.
    fn ask(&mut self, now: Instant) {
        while let Some(&slot) = self.free.front() {
            if self.given.rate > 0.0 && self.waiting.is_empty() {
                return;
            }
            self.free.pop_front();
            let connection = &mut self.connections[slot];
            connection.queued = false;
            self.out.clear();
            while connection.wire.room() > 0 {
                let due = if self.given.rate > 0.0 { self.waiting.pop_front() } else { Some(now) };
                let Some(due) = due else { break };
                connection.wire.request(due, &mut self.out);
            }
            // What cannot be written shows when the connection's end is read.
            let _ = connection.pending.write(&mut connection.stream, &self.out);
            self.queue(slot);
        }
    }

    fn queue(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if connection.open && !connection.queued && connection.wire.room() > 0 {
            connection.queued = true;
            self.free.push_back(slot);
        }
    }

    fn writable(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if !connection.open {
            connection.open = true;
            self.out.clear();
            connection.wire.open(&mut self.out);
            let _ = connection.pending.write(&mut connection.stream, &self.out);
        }
        let _ = connection.pending.flush(&mut connection.stream);
        self.queue(slot);
    }

    fn readable(&mut self, slot: usize, buffer: &mut [u8]) {
        let Run { connections, out, answers, totals, .. } = self;
        let Connection { stream, wire, pending, .. } = &mut connections[slot];
        out.clear();
        answers.clear();
        let mut useful = true;
        let ended = read_all(stream, buffer, |bytes| useful &= wire.take(bytes, out, answers));
        if !out.is_empty() {
            let _ = pending.write(stream, out);
        }
        for answer in answers.iter() {
            totals.requests += 1;
            totals.failures += u64::from(!answer.good);
            totals.latencies.push(answer.due.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
        }
        let connection = &mut connections[slot];
        connection.answered += answers.len() as u64;
        let lived = self.given.life > 0 && connection.answered >= self.given.life;
        if useful && !lived && matches!(ended, Ok(false)) {
            return self.queue(slot);
        }
        totals.failures += connection.wire.unanswered() as u64;
        self.free.retain(|each| *each != slot);
        self.connections[slot] = connect(&self.poll, &self.given, slot);
    }
}

fn connect(poll: &Poll, given: &Given, slot: usize) -> Connection {
    let mut stream =
        TcpStream::connect(given.address).unwrap_or_else(|error| fail(&format!("cannot connect: {error}")));
    let _ = stream.set_nodelay(true);
    let _ = poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE);
    let wire = if let Some(call) = &given.call {
        Wire::Rpc(rpc::Client::new(Rc::clone(call), given.streams.max(1)))
    } else if given.streams > 0 {
        Wire::Two(http2::Client::new(Rc::clone(&given.block), given.streams))
    } else {
        Wire::One(http1::Client::new(Rc::clone(&given.head)))
    };
    Connection { stream, pending: Pending::default(), wire, open: false, queued: false, answered: 0 }
}

fn report(totals: &mut Totals, seconds: f64) {
    totals.latencies.sort_unstable();
    let at = |share: f64| {
        let index = (totals.latencies.len() as f64 * share) as usize;
        totals.latencies.get(index.min(totals.latencies.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    println!(
        "{{\"requests\":{},\"failures\":{},\"seconds\":{seconds:.3},\"p50_us\":{},\"p90_us\":{},\"p99_us\":{},\"p999_us\":{}}}",
        totals.requests,
        totals.failures,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999)
    );
}
