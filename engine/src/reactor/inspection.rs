//! What listener filters see in a connection's first bytes: TLS, HTTP, or a framed protocol that is described.
//!
//! In: the bytes read so far. Out: a ClientHello, or which protocol is spoken; together they choose the filter chain. Pure: whoever asks
//! keeps the one timer of all filters. Invariant: more bytes never change what was found. TLS goes before all else, for nothing of
//! what is inside is seen; between HTTP and a described protocol the one decides that is certain first.

use std::sync::Arc;

use crate::codec::Framed;
use crate::codec::detect::{Detected, detect};
use crate::codec::rpc::Match;
use crate::plan::ListenerFilter;
use crate::snapshot::Sought;
use crate::tls::{ClientHello, Inspected, inspect};

/// What listener filters have seen so far.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    seeks_tls: bool,
    seeks_http: bool,
    /// Of each inspector of protocols, those that it looks for.
    sought: Vec<Sought>,
    pub hello: Option<ClientHello>,
    pub detected: Option<Detected>,
    spoken: Option<Framed>,
}

/// What first bytes say about several framed protocols.
pub(super) enum Recognised {
    Yes(Framed),
    No,
    Wait,
}

/// The first of the protocols that the bytes are of.
pub(super) fn recognise<'d>(protocols: impl Iterator<Item = &'d Framed>, bytes: &[u8]) -> Recognised {
    let mut found = Recognised::No;
    for protocol in protocols {
        match protocol.recognise(bytes) {
            Match::Yes => return Recognised::Yes(protocol.clone()),
            Match::Wait => found = Recognised::Wait,
            Match::No => {}
        }
    }
    found
}

impl Inspection {
    /// What filters look for at a destination port, each with the protocols that its listener's inspector knows.
    pub fn new<'f>(
        filters: impl Iterator<Item = (&'f ListenerFilter, &'f Sought)>,
        port: Option<u16>,
    ) -> Self {
        let runs = |disabled: &[(u32, u32)]| {
            port.is_none_or(|port| !disabled.iter().any(|(from, to)| (*from..*to).contains(&u32::from(port))))
        };
        let mut made = Self::default();
        for (filter, sought) in filters {
            match filter {
                ListenerFilter::OriginalDestination {} => {}
                ListenerFilter::TlsInspector { disabled_ports } => made.seeks_tls |= runs(disabled_ports),
                ListenerFilter::HttpInspector { disabled_ports } => made.seeks_http |= runs(disabled_ports),
                ListenerFilter::ProtocolInspector { disabled_ports, .. } if runs(disabled_ports) => {
                    made.sought.push(Arc::clone(sought));
                }
                ListenerFilter::ProtocolInspector { .. } => {}
            }
        }
        made
    }

    pub fn is_over(&self) -> bool {
        !self.seeks_tls && !self.seeks_http && self.sought.is_empty()
    }

    /// Looks at all bytes so far; says whether it is over.
    pub fn look(&mut self, bytes: &[u8]) -> bool {
        if self.seeks_tls {
            match inspect(bytes) {
                Inspected::Wait => return false,
                Inspected::NotTls => {}
                Inspected::Tls(hello) => {
                    self.hello = Some(hello);
                    return self.end();
                }
            }
            self.seeks_tls = false;
        }
        let http = if self.seeks_http { detect(bytes) } else { Detected::Tcp };
        match (recognise(self.sought.iter().flat_map(|some| &**some), bytes), http) {
            (Recognised::Yes(protocol), _) => self.spoken = Some(protocol),
            (Recognised::Wait, Detected::Tcp) | (_, Detected::Wait) => return false,
            (_, found) => self.detected = self.seeks_http.then_some(found),
        }
        self.end()
    }

    fn end(&mut self) -> bool {
        (self.seeks_tls, self.seeks_http) = (false, false);
        self.sought.clear();
        true
    }

    /// ALPN of the ClientHello, or what the first bytes showed: in Envoy's names, or a described protocol's own.
    pub fn protocols(&self) -> Vec<String> {
        match (&self.hello, &self.spoken, self.detected) {
            (Some(hello), ..) => hello.application_protocols.clone(),
            (None, Some(protocol), _) => vec![protocol.name().to_owned()],
            (None, None, Some(Detected::Http1)) => vec!["http/1.1".to_owned()],
            (None, None, Some(Detected::Http2)) => vec!["h2c".to_owned()],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOLT: &str = include_str!("../../testdata/protocols/bolt.json");
    const DUBBO: &str = include_str!("../../testdata/protocols/dubbo.json");

    fn described() -> Sought {
        let compile = |text| Framed::described(text);
        [compile(BOLT), compile(DUBBO)].into()
    }

    fn inspection(port: u16) -> Inspection {
        let filters = [
            ListenerFilter::OriginalDestination {},
            ListenerFilter::TlsInspector { disabled_ports: vec![(15_000, 15_010)] },
            ListenerFilter::HttpInspector { disabled_ports: vec![(3_306, 3_307)] },
            ListenerFilter::ProtocolInspector {
                disabled_ports: vec![(3_306, 3_307), (8_080, 8_081)],
                protocols: vec![],
            },
        ];
        let sought = described();
        Inspection::new(filters.iter().map(|filter| (filter, &sought)), Some(port))
    }

    fn seen(port: u16, bytes: &[u8]) -> Option<Vec<String>> {
        let mut made = inspection(port);
        made.look(bytes).then(|| made.protocols())
    }

    fn only(name: &str) -> Option<Vec<String>> {
        Some(vec![name.to_owned()])
    }

    #[test]
    fn inspectors_wait_for_what_they_seek_and_leave_disabled_ports_alone() {
        assert!(!inspection(80).is_over());
        assert_eq!(seen(3_306, b""), None);
        assert_eq!(seen(3_306, b"SELECT"), Some(vec![]));
        assert_eq!(seen(80, b"GE"), None);
        assert_eq!(seen(80, b"GET / HTTP/1.1\r\n"), only("http/1.1"));
        assert!(Inspection::new([].into_iter(), Some(80)).is_over());
    }

    #[test]
    fn described_protocols_are_told_beside_http_by_their_names() {
        let bolt = b"\x01\x01\x00\x01\x00\x00\x00\x01\x01\x00\x00\x00\x64\x00\x00\x00\x00";
        assert_eq!(seen(80, &bolt[..2]), None);
        assert_eq!(seen(80, bolt), only("bolt"));
        assert_eq!(seen(80, b"\xda\xbb\xc2\x00"), only("dubbo"));
        assert_eq!(seen(80, b"\xda"), None);
        assert_eq!(seen(80, b"\xda\x00"), Some(vec![]));
        assert_eq!(seen(8_080, bolt), Some(vec![]), "its inspector is off there");
        // What is inside TLS shows later.
        assert_eq!(seen(80, b"\x16\x03"), None);
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_what_was_found(
            start in prop_oneof![
                Just(b"GET / HTTP/1.1\r\n".to_vec()),
                Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
                Just(b"\x01\x01\x00\x01\x00\x00\x00\x01\x01\x00\x00\x00\x64".to_vec()),
                Just(b"\xda\xbb\xc2\x00".to_vec()),
                Just(vec![]),
            ],
            keep in any::<proptest::sample::Index>(),
            tail in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let mut bytes = start;
            bytes.truncate(keep.index(bytes.len() + 1));
            bytes.extend(tail);
            let answers: Vec<_> = (0..=bytes.len()).map(|end| seen(80, &bytes[..end])).collect();
            for pair in answers.windows(2) {
                prop_assert!(pair[0].is_none() || pair[0] == pair[1], "{:?}", answers);
            }
        }
    }
}
