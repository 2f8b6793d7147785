//! Envoy's command operators (`%REQ(x)%`, `%DURATION%`), parsed once.
//!
//! In: the format strings of access logs and header mutations. Out: pieces that a [`Source`] fills in. What is no operator
//! is refused by name. Who knows an exchange (a running one, or its facts) implements `Source`; nothing here does.

use crate::matching::Field;
use crate::message::Name;

/// Operators of one value, by their text in a format.
macro_rules! operators {
    ($($name:ident = $text:literal),+ $(,)?) => {
        /// An operator without parameters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Value { $($name),+ }

        impl Value {
            /// Every operator with its text.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),+];
        }
    };
}

operators! {
    BytesReceived = "BYTES_RECEIVED", BytesSent = "BYTES_SENT",
    ConnectionId = "CONNECTION_ID", ConnectionTerminationDetails = "CONNECTION_TERMINATION_DETAILS",
    DownstreamDirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    DownstreamDirectRemoteAddressWithoutPort = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    DownstreamPeerCertificateFingerprint = "DOWNSTREAM_PEER_FINGERPRINT_256",
    DownstreamPeerSerial = "DOWNSTREAM_PEER_SERIAL", DownstreamPeerSubject = "DOWNSTREAM_PEER_SUBJECT",
    DownstreamPeerUriSan = "DOWNSTREAM_PEER_URI_SAN",
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    DownstreamTlsCipher = "DOWNSTREAM_TLS_CIPHER", DownstreamTlsVersion = "DOWNSTREAM_TLS_VERSION",
    DownstreamTransportFailureReason = "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    Duration = "DURATION", FilterChainName = "FILTER_CHAIN_NAME", GrpcStatus = "GRPC_STATUS",
    GrpcStatusNumber = "GRPC_STATUS_NUMBER", Hostname = "HOSTNAME", Protocol = "PROTOCOL",
    RequestDuration = "REQUEST_DURATION", RequestedServerName = "REQUESTED_SERVER_NAME",
    ResponseCode = "RESPONSE_CODE", ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    ResponseDuration = "RESPONSE_DURATION", ResponseFlags = "RESPONSE_FLAGS",
    ResponseTxDuration = "RESPONSE_TX_DURATION", RpcMethod = "RPC_METHOD", RpcOneWay = "RPC_ONE_WAY",
    RpcProtocol = "RPC_PROTOCOL", RpcRequestId = "RPC_REQUEST_ID", RpcService = "RPC_SERVICE", RpcStatus = "RPC_STATUS",
    RouteName = "ROUTE_NAME", StreamId = "STREAM_ID",
    TraceId = "TRACE_ID", UpstreamCluster = "UPSTREAM_CLUSTER", UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW",
    UpstreamHost = "UPSTREAM_HOST", UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS",
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS", UpstreamRemotePort = "UPSTREAM_REMOTE_PORT",
    UpstreamRequestAttemptCount = "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    VirtualClusterName = "VIRTUAL_CLUSTER_NAME",
}

/// What a format asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    Value(Value),
    /// `%REQ(first?second)%`
    Request {
        name: Field,
        otherwise: Option<Field>,
    },
    Response {
        name: Field,
        otherwise: Option<Field>,
    },
    Trailer {
        name: Field,
        otherwise: Option<Field>,
    },
    /// `%START_TIME(format)%` in strftime's notation; empty: RFC 3339 with milliseconds.
    StartTime {
        format: Box<str>,
    },
    /// `%ENVIRONMENT(name)%`, read when the format was parsed.
    Fixed {
        text: Option<Box<str>>,
    },
}

/// Knows the values of one exchange.
pub trait Source {
    /// Appends the value to `out`; false (and nothing appended) if there is none.
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool;
}

/// A source that knows nothing: for mutations where no exchange is at hand.
impl Source for () {
    fn write(&self, _: &Operator, _: &mut Vec<u8>) -> bool {
        false
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(Box<str>),
    /// `most`: at most so many bytes of the value (`%REQ(x):10%`).
    Operator {
        operator: Operator,
        most: Option<usize>,
    },
}

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Format {
    pieces: Box<[Piece]>,
}

impl Format {
    /// `%%` is a percent sign. Refuses unknown operators and loose percent signs, by their text.
    pub fn parse(format: &str) -> Result<Self, String> {
        let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), format);
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (piece, after) = operator(after)?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text).into()));
            }
            pieces.push(piece);
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        Ok(Self { pieces: pieces.into() })
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub(super) fn into_pieces(self) -> Box<[Piece]> {
        self.pieces
    }

    /// The only operator, if there is nothing else.
    pub(super) fn single(self) -> Result<(Operator, Option<usize>), Self> {
        match *self.pieces {
            [Piece::Operator { ref operator, most }] => Ok((operator.clone(), most)),
            _ => Err(self),
        }
    }

    /// The format has no operators: its value is always the same.
    pub fn constant(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the value; operators without one are written as `absent` (`-` in logs, nothing in headers).
    pub fn render(&self, source: &dyn Source, absent: &str, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Operator { operator, most } => {
                    let start = out.len();
                    let found = match operator {
                        Operator::Fixed { text } => {
                            out.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
                            text.is_some()
                        }
                        operator => source.write(operator, out),
                    };
                    if !found {
                        out.extend_from_slice(absent.as_bytes());
                    }
                    if let Some(most) = most {
                        out.truncate(start.saturating_add(*most));
                    }
                }
            }
        }
    }
}

/// Reads `NAME%`, `NAME(parameters)%` or `NAME(parameters):10%`; what follows comes back.
fn operator(text: &str) -> Result<(Piece, &str), String> {
    let end = text
        .find(|character: char| {
            !(character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_')
        })
        .filter(|&end| end > 0)
        .ok_or_else(|| unfinished(text))?;
    let (name, mut rest) = text.split_at(end);
    let mut parameters = None;
    if let Some(after) = rest.strip_prefix('(') {
        let (inside, after) = after.split_once(')').ok_or_else(|| unfinished(text))?;
        (parameters, rest) = (Some(inside), after);
    }
    let mut most = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after.find('%').ok_or_else(|| unfinished(text))?;
        let (digits, after) = after.split_at(end);
        most = Some(digits.parse().map_err(|_| format!("\"{digits}\" in %{name}% is no length"))?);
        rest = after;
    }
    let rest = rest.strip_prefix('%').ok_or_else(|| unfinished(text))?;
    Ok((Piece::Operator { operator: named(name, parameters)?, most }, rest))
}

fn unfinished(text: &str) -> String {
    let shown: String = text.chars().take(20).collect();
    format!("\"%{shown}\" is no complete command operator (write %% for a percent sign)")
}

fn named(name: &str, parameters: Option<&str>) -> Result<Operator, String> {
    let headers = || {
        let parameters = parameters.unwrap_or_default();
        let (first, second) = parameters.split_once('?').map_or((parameters, None), |(a, b)| (a, Some(b)));
        if first.is_empty() || second == Some("") {
            return Err(format!("%{name}(…)% needs a header name"));
        }
        Ok((Field::new(first), second.map(Field::new)))
    };
    // The whole of it is one name, and no pseudo-header: a call may have an attachment called `host`.
    let property = || match parameters.unwrap_or_default() {
        "" => Err(format!("%{name}(…)% needs the name of a property")),
        key => Ok(Field::Header(Name::new(&key.to_ascii_lowercase()))),
    };
    match (name, parameters) {
        // Those of Envoy's generic proxy, whose codecs of RPC say the service for both host and path.
        ("METHOD", None) => Ok(Operator::Value(Value::RpcMethod)),
        ("HOST" | "PATH", None) => Ok(Operator::Value(Value::RpcService)),
        ("GENERIC_RESPONSE_CODE", None) => Ok(Operator::Value(Value::RpcStatus)),
        ("REQUEST_PROPERTY", _) => Ok(Operator::Request { name: property()?, otherwise: None }),
        ("RESPONSE_PROPERTY", _) => Ok(Operator::Response { name: property()?, otherwise: None }),
        ("REQ", _) => headers().map(|(name, otherwise)| Operator::Request { name, otherwise }),
        ("RESP", _) => headers().map(|(name, otherwise)| Operator::Response { name, otherwise }),
        ("TRAILER", _) => headers().map(|(name, otherwise)| Operator::Trailer { name, otherwise }),
        ("START_TIME", format) => Ok(Operator::StartTime { format: format.unwrap_or_default().into() }),
        ("GRPC_STATUS", Some("NUMBER")) => Ok(Operator::Value(Value::GrpcStatusNumber)),
        ("GRPC_STATUS", Some("CAMEL_STRING")) => Ok(Operator::Value(Value::GrpcStatus)),
        ("ENVIRONMENT", Some(variable)) if !variable.is_empty() => {
            Ok(Operator::Fixed { text: std::env::var(variable).ok().map(Into::into) })
        }
        (_, None) => Value::ALL
            .iter()
            .find(|(_, text)| *text == name)
            .map(|(value, _)| Operator::Value(*value))
            .ok_or_else(|| format!("%{name}% is not a command operator we know")),
        _ => Err(format!("%{name}(…)% is not a command operator we know")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Fixed;

    impl Source for Fixed {
        fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
            match operator {
                Operator::Value(Value::Duration) => out.extend_from_slice(b"12"),
                Operator::Request { name, .. } if *name == Field::Path => out.extend_from_slice(b"/cart"),
                Operator::Request { otherwise: Some(Field::Path), .. } => out.extend_from_slice(b"/cart"),
                Operator::StartTime { format } => out.extend_from_slice(format.as_bytes()),
                _ => return false,
            }
            true
        }
    }

    fn rendered(format: &str) -> String {
        let mut out = Vec::new();
        Format::parse(format).unwrap().render(&Fixed, "-", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn operators_are_filled_in() {
        for (format, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("100%%", "100%"),
            ("%DURATION%ms", "12ms"),
            ("%DURATION%%DURATION%", "1212"),
            ("%REQ(:PATH)%", "/cart"),
            ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):3%|", "/ca|"),
            ("%RESP(server)%", "-"),
            ("%START_TIME(%Y/%m/%dT%H)%.", "%Y/%m/%dT%H."),
        ] {
            assert_eq!(rendered(format), expected, "{format}");
        }
    }

    #[test]
    fn what_is_no_operator_is_refused_by_its_text() {
        for (format, word) in [
            ("50%", "%"),
            ("%", "%"),
            ("%REQ(x%", "REQ(x"),
            ("%REQ()%", "REQ"),
            ("%DURATION", "DURATION"),
            ("%DURATION:x%", "\"x\""),
            ("%NO_SUCH%", "%NO_SUCH%"),
            ("%DURATION(x)%", "DURATION"),
            ("% d%", "% d"),
        ] {
            let reason = Format::parse(format).unwrap_err();
            assert!(reason.contains(word), "{format}: {reason}");
        }
    }

    #[test]
    fn istio_s_default_format_is_taken() {
        let format = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
            %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
            \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
            %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
            %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";
        let parsed = Format::parse(format).unwrap();
        let operators = parsed.pieces().iter().filter(|piece| matches!(piece, Piece::Operator { .. }));
        assert_eq!(operators.count(), 21);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(format in ".{0,80}") {
            if let Ok(format) = Format::parse(&format) {
                format.render(&(), "-", &mut Vec::new());
            }
        }

        #[test]
        fn text_with_doubled_percent_signs_comes_back(text in ".{0,40}") {
            let format = Format::parse(&text.replace('%', "%%")).unwrap();
            prop_assert_eq!(format.constant(), Some(text.as_str()));
        }
    }
}
