//! A server for HTTP/1.1 and HTTP/2 that answers every request with a body of one size, and for framed RPC, where it gives each call's
//! body back, as cheaply as it can.
//!
//! `upstream LISTEN BYTES`. HTTP requests have no body (a GET); several may come in one read. Protocols are told apart by their first bytes.

use std::rc::Rc;

use mainstay_bench::answer::{Answerer, Fixed};
use mainstay_bench::{Pending, fail, listen, read_all};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

struct Client {
    stream: TcpStream,
    pending: Pending,
    answerer: Answerer,
}

const LISTENER: Token = Token(usize::MAX);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, size] = arguments.as_slice() else { fail("usage: upstream LISTEN BYTES") };
    let size: usize = size.parse().unwrap_or_else(|_| fail(&format!("{size:?} is no number of bytes")));
    let fixed = Rc::new(Fixed::new(size));
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
                    clients[slot] =
                        Some(Client { stream, pending: Pending::default(), answerer: Answerer::default() });
                }
                continue;
            }
            let slot = event.token().0;
            let Some(client) = clients.get_mut(slot).and_then(Option::as_mut) else { continue };
            let Client { stream, pending, answerer } = client;
            batch.clear();
            let ended = read_all(stream, &mut buffer, |bytes| answerer.take(bytes, &fixed, &mut batch));
            let written = pending.write(stream, &batch);
            if !matches!(ended, Ok(false)) || written.is_err() {
                clients[slot] = None;
                free.push(slot);
            }
        }
    }
}
