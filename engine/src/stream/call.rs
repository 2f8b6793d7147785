//! gRPC calls lent to Python: engine-born exchanges whose messages become events.
//!
//! In: calls by number, messages to send, grants. Out: `GrpcOpened`, `GrpcMessage` and at last `GrpcClosed`, once. Invariant: a
//! message is read only when it was granted, so a brain that is busy holds the server back, not our memory. The slow worker
//! runs these; the numbers are the engine's.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::Streams;
use super::origin::{Caller, Failure};
use super::port::Port;
use super::reply::grpc_status_of;
use super::shared::errand;
use crate::message::{
    BodyLength, HeaderBlock, Key, NameId, Protocol, RequestHead, ResponseFlags, ResponseHead,
};
use crate::plan::Event;
use crate::upstream::Cluster;

/// The largest message that is taken, bytes: a whole mesh's endpoints stay far below.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Bytes of a call that wait for the server; one that takes nothing for so long is given up.
const MAX_UNSENT: usize = 64 * 1024 * 1024;
/// Flag and length in front of each message.
const PREFIX: usize = 5;

const CANCELLED: u32 = 1;
const UNKNOWN: u32 = 2;
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// A call that Python wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcCall {
    /// Names it in events.
    pub number: u64,
    pub cluster: String,
    /// `/package.Service/Method`.
    pub path: String,
    /// Further fields; `:authority` replaces the name that is sent to the server.
    pub metadata: Vec<(String, String)>,
}

type Ended = Rc<RefCell<VecDeque<u64>>>;

/// All calls that are lent out.
#[derive(Debug, Default)]
pub struct Lent {
    calls: HashMap<u64, Entry>,
    /// Calls that have closed, whose exchanges may still run.
    ended: Ended,
}

#[derive(Debug)]
struct Entry {
    exchange: Key,
    state: Rc<RefCell<State>>,
}

impl Lent {
    /// No call has closed.
    pub fn is_quiet(&self) -> bool {
        self.ended.borrow().is_empty()
    }

    /// The exchange of a call that has closed, to be dropped with what is left of it.
    pub fn next_ended(&mut self) -> Option<Key> {
        loop {
            let number = self.ended.borrow_mut().pop_front()?;
            if let Some(entry) = self.calls.remove(&number) {
                return Some(entry.exchange);
            }
        }
    }
}

impl Streams {
    /// Opens a call. It has no deadline: streams of configuration stay open for days.
    pub fn open_grpc<P: Port>(&mut self, port: &mut P, wanted: &GrpcCall) {
        let cluster = port.snapshot().cluster(&wanted.cluster).cloned();
        let head = match request_head(wanted, cluster.as_deref()) {
            Ok(head) => head,
            Err(what) => {
                return port.emit(Event::GrpcClosed {
                    call: wanted.number,
                    status: INVALID_ARGUMENT,
                    message: what.to_owned(),
                });
            }
        };
        let state = Rc::new(RefCell::new(State::new(wanted.number, &self.lent.ended)));
        let caller = Box::new(Taker(Rc::clone(&state)));
        let exchange = self.call(port, errand(&wanted.cluster, None), head, false, caller);
        if !state.borrow().closed {
            self.lent.calls.insert(wanted.number, Entry { exchange, state });
        }
    }

    /// Sends one message; `end` half-closes the call behind it. A call that is over swallows it.
    pub fn send_grpc<P: Port>(&mut self, port: &mut P, number: u64, message: &[u8], end: bool) {
        let Some(entry) = self.lent.calls.get(&number) else { return };
        let exchange = entry.exchange;
        let is_too_much = match u32::try_from(message.len()) {
            Ok(length) => {
                let mut state = entry.state.borrow_mut();
                state.unsent += PREFIX + message.len();
                let mut bytes = Vec::with_capacity(PREFIX + message.len());
                bytes.push(0);
                bytes.extend(length.to_be_bytes());
                bytes.extend_from_slice(message);
                let is_too_much = state.unsent > MAX_UNSENT;
                drop(state);
                if !is_too_much {
                    self.send(port, exchange, &bytes, end);
                }
                is_too_much
            }
            Err(_) => true,
        };
        if is_too_much && let Some(entry) = self.lent.calls.get(&number) {
            entry.state.borrow_mut().close(
                port,
                RESOURCE_EXHAUSTED,
                "the server takes no more messages".into(),
            );
            self.run(port);
        }
    }

    /// Lets so many more messages of a call come.
    pub fn grant_grpc<P: Port>(&mut self, port: &mut P, number: u64, messages: u32) {
        let Some(entry) = self.lent.calls.get(&number) else { return };
        let exchange = entry.exchange;
        {
            let mut state = entry.state.borrow_mut();
            state.granted = state.granted.saturating_add(messages);
        }
        self.caller_ready(port, exchange);
    }

    /// Drops a call; no event of it follows.
    pub fn cancel_grpc<P: Port>(&mut self, port: &mut P, number: u64) {
        if let Some(entry) = self.lent.calls.remove(&number) {
            entry.state.borrow_mut().closed = true;
            self.cancel(port, entry.exchange);
        }
    }
}

fn request_head(wanted: &GrpcCall, cluster: Option<&Cluster>) -> Result<Box<RequestHead>, &'static str> {
    let is_text = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
    };
    let is_path = wanted.path.starts_with('/') && wanted.path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_path {
        return Err("the path of a call is /package.Service/Method");
    }
    let mut head = Box::<RequestHead>::default();
    head.protocol = Protocol::Http2;
    head.body = BodyLength::Unknown;
    head.set_method(b"POST");
    let is_tls = cluster.is_some_and(|cluster| cluster.policy().tls.is_some());
    head.set_scheme(if is_tls { b"https" } else { b"http" });
    head.set_path(wanted.path.as_bytes());
    head.headers.push_id(NameId::CONTENT_TYPE, b"application/grpc");
    head.headers.push_id(NameId::TE, b"trailers");
    head.headers.push_id(NameId::USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")).as_bytes());
    let mut authority = None;
    for (name, value) in &wanted.metadata {
        if !is_text(value) {
            return Err("metadata must be printable ASCII");
        }
        if name == ":authority" {
            authority = Some(value.as_str());
        } else if is_name(name) {
            head.headers.push(name.as_bytes(), value.as_bytes());
        } else {
            return Err("metadata names are lower-case letters, digits, -, _ and .");
        }
    }
    let authority = authority.map_or_else(|| authority_of(&wanted.cluster, cluster), str::to_owned);
    head.set_authority(authority.as_bytes());
    Ok(head)
}

/// The service's name if the plan says it, else the cluster's, as Envoy does, where it can stand in a URL.
fn authority_of(name: &str, cluster: Option<&Cluster>) -> String {
    let host = cluster.map_or("", |cluster| &cluster.policy().service_host);
    let is_host = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    };
    [host, name].into_iter().find(|text| is_host(text)).unwrap_or("localhost").to_owned()
}

/// What is known of a call, shared by its two ends.
#[derive(Debug)]
struct State {
    number: u64,
    granted: u32,
    /// `GrpcClosed` has been said, or nobody listens.
    closed: bool,
    unsent: usize,
    prefix: [u8; PREFIX],
    prefix_filled: usize,
    /// The message that is coming; its whole length is known once the prefix is full.
    message: Vec<u8>,
    ended: Ended,
}

impl State {
    fn new(number: u64, ended: &Ended) -> Self {
        Self {
            number,
            granted: 0,
            closed: false,
            unsent: 0,
            prefix: [0; PREFIX],
            prefix_filled: 0,
            message: Vec::new(),
            ended: Rc::clone(ended),
        }
    }

    fn close(&mut self, port: &mut dyn Port, status: u32, message: String) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.message = Vec::new();
        self.ended.borrow_mut().push_back(self.number);
        port.emit(Event::GrpcClosed { call: self.number, status, message });
    }

    /// By `grpc-status`; without one the call broke off.
    fn close_by(&mut self, port: &mut dyn Port, fields: &HeaderBlock, http_status: u16) {
        let text = |id| fields.get_id(id).map_or("", |value| std::str::from_utf8(value).unwrap_or(""));
        let message = decode_message(text(NameId::GRPC_MESSAGE));
        match text(NameId::GRPC_STATUS).parse() {
            Ok(status) => self.close(port, status, message),
            Err(_) if http_status != 200 => {
                self.close(port, grpc_status_of(http_status), format!("HTTP status {http_status}"));
            }
            Err(_) => self.close(port, UNKNOWN, "the server sent no grpc-status".into()),
        }
    }

    /// Takes bytes as far as messages are granted; says how many.
    fn take(&mut self, port: &mut dyn Port, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.granted > 0 && !self.closed {
            if self.prefix_filled < PREFIX {
                let count = rest.len().min(PREFIX - self.prefix_filled);
                let (taken, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
                if let Some(slot) = self.prefix.get_mut(self.prefix_filled..self.prefix_filled + taken.len())
                {
                    slot.copy_from_slice(taken);
                }
                self.prefix_filled += taken.len();
                rest = behind;
                if self.prefix_filled < PREFIX {
                    break;
                }
                let [flag, ..] = self.prefix;
                if flag != 0 {
                    self.close(port, INTERNAL, "compressed message, although none was asked for".into());
                } else if self.length() > MAX_MESSAGE {
                    let what = format!("message of {} bytes, more than {MAX_MESSAGE}", self.length());
                    self.close(port, RESOURCE_EXHAUSTED, what);
                }
            }
            let missing = self.length().saturating_sub(self.message.len());
            let (taken, behind) = rest.split_at_checked(missing.min(rest.len())).unwrap_or((rest, &[]));
            self.message.extend_from_slice(taken);
            rest = behind;
            if self.message.len() == self.length() && !self.closed {
                self.prefix_filled = 0;
                self.granted -= 1;
                let message = std::mem::take(&mut self.message);
                port.emit(Event::GrpcMessage { call: self.number, message });
            }
        }
        // What belongs to a closed call is swallowed until its exchange is dropped.
        if self.closed { bytes.len() } else { bytes.len() - rest.len() }
    }

    fn length(&self) -> usize {
        let [_, a, b, c, d] = self.prefix;
        u32::from_be_bytes([a, b, c, d]) as usize
    }

    fn is_within_message(&self) -> bool {
        self.prefix_filled > 0
    }
}

/// The answering end of a call.
#[derive(Debug)]
struct Taker(Rc<RefCell<State>>);

impl Caller for Taker {
    fn head(&mut self, port: &mut dyn Port, head: &ResponseHead, end: bool) {
        let mut state = self.0.borrow_mut();
        let content_type = head.headers.get_id(NameId::CONTENT_TYPE).unwrap_or(b"");
        if end {
            state.close_by(port, &head.headers, head.status);
        } else if head.status != 200 {
            state.close(port, grpc_status_of(head.status), format!("HTTP status {}", head.status));
        } else if !content_type.starts_with(b"application/grpc") {
            state.close(port, UNKNOWN, "the answer is not gRPC".into());
        } else {
            port.emit(Event::GrpcOpened { call: state.number });
        }
    }

    fn data(&mut self, port: &mut dyn Port, bytes: &[u8], end: bool) -> usize {
        let mut state = self.0.borrow_mut();
        let taken = state.take(port, bytes);
        if end && taken == bytes.len() {
            state.close(port, INTERNAL, "the call ended without trailers".into());
        }
        taken
    }

    fn trailers(&mut self, port: &mut dyn Port, trailers: &HeaderBlock) {
        let mut state = self.0.borrow_mut();
        if state.is_within_message() {
            return state.close(port, INTERNAL, "the call ended within a message".into());
        }
        state.close_by(port, trailers, 200);
    }

    fn request_moved(&mut self, _: &mut dyn Port, credit: usize) {
        let mut state = self.0.borrow_mut();
        state.unsent = state.unsent.saturating_sub(credit);
    }

    fn failed(&mut self, port: &mut dyn Port, failure: &Failure) {
        let status = if failure.flags.contains(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT) {
            DEADLINE_EXCEEDED
        } else if failure.details == "cancelled" {
            CANCELLED
        } else {
            UNAVAILABLE
        };
        let mut what = failure.details.clone();
        if !failure.upstream.is_empty() {
            what = format!("{what}: {}", failure.upstream);
        }
        self.0.borrow_mut().close(port, status, format!("{what} (flags {})", failure.flags.text()));
    }
}

/// `grpc-message` is percent-encoded; what is not is taken as it is.
fn decode_message(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = tail.get(2..).unwrap_or(&[]);
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
