//! Where lines are written: bytes with room behind them.
//!
//! Invariant: `bytes` is initialised as far as it is long, and what counts of it ends at `end`. So a short text is copied with all of its
//! buffer, whose length the compiler knows, and what is too much is written over by the next one.

use crate::bytes::{decimal, pair};

/// Room to begin with, and how much more is made at a time at most, unless more is needed.
const FIRST: usize = 2 * 1024;
const STEP: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Sheet {
    bytes: Vec<u8>,
    end: usize,
}

impl Sheet {
    /// On memory whose content is of no interest.
    pub fn on(bytes: Vec<u8>) -> Self {
        Self { bytes, end: 0 }
    }

    /// All memory, and how much of it was written.
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.end)
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.end).unwrap_or(&[])
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.end
    }

    #[inline]
    pub fn truncate(&mut self, end: usize) {
        self.end = self.end.min(end);
    }

    #[inline]
    pub fn last(&self) -> Option<u8> {
        self.bytes.get(self.end.checked_sub(1)?).copied()
    }

    #[inline(always)]
    fn room(&mut self, length: usize) {
        if self.bytes.len() - self.end < length {
            self.grow(length);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, length: usize) {
        let more = self.bytes.len().clamp(FIRST, STEP);
        self.bytes.resize((self.bytes.len() + more).max(self.end + length), 0);
    }

    /// The first `length` bytes of a buffer.
    #[inline(always)]
    pub fn push_short<const SIZE: usize>(&mut self, short: &[u8; SIZE], length: usize) {
        self.room(SIZE);
        if let Some(place) = self.bytes.get_mut(self.end..).and_then(<[u8]>::first_chunk_mut) {
            *place = *short;
        }
        self.end += length.min(SIZE);
    }

    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        self.push_short(&[byte], 1);
    }

    #[inline]
    pub fn push_all(&mut self, bytes: &[u8]) {
        self.room(bytes.len());
        let end = self.end + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.end..end) {
            place.copy_from_slice(bytes);
            self.end = end;
        }
    }

    #[inline]
    pub fn push_decimal(&mut self, number: u64) {
        match number {
            0..10 => self.push(b'0' + number as u8),
            10..100 => self.push_short(&pair(number), 2),
            100..1_000 => {
                let [tens, ones] = pair(number);
                self.push_short(&[b'0' + (number / 100) as u8, tens, ones], 3);
            }
            1_000..10_000 => {
                let ([thousands, hundreds], [tens, ones]) = (pair(number / 100), pair(number));
                self.push_short(&[thousands, hundreds, tens, ones], 4);
            }
            _ => self.push_all(decimal(number).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sheet_says_what_was_written(steps in proptest::collection::vec((0u8..5, any::<u64>(), 0usize..40), 0..200)) {
            let (mut sheet, mut expected) = (Sheet::on(vec![b'?'; 7]), Vec::new());
            for (kind, number, length) in steps {
                match kind {
                    0 => {
                        sheet.push(number as u8);
                        expected.push(number as u8);
                    }
                    1 => {
                        sheet.push_short(&[number as u8; 32], length);
                        expected.extend(vec![number as u8; length.min(32)]);
                    }
                    2 => {
                        sheet.push_all(&vec![number as u8; length * 10]);
                        expected.extend(vec![number as u8; length * 10]);
                    }
                    3 => {
                        let number = number >> (length + 20);
                        sheet.push_decimal(number);
                        expected.extend(number.to_string().into_bytes());
                    }
                    _ => {
                        let end = expected.len().saturating_sub(length);
                        sheet.truncate(end);
                        expected.truncate(end);
                    }
                }
                prop_assert_eq!(sheet.len(), expected.len());
                prop_assert_eq!(sheet.last(), expected.last().copied());
            }
            prop_assert_eq!(sheet.as_bytes(), expected);
        }
    }
}
