//! Whole small requests of the application beside us, lent to Python: its registration with the mesh.
//!
//! In: a request's head and the bytes behind it. Out: Python's answer, or a refusal in the same JSON. Invariants: POST only; only
//! who is on this machine is served, whatever address the listener has; neither a page in a browser (Origin) nor a name that
//! a name server was made to point here (Host) reaches it; a body is at most 1 MiB and told by its length.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::request::{Framing, Method, Request};
use super::server::{Answer, Pages, read_some};

/// Longest body, bytes.
pub const MAX_BODY: usize = 1 << 20;
/// How long, and how much, of a refused body is still read, so that the client sees why before its connection is reset.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 64 * 1024;

/// What to answer; `None`: the client has gone.
pub fn answer(
    stream: &mut TcpStream,
    mut request: Request,
    bytes: &[u8],
    deadline: Instant,
    pages: &dyn Pages,
) -> Option<Answer> {
    if let Some(refused) = judge(&request, stream) {
        return Some(refused);
    }
    let length = match request.framing {
        Framing::Length(length) if length <= MAX_BODY => length,
        Framing::Length(_) => return Some(refusal(413, "the body is longer than 1 MiB")),
        Framing::Unknown => {
            return Some(refusal(411, "a body needs one Content-Length, and no Transfer-Encoding"));
        }
    };
    let mut body = bytes.get(request.head_size..).unwrap_or_default().to_vec();
    if request.expects_continue && body.len() < length {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    while body.len() < length {
        read_some(stream, &mut body, deadline)?;
    }
    body.truncate(length);
    request.body = body;
    let silence = || refusal(503, "the sidecar did not answer in time; ask again");
    Some(pages.lend(&request).unwrap_or_else(silence))
}

fn judge(request: &Request, stream: &TcpStream) -> Option<Answer> {
    if request.method != Method::Post {
        return Some(refusal(405, "must be a POST"));
    }
    if !request.host_is_literal() {
        return Some(refusal(403, "the Host header must be localhost or an address"));
    }
    if request.has_origin {
        return Some(refusal(403, "pages in a browser are not served"));
    }
    let is_near = match (stream.peer_addr(), stream.local_addr()) {
        (Ok(peer), Ok(local)) => is_local(peer.ip(), local.ip()),
        _ => false,
    };
    (!is_near).then(|| refusal(403, "only applications on this machine are served"))
}

/// Whoever is on this machine comes from loopback, or from the very address that it calls.
fn is_local(peer: IpAddr, local: IpAddr) -> bool {
    peer.is_loopback() || peer == local
}

/// As these applications read it. `reason` needs no escapes.
pub fn refusal(status: u16, reason: &str) -> Answer {
    Answer::json(format!("{{\"success\":false,\"errorMessage\":\"{reason}\"}}")).with_status(status)
}

/// Bytes that nobody has read when a socket is closed reset it, and with it the answer on its way.
pub fn linger(stream: &mut TcpStream) {
    let until = Instant::now() + LINGER;
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(LINGER));
    let mut buffer = [0; 4_096];
    let mut left = LINGER_BYTES;
    while left > 0 && Instant::now() < until {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => left = left.saturating_sub(count),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_served_whatever_the_address_of_the_listener() {
        for (peer, local, served) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.9", "127.0.0.5", true),
            ("::1", "::1", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.8", "10.0.0.7", false),
            ("::ffff:10.0.0.8", "10.0.0.7", false),
        ] {
            assert_eq!(is_local(peer.parse().unwrap(), local.parse().unwrap()), served, "{peer} {local}");
        }
    }
}
