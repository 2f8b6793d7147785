//! The first bytes of a frame, as one number under masks: what tells protocols, shapes and kinds.

/// Bytes that may decide what a frame is.
pub(super) const WINDOW: usize = 16;

/// Up to 16 first bytes under a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) struct Window {
    mask: u128,
    value: u128,
    /// So many bytes decide.
    pub length: usize,
}

/// What first bytes say about a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Yes,
    No,
    /// More bytes are needed.
    Wait,
}

/// The first bytes as one number, the first of them lowest, missing ones as 0, and how many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    bytes: u128,
    length: usize,
}

impl Opened {
    #[inline]
    pub fn new(frame: &[u8]) -> Self {
        match Self::of(frame) {
            Some(opened) => opened,
            None => {
                let mut first = [0; WINDOW];
                first.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
                Self { bytes: u128::from_le_bytes(first), length: frame.len() }
            }
        }
    }

    /// Of a frame of which all bytes are there that may decide.
    #[inline(always)]
    pub fn of(frame: &[u8]) -> Option<Self> {
        Some(Self { bytes: u128::from_le_bytes(*frame.first_chunk()?), length: WINDOW })
    }

    /// The bytes under a window's mask as one word: different for different bytes, as far as a word can be.
    #[inline]
    pub fn mixed(self, window: Window) -> u64 {
        let bytes = self.bytes & window.mask;
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        (((bytes >> 64) as u64).wrapping_mul(SPREAD) ^ bytes as u64).wrapping_mul(SPREAD)
    }

    /// Ones over the bytes that are there.
    fn known(self) -> u128 {
        match self.length {
            WINDOW.. => u128::MAX,
            0 => 0,
            length => u128::MAX >> (8 * (WINDOW - length)),
        }
    }
}

impl Window {
    /// `None` if they are too long, or of different lengths.
    pub fn new(mask: &[u8], value: &[u8]) -> Option<Self> {
        if mask.len() > WINDOW || mask.len() != value.len() {
            return None;
        }
        let (mask, value, length) = (Opened::new(mask).bytes, Opened::new(value).bytes, mask.len());
        (value & !mask == 0).then_some(Self { mask, value, length })
    }

    /// Whether there are bytes that both fit.
    pub(super) fn meets(&self, other: &Self) -> bool {
        (self.value ^ other.value) & self.mask & other.mask == 0
    }

    #[inline]
    pub(super) fn fits(&self, opened: Opened) -> bool {
        opened.bytes & self.mask == self.value && self.length <= opened.length
    }

    /// What all of these say alike.
    pub(super) fn common<'a>(windows: impl Iterator<Item = &'a Self>) -> Option<Self> {
        windows.copied().reduce(|one, other| {
            let mask = one.mask & other.mask & !(one.value ^ other.value);
            Self { mask, value: one.value & mask, length: one.length.min(other.length) }
        })
    }

    /// Whether frames that this fits are all alike under the other's mask.
    pub(super) fn tells(&self, other: Self) -> bool {
        other.mask & !self.mask == 0
    }

    /// First bytes that it fits.
    pub(super) fn opened(&self) -> Opened {
        Opened { bytes: self.value, length: WINDOW }
    }

    /// Mask and value of the eight bytes from here on, the highest first.
    pub(super) fn word(&self, offset: usize) -> Option<(u64, u64)> {
        let word = |bytes: u128| {
            bytes.to_le_bytes().get(offset..)?.first_chunk().map(|word| u64::from_be_bytes(*word))
        };
        word(self.mask).zip(word(self.value))
    }

    pub(super) fn judge(&self, opened: Opened) -> Match {
        let known = opened.known();
        match (opened.bytes & self.mask & known == self.value & known, self.length <= opened.length) {
            (false, _) => Match::No,
            (true, true) => Match::Yes,
            (true, false) => Match::Wait,
        }
    }
}

/// Values of one byte among the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Values {
    place: usize,
    /// So many bytes must be there.
    length: usize,
    /// A bit for each value.
    values: [u64; 4],
}

impl Values {
    /// Those with which one of these windows fits; `None` if they look at anything else.
    pub fn of(windows: &[Window]) -> Option<Self> {
        let first = windows.first()?;
        let shift = first.mask.trailing_zeros();
        let mut all = Self { place: (shift / 8) as usize, length: first.length, values: [0; 4] };
        for window in windows {
            if shift % 8 != 0 || window.mask != 0xff_u128.checked_shl(shift)? || window.length != first.length
            {
                return None;
            }
            let value = (window.value >> shift) as usize;
            *all.values.get_mut(value / 64)? |= 1 << (value % 64);
        }
        Some(all)
    }

    #[inline(always)]
    pub fn fit(&self, frame: &[u8]) -> bool {
        let value = usize::from(frame.get(self.place).copied().unwrap_or(0));
        let bits = self.values.get(value / 64).copied().unwrap_or(0);
        self.length <= frame.len() && bits >> (value % 64) & 1 == 1
    }
}

/// Whether one of several fits. As in every detection, more bytes never change `Yes` or `No`.
pub(in crate::codec) fn judge_all<'a>(windows: impl Iterator<Item = &'a Window>, bytes: &[u8]) -> Match {
    let opened = Opened::new(bytes);
    let mut found = Match::No;
    for window in windows {
        match window.judge(opened) {
            Match::Yes => return Match::Yes,
            Match::Wait => found = Match::Wait,
            Match::No => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::rpc::layout::Layout;
    use crate::codec::rpc::place::{Number, Place};

    #[test]
    fn bytes_that_are_missing_are_waited_for() {
        let window = Window::new(&[0xff, 0x0f], &[1, 2]).unwrap();
        for (bytes, expected) in [
            (&[][..], Match::Wait),
            (&[1], Match::Wait),
            (&[2], Match::No),
            (&[1, 0x32], Match::Yes),
            (&[1, 0x31], Match::No),
        ] {
            assert_eq!(window.judge(Opened::new(bytes)), expected, "{bytes:?}");
            assert_eq!(window.fits(Opened::new(bytes)), expected == Match::Yes);
        }
        assert_eq!(Window::new(&[0x0f], &[0x10]), None);
        assert_eq!(Window::new(&[0; 17], &[0; 17]), None);
    }

    fn opened(bytes: &[u8]) -> Opened {
        Opened::new(bytes)
    }

    proptest! {
        #[test]
        fn what_windows_say_together_holds_for_whatever_one_of_them_fits(
            windows in proptest::collection::vec((proptest::collection::vec(0u8..4, 3), 0u8..4, 0u8..4), 1..4),
            other in proptest::collection::vec(0u8..4, 3),
            bytes in proptest::collection::vec(0u8..4, WINDOW),
        ) {
            let window = |(mask, first, second): &(Vec<u8>, u8, u8)| {
                let value = [first & mask[0], second & mask[1], 0];
                Window::new(mask, &value).unwrap()
            };
            let windows: Vec<_> = windows.iter().map(window).collect();
            let (told, asked) = (Window::common(windows.iter()).unwrap(), Window::new(&other, &[0; 3]).unwrap());
            if let Some(one) = windows.iter().find(|window| window.fits(opened(&bytes))) {
                prop_assert!(told.fits(opened(&bytes)));
                prop_assert!(windows.iter().filter(|window| window.fits(opened(&bytes))).all(|window| window.meets(one)));
                if told.tells(asked) {
                    prop_assert_eq!(told.opened().mixed(asked), opened(&bytes).mixed(asked));
                }
                for place in 0..3 {
                    let number = Number::new(Place::new(0, place, 1, false), 0, 3, false);
                    let read = number.read(&bytes, &Layout::default());
                    prop_assert!(number.told_by(&told).is_none_or(|told| Some(told) == read));
                    prop_assert_eq!(number.told_by(&told).is_some(), told.tells(window_over(place)));
                }
            }
        }

        #[test]
        fn values_of_a_byte_are_its_windows(
            place in 0usize..4,
            values in proptest::collection::btree_set(any::<u8>(), 1..4),
            bytes in proptest::collection::vec(any::<u8>(), 0..6),
            taken in proptest::option::of(any::<proptest::sample::Index>()),
        ) {
            let mut bytes = bytes;
            let values: Vec<u8> = values.into_iter().collect();
            if let (Some(taken), Some(byte)) = (taken, bytes.get_mut(place)) {
                *byte = values[taken.index(values.len())];
            }
            let window = |value: &u8| {
                let (mut mask, mut values) = ([0; 4], [0; 4]);
                (mask[place], values[place]) = (0xff, *value);
                Window::new(&mask[..=place], &values[..=place]).unwrap()
            };
            let windows: Vec<_> = values.iter().map(window).collect();
            let expected = windows.iter().any(|window| window.fits(opened(&bytes)));
            prop_assert_eq!(Values::of(&windows).unwrap().fit(&bytes), expected);
        }
    }

    fn window_over(place: u32) -> Window {
        let mut mask = [0; 4];
        mask[place as usize] = 3;
        Window::new(&mask, &[0; 4]).unwrap()
    }

    #[test]
    fn windows_over_other_things_than_one_byte_are_no_values() {
        let window = |mask: &[u8], value: &[u8]| Window::new(mask, value).unwrap();
        for windows in [
            vec![window(&[0xff, 0xff], &[1, 2])],
            vec![window(&[0x0f], &[1])],
            vec![window(&[0xff], &[1]), window(&[0, 0xff], &[0, 1])],
            vec![window(&[0], &[0])],
            vec![],
        ] {
            assert_eq!(Values::of(&windows), None, "{windows:?}");
        }
    }
}
