//! Calls lent to Python: each is carried to the slow worker, whose exchanges make it; what comes of it are events.

use std::sync::atomic::{AtomicU64, Ordering};

use super::threads::Handle;
use crate::plan::Event;
use crate::reactor::{Board, Epoll, Letter};
use crate::stream::{GrpcCall, Streams};

/// gRPC's UNAVAILABLE.
const UNAVAILABLE: u32 = 14;

#[derive(Debug)]
pub(super) struct Calls {
    slow: Handle,
    numbers: AtomicU64,
}

impl Calls {
    pub fn new(slow: &Handle) -> Self {
        Self { slow: slow.clone(), numbers: AtomicU64::new(0) }
    }

    /// `refused` is told where the slow worker takes no more letters.
    pub fn open(
        &self,
        cluster: String,
        path: String,
        metadata: Vec<(String, String)>,
        refused: impl FnOnce(Event),
    ) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let call = GrpcCall { number, cluster, path, metadata };
        if !self.post(move |streams, board| streams.open_grpc(board, &call)) {
            let message = "the engine is busy".to_owned();
            refused(Event::GrpcClosed { call: number, status: UNAVAILABLE, message });
        }
        number
    }

    pub fn send(&self, call: u64, message: Vec<u8>, end: bool) -> bool {
        self.post(move |streams, board| streams.send_grpc(board, call, &message, end))
    }

    pub fn grant(&self, call: u64, messages: u32) {
        self.always(move |streams, board| streams.grant_grpc(board, call, messages));
    }

    pub fn cancel(&self, call: u64) {
        self.always(move |streams, board| streams.cancel_grpc(board, call));
    }

    /// False: too many letters wait already.
    fn post(&self, task: impl FnOnce(&mut Streams, &mut Board<Epoll>) + Send + 'static) -> bool {
        self.slow.inbox.post(Letter::Task(Box::new(task))).is_ok()
    }

    /// What makes room is never refused.
    fn always(&self, task: impl FnOnce(&mut Streams, &mut Board<Epoll>) + Send + 'static) {
        self.slow.inbox.post_always(Letter::Task(Box::new(task)));
    }
}
