//! Blocks of memory a worker lends to its connections: the pool, and the outbox of what a connection still has to write;
//! and numbers as text, since most of what is written beside what came are numbers.
//!
//! In: bytes that codecs write. Out: slices for one `writev` per connection and turn. Invariant: an empty outbox
//! owns no block, so that an idle connection costs nothing here. Called by codecs (append) and the reactor (drain).

mod digits;
mod outbox;
mod pool;
mod same;
mod words;

pub use digits::{
    Digits, decimal, hexadecimal, hexadecimal_word, padded, pair, push_address, push_decimal, push_ip,
    push_padded,
};
pub use outbox::{Out, Outbox, WriteThrough};
pub use pool::{Block, LARGE_BLOCK, Pool, SMALL_BLOCK};
pub use same::is_same;
pub use words::{Word, equal_in_any_case, find};
