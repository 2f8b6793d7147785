//! Timers of a worker: a hashed wheel of four levels, one millisecond a tick.
//!
//! In: arm, move, drop. Out: what is due, in order of ticks. Arming is a store and a link; moving a timer to a later
//! moment is a store alone, since an entry is looked at again when its old place comes round. Almost no timer of a proxy
//! ever fires, so a heap would pay for nothing. Invariant: nothing fires before its time.

use crate::message::{Key, MILLISECOND, Slab, Tick};

const LEVELS: usize = 4;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Milliseconds that the wheel spans (4.6 hours); what is due later is filed again when its place comes round.
const SPAN: u64 = 1 << (SLOT_BITS as usize * LEVELS);

#[derive(Debug)]
struct Entry<T> {
    owner: T,
    /// When it is due, and when its place in the wheel comes round; milliseconds.
    due: u64,
    filed: u64,
    place: (u8, u8),
    next: Option<Key>,
    previous: Option<Key>,
}

#[derive(Debug)]
struct Level {
    /// A bit per slot that holds something.
    occupied: u64,
    heads: [Option<Key>; SLOTS],
}

/// All timers of a worker.
#[derive(Debug)]
pub struct Wheel<T> {
    entries: Slab<Entry<T>>,
    levels: [Level; LEVELS],
    /// Everything due before this has fired; milliseconds.
    elapsed: u64,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        let level = || Level { occupied: 0, heads: [None; SLOTS] };
        Self { entries: Slab::default(), levels: [level(), level(), level(), level()], elapsed: 0 }
    }
}

impl<T: Copy> Wheel<T> {
    /// Arms, moves or drops (`None`) the timer whose place `slot` remembers.
    pub fn arm(&mut self, slot: &mut Option<Key>, owner: T, at: Option<Tick>) {
        let Some(at) = at else {
            if let Some(key) = slot.take() {
                self.drop_timer(key);
            }
            return;
        };
        // Rounded up: never before its time.
        let due = at.0.div_ceil(MILLISECOND);
        if let Some(key) = *slot
            && let Some(entry) = self.entries.get_mut(key)
        {
            entry.due = due;
            if due < entry.filed {
                self.unlink(key);
                self.link(key);
            }
            return;
        }
        let key =
            self.entries.insert(Entry { owner, due, filed: 0, place: (0, 0), next: None, previous: None });
        *slot = Some(key);
        self.link(key);
    }

    /// The next owner whose time has come, or `None`. Its slot is stale from then on.
    pub fn next_due(&mut self, now: Tick) -> Option<T> {
        let now = now.0 / MILLISECOND;
        loop {
            let Some((level, slot, moment)) = self.next_place().filter(|(_, _, moment)| *moment <= now)
            else {
                self.elapsed = self.elapsed.max(now);
                return None;
            };
            self.elapsed = self.elapsed.max(moment);
            // A place of a higher level is emptied at once: what is found below must be due before what is left above.
            while let Some(key) = self.levels[level].heads[slot] {
                self.unlink(key);
                match self.entries.get(key) {
                    Some(entry) if level == 0 && entry.due <= self.elapsed => {
                        return self.entries.remove(key).map(|entry| entry.owner);
                    }
                    Some(_) => self.link(key),
                    None => {}
                }
            }
        }
    }

    /// Not later than this the wheel must be asked again; it may turn out that nothing is due yet.
    pub fn next_wake(&self) -> Option<Tick> {
        self.next_place().map(|(_, _, moment)| Tick(moment * MILLISECOND))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn drop_timer(&mut self, key: Key) {
        if self.entries.get(key).is_some() {
            self.unlink(key);
            self.entries.remove(key);
        }
    }

    /// The earliest occupied place: level, slot and the moment when it comes round. Lower levels always come first.
    fn next_place(&self) -> Option<(usize, usize, u64)> {
        let (level, occupied) = self
            .levels
            .iter()
            .enumerate()
            .map(|(index, level)| (index, level.occupied))
            .find(|(_, o)| *o != 0)?;
        let shift = SLOT_BITS * level as u32;
        let here = (self.elapsed >> shift) as u32 % SLOTS as u32;
        let slot = (occupied.rotate_right(here).trailing_zeros() + here) as usize % SLOTS;
        let range = 1u64 << (shift + SLOT_BITS);
        let mut moment = (self.elapsed & !(range - 1)) + ((slot as u64) << shift);
        // Filed one round ahead.
        if moment + (1 << shift) <= self.elapsed {
            moment += range;
        }
        Some((level, slot, moment.max(self.elapsed)))
    }

    fn link(&mut self, key: Key) {
        let elapsed = self.elapsed;
        let Some(entry) = self.entries.get_mut(key) else { return };
        // What is due already is filed under the present tick.
        let when = entry.due.clamp(elapsed, elapsed + SPAN - 2 * (SPAN >> SLOT_BITS));
        let differing = (elapsed ^ when) | (SLOTS as u64 - 1);
        let level = (((63 - differing.leading_zeros()) / SLOT_BITS) as usize).min(LEVELS - 1);
        let shift = SLOT_BITS * level as u32;
        let slot = (when >> shift) as usize % SLOTS;
        entry.filed = when & !((1 << shift) - 1);
        entry.place = (level as u8, slot as u8);
        let head = &mut self.levels[level].heads[slot];
        entry.previous = None;
        entry.next = head.replace(key);
        let next = entry.next;
        self.levels[level].occupied |= 1 << slot;
        if let Some(next) = next.and_then(|next| self.entries.get_mut(next)) {
            next.previous = Some(key);
        }
    }

    fn unlink(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (next, previous, (level, slot)) = (entry.next.take(), entry.previous.take(), entry.place);
        if let Some(next) = next.and_then(|next| self.entries.get_mut(next)) {
            next.previous = previous;
        }
        match previous.and_then(|previous| self.entries.get_mut(previous)) {
            Some(previous) => previous.next = next,
            None => {
                let level = &mut self.levels[usize::from(level)];
                level.heads[usize::from(slot)] = next;
                if next.is_none() {
                    level.occupied &= !(1 << slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn at(milliseconds: u64) -> Tick {
        Tick(milliseconds * MILLISECOND)
    }

    #[test]
    fn a_moved_timer_fires_once_at_its_last_time() {
        let mut wheel = Wheel::default();
        let mut slot = None;
        wheel.arm(&mut slot, 'a', Some(at(10)));
        wheel.arm(&mut slot, 'a', Some(at(5_000)));
        assert_eq!(wheel.next_due(at(4_999)), None);
        assert_eq!(wheel.next_due(at(5_000)), Some('a'));
        assert_eq!((wheel.next_due(at(100_000)), wheel.next_wake()), (None, None));
        // The slot is stale now; arming again makes a new timer.
        wheel.arm(&mut slot, 'a', Some(at(7)));
        assert_eq!(wheel.next_due(at(100_000)), Some('a'));
    }

    #[test]
    fn a_timer_beyond_the_span_comes_round_again() {
        let mut wheel = Wheel::default();
        let mut slot = None;
        let due = 3 * SPAN + 12_345;
        wheel.arm(&mut slot, 'a', Some(at(due)));
        let mut now = Tick(0);
        let mut wakes = 0;
        while let Some(wake) = wheel.next_wake() {
            assert!(wake > now || wakes == 0);
            (now, wakes) = (wake, wakes + 1);
            if wheel.next_due(now).is_some() {
                break;
            }
        }
        assert_eq!(now, at(due));
        assert!(wakes < 32, "{wakes} wakes");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arm(u8, u64),
        Drop(u8),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let delay = prop_oneof![0u64..200, 0u64..100_000, 0u64..(3 * SPAN)];
        let step = prop_oneof![
            (any::<u8>(), delay.clone()).prop_map(|(owner, delay)| Step::Arm(owner % 16, delay)),
            any::<u8>().prop_map(|owner| Step::Drop(owner % 16)),
            delay.prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn fires_what_a_plain_map_says(steps in steps()) {
            let mut wheel = Wheel::default();
            let mut slots: HashMap<u8, Option<Key>> = HashMap::new();
            let mut model: HashMap<u8, u64> = HashMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Arm(owner, delay) => {
                        wheel.arm(slots.entry(owner).or_default(), owner, Some(at(now + delay)));
                        model.insert(owner, now + delay);
                    }
                    Step::Drop(owner) => {
                        wheel.arm(slots.entry(owner).or_default(), owner, None);
                        model.remove(&owner);
                    }
                    Step::Pass(time) => now += time,
                }
                let earliest = model.values().min().copied();
                if let Some(earliest) = earliest {
                    let wake = wheel.next_wake().unwrap();
                    prop_assert!(wake <= at(earliest.max(now)), "wakes too late");
                }
                let mut fired = Vec::new();
                while let Some(owner) = wheel.next_due(at(now)) {
                    fired.push(owner);
                }
                let mut expected: Vec<u8> =
                    model.iter().filter(|(_, due)| **due <= now).map(|(owner, _)| *owner).collect();
                model.retain(|_, due| *due > now);
                fired.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(fired, expected);
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
