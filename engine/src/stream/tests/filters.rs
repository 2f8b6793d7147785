//! Filters that pause, ask, collect, wake and answer, in a running exchange.

use std::rc::Rc;
use std::sync::Arc;

use crate::filter::{
    Answer, Chain, Context, Data, HttpFilter, HttpFilterFactory, LocalReply, StateSlot, Verdict, Wants,
};
use crate::message::{MILLISECOND, RequestHead, ResponseHead};
use crate::plan;
use crate::stream::testing::{Worker, cluster, listener, manager, route, table, to};

const UPSTREAM: &str = "10.1.0.1:80";

macro_rules! filter {
    ($name:ident { $($body:tt)* }) => {
        #[derive(Clone)]
        struct $name;
        impl HttpFilterFactory for $name {
            fn instance(self: Arc<Self>) -> Rc<dyn HttpFilter> {
                Rc::new($name)
            }
        }
        impl HttpFilter for $name { $($body)* }
    };
}

filter!(Gate {
    fn on_request_head(&self, context: &mut Context<'_>, _: &mut StateSlot, _: &mut RequestHead, _: bool) -> Verdict {
        let mut head = Box::<RequestHead>::default();
        head.set_method(b"GET");
        head.set_authority(b"auth");
        head.set_path(b"/check");
        let deadline = context.now + 100 * MILLISECOND;
        context.call("auth", head, Vec::new(), deadline);
        Verdict::Pause
    }
    fn on_answer(&self, _: &mut Context<'_>, _: &mut StateSlot, head: &mut RequestHead, answer: &Answer<'_>) -> Verdict {
        match answer {
            Answer::Response { head: answered, body, .. } if answered.status == 200 => {
                head.headers.push(b"x-who", body);
                Verdict::Continue
            }
            _ => Verdict::Reply(Box::new(LocalReply::new(403, "no", "gate_closed"))),
        }
    }
});

filter!(Shout {
    fn on_request_head(&self, _: &mut Context<'_>, _: &mut StateSlot, head: &mut RequestHead, end: bool) -> Verdict {
        head.headers.remove_id(crate::message::NameId::CONTENT_LENGTH);
        if end { Verdict::Continue } else { Verdict::Collect }
    }
    fn on_request_data(&self, _: &mut Context<'_>, _: &mut StateSlot, data: &mut Data<'_>, end: bool) -> Verdict {
        assert!(end, "all of it at once");
        let mut loud = data.bytes().to_ascii_uppercase();
        loud.extend_from_slice(b"!");
        data.replace(loud);
        Verdict::Continue
    }
});

filter!(Nap {
    fn on_request_head(&self, context: &mut Context<'_>, _: &mut StateSlot, _: &mut RequestHead, _: bool) -> Verdict {
        let later = context.now + 50 * MILLISECOND;
        context.wake_at(later);
        Verdict::Pause
    }
});

filter!(Veil {
    fn on_response_head(&self, _: &mut Context<'_>, _: &mut StateSlot, head: &mut ResponseHead, _: bool) -> Verdict {
        if head.status < 500 {
            return Verdict::Continue;
        }
        Verdict::Reply(Box::new(LocalReply::new(418, "veiled", "veil")))
    }
});

filter!(Stamp {
    fn on_response_head(&self, _: &mut Context<'_>, _: &mut StateSlot, head: &mut ResponseHead, _: bool) -> Verdict {
        head.headers.push(b"x-stamp", b"1");
        Verdict::Continue
    }
});

filter!(Fold {
    fn on_response_head(&self, _: &mut Context<'_>, _: &mut StateSlot, head: &mut ResponseHead, end: bool) -> Verdict {
        head.headers.remove_id(crate::message::NameId::CONTENT_LENGTH);
        if end { Verdict::Continue } else { Verdict::Collect }
    }
    fn on_response_data(&self, _: &mut Context<'_>, _: &mut StateSlot, data: &mut Data<'_>, _: bool) -> Verdict {
        let size = data.bytes().len().to_string();
        data.replace(size.into_bytes());
        Verdict::Continue
    }
});

fn with(filters: Vec<(&str, Wants, Arc<dyn HttpFilterFactory>)>) -> (Worker, crate::message::Key) {
    let clusters = [cluster("shop", &[UPSTREAM]), cluster("auth", &["10.2.0.1:80"])];
    let mut worker = Worker::http(vec![route("/", to("shop"))], &clusters);
    let client = worker.connect_through(&Chain::of(filters));
    (worker, client)
}

const GATED: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab";

#[test]
fn a_filter_asks_and_the_request_waits_for_the_answer() {
    let (mut worker, client) = with(vec![("gate", Wants::REQUEST_HEAD, Arc::new(Gate))]);
    worker.receive(client, GATED);
    assert_eq!(worker.next_dial().as_deref(), Some("10.2.0.1:80"));
    let auth = worker.accept();
    worker.receive(client, "cd");
    assert!(worker.sent(auth).starts_with("GET /check HTTP/1.1\r\nhost: auth\r\n"));
    assert_eq!(worker.next_dial(), None);
    worker.receive(auth, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\njoe");
    let upstream = worker.accept();
    let sent = worker.sent(upstream);
    assert!(sent.contains("x-who: joe\r\n") && sent.ends_with("abcd"), "{sent}");
    worker.receive(upstream, "HTTP/1.1 204 X\r\n\r\n");
    assert_eq!((worker.record().status, worker.streams.active()), (204, 0));
}

#[test]
fn an_answer_that_forbids_or_never_comes_ends_the_request() {
    for case in ["forbidden", "refused", "late"] {
        let (mut worker, client) = with(vec![("gate", Wants::REQUEST_HEAD, Arc::new(Gate))]);
        worker.receive(client, GATED);
        match case {
            "forbidden" => {
                let auth = worker.accept();
                worker.receive(auth, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
            }
            "refused" => worker.refuse(),
            _ => worker.pass(100),
        }
        assert!(worker.sent(client).starts_with("HTTP/1.1 403"), "{case}");
        assert_eq!((worker.record().details.as_str(), worker.streams.active()), ("gate_closed", 0));
    }
}

#[test]
fn a_late_answer_finds_nobody() {
    let (mut worker, client) = with(vec![("gate", Wants::REQUEST_HEAD, Arc::new(Gate))]);
    worker.receive(client, GATED);
    let auth = worker.accept();
    worker.lose(client);
    worker.receive(auth, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\njoe");
    assert_eq!((worker.next_dial(), worker.streams.active()), (None, 0));
}

#[test]
fn a_filter_may_have_the_whole_body() {
    let wants = Wants::REQUEST_HEAD.and(Wants::REQUEST_DATA);
    let (mut worker, client) = with(vec![("shout", wants, Arc::new(Shout))]);
    worker.receive(client, GATED);
    assert_eq!(worker.next_dial(), None);
    worker.receive(client, "cd");
    let upstream = worker.accept();
    let sent = worker.sent(upstream);
    assert!(sent.ends_with("5\r\nABCD!\r\n0\r\n\r\n"), "{sent}");
}

#[test]
fn a_body_too_long_to_be_collected_is_413() {
    let wants = Wants::REQUEST_HEAD.and(Wants::REQUEST_DATA);
    let (mut worker, client) = with(vec![("shout", wants, Arc::new(Shout))]);
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n");
    for _ in 0..20 {
        worker.receive(client, vec![b'x'; 100_000]);
    }
    assert!(worker.sent(client).starts_with("HTTP/1.1 413"));
    assert_eq!(worker.record().details, "request_payload_too_large");
}

#[test]
fn a_filter_sleeps_until_it_is_woken() {
    let (mut worker, client) = with(vec![("nap", Wants::REQUEST_HEAD, Arc::new(Nap))]);
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    worker.pass(49);
    assert_eq!(worker.next_dial(), None);
    worker.pass(1);
    assert_eq!(worker.next_dial().as_deref(), Some(UPSTREAM));
}

#[test]
fn responses_pass_in_reverse_and_a_reply_takes_their_place() {
    let filters: Vec<(&str, Wants, Arc<dyn HttpFilterFactory>)> = vec![
        ("stamp", Wants::RESPONSE_HEAD, Arc::new(Stamp)),
        ("veil", Wants::RESPONSE_HEAD, Arc::new(Veil)),
    ];
    let (mut worker, client) = with(filters);
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 500 X\r\nContent-Length: 6\r\n\r\nsecret");
    let sent = worker.sent(client);
    assert!(
        sent.starts_with("HTTP/1.1 418") && sent.contains("x-stamp: 1") && sent.ends_with("veiled"),
        "{sent}"
    );
}

#[test]
fn a_filter_may_have_the_whole_response() {
    let wants = Wants::RESPONSE_HEAD.and(Wants::RESPONSE_DATA);
    let (mut worker, client) = with(vec![("fold", wants, Arc::new(Fold))]);
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
    for _ in 0..20 {
        worker.receive(upstream, vec![b'x'; 10_000]);
    }
    let sent = worker.sent(client);
    assert!(sent.ends_with("6\r\n200000\r\n0\r\n\r\n"), "{sent}");
}

#[test]
fn policies_answer_before_routes_do() {
    let mut manager = manager();
    let deny = plan::RbacRules { allow: true, policies: Vec::new() };
    manager.filters = vec![plan::HttpFilter {
        name: "rbac".into(),
        config: plan::HttpFilterConfig::Rbac { rules: Some(deny), shadow_rules: None },
        disabled: false,
    }];
    let listener = listener(plan::Terminal::Http { manager });
    let mut worker =
        Worker::new(&listener, &[table(vec![route("/a", to("shop"))])], &[cluster("shop", &[UPSTREAM])]);
    let client = worker.connect();
    worker.receive(client, "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    let sent = worker.sent(client);
    assert!(sent.starts_with("HTTP/1.1 403") && sent.ends_with("RBAC: access denied"), "{sent}");
}
