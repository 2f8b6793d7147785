//! Protocols that nobody has described before: a plan from dice, a stream of its frames, some bytes of it spoilt, cut anywhere.
#![no_main]

mod journal;
mod made_up;
mod road;

use std::sync::Arc;

use journal::journal;
use libfuzzer_sys::fuzz_target;
use made_up::{Dice, MadeUp};
use mainstay_engine::codec::contract::Codec;
use mainstay_engine::codec::rpc::{Connection, compile, explain};

fuzz_target!(|bytes: &[u8]| {
    let mut dice = Dice(bytes);
    let made = MadeUp::new(&mut dice);
    let description = Arc::new(compile(&made.plan).expect("a plan that is sound"));
    let (is_client, step) = (dice.below(2) == 0, usize::from(dice.byte()) + 1);
    let spoilt = (dice.below(3) == 0).then(|| (dice.byte(), dice.byte()));
    let mut stream = Vec::new();
    while dice.is_left() && stream.len() < 1 << 17 {
        stream.extend(made.frame(&mut dice));
    }
    let _ = explain(&made.plan, &stream);
    if spoilt.is_none() {
        road::pass(&description, &stream);
    }
    if let Some((at, with)) = spoilt
        && let Some(byte) = stream.get_mut(usize::from(at))
    {
        *byte ^= with;
    }
    let connection = || {
        let description = Arc::clone(&description);
        if !is_client {
            return Connection::server(description);
        }
        let mut client = Connection::client(description);
        while client.open_streams() < 5 && client.open_stream().is_some() {}
        client
    };
    let whole = journal(&mut connection(), &stream, &[usize::MAX]);
    let step = step.max(stream.len() / 500);
    assert_eq!(whole, journal(&mut connection(), &stream, &[step]), "cut into pieces of {step}");
});
