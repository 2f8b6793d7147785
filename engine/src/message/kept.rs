//! Heads that a thread keeps for its next messages, box and memory of the fields in one piece: one comes and goes with every
//! message, and calls of many callers that share a connection come and go by the hundred, more than an allocator keeps at hand.
//!
//! In: heads whose exchange is over. Out: empty ones for codecs to fill. Invariant: a head that is handed out is as a new one, but for
//! the room it has. Bounds: `Keep::MOST` heads a thread, none with an arena above `LARGEST`, and all arenas of a kind together
//! `Keep::ROOM`; so below 3 MiB a thread, and mostly at half of that after a load of many at a time.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use super::request::RequestHead;
use super::response::ResponseHead;

/// Larger arenas are given back, bytes: there is room for the token and the cookies that callers bring along, and one head of many
/// large fields does not take the place of many.
const LARGEST: usize = 32 * 1024;

/// What a thread keeps of one kind: boxes, since they go round as boxes.
#[derive(Debug)]
pub struct Shelf<T> {
    heads: Vec<Box<T>>,
    /// Bytes of their arenas.
    room: usize,
}

impl<T: Keep> Shelf<T> {
    const EMPTY: Self = Self { heads: Vec::new(), room: 0 };

    fn take(&mut self) -> Option<Box<T>> {
        let head = self.heads.pop()?;
        self.room -= head.room();
        Some(head)
    }

    /// Room for one with such an arena.
    fn takes(&self, room: usize) -> bool {
        self.heads.len() < T::MOST && self.room + room <= T::ROOM
    }

    fn put(&mut self, head: Box<T>) {
        self.room += head.room();
        self.heads.push(head);
    }
}

/// A head that is worth keeping.
pub trait Keep: Default + 'static {
    /// So many are kept by a thread.
    const MOST: usize;
    /// So many bytes of arenas.
    const ROOM: usize;
    fn shelf() -> &'static LocalKey<RefCell<Shelf<Self>>>;
    /// What is seen of one that is gone; nobody looks.
    fn blank() -> &'static Self;
    fn clear(&mut self);
    /// Of the arena, bytes.
    fn room(&self) -> usize;
}

/// An empty head.
#[inline]
pub fn fresh<T: Keep>() -> Box<T> {
    T::shelf().try_with(|shelf| shelf.borrow_mut().take()).ok().flatten().unwrap_or_else(new)
}

#[cold]
#[inline(never)]
fn new<T: Keep>() -> Box<T> {
    Box::default()
}

/// A head that goes back to its thread's shelf when it is dropped.
#[derive(Debug)]
pub struct Kept<T: Keep>(Option<Box<T>>);

impl<T: Keep> From<Box<T>> for Kept<T> {
    fn from(head: Box<T>) -> Self {
        Self(Some(head))
    }
}

impl<T: Keep> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::blank())
    }
}

impl<T: Keep> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Keep> Drop for Kept<T> {
    fn drop(&mut self) {
        let Some(mut head) = self.0.take().filter(|head| (1..=LARGEST).contains(&head.room())) else {
            return;
        };
        // A thread that ends keeps nothing.
        let _ = T::shelf().try_with(|shelf| {
            let mut shelf = shelf.borrow_mut();
            if shelf.takes(head.room()) {
                head.clear();
                shelf.put(head);
            }
        });
    }
}

thread_local! {
    static REQUESTS: RefCell<Shelf<RequestHead>> = const { RefCell::new(Shelf::EMPTY) };
    static RESPONSES: RefCell<Shelf<ResponseHead>> = const { RefCell::new(Shelf::EMPTY) };
}

thread_local! {
    // They stay: nothing of a thread that ends is looked at.
    static NO_REQUEST: &'static RequestHead = Box::leak(Box::default());
    static NO_RESPONSE: &'static ResponseHead = Box::leak(Box::default());
}

impl Keep for RequestHead {
    const MOST: usize = 1_024;
    const ROOM: usize = 2 * 1024 * 1024;
    fn shelf() -> &'static LocalKey<RefCell<Shelf<Self>>> {
        &REQUESTS
    }
    fn blank() -> &'static Self {
        NO_REQUEST.with(|blank| *blank)
    }
    fn clear(&mut self) {
        self.clear();
    }
    fn room(&self) -> usize {
        self.headers.room()
    }
}

impl Keep for ResponseHead {
    /// A response goes down in the turn in which it comes.
    const MOST: usize = 64;
    const ROOM: usize = 256 * 1024;
    fn shelf() -> &'static LocalKey<RefCell<Shelf<Self>>> {
        &RESPONSES
    }
    fn blank() -> &'static Self {
        NO_RESPONSE.with(|blank| *blank)
    }
    fn clear(&mut self) {
        self.clear();
    }
    fn room(&self) -> usize {
        self.headers.room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{BodyLength, Protocol};

    #[test]
    fn a_head_that_comes_back_is_as_a_new_one() {
        let mut head = fresh::<RequestHead>();
        head.headers.make_room(512, 8);
        head.headers.push(b"x-secret", b"of another caller");
        head.set_path(b"/of/another");
        (head.protocol, head.body, head.one_way) = (Protocol::Rpc, BodyLength::Known(9), true);
        head.deadline_milliseconds = Some(3);
        drop(Kept::from(head));
        let again = fresh::<RequestHead>();
        assert!(again.headers.room() >= 512, "the same memory");
        assert_eq!(format!("{again:?}"), format!("{:?}", RequestHead::default()));
        let mut head = fresh::<ResponseHead>();
        head.headers.push(b"x-secret", b"of another caller");
        (head.status, head.body) = (503, BodyLength::Unknown);
        drop(Kept::from(head));
        let again = fresh::<ResponseHead>();
        assert_eq!(format!("{again:?}"), format!("{:?}", ResponseHead::default()));
    }

    #[test]
    fn neither_large_nor_many_are_kept() {
        let mut large = fresh::<ResponseHead>();
        large.headers.make_room(LARGEST + 1, 8);
        drop(Kept::from(large));
        RESPONSES.with_borrow(|shelf| assert!(shelf.heads.is_empty()));
        let many = |room: usize| {
            let each = |_| {
                let mut head = fresh::<ResponseHead>();
                head.headers.make_room(room, 8);
                Kept::from(head)
            };
            drop((0..2 * ResponseHead::MOST).map(each).collect::<Vec<_>>());
        };
        many(100);
        RESPONSES.with_borrow(|shelf| assert_eq!(shelf.heads.len(), ResponseHead::MOST));
        many(LARGEST);
        RESPONSES.with_borrow(|shelf| {
            let room: usize = shelf.heads.iter().map(|head| head.headers.room()).sum();
            assert_eq!(shelf.room, room);
            assert_eq!(shelf.heads.len(), ResponseHead::ROOM / LARGEST, "by the memory they hold");
        });
    }

    #[test]
    fn memory_for_many_fields_goes_round_too() {
        let mut head = fresh::<RequestHead>();
        head.headers.make_room(9_000, 40);
        let place = head.headers.stash(b"token").start;
        let first = head.headers.slice_mut(crate::message::Span { start: place, length: 5 }).as_ptr();
        drop(Kept::from(head));
        let mut again = fresh::<RequestHead>();
        again.headers.make_room(9_000, 40);
        let place = again.headers.stash(b"other").start;
        let second = again.headers.slice_mut(crate::message::Span { start: place, length: 5 }).as_ptr();
        assert_eq!(first, second);
    }
}
