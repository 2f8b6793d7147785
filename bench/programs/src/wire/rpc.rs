//! Framed RPC, as many calls at a time as asked.

use std::rc::Rc;
use std::time::Instant;

use super::Answer;
use crate::rpc::{Cutter, Request};

#[derive(Debug)]
pub struct Client {
    request: Rc<Request>,
    limit: usize,
    cutter: Cutter,
    last: u32,
    under_way: Vec<(u32, Instant)>,
}

impl Client {
    /// `limit`: calls under way at most.
    pub fn new(request: Rc<Request>, limit: usize) -> Client {
        Client { request, limit, cutter: Cutter::default(), last: 0, under_way: Vec::new() }
    }

    pub fn room(&self) -> usize {
        self.limit - self.under_way.len()
    }

    pub fn unanswered(&self) -> usize {
        self.under_way.len()
    }

    pub fn request(&mut self, due: Instant, out: &mut Vec<u8>) {
        self.last = self.last.wrapping_add(1);
        self.request.put(self.last, out);
        self.under_way.push((self.last, due));
    }

    pub fn take(&mut self, bytes: &[u8], answers: &mut Vec<Answer>) {
        let Client { request, cutter, under_way, .. } = self;
        cutter.feed(request.speech, bytes, |frame| {
            let Some(told) = request.speech.told(frame, request.body) else { return };
            // An answer that nobody waits for shows as a call that is never answered.
            if let Some(at) = under_way.iter().position(|(id, _)| *id == told.id) {
                let (_, due) = under_way.swap_remove(at);
                answers.push(Answer { due, good: told.good });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Speech;

    #[test]
    fn answers_end_calls_in_any_order() {
        let mut client = Client::new(Rc::new(Speech::Bolt.request(16)), 2);
        let (mut calls, mut bytes, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        client.request(Instant::now(), &mut calls);
        let first = calls.len();
        client.request(Instant::now(), &mut calls);
        assert_eq!(client.room(), 0);
        Speech::Bolt.answer(&calls[first..], &mut bytes).unwrap();
        Speech::Bolt.answer(&calls[..first], &mut bytes).unwrap();
        client.take(&bytes, &mut answers);
        assert_eq!(answers.iter().map(|answer| answer.good).collect::<Vec<_>>(), [true, true]);
        client.take(&bytes, &mut answers);
        assert_eq!((client.room(), answers.len()), (2, 2), "what nobody asked for is no answer");
    }
}
