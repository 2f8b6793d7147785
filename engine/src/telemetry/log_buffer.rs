//! Log lines on their way to files: a worker fills a buffer of its own, one thread writes.
//!
//! A worker never waits for a disk: four full buffers of it may wait for one file, then its lines for it are dropped and counted. Files are opened
//! anew when something else lies at their path (log rotation), so nobody has to tell us.

use std::collections::VecDeque;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::access_log::AccessLogger;
use super::facts::Facts;
use super::log_sheet::Sheet;
use super::log_texts::Texts;
use crate::plan::AccessLogSink;

/// A buffer is handed over when it holds so much (or when the worker's second is over).
const FULL: usize = 64 * 1024;
/// Buffers of one worker for one sink that may wait for the writer: a slow file costs the lines of no other.
const WAITING: usize = 4;
/// Empty buffers kept for the next ones.
const SPARE: usize = 8;

/// What an operator should know of a place where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It takes none from now on, for this reason: they are lost until it does.
    Begun { place: String, reason: String },
    /// It takes them again; so many were lost.
    Over { place: String, lost: u64 },
}

type Tell = Box<dyn Fn(Trouble) + Send + Sync>;

/// Lines of one worker for one sink.
struct Batch {
    sink: AccessLogSink,
    /// As far as `end`.
    bytes: Vec<u8>,
    end: usize,
    lines: u64,
    /// How many of its worker and sink are under way.
    waiting: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// Memory for the next ones, as it was left.
    spare: Vec<Vec<u8>>,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    dropped: AtomicU64,
    tell: OnceLock<Tell>,
    started: OnceLock<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing thread of an engine, started by its first lines; dropping this writes what waits and joins it.
#[derive(Default)]
pub struct LogWriter(Arc<Shared>);

impl LogWriter {
    /// Buffers for one more worker.
    pub fn buffers(&self) -> LogBuffers {
        LogBuffers { shared: Arc::clone(&self.0), open: Vec::new(), last: (0, 0), texts: Texts::default() }
    }

    /// From now on `tell` hears of places that refuse lines: once when that begins, and once when it is over.
    pub fn tell_by(&self, tell: impl Fn(Trouble) + Send + Sync + 'static) {
        let _ = self.0.tell.set(Box::new(tell));
    }

    /// Lines that nobody will read: the writer was behind, or the file refused them.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        locked(&self.0.queue).stopping = true;
        self.0.wake.notify_all();
        if let Some(thread) = locked(&self.0.thread).take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "LogWriter({} dropped)", self.dropped())
    }
}

/// A worker's half.
pub struct LogBuffers {
    shared: Arc<Shared>,
    open: Vec<Open>,
    /// The log that wrote last (0: none), and where its sink is in `open`.
    last: (u64, usize),
    texts: Texts,
}

/// What a worker gathers for one sink.
struct Open {
    sink: AccessLogSink,
    sheet: Sheet,
    lines: u64,
    /// Buffers handed over and not yet written.
    waiting: Arc<AtomicUsize>,
}

impl std::fmt::Debug for LogBuffers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "LogBuffers({} sinks)", self.open.len())
    }
}

impl LogBuffers {
    pub fn log(&mut self, logger: &AccessLogger, facts: &Facts<'_>) {
        let index = match self.last {
            (log, index) if log == logger.id() => index,
            _ => self.find(logger),
        };
        let Some(open) = self.open.get_mut(index) else { return };
        self.texts.touch();
        logger.write(facts, &mut self.texts, &mut open.sheet);
        open.lines += 1;
        if open.sheet.len() >= FULL {
            self.hand_over(index);
        }
    }

    fn find(&mut self, logger: &AccessLogger) -> usize {
        let index = match self.open.iter().position(|open| open.sink == logger.sink) {
            Some(index) => index,
            None => {
                let sink = logger.sink.clone();
                self.open.push(Open { sink, sheet: Sheet::default(), lines: 0, waiting: Arc::default() });
                self.open.len() - 1
            }
        };
        self.last = (logger.id(), index);
        index
    }

    /// Hands over what there is; the worker calls it each second and at its end.
    pub fn flush(&mut self) {
        self.texts.tick();
        for index in 0..self.open.len() {
            self.hand_over(index);
        }
    }

    fn hand_over(&mut self, index: usize) {
        let Some(open) = self.open.get_mut(index) else { return };
        if open.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut open.lines);
        if open.waiting.load(Relaxed) >= WAITING {
            open.sheet.truncate(0);
            self.shared.dropped.fetch_add(lines, Relaxed);
            return;
        }
        open.waiting.fetch_add(1, Relaxed);
        let mut queue = locked(&self.shared.queue);
        let empty = Sheet::on(queue.spare.pop().unwrap_or_default());
        let (bytes, end) = std::mem::replace(&mut open.sheet, empty).into_parts();
        let waiting = Arc::clone(&open.waiting);
        queue.batches.push_back(Batch { sink: open.sink.clone(), bytes, end, lines, waiting });
        drop(queue);
        self.shared.wake.notify_one();
        self.start();
    }

    /// From a worker, so that the thread inherits its blocked signals.
    fn start(&self) {
        self.shared.started.get_or_init(|| {
            let shared = Arc::clone(&self.shared);
            let spawned = std::thread::Builder::new()
                .name("mainstay-log".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || write_all(&shared));
            *locked(&self.shared.thread) = spawned.ok();
        });
    }
}

impl Drop for LogBuffers {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_all(shared: &Shared) {
    let mut files = Files::default();
    let mut failing = Failing::default();
    loop {
        let mut queue = locked(&shared.queue);
        let batch = loop {
            match queue.batches.pop_front() {
                Some(batch) => break batch,
                None if queue.stopping => return,
                None => queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(queue);
        let written = files.write(&batch.sink, batch.bytes.get(..batch.end).unwrap_or(&[]));
        if written.is_err() {
            shared.dropped.fetch_add(batch.lines, Relaxed);
        }
        if let Some(trouble) = failing.note(&batch, &written)
            && let Some(tell) = shared.tell.get()
        {
            tell(trouble);
        }
        batch.waiting.fetch_sub(1, Relaxed);
        let mut queue = locked(&shared.queue);
        if queue.spare.len() < SPARE {
            queue.spare.push(batch.bytes);
        }
    }
}

/// Places that took no lines the last time, with the lines they have cost.
#[derive(Default)]
struct Failing(Vec<(AccessLogSink, u64)>);

impl Failing {
    fn note(&mut self, batch: &Batch, written: &std::io::Result<()>) -> Option<Trouble> {
        let known = self.0.iter().position(|(sink, _)| *sink == batch.sink);
        match (written, known.and_then(|index| self.0.get_mut(index))) {
            (Ok(()), None) => None,
            (Err(_), Some((_, lost))) => {
                *lost += batch.lines;
                None
            }
            (Err(error), None) => {
                self.0.push((batch.sink.clone(), batch.lines));
                Some(Trouble::Begun { place: place(&batch.sink), reason: error.to_string() })
            }
            (Ok(()), Some((_, lost))) => {
                let lost = *lost;
                self.0.retain(|(sink, _)| *sink != batch.sink);
                Some(Trouble::Over { place: place(&batch.sink), lost })
            }
        }
    }
}

fn place(sink: &AccessLogSink) -> String {
    match sink {
        AccessLogSink::File { path } => path.clone(),
        AccessLogSink::Stdout {} => "/dev/stdout".to_owned(),
        AccessLogSink::Stderr {} => "/dev/stderr".to_owned(),
    }
}

/// A log file that is open. `identity`, its device and inode, stays what it was; whether the path still leads there is asked before
/// each write.
struct LogFile {
    path: String,
    file: File,
    identity: (u64, u64),
}

impl LogFile {
    fn open(path: &str) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let identity = identity(&file.metadata()?);
        Ok(Self { path: path.to_owned(), file, identity })
    }

    fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|there| identity(&there) == self.identity)
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Open log files.
#[derive(Default)]
struct Files(Vec<LogFile>);

impl Files {
    fn write(&mut self, sink: &AccessLogSink, bytes: &[u8]) -> std::io::Result<()> {
        match sink {
            AccessLogSink::Stdout {} => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            AccessLogSink::Stderr {} => std::io::stderr().lock().write_all(bytes),
            AccessLogSink::File { path } => {
                let result = self.file(path).and_then(|mut file| file.write_all(bytes));
                if result.is_err() {
                    // Opened anew for the next lines.
                    self.0.retain(|known| known.path != *path);
                }
                result
            }
        }
    }

    fn file(&mut self, path: &str) -> std::io::Result<&File> {
        self.0.retain(|known| known.path != path || known.is_in_place());
        if !self.0.iter().any(|known| known.path == path) {
            self.0.push(LogFile::open(path)?);
        }
        let found = self.0.iter().find(|known| known.path == path);
        found.map(|known| &known.file).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}
