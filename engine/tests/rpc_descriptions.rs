//! Framed protocols that nobody has described before: whatever a sound plan says, a codec of it understands its frames, wherever
//! their stream is cut, and writes frames that another one understands.

#[path = "../fuzz/fuzz_targets/journal.rs"]
mod journal;
#[path = "../fuzz/fuzz_targets/made_up.rs"]
mod made_up;
#[path = "../fuzz/fuzz_targets/road.rs"]
mod road;

use std::sync::Arc;

use journal::journal;
use made_up::{Dice, MadeUp};
use mainstay_engine::codec::contract::Codec;
use mainstay_engine::codec::rpc::{Connection, Description, compile};
use mainstay_engine::plan::RpcProtocol;
use proptest::prelude::*;

const SHIPPED: [&str; 4] = [
    include_str!("../testdata/protocols/bolt.json"),
    include_str!("../testdata/protocols/dubbo.json"),
    include_str!("../testdata/protocols/thrift.json"),
    include_str!("../testdata/protocols/volt.json"),
];

fn connection(description: &Arc<Description>, is_client: bool) -> Connection {
    if !is_client {
        return Connection::server(Arc::clone(description));
    }
    let mut client = Connection::client(Arc::clone(description));
    while client.open_streams() < 5 && client.open_stream().is_some() {}
    client
}

fn dice(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 40..most)
}

/// Frames until the dice are used up.
fn stream_of(made: &MadeUp, dice: &mut Dice<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while dice.is_left() && stream.len() < 1 << 18 {
        stream.extend(made.frame(dice));
    }
    stream
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_of_any_description_are_understood_and_passed_on(rolled in dice(1_500)) {
        let mut dice = Dice(&rolled);
        let made = MadeUp::new(&mut dice);
        let description = Arc::new(compile(&made.plan).expect("a plan that is sound"));
        let stream = stream_of(&made, &mut dice);
        road::pass(&description, &stream);
    }

    #[test]
    fn any_cut_of_a_stream_of_any_description_gives_the_same(
        rolled in dice(1_500),
        is_client: bool,
        spoilt in proptest::option::of((0usize..500, 1u8..)),
        sizes in proptest::collection::vec(1usize..3_000, 1..5),
    ) {
        let mut dice = Dice(&rolled);
        let made = MadeUp::new(&mut dice);
        let description = Arc::new(compile(&made.plan).expect("a plan that is sound"));
        let mut stream = stream_of(&made, &mut dice);
        if let Some((at, with)) = spoilt
            && let Some(byte) = stream.get_mut(at)
        {
            *byte ^= with;
        }
        let whole = journal(&mut connection(&description, is_client), &stream, &[usize::MAX]);
        let sizes: Vec<usize> = sizes.iter().map(|size| (*size).max(stream.len() / 500)).collect();
        prop_assert_eq!(whole, journal(&mut connection(&description, is_client), &stream, &sizes));
    }

    #[test]
    fn any_cut_of_any_bytes_gives_the_same_for_shipped_protocols(
        protocol in 0usize..SHIPPED.len(),
        is_client: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        step in 1usize..20,
    ) {
        let plan: RpcProtocol = serde_json::from_str(SHIPPED[protocol]).unwrap();
        let description = Arc::new(compile(&plan).unwrap());
        // So that they get past the first look.
        let opening = &plan.openings[usize::from(bytes.first().copied().unwrap_or(0)) % plan.openings.len()];
        let stream: Vec<u8> = opening.pattern.value.iter().chain(&bytes).copied().collect();
        let whole = journal(&mut connection(&description, is_client), &stream, &[usize::MAX]);
        prop_assert_eq!(whole, journal(&mut connection(&description, is_client), &stream, &[step]));
    }
}
