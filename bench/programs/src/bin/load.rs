//! A load generator for HTTP/1.1 that knows each request's intended time.
//!
//! `load ADDRESS CONNECTIONS SECONDS RATE HEAD-FILE`. RATE 0: closed loop, the next request when the last was answered. Otherwise
//! requests are due at even distances, and latency counts from when they were due, so that a stall is not hidden (coordinated
//! omission). The file holds a request's head. Prints one line of JSON: requests, failures, seconds, p50/p90/p99/p99.9 in µs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mainstay_bench::{Pending, fail, read_all};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// Head bytes not yet complete, then the body bytes that are still to come.
    head: Vec<u8>,
    body_left: usize,
    due: Option<Instant>,
    open: bool,
}

struct Totals {
    requests: u64,
    failures: u64,
    latencies: Vec<u32>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, seconds, rate, head] = arguments.as_slice() else {
        fail("usage: load ADDRESS CONNECTIONS SECONDS RATE HEAD-FILE")
    };
    let address: SocketAddr = address.parse().unwrap_or_else(|_| fail(&format!("{address:?} is no IP:PORT")));
    let count: usize = number(connections);
    let seconds: f64 = number(seconds);
    let rate: f64 = number(rate);
    let head = std::fs::read(head).unwrap_or_else(|error| fail(&format!("cannot read {head}: {error}")));
    let mut poll = Poll::new().unwrap_or_else(|error| fail(&error.to_string()));
    let mut open: Vec<Connection> = (0..count).map(|slot| connect(&poll, address, slot)).collect();
    let mut idle: VecDeque<usize> = VecDeque::new();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut totals = Totals { requests: 0, failures: 0, latencies: Vec::new() };
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let gap = if rate > 0.0 { Duration::from_secs_f64(1.0 / rate) } else { Duration::ZERO };
    let mut next = begun;
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        if rate > 0.0 {
            while next <= now {
                waiting.push_back(next);
                next += gap;
            }
        }
        while let Some(&slot) = idle.front() {
            let due = if rate > 0.0 { waiting.pop_front() } else { Some(now) };
            let Some(due) = due else { break };
            idle.pop_front();
            send(&mut open[slot], &head, due, &mut totals);
        }
        let until = if rate > 0.0 && waiting.is_empty() { next.min(end) } else { end };
        let timeout = until.saturating_duration_since(Instant::now());
        if poll.poll(&mut events, Some(timeout)).is_err() {
            continue;
        }
        for event in &events {
            let slot = event.token().0;
            let connection = &mut open[slot];
            if event.is_writable() {
                if !connection.open {
                    connection.open = true;
                    idle.push_back(slot);
                }
                let _ = connection.pending.flush(&mut connection.stream);
            }
            if event.is_readable() {
                let mut answered = 0;
                let Connection { stream, head, body_left, .. } = connection;
                let ended = read_all(stream, &mut buffer, |bytes| {
                    answered += take(bytes, head, body_left, &mut totals.failures);
                });
                for _ in 0..answered {
                    if let Some(due) = connection.due.take() {
                        totals.requests += 1;
                        totals.latencies.push(due.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
                        idle.push_back(slot);
                    }
                }
                if !matches!(ended, Ok(false)) {
                    totals.failures += u64::from(connection.due.is_some());
                    idle.retain(|each| *each != slot);
                    open[slot] = connect(&poll, address, slot);
                }
            }
        }
    }
    report(&mut totals, begun.elapsed().as_secs_f64());
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| fail(&format!("{text:?} is no number")))
}

fn connect(poll: &Poll, address: SocketAddr, slot: usize) -> Connection {
    let mut stream =
        TcpStream::connect(address).unwrap_or_else(|error| fail(&format!("cannot connect: {error}")));
    let _ = stream.set_nodelay(true);
    let _ = poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE);
    Connection { stream, pending: Pending::default(), head: Vec::new(), body_left: 0, due: None, open: false }
}

fn send(connection: &mut Connection, head: &[u8], due: Instant, totals: &mut Totals) {
    connection.due = Some(due);
    if connection.pending.write(&mut connection.stream, head).is_err() {
        totals.failures += 1;
    }
}

/// How many responses end in these bytes; answers other than 2xx are counted as failures.
fn take(mut bytes: &[u8], head: &mut Vec<u8>, body_left: &mut usize, failures: &mut u64) -> usize {
    let mut answered = 0;
    while !bytes.is_empty() {
        if *body_left > 0 {
            let taken = bytes.len().min(*body_left);
            bytes = &bytes[taken..];
            *body_left -= taken;
            answered += usize::from(*body_left == 0);
            continue;
        }
        let before = head.len();
        head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(at) = head[from..].windows(4).position(|window| window == b"\r\n\r\n") else {
            return answered;
        };
        let end = from + at + 4;
        bytes = &bytes[end - before..];
        *failures += u64::from(!head.starts_with(b"HTTP/1.1 2"));
        *body_left = content_length(&head[..end]);
        answered += usize::from(*body_left == 0);
        head.clear();
    }
    answered
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\ncontent-length:";
    head.windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME))
        .map(|at| &head[at + NAME.len()..])
        .and_then(|rest| std::str::from_utf8(rest.split(|byte| *byte == b'\r').next()?).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
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
