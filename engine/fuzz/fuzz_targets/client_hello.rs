//! The first bytes of a connection: what protocol they are, and what a ClientHello says. More bytes never change an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_engine::codec::detect::{Detected, detect};
use mainstay_engine::tls::inspect;

fuzz_target!(|bytes: &[u8]| {
    let _ = inspect(bytes);
    let whole = detect(bytes);
    for length in 0..bytes.len().min(64) {
        let early = detect(&bytes[..length]);
        assert!(early == Detected::Wait || early == whole);
    }
});
