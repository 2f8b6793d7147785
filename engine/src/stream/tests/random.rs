//! Whatever happens, in whatever order: every exchange finishes once, nothing is leaked, no buffer grows beyond its cap.

use proptest::prelude::*;

use crate::message::Key;
use crate::plan;
use crate::stream::port::Owner;
use crate::stream::testing::{
    Worker, cluster, listener, manager, retries, route, table, tcp_proxy, to, to_with_retries,
};
use crate::telemetry::{ClusterCounter, HttpCounter};

#[derive(Debug, Clone)]
enum Act {
    Connect,
    Ask(usize, u8),
    Body(usize, usize),
    Accept,
    Refuse,
    Answer(usize, u8),
    More(usize, usize),
    Lose(usize),
    End(usize),
    Stall(usize, bool),
    Pass(u64),
    Drain(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let which = 0usize..8;
    prop_oneof![
        2 => Just(Act::Connect),
        6 => (which.clone(), 0u8..6).prop_map(|(which, kind)| Act::Ask(which, kind)),
        3 => (which.clone(), 1usize..90_000).prop_map(|(which, size)| Act::Body(which, size)),
        4 => Just(Act::Accept),
        1 => Just(Act::Refuse),
        6 => (which.clone(), 0u8..7).prop_map(|(which, kind)| Act::Answer(which, kind)),
        3 => (which.clone(), 1usize..90_000).prop_map(|(which, size)| Act::More(which, size)),
        1 => which.clone().prop_map(Act::Lose),
        1 => which.clone().prop_map(Act::End),
        2 => (which, any::<bool>()).prop_map(|(which, stalled)| Act::Stall(which, stalled)),
        2 => (1u64..20_000).prop_map(Act::Pass),
        1 => any::<bool>().prop_map(Act::Drain),
    ]
}

const ASKED: [&str; 6] = [
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /retry HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /retry HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "GET /none HTTP/1.0\r\n\r\n",
    "BROKEN\r\n\r\n",
];

const ANSWERS: [&str; 7] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "nonsense\r\n\r\n",
];

struct Field {
    worker: Worker,
    tcp: bool,
    clients: Vec<Key>,
    endpoints: Vec<Key>,
}

impl Field {
    fn act(&mut self, act: &Act) {
        let (clients, endpoints) = (self.clients.len().max(1), self.endpoints.len().max(1));
        let client = |which: &usize| self.clients.get(which % clients).copied();
        let endpoint = |which: &usize| self.endpoints.get(which % endpoints).copied();
        let any = |which: &usize| if which.is_multiple_of(2) { client(which) } else { endpoint(which) };
        match act {
            Act::Connect if self.tcp => self.clients.push(self.worker.connect_tcp()),
            Act::Connect => self.clients.push(self.worker.connect()),
            Act::Ask(which, kind) => {
                if let Some(key) = client(which) {
                    self.worker.receive(key, ASKED[usize::from(*kind)]);
                }
            }
            Act::Body(which, size) => {
                if let Some(key) = client(which) {
                    self.worker.receive(key, vec![b'b'; *size]);
                }
            }
            Act::Accept if self.worker.next_dial().is_some() => self.endpoints.push(self.worker.accept()),
            Act::Refuse if self.worker.next_dial().is_some() => self.worker.refuse(),
            Act::Accept | Act::Refuse => {}
            Act::Answer(which, kind) => {
                if let Some(key) = endpoint(which) {
                    self.worker.receive(key, ANSWERS[usize::from(*kind)]);
                }
            }
            Act::More(which, size) => {
                if let Some(key) = endpoint(which) {
                    self.worker.receive(key, vec![b'm'; *size]);
                }
            }
            Act::Lose(which) => {
                if let Some(key) = any(which) {
                    self.worker.lose(key);
                }
            }
            Act::End(which) => {
                if let Some(key) = any(which) {
                    self.worker.end(key);
                }
            }
            Act::Stall(which, stalled) => {
                if let Some(key) = any(which) {
                    self.worker.stall(key, *stalled);
                }
            }
            Act::Pass(time) => self.worker.pass(*time),
            Act::Drain(drains) => {
                self.worker.port.drains = *drains;
                if *drains {
                    self.worker.streams.drain(&mut self.worker.port, &self.clients);
                    self.worker.settle();
                }
            }
        }
    }

    /// Outboxes stay under their mark, plus heads and one write.
    fn check(&self) {
        for (_, link) in self.worker.port.links.iter() {
            assert!(link.outbox.len() <= 64 * 1024 + 16 * 1024, "{}", link.outbox.len());
        }
        // A window, one read, and what may be sent again: per direction.
        let held = self.worker.streams.held();
        assert!(
            held <= 2 * (64 * 1024 + 100_000 + 64 * 1024) * self.worker.streams.active().max(1),
            "{held}"
        );
    }

    fn finish(mut self) {
        while self.worker.next_dial().is_some() {
            self.worker.refuse();
            self.worker.pass(1_000);
        }
        for key in self.worker.port.links.keys() {
            self.worker.lose(key);
        }
        while self.worker.next_dial().is_some() {
            self.worker.refuse();
            self.worker.pass(1_000);
        }
        // Timers of exchanges stay armed for the next ones, and find nobody: within an hour none is left.
        self.worker.pass(3_600_000);
        let worker = &self.worker;
        assert_eq!(worker.streams.active(), 0);
        assert_eq!(worker.port.links.len(), 0);
        assert!(worker.port.timers.keys().all(|owner| !matches!(owner, Owner::Exchange(_) | Owner::Pipe(_))));
        for counter in [ClusterCounter::RqActive, ClusterCounter::CxActive, ClusterCounter::RqPendingActive] {
            assert_eq!(worker.cluster_counter("shop", counter), 0, "{counter:?}");
        }
        assert_eq!(worker.http_counter(HttpCounter::RqActive), 0);
        assert_eq!(worker.http_counter(HttpCounter::CxActive), 0);
        if !self.tcp {
            // Once each, those that the codec answered by itself included.
            assert_eq!(worker.http_counter(HttpCounter::RqTotal), worker.port.records.len() as i64);
        } else {
            assert_eq!(self.clients.len(), worker.port.records.len());
        }
    }
}

fn http() -> Worker {
    let mut manager = manager();
    manager.stream_idle_timeout = Some(30_000);
    let listener = listener(plan::Terminal::Http { manager });
    let policy = plan::RetryPolicy {
        per_try_timeout: Some(5_000),
        ..retries(2, &["5xx", "reset", "connect-failure"])
    };
    let routes = vec![route("/retry", to_with_retries("shop", policy)), route("/a", to("shop"))];
    Worker::new(&listener, &[table(routes)], &[cluster("shop", &["10.1.0.1:80", "10.1.0.2:80"])])
}

fn tcp() -> Worker {
    let mut proxy = tcp_proxy("shop");
    proxy.idle_timeout = Some(50_000);
    proxy.max_connect_attempts = 3;
    let listener = listener(plan::Terminal::Tcp { proxy });
    Worker::new(&listener, &[], &[cluster("shop", &["10.1.0.1:80", "10.1.0.2:80"])])
}

fn play(worker: Worker, tcp: bool, acts: &[Act]) {
    let mut field = Field { worker, tcp, clients: Vec::new(), endpoints: Vec::new() };
    field.act(&Act::Connect);
    for act in acts {
        field.act(act);
        field.check();
    }
    field.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_exchange_finishes_once(acts in proptest::collection::vec(act(), 1..80)) {
        play(http(), false, &acts);
    }

    #[test]
    fn every_pipe_finishes_once(acts in proptest::collection::vec(act(), 1..80)) {
        play(tcp(), true, &acts);
    }
}
