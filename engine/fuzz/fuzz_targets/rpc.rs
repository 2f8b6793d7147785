//! Whole connections of described protocols, both roles. First two bytes: protocol, role and what is looked at, and size of the pieces.
#![no_main]

mod drive;
mod journal;

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use mainstay_engine::codec::contract::Codec;
use mainstay_engine::codec::rpc::{Connection, Description, compile, explain};
use mainstay_engine::plan::RpcProtocol;

const PLANS: [&str; 4] = [
    include_str!("../../testdata/protocols/bolt.json"),
    include_str!("../../testdata/protocols/dubbo.json"),
    include_str!("../../testdata/protocols/thrift.json"),
    include_str!("../../testdata/protocols/volt.json"),
];

fn protocols() -> &'static [(RpcProtocol, Arc<Description>)] {
    static PROTOCOLS: OnceLock<Vec<(RpcProtocol, Arc<Description>)>> = OnceLock::new();
    PROTOCOLS.get_or_init(|| {
        PLANS
            .iter()
            .map(|text| {
                let plan: RpcProtocol = serde_json::from_str(text).expect("a plan");
                let description = compile(&plan).expect("a sound plan");
                (plan, Arc::new(description))
            })
            .collect()
    })
}

fuzz_target!(|bytes: &[u8]| {
    let [first, step, rest @ ..] = bytes else { return };
    let (plan, description) = &protocols()[usize::from(first & 3)];
    let _ = explain(plan, rest);
    for length in 0..rest.len().min(32) {
        let _ = description.recognise(&rest[..length]);
    }
    let connection = || {
        if first & 4 == 0 {
            return Connection::server(Arc::clone(description));
        }
        let mut client = Connection::client(Arc::clone(description));
        // Fewer where servers answer one call after the other.
        for _ in 0..9 {
            let _ = client.open_stream();
        }
        client
    };
    let step = usize::from(*step) + 1;
    if first & 8 == 0 {
        return drive::drive(&mut connection(), rest, step);
    }
    let whole = journal::journal(&mut connection(), rest, &[usize::MAX]);
    assert_eq!(whole, journal::journal(&mut connection(), rest, &[step]), "cut into pieces of {step}");
});
