//! A shape's checksum: when it is there, what it covers, and where it stands.
//!
//! In: all in front of a body, and the body, at once or as it passes. Out: the checksum as a number, or as the bytes behind the body.
//! `checksum` has the algorithms.

use super::checksum::Running;
use super::layout::Layout;
use super::place::Place;
use super::shape::Shape;
use super::window::{Opened, Window};
use crate::plan::RpcAlgorithm;

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
