//! The floor: copies bytes between a client and one upstream connection of its own, parsing nothing.
//!
//! `relay LISTEN UPSTREAM`. One thread, edge-triggered, one 256 KiB buffer.

use std::net::SocketAddr;

use mainstay_bench::{Pending, fail, listen, read_all};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

struct Pair {
    ends: [TcpStream; 2],
    pending: [Pending; 2],
    ended: [bool; 2],
}

const LISTENER: Token = Token(usize::MAX);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, upstream] = arguments.as_slice() else { fail("usage: relay LISTEN UPSTREAM") };
    let upstream: SocketAddr =
        upstream.parse().unwrap_or_else(|_| fail(&format!("{upstream:?} is no IP:PORT")));
    let mut poll = Poll::new().unwrap_or_else(|error| fail(&error.to_string()));
    let mut listener = listen(address);
    let _ = poll.registry().register(&mut listener, LISTENER, Interest::READABLE);
    let mut events = Events::with_capacity(1_024);
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; 256 * 1_024];
    loop {
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut client, _)) = listener.accept() {
                    let Ok(mut server) = TcpStream::connect(upstream) else { continue };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let slot = free.pop().unwrap_or_else(|| {
                        pairs.push(None);
                        pairs.len() - 1
                    });
                    let both = Interest::READABLE | Interest::WRITABLE;
                    let _ = poll.registry().register(&mut client, Token(slot * 2), both);
                    let _ = poll.registry().register(&mut server, Token(slot * 2 + 1), both);
                    pairs[slot] =
                        Some(Pair { ends: [client, server], pending: Default::default(), ended: [false; 2] });
                }
                continue;
            }
            let slot = event.token().0 / 2;
            let Some(pair) = pairs.get_mut(slot).and_then(Option::as_mut) else { continue };
            if !turn(pair, event, &mut buffer) {
                pairs[slot] = None;
                free.push(slot);
            }
        }
    }
}

/// False: the pair is over.
fn turn(pair: &mut Pair, event: &Event, buffer: &mut [u8]) -> bool {
    let side = event.token().0 % 2;
    let other = 1 - side;
    if event.is_writable() && !pair.pending[side].is_empty() {
        let Pair { ends, pending, .. } = pair;
        if pending[side].flush(&mut ends[side]).is_err() {
            return false;
        }
    }
    if event.is_readable() && !pair.ended[side] {
        let [first, second] = &mut pair.ends;
        let (from, to) = if side == 0 { (first, second) } else { (second, first) };
        let pending = &mut pair.pending[other];
        let mut failed = false;
        match read_all(from, buffer, |bytes| failed |= pending.write(to, bytes).is_err()) {
            Ok(ended) => pair.ended[side] = ended,
            Err(_) => return false,
        }
        if failed {
            return false;
        }
    }
    for side in 0..2 {
        if pair.ended[side] && pair.pending[1 - side].is_empty() {
            let _ = pair.ends[1 - side].shutdown(std::net::Shutdown::Write);
        }
    }
    !(pair.ended[0] && pair.ended[1] && pair.pending.iter().all(Pending::is_empty))
}
