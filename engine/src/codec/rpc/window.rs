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
        match frame.first_chunk::<WINDOW>() {
            Some(first) => Self { bytes: u128::from_le_bytes(*first), length: WINDOW },
            None => {
                let mut first = [0; WINDOW];
                first.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
                Self { bytes: u128::from_le_bytes(first), length: frame.len() }
            }
        }
    }

    /// Bytes may yet come that decide.
    pub fn is_short(self) -> bool {
        self.length < WINDOW
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

    #[inline]
    pub(super) fn fits(&self, opened: Opened) -> bool {
        opened.bytes & self.mask == self.value && self.length <= opened.length
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
    use super::*;

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
}
