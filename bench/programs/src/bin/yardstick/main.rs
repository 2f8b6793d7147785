//! What the engine's described codec costs beside one written by hand for Bolt alone, on the frames of a call and its answer.
//!
//! `yardstick [ROUNDS]`. Both read requests off one connection, write them to another under ids of their own, and bring the answers
//! back; what lies between the two is only passed on. They take turns, and their own CPU time counts, so that other work on the
//! machine disturbs both alike. Prints one line of JSON: nanoseconds a frame, medians, and the median of the ratios.

mod bolt;
mod pass;

use std::sync::Arc;

use mainstay_bench::fail;
use mainstay_bench::rpc::Speech;
use mainstay_engine::codec::rpc::{Connection, compile};
use mainstay_engine::plan::RpcProtocol;
use pass::Pair;

/// The description that comes with Mainstay, compiled to a plan.
const DESCRIPTION: &str = include_str!("../../../../../engine/testdata/protocols/bolt.json");
/// Calls that come in one read.
const CALLS: usize = 16;
const PASSES: usize = 500;
const BODY: usize = 128;

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(40), |text| text.parse())
        .unwrap_or_else(|_| fail("ROUNDS: no number"));
    let plan: RpcProtocol =
        serde_json::from_str(DESCRIPTION).unwrap_or_else(|error| fail(&error.to_string()));
    let description =
        compile(&plan).unwrap_or_else(|error| fail(&format!("{}: {}", error.path, error.reason)));
    let description = Arc::new(description);
    let mut described =
        Pair::new(Connection::server(Arc::clone(&description)), Connection::client(description), traffic());
    let mut by_hand = Pair::new(bolt::Bolt::server(), bolt::Bolt::client(), traffic());
    assert_eq!(described.once(), by_hand.once(), "both write the same bytes");
    let (mut one, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (first, second) = (time(|| described.pass(PASSES)), time(|| by_hand.pass(PASSES)));
        // The first warms up.
        if round > 0 {
            one.push(first);
            other.push(second);
            ratios.push(first / second);
        }
    }
    println!(
        "{{\"described_ns\":{:.1},\"by_hand_ns\":{:.1},\"ratio\":{:.3}}}",
        median(&mut one),
        median(&mut other),
        median(&mut ratios)
    );
}

/// Requests of one read, and their answers.
fn traffic() -> (Vec<u8>, Vec<u8>) {
    let (mut calls, mut answers) = (Vec::new(), Vec::new());
    let request = Speech::Bolt.request(BODY);
    for id in 0..CALLS {
        let start = calls.len();
        request.put(1_000 + id as u32, &mut calls);
        if Speech::Bolt.answer(&calls[start..], &mut answers).is_err() {
            fail("a request of ours is broken");
        }
    }
    (calls, answers)
}

/// Nanoseconds of this thread's CPU a frame.
fn time(work: impl FnOnce()) -> f64 {
    let before = spent();
    work();
    (spent() - before) as f64 / (2 * CALLS * PASSES) as f64
}

fn spent() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fail("this kernel keeps no schedstat"))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
