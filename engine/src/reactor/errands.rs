//! The one thread that may block: host names through the system's resolver, files, whatever else would hold a worker up.
//!
//! Bounded: who asks is told when the queue is full. Errands run one after another, in order.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sys;

/// Errands that may wait.
const CAPACITY: usize = 1_024;

type Errand = Box<dyn FnOnce() + Send>;

/// The queue is full, or the thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

#[derive(Debug)]
pub struct Errands {
    sender: Mutex<Option<SyncSender<Errand>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Errands {
    pub fn start() -> io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(CAPACITY);
        let thread = std::thread::Builder::new()
            .name("mainstay-errands".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || run(&receiver))?;
        Ok(Arc::new(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) }))
    }

    pub fn run(&self, errand: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.as_ref().map(|sender| sender.try_send(Box::new(errand))) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => Err(Busy),
        }
    }

    /// Waits for what is queued.
    pub fn stop(&self, deadline: Instant) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nothing after this counts on its end: one that hangs (a name server, a pipe nobody reads) is left behind.
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn run(receiver: &Receiver<Errand>) {
    sys::block_signals();
    while let Ok(errand) = receiver.recv() {
        // An errand that panics is its own trouble; the hook has printed it.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(errand));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn errands_run_in_order_and_a_panic_stops_none() {
        let errands = Errands::start().unwrap();
        let (sender, receiver) = channel();
        let first = sender.clone();
        errands.run(move || first.send(1).unwrap()).unwrap();
        errands.run(|| std::panic::resume_unwind(Box::new("gone"))).unwrap();
        errands.run(move || sender.send(2).unwrap()).unwrap();
        errands.stop(Instant::now() + Duration::from_secs(10));
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(errands.run(|| {}), Err(Busy));
    }
}
