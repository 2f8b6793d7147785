//! Bytes from one end to the other. Invariant: a byte is granted to its source when the other end has taken it, not before, so
//! that what lies in between is bounded by the source's window; an end follows the last byte of its direction.

use super::{Pipe, STREAM, Side};
use crate::codec::contract::Command;
use crate::filter::NetworkVerdict;
use crate::stream::binding::End;
use crate::stream::direction::{Direction, Stage};
use crate::stream::port::{Close, Port};
use crate::stream::shared::Turn;

impl Pipe {
    /// Bytes of one end, for the other.
    pub(super) fn data<P: Port>(&mut self, turn: &mut Turn<'_, P>, from: End, bytes: &[u8], end: bool) {
        self.deadlines.touch(turn.now());
        if from == End::Client
            && let NetworkVerdict::Close { details } =
                self.judge(turn, |filters, context| filters.on_data(context, bytes))
        {
            self.notes.details = details;
            return self.end_both(turn, Close::Flushed);
        }
        let (source, target, direction) = self.ends(from);
        direction.received += bytes.len() as u64;
        if end {
            direction.stage = Stage::Ended;
        }
        let target = target.open().filter(|_| direction.waiting().is_empty());
        let Some(target) = target else {
            direction.hold(bytes);
            return;
        };
        let command = Command::SendData { stream: STREAM, bytes, end: direction.is_complete() };
        let Ok(accepted) = turn.port.perform(target, command) else {
            // Its reset is under way.
            return;
        };
        direction.end_sent = direction.is_complete() && accepted.bytes == bytes.len();
        let credit = direction.pass(bytes, accepted.bytes);
        grant(turn, source, credit);
        self.settle(turn);
    }

    /// Sends on what waits for this end.
    pub(super) fn flush<P: Port>(&mut self, turn: &mut Turn<'_, P>, to: End) {
        let from = if to == End::Client { End::Endpoint } else { End::Client };
        let (source, target, direction) = self.ends(from);
        let Some(target) = target.open() else { return };
        let waiting = direction.waiting();
        let end = direction.is_complete();
        if waiting.is_empty() && (!end || direction.end_sent) {
            return;
        }
        let size = waiting.len();
        let command = Command::SendData { stream: STREAM, bytes: waiting, end };
        let Ok(accepted) = turn.port.perform(target, command) else { return };
        direction.end_sent |= end && accepted.bytes == size;
        let credit = direction.advance(accepted.bytes);
        grant(turn, source, credit);
        self.deadlines.touch(turn.now());
        self.settle(turn);
    }

    /// Where bytes of `from` come from, where they go, and what lies between.
    fn ends(&mut self, from: End) -> (Side, Side, &mut Direction) {
        match from {
            End::Client => (self.client, self.endpoint, &mut self.up),
            End::Endpoint => (self.endpoint, self.client, &mut self.down),
        }
    }
}

fn grant<P: Port>(turn: &mut Turn<'_, P>, source: Side, bytes: usize) {
    if let Some(source) = source.open().filter(|_| bytes > 0) {
        let _ = turn.port.perform(source, Command::GrantCredit { stream: STREAM, bytes });
    }
}
