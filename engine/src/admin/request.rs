//! One request of these listeners, read strictly: they serve operators, probes, and the application's own registration.

use std::net::IpAddr;

/// Longest request head, bytes.
pub const MAX_HEAD: usize = 8 * 1024;
/// Header fields in it.
const MAX_FIELDS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
}

/// Where a body ends. `Unknown`: it is not told by one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Unknown,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    /// Without query.
    pub path: String,
    /// Pairs in order, percent-decoded.
    pub query: Vec<(String, String)>,
    pub host: String,
    /// It carries an Origin: a page in a browser sends it.
    pub has_origin: bool,
    /// The client waits to be told that it may send the body.
    pub expects_continue: bool,
    pub framing: Framing,
    /// Bytes of the head, before the body.
    pub head_size: usize,
    /// Read only where bodies are served.
    pub body: Vec<u8>,
}

/// What became of the bytes read so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    Wait,
    Bad(u16, &'static str),
    Whole(Request),
}

pub fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let head_size = match head.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => {
            return Parsed::Bad(431, "the request head is longer than 8 KiB");
        }
        Ok(httparse::Status::Partial) => return Parsed::Wait,
        Ok(httparse::Status::Complete(size)) => size,
        Err(_) => return Parsed::Bad(400, "not an HTTP/1.1 request"),
    };
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Parsed::Bad(405, "only GET, HEAD and POST are served"),
    };
    let mut hosts = head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Parsed::Bad(400, "a request needs exactly one Host");
    };
    let Some((path, query)) = head.path.map(|target| target.split_once('?').unwrap_or((target, ""))) else {
        return Parsed::Bad(400, "a request needs a target");
    };
    Parsed::Whole(Request {
        method,
        target: head.path.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect(),
        host: String::from_utf8_lossy(host.value).trim().to_ascii_lowercase(),
        has_origin: values(head.headers, "origin").next().is_some(),
        expects_continue: values(head.headers, "expect")
            .any(|value| value.eq_ignore_ascii_case(b"100-continue")),
        framing: framing(head.headers),
        head_size,
        body: Vec::new(),
    })
}

fn values<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn framing(fields: &[httparse::Header<'_>]) -> Framing {
    let mut lengths = values(fields, "content-length");
    if values(fields, "transfer-encoding").next().is_some() {
        return Framing::Unknown;
    }
    match (lengths.next(), lengths.next()) {
        (None, _) => Framing::Length(0),
        (Some(value), None) if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
            // What no number holds is too long by any limit.
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            Framing::Length(length.unwrap_or(usize::MAX))
        }
        _ => Framing::Unknown,
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (decode(name), decode(value))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex =
            |byte: Option<&u8>| byte.and_then(|&byte| (byte as char).to_digit(16)).map(|digit| digit as u8);
        match (first, hex(after.first()), hex(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or(&[]);
            }
            (b'+', _, _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Request {
    /// A GET for a path with its query, from here.
    pub fn get(target: &str) -> Option<Self> {
        match parse(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()) {
            Parsed::Whole(request) => Some(request),
            _ => None,
        }
    }

    /// First value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The Host header names this machine: `localhost` or a loopback address, with or without port.
    pub fn host_is_loopback(&self) -> bool {
        let bare = self.bare_host();
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The Host header is one that no name server has a say in: `localhost` or any address.
    pub fn host_is_literal(&self) -> bool {
        let bare = self.bare_host();
        bare == "localhost" || bare.parse::<IpAddr>().is_ok()
    }

    fn bare_host(&self) -> &str {
        match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(""),
            None => self.host.split(':').next().unwrap_or(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read_and_judged() {
        let whole = |text: &str| match parse(text.as_bytes()) {
            Parsed::Whole(request) => request,
            other => panic!("{other:?}"),
        };
        let request = whole("GET /stats?filter=a%7Cb&usedonly HTTP/1.1\r\nHost: LocalHost:15000\r\n\r\n");
        assert_eq!(
            (request.path.as_str(), request.parameter("filter"), request.parameter("usedonly")),
            ("/stats", Some("a|b"), Some(""))
        );
        for (host, loopback) in [
            ("localhost", true),
            ("127.0.0.1:1", true),
            ("[::1]:2", true),
            ("10.0.0.1", false),
            ("evil.example", false),
            ("", false),
        ] {
            assert_eq!(
                whole(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).host_is_loopback(),
                loopback,
                "{host}"
            );
        }
        for (fields, framing) in [
            ("", Framing::Length(0)),
            ("Content-Length: 12\r\n", Framing::Length(12)),
            ("Content-Length: 99999999999999999999999\r\n", Framing::Length(usize::MAX)),
            ("Content-Length: +1\r\n", Framing::Unknown),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Framing::Unknown),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Framing::Unknown),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let request = whole(&format!("{text}body"));
            assert_eq!((request.framing, request.head_size), (framing, text.len()), "{fields}");
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHo"), Parsed::Wait);
        for (bad, status) in [
            ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("x\r\n\r\n", 400),
        ] {
            assert!(matches!(parse(bad.as_bytes()), Parsed::Bad(found, _) if found == status), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(&bytes);
        }
    }
}
