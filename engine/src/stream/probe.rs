//! Health probes: one request, or one connection, to one endpoint, and whether it was well.
//!
//! In: a cluster's check and an endpoint of it, in force or still warming. Out: a verdict, once. Probes pass breakers and
//! outlier detection by, and count as no requests.

use std::sync::Arc;

use super::Streams;
use super::binding::Binding;
use super::exchange::Errand;
use super::origin::{Caller, Failure};
use super::pools::{address_of, dial_tls};
use super::port::{Close, Dial, Owner, Port, Speak, TimerSlot};
use crate::codec::contract::{Command, Event};
use crate::message::{HeaderBlock, Key, MILLISECOND, NameId, RequestHead, ResponseHead, Tick};
use crate::plan::{HealthCheck, HealthCheckKind};
use crate::upstream::{Cluster, Endpoint};

/// Hears the verdict; called once, unless the probe is cancelled.
pub type Verdict = Box<dyn FnOnce(bool)>;

/// Finds a probe under way again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKey {
    /// An engine-born exchange.
    Call(Key),
    /// A dial, and nothing more.
    Dial(Key),
}

/// A verdict that is waited for.
struct Pending(Option<Verdict>);

impl Pending {
    fn tell(&mut self, healthy: bool) {
        if let Some(verdict) = self.0.take() {
            verdict(healthy);
        }
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Pending({})", self.0.is_some())
    }
}

impl Streams {
    /// Asks `endpoint`. It fails by itself after the check's timeout.
    pub fn probe<P: Port>(
        &mut self,
        port: &mut P,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<Endpoint>,
        check: &HealthCheck,
        verdict: Verdict,
    ) -> ProbeKey {
        let pending = Pending(Some(verdict));
        let (head, body, judge, http2) = match &check.check {
            HealthCheckKind::Tcp { send, receive } => {
                let talk = Talk {
                    send: send.clone(),
                    receive: receive.iter().map(|each| each.bytes.clone()).collect(),
                    heard: Vec::new(),
                };
                return self.probe_tcp(port, cluster, endpoint, check, talk, pending);
            }
            HealthCheckKind::Http { host, path, headers, statuses, http2 } => {
                let host = if host.is_empty() { cluster.name() } else { host.as_str() };
                let mut head = request(b"GET", host, path);
                for (name, value) in headers {
                    head.headers.push(name.as_bytes(), value.as_bytes());
                }
                (head, Vec::new(), Judge::Http { statuses: statuses.clone() }, *http2)
            }
            HealthCheckKind::Grpc { service, authority } => {
                let host = if authority.is_empty() { cluster.name() } else { authority.as_str() };
                let mut head = request(b"POST", host, "/grpc.health.v1.Health/Check");
                head.headers.push_id(NameId::CONTENT_TYPE, b"application/grpc");
                head.headers.push_id(NameId::TE, b"trailers");
                (head, health_request(service), Judge::Grpc { body: Vec::new() }, true)
            }
        };
        let errand = Errand {
            timeout: Some(check.timeout.saturating_mul(MILLISECOND)),
            pinned: Some((Arc::clone(cluster), Arc::clone(endpoint))),
            http2,
            ..Errand::to(cluster.name())
        };
        let caller = Box::new(Prober { judge, pending });
        let is_whole = body.is_empty();
        let call = self.call(port, errand, Box::new(head), is_whole, caller);
        if !is_whole {
            self.send(port, call, &body, true);
        }
        ProbeKey::Call(call)
    }

    /// Nobody wants to know any more.
    pub fn cancel_probe<P: Port>(&mut self, port: &mut P, probe: ProbeKey) {
        match probe {
            ProbeKey::Call(call) => self.cancel(port, call),
            ProbeKey::Dial(connection) => {
                if let Some(mut probing) = self.probes.remove(&connection) {
                    port.arm(&mut probing.timer, Owner::Connection(connection), None);
                    port.close(connection, Close::Reset);
                }
            }
        }
    }

    fn probe_tcp<P: Port>(
        &mut self,
        port: &mut P,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<Endpoint>,
        check: &HealthCheck,
        talk: Talk,
        pending: Pending,
    ) -> ProbeKey {
        let deadline = port.now().after_milliseconds(check.timeout);
        let dial = Dial {
            address: address_of(endpoint.address()),
            source: cluster.policy().source_address.clone(),
            tls: endpoint.tls().map(|cell| dial_tls(cell, None, |_| true, None)),
            speak: Speak::Tcp,
            deadline,
            keepalive: None,
            buffer_limit: None,
            binding: Binding::Probe,
        };
        let connection = port.dial(dial);
        let probing = Probing { pending, talk, deadline, timer: TimerSlot::default() };
        self.probes.insert(connection, probing);
        ProbeKey::Dial(connection)
    }

    /// The dial of a TCP probe has come to something.
    pub(super) fn probed<P: Port>(&mut self, port: &mut P, connection: Key, connected: bool) {
        let Some(probing) = self.probes.get_mut(&connection) else { return };
        if !connected || probing.talk.receive.is_empty() {
            return self.end_probe(port, connection, connected);
        }
        let stream = port.open_stream(connection);
        let sent = stream.map(|stream| {
            let bytes = probing.talk.send.as_slice();
            bytes.is_empty()
                || port.perform(connection, Command::SendData { stream, bytes, end: false }).is_ok()
        });
        if sent != Some(true) {
            return self.end_probe(port, connection, false);
        }
        port.arm(&mut probing.timer, Owner::Connection(connection), Some(probing.deadline));
    }

    /// The endpoint of a TCP probe has said something.
    pub(super) fn probe_event<P: Port>(&mut self, port: &mut P, connection: Key, event: Event<'_>) {
        let Some(probing) = self.probes.get_mut(&connection) else { return };
        match event {
            Event::DataReceived { bytes, end, .. } => match probing.talk.hear(bytes) {
                None if end => self.end_probe(port, connection, false),
                None => {}
                Some(healthy) => self.end_probe(port, connection, healthy),
            },
            Event::StreamReset { .. } | Event::InputEnded => self.end_probe(port, connection, false),
            _ => {}
        }
    }

    /// Tells what a TCP probe has found.
    pub(super) fn end_probe<P: Port>(&mut self, port: &mut P, connection: Key, healthy: bool) {
        let Some(mut probing) = self.probes.remove(&connection) else { return };
        port.arm(&mut probing.timer, Owner::Connection(connection), None);
        probing.pending.tell(healthy);
        port.close(connection, if healthy { Close::Flushed } else { Close::Reset });
    }
}

/// A TCP probe under way.
#[derive(Debug)]
pub struct Probing {
    pending: Pending,
    talk: Talk,
    /// Of the answer; the dial has the same.
    deadline: Tick,
    timer: TimerSlot,
}

/// What is said and what must be heard, one after the other, whatever lies between.
#[derive(Debug)]
struct Talk {
    send: Vec<u8>,
    receive: Vec<Vec<u8>>,
    heard: Vec<u8>,
}

impl Talk {
    /// Whether the answer is right, as soon as that is known.
    fn hear(&mut self, bytes: &[u8]) -> Option<bool> {
        self.heard.extend_from_slice(bytes);
        let mut rest = self.heard.as_slice();
        for wanted in &self.receive {
            match memchr::memmem::find(rest, wanted) {
                Some(at) => rest = rest.get(at + wanted.len()..).unwrap_or(&[]),
                None => return (self.heard.len() > MAX_ANSWER).then_some(false),
            }
        }
        Some(true)
    }
}

fn request(method: &[u8], host: &str, path: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(method);
    head.set_scheme(b"http");
    head.set_authority(host.as_bytes());
    head.set_path(path.as_bytes());
    head.headers.push_id(NameId::USER_AGENT, b"Mainstay/HC");
    head
}

/// One gRPC message: `HealthCheckRequest { string service = 1 }`.
fn health_request(service: &str) -> Vec<u8> {
    let service = service.as_bytes().get(..service.len().min(127)).unwrap_or(&[]);
    let mut message = Vec::new();
    if !service.is_empty() {
        message.extend([1 << 3 | 2, service.len() as u8]);
        message.extend_from_slice(service);
    }
    let mut framed = vec![0, 0, 0, 0, message.len() as u8];
    framed.extend(message);
    framed
}

/// `HealthCheckResponse { ServingStatus status = 1 }`, SERVING = 1.
fn is_serving(framed: &[u8]) -> bool {
    framed.get(5..7) == Some(&[1 << 3, 1])
}

/// How an answer is judged.
#[derive(Debug)]
enum Judge {
    /// `start` inclusive, `end` exclusive; none: 200 alone, as in Envoy.
    Http {
        statuses: Vec<(u16, u16)>,
    },
    Grpc {
        body: Vec<u8>,
    },
}

/// Longer answers are not those of a health service, or not the one that is waited for, bytes.
const MAX_ANSWER: usize = 1_024;

#[derive(Debug)]
struct Prober {
    judge: Judge,
    pending: Pending,
}

impl Caller for Prober {
    fn head(&mut self, _: &mut dyn Port, head: &ResponseHead, end: bool) {
        match &self.judge {
            Judge::Http { statuses } if statuses.is_empty() => self.pending.tell(head.status == 200),
            Judge::Http { statuses } => {
                let expected = statuses.iter().any(|(start, end)| (*start..*end).contains(&head.status));
                self.pending.tell(expected);
            }
            Judge::Grpc { .. } if end || head.status != 200 => self.pending.tell(false),
            Judge::Grpc { .. } => {}
        }
    }

    fn data(&mut self, _: &mut dyn Port, bytes: &[u8], end: bool) -> usize {
        if let Judge::Grpc { body } = &mut self.judge {
            if body.len() + bytes.len() <= MAX_ANSWER {
                body.extend_from_slice(bytes);
            }
            if end {
                // A gRPC answer ends by trailers.
                self.pending.tell(false);
            }
        }
        bytes.len()
    }

    fn trailers(&mut self, _: &mut dyn Port, trailers: &HeaderBlock) {
        if let Judge::Grpc { body } = &self.judge {
            let fine = trailers.get_id(NameId::GRPC_STATUS) == Some(b"0") && is_serving(body);
            self.pending.tell(fine);
        }
    }

    fn failed(&mut self, _: &mut dyn Port, _: &Failure) {
        self.pending.tell(false);
    }
}
