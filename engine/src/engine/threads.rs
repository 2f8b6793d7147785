//! The engine's threads: started together, reached by their mailboxes, stopped in order.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::plan::{EngineSettings, Event};
use crate::reactor::{
    Acceptor, Board, Epoch, Epoll, Inbox, Letter, Mailbox, Seat, Shared, Wake, Worker, sys,
};
use crate::snapshot::Snapshot;
use crate::stream::Streams;
use crate::telemetry::Telemetry;

/// How to reach a thread with a mailbox.
#[derive(Debug, Clone)]
pub struct Handle {
    pub inbox: Arc<Inbox<Epoll>>,
    pub load: Arc<AtomicUsize>,
}

/// All threads with a mailbox.
#[derive(Debug)]
pub(super) struct Threads {
    workers: Vec<Handle>,
    slow: Handle,
    /// Who accepts: the only worker, or a thread of its own.
    acceptor: Handle,
    /// In the order in which they are stopped.
    running: Mutex<Vec<(Handle, JoinHandle<()>)>>,
}

/// What every worker is started with.
struct Start<'a> {
    settings: &'a EngineSettings,
    epoch: Epoch,
    shared: &'a Arc<Shared>,
    telemetry: &'a Arc<Telemetry>,
    snapshot: &'a Arc<Snapshot>,
}

impl Threads {
    pub fn start(
        settings: &EngineSettings,
        epoch: Epoch,
        shared: &Arc<Shared>,
        telemetry: &Arc<Telemetry>,
        snapshot: &Arc<Snapshot>,
    ) -> io::Result<Self> {
        let start = Start { settings, epoch, shared, telemetry, snapshot };
        let mut running = Vec::new();
        let mut workers = Vec::new();
        for index in 0..settings.workers {
            let (handle, thread) = start.worker(&format!("mainstay-{index}"))?;
            workers.push(handle.clone());
            running.push((handle, thread));
        }
        let acceptor = match workers.as_slice() {
            [only] => only.clone(),
            _ => {
                let (handle, thread) = start.acceptor(&workers)?;
                // Stopped first: nobody new comes in.
                running.insert(0, (handle.clone(), thread));
                handle
            }
        };
        let (slow, thread) = start.worker("mainstay-slow")?;
        running.push((slow.clone(), thread));
        Ok(Self { workers, slow, acceptor, running: Mutex::new(running) })
    }

    pub fn workers(&self) -> &[Handle] {
        &self.workers
    }

    pub fn slow(&self) -> &Handle {
        &self.slow
    }

    pub fn acceptor(&self) -> &Handle {
        &self.acceptor
    }

    /// Those who hold a snapshot.
    pub fn all(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().chain([&self.slow])
    }

    /// Ends them one after another and waits for them, not beyond `deadline`: who hangs is left behind. False if somebody has
    /// done so.
    pub fn stop(&self, deadline: Instant) -> bool {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let was_running = !running.is_empty();
        for (handle, thread) in running {
            handle.inbox.post_always(Letter::Stop);
            join(thread, deadline);
        }
        was_running
    }
}

/// Waits for the thread's end until then; the standard library knows no other way than to look.
pub fn join(thread: JoinHandle<()>, deadline: Instant) {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = thread.join();
}

impl Start<'_> {
    fn worker(&self, name: &str) -> io::Result<(Handle, JoinHandle<()>)> {
        let (driver, handle) = self.mailbox()?;
        let (inbox, load) = (Arc::clone(&handle.inbox), Arc::clone(&handle.load));
        let (shared, snapshot) = (Arc::clone(self.shared), Arc::clone(self.snapshot));
        let recorder = self.telemetry.recorder();
        let (workers, workload) = (self.settings.workers, self.settings.workload.clone());
        let resends = self.settings.resend_unprocessed;
        let node = (self.settings.node_id.clone(), self.settings.node_cluster.clone());
        let thread = spawn(name, Arc::clone(self.shared), move || {
            // Exchanges never leave their thread, so they are made in it.
            let streams =
                Streams::new(workers, random(), &workload).resending(resends).named(&node.0, &node.1);
            let board = Board::new(driver, snapshot, recorder, shared, load, random());
            Worker::new(board, inbox, streams).run();
        })?;
        Ok((handle, thread))
    }

    fn acceptor(&self, workers: &[Handle]) -> io::Result<(Handle, JoinHandle<()>)> {
        let (driver, handle) = self.mailbox()?;
        let inbox = Arc::clone(&handle.inbox);
        let seats = workers
            .iter()
            .map(|worker| Seat { inbox: Arc::clone(&worker.inbox), load: Arc::clone(&worker.load) })
            .collect();
        let (shared, recorder) = (Arc::clone(self.shared), self.telemetry.recorder());
        let thread = spawn("mainstay-accept", Arc::clone(self.shared), move || {
            Acceptor::new(driver, inbox, seats, shared, recorder).run();
        })?;
        Ok((handle, thread))
    }

    fn mailbox(&self) -> io::Result<(Epoll, Handle)> {
        let (driver, waker) = Epoll::new(self.epoch)?;
        let wake: Wake = Box::new(move || {
            // Fails only when the thread is gone, and then nobody needs to be woken.
            let _ = waker.wake();
        });
        let handle = Handle { inbox: Mailbox::new(wake), load: Arc::new(AtomicUsize::new(0)) };
        Ok((driver, handle))
    }
}

/// A thread that takes no signals. A panic outside of every guarded step leaves its connections in no known state: the
/// process ends, and whoever supervises it starts it anew.
fn spawn(
    name: &str,
    shared: Arc<Shared>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let owned = name.to_owned();
    std::thread::Builder::new().name(owned.clone()).spawn(move || {
        sys::block_signals();
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            shared.emit(Event::Trouble { what: format!("thread {owned} panicked and is gone") });
            std::process::abort();
        }
    })
}

/// From the standard library's keyed hasher, which the system seeds.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
