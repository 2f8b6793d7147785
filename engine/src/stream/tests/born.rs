//! Requests that the engine makes itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::message::{HeaderBlock, RequestHead, ResponseHead, SECOND};
use crate::plan;
use crate::stream::testing::{Worker, cluster, listener, manager, route, table, to};
use crate::stream::{Caller, Errand, Failure, Port};
use crate::telemetry::ClusterCounter;

/// Notes what it is told.
#[derive(Debug, Clone, Default)]
struct Notebook(Rc<RefCell<Vec<String>>>);

impl Caller for Notebook {
    fn head(&mut self, _: &mut dyn Port, head: &ResponseHead, end: bool) {
        self.0.borrow_mut().push(format!("head {} {end}", head.status));
    }
    fn data(&mut self, _: &mut dyn Port, bytes: &[u8], end: bool) -> usize {
        self.0.borrow_mut().push(format!("data {} {end}", String::from_utf8_lossy(bytes)));
        bytes.len()
    }
    fn trailers(&mut self, _: &mut dyn Port, trailers: &HeaderBlock) {
        self.0.borrow_mut().push(format!("trailers {}", trailers.len()));
    }
    fn request_moved(&mut self, _: &mut dyn Port, credit: usize) {
        self.0.borrow_mut().push(format!("moved {credit}"));
    }
    fn failed(&mut self, _: &mut dyn Port, failure: &Failure) {
        self.0.borrow_mut().push(format!("failed {} {}", failure.flags.text(), failure.details));
    }
}

fn head(path: &str) -> Box<RequestHead> {
    let mut head = Box::<RequestHead>::default();
    head.set_method(b"POST");
    head.set_scheme(b"http");
    head.set_authority(b"shop");
    head.set_path(path.as_bytes());
    head
}

fn errand() -> Errand {
    Errand { timeout: Some(SECOND), ..Errand::to("shop") }
}

fn shop() -> Worker {
    Worker::http(vec![route("/", to("shop"))], &[cluster("shop", &["10.1.0.1:80"])])
}

#[test]
fn a_call_streams_both_ways() {
    let (mut worker, notebook) = (shop(), Notebook::default());
    let caller = Box::new(notebook.clone());
    let call = worker.streams.call(&mut worker.port, errand(), head("/x"), false, caller);
    let upstream = worker.accept();
    assert!(worker.streams.send(&mut worker.port, call, b"question", true));
    worker.settle();
    let sent = worker.sent(upstream);
    assert!(sent.starts_with("POST /x HTTP/1.1\r\nhost: shop\r\n") && sent.contains("question"), "{sent}");
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nans");
    worker.receive(upstream, "wer");
    assert_eq!(*notebook.0.borrow(), ["moved 8", "head 200 false", "data ans false", "data wer true"]);
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_call_that_fails_is_told_once() {
    for (name, act, told) in [
        ("refused", 0, "failed UF upstream_reset_before_response_started{remote_connection_failure}"),
        ("late", 1, "failed DT max_duration_timeout"),
        ("lost", 2, "failed UC upstream_reset_before_response_started{connection_termination}"),
    ] {
        let (mut worker, notebook) = (shop(), Notebook::default());
        worker.streams.call(&mut worker.port, errand(), head("/"), true, Box::new(notebook.clone()));
        match act {
            0 => worker.refuse(),
            1 => worker.pass(1_000),
            _ => {
                let upstream = worker.accept();
                worker.pass(1);
                worker.lose(upstream);
            }
        }
        assert_eq!(*notebook.0.borrow(), [told], "{name}");
        assert_eq!(worker.streams.active(), 0);
    }
    let (mut worker, notebook) = (shop(), Notebook::default());
    let nowhere = Errand::to("nowhere");
    worker.streams.call(&mut worker.port, nowhere, head("/"), true, Box::new(notebook.clone()));
    assert_eq!(*notebook.0.borrow(), ["failed NC cluster_not_found"]);
}

#[test]
fn a_cancelled_call_says_nothing_more() {
    let (mut worker, notebook) = (shop(), Notebook::default());
    let call = worker.streams.call(&mut worker.port, errand(), head("/"), true, Box::new(notebook.clone()));
    let upstream = worker.accept();
    worker.streams.cancel(&mut worker.port, call);
    worker.settle();
    assert!(worker.gone(upstream).is_some());
    assert!(notebook.0.borrow().is_empty());
}

#[test]
fn mirrors_get_the_request_and_nobody_their_answer() {
    let mut action = to("shop");
    if let plan::RouteAction::Forward { mirrors, .. } = &mut action {
        mirrors.push(plan::Mirror { cluster: "shadow".into(), fraction: None, shadow_host: true });
    }
    let clusters = [cluster("shop", &["10.1.0.1:80"]), cluster("shadow", &["10.9.0.1:80"])];
    let mut worker = Worker::http(vec![route("/", action)], &clusters);
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 6\r\n\r\nab");
    let upstream = worker.accept();
    assert_eq!(worker.next_dial().as_deref(), Some("10.9.0.1:80"));
    let shadow = worker.accept();
    worker.receive(client, "cdef");
    for (connection, host) in [(upstream, "host: shop\r\n"), (shadow, "host: shop-shadow\r\n")] {
        let sent = worker.sent(connection);
        assert!(sent.contains(host) && sent.ends_with("abcdef"), "{sent}");
    }
    worker.receive(shadow, "HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad");
    assert_eq!(worker.sent(client), "");
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).starts_with("HTTP/1.1 200"));
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_mirror_that_lags_is_given_up() {
    let mut action = to("shop");
    if let plan::RouteAction::Forward { mirrors, .. } = &mut action {
        mirrors.push(plan::Mirror { cluster: "shadow".into(), fraction: None, shadow_host: false });
    }
    let listener = listener(plan::Terminal::Http { manager: manager() });
    let clusters = [cluster("shop", &["10.1.0.1:80"]), cluster("shadow", &["10.9.0.1:80"])];
    let mut worker = Worker::new(&listener, &[table(vec![route("/", action)])], &clusters);
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n");
    let upstream = worker.accept();
    for _ in 0..10 {
        worker.receive(client, vec![b'x'; 100_000]);
    }
    assert!(worker.sent(upstream).len() > 1_000_000);
    assert_eq!(worker.streams.active(), 1);
}

/// Starts a probe of the one endpoint of `shop`, by this check.
fn probe(worker: &mut Worker, check: plan::HealthCheckKind) -> Rc<RefCell<Vec<bool>>> {
    let told = Rc::new(RefCell::new(Vec::new()));
    let cluster = Arc::clone(worker.port.snapshot.cluster("shop").unwrap());
    let endpoint = Arc::clone(&cluster.endpoints().endpoints[0]);
    let check = plan::HealthCheck {
        check,
        timeout: 1_000,
        interval: 5_000,
        initial_delay: 0,
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        enabled: plan::Fraction { numerator: 100, denominator: 100 },
    };
    let tell = Rc::clone(&told);
    let verdict = Box::new(move |healthy| tell.borrow_mut().push(healthy));
    worker.streams.probe(&mut worker.port, &cluster, &endpoint, &check, verdict);
    worker.settle();
    told
}

fn http_check() -> plan::HealthCheckKind {
    plan::HealthCheckKind::Http {
        host: String::new(),
        path: "/healthz".into(),
        headers: vec![("x-probe".into(), "1".into())],
        statuses: vec![(200, 300)],
        http2: false,
    }
}

#[test]
fn probes_judge_by_status_and_by_silence() {
    for (answer, healthy) in [(Some("204"), true), (Some("500"), false), (None, false)] {
        let mut worker = shop();
        let told = probe(&mut worker, http_check());
        let upstream = worker.accept();
        assert!(worker.sent(upstream).starts_with("GET /healthz HTTP/1.1\r\nhost: shop\r\n"));
        match answer {
            Some(status) => {
                worker.receive(upstream, format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"))
            }
            None => worker.pass(1_000),
        }
        assert_eq!(*told.borrow(), [healthy], "{answer:?}");
        assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqTotal), 0);
        assert_eq!(worker.streams.active(), 0);
    }
}

#[test]
fn a_tcp_probe_is_a_connection_and_no_more() {
    let mut worker = shop();
    let told = probe(&mut worker, plan::HealthCheckKind::Tcp { send: Vec::new(), receive: Vec::new() });
    let upstream = worker.accept();
    assert_eq!((told.borrow().as_slice(), worker.gone(upstream).is_some()), (&[true][..], true));
    let told = probe(&mut worker, plan::HealthCheckKind::Tcp { send: Vec::new(), receive: Vec::new() });
    worker.refuse();
    assert_eq!(*told.borrow(), [false]);
}

#[test]
fn a_tcp_probe_may_want_an_answer() {
    // A heartbeat of Bolt, and the first bytes of its answer, behind whatever comes first.
    let check = || plan::HealthCheckKind::Tcp {
        send: b"ping".to_vec(),
        receive: [b"po".to_vec(), b"ng".to_vec()].map(|bytes| plan::CheckBytes { bytes }).into(),
    };
    for (answers, wanted) in
        [(&["xx po", "-n", "g!"][..], Some(true)), (&["ng po"], None), (&[&*"x".repeat(2_000)], Some(false))]
    {
        let mut worker = shop();
        let told = probe(&mut worker, check());
        let upstream = worker.accept();
        assert_eq!(worker.sent(upstream), "ping");
        for answer in answers {
            worker.receive(upstream, answer);
        }
        if wanted.is_none() {
            assert_eq!(*told.borrow(), [] as [bool; 0], "it may still come");
            worker.pass(1_000);
        }
        assert_eq!(*told.borrow(), [wanted == Some(true)], "{answers:?}");
        assert!(worker.gone(upstream).is_some());
    }
    let mut worker = shop();
    let told = probe(&mut worker, check());
    let upstream = worker.accept();
    worker.lose(upstream);
    assert_eq!(*told.borrow(), [false]);
}
