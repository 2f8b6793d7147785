//! HTTP/1.1, one request at a time.

use std::rc::Rc;
use std::time::Instant;

use super::Answer;

#[derive(Debug)]
pub struct Client {
    request: Rc<[u8]>,
    /// Head bytes not yet complete, then the body bytes that are still to come.
    head: Vec<u8>,
    body_left: usize,
    due: Option<Instant>,
    good: bool,
}

impl Client {
    /// `request`: a whole head.
    pub fn new(request: Rc<[u8]>) -> Client {
        Client { request, head: Vec::new(), body_left: 0, due: None, good: false }
    }

    pub fn room(&self) -> usize {
        usize::from(self.due.is_none())
    }

    pub fn request(&mut self, due: Instant, out: &mut Vec<u8>) {
        self.due = Some(due);
        out.extend_from_slice(&self.request);
    }

    pub fn take(&mut self, mut bytes: &[u8], answers: &mut Vec<Answer>) {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let taken = bytes.len().min(self.body_left);
                bytes = &bytes[taken..];
                self.body_left -= taken;
                self.end_if_whole(answers);
                continue;
            }
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let from = before.saturating_sub(3);
            let Some(at) = self.head[from..].windows(4).position(|window| window == b"\r\n\r\n") else {
                return;
            };
            let end = from + at + 4;
            bytes = &bytes[end - before..];
            self.good = self.head.starts_with(b"HTTP/1.1 2");
            self.body_left = content_length(&self.head[..end]);
            self.head.clear();
            self.end_if_whole(answers);
        }
    }

    fn end_if_whole(&mut self, answers: &mut Vec<Answer>) {
        if self.body_left == 0
            && let Some(due) = self.due.take()
        {
            answers.push(Answer { due, good: self.good });
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_however_the_bytes_are_cut() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..response.len() {
            let mut client = Client::new(Rc::from(&b"GET"[..]));
            let mut answers = Vec::new();
            client.request(Instant::now(), &mut Vec::new());
            client.take(&response[..cut], &mut answers);
            assert!(answers.is_empty(), "answered after {cut} bytes");
            client.take(&response[cut..], &mut answers);
            assert!(matches!(answers[..], [Answer { good: true, .. }]), "cut at {cut}");
        }
    }

    #[test]
    fn other_than_2xx_is_no_good_answer() {
        let mut client = Client::new(Rc::from(&b"GET"[..]));
        let mut answers = Vec::new();
        client.request(Instant::now(), &mut Vec::new());
        client.take(b"HTTP/1.1 503 Unavailable\r\n\r\n", &mut answers);
        assert!(matches!(answers[..], [Answer { good: false, .. }]));
        assert_eq!(client.room(), 1);
    }
}
