//! One direction of a message: what has come from its source, what has left, what waits in between.
//!
//! In: body bytes and trailers as they pass the filters. Out: what can be sent now, and how much credit the source has
//! earned. Invariant: a source gets credit for a byte once, when it has first left our hands; so what is held here is bounded by
//! the source's window, plus what a replay may keep.

use crate::message::{HeaderBlock, Span};

/// Body bytes kept so that a request can be sent again; a longer one is not retried. Bytes.
pub const REPLAY_LIMIT: usize = 64 * 1024;
/// The same of a framed call: those are whole messages, and few are larger.
pub const CALL_REPLAY_LIMIT: usize = 1024 * 1024;

/// A body up to this size is kept behind its head, in the head's own memory, bytes.
const KEPT_WITH_HEAD: usize = 1024;

/// How far the source has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// No head yet.
    #[default]
    Head,
    Body,
    /// Complete, trailers included.
    Ended,
    /// Cut short.
    Reset,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Direction {
    pub stage: Stage,
    /// The filter that paused the head, and that the body waits for.
    pub paused_at: Option<u16>,
    /// The end has been sent on.
    pub end_sent: bool,
    /// Bytes that came, for the record.
    pub received: u64,
    /// The filter that holds it wants the whole body.
    pub collects: bool,
    /// Made here: no source to give credit to.
    pub is_ours: bool,
    trailers: Option<Box<HeaderBlock>>,
    /// What has left, and lies in the memory of the head, in case it must leave again: in front of all in `buffer`. Mostly nothing.
    kept: Span,
    buffer: Vec<u8>,
    /// Offset in `buffer` of the first byte not sent.
    sent: usize,
    /// Offset in the message of the first byte of `buffer`.
    base: u64,
    /// Bytes of the message for which credit was given.
    granted: u64,
    /// What is kept at most; 0: nothing is.
    keeps: u32,
    /// A body is being taken that needs no credit as long as it does not stay here.
    is_ahead: bool,
}

impl Direction {
    /// A body that is to come.
    pub fn open() -> Self {
        Self { stage: Stage::Body, ..Self::default() }
    }

    /// A whole body made here.
    pub fn ours(body: &[u8]) -> Self {
        let mut ours =
            Self { stage: Stage::Ended, is_ours: true, received: body.len() as u64, ..Self::default() };
        ours.hold(body);
        ours
    }

    /// This filter of the chain lets it wait.
    pub fn pause(&mut self, filter: usize) {
        self.paused_at = Some(filter as u16);
    }

    /// The filter for which it waits no longer.
    pub fn resume(&mut self) -> Option<usize> {
        self.paused_at.take().map(usize::from)
    }

    /// Keeps what is sent, up to a limit, so that `rewind` can send it again.
    pub fn keep_for_replay(&mut self, limit: usize) {
        self.keeps = if self.base == 0 { u32::try_from(limit).unwrap_or(u32::MAX) } else { 0 };
    }

    /// No second sending any more: frees what was kept.
    pub fn stop_keeping(&mut self) {
        self.keeps = 0;
        self.base += self.kept_length();
        self.kept = Span::default();
        self.discard_sent();
    }

    /// All that was sent is still here.
    pub fn can_rewind(&self) -> bool {
        self.base == 0 && (self.keeps > 0 || self.sent == 0)
    }

    /// To be sent from the beginning. `head`: of the same message.
    pub fn rewind(&mut self, head: &HeaderBlock) {
        let kept = std::mem::take(&mut self.kept);
        self.buffer.splice(..0, head.slice(kept).iter().copied());
        self.sent = 0;
        self.end_sent = false;
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> &[u8] {
        self.buffer.get(self.sent..).unwrap_or(&[])
    }

    pub fn trailers(&self) -> Option<&HeaderBlock> {
        self.trailers.as_deref()
    }

    pub fn set_trailers(&mut self, trailers: Box<HeaderBlock>) {
        self.trailers = Some(trailers);
    }

    pub fn take_trailers(&mut self) -> Option<Box<HeaderBlock>> {
        self.trailers.take()
    }

    /// Everything is here, and only waits to be sent.
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.kept_length() as usize + self.buffer.len()
    }

    fn kept_length(&self) -> u64 {
        u64::from(self.kept.length)
    }

    /// Bytes that arrived behind others that wait, or before anything can be sent.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.limit();
    }

    /// The bytes were offered first of all, and `accepted` of them left at once; the rest waits. Returns the credit earned.
    pub fn pass(&mut self, bytes: &[u8], accepted: usize) -> usize {
        let accepted = accepted.min(bytes.len());
        if self.keeps > 0 {
            self.buffer.extend_from_slice(bytes);
            return self.advance(accepted);
        }
        self.discard_sent();
        self.base += accepted as u64;
        self.buffer.extend_from_slice(bytes.get(accepted..).unwrap_or(&[]));
        self.credit()
    }

    /// All of a body that came whole has left at once; a small one that may have to leave again stays with its head.
    pub fn pass_whole(&mut self, body: &[u8], head: &mut HeaderBlock) {
        if self.held() == 0 && body.len() <= KEPT_WITH_HEAD.min(self.keeps as usize) {
            self.kept = head.stash(body);
        } else {
            self.pass(body, body.len());
        }
    }

    /// `count` of the waiting bytes have left. Returns the credit earned.
    pub fn advance(&mut self, count: usize) -> usize {
        self.sent = (self.sent + count).min(self.buffer.len());
        let credit = self.credit();
        if self.keeps > 0 {
            self.limit();
        } else if self.sent == self.buffer.len() || self.sent > REPLAY_LIMIT / 2 {
            self.discard_sent();
        }
        credit
    }

    /// Takes out what waits, for filters to look at; what they leave comes back by `hold`.
    pub fn take_waiting(&mut self) -> Vec<u8> {
        let waiting = self.waiting().to_vec();
        self.buffer.truncate(self.sent);
        waiting
    }

    /// Credit for everything held: a filter collects, and the limit is another.
    pub fn grant_held(&mut self) -> usize {
        let held = self.base + self.kept_length() + self.buffer.len() as u64;
        let credit = held.saturating_sub(self.granted);
        self.granted = self.granted.max(held);
        usize::try_from(credit).unwrap_or(usize::MAX)
    }

    /// A body came with its head, and counts as gone: no credit is earned with it until `settle_ahead` says what has stayed.
    pub fn take_ahead(&mut self, bytes: usize) {
        self.granted += bytes as u64;
        self.is_ahead = true;
    }

    /// How much of such a body has not left our hands; from now on credit is earned with it.
    pub fn settle_ahead(&mut self) -> usize {
        self.is_ahead = false;
        let left = self.left();
        let stayed = self.granted.saturating_sub(left);
        self.granted -= stayed;
        usize::try_from(stayed).unwrap_or(usize::MAX)
    }

    /// A filter has put `after` bytes in the place of `before`. Returns the credit for those that vanished; for those that were
    /// added the source gets none.
    pub fn resized(&mut self, before: usize, after: usize) -> usize {
        self.granted += after.saturating_sub(before) as u64;
        if self.is_ahead {
            self.granted = self.granted.saturating_sub(before.saturating_sub(after) as u64);
            return 0;
        }
        before.saturating_sub(after)
    }

    /// Bytes that have left, the first time.
    fn left(&self) -> u64 {
        self.base + self.kept_length() + self.sent as u64
    }

    fn credit(&mut self) -> usize {
        let left = self.left();
        let credit = left.saturating_sub(self.granted);
        self.granted = self.granted.max(left);
        usize::try_from(credit).unwrap_or(usize::MAX)
    }

    fn limit(&mut self) {
        if self.keeps > 0 && self.held() > self.keeps as usize {
            self.stop_keeping();
        }
    }

    fn discard_sent(&mut self) {
        if self.sent == self.buffer.len() {
            // Freed, not only cleared: an exchange that streams must not hold what it once had to.
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..self.sent);
        }
        self.base += self.sent as u64;
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_kept_is_sent_again_without_new_credit() {
        let mut direction = Direction::default();
        direction.keep_for_replay(REPLAY_LIMIT);
        assert_eq!(direction.pass(b"hello ", 6), 6);
        direction.hold(b"world");
        assert_eq!(direction.advance(2), 2);
        assert!(direction.can_rewind());
        direction.rewind(&HeaderBlock::default());
        assert_eq!(direction.waiting(), b"hello world");
        assert_eq!((direction.advance(8), direction.advance(3)), (0, 3));
    }

    #[test]
    fn long_bodies_give_up_the_replay() {
        let mut direction = Direction::default();
        direction.keep_for_replay(REPLAY_LIMIT);
        direction.pass(&vec![1; REPLAY_LIMIT], REPLAY_LIMIT);
        assert!(direction.can_rewind());
        direction.pass(b"x", 1);
        assert!(!direction.can_rewind());
        assert!(direction.buffer.is_empty());
    }

    proptest! {
        /// What came whole and what came in pieces is the same when it must leave again, and earns the same.
        #[test]
        fn a_whole_body_is_kept_as_any_other(
            size in 1usize..3_000,
            limit in 500usize..2_000,
            stays in any::<bool>(),
            goes_again in any::<bool>(),
        ) {
            let (mut head, body) = (HeaderBlock::default(), vec![b'x'; size]);
            head.push(b"name", b"value");
            let (mut whole, mut pieces) = (Direction::open(), Direction::open());
            for direction in [&mut whole, &mut pieces] {
                direction.keep_for_replay(limit);
                direction.take_ahead(size);
            }
            if stays {
                whole.hold(&body);
                pieces.hold(&body);
            } else {
                whole.pass_whole(&body, &mut head);
                prop_assert_eq!(pieces.pass(&body, size), 0);
            }
            prop_assert_eq!(whole.settle_ahead(), pieces.settle_ahead());
            prop_assert_eq!(whole.can_rewind(), pieces.can_rewind());
            prop_assert_eq!(whole.held(), pieces.held());
            if goes_again && whole.can_rewind() {
                whole.rewind(&head);
                pieces.rewind(&head);
            }
            prop_assert_eq!(whole.waiting(), pieces.waiting());
            let rest = whole.waiting().len();
            prop_assert_eq!(whole.advance(rest), pieces.advance(rest));
            whole.stop_keeping();
            pieces.stop_keeping();
            prop_assert_eq!((whole.held(), whole.can_rewind()), (pieces.held(), pieces.can_rewind()));
        }

        #[test]
        fn credit_in_is_credit_out(
            keeps in any::<bool>(),
            steps in proptest::collection::vec((0usize..40_000, 0usize..50_000, 0u8..8), 1..40),
        ) {
            let mut direction = Direction::default();
            if keeps {
                direction.keep_for_replay(REPLAY_LIMIT);
            }
            let (mut given, mut came, head) = (0, 0, HeaderBlock::default());
            for (size, room, choice) in steps {
                let bytes = vec![0; size];
                came += size;
                if direction.waiting().is_empty() {
                    given += direction.pass(&bytes, room);
                } else {
                    direction.hold(&bytes);
                    given += direction.advance(room.min(direction.waiting().len()));
                }
                if choice == 0 && direction.can_rewind() {
                    direction.rewind(&head);
                }
                prop_assert!(given <= came);
                prop_assert!(direction.buffer.len() <= (came - given) + REPLAY_LIMIT);
            }
            let rest = direction.waiting().len();
            given += direction.advance(rest);
            prop_assert_eq!(given, came);
        }
    }
}
