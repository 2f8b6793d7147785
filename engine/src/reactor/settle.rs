//! The end of a turn for a connection that was touched: flush, room, endings, timers. And the end of its life.

use super::board::Alarm;
use super::connection::{Output, Phase, UNARMED};
use super::driver::Driver;
use super::worker::{FLUSH_PASSES, HOUSEKEEPING, LINGER, SERIES_ROUNDS, STALL, Worker};
use crate::bytes::Out;
use crate::codec::contract::{Codec, Ending};
use crate::codec::rpc;
use crate::message::{Key, ResetReason};
use crate::stream::{DialError, DialErrorKind};

impl<D: Driver> Worker<D> {
    /// One write for each dirty connection. What that causes (room for those who waited) is settled in the same turn, a few times.
    pub(super) fn flush(&mut self) {
        for _ in 0..FLUSH_PASSES {
            if self.board.dirty.is_empty() {
                return;
            }
            let mut dirty = std::mem::take(&mut self.board.dirty);
            for key in dirty.drain(..) {
                self.guarded(key, |worker| worker.settle(key));
            }
            if self.board.dirty.is_empty() {
                self.board.dirty = dirty;
            }
        }
    }

    fn settle(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        connection.is_dirty = false;
        if matches!(connection.ending(), Ending::Aborted) {
            return self.abort(key);
        }
        connection.full |= connection.outbox.len() >= connection.outbox.high_mark();
        match connection.flush(&mut self.board.driver, &mut self.board.pool, &mut self.board.scratch) {
            Err(error) => {
                connection.traffic.by_peer = true;
                return self.lose(key, &error.to_string());
            }
            Ok(true) => connection.stall = None,
            Ok(false) => {}
        }
        if connection.is_flushed() {
            connection.stall = None;
        } else if connection.stall.is_none() && !matches!(connection.phase, Phase::Connecting(_)) {
            connection.stall = Some(self.board.now + STALL);
        }
        // Well below the mark, so that a slow reader causes few wakes.
        if connection.full && connection.outbox.len() <= connection.outbox.high_mark() / 2 {
            connection.full = false;
            if let Phase::Open(open) = &mut connection.phase {
                open.codec.on_room();
                self.advance(key);
            }
        }
        self.end_as_asked(key);
    }

    fn end_as_asked(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let flushed = connection.is_flushed();
        match connection.ending() {
            Ending::Open => {}
            Ending::HalfClosed if flushed && connection.output == Output::Open => self.end_output(key),
            Ending::HalfClosed => {}
            // Closing with input unread would send a RST, which may overtake what we said last.
            Ending::Closed if flushed && connection.readable && !connection.ended => return self.linger(key),
            Ending::Closed if flushed => {
                self.end_output_of_tls(key);
                return self.finish(key, ResetReason::ConnectionClosed);
            }
            Ending::Lingering if flushed => return self.linger(key),
            Ending::Closed | Ending::Lingering => {}
            Ending::Aborted => return self.abort(key),
        }
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        if connection.wants_input()
            && (connection.unoffered || (connection.readable && !connection.ended))
            && !matches!(connection.phase, Phase::Connecting(_))
        {
            self.board.mark_ready(key);
        }
        self.board.arm_connection(key);
    }

    /// FIN behind the last byte, with TLS behind a close_notify.
    #[cold]
    fn end_output(&mut self, key: Key) {
        self.end_output_of_tls(key);
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        if connection.is_flushed()
            && let Some(socket) = &connection.socket
        {
            self.board.driver.end_output(socket);
            connection.output = Output::Ended;
        }
    }

    #[cold]
    fn end_output_of_tls(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        connection.say_goodbye();
        // If the socket does not take it now, it goes without.
        let _ = connection.flush(&mut self.board.driver, &mut self.board.pool, &mut self.board.scratch);
    }

    #[cold]
    fn linger(&mut self, key: Key) {
        self.end_output(key);
        self.tell_closed(key, ResetReason::ConnectionClosed);
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        if connection.ended {
            return self.board.remove(key);
        }
        connection.phase = Phase::Lingering;
        connection.closing = None;
        connection.carry = Vec::new();
        connection.deadline = Some(self.board.now + LINGER);
        self.board.mark_ready(key);
        self.board.arm_connection(key);
    }

    #[cold]
    fn abort(&mut self, key: Key) {
        if let Some(connection) = self.board.connections.get_mut(key)
            && let Some(socket) = &connection.socket
        {
            self.board.driver.reset_on_drop(socket);
        }
        self.finish(key, ResetReason::ConnectionClosed);
    }

    /// The socket is of no use any more.
    #[cold]
    pub(super) fn lose(&mut self, key: Key, why: &str) {
        match self.board.connections.get(key).map(|connection| &connection.phase) {
            Some(Phase::Connecting(_) | Phase::Securing(_)) => {
                self.fail_dial(key, DialError { kind: DialErrorKind::Connect, what: why.to_owned() });
            }
            Some(_) => self.finish(key, ResetReason::ConnectionClosed),
            None => {}
        }
    }

    /// Everybody who had to do with the connection learns that it ends, and it ends.
    pub(super) fn finish(&mut self, key: Key, reason: ResetReason) {
        self.log_unserved(key);
        self.tell_closed(key, reason);
        self.board.remove(key);
    }

    fn tell_closed(&mut self, key: Key, reason: ResetReason) {
        self.reset_streams(key, reason);
        if let Some(connection) = self.board.connections.get(key)
            && connection.open().is_some()
        {
            let traffic = connection.traffic;
            self.streams.closed(&mut self.board, key, traffic);
        }
    }

    pub(super) fn ring_alarms(&mut self) {
        while let Some(alarm) = self.board.wheel.next_due(self.board.now) {
            self.board.reading = None;
            match alarm {
                Alarm::Stream(owner) => {
                    self.caught(|worker| worker.streams.timer(&mut worker.board, owner));
                }
                Alarm::Connection(key) => self.guarded(key, |worker| worker.ring(key)),
                Alarm::Drain => {
                    self.drain_timer = None;
                    self.step_drains();
                }
                Alarm::Chores => self.nudged = true,
                Alarm::Doors => {
                    self.doors_timer = None;
                    self.doors.reopen();
                }
                Alarm::Housekeeping => self.keep_house(),
            }
        }
    }

    fn keep_house(&mut self) {
        self.rounds += 1;
        if self.board.shared.pressure.trims() {
            self.board.pool.trim();
        }
        self.board.recorder.flush_logs();
        if self.rounds.is_multiple_of(SERIES_ROUNDS) {
            self.board.recorder.sweep(self.board.now);
        }
        self.streams.sweep(&mut self.board);
        if rpc::is_fed_again() {
            self.board.read_again();
        }
        let next = self.board.now + HOUSEKEEPING;
        self.housekeeping = None;
        self.board.wheel.arm(&mut self.housekeeping, Alarm::Housekeeping, Some(next));
    }

    /// A deadline of a connection has come, or may have: timers move lazily.
    fn ring(&mut self, key: Key) {
        let now = self.board.now;
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        (connection.timer, connection.armed) = (None, UNARMED);
        if connection.stall.is_some_and(|stall| stall <= now) {
            return self.abort(key);
        }
        if connection.deadline.is_some_and(|deadline| deadline <= now) {
            connection.deadline = None;
            return self.phase_timed_out(key);
        }
        let mut fault = None;
        if let Phase::Open(open) = &mut connection.phase
            && open.codec.deadline().is_some_and(|deadline| deadline <= now)
        {
            let mut out = Out::new(&mut connection.outbox, &mut self.board.pool);
            fault = open.codec.on_deadline(now, &mut out).err();
        }
        if let Some(fault) = fault {
            self.streams.fault(&mut self.board, key, &fault);
            self.reset_streams(key, fault.reason);
        }
        self.board.mark_dirty(key);
    }

    fn phase_timed_out(&mut self, key: Key) {
        match self.board.connections.get(key).map(|connection| &connection.phase) {
            Some(Phase::Inspecting(_)) => self.detection_timed_out(key),
            Some(Phase::Connecting(_) | Phase::Securing(_)) => {
                let what = "connection timeout".to_owned();
                self.fail_dial(key, DialError { kind: DialErrorKind::Timeout, what });
            }
            Some(Phase::Accepting(_)) => {
                self.count_handshake_timeout(key);
                self.finish(key, ResetReason::Timeout);
            }
            Some(Phase::Choosing(_) | Phase::Lingering) => self.finish(key, ResetReason::Timeout),
            Some(Phase::Open(_)) | None => {}
        }
    }
}
