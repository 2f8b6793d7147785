//! What the engine's described codec costs beside one written by hand for Bolt alone, on the frames of a call and its answer.
//!
//! `yardstick [ROUNDS]`. Both read requests off one connection, write them to another under ids of their own, and bring the answers
//! back; what lies between the two is only passed on, and neither is compiled into it. They take turns, and this thread's own CPU time counts, so that other work on
//! the machine disturbs both alike; turns are short and medians taken, so that a turn that was interrupted says nothing. Prints one
//! line of JSON: nanoseconds a frame, medians of both, and the median of the ratios of neighbouring turns.
//!
//! `yardstick run described|by-hand PASSES`. One of them alone, in silence, for a tool that counts instructions: a pass is `CALLS` calls.

mod bolt;
mod pass;
mod table;

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
const PASSES: usize = 200;
const BODY: usize = 128;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => compare(400),
        ["run", "described", passes] => described().pass(number(passes)),
        ["run", "by-hand", passes] => by_hand().pass(number(passes)),
        [rounds] => compare(number(rounds)),
        _ => fail("yardstick [ROUNDS] | run described|by-hand PASSES"),
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| fail(&format!("{text}: no number")))
}

fn described() -> Pair {
    let plan: RpcProtocol =
        serde_json::from_str(DESCRIPTION).unwrap_or_else(|error| fail(&error.to_string()));
    let description =
        compile(&plan).unwrap_or_else(|error| fail(&format!("{}: {}", error.path, error.reason)));
    let description = Arc::new(description);
    let (down, up) = (Connection::server(Arc::clone(&description)), Connection::client(description));
    Pair::new(Box::new(down), Box::new(up), traffic())
}

fn by_hand() -> Pair {
    Pair::new(Box::new(bolt::Bolt::server()), Box::new(bolt::Bolt::client()), traffic())
}

fn compare(rounds: usize) {
    let (mut described, mut by_hand) = (described(), by_hand());
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

/// The clock of this thread's CPU, nanoseconds. `/proc` tells the same by the scheduler's ticks, of up to 4 ms.
fn spent() -> u64 {
    let mut told = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`, which lives here.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut told) } != 0 {
        fail("this kernel keeps no CPU time of threads");
    }
    told.tv_sec as u64 * 1_000_000_000 + told.tv_nsec as u64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
