//! An HTTP/1.1 server that answers every request with a body of one size, as cheaply as it can.
//!
//! `upstream LISTEN BYTES`. Requests have no body (a GET); several may come in one read.

use mainstay_bench::{Pending, fail, listen, read_all};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

struct Client {
    stream: TcpStream,
    pending: Pending,
    /// How much of the blank line that ends a head has been seen.
    matched: usize,
}

const LISTENER: Token = Token(usize::MAX);
const END: &[u8] = b"\r\n\r\n";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, size] = arguments.as_slice() else { fail("usage: upstream LISTEN BYTES") };
    let size: usize = size.parse().unwrap_or_else(|_| fail(&format!("{size:?} is no number of bytes")));
    let mut response =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n").into_bytes();
    response.resize(response.len() + size, b'x');
    let mut poll = Poll::new().unwrap_or_else(|error| fail(&error.to_string()));
    let mut listener = listen(address);
    let _ = poll.registry().register(&mut listener, LISTENER, Interest::READABLE);
    let mut events = Events::with_capacity(1_024);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; 64 * 1_024];
    let mut batch = Vec::new();
    loop {
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    let slot = free.pop().unwrap_or_else(|| {
                        clients.push(None);
                        clients.len() - 1
                    });
                    let both = Interest::READABLE | Interest::WRITABLE;
                    let _ = poll.registry().register(&mut stream, Token(slot), both);
                    clients[slot] = Some(Client { stream, pending: Pending::default(), matched: 0 });
                }
                continue;
            }
            let slot = event.token().0;
            let Some(client) = clients.get_mut(slot).and_then(Option::as_mut) else { continue };
            batch.clear();
            let mut matched = client.matched;
            let ended = read_all(&mut client.stream, &mut buffer, |bytes| {
                for _ in 0..count_heads(bytes, &mut matched) {
                    batch.extend_from_slice(&response);
                }
            });
            client.matched = matched;
            let written = client.pending.write(&mut client.stream, &batch);
            if !matches!(ended, Ok(false)) || written.is_err() {
                clients[slot] = None;
                free.push(slot);
            }
        }
    }
}

/// How many heads end in these bytes.
fn count_heads(bytes: &[u8], matched: &mut usize) -> usize {
    let mut count = 0;
    for &byte in bytes {
        if byte == END[*matched] {
            *matched += 1;
            if *matched == END.len() {
                *matched = 0;
                count += 1;
            }
        } else {
            *matched = usize::from(byte == b'\r');
        }
    }
    count
}
