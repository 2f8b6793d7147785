//! The protocols as the upstream speaks them: every HTTP request gets the same answer, and what it says is not read; a call gets its body back.

pub mod http1;
pub mod http2;

use std::rc::Rc;

use crate::frames::{Block, PREFACE};
use crate::rpc::{Cutter, Speech};

/// The answer, made once.
#[derive(Debug)]
pub struct Fixed {
    /// Head and body for HTTP/1.1.
    pub response: Vec<u8>,
    pub block: Block,
    pub body: Vec<u8>,
}

impl Fixed {
    pub fn new(size: usize) -> Fixed {
        let fields = [("content-type", "text/plain".to_owned()), ("content-length", size.to_string())];
        let mut head = String::from("HTTP/1.1 200 OK\r\n");
        for (name, value) in &fields {
            head += &format!("{name}: {value}\r\n");
        }
        let mut response = (head + "\r\n").into_bytes();
        response.resize(response.len() + size, b'x');
        const STATUS_200: [u8; 1] = [0x88];
        let block = Block::new(&STATUS_200, &fields.map(|(name, value)| (name.to_owned(), value)));
        Fixed { response, block, body: vec![b'x'; size] }
    }
}

/// One connection's side of a protocol; which one its first bytes tell.
#[derive(Debug, Default)]
pub enum Answerer {
    #[default]
    Unknown,
    One(http1::Server),
    Two(http2::Server),
    Rpc(Speech, Cutter),
}

impl Answerer {
    /// Takes what came and appends what is said to it.
    pub fn take(&mut self, bytes: &[u8], fixed: &Rc<Fixed>, out: &mut Vec<u8>) {
        match self {
            Answerer::Unknown => {
                // A method of HTTP/1.1 other than PRI differs in its first three bytes, which come together.
                *self = match (bytes.get(..3), bytes.first().copied().and_then(Speech::of)) {
                    (_, Some(speech)) => Answerer::Rpc(speech, Cutter::default()),
                    (Some(start), _) if PREFACE.starts_with(start) => Answerer::Two(http2::Server::new(out)),
                    _ => Answerer::One(http1::Server::default()),
                };
                self.take(bytes, fixed, out);
            }
            Answerer::One(server) => server.take(bytes, fixed, out),
            Answerer::Two(server) => server.take(bytes, fixed, out),
            Answerer::Rpc(speech, cutter) => cutter.feed(*speech, bytes, |frame| {
                // A call that is broken gets no answer, and shows as one at the other end.
                let _ = speech.answer(frame, out);
            }),
        }
    }
}
