//! Event × state: what each event does in each phase of an exchange, as a table.

use crate::message::Key;
use crate::plan;
use crate::stream::testing::{Worker, cluster, listener, manager, retries, route, table, to_with_retries};

/// How far the exchange is when the event comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The dial is under way.
    Connecting,
    /// Between two attempts.
    BackingOff,
    /// The request is out, half of its body is to come.
    Sending,
    /// All of the request is out.
    Sent,
    /// The response's head is down, half of its body is to come.
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    ClientLost,
    EndpointLost,
    DialFails,
    Answer,
    RestOfRequest,
    RestOfResponse,
    IdleTimeout,
}

struct Scene {
    worker: Worker,
    client: Key,
    endpoint: Option<Key>,
}

fn scene(state: State) -> Scene {
    let mut manager = manager();
    manager.stream_idle_timeout = Some(10_000);
    let mut policy = retries(1, &["connect-failure"]);
    policy.back_off = plan::BackOff { base: 5_000, max: 5_000 };
    let listener = listener(plan::Terminal::Http { manager });
    let routes = vec![route("/", to_with_retries("shop", policy))];
    let mut worker = Worker::new(&listener, &[table(routes)], &[cluster("shop", &["10.1.0.1:80"])]);
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    if state == State::BackingOff {
        worker.refuse();
    }
    let endpoint = (state > State::BackingOff).then(|| worker.accept());
    if state > State::Sending {
        worker.receive(client, "cd");
    }
    if let Some(endpoint) = endpoint.filter(|_| state == State::Answered) {
        worker.receive(endpoint, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    }
    // What was sent has left.
    worker.pass(1);
    Scene { worker, client, endpoint }
}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

impl Scene {
    fn play(&mut self, event: Event) {
        let worker = &mut self.worker;
        match (event, self.endpoint) {
            (Event::ClientLost, _) => worker.lose(self.client),
            (Event::EndpointLost, Some(endpoint)) => worker.lose(endpoint),
            (Event::DialFails, None) if worker.next_dial().is_some() => worker.refuse(),
            (Event::Answer, Some(endpoint)) => worker.receive(endpoint, "HTTP/1.1 204 No\r\n\r\n"),
            (Event::RestOfRequest, _) => worker.receive(self.client, "cd"),
            (Event::RestOfResponse, Some(endpoint)) => worker.receive(endpoint, "cd"),
            (Event::IdleTimeout, _) => worker.pass(10_000),
            _ => {}
        }
    }

    /// `-` while it goes on; else status, flags.
    fn outcome(&self) -> String {
        match self.worker.port.records.as_slice() {
            [] => "-".to_owned(),
            [record] => format!("{} {}", record.status, record.flags),
            more => format!("{} records", more.len()),
        }
    }
}

#[test]
fn events_in_states() {
    use Event::*;
    use State::*;
    for (state, event, outcome) in [
        (Connecting, ClientLost, "0 DC"),
        (Connecting, DialFails, "-"),
        (Connecting, RestOfRequest, "-"),
        (Connecting, IdleTimeout, "408 SI"),
        (BackingOff, ClientLost, "0 DC"),
        (BackingOff, RestOfRequest, "-"),
        (BackingOff, IdleTimeout, "408 SI"),
        (Sending, ClientLost, "0 DC"),
        (Sending, EndpointLost, "503 UC"),
        (Sending, Answer, "204 -"),
        (Sending, RestOfRequest, "-"),
        (Sending, IdleTimeout, "408 SI"),
        (Sent, ClientLost, "0 DC"),
        (Sent, EndpointLost, "503 UC"),
        (Sent, Answer, "204 -"),
        (Sent, IdleTimeout, "504 SI"),
        (Answered, ClientLost, "200 DC"),
        (Answered, EndpointLost, "200 UC"),
        (Answered, RestOfResponse, "200 -"),
        (Answered, IdleTimeout, "200 SI"),
    ] {
        let mut scene = scene(state);
        scene.play(event);
        assert_eq!(scene.outcome(), outcome, "{event:?} while {state:?}");
        let goes_on = usize::from(outcome == "-");
        assert_eq!(scene.worker.streams.active(), goes_on, "{event:?} while {state:?}");
    }
}
