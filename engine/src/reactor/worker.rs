//! The turn: mailbox, timers, ready connections in order, what they caused, one flush per dirty connection, closes.
//!
//! One buffer is read into, and emptied before another connection is read. Fairness: a connection gets two reads and 32
//! new streams a turn, handshakes come four a turn; what is left waits at the tail of the ready list. A panic in a connection's
//! step ends that connection and its exchanges, nothing else: stale keys find nothing.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::board::{Alarm, Board};
use super::chore::Chore;
use super::connection::Phase;
use super::destinations::Destinations;
use super::doors::{Admitted, Doors};
use super::drain::Draining;
use super::driver::{Driver, Readiness, WAKE};
use super::letter::{Inbox, Letter};
use super::log::{Level, Room};
use crate::message::{Key, SECOND, Tick};
use crate::plan;
use crate::snapshot::Snapshot;
use crate::stream::Streams;

/// The buffer of a worker, bytes: 64 KiB moved 40 % less per CPU-second.
pub(super) const READ_BUFFER: usize = 256 * 1024;
/// Room for new bytes behind a carry, at least.
pub(super) const LEAST_READ: usize = 64 * 1024;
const READS_PER_TURN: usize = 2;
pub(super) const STREAMS_PER_TURN: usize = 32;
const HANDSHAKES_PER_TURN: usize = 4;
/// A peer that takes nothing for so long is cut.
pub(super) const STALL: u64 = 300 * SECOND;
/// RFC 9112 §9.6: how long a peer may take to see our answer before we stop reading.
pub(super) const LINGER: u64 = SECOND;
pub(super) const HOUSEKEEPING: u64 = SECOND;
/// Housekeeping rounds between two looks for quiet series.
pub(super) const SERIES_ROUNDS: u64 = 60;
/// So many panics within this time end the process.
const PANICS: usize = 8;
const PANIC_SPAN: u64 = 60 * SECOND;
/// Passes over the dirty list in one turn; what is dirty after them waits for the next.
pub(super) const FLUSH_PASSES: usize = 4;

/// One thread's loop and all it owns.
pub struct Worker<D: Driver> {
    pub(super) board: Board<D>,
    pub(super) streams: Streams,
    pub(super) doors: Doors<D>,
    pub(super) inbox: Arc<Inbox<D>>,
    letters: VecDeque<Letter<D>>,
    pub(super) drains: Vec<Draining>,
    /// Listeners without a socket, by the destinations they stand for.
    pub(super) destinations: Destinations,
    chores: Vec<Box<dyn Chore<D>>>,
    /// The chores shall act before this turn ends.
    pub(super) nudged: bool,
    chores_timer: Option<Key>,
    events: Vec<Readiness>,
    pub(super) buffer: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) handshakes: usize,
    pub(super) drain_timer: Option<Key>,
    pub(super) doors_timer: Option<Key>,
    pub(super) housekeeping: Option<Key>,
    pub(super) rounds: u64,
    /// When steps panicked lately.
    panics: Vec<Tick>,
}

impl<D: Driver> std::fmt::Debug for Worker<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Worker").field("chores", &self.chores.len()).finish_non_exhaustive()
    }
}

impl<D: Driver> Worker<D> {
    pub fn new(board: Board<D>, inbox: Arc<Inbox<D>>, streams: Streams) -> Self {
        Self {
            board,
            streams,
            doors: Doors::default(),
            inbox,
            letters: VecDeque::new(),
            drains: Vec::new(),
            destinations: Destinations::default(),
            chores: Vec::new(),
            nudged: false,
            chores_timer: None,
            events: Vec::new(),
            buffer: Vec::new(),
            plain: Vec::new(),
            handshakes: 0,
            drain_timer: None,
            doors_timer: None,
            housekeeping: None,
            rounds: 0,
            panics: Vec::new(),
        }
    }

    /// Turns until a letter says stop.
    pub fn run(&mut self) {
        let first = self.board.now + HOUSEKEEPING;
        self.board.wheel.arm(&mut self.housekeeping, Alarm::Housekeeping, Some(first));
        while self.turn().is_continue() {}
        self.end_all();
    }

    /// What still runs ends here, so that it is counted and logged.
    pub(super) fn end_all(&mut self) {
        for key in self.board.connections.keys() {
            self.caught(|worker| worker.lose(key, "the engine shuts down"));
        }
    }

    /// One turn, waiting first if there is nothing to do.
    pub fn turn(&mut self) -> ControlFlow<()> {
        self.wait();
        self.board.read_clock();
        self.handshakes = 0;
        self.read_mail()?;
        self.ring_alarms();
        self.note_readiness();
        self.serve_ready();
        self.decide_failed_dials();
        self.act_on_chores();
        self.flush();
        ControlFlow::Continue(())
    }

    fn wait(&mut self) {
        let busy = !self.board.ready.is_empty() || !self.board.dirty.is_empty() || self.doors.is_waiting();
        let timeout = if busy {
            Some(0)
        } else {
            self.board.wheel.next_wake().map(|wake| wake.since(self.board.driver.now()))
        };
        self.events.clear();
        if let Err(error) = self.board.driver.wait(timeout, &mut self.events) {
            self.board.shared.emit(plan::Event::Trouble { what: format!("epoll: {error}") });
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn read_mail(&mut self) -> ControlFlow<()> {
        let mut letters = std::mem::take(&mut self.letters);
        if let Some(snapshot) = self.inbox.take(&mut letters) {
            self.take_up(snapshot);
        }
        while let Some(letter) = letters.pop_front() {
            if let Letter::Stop = letter {
                return ControlFlow::Break(());
            }
            self.read_letter(letter);
        }
        self.letters = letters;
        ControlFlow::Continue(())
    }

    fn act_on_chores(&mut self) {
        if !std::mem::take(&mut self.nudged) {
            return;
        }
        let mut chores = std::mem::take(&mut self.chores);
        for chore in &mut chores {
            self.caught(|worker| chore.act(&mut worker.streams, &mut worker.board));
        }
        let next = chores.iter().filter_map(|chore| chore.deadline()).min();
        self.chores = chores;
        self.board.wheel.arm(&mut self.chores_timer, Alarm::Chores, next);
    }

    fn take_up(&mut self, snapshot: Arc<Snapshot>) {
        let former = std::mem::replace(&mut self.board.snapshot, snapshot);
        self.destinations = Destinations::new(&self.board.snapshot);
        self.drain_changed(&former);
        self.streams.snapshot_changed(&mut self.board);
    }

    fn read_letter(&mut self, letter: Letter<D>) {
        match letter {
            Letter::Admitted(admitted) => {
                // Counted by the acceptor until now, by its slot from here on.
                self.board.load.fetch_sub(1, Ordering::Relaxed);
                self.take_in(admitted);
            }
            Letter::Listen(door) => {
                let name = Arc::clone(&door.listener);
                if let Err(error) = self.doors.open(&mut self.board.driver, &self.board.shared, door) {
                    self.board
                        .shared
                        .emit(plan::Event::Trouble { what: format!("listener {name}: {error}") });
                }
            }
            Letter::Unlisten(name) => self.doors.close(&mut self.board.driver, &name),
            Letter::Drain(order) => self.begin_drain(order),
            Letter::Task(task) => {
                self.caught(|worker| task(&mut worker.streams, &mut worker.board));
            }
            Letter::Chore(make) => {
                self.chores.push(make());
                self.nudged = true;
            }
            Letter::Nudge => self.nudged = true,
            Letter::Stop => {}
        }
    }

    fn note_readiness(&mut self) {
        let events = std::mem::take(&mut self.events);
        for event in &events {
            if event.token == WAKE {
                continue;
            }
            if let Some(door) = super::doors::door_of(event.token) {
                self.doors.mark_ready(door);
                continue;
            }
            let key = Key::from_bits(event.token);
            let Some(connection) = self.board.connections.get_mut(key) else { continue };
            connection.readable |= event.readable || event.ended || event.failed;
            connection.end_announced |= event.ended || event.failed;
            connection.failed |= event.failed;
            if event.writable
                && !std::mem::replace(&mut connection.writable, true)
                && !connection.is_flushed()
            {
                self.board.mark_dirty(key);
            }
            self.board.mark_ready(key);
        }
        self.events = events;
        if self.doors.is_waiting() {
            self.open_doors();
        }
    }

    fn open_doors(&mut self) {
        let mut admitted = Vec::new();
        let rest_until =
            self.doors.admit(&mut self.board.driver, &self.board.shared, self.board.now, &mut admitted);
        if let Some(until) = rest_until {
            self.board.wheel.arm(&mut self.doors_timer, Alarm::Doors, Some(until));
        }
        self.doors.count(&self.board.recorder);
        for one in admitted {
            self.take_in(one);
        }
    }

    /// A connection that came in, here or through the acceptor.
    pub(super) fn take_in(&mut self, admitted: Admitted<D::Socket>) {
        if let Some(key) = self.receive_connection(admitted) {
            self.guarded(key, |worker| worker.advance(key));
        }
    }

    fn serve_ready(&mut self) {
        // What becomes ready meanwhile has its turn next time.
        for _ in 0..self.board.ready.len() {
            let Some(key) = self.board.ready.pop_front() else { return };
            self.guarded(key, |worker| worker.serve(key));
        }
    }

    /// A step of one connection: if it panics, only that connection ends.
    pub(super) fn guarded(&mut self, key: Key, step: impl FnOnce(&mut Self)) {
        if self.caught(step) {
            return;
        }
        if let Some(connection) = self.board.connections.get_mut(key)
            && let Some(socket) = &connection.socket
        {
            self.board.driver.reset_on_drop(socket);
        }
        if !self.caught(|worker| worker.lose(key, "internal error")) {
            self.board.remove(key);
        }
    }

    /// False: it panicked, and somebody has been told.
    pub(super) fn caught(&mut self, step: impl FnOnce(&mut Self)) -> bool {
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_ok() {
            return true;
        }
        let count = self.board.shared.panics.fetch_add(1, Ordering::Relaxed) + 1;
        let what = format!("a step of a worker panicked ({count} so far); what it served was closed");
        self.board.shared.log.say(Room::Reactor, Level::Error, || what.clone());
        self.board.shared.emit(plan::Event::Trouble { what });
        let now = self.board.now;
        self.panics.retain(|at| now.since(*at) < PANIC_SPAN);
        self.panics.push(now);
        // Something is broken that closing connections does not mend: better to start anew.
        assert!(self.panics.len() < PANICS, "{PANICS} panics within a minute");
        false
    }

    fn serve(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        connection.is_ready = false;
        for _ in 0..READS_PER_TURN {
            if self.serve_once(key).is_break() {
                return;
            }
        }
        self.board.mark_ready(key);
    }

    /// Break: there is nothing more to do for now.
    fn serve_once(&mut self, key: Key) -> ControlFlow<()> {
        let Some(connection) = self.board.connections.get_mut(key) else { return ControlFlow::Break(()) };
        if let Phase::Connecting(_) = connection.phase {
            return self.finish_connect(key);
        }
        let wants_input = connection.wants_input();
        if wants_input && connection.unoffered {
            self.advance(key);
            return ControlFlow::Continue(());
        }
        if !wants_input {
            // Nobody reads, but the socket is broken: whoever waits for it must learn it now.
            if connection.failed {
                self.lose(key, "connection reset");
            }
            return ControlFlow::Break(());
        }
        if !connection.readable || connection.ended {
            return ControlFlow::Break(());
        }
        if matches!(connection.phase, Phase::Accepting(_) | Phase::Securing(_)) {
            self.handshakes += 1;
            if self.handshakes > HANDSHAKES_PER_TURN {
                self.board.mark_ready(key);
                return ControlFlow::Break(());
            }
        }
        self.read(key)
    }

    fn decide_failed_dials(&mut self) {
        while let Some((key, error)) = self.board.failed.pop() {
            self.guarded(key, |worker| worker.fail_dial(key, error));
        }
    }
}
