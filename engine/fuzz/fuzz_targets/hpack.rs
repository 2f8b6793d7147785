//! Header blocks: the bytes are cut into HEADERS frames of one connection, so that the dynamic table lives on.
#![no_main]

mod drive;

use libfuzzer_sys::fuzz_target;
use mainstay_engine::codec::h2;

fuzz_target!(|bytes: &[u8]| {
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let mut rest = bytes;
    for stream in (1u32..).step_by(2) {
        let Some((&length, behind)) = rest.split_first() else { break };
        let (block, behind) = behind.split_at(usize::from(length).min(behind.len()));
        all.extend_from_slice(&(block.len() as u32).to_be_bytes()[1..]);
        all.extend([1, 5]);
        all.extend(stream.to_be_bytes());
        // A request around the block, so that some of them are served.
        all.extend_from_slice(block);
        rest = behind;
    }
    let length = all.len();
    drive::drive(&mut h2::Server::new(h2::Settings::default()), &all, length);
});
