//! Reads a ClientHello (RFC 8446 §4.1.2) without taking part: server name and application protocols for filter chain matching.
//!
//! Pure and bounded: at most `MAX_HELLO` bytes are looked at. Whatever is malformed is `NotTls`: the handshake proper will judge it.

/// What the first bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspected {
    /// Not decided yet: more bytes are needed.
    Wait,
    NotTls,
    Tls(ClientHello),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// Lower-case, `None` if none was sent.
    pub server_name: Option<String>,
    pub application_protocols: Vec<String>,
}

/// Longest ClientHello looked at, bytes; more is not TLS to us.
pub const MAX_HELLO: usize = 16 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const APPLICATION_PROTOCOLS: u16 = 16;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// A vector with a length prefix of `width` bytes.
    fn vector(&mut self, width: usize) -> Option<Self> {
        let length = self.number(width)?;
        self.take(length).map(Self)
    }
}

/// Judges the first bytes of a connection.
pub fn inspect(bytes: &[u8]) -> Inspected {
    if bytes.is_empty() {
        return Inspected::Wait;
    }
    match handshake(bytes) {
        Gathered::NotTls => Inspected::NotTls,
        Gathered::Wait => Inspected::Wait,
        Gathered::Hello(body) => hello(&body).map_or(Inspected::NotTls, Inspected::Tls),
    }
}

enum Gathered {
    Wait,
    NotTls,
    Hello(Vec<u8>),
}

/// Puts the handshake message together from its records; a ClientHello may span several.
fn handshake(bytes: &[u8]) -> Gathered {
    let mut message: Vec<u8> = Vec::new();
    let mut rest = Reader(bytes);
    loop {
        let header = rest.0;
        let plausible = header.first().is_none_or(|&kind| kind == HANDSHAKE)
            && header.get(1).is_none_or(|&major| major == 3)
            && header.get(2).is_none_or(|&minor| minor <= 4);
        if !plausible {
            return Gathered::NotTls;
        }
        let Some(record) = header.get(..5) else { return Gathered::Wait };
        let length = record.iter().skip(3).fold(0, |length, &byte| length << 8 | usize::from(byte));
        if length == 0 || length > 16_384 {
            return Gathered::NotTls;
        }
        rest.take(5);
        let available = length.min(rest.0.len());
        let whole = available == length;
        message.extend_from_slice(rest.take(available).unwrap_or(&[]));
        if message.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
            return Gathered::NotTls;
        }
        if let Some(prefix) = message.get(1..4) {
            let needed = prefix.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)) + 4;
            if needed > MAX_HELLO {
                return Gathered::NotTls;
            }
            if message.len() >= needed {
                message.truncate(needed);
                message.drain(..4);
                return Gathered::Hello(message);
            }
        }
        if !whole {
            return Gathered::Wait;
        }
    }
}

fn hello(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    reader.vector(1)?;
    reader.vector(2)?;
    reader.vector(1)?;
    let mut found = ClientHello::default();
    if reader.0.is_empty() {
        return Some(found);
    }
    let mut extensions = reader.vector(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)? as u16;
        let mut contents = extensions.vector(2)?;
        match kind {
            SERVER_NAME => {
                let mut names = contents.vector(2)?;
                while !names.0.is_empty() {
                    let host = names.number(1)? == 0;
                    let name = names.vector(2)?;
                    if host {
                        found.server_name = std::str::from_utf8(name.0).ok().map(str::to_ascii_lowercase);
                    }
                }
            }
            APPLICATION_PROTOCOLS => {
                let mut protocols = contents.vector(2)?;
                while !protocols.0.is_empty() {
                    found
                        .application_protocols
                        .push(String::from_utf8_lossy(protocols.vector(1)?.0).into_owned());
                }
            }
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What rustls itself sends.
    fn real_hello(name: &str, protocols: &[&str]) -> Vec<u8> {
        let mut config =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|text| text.as_bytes().to_vec()).collect();
        let mut client =
            rustls::ClientConnection::new(config.into(), name.to_owned().try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_real_hello_is_read_whatever_the_split() {
        let bytes = real_hello("Outbound.example", &["istio", "h2"]);
        for cut in 0..bytes.len() {
            assert_eq!(inspect(&bytes[..cut]), Inspected::Wait, "{cut}");
        }
        let expected = ClientHello {
            server_name: Some("outbound.example".into()),
            application_protocols: vec!["istio".into(), "h2".into()],
        };
        assert_eq!(inspect(&bytes), Inspected::Tls(expected));
    }

    #[test]
    fn a_hello_over_many_records_is_put_together() {
        let bytes = real_hello("a.example", &["h2"]);
        let mut split = Vec::new();
        for piece in bytes[5..].chunks(7) {
            split.extend([22, 3, 1, 0, piece.len() as u8]);
            split.extend_from_slice(piece);
        }
        assert_eq!(inspect(&split), inspect(&bytes));
    }

    #[test]
    fn other_protocols_are_told_at_their_first_byte() {
        for other in [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/2.0", b"\x00\x00", b"\x16\x05", b"\x01"] {
            assert_eq!(inspect(other), Inspected::NotTls, "{other:?}");
        }
        assert_eq!(inspect(b""), Inspected::Wait);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            inspect(&bytes);
        }

        #[test]
        fn any_damage_is_survived(at in 0usize..300, value in any::<u8>()) {
            let mut bytes = real_hello("a.example", &["h2"]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            inspect(&bytes);
        }
    }
}
