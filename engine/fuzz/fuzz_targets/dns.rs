//! Answers of a name server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_engine::codec::dns::{Family, Question};

fuzz_target!(|bytes: &[u8]| {
    if let Some(question) = Question::new(7, "shop.example", Family::V4) {
        let _ = question.read(bytes);
    }
});
