//! Any order of calls, large ones among them, of answers and of losses: every caller that stays gets its own answers, each once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::message::Key;
use crate::stream::testing::bolt::{answer, call};
use crate::stream::testing::{Worker, to};

#[derive(Debug, Clone)]
enum Happens {
    /// A caller asks; sizes in KiB. Where it has half a frame under way, that ends first.
    Call {
        caller: usize,
        size: usize,
    },
    /// All but the end of such a call.
    Half {
        caller: usize,
    },
    Accept,
    /// The oldest, or the newest, call of a server is answered.
    Answer {
        server: usize,
        newest: bool,
    },
    LoseCaller {
        caller: usize,
    },
    LoseServer {
        server: usize,
    },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (0usize..5, prop_oneof![4 => Just(0usize), 1 => Just(40), 2 => Just(150)])
            .prop_map(|(caller, size)| Happens::Call { caller, size }),
        2 => (0usize..5).prop_map(|caller| Happens::Half { caller }),
        3 => Just(Happens::Accept),
        6 => (0usize..5, any::<bool>()).prop_map(|(server, newest)| Happens::Answer { server, newest }),
        1 => (0usize..5).prop_map(|caller| Happens::LoseCaller { caller }),
        1 => (0usize..5).prop_map(|server| Happens::LoseServer { server }),
    ]
}

#[derive(Default)]
struct Caller {
    key: Option<Key>,
    next: u32,
    /// Ids without an answer.
    open: BTreeSet<u32>,
    /// What is left of a frame.
    rest: Vec<u8>,
    read: Vec<u8>,
}

#[derive(Default)]
struct Server {
    read: Vec<u8>,
    /// Id and first bytes of the body: who asks.
    open: Vec<(u32, Vec<u8>)>,
}

struct World {
    worker: Worker,
    callers: Vec<Caller>,
    servers: BTreeMap<Key, Server>,
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Whole frames in front: id, status (of answers), body. `fixed`: bytes in front of the first part.
fn take_frames(read: &mut Vec<u8>, fixed: usize) -> Vec<(u32, usize, Vec<u8>)> {
    let mut frames = Vec::new();
    while read.len() >= fixed {
        let parts = number(&read[fixed - 8..fixed - 6]) + number(&read[fixed - 6..fixed - 4]);
        let size = fixed + parts + number(&read[fixed - 4..fixed]);
        if read.len() < size {
            break;
        }
        let frame: Vec<u8> = read.drain(..size).collect();
        let status = number(&frame[10..12]);
        frames.push((number(&frame[5..9]) as u32, status, frame[fixed + parts..].to_vec()));
    }
    frames
}

impl World {
    fn new() -> Self {
        let worker = super::rpc_road::worker(to("shop"), &["10.1.0.1:80"]);
        let callers = (0..5).map(|_| Caller::default()).collect();
        Self { worker, callers, servers: BTreeMap::new() }
    }

    fn frame(&mut self, index: usize, kibibytes: usize) -> (Key, Vec<u8>) {
        let caller = &mut self.callers[index];
        let key = *caller.key.get_or_insert_with(|| self.worker.connect_rpc());
        caller.next += 1;
        let mut body = vec![index as u8];
        body.extend(caller.next.to_be_bytes());
        body.resize(5 + kibibytes * 1_024, b'.');
        caller.open.insert(caller.next);
        (key, call(caller.next, "cart/add", &body))
    }

    fn send_rest(&mut self, index: usize) {
        let rest = std::mem::take(&mut self.callers[index].rest);
        if let Some(key) = self.callers[index].key.filter(|_| !rest.is_empty()) {
            self.worker.receive(key, rest);
        }
    }

    fn happen(&mut self, event: &Happens) -> Result<(), TestCaseError> {
        match *event {
            Happens::Call { caller, size } => {
                self.send_rest(caller);
                let (key, frame) = self.frame(caller, size);
                self.worker.receive(key, frame);
            }
            Happens::Half { caller } => {
                self.send_rest(caller);
                let (key, mut frame) = self.frame(caller, 150);
                self.callers[caller].rest = frame.split_off(100_000);
                self.worker.receive(key, frame);
            }
            Happens::Accept => {
                if self.worker.next_dial().is_some() {
                    let key = self.worker.accept();
                    self.servers.insert(key, Server::default());
                }
            }
            Happens::Answer { server, newest } => {
                let at = server % self.servers.len().max(1);
                if let Some((key, server)) = self.servers.iter_mut().nth(at)
                    && !server.open.is_empty()
                {
                    let place = if newest { server.open.len() - 1 } else { 0 };
                    let (id, who) = server.open.remove(place);
                    self.worker.receive(*key, answer(id, 0, &who));
                }
            }
            Happens::LoseCaller { caller } => {
                if let Some(key) = self.callers[caller].key.take() {
                    self.worker.lose(key);
                    self.callers[caller] = Caller { next: self.callers[caller].next, ..Caller::default() };
                }
            }
            Happens::LoseServer { server } => {
                if let Some(key) = self.servers.keys().nth(server).copied() {
                    self.servers.remove(&key);
                    self.worker.lose(key);
                }
            }
        }
        self.look()
    }

    /// What has come at both sides.
    fn look(&mut self) -> Result<(), TestCaseError> {
        self.servers.retain(|key, _| self.worker.is_open(*key));
        prop_assert!(self.servers.len() <= 4);
        for (key, server) in &mut self.servers {
            server.read.extend(self.worker.sent_bytes(*key));
            for (id, _, mut body) in take_frames(&mut server.read, 22) {
                prop_assert!(server.open.iter().all(|(known, _)| *known != id), "an id twice");
                body.truncate(5);
                server.open.push((id, body));
            }
        }
        for (index, caller) in self.callers.iter_mut().enumerate() {
            let Some(key) = caller.key else { continue };
            prop_assert!(self.worker.is_open(key), "a caller that did nothing wrong is cut");
            caller.read.extend(self.worker.sent_bytes(key));
            for (id, status, body) in take_frames(&mut caller.read, 20) {
                prop_assert!(caller.open.remove(&id), "an answer that nobody waits for");
                if status == 0 {
                    prop_assert_eq!(&body[..], &[&[index as u8][..], &id.to_be_bytes()].concat()[..]);
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn callers_that_stay_get_their_own_answers(events in proptest::collection::vec(happens(), 1..60)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event)?;
        }
        for caller in 0..5 {
            world.send_rest(caller);
        }
        for _ in 0..400 {
            world.look()?;
            let busy = world.servers.values().position(|server| !server.open.is_empty());
            match busy {
                Some(server) => world.happen(&Happens::Answer { server, newest: false })?,
                None => world.happen(&Happens::Accept)?,
            }
        }
        for caller in &world.callers {
            prop_assert!(caller.open.is_empty(), "{} calls without an answer", caller.open.len());
        }
        prop_assert_eq!(world.worker.streams.active(), 0);
        prop_assert_eq!(world.worker.streams.held(), 0);
    }
}
