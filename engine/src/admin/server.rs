//! The sockets of admin, metrics and health listeners, one thread each, a few connections at a time.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lent;
use super::request::{MAX_HEAD, Method, Parsed, Request, parse};
use super::view::State;

/// Connections served at once by one listener; more wait in the backlog.
const CONCURRENT: usize = 16;
/// A client that has not sent its request, or taken its answer, by then is cut.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes read at once.
const READ: usize = 4_096;

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Every page; Host must be loopback.
    Admin,
    /// `/stats/prometheus` (and `/metrics`) only.
    Metrics,
    /// `/healthz/ready` (and `/ready`) only.
    Health,
    /// Whole small requests of the application beside us, each handed to Python.
    Lent,
}

/// A page, rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Cow<'static, str>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: Cow::Borrowed("text/plain; charset=utf-8"),
            body: body.into().into_bytes(),
        }
    }

    pub fn prometheus(body: impl Into<String>) -> Self {
        Self {
            status: 200,
            content_type: Cow::Borrowed("text/plain; version=0.0.4; charset=utf-8"),
            body: body.into().into_bytes(),
        }
    }

    pub fn json(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: Cow::Borrowed("application/json"), body: body.into().into_bytes() }
    }

    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

/// Who knows the pages. Called on the listener's threads: it may take short locks, never wait for Python beyond its own deadline.
pub trait Pages: Send + Sync + 'static {
    fn answer(&self, request: &Request) -> Answer;
    /// What Python answers to the application; `None`: it did not, in the time it has.
    fn lend(&self, request: &Request) -> Option<Answer>;
    fn state(&self) -> State;
    fn prometheus(&self) -> String;
}

/// A running listener; dropping it does not stop it, `stop` does.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Binds and serves. `address` may have port 0; `address()` tells the chosen one.
    pub fn start(address: SocketAddr, audience: Audience, pages: Arc<dyn Pages>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("mainstay-admin".to_owned())
            .spawn(move || accept(&listener, audience, &pages, &stop))?;
        Ok(Self { address, stopping, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting and waits for the accepting thread; answers under way are finished by their own threads.
    pub fn stop(mut self) {
        self.stopping.store(true, Ordering::Release);
        // The accepting thread sits in accept(2): a connection of our own wakes it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, audience: Audience, pages: &Arc<dyn Pages>, stopping: &AtomicBool) {
    let live = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of descriptors: give others a moment to free some.
            std::thread::park_timeout(Duration::from_millis(100));
            continue;
        };
        if live.load(Ordering::Acquire) >= CONCURRENT {
            serve(stream, audience, pages.as_ref());
            continue;
        }
        live.fetch_add(1, Ordering::AcqRel);
        let (busy, pages) = (Arc::clone(&live), Arc::clone(pages));
        let spawned = std::thread::Builder::new()
            .name("mainstay-admin".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                serve(stream, audience, pages.as_ref());
                busy.fetch_sub(1, Ordering::AcqRel);
            });
        if spawned.is_err() {
            live.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// One request, one answer, close: operators and scrapers do not need more.
fn serve(mut stream: TcpStream, audience: Audience, pages: &dyn Pages) {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let (answer, head_only) = match read(&mut stream, &mut bytes, deadline) {
        Some(Parsed::Whole(request)) if audience == Audience::Lent => {
            let Some(answer) = lent::answer(&mut stream, request, &bytes, deadline, pages) else { return };
            (answer, false)
        }
        Some(Parsed::Whole(request)) => (judge(&request, audience, pages), request.method == Method::Head),
        Some(Parsed::Bad(status, reason)) if audience == Audience::Lent => {
            (lent::refusal(status, reason), false)
        }
        Some(Parsed::Bad(status, reason)) => (Answer::text(status, format!("{reason}\n")), false),
        Some(Parsed::Wait) | None => return,
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-cache, max-age=0\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        answer.status,
        reason(answer.status),
        answer.content_type,
        answer.body.len()
    );
    let _ = stream.set_write_timeout(Some(PATIENCE));
    if stream.write_all(head.as_bytes()).is_ok() && !head_only {
        let _ = stream.write_all(&answer.body);
    }
    if audience == Audience::Lent {
        lent::linger(&mut stream);
    }
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> Option<Parsed> {
    loop {
        read_some(stream, bytes, deadline)?;
        match parse(bytes) {
            Parsed::Wait if bytes.len() < MAX_HEAD + READ => {}
            parsed => return Some(parsed),
        }
    }
}

/// Adds what has come; `None`: the client is gone, or too slow.
pub(super) fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> Option<()> {
    let mut buffer = [0; READ];
    let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    stream.set_read_timeout(Some(left)).ok()?;
    let count = stream.read(&mut buffer).ok().filter(|&count| count > 0)?;
    bytes.extend_from_slice(buffer.get(..count)?);
    Some(())
}

fn judge(request: &Request, audience: Audience, pages: &dyn Pages) -> Answer {
    let path = request.path.as_str();
    match (audience, path) {
        (Audience::Health, "/healthz/ready" | "/ready") | (Audience::Admin, "/ready" | "/healthz/ready") => {
            let state = pages.state();
            let status = if state == State::Live { 200 } else { 503 };
            Answer::text(status, format!("{}\n", state.text()))
        }
        (Audience::Metrics, "/stats/prometheus" | "/metrics") => Answer::prometheus(pages.prometheus()),
        (Audience::Health | Audience::Metrics | Audience::Lent, _) => Answer::text(404, "no such page\n"),
        (Audience::Admin, _) if !request.host_is_loopback() => {
            Answer::text(403, "the Host header must name a loopback address\n")
        }
        (Audience::Admin, "/stats/prometheus") => judge(request, Audience::Metrics, pages),
        (Audience::Admin, _) => pages.answer(request),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(bool);

    impl Pages for Fixed {
        fn lend(&self, request: &Request) -> Option<Answer> {
            (request.path != "/silence").then(|| Answer {
                status: 200,
                content_type: Cow::Borrowed("application/json"),
                body: request.body.clone(),
            })
        }
        fn answer(&self, request: &Request) -> Answer {
            match (request.method, request.path.as_str()) {
                (Method::Post, "/quitquitquit") => Answer::text(200, "OK\n"),
                (_, "/quitquitquit") => Answer::text(405, "POST only\n"),
                _ => Answer::text(404, "no such page\n"),
            }
        }
        fn state(&self) -> State {
            if self.0 { State::Live } else { State::PreInitializing }
        }
        fn prometheus(&self) -> String {
            "a 1\n".to_owned()
        }
    }

    fn ask(admin: &Admin, text: &str) -> String {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn start(audience: Audience, ready: bool) -> Admin {
        Admin::start("127.0.0.1:0".parse().unwrap(), audience, Arc::new(Fixed(ready))).unwrap()
    }

    #[test]
    fn each_audience_gets_its_pages_only() {
        let cases = [
            (Audience::Admin, "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
            (Audience::Admin, "GET /stats/prometheus HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
            (Audience::Admin, "GET /quitquitquit HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
            (Audience::Admin, "POST /quitquitquit HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
            (Audience::Admin, "POST /quitquitquit HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
            (Audience::Metrics, "GET /metrics HTTP/1.1\r\nHost: 10.1.1.1\r\n\r\n", "200"),
            (Audience::Metrics, "POST /quitquitquit HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
            (Audience::Health, "GET /healthz/ready HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
            (Audience::Health, "garbage\r\n\r\n", "400"),
        ];
        for (audience, request, status) in cases {
            let admin = start(audience, true);
            let answer = ask(&admin, request);
            assert_eq!(answer.split(' ').nth(1), Some(status), "{audience:?} {request}");
            admin.stop();
        }
    }

    #[test]
    fn whole_requests_of_the_application_are_lent() {
        let admin = start(Audience::Lent, true);
        let post = |target: &str, fields: &str, body: &str| {
            ask(&admin, &format!("POST {target} HTTP/1.1\r\nHost: 127.0.0.1:13330\r\n{fields}\r\n{body}"))
        };
        let answer =
            post("/services/publish", "Content-Length: 7\r\nContent-Type: text/plain\r\n", "{\"a\":1}");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n{\"a\":1}"), "{answer}");
        let large = "x".repeat(lent::MAX_BODY);
        let answer = post("/", &format!("Content-Length: {}\r\n", large.len()), &large);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&large));
        let cases = [
            (post("/", &format!("Content-Length: {}\r\n", lent::MAX_BODY + 1), ""), "413"),
            (post("/", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), "411"),
            (post("/silence", "", ""), "503"),
            (post("/", "Origin: http://evil.example\r\n", ""), "403"),
            (ask(&admin, "GET /services/publish HTTP/1.1\r\nHost: localhost\r\n\r\n"), "405"),
            (ask(&admin, "POST /x HTTP/1.1\r\nHost: rebound.example\r\n\r\n"), "403"),
            (ask(&admin, "garbage\r\n\r\n"), "400"),
        ];
        for (answer, status) in cases {
            assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
            assert!(answer.contains("{\"success\":false,\"errorMessage\":\""), "{answer}");
        }
        admin.stop();
    }

    #[test]
    fn a_client_that_waits_to_be_told_may_send() {
        let admin = start(Audience::Lent, true);
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut told = [0; 25];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"{}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{}"), "{answer}");
        admin.stop();
    }

    #[test]
    fn not_ready_is_503_and_head_has_no_body() {
        let admin = start(Audience::Health, false);
        let answer = ask(&admin, "HEAD /ready HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("\r\n\r\n"), "{answer}");
        admin.stop();
    }
}
