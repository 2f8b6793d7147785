//! HTTP/2 without TLS: an answer for each request's end, within the windows that the peer grants.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Fixed;
use crate::frames::{self, Cutter, Frame, PREFACE};

const DEFAULT_WINDOW: i64 = 65_535;
const MAX_FRAME: usize = 16_384;

#[derive(Debug)]
pub struct Server {
    preface_left: usize,
    cutter: Cutter,
    answers: Answers,
}

/// What is still to be sent.
#[derive(Debug)]
struct Answers {
    answered: bool,
    window: i64,
    stream_window: i64,
    /// Streams whose bodies wait for a window, and how much of each is sent.
    bodies: VecDeque<Body>,
}

#[derive(Debug)]
struct Body {
    stream: u32,
    sent: usize,
    window: i64,
}

impl Server {
    pub fn new(out: &mut Vec<u8>) -> Server {
        frames::put_opening(out);
        let answers = Answers {
            answered: false,
            window: DEFAULT_WINDOW,
            stream_window: DEFAULT_WINDOW,
            bodies: VecDeque::new(),
        };
        Server { preface_left: PREFACE.len(), cutter: Cutter::default(), answers }
    }

    pub fn take(&mut self, bytes: &[u8], fixed: &Rc<Fixed>, out: &mut Vec<u8>) {
        let preface = bytes.len().min(self.preface_left);
        self.preface_left -= preface;
        let Server { cutter, answers, .. } = self;
        cutter.feed(&bytes[preface..], |frame| answers.take(frame, fixed, out));
        answers.send(fixed, out);
    }
}

impl Answers {
    fn take(&mut self, frame: Frame<'_>, fixed: &Fixed, out: &mut Vec<u8>) {
        match frame.kind {
            frames::HEADERS | frames::DATA if frame.flags & frames::END_STREAM != 0 => {
                let block = if self.answered { &fixed.block.again } else { &fixed.block.first };
                self.answered = true;
                frames::put(out, frames::HEADERS, frames::END_HEADERS, frame.stream, block);
                self.bodies.push_back(Body { stream: frame.stream, sent: 0, window: self.stream_window });
            }
            frames::SETTINGS if frame.flags & frames::ACK == 0 => {
                self.settle(frame.payload);
                frames::put(out, frames::SETTINGS, frames::ACK, 0, &[]);
            }
            frames::PING if frame.flags & frames::ACK == 0 => {
                frames::put(out, frames::PING, frames::ACK, 0, frame.payload);
            }
            frames::WINDOW_UPDATE => {
                let more = i64::from(frames::word(frame.payload));
                match self.bodies.iter_mut().find(|body| body.stream == frame.stream) {
                    Some(body) => body.window += more,
                    None if frame.stream == 0 => self.window += more,
                    None => {}
                }
            }
            frames::RST_STREAM => self.bodies.retain(|body| body.stream != frame.stream),
            _ => {}
        }
    }

    fn settle(&mut self, settings: &[u8]) {
        const INITIAL_WINDOW_SIZE: &[u8] = &[0, 4];
        for setting in settings.chunks_exact(6).filter(|setting| setting.starts_with(INITIAL_WINDOW_SIZE)) {
            let size = i64::from(frames::word(&setting[2..]));
            for body in &mut self.bodies {
                body.window += size - self.stream_window;
            }
            self.stream_window = size;
        }
    }

    fn send(&mut self, fixed: &Fixed, out: &mut Vec<u8>) {
        for _ in 0..self.bodies.len() {
            let Some(mut body) = self.bodies.pop_front() else { return };
            loop {
                let left = fixed.body.len() - body.sent;
                let granted = usize::try_from(self.window.min(body.window)).unwrap_or(0);
                let part = left.min(granted).min(MAX_FRAME);
                if part == 0 && left > 0 {
                    self.bodies.push_back(body);
                    break;
                }
                let flags = if part == left { frames::END_STREAM } else { 0 };
                frames::put(out, frames::DATA, flags, body.stream, &fixed.body[body.sent..body.sent + part]);
                self.window -= part as i64;
                body.window -= part as i64;
                body.sent += part;
                if part == left {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(out: &[u8]) -> Vec<(u8, u8, u32, usize)> {
        let mut found = Vec::new();
        Cutter::default()
            .feed(out, |frame| found.push((frame.kind, frame.flags, frame.stream, frame.payload.len())));
        found
    }

    #[test]
    fn a_request_is_answered() {
        let (fixed, mut out) = (Rc::new(Fixed::new(128)), Vec::new());
        let mut server = Server::new(&mut out);
        let mut bytes = PREFACE.to_vec();
        frames::put(&mut bytes, frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &[0x82]);
        out.clear();
        for byte in bytes {
            server.take(&[byte], &fixed, &mut out);
        }
        let found = sent(&out);
        assert_eq!(found[0].0, frames::HEADERS);
        assert_eq!(found[1], (frames::DATA, frames::END_STREAM, 1, 128));
    }

    #[test]
    fn a_body_waits_for_its_windows() {
        let (fixed, mut out) = (Rc::new(Fixed::new(100_000)), Vec::new());
        let mut server = Server::new(&mut out);
        let mut bytes = PREFACE.to_vec();
        frames::put(&mut bytes, frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &[0x82]);
        out.clear();
        server.take(&bytes, &fixed, &mut out);
        let length = |out: &[u8]| {
            sent(out).iter().filter(|each| each.0 == frames::DATA).map(|each| each.3).sum::<usize>()
        };
        assert_eq!(length(&out), 65_535);
        let mut more = Vec::new();
        frames::put(&mut more, frames::WINDOW_UPDATE, 0, 0, &50_000u32.to_be_bytes());
        server.take(&more, &fixed, &mut out);
        assert_eq!(length(&out), 65_535, "the stream's own window is still shut");
        more.clear();
        frames::put(&mut more, frames::WINDOW_UPDATE, 0, 1, &50_000u32.to_be_bytes());
        server.take(&more, &fixed, &mut out);
        assert_eq!(length(&out), 100_000);
    }
}
