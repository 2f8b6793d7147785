//! A protocol, ready for use: what `compile` made of a plan. Shared by all connections that speak it.

use std::num::NonZeroU64;

use super::map::Form;
use super::place::Number;
use super::shape::Shape;
use super::trace::Trace;
use super::window::{Match, Opened, Window, judge_all};
use super::{Broken, broken};
use crate::message::{NameId, NameSet, ResponseHead, Span};
use crate::plan::{RpcDialect, RpcKind, RpcLimits, RpcPiece};

/// Headers and values of the body that sources look for, each.
pub(super) const MAX_WANTED: usize = 16;

#[derive(Debug)]
pub struct Description {
    /// Scheme of requests, and label of metrics.
    pub name: Box<str>,
    /// Equal ones are the same protocol.
    pub(super) digest: NonZeroU64,
    pub(super) openings: Box<[Opening]>,
    pub(super) shapes: Box<[Shape]>,
    pub(super) detection: Box<[Window]>,
    pub(super) headers: Option<Form>,
    /// Headers that sources look for, by their names as written.
    pub(super) wanted: Box<[Box<[u8]>]>,
    pub(super) preamble: Preamble,
    /// By shape.
    pub(super) readers: Box<[Reader]>,
    pub trace: Option<Trace>,
    pub(super) body: Option<Body>,
    pub(super) statuses: Box<[(u64, u16)]>,
    pub(super) other_status: u16,
    pub(super) replies: Box<[(u16, u64)]>,
    pub(super) other_reply: u64,
    pub(super) error_replies: Box<[Template]>,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) heartbeat_answers: Box<[Template]>,
    pub(super) go_away: Box<[Template]>,
    pub(super) limits: RpcLimits,
    /// Items that templates copy from a request: what a call has to remember of its frame.
    pub(super) remembers_parts: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    pub window: Window,
    pub shape: u16,
    pub kind: RpcKind,
    /// None in front of it fits what it fits.
    pub is_alone: bool,
}

/// A frame whose first bytes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Located {
    pub shape: u16,
    pub kind: RpcKind,
}

/// Texts that every request's head needs in its arena, in one piece.
#[derive(Debug)]
pub(super) struct Preamble {
    bytes: Vec<u8>,
    pub scheme: Span,
    pub method: Span,
}

impl Preamble {
    pub fn new(scheme: &str) -> Self {
        let mut preamble = Self { bytes: Vec::new(), scheme: Span::default(), method: Span::default() };
        preamble.scheme = preamble.add(scheme.as_bytes());
        preamble.method = preamble.add(b"POST");
        preamble
    }

    pub fn add(&mut self, text: &[u8]) -> Span {
        let span = Span { start: self.bytes.len() as u32, length: text.len() as u32 };
        self.bytes.extend_from_slice(text);
        span
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Where frames of one shape tell what a head says.
#[derive(Debug)]
pub(super) struct Reader {
    pub service: Texts,
    pub method: Texts,
    /// The method stands in a header and in the body: both must say the same.
    pub agrees: bool,
    /// More than one source of the method lies in front of the body: these must agree, too.
    pub is_told_in_front: bool,
    pub deadline: Box<[Source]>,
    pub attributes: Box<[Attribute]>,
    /// Of the attributes.
    pub names: NameSet,
}

/// Where a text may be, in the order in which it is looked for.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub sources: Box<[Source]>,
    /// The header, by its number in `wanted`, that is the first of them and taken as it stands; or a number that none has.
    pub first: u8,
}

impl Texts {
    pub fn new(sources: Box<[Source]>) -> Self {
        let first = match sources.first() {
            Some(source @ Source { origin: Origin::Header(index), .. }) if source.is_whole() => *index,
            _ => u8::MAX,
        };
        Self { sources, first }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Source {
    pub origin: Origin,
    pub before: Box<[u8]>,
    pub after: Box<[u8]>,
}

impl Source {
    /// Nothing of a text is cut off.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }
}

// With a tag of its own, as `Value`.
#[derive(Debug, Clone)]
#[repr(u8)]
pub(super) enum Origin {
    /// By its number in `wanted`.
    Header(u8),
    Number(Number),
    Part(usize),
    Body(u8),
    Text(Box<[u8]>),
}

#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub id: NameId,
    /// In the preamble.
    pub name: Span,
    pub value: Value,
}

/// What an attribute is, in frames of one shape.
// With a tag of its own: one that lies within a value has to be reckoned.
#[derive(Debug, Clone)]
#[repr(u8)]
pub(super) enum Value {
    /// In the preamble, since all frames of the shape have the same number.
    Told(Span),
    /// Without a sign.
    Number(Number),
    /// As it stands in front of the body.
    Part(usize),
    /// The first that has something.
    Sources(Box<[Source]>),
}

impl Value {
    pub fn of(sources: &[Source]) -> Self {
        match sources {
            [Source { origin: Origin::Number(number), .. }] if !number.signed => Self::Number(*number),
            [source @ Source { origin: Origin::Part(part), .. }] if source.is_whole() => Self::Part(*part),
            _ => Self::Sources(sources.into()),
        }
    }

    pub fn needs_body(&self) -> bool {
        match self {
            Self::Told(_) | Self::Number(_) | Self::Part(_) => false,
            Self::Sources(sources) => sources.iter().any(|source| matches!(source.origin, Origin::Body(_))),
        }
    }
}

/// How to look into a body.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub dialect: RpcDialect,
    pub object: Box<[Box<[u8]>]>,
    pub values: u8,
    pub attachments_behind: Option<u8>,
    /// Attributes, attachments or a method that must agree want it always; else only what the headers lack.
    pub always: bool,
}

/// A value of an item, or of some bits of it (`count` 0: all).
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub name: Box<str>,
    pub shift: u8,
    pub count: u8,
    pub value: u64,
}

/// How to make a frame.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub like: u16,
    pub shape: u16,
    pub values: Box<[Given]>,
    pub copies: Box<[Box<str>]>,
    pub parts: Box<[(usize, Box<[RpcPiece]>)]>,
}

#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    pub templates: Box<[Template]>,
    /// Milliseconds, all of them.
    pub interval: u64,
    pub longest_interval: u64,
    pub timeout: u64,
    pub misses: u32,
}

impl PartialEq for Description {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Description {
    /// Calls in flight on one of our connections to a provider.
    pub fn provider_calls(&self) -> u32 {
        self.limits.provider_calls
    }

    /// What a frame is of which enough is there to say; `last` is the opening that the last frame had.
    #[inline(always)]
    pub(super) fn locate_known(&self, frame: &[u8], last: &mut u16) -> Option<Located> {
        let opened = Opened::of(frame)?;
        let is_it = |opening: &&Opening| opening.window.fits(opened);
        let opening = match self.openings.get(usize::from(*last)).filter(is_it).filter(|last| last.is_alone) {
            Some(opening) => opening,
            None => {
                let place = self.openings.iter().position(|opening| is_it(&opening))?;
                *last = place as u16;
                self.openings.get(place)?
            }
        };
        Some(Located { shape: opening.shape, kind: opening.kind })
    }

    /// What a frame is; `None` if more bytes are needed to say.
    pub(super) fn locate(&self, frame: &[u8]) -> Result<Option<Located>, Broken> {
        let opened = Opened::new(frame);
        if let Some(found) = self.openings.iter().find(|opening| opening.window.fits(opened)) {
            // A longer one may come first and wait for its last bytes.
            let earlier = self.openings.iter().take_while(|opening| !opening.window.fits(opened));
            let waits = earlier.into_iter().any(|each| each.window.judge(opened) == Match::Wait);
            return Ok((!waits).then_some(Located { shape: found.shape, kind: found.kind }));
        }
        match judge_all(self.openings.iter().map(|opening| &opening.window), frame) {
            Match::Wait => Ok(None),
            _ => Err(broken("no such frame")),
        }
    }

    /// Whether a field that was added belongs into a frame. What HTTP knows by name (a request's id, say) is the proxy's own
    /// business, unless the protocol has a use for it.
    pub(super) fn takes(&self, id: NameId) -> bool {
        id == NameId::OTHER || self.trace.as_ref().is_some_and(|trace| trace.writes(id))
    }

    /// How to write a name that was lowered.
    pub(super) fn spelling<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        self.trace.as_ref().and_then(|trace| trace.spelling(name)).unwrap_or(name)
    }

    pub(super) fn shape(&self, index: u16) -> Option<&Shape> {
        self.shapes.get(usize::from(index))
    }

    /// Bytes of the ids that we give.
    pub(super) fn id_width(&self) -> u8 {
        self.shapes.first().map_or(4, Shape::id_width)
    }

    /// Equal for equal protocols.
    pub fn digest(&self) -> NonZeroU64 {
        self.digest
    }

    /// First bytes may tell it: it need not be declared.
    pub fn is_certain(&self) -> bool {
        !self.detection.is_empty()
    }

    /// Whether a client's first bytes are this protocol. Never `Yes` for one that must be declared.
    pub fn recognise(&self, bytes: &[u8]) -> Match {
        judge_all(self.detection.iter(), bytes)
    }

    /// The HTTP status that stands for one of the protocol's.
    #[inline]
    pub(super) fn status_of(&self, status: u64) -> u16 {
        self.statuses.iter().find(|known| known.0 == status).map_or(self.other_status, |known| known.1)
    }

    /// The protocol's status in a reply of ours with this head.
    pub fn reply_status(&self, head: &ResponseHead) -> u64 {
        self.reply_of(super::send::status_of(head))
    }

    /// The protocol's status for a reply of ours.
    pub(super) fn reply_of(&self, http: u16) -> u64 {
        let like = match http {
            401 => 403,
            408 => 504,
            429 => 503,
            super::send::UNREACHED => 502,
            400..=499 if !matches!(http, 403 | 404) => 400,
            500..=599 if !matches!(http, 502..=504) => 500,
            other => other,
        };
        let find = |wanted: u16| self.replies.iter().find(|known| known.0 == wanted).map(|known| known.1);
        find(http).or_else(|| find(like)).unwrap_or(self.other_reply)
    }
}
