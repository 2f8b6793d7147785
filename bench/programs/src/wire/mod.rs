//! The protocols as the load generator speaks them: requests that are bytes made once, answers of which only status and end count.

pub mod http1;
pub mod http2;
pub mod rpc;

use std::time::Instant;

/// A request that was answered: when it was due, and whether with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub due: Instant,
    pub good: bool,
}

/// One connection's side of a protocol.
#[derive(Debug)]
pub enum Wire {
    One(http1::Client),
    Two(http2::Client),
    Rpc(rpc::Client),
}

impl Wire {
    /// What goes out before the first request.
    pub fn open(&mut self, out: &mut Vec<u8>) {
        if let Wire::Two(client) = self {
            client.open(out);
        }
    }

    /// How many more requests it can bear now.
    pub fn room(&self) -> usize {
        match self {
            Wire::One(client) => client.room(),
            Wire::Two(client) => client.room(),
            Wire::Rpc(client) => client.room(),
        }
    }

    pub fn request(&mut self, due: Instant, out: &mut Vec<u8>) {
        match self {
            Wire::One(client) => client.request(due, out),
            Wire::Two(client) => client.request(due, out),
            Wire::Rpc(client) => client.request(due, out),
        }
    }

    /// Takes what came; answers go to `answers`, what must be said in return to `out`. False: the connection is of no more use.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>, answers: &mut Vec<Answer>) -> bool {
        match self {
            Wire::One(client) => {
                client.take(bytes, answers);
                true
            }
            Wire::Two(client) => client.take(bytes, out, answers),
            Wire::Rpc(client) => {
                client.take(bytes, answers);
                true
            }
        }
    }

    /// Requests that nothing has answered.
    pub fn unanswered(&self) -> usize {
        match self {
            Wire::One(client) => 1 - client.room(),
            Wire::Two(client) => client.unanswered(),
            Wire::Rpc(client) => client.unanswered(),
        }
    }
}
