//! Framed protocols: few connections, of which large frames borrow one each.

use super::*;
use crate::codec::{Framed, rpc};
use crate::upstream::pool::member::Use;

fn framed() -> PoolKey {
    let text = include_str!("../../../../testdata/protocols/bolt.json");
    let protocol = Framed::described(text);
    PoolKey { rpc: Some(RpcKey { protocol, pin: 7 }), ..HTTP1 }
}

impl World {
    fn small(&mut self, key: &PoolKey) -> Key {
        self.request_for(0, key, false).0
    }

    fn large(&mut self, key: &PoolKey) -> Key {
        self.request_for(0, key, true).0
    }

    fn open(&mut self) -> Key {
        let calls = self.pools.calls_of(self.dials[0].0);
        self.connect(calls > 1, calls)
    }

    fn write(&mut self, waiter: Key) {
        self.pools.written(self.served[&waiter]);
        self.drive();
    }
}

#[test]
fn a_large_frame_has_its_connection_for_itself_until_it_is_written() {
    let (mut world, key) = (world(&cluster_plan("c"), 1), framed());
    let first = world.small(&key);
    let one = world.open();
    let large = world.large(&key);
    assert_eq!(world.served.get(&large), None, "a call runs on the one that is there");
    let two = world.open();
    assert_eq!(world.served[&large], two);
    let others: Vec<_> = (0..20).map(|_| world.small(&key)).collect();
    assert!(others.iter().all(|other| world.served[other] == one) && world.dials.is_empty());
    world.write(large);
    for other in others.into_iter().chain([first]) {
        world.finish(other, true);
    }
    let next = world.small(&key);
    assert_eq!(world.served[&next], two, "the busiest, now that it is written");
    let large = world.large(&key);
    assert_eq!(world.served[&large], one, "one on which nothing runs");
}

#[test]
fn there_is_always_a_connection_for_calls_that_are_not_large() {
    let (mut world, key) = (world(&cluster_plan("c"), 1), framed());
    let large: Vec<_> = (0..4).map(|_| world.large(&key)).collect();
    for _ in 0..3 {
        world.open();
    }
    assert_eq!(large.iter().filter(|large| world.served.contains_key(large)).count(), 3);
    assert!(world.dials.is_empty(), "none for the fourth, which waits for one of the three");
    let small = world.small(&key);
    let last = world.open();
    assert_eq!(world.served[&small], last);
    assert!(!world.served.contains_key(&large[3]) && world.dials.is_empty());
    world.write(large[1]);
    world.finish(large[1], true);
    assert!(world.served.contains_key(&large[3]));
}

#[test]
fn where_no_more_may_be_dialled_one_gets_idle_for_a_large_frame() {
    let plan = with_limits(Thresholds { max_connections: Some(1), ..UNLIMITED });
    let (mut world, key) = (world(&plan, 1), framed());
    let first = world.small(&key);
    let only = world.open();
    let large = world.large(&key);
    let later = world.small(&key);
    assert!(!world.served.contains_key(&large) && !world.served.contains_key(&later));
    world.finish(first, true);
    assert_eq!((world.served.get(&large), world.served.get(&later)), (Some(&only), None));
    world.write(large);
    assert_eq!(world.served[&later], only);
    // Who gives up keeps nothing.
    let large = world.large(&key);
    let pool = world.pools.pools.keys()[0];
    assert!(world.pools.cancel(pool, large));
    world.drive();
    let next = world.small(&key);
    assert_eq!(world.served[&next], only);
}

#[test]
fn a_connection_carries_as_many_calls_as_its_protocol_allows() {
    let mut plan: crate::plan::RpcProtocol =
        serde_json::from_str(include_str!("../../../../testdata/protocols/bolt.json")).unwrap();
    plan.limits.provider_calls = 2;
    let protocol = Framed::Described(Arc::new(rpc::compile(&plan).unwrap()));
    let key = PoolKey { rpc: Some(RpcKey { protocol, pin: 7 }), ..HTTP1 };
    let mut world = world(&cluster_plan("c"), 1);
    let calls: Vec<_> = (0..9).map(|_| world.small(&key)).collect();
    for _ in 0..4 {
        world.open();
    }
    assert_eq!(world.served.len(), 8);
    assert!(world.dials.is_empty(), "no fifth connection");
    world.finish(calls[0], true);
    assert!(world.served.contains_key(&calls[8]));
}

#[test]
fn servers_that_answer_one_after_the_other_have_a_connection_for_each_call() {
    let text = include_str!("../../../../testdata/protocols/thrift.json");
    let protocol = Framed::described(text);
    let key = PoolKey { rpc: Some(RpcKey { protocol, pin: 7 }), ..HTTP1 };
    let mut world = world(&cluster_plan("c"), 1);
    let calls: Vec<_> = (0..9).map(|number| world.request_for(0, &key, number % 2 == 0).0).collect();
    assert_eq!(world.dials.len(), 9);
    for _ in 0..9 {
        world.open();
    }
    assert!(calls.iter().all(|call| world.served.contains_key(call)));
    world.finish(calls[0], true);
    let next = world.small(&key);
    assert!(world.served.contains_key(&next) && world.dials.is_empty());
}

#[test]
fn connections_that_say_goodbye_make_room_for_others() {
    let (mut world, key) = (world(&cluster_plan("c"), 1), framed());
    for _ in 0..6 {
        world.small(&key);
        let connection = world.open();
        world.pools.retire(connection);
        world.drive();
    }
    assert_eq!(world.pools.len(), 6);
    world.small(&key);
    assert_eq!(world.dials.len(), 1);
}

#[derive(Debug, Clone)]
enum Happens {
    Call { large: bool },
    Connect,
    Written { request: usize },
    Finish { request: usize, reusable: bool },
    Retire { request: usize },
    Cancel { waiting: usize },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => any::<bool>().prop_map(|large| Happens::Call { large }),
        3 => Just(Happens::Connect),
        2 => (0usize..8).prop_map(|request| Happens::Written { request }),
        3 => (0usize..8, any::<bool>()).prop_map(|(request, reusable)| Happens::Finish { request, reusable }),
        1 => (0usize..8).prop_map(|request| Happens::Retire { request }),
        1 => (0usize..8).prop_map(|waiting| Happens::Cancel { waiting }),
    ]
}

proptest! {
    #[test]
    fn no_large_frame_meets_another_call_and_nobody_waits_for_ever(
        events in proptest::collection::vec(happens(), 1..100),
        most in proptest::option::of(1u32..4),
    ) {
        let plan = with_limits(Thresholds { max_connections: most, ..UNLIMITED });
        let (mut world, key) = (world(&plan, 1), framed());
        // Large frames that are being written, and all who have asked and not ended.
        let (mut writing, mut asked) = (BTreeSet::new(), BTreeMap::new());
        for event in events {
            let served: Vec<Key> = world.served.keys().copied().collect();
            let pick = |at: usize| served.get(at % served.len().max(1)).copied();
            match event {
                Happens::Call { large } => {
                    let waiter = world.request_for(0, &key, large).0;
                    asked.insert(waiter, large);
                    if large {
                        writing.insert(waiter);
                    }
                }
                Happens::Connect => {
                    if !world.dials.is_empty() {
                        world.open();
                    }
                }
                Happens::Written { request } => {
                    if let Some(request) = pick(request).filter(|request| writing.remove(request)) {
                        world.write(request);
                    }
                }
                Happens::Finish { request, reusable } => {
                    if let Some(request) = pick(request) {
                        writing.remove(&request);
asked.remove(&request);
                        world.finish(request, reusable);
                    }
                }
                Happens::Retire { request } => {
                    if let Some(request) = pick(request) {
                        let connection = world.served[&request];
                        world.pools.retire(connection);
                        world.drive();
                    }
                }
                Happens::Cancel { waiting } => {
                    let left: Vec<Key> =
                        asked.keys().filter(|waiter| !world.served.contains_key(waiter)).copied().collect();
                    if let Some(waiter) = left.get(waiting % left.len().max(1)) {
                        let pool = world.pools.pools.keys()[0];
                        world.pools.cancel(pool, *waiter);
                        world.drive();
                        writing.remove(waiter);
asked.remove(waiter);
                    }
                }
            }
            asked.retain(|waiter, _| !world.failed.contains_key(waiter));
            let mut on: BTreeMap<Key, Vec<Key>> = BTreeMap::new();
            for (waiter, connection) in &world.served {
                on.entry(*connection).or_default().push(*waiter);
            }
            for calls in on.values().filter(|calls| calls.iter().any(|call| writing.contains(call))) {
                prop_assert_eq!(calls.len(), 1, "a large frame among others");
            }
            for pool in world.pools.pools.keys() {
                let usable = &world.pools.pools.get(pool).unwrap().usable;
                let lent = usable.iter().filter(|id| world.pools.members.get(**id).unwrap().usage == Use::Lent);
                prop_assert!(usable.len() <= 4 && lent.count() <= 3);
            }
        }
        for _ in 0..400 {
            if !world.dials.is_empty() {
                world.open();
            } else if let Some(request) = world.served.keys().next().copied() {
                asked.remove(&request);
                world.finish(request, true);
            }
        }
        prop_assert!(asked.is_empty(), "{} wait for ever", asked.len());
    }
}
