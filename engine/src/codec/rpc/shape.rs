//! One order of items: how long a frame is, and where in it things lie.
//!
//! In: a frame's beginning. Out: its size, then a `Layout`. Places are known beforehand but for those behind a part, whose end the
//! layout knows. Invariant: a layout's parts lie within the frame, in order, and end with the body, behind which only the
//! checksum may stand.

use super::checksum::Running;
use super::window::{Opened, WINDOW, Window};
use super::{Broken, broken};
use crate::plan::RpcAlgorithm;

/// Parts that a frame may have.
pub(super) const MAX_PARTS: usize = 8;

/// Where a number lies: behind the end of a part (0: the beginning of the frame).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub behind: u8,
    pub offset: u32,
    pub width: u8,
    pub little: bool,
}

impl Place {
    #[inline]
    pub fn at(&self, layout: &Layout) -> usize {
        layout.end_of(self.behind) + self.offset as usize
    }

    #[inline]
    pub fn read(&self, frame: &[u8], layout: &Layout) -> Option<u64> {
        self.read_at(frame, self.at(layout))
    }

    #[inline]
    fn read_at(&self, frame: &[u8], at: usize) -> Option<u64> {
        let bytes = frame.get(at..)?;
        let unused = 64_u32.saturating_sub(8 * u32::from(self.width));
        match bytes.first_chunk() {
            // More than is asked for, so that every width is read alike.
            Some(eight) if unused < 64 && !self.little => Some(u64::from_be_bytes(*eight) >> unused),
            _ => read_number(bytes.get(..usize::from(self.width))?, self.little),
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
}

impl Number {
    #[inline]
    pub fn read(&self, frame: &[u8], layout: &Layout) -> Option<u64> {
        Some(self.place.read(frame, layout)? >> self.shift & self.mask)
    }

    /// With its sign, if it has one.
    pub fn read_signed(&self, frame: &[u8], layout: &Layout) -> Option<i64> {
        let value = self.read(frame, layout)?;
        let unused = self.mask.leading_zeros();
        Some(if self.signed { ((value << unused) as i64) >> unused } else { value as i64 })
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
    plain: bool,
}

/// Beyond it nothing is a length; sums of eight stay far from overflow.
const LONGEST: u64 = 0xff_ffff_ffff;

impl Length {
    pub fn new(number: Number, times: u64, plus: i64) -> Self {
        let is_whole = number.place.width <= 4 && number.mask == u64::MAX >> (64 - 8 * number.place.width);
        Self { number, times, plus, plain: is_whole && !number.signed && times == 1 && plus == 0 }
    }

    #[inline]
    fn read(&self, frame: &[u8], layout: &Layout) -> Result<usize, Broken> {
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

#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Bytes of numbers between the part before (or the beginning) and this one.
    pub gap: usize,
    /// `None`: what is left.
    pub length: Option<Length>,
}

#[derive(Debug, Clone)]
pub(super) struct Checksum {
    pub place: Place,
    pub algorithm: RpcAlgorithm,
    /// It covers from here to there.
    pub first: Edge,
    pub last: Edge,
    /// It is there if one of these fits, or if there are none.
    pub present: Box<[Window]>,
    pub verify: bool,
    /// It stands behind the body.
    pub trails: bool,
    /// It covers nothing of the body.
    pub last_is_in_front: bool,
}

/// A border between two items: behind the end of a part, so many bytes on; or the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub behind: u8,
    pub offset: u32,
}

impl Edge {
    pub fn at(&self, layout: &Layout) -> usize {
        layout.end_of(self.behind) + self.offset as usize
    }
}

impl Checksum {
    #[inline]
    pub fn is_present(&self, opened: Opened) -> bool {
        self.present.is_empty() || self.present.iter().any(|window| window.fits(opened))
    }

    /// The checksum over what lies in front of the body, and over the body if it is covered.
    pub fn over(&self, head: &[u8], bodies: &[&[u8]], layout: &Layout) -> u64 {
        let mut running = self.begin(head, layout);
        if self.covers_body(layout) {
            bodies.iter().for_each(|body| running.update(body));
        }
        running.value(self.place.width)
    }

    /// A running checksum that has seen what lies in front of the body.
    pub fn begin(&self, head: &[u8], layout: &Layout) -> Running {
        let mut running = Running::new(self.algorithm);
        let body = layout.body_start();
        let (first, last) = (self.first.at(layout).min(body), self.last.at(layout).min(body));
        running.update(head.get(first..last).unwrap_or(&[]));
        running
    }

    pub fn covers_body(&self, layout: &Layout) -> bool {
        self.last.at(layout) > layout.body_start()
    }
}

/// The checksum behind a body, while the body passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summing {
    running: Running,
    covers_body: bool,
    width: u8,
    little: bool,
}

impl Summing {
    /// `None` if nothing stands behind the body.
    pub fn begin(shape: &Shape, front: &[u8], layout: &Layout) -> Option<Self> {
        let checksum = shape.checksum.as_ref().filter(|checksum| layout.has_checksum && checksum.trails)?;
        Some(Self {
            running: checksum.begin(front, layout),
            covers_body: checksum.covers_body(layout),
            width: checksum.place.width,
            little: checksum.place.little,
        })
    }

    pub fn update(&mut self, body: &[u8]) {
        if self.covers_body {
            self.running.update(body);
        }
    }

    pub fn tail(self) -> Tail {
        Tail::new(self.running.value(self.width), self.width, self.little)
    }
}

/// A checksum as bytes, up to 8 of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tail {
    bytes: [u8; 8],
    length: u8,
}

impl Tail {
    pub fn new(value: u64, width: u8, little: bool) -> Self {
        let mut bytes = if little { value.to_le_bytes() } else { value.to_be_bytes() };
        if !little {
            bytes.rotate_left(8 - usize::from(width.min(8)));
        }
        Self { bytes, length: width }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }
}

/// Where the parts of one frame lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Beginning and end of each part.
    spans: [(u32, u32); MAX_PARTS],
    parts: u8,
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
        layout.size = layout.body().1 as usize;
        layout
    }

    #[inline]
    fn end_of(&self, part: u8) -> usize {
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
    fn body(&self) -> (u32, u32) {
        self.spans.get(usize::from(self.parts).wrapping_sub(1)).copied().unwrap_or((0, 0))
    }

    #[inline]
    pub fn body_start(&self) -> usize {
        self.body().0 as usize
    }

    #[inline]
    pub fn body_length(&self) -> usize {
        (self.body().1 - self.body().0) as usize
    }

    /// The same with a body of another length.
    #[inline]
    pub fn with_body(mut self, length: usize) -> Self {
        let index = usize::from(self.parts).wrapping_sub(1);
        if let Some(span) = self.spans.get_mut(index) {
            span.1 = span.0 + length as u32;
            self.size = span.1 as usize + self.tail;
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
        self.size = (self.size as i64 + shift) as usize;
        self
    }
}

/// What an item is, for sources, templates and explanations.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Number(Number, Box<[(Box<str>, Number)]>),
    Magic { place: Place, value: Box<[u8]> },
    Part(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub name: Box<str>,
    pub slot: Slot,
}

/// Fields that only messages which may share a connection have alike.
#[derive(Debug)]
pub(super) enum Pinned {
    Nothing,
    /// All of them are among the first bytes: ones over these.
    Opening(Window),
    Places(Box<[Place]>),
}

impl Pinned {
    pub fn new(places: Box<[Place]>) -> Self {
        if places.is_empty() {
            return Self::Nothing;
        }
        let mut mask = [0; WINDOW];
        for place in &places {
            let (start, width) = (place.offset as usize, usize::from(place.width));
            match mask.get_mut(start..start + width).filter(|_| place.behind == 0) {
                Some(bytes) => bytes.fill(0xff),
                None => return Self::Places(places),
            }
        }
        Window::new(&mask, &[0; WINDOW]).map_or(Self::Places(places), Self::Opening)
    }
}

/// The length of a part that is a number as it stands, the highest byte first: it ends a word of eight bytes that lies in front of all
/// parts, so that every width is read alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainLength {
    /// Bytes of numbers in front of the part.
    gap: u32,
    /// Where the word begins.
    word: usize,
    mask: u64,
}

impl PlainLength {
    /// `None` if one of them is anything else.
    pub fn all(parts: &[Part]) -> Option<Box<[Self]>> {
        let plain = parts.iter().map(|Part { gap, length }| {
            let length = length.filter(|length| length.plain)?;
            let Place { behind: 0, offset, width, little: false } = length.number.place else { return None };
            let word = (offset as usize + usize::from(width)).checked_sub(8)?;
            Some(Self { gap: *gap as u32, word, mask: length.number.mask })
        });
        plain.collect()
    }
}

#[derive(Debug)]
pub(super) struct Shape {
    pub name: Box<str>,
    pub items: Box<[Item]>,
    /// Bytes in front of the first part: they tell the frame's size.
    pub fixed: usize,
    pub size: Option<Length>,
    /// The last one is the body.
    pub parts: Box<[Part]>,
    /// Their lengths, where all of them are plain.
    pub plain_lengths: Option<Box<[PlainLength]>>,
    pub id: Place,
    pub status: Option<Number>,
    pub headers: Option<usize>,
    pub checksum: Option<Checksum>,
    /// The body is looked into if one of these fits, or if there are none.
    pub look: Box<[Window]>,
    pub pinned: Pinned,
}

impl Shape {
    pub fn looks_into_body(&self, opened: Opened) -> bool {
        self.look.is_empty() || self.look.iter().any(|window| window.fits(opened))
    }

    /// Size of the frame, once `fixed` bytes are there, and where its parts lie, if these bytes can tell (`lay` tells otherwise).
    #[inline]
    pub fn measure(&self, frame: &[u8], layout: &mut Layout) -> Result<Option<usize>, Broken> {
        if frame.len() < self.fixed {
            return Ok(None);
        }
        let Some(size) = &self.size else { return self.lay_in_front(frame, layout).map(Some) };
        let size = size.read(frame, &Layout::default())?;
        if size < self.fixed {
            return Err(broken("a frame is shorter than its head"));
        }
        Ok(Some(size))
    }

    /// Without a size of the frame, all lengths stand in front of the parts, and make the size.
    #[inline]
    fn lay_in_front(&self, frame: &[u8], layout: &mut Layout) -> Result<usize, Broken> {
        (layout.tail, layout.has_checksum) = self.tail(frame);
        layout.parts = self.parts.len() as u8;
        let mut end = 0;
        if let Some(lengths) = &self.plain_lengths {
            for (length, span) in lengths.iter().zip(&mut layout.spans) {
                let start = end + length.gap as usize;
                let word = frame.get(length.word..).and_then(|word| word.first_chunk());
                let word = word.ok_or(broken("a length lies beyond its frame"))?;
                end = start + (u64::from_be_bytes(*word) & length.mask) as usize;
                *span = (start as u32, end as u32);
            }
        } else {
            for (part, span) in self.parts.iter().zip(&mut layout.spans) {
                let start = end + part.gap;
                let length = match &part.length {
                    Some(length) => length.read(frame, &Layout::default())?,
                    None => 0,
                };
                end = start + length;
                *span = (start as u32, end as u32);
            }
        }
        layout.size = end + layout.tail;
        Ok(layout.size)
    }

    /// Where the parts of a frame lie of which all in front of the body is there.
    #[inline]
    pub fn lay_front(&self, front: &[u8], layout: &mut Layout) -> Result<(), Broken> {
        let size = self.measure(front, layout)?.ok_or(broken("a frame lost its head"))?;
        if self.size.is_some() { self.lay(front, size, layout) } else { Ok(()) }
    }

    /// Bytes of the checksum behind the body, and whether there is a checksum at all.
    #[inline]
    fn tail(&self, frame: &[u8]) -> (usize, bool) {
        match &self.checksum {
            Some(checksum) if checksum.is_present(Opened::new(frame)) => {
                (if checksum.trails { usize::from(checksum.place.width) } else { 0 }, true)
            }
            _ => (0, false),
        }
    }

    /// The same frame with its checksum behind it, if it has one.
    pub fn with_tail(&self, mut layout: Layout, frame: &[u8]) -> Layout {
        (layout.tail, layout.has_checksum) = self.tail(frame);
        layout.size = layout.body().1 as usize + layout.tail;
        layout
    }

    /// Where the parts lie; `frame` holds at least all in front of the body, or as much as a head may have.
    pub fn lay(&self, frame: &[u8], size: usize, layout: &mut Layout) -> Result<(), Broken> {
        let (tail, has_checksum) = self.tail(frame);
        *layout = Layout { parts: self.parts.len() as u8, size, tail, has_checksum, ..Layout::default() };
        let room = size.checked_sub(tail).ok_or(broken("a frame is shorter than its checksum"))?;
        let mut end = 0;
        for (index, part) in self.parts.iter().enumerate() {
            let start = end + part.gap;
            let length = match &part.length {
                Some(length) => length.read(frame, layout)?,
                None => room.checked_sub(start).ok_or(broken("a frame is shorter than its fields"))?,
            };
            end = start.saturating_add(length);
            if end > room {
                return Err(broken("a part ends beyond its frame"));
            }
            if let Some(span) = layout.spans.get_mut(index) {
                *span = (start as u32, end as u32);
            }
        }
        if end != room {
            return Err(broken("lengths do not add up to the frame's"));
        }
        Ok(())
    }

    pub fn item(&self, name: &str) -> Option<&Slot> {
        self.items.iter().find(|item| &*item.name == name).map(|item| &item.slot)
    }
}
