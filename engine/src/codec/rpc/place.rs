//! Numbers of a frame: where one lies, which of its bits count, and what length it tells.
//!
//! In: a frame and its layout, since a place may lie behind a part. Out: a number, or `None` beyond the frame's end.

use super::layout::Layout;
use super::window::Window;
use super::{Broken, broken};

/// Where a number lies: behind the end of a part (0: the beginning of the frame).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub behind: u8,
    pub offset: u32,
    pub width: u8,
    pub little: bool,
    pub word: Word,
}

/// Eight bytes, the highest first, which have a number in them: so every width is read alike. They end with the number, or begin with
/// one that lies too near to the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub offset: u32,
    /// Bits behind the number.
    pub shift: u8,
    /// Ones for as many bits as it has.
    pub mask: u64,
}

impl Word {
    fn new(offset: u32, width: u8) -> Self {
        let width = width.clamp(1, 8);
        let mask = u64::MAX >> (64 - 8 * width);
        match (offset + u32::from(width)).checked_sub(8) {
            Some(offset) => Self { offset, shift: 0, mask },
            None => Self { offset, shift: 64 - 8 * width, mask },
        }
    }

    /// `None` beyond the frame.
    #[inline(always)]
    pub fn read(&self, frame: &[u8]) -> Option<u64> {
        let start = self.offset as usize;
        let word = frame.get(start..start + 8)?.first_chunk()?;
        Some(u64::from_be_bytes(*word) >> self.shift & self.mask)
    }
}

impl Place {
    pub fn new(behind: u8, offset: u32, width: u8, little: bool) -> Self {
        Self { behind, offset, width, little, word: Word::new(offset, width) }
    }

    #[inline]
    pub fn at(&self, layout: &Layout) -> usize {
        layout.end_of(self.behind) + self.offset as usize
    }

    #[inline]
    pub fn read(&self, frame: &[u8], layout: &Layout) -> Option<u64> {
        let Word { offset, shift, mask } = self.word;
        let word = frame.get(layout.end_of(self.behind) + offset as usize..);
        match word.and_then(|word| word.first_chunk()) {
            Some(word) if !self.little => Some(u64::from_be_bytes(*word) >> shift & mask),
            _ => {
                let bytes = frame.get(self.at(layout)..)?;
                read_number(bytes.get(..usize::from(self.width))?, self.little)
            }
        }
    }

    /// Writes the low bytes of a value; nothing if the frame is too short.
    pub fn write(&self, frame: &mut [u8], layout: &Layout, value: u64) {
        let (at, width) = (self.at(layout), usize::from(self.width));
        if let (4, false, Some(target)) = (width, self.little, frame.get_mut(at..at + 4)) {
            target.copy_from_slice(&(value as u32).to_be_bytes());
        } else if let Some(target) = frame.get_mut(at..at + width) {
            let big = value.to_be_bytes();
            target.copy_from_slice(big.get(8 - width.min(8)..).unwrap_or(&big));
            if self.little {
                target.reverse();
            }
        }
    }
}

/// Up to 8 bytes as a number.
#[inline]
pub(super) fn read_number(bytes: &[u8], little: bool) -> Option<u64> {
    let big = match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        _ if bytes.len() <= 8 => bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)),
        _ => return None,
    };
    match (little, bytes.len()) {
        (false, _) | (true, 0..=1) => Some(big),
        (true, length) => Some(big.swap_bytes() >> (64 - 8 * length)),
    }
}

/// A number, or some bits of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub place: Place,
    pub shift: u8,
    /// Ones for as many bits as it has.
    pub mask: u64,
    pub signed: bool,
    /// The same bits as a word of the frame; no frame has such a word where a layout or another order of bytes must be asked.
    word: Word,
}

impl Number {
    pub fn new(place: Place, shift: u8, mask: u64, signed: bool) -> Self {
        let Place { behind, little, word, .. } = place;
        let offset = if behind == 0 && !little { word.offset } else { u32::MAX };
        let word =
            Word { offset, shift: (word.shift + shift).min(63), mask: mask & (word.mask >> shift.min(63)) };
        Self { place, shift, mask, signed, word }
    }

    #[inline(always)]
    pub fn read(&self, frame: &[u8], layout: &Layout) -> Option<u64> {
        match self.word.read(frame) {
            Some(value) => Some(value),
            None => self.read_behind(frame, layout),
        }
    }

    /// What it is in all frames that the window fits, if the window says so.
    pub fn told_by(&self, window: &Window) -> Option<u64> {
        let Word { offset, shift, mask } = self.word;
        let (told, value) = window.word(offset as usize)?;
        (told >> shift & mask == mask).then_some(value >> shift & mask)
    }

    #[inline(never)]
    fn read_behind(&self, frame: &[u8], layout: &Layout) -> Option<u64> {
        Some(self.place.read(frame, layout)? >> self.shift & self.mask)
    }

    /// With its sign, if it has one.
    #[inline]
    pub fn read_signed(&self, frame: &[u8], layout: &Layout) -> Option<i64> {
        self.read(frame, layout).map(|value| if self.signed { self.with_sign(value) } else { value as i64 })
    }

    /// Of a value that was read.
    #[inline]
    pub fn with_sign(&self, value: u64) -> i64 {
        let unused = self.mask.leading_zeros();
        ((value << unused) as i64) >> unused
    }

    /// Leaves other bits of the same bytes as they are.
    pub fn write(&self, frame: &mut [u8], layout: &Layout, value: u64) {
        if let Some(before) = self.place.read(frame, layout) {
            let after = before & !(self.mask << self.shift) | (value & self.mask) << self.shift;
            self.place.write(frame, layout, after);
        }
    }
}

/// A length that a number tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    pub number: Number,
    pub times: u64,
    pub plus: i64,
    /// The number is the length, as it stands.
    pub plain: bool,
}

/// Beyond it nothing is a length; sums of eight stay far from overflow.
const LONGEST: u64 = 0xff_ffff_ffff;

impl Length {
    pub fn new(number: Number, times: u64, plus: i64) -> Self {
        let is_whole = number.place.width <= 4 && number.mask == u64::MAX >> (64 - 8 * number.place.width);
        Self { number, times, plus, plain: is_whole && !number.signed && times == 1 && plus == 0 }
    }

    #[inline]
    pub fn read(&self, frame: &[u8], layout: &Layout) -> Result<usize, Broken> {
        if self.plain {
            let value = self.number.place.read(frame, layout);
            return value.map(|value| value as usize).ok_or(broken("a length lies beyond its frame"));
        }
        self.reckon(frame, layout)
    }

    fn reckon(&self, frame: &[u8], layout: &Layout) -> Result<usize, Broken> {
        let value = self.number.read_signed(frame, layout).ok_or(broken("a length lies beyond its frame"))?;
        let length = value.checked_mul(self.times as i64).and_then(|value| value.checked_add(self.plus));
        match length.map(u64::try_from) {
            Some(Ok(length @ 0..=LONGEST)) => {
                usize::try_from(length).map_err(|_| broken("a length is too large"))
            }
            _ => Err(broken("a length is negative or too large")),
        }
    }

    /// Makes the number tell this length; false if it cannot.
    pub fn write(&self, frame: &mut [u8], layout: &Layout, length: usize) -> bool {
        let value = length as i64 - self.plus;
        let times = self.times.max(1) as i64;
        let most = if self.number.signed { self.number.mask >> 1 } else { self.number.mask };
        if value < 0 || value % times != 0 || (value / times) as u64 > most {
            return false;
        }
        self.number.write(frame, layout, (value / times) as u64);
        true
    }
}
