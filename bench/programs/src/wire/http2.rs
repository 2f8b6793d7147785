//! HTTP/2 without TLS, as many requests at a time as asked.

use std::rc::Rc;
use std::time::Instant;

use super::Answer;
use crate::frames::{self, Block, Cutter, Frame};

#[derive(Debug)]
pub struct Client {
    block: Rc<Block>,
    limit: usize,
    cutter: Cutter,
    asked: bool,
    next_stream: u32,
    under_way: Vec<(u32, Answer)>,
    /// Bytes of bodies since the connection's window was opened again.
    received: u32,
}

/// The request of a head written for HTTP/1.1, as fields of HTTP/2.
pub fn block_of(head: &str) -> Block {
    const METHOD_GET_SCHEME_HTTP: [u8; 2] = [0x82, 0x86];
    let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("/");
    let mut fields = vec![(":path".to_owned(), path.to_owned())];
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("host") {
            fields.insert(1, (":authority".to_owned(), value.to_owned()));
        } else {
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
    Block::new(&METHOD_GET_SCHEME_HTTP, &fields)
}

impl Client {
    /// `limit`: requests under way at most.
    pub fn new(block: Rc<Block>, limit: usize) -> Client {
        let cutter = Cutter::default();
        Client { block, limit, cutter, asked: false, next_stream: 1, under_way: Vec::new(), received: 0 }
    }

    pub fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(frames::PREFACE);
        frames::put_opening(out);
    }

    pub fn room(&self) -> usize {
        self.limit - self.under_way.len()
    }

    pub fn unanswered(&self) -> usize {
        self.under_way.len()
    }

    pub fn request(&mut self, due: Instant, out: &mut Vec<u8>) {
        let block = if self.asked { &self.block.again } else { &self.block.first };
        self.asked = true;
        frames::put(out, frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, self.next_stream, block);
        self.under_way.push((self.next_stream, Answer { due, good: false }));
        self.next_stream += 2;
    }

    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>, answers: &mut Vec<Answer>) -> bool {
        let Client { cutter, under_way, received, .. } = self;
        let mut useful = true;
        cutter.feed(bytes, |frame| useful &= take_frame(frame, under_way, received, out, answers));
        if self.received >= frames::WIDE / 2 {
            frames::put(out, frames::WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
        useful
    }
}

fn take_frame(
    frame: Frame<'_>,
    under_way: &mut Vec<(u32, Answer)>,
    received: &mut u32,
    out: &mut Vec<u8>,
    answers: &mut Vec<Answer>,
) -> bool {
    let at = under_way.iter().position(|(stream, _)| *stream == frame.stream);
    match frame.kind {
        frames::HEADERS => {
            if let Some(at) = at {
                // Trailers begin with no status: they do not undo a good head.
                under_way[at].1.good |= frames::is_good(frame.payload);
            }
        }
        frames::DATA => *received += frame.payload.len() as u32,
        frames::SETTINGS if frame.flags & frames::ACK == 0 => {
            frames::put(out, frames::SETTINGS, frames::ACK, 0, &[]);
        }
        frames::PING if frame.flags & frames::ACK == 0 => {
            frames::put(out, frames::PING, frames::ACK, 0, frame.payload);
        }
        frames::RST_STREAM => {
            if let Some(at) = at {
                let (_, answer) = under_way.swap_remove(at);
                answers.push(Answer { good: false, ..answer });
            }
        }
        frames::GOAWAY => return false,
        _ => {}
    }
    let ends = matches!(frame.kind, frames::HEADERS | frames::DATA) && frame.flags & frames::END_STREAM != 0;
    if let (true, Some(at)) = (ends, at) {
        answers.push(under_way.swap_remove(at).1);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_becomes_fields() {
        let block = block_of("GET /a HTTP/1.1\r\nHost: b\r\nX-C: d\r\n\r\n");
        assert_eq!(block.first, b"\x82\x86\x40\x05:path\x02/a\x40\x0a:authority\x01b\x40\x03x-c\x01d");
    }

    #[test]
    fn answers_and_resets_end_requests() {
        let mut client = Client::new(Rc::new(block_of("GET / HTTP/1.1\r\nhost: b\r\n\r\n")), 2);
        let (mut out, mut answers, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        client.request(Instant::now(), &mut out);
        client.request(Instant::now(), &mut out);
        assert_eq!(client.room(), 0);
        frames::put(&mut bytes, frames::SETTINGS, 0, 0, &[]);
        frames::put(&mut bytes, frames::HEADERS, frames::END_HEADERS, 1, &[0x88]);
        frames::put(&mut bytes, frames::DATA, frames::END_STREAM, 1, b"x");
        frames::put(&mut bytes, frames::RST_STREAM, 0, 3, &[0; 4]);
        out.clear();
        assert!(client.take(&bytes, &mut out, &mut answers));
        assert_eq!(answers.iter().map(|answer| answer.good).collect::<Vec<_>>(), [true, false]);
        assert_eq!(out, b"\0\0\0\x04\x01\0\0\0\0", "only the settings are acknowledged");
        assert_eq!(client.room(), 2);
    }
}
