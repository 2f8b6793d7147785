//! What a call under way weighs. A thousand of them are under way at once where callers of framed protocols share connections, and
//! beyond the second-level cache each line of 64 bytes that a call touches costs as much as a hundred instructions. So what few
//! exchanges have lies behind a box (`Rare`, `Again`), and a moment that may not be is one word. Who adds a field to one of these
//! looks here whether it is worth its room to all.

use super::super::attempt::{Attempt, Tries};
use super::super::direction::Direction;
use super::super::exchange::Exchange;
use super::super::notes::Notes;
use super::super::timeouts::{Deadlines, Timer};
use crate::filter::States;
use crate::message::{RequestHead, ResponseHead};

#[test]
fn an_exchange_takes_few_lines_of_the_cache() {
    let sizes = [
        ("Exchange", size_of::<Exchange>(), 896),
        ("Notes", size_of::<Notes>(), 320),
        ("States", size_of::<States>(), 56),
        ("Direction", size_of::<Direction>(), 96),
        ("Deadlines", size_of::<Deadlines>(), 88),
        ("Attempt", size_of::<Option<Attempt>>(), 64),
        ("Tries", size_of::<Tries>(), 56),
        ("Timer", size_of::<Timer>(), 24),
        ("RequestHead", size_of::<RequestHead>(), 256),
        ("ResponseHead", size_of::<ResponseHead>(), 192),
    ];
    let grown: Vec<_> = sizes.into_iter().filter(|(_, size, most)| size > most).collect();
    assert!(grown.is_empty(), "larger than they were (bytes, at most): {grown:?}");
}
