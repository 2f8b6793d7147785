//! One order of items: how long a frame is, and where in it things lie.
//!
//! In: a frame's beginning. Out: its size, then a `Layout`. Places are known beforehand but for those behind a part, whose end the
//! layout knows.

use super::layout::Layout;
use super::place::{Length, Number, Place, Word};
use super::summing::Checksum;
use super::window::{Opened, Values, WINDOW, Window};
use super::{Broken, broken};

#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Bytes of numbers between the part before (or the beginning) and this one.
    pub gap: usize,
    /// `None`: what is left.
    pub length: Option<Length>,
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

/// Whether the body is looked into.
#[derive(Debug)]
pub(super) enum LookInto {
    Always,
    /// If one of the first bytes has one of these values.
    Byte(Values),
    /// If one of these fits.
    Windows(Box<[Window]>),
}

impl LookInto {
    pub fn new(windows: Box<[Window]>) -> Self {
        match Values::of(&windows) {
            _ if windows.is_empty() => Self::Always,
            Some(values) => Self::Byte(values),
            None => Self::Windows(windows),
        }
    }
}

/// Fields that only messages which may share a connection have alike.
#[derive(Debug)]
pub(super) enum Pinned {
    Nothing,
    /// What tells the shape tells them, too.
    Known(u64),
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

    /// Of frames of which all that tells them says this.
    pub fn known(self, shape: u16, told: Window) -> Self {
        match self {
            Self::Opening(mask) if told.tells(mask) => {
                Self::Known(Self::of_opening(told.opened(), mask, shape))
            }
            other => other,
        }
    }

    #[inline]
    pub fn of_opening(opened: Opened, mask: Window, shape: u16) -> u64 {
        opened.mixed(mask) ^ u64::from(shape)
    }
}

/// The length of a part that is a number as it stands, in front of all parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainLength {
    /// Bytes of numbers in front of the part.
    gap: u32,
    word: Word,
}

impl PlainLength {
    /// `None` if one of them is anything else.
    pub fn all(parts: &[Part]) -> Option<Box<[Self]>> {
        let plain = parts.iter().map(|Part { gap, length }| {
            let length = length.filter(|length| length.plain)?;
            let Place { behind: 0, little: false, word, .. } = length.number.place else { return None };
            Some(Self { gap: *gap as u32, word })
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
    pub look: LookInto,
    pub pinned: Pinned,
}

impl Shape {
    #[inline(always)]
    pub fn looks_into_body(&self, frame: &[u8]) -> bool {
        match &self.look {
            LookInto::Byte(values) => values.fit(frame),
            LookInto::Always => true,
            LookInto::Windows(windows) => {
                let opened = Opened::new(frame);
                windows.iter().any(|window| window.fits(opened))
            }
        }
    }

    /// Size of the frame, once `fixed` bytes are there, and where its parts lie, if these bytes can tell (`lay` tells otherwise).
    #[inline(always)]
    pub fn measure(&self, frame: &[u8], layout: &mut Layout) -> Result<Option<usize>, Broken> {
        if frame.len() < self.fixed {
            return Ok(None);
        }
        if self.lay_plainly(frame, layout).is_some() {
            return Ok(Some(layout.size));
        }
        self.reckon(frame, layout)
    }

    /// Plain lengths make the size, once `fixed` bytes are there. `None` if there are others, or where a word is longer than the frame.
    #[inline(always)]
    pub fn lay_plainly(&self, frame: &[u8], layout: &mut Layout) -> Option<()> {
        let lengths = self.plain_lengths.as_ref()?;
        (layout.tail, layout.has_checksum) = self.tail(frame);
        layout.parts = self.parts.len() as u8;
        let (mut start, mut end) = (0, 0);
        for (PlainLength { gap, word }, span) in lengths.iter().zip(&mut layout.spans) {
            start = end + *gap as usize;
            end = start + word.read(frame)? as usize;
            *span = (start as u32, end as u32);
        }
        layout.body = (start as u32, end as u32);
        layout.size = end + layout.tail;
        Some(())
    }

    #[inline(never)]
    fn reckon(&self, frame: &[u8], layout: &mut Layout) -> Result<Option<usize>, Broken> {
        let Some(size) = &self.size else { return self.lay_in_front(frame, layout).map(Some) };
        let size = size.read(frame, &Layout::default())?;
        if size < self.fixed {
            return Err(broken("a frame is shorter than its head"));
        }
        Ok(Some(size))
    }

    /// Without a size of the frame, all lengths stand in front of the parts, and make the size.
    fn lay_in_front(&self, frame: &[u8], layout: &mut Layout) -> Result<usize, Broken> {
        (layout.tail, layout.has_checksum) = self.tail(frame);
        layout.parts = self.parts.len() as u8;
        let mut end = 0;
        for (part, span) in self.parts.iter().zip(&mut layout.spans) {
            let start = end + part.gap;
            let length = match &part.length {
                Some(length) => length.read(frame, &Layout::default())?,
                None => 0,
            };
            end = start + length;
            *span = (start as u32, end as u32);
            layout.body = *span;
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
        layout.size = layout.body.1 as usize + layout.tail;
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
                layout.body = *span;
            }
        }
        if end != room {
            return Err(broken("lengths do not add up to the frame's"));
        }
        Ok(())
    }

    /// Bytes of the ids that we give.
    pub fn id_width(&self) -> u8 {
        self.id.width.clamp(1, 4)
    }

    pub fn item(&self, name: &str) -> Option<&Slot> {
        self.items.iter().find(|item| &*item.name == name).map(|item| &item.slot)
    }
}
