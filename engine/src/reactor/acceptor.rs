//! The thread that accepts where there are several workers: the one with the fewest live connections gets the socket.
//!
//! Few long-lived connections, as a mesh has them, spread evenly this way; SO_REUSEPORT would leave some workers idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::doors::{Admitted, Doors, door_of};
use super::driver::{Driver, Readiness};
use super::letter::{Inbox, Letter};
use super::shared::Shared;
use crate::message::Tick;
use crate::telemetry::Recorder;

/// A worker to hand connections to. `load`: its live connections and those on their way to it.
#[derive(Debug)]
pub struct Seat<D: Driver> {
    pub inbox: Arc<Inbox<D>>,
    pub load: Arc<AtomicUsize>,
}

/// Accepts for all workers.
#[derive(Debug)]
pub struct Acceptor<D: Driver> {
    driver: D,
    doors: Doors<D>,
    inbox: Arc<Inbox<D>>,
    seats: Vec<Seat<D>>,
    shared: Arc<Shared>,
    recorder: Recorder,
    /// Where the search begins, so that ties rotate.
    next: usize,
    resting_until: Option<Tick>,
}

impl<D: Driver> Acceptor<D> {
    pub fn new(
        driver: D,
        inbox: Arc<Inbox<D>>,
        seats: Vec<Seat<D>>,
        shared: Arc<Shared>,
        recorder: Recorder,
    ) -> Self {
        let doors = Doors::default();
        Self { driver, doors, inbox, seats, shared, recorder, next: 0, resting_until: None }
    }

    /// Accepts until a letter says stop.
    pub fn run(&mut self) {
        let mut events: Vec<Readiness> = Vec::new();
        let mut letters = VecDeque::new();
        loop {
            let timeout = match self.resting_until {
                Some(until) => Some(until.since(self.driver.now())),
                None => self.doors.is_waiting().then_some(0),
            };
            events.clear();
            if self.driver.wait(timeout, &mut events).is_err() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            self.inbox.take(&mut letters);
            for letter in letters.drain(..) {
                match letter {
                    Letter::Stop => return,
                    Letter::Listen(door) => {
                        if let Err(error) = self.doors.open(&mut self.driver, &self.shared, door) {
                            let what = format!("a listener cannot be watched: {error}");
                            self.shared.emit(crate::plan::Event::Trouble { what });
                        }
                    }
                    Letter::Unlisten(name) => self.doors.close(&mut self.driver, &name),
                    _ => {}
                }
            }
            for door in events.iter().filter_map(|event| door_of(event.token)) {
                self.doors.mark_ready(door);
            }
            self.accept();
        }
    }

    fn accept(&mut self) {
        let now = self.driver.now();
        if self.resting_until.is_some_and(|until| until <= now) {
            self.resting_until = None;
            self.doors.reopen();
        }
        if !self.doors.is_waiting() {
            return;
        }
        let mut admitted = Vec::new();
        self.resting_until = self.doors.admit(&mut self.driver, &self.shared, now, &mut admitted);
        self.doors.count(&self.recorder);
        for one in admitted {
            self.hand_on(one);
        }
    }

    /// A worker whose mailbox is full gets nothing: the client's socket is closed.
    fn hand_on(&mut self, one: Admitted<D::Socket>) {
        let count = self.seats.len();
        let start = self.next;
        self.next = self.next.wrapping_add(1);
        let order = (0..count).filter_map(|step| self.seats.get((start + step) % count));
        let Some(seat) = order.min_by_key(|seat| seat.load.load(Ordering::Relaxed)) else { return };
        seat.load.fetch_add(1, Ordering::Relaxed);
        if seat.inbox.post(Letter::Admitted(one)).is_err() {
            seat.load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
