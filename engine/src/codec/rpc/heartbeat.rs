//! Proofs of life towards a server: after its silence, ever rarer on an idle connection, none while it answers.
//!
//! Silence is the server's. Calls that go on being sent to one that hangs, or whose machine has gone, do not put the
//! next heartbeat off: they would keep the connection for as long as somebody calls.

use super::connection::{First, Incoming, State};
use super::description::Description;
use super::late;
use super::write::{self, Telling};
use crate::bytes::Out;
use crate::codec::contract::ConnectionFault;
use crate::message::{MILLISECOND, Tick};

/// When the next heartbeat is due.
#[derive(Debug)]
pub(super) struct Heart {
    beats: bool,
    last_traffic: Tick,
    /// A call went out and nothing has come since.
    is_asking: bool,
    /// Milliseconds of silence before the next one.
    interval: u64,
    /// An answer is due.
    answer_due: Option<Tick>,
    misses: u32,
}

impl Heart {
    pub fn new(description: &Description, is_client: bool) -> Self {
        let interval = description.heartbeat.as_ref().map(|heartbeat| heartbeat.interval);
        Self {
            beats: is_client && interval.is_some(),
            last_traffic: Tick(0),
            is_asking: false,
            interval: interval.unwrap_or(0),
            answer_due: None,
            misses: 0,
        }
    }

    /// Nothing is due before the first request, since heartbeats are like it.
    pub fn due(&self, first: &Option<First>) -> Option<Tick> {
        if !self.beats || first.is_none() {
            return None;
        }
        Some(self.answer_due.unwrap_or(self.last_traffic + self.interval.saturating_mul(MILLISECOND)))
    }

    /// A call went out: the first since the server was last heard begins the count anew.
    pub fn note_call(&mut self, description: &Description, now: Tick) {
        if !self.is_asking {
            self.is_asking = true;
            self.note_traffic(description, now);
        }
    }

    /// A response came, or a frame is on its way.
    pub fn note_traffic(&mut self, description: &Description, now: Tick) {
        if let (true, Some(heartbeat)) = (self.beats, &description.heartbeat) {
            self.last_traffic = now;
            self.interval = heartbeat.interval;
        }
    }

    /// Whatever the peer sends shows that it lives.
    pub fn note_life(&mut self, now: Tick) {
        self.is_asking = false;
        if self.answer_due.take().is_some() {
            self.last_traffic = now;
        }
        self.misses = 0;
    }
}

impl State {
    /// The heart's deadline has come, or may have.
    pub fn beat(
        &mut self,
        description: &Description,
        now: Tick,
        out: &mut Out<'_>,
    ) -> Result<(), ConnectionFault> {
        if self.heart.due(&self.first).is_none_or(|due| due > now) {
            return Ok(());
        }
        let is_within = !matches!(self.incoming, Incoming::Frame) || self.frame_due.is_some();
        if is_within || self.writing.is_some() {
            // A frame is on its way, and nothing can overtake it; how long that takes has limits of its own.
            self.heart.note_life(now);
            self.heart.note_traffic(description, now);
            return Ok(());
        }
        let (Some(heartbeat), Some(first)) = (&description.heartbeat, &self.first) else { return Ok(()) };
        let (shape, kept) = (first.shape, first.kept.clone());
        if self.heart.answer_due.is_some() {
            self.heart.misses += 1;
            if self.heart.misses >= heartbeat.misses {
                return Err(self.fault(late("heartbeats are not answered")));
            }
        } else {
            self.heart.interval = self.heart.interval.saturating_mul(2).min(heartbeat.longest_interval);
        }
        let mut frame = self.buffer();
        let telling = Telling { id: Some(u64::from(self.calls.next_number())), ..Telling::default() };
        if write::make(description, &heartbeat.templates, shape, kept.bytes(), telling, &mut frame) {
            self.put_whole(frame, out);
            self.heart.answer_due = Some(now.after_milliseconds(heartbeat.timeout));
        } else {
            self.heart.beats = false;
        }
        Ok(())
    }
}
