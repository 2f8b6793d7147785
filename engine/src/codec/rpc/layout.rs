//! Where the parts of one frame lie. `Shape` lays them. Invariant: they lie within the frame, in order, and end with the body, behind
//! which only the checksum may stand.

/// Parts that a frame may have.
pub(super) const MAX_PARTS: usize = 8;

/// Where the parts of one frame lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Beginning and end of each part.
    pub spans: [(u32, u32); MAX_PARTS],
    pub parts: u8,
    /// Beginning and end of the last part.
    pub body: (u32, u32),
    pub size: usize,
    /// Bytes of the checksum behind the body.
    pub tail: usize,
    pub has_checksum: bool,
}

impl Layout {
    /// Of a frame whose parts lie so, and that ends with the last of them.
    pub fn of(parts: &[(u32, u32)]) -> Self {
        let mut layout = Self { parts: parts.len() as u8, ..Self::default() };
        layout.spans.iter_mut().zip(parts).for_each(|(span, part)| *span = *part);
        layout.body = parts.last().copied().unwrap_or_default();
        layout.size = layout.body.1 as usize;
        layout
    }

    #[inline]
    pub fn end_of(&self, part: u8) -> usize {
        match part {
            0 => 0,
            part => self.spans.get(usize::from(part) - 1).map_or(0, |span| span.1 as usize),
        }
    }

    #[inline]
    pub fn part<'a>(&self, frame: &'a [u8], part: usize) -> &'a [u8] {
        self.spans.get(part).and_then(|span| frame.get(span.0 as usize..span.1 as usize)).unwrap_or(&[])
    }

    #[inline]
    pub fn span(&self, part: usize) -> (usize, usize) {
        self.spans.get(part).map_or((0, 0), |span| (span.0 as usize, span.1 as usize))
    }

    #[inline]
    pub fn body_start(&self) -> usize {
        self.body.0 as usize
    }

    #[inline]
    pub fn body_length(&self) -> usize {
        (self.body.1 - self.body.0) as usize
    }

    fn span_of_body(&self) -> (u32, u32) {
        self.spans.get(usize::from(self.parts).wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// The same with a body of another length.
    #[inline]
    pub fn with_body(mut self, length: usize) -> Self {
        self.body.1 = self.body.0 + length as u32;
        self.size = self.body.1 as usize + self.tail;
        if let Some(span) = self.spans.get_mut(usize::from(self.parts).wrapping_sub(1)) {
            *span = self.body;
        }
        self
    }

    /// The same with a part of another length, and all behind it moved.
    pub fn with_part(mut self, part: usize, length: usize) -> Self {
        let Some(&(start, end)) = self.spans.get(part) else { return self };
        let shift = start as i64 + length as i64 - i64::from(end);
        if let Some(span) = self.spans.get_mut(part) {
            span.1 = start + length as u32;
        }
        for span in self.spans.iter_mut().skip(part + 1) {
            *span = ((i64::from(span.0) + shift) as u32, (i64::from(span.1) + shift) as u32);
        }
        self.body = self.span_of_body();
        self.size = (self.size as i64 + shift) as usize;
        self
    }
}
