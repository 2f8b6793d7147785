//! Heads that a thread keeps for its next messages, box and memory of the fields in one piece: one comes and goes with every
//! message, and calls of many callers that share a connection come and go by the hundred, more than an allocator keeps at hand.
//!
//! In: heads whose exchange is over. Out: empty ones for codecs to fill. Invariant: a head that is handed out is as a new one, but for
//! the room it has. Bounds: `Keep::MOST` heads a thread, none with an arena above `LARGEST`; so below 3 MiB a thread, and mostly at
//! half of that after a load of many at a time.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use super::request::RequestHead;
use super::response::ResponseHead;

/// Larger arenas are given back, bytes.
const LARGEST: usize = 2 * 1024;

/// What a thread keeps of one kind: boxes, since they go round as boxes.
pub type Shelf<T> = RefCell<Vec<Box<T>>>;

/// A head that is worth keeping.
pub trait Keep: Default + 'static {
    /// So many are kept by a thread.
    const MOST: usize;
    fn shelf() -> &'static LocalKey<Shelf<Self>>;
    /// What is seen of one that is gone; nobody looks.
    fn blank() -> &'static Self;
    fn clear(&mut self);
    /// Of the arena, bytes.
    fn room(&self) -> usize;
}

/// An empty head.
pub fn fresh<T: Keep>() -> Box<T> {
    T::shelf().try_with(|shelf| shelf.borrow_mut().pop()).ok().flatten().unwrap_or_default()
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
        head.clear();
        // A thread that ends keeps nothing.
        let _ = T::shelf().try_with(|shelf| {
            let mut shelf = shelf.borrow_mut();
            if shelf.len() < T::MOST {
                shelf.push(head);
            }
        });
    }
}

thread_local! {
    static REQUESTS: Shelf<RequestHead> = const { RefCell::new(Vec::new()) };
    static RESPONSES: Shelf<ResponseHead> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    // They stay: nothing of a thread that ends is looked at.
    static NO_REQUEST: &'static RequestHead = Box::leak(Box::default());
    static NO_RESPONSE: &'static ResponseHead = Box::leak(Box::default());
}

impl Keep for RequestHead {
    const MOST: usize = 1_024;
    fn shelf() -> &'static LocalKey<Shelf<Self>> {
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
    fn shelf() -> &'static LocalKey<Shelf<Self>> {
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
        let mut many: Vec<Kept<ResponseHead>> =
            (0..2 * ResponseHead::MOST).map(|_| fresh::<ResponseHead>().into()).collect();
        for head in &mut many {
            head.headers.push(b"a", b"b");
        }
        drop(many);
        RESPONSES.with_borrow(|shelf| {
            assert_eq!(shelf.len(), ResponseHead::MOST);
            assert!(shelf.iter().all(|head| head.headers.room() <= LARGEST));
        });
    }
}
