//! Single values: texts and whole numbers are read, whatever else comes is passed over.

use std::ops::Range;

const MAX_DEPTH: u32 = 32;

/// The search is over: cut bytes, an unknown form, or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;

/// Bytes of hessian values, and how far they have been read.
pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    pub is_final: bool,
    pub values_left: u32,
    /// Number of fields of each class, in the order of definition.
    pub definitions: Vec<u16>,
}

impl Reader<'_> {
    pub fn byte(&mut self) -> Result<u8, Over> {
        let byte = self.bytes.get(self.at).copied().ok_or(Over)?;
        self.at += 1;
        Ok(byte)
    }

    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn advance(&mut self, count: usize) -> Result<(), Over> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len()).ok_or(Over)?;
        self.at = end;
        Ok(())
    }

    pub fn number(&mut self, bytes: usize) -> Result<usize, Over> {
        let mut number = 0;
        for _ in 0..bytes {
            number = number << 8 | usize::from(self.byte()?);
        }
        Ok(number)
    }

    /// An int that must not be negative.
    pub fn int(&mut self) -> Result<usize, Over> {
        let first = self.byte()?;
        let number = match first {
            0x80..=0xbf => i64::from(first) - 0x90,
            0xc0..=0xcf => (i64::from(first) - 0xc8) << 8 | self.number(1)? as i64,
            0xd0..=0xd7 => (i64::from(first) - 0xd4) << 16 | self.number(2)? as i64,
            b'I' => i64::from(self.number(4)? as u32 as i32),
            _ => return Err(Over),
        };
        usize::try_from(number).map_err(|_| Over)
    }

    pub fn is_text(&self) -> bool {
        match self.peek() {
            Some(0x00..=0x1f | b'S' | b'N') => true,
            Some(b's') => !self.is_final,
            Some(0x30..=0x33 | b'R') => self.is_final,
            _ => false,
        }
    }

    /// A text and where it lies; `None` for null, and for texts in several chunks, which do not lie in one piece.
    pub fn text(&mut self) -> Result<Option<Range<usize>>, Over> {
        let (mut start, mut chunks) = (self.at, 0);
        loop {
            let first = self.byte()?;
            let (length, is_last) = match (first, self.is_final) {
                (b'N', _) if chunks == 0 => return Ok(None),
                (0x00..=0x1f, _) => (usize::from(first), true),
                (b'S', _) => (self.number(2)?, true),
                (b's', false) | (b'R', true) => (self.number(2)?, false),
                (0x30..=0x33, true) => (usize::from(first & 3) << 8 | self.number(1)?, true),
                _ => return Err(Over),
            };
            if chunks == 0 {
                start = self.at;
            }
            self.characters(length)?;
            chunks += 1;
            if is_last {
                return Ok((chunks == 1).then_some(start..self.at));
            }
        }
    }

    pub fn skip_text(&mut self) -> Result<(), Over> {
        self.text().map(|_| ())
    }

    pub fn text_or_skip(&mut self) -> Result<Option<Range<usize>>, Over> {
        if self.is_text() { self.text() } else { self.skip(0).map(|()| None) }
    }

    /// So many UTF-16 code units, each written as UTF-8; four bytes are a pair of them.
    pub fn characters(&mut self, count: usize) -> Result<(), Over> {
        let mut left = count;
        // ASCII is most of what comes: whole words of it are taken at once.
        while left >= 8
            && let Some(word) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>())
            && u64::from_ne_bytes(*word) & 0x8080_8080_8080_8080 == 0
        {
            self.at += 8;
            left -= 8;
        }
        while left > 0 {
            let (bytes, units) = match self.byte()? {
                0x00..=0x7f => (0, 1),
                0xc0..=0xdf => (1, 1),
                0xe0..=0xef => (2, 1),
                0xf0..=0xf7 => (3, 2),
                _ => return Err(Over),
            };
            self.advance(bytes)?;
            left = left.saturating_sub(units);
        }
        Ok(())
    }

    fn chunks_of_bytes(&mut self, mut first: u8) -> Result<(), Over> {
        loop {
            let (length, is_last) = match (first, self.is_final) {
                (0x20..=0x2f, _) => (usize::from(first - 0x20), true),
                (b'B', _) => (self.number(2)?, true),
                (b'b', false) | (b'A', true) => (self.number(2)?, false),
                (0x34..=0x37, true) => (usize::from(first - 0x34) << 8 | self.number(1)?, true),
                _ => return Err(Over),
            };
            self.advance(length)?;
            if is_last {
                return Ok(());
            }
            first = self.byte()?;
        }
    }

    /// Any value.
    pub fn skip(&mut self, depth: u32) -> Result<(), Over> {
        // Definitions stand in front of the value that uses them.
        loop {
            if depth > MAX_DEPTH || self.values_left == 0 {
                return Err(Over);
            }
            self.values_left -= 1;
            let first = self.byte()?;
            let is_definition = first == if self.is_final { b'C' } else { b'O' };
            if !is_definition {
                return if self.is_final {
                    self.skip_final(first, depth)
                } else {
                    self.skip_draft(first, depth)
                };
            }
            self.definition(None)?;
        }
    }

    /// Null, truth, ints, longs: alike in both dialects.
    fn skip_common(&mut self, first: u8) -> Option<Result<(), Over>> {
        Some(match first {
            b'N' | b'T' | b'F' | 0x80..=0xbf | 0xd8..=0xef => Ok(()),
            0xc0..=0xcf | 0xf0..=0xff => self.advance(1),
            0xd0..=0xd7 | 0x38..=0x3f => self.advance(2),
            b'I' => self.advance(4),
            b'L' | b'D' => self.advance(8),
            0x00..=0x1f | b'S' => {
                self.at -= 1;
                self.skip_text()
            }
            0x20..=0x2f | b'B' => self.chunks_of_bytes(first),
            _ => return None,
        })
    }

    fn skip_final(&mut self, first: u8, depth: u32) -> Result<(), Over> {
        if let Some(done) = self.skip_common(first) {
            return done;
        }
        match first {
            0x59 => self.advance(4),
            0x5b | 0x5c => Ok(()),
            0x5d => self.advance(1),
            0x5e => self.advance(2),
            0x5f => self.advance(4),
            0x30..=0x33 | b'R' => {
                self.at -= 1;
                self.skip_text()
            }
            0x34..=0x37 | b'A' => self.chunks_of_bytes(first),
            0x4a => self.advance(8),
            0x4b => self.advance(4),
            0x51 => self.int().map(|_| ()),
            0x55 => {
                self.map_type()?;
                self.until_end(depth)
            }
            0x57 => self.until_end(depth),
            0x56 => {
                self.map_type()?;
                let length = self.int()?;
                self.skip_many(length, depth)
            }
            0x58 => {
                let length = self.int()?;
                self.skip_many(length, depth)
            }
            0x70..=0x77 => {
                self.map_type()?;
                self.skip_many(usize::from(first - 0x70), depth)
            }
            0x78..=0x7f => self.skip_many(usize::from(first - 0x78), depth),
            b'M' => {
                self.map_type()?;
                self.until_end(depth)
            }
            b'H' => self.until_end(depth),
            b'O' => {
                let definition = self.int()?;
                self.skip_many(self.fields_of(definition)?, depth)
            }
            0x60..=0x6f => self.skip_many(self.fields_of(usize::from(first - 0x60))?, depth),
            _ => Err(Over),
        }
    }

    fn skip_draft(&mut self, first: u8, depth: u32) -> Result<(), Over> {
        if let Some(done) = self.skip_common(first) {
            return done;
        }
        match first {
            0x77 => self.advance(4),
            0x67 | 0x68 => Ok(()),
            0x69 => self.advance(1),
            0x6a => self.advance(2),
            0x6b => self.advance(4),
            b's' => {
                self.at -= 1;
                self.skip_text()
            }
            b'b' => self.chunks_of_bytes(first),
            b'd' => self.advance(8),
            0x4a => self.advance(1),
            0x4b => self.advance(2),
            b'R' => self.advance(4),
            b'V' => {
                self.map_type()?;
                match self.peek() {
                    Some(0x6e) => self.advance(2)?,
                    Some(b'l') => self.advance(5)?,
                    _ => {}
                }
                self.until_end(depth)
            }
            b'v' => {
                self.int()?;
                let length = self.int()?;
                self.skip_many(length, depth)
            }
            b'M' => {
                self.map_type()?;
                self.until_end(depth)
            }
            b'o' => {
                let definition = self.int()?;
                self.skip_many(self.fields_of(definition)?, depth)
            }
            _ => Err(Over),
        }
    }

    /// The type of a list or map: in the final dialect a text or an int, in the draft `t` and a text, or 0x75 and an int, or nothing.
    pub fn map_type(&mut self) -> Result<(), Over> {
        if self.is_final {
            return if self.is_text() { self.skip_text() } else { self.int().map(|_| ()) };
        }
        match self.peek() {
            Some(b't') => {
                self.advance(1)?;
                let length = self.number(2)?;
                self.characters(length)
            }
            Some(0x75) => {
                self.advance(1)?;
                self.int().map(|_| ())
            }
            _ => Ok(()),
        }
    }

    pub fn until_end(&mut self, depth: u32) -> Result<(), Over> {
        let end = if self.is_final { b'Z' } else { b'z' };
        while self.peek() != Some(end) {
            self.skip(depth + 1)?;
        }
        self.advance(1)
    }

    pub fn skip_many(&mut self, count: usize, depth: u32) -> Result<(), Over> {
        // Each takes a byte at least.
        if count > self.bytes.len() {
            return Err(Over);
        }
        for _ in 0..count {
            self.skip(depth + 1)?;
        }
        Ok(())
    }
}
