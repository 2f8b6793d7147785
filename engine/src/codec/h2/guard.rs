//! Counts what a peer may do once, but not thousands of times: resets, pings, settings, empty frames, frames that make us answer.
//!
//! In: notes of the connection. Out: nothing, or `Flood`, which ends the connection with ENHANCE_YOUR_CALM. Invariant: counts
//! fall with time or with real traffic, so that a connection of many days does not fill them up.

use crate::bytes::Out;
use crate::message::{MILLISECOND, SECOND, Tick};

/// Frames without content in a row: so many at once, and then so many a second.
const IDLE_FRAMES: u32 = 100;
const IDLE_FRAME_PAUSE: u64 = 100 * MILLISECOND;
/// Streams that their peer ended within `PREMATURE` beyond those that ended well.
const PREMATURE_RESETS: u32 = 500;
const PREMATURE: u64 = SECOND;
/// Answers to control frames that wait in the outbox.
const QUEUED_ANSWERS: u32 = 1_000;
/// WINDOW_UPDATEs in advance, and more for each frame of data sent and each stream.
const WINDOW_UPDATES: u32 = 1_000;
const UPDATES_PER_FRAME: u32 = 10;
const MAX_WINDOW_UPDATES: u32 = 100_000;

/// What the peer overdid, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood(pub &'static str);

#[derive(Debug)]
pub(super) struct Guard {
    idle_frames: u32,
    idle_since: Tick,
    premature: u32,
    queued: u32,
    window_updates: u32,
}

impl Guard {
    pub fn new() -> Self {
        Self {
            idle_frames: 0,
            idle_since: Tick::default(),
            premature: 0,
            queued: 0,
            window_updates: WINDOW_UPDATES,
        }
    }

    /// Something came or went that is work, not noise: a head, or so many frames of data.
    pub fn work(&mut self, frames: usize) {
        self.idle_frames = 0;
        let more = UPDATES_PER_FRAME.saturating_mul(u32::try_from(frames).unwrap_or(u32::MAX));
        self.window_updates = self.window_updates.saturating_add(more).min(MAX_WINDOW_UPDATES);
    }

    /// A frame that carries nothing: PING, SETTINGS, PRIORITY, empty DATA, unknown, one for a stream that is gone.
    pub fn idle_frame(&mut self, now: Tick) -> Result<(), Flood> {
        let passed = now.since(self.idle_since) / IDLE_FRAME_PAUSE;
        if passed > 0 {
            self.idle_since = now;
            self.idle_frames = self.idle_frames.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
        }
        self.idle_frames += 1;
        if self.idle_frames > IDLE_FRAMES { Err(Flood("flood of frames without content")) } else { Ok(()) }
    }

    pub fn window_update(&mut self) -> Result<(), Flood> {
        self.window_updates = self.window_updates.checked_sub(1).ok_or(Flood("flood of WINDOW_UPDATE"))?;
        Ok(())
    }

    /// The peer ended a stream before its time, by RST_STREAM or by breaking its rules.
    pub fn ended_early(&mut self, born: Tick, now: Tick) -> Result<(), Flood> {
        if now.since(born) >= PREMATURE {
            return Ok(());
        }
        self.premature += 1;
        if self.premature > PREMATURE_RESETS { Err(Flood("flood of resets")) } else { Ok(()) }
    }

    pub fn ended_well(&mut self) {
        self.premature = self.premature.saturating_sub(1);
    }

    /// We are about to answer a control frame: a peer that does not read must not make us queue without end.
    pub fn answer(&mut self, out: &Out<'_>) -> Result<(), Flood> {
        if out.outbox.is_empty() {
            self.queued = 0;
        }
        self.queued += 1;
        if self.queued > QUEUED_ANSWERS {
            Err(Flood("answers to control frames are not read"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_of_many_days_are_no_flood() {
        let mut guard = Guard::new();
        for second in 0..100_000 {
            assert_eq!(guard.idle_frame(Tick(second * SECOND)), Ok(()));
        }
    }

    #[test]
    fn pings_in_a_row_are() {
        let mut guard = Guard::new();
        let allowed = (0..1_000).take_while(|_| guard.idle_frame(Tick(SECOND)).is_ok()).count();
        assert_eq!(allowed, IDLE_FRAMES as usize);
        guard.work(1);
        assert_eq!(guard.idle_frame(Tick(SECOND)), Ok(()));
    }

    #[test]
    fn resets_among_good_streams_are_no_flood() {
        let mut guard = Guard::new();
        for _ in 0..10_000 {
            assert_eq!(guard.ended_early(Tick(0), Tick(1)), Ok(()));
            guard.ended_well();
        }
        assert_eq!(guard.ended_early(Tick(0), Tick(SECOND)), Ok(()));
        let allowed = (0..1_000).take_while(|_| guard.ended_early(Tick(0), Tick(1)).is_ok()).count();
        assert_eq!(allowed, PREMATURE_RESETS as usize);
    }
}
