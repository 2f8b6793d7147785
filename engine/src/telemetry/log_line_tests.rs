//! A worker's lines, put together from kept texts, are those that are made anew from format and facts.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use super::AccessLogger;
use super::facts::{Facts, Moments, PeerLabels, RpcFacts};
use super::log_escape::escaped;
use super::log_format::{Format, Piece, Value};
use super::log_sheet::Sheet;
use super::log_source::{Typed, typed};
use super::log_texts::Texts;
use crate::message::{Peer, PeerCertificate, Protocol, RequestHead, ResponseFlags, ResponseHead, Tick};
use crate::plan::{AccessLog, AccessLogFormat, AccessLogSink, JsonField};

/// What a line is to say, field by field.
fn plain(format: &AccessLogFormat, facts: &Facts<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        AccessLogFormat::Text { format } => Format::parse(format).unwrap().render(facts, "-", &mut out),
        AccessLogFormat::Json { fields, omit_empty } => {
            plain_object(fields, facts, *omit_empty, &mut out);
            out.push(b'\n');
        }
    }
    out
}

fn plain_object(fields: &[JsonField], facts: &Facts<'_>, omit_empty: bool, out: &mut Vec<u8>) {
    let told = fields.iter().filter_map(|field| {
        let mut text = plain_string(field.name.as_bytes());
        text.push(b':');
        if field.fields.is_empty() {
            text.extend(plain_value(&Format::parse(&field.value).unwrap(), facts, omit_empty)?);
        } else {
            plain_object(&field.fields, facts, omit_empty, &mut text);
        }
        Some(text)
    });
    out.push(b'{');
    out.extend(told.collect::<Vec<_>>().join(&b','));
    out.push(b'}');
}

fn plain_value(format: &Format, facts: &Facts<'_>, omit_empty: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if let [Piece::Operator { operator, most }] = format.pieces() {
        match typed(facts, operator, &mut out) {
            Typed::Number(number) => return Some(number.to_string().into()),
            Typed::Absent => return (!omit_empty).then(|| b"null".to_vec()),
            Typed::Text(text) => out.extend_from_slice(text),
            Typed::Written | Typed::Plain => {}
        }
        out.truncate(most.unwrap_or(usize::MAX));
    } else {
        format.render(facts, if omit_empty { "" } else { "-" }, &mut out);
    }
    Some(plain_string(&out))
}

fn plain_string(text: &[u8]) -> Vec<u8> {
    [b"\"", &*escaped(text), b"\""].concat()
}

/// What a call says, in a form that can be made up.
#[derive(Debug, Clone)]
struct Call {
    connection: usize,
    client: Option<SocketAddr>,
    rpc: bool,
    texts: [String; 8],
    header: Vec<u8>,
    upstream: Option<SocketAddr>,
    status: u16,
    flags: u32,
    number: u64,
    is_stream: bool,
}

/// Short, so that the same come again; nasty, and too long for being kept.
fn words() -> impl Strategy<Value = String> {
    let nasty =
        ["", "a", "{", "\"", "\\", "-", "a b", "ü\u{7f}\n", "outbound|80||cart", "null"].map(str::to_owned);
    prop_oneof![20 => select(nasty.to_vec()), 1 => Just("long ".repeat(300)), 2 => ".{0,12}"]
}

fn addresses() -> impl Strategy<Value = Option<SocketAddr>> {
    let some = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:81", "[fe80::1%2]:80", "[::1]:9"];
    select(some.to_vec()).prop_map(|text| text.parse().ok())
}

fn calls() -> impl Strategy<Value = Call> {
    let who = (0usize..4, addresses(), any::<bool>());
    let what = (proptest::array::uniform8(words()), proptest::collection::vec(any::<u8>(), 0..12));
    let how = (select(vec![0u16, 200, 503]), 0u32..4, select(vec![0, 9, 10, 99, 100, 1_000, u64::MAX]));
    (who, what, addresses(), how, proptest::bool::weighted(0.1)).prop_map(
        |((connection, client, rpc), (texts, header), upstream, (status, flags, number), is_stream)| Call {
            connection,
            client,
            rpc,
            texts,
            header,
            upstream,
            status,
            flags,
            number,
            is_stream,
        },
    )
}

/// Of the four connections.
fn peer(number: usize) -> Peer {
    let certificate = PeerCertificate {
        uris: vec!["spiffe://a\"".into(), "b".into()],
        subject: "CN=ü".into(),
        ..Default::default()
    };
    Peer {
        remote: "10.1.0.1:5".parse().ok().filter(|_| number != 1),
        local: "10.1.0.2:6".parse().ok(),
        server_name: (number == 2).then(|| "{".into()),
        tls_version: (number > 1).then_some("TLSv1.3"),
        certificate: (number > 1).then(|| Arc::new(certificate)),
        ..Peer::default()
    }
}

impl Call {
    fn with_facts(&self, use_them: impl FnOnce(&Facts<'_>)) {
        let [method, path, route, cluster, details, failure, protocol, id] = &self.texts;
        let mut request = RequestHead::default();
        request.set_method(method.as_bytes());
        request.set_path(path.as_bytes());
        request.headers.push(b"x-mine", &self.header);
        request.headers.push(b"x-request-id", id.as_bytes());
        let mut response = ResponseHead::with_status(self.status);
        response.headers.push(b"x-mine", b"1");
        response.headers.push(b"x-mine", &self.header);
        let rpc = RpcFacts {
            protocol,
            service: &self.header,
            method: method.as_bytes(),
            id: self.number,
            status: Some(self.number),
            trace: None,
            one_way: false,
        };
        let peer = peer(self.connection);
        use_them(&Facts {
            protocol: if self.is_stream { Protocol::Tcp } else { Protocol::Http2 },
            client: self.client,
            request: (!self.is_stream).then_some(&request),
            response: (!self.is_stream).then_some(&response),
            rpc: self.rpc.then_some(rpc),
            status: self.status,
            flags: ResponseFlags(self.flags),
            details,
            route,
            filter_chain: if self.connection == 3 { "chain" } else { "" },
            cluster,
            upstream: self.upstream,
            upstream_failure: failure,
            received: self.number,
            service_time: self.rpc.then_some(self.number as u32),
            moments: Moments { ended: Tick(self.number), started_wall: self.number, ..Moments::default() },
            connection_id: self.connection as u64,
            ..Facts::of_connection(&peer, PeerLabels::NONE)
        });
    }
}

/// One operator, cut or not, or some with text.
fn values() -> impl Strategy<Value = String> {
    let named = |text: &&str| !matches!(*text, "GRPC_STATUS");
    let known = Value::ALL.iter().map(|(_, text)| *text).filter(named).map(|text| format!("%{text}%"));
    let others = [
        "%REQ(:METHOD)%",
        "%REQ(x-mine?:PATH)%",
        "%RESP(x-mine)%",
        "%START_TIME%",
        "%REQ(absent)%",
        "%RESP(absent?x-envoy-upstream-service-time)%",
    ];
    let cut = ["%ROUTE_NAME:1%", "%REQ(x-mine):2%", "%UPSTREAM_HOST:9%", "%UPSTREAM_LOCAL_ADDRESS:0%"];
    let one = select(known.chain(others.into_iter().chain(cut).map(str::to_owned)).collect::<Vec<_>>());
    let several =
        ["%UPSTREAM_HOST%/%ROUTE_NAME%", "%DURATION%ms", "a%REQ(absent)%", "%CONNECTION_ID%\"%HOSTNAME%"];
    prop_oneof![9 => one, 1 => select(several.map(str::to_owned).to_vec()), 1 => select(vec!["".to_owned(), "{".to_owned()])]
}

fn fields() -> impl Strategy<Value = Vec<JsonField>> {
    let field = |(name, value): (String, String)| JsonField { name, value, fields: vec![] };
    let leaf = (select(vec!["a", "\"", "bc"]).prop_map(str::to_owned), values()).prop_map(field).boxed();
    let some = proptest::collection::vec(leaf.clone(), 1..8);
    let nested = some.prop_map(|fields| JsonField { name: "in".into(), value: String::new(), fields });
    proptest::collection::vec(prop_oneof![6 => leaf, 1 => nested], 0..24)
}

fn formats() -> impl Strategy<Value = AccessLogFormat> {
    let text =
        proptest::collection::vec((values(), select(vec!["", " ", "\" - "])), 0..24).prop_map(|parts| {
            let format = parts.into_iter().map(|(value, behind)| value + behind).collect();
            AccessLogFormat::Text { format }
        });
    let json = (fields(), any::<bool>())
        .prop_map(|(fields, omit_empty)| AccessLogFormat::Json { fields, omit_empty });
    prop_oneof![1 => text, 3 => json]
}

fn logger(format: &AccessLogFormat) -> AccessLogger {
    let plan = AccessLog { sink: AccessLogSink::Stdout {}, format: format.clone(), filter: None };
    AccessLogger::compile(&plan).unwrap()
}

proptest! {
    #[test]
    fn lines_of_kept_texts_say_what_plain_ones_do(
        formats in proptest::collection::vec(formats(), 1..3),
        calls in proptest::collection::vec(calls(), 1..6),
        order in proptest::collection::vec((0usize..6, 0usize..2), 1..20),
    ) {
        let loggers: Vec<_> = formats.iter().map(logger).collect();
        let mut texts = Texts::default();
        for (call, log) in order {
            let (call, log) = (&calls[call % calls.len()], log % loggers.len());
            let (mut line, mut expected) = (Sheet::default(), Vec::new());
            line.push_all(b"before{");
            call.with_facts(|facts| {
                loggers[log].write(facts, &mut texts, &mut line);
                expected = plain(&formats[log], facts);
            });
            prop_assert_eq!(
                String::from_utf8_lossy(&line.as_bytes()[7..]),
                String::from_utf8_lossy(&expected),
                "{:?}", formats[log]
            );
        }
    }
}

/// Six fields of each kind.
const FORMAT: &str = "%ROUTE_NAME% %UPSTREAM_HOST% %RESPONSE_CODE% %DOWNSTREAM_REMOTE_ADDRESS% \
    %DOWNSTREAM_LOCAL_ADDRESS% %CONNECTION_ID%\n";

fn some_call(connection: usize) -> Call {
    Call {
        connection,
        client: None,
        rpc: false,
        texts: std::array::from_fn(|number| number.to_string()),
        header: Vec::new(),
        upstream: "10.0.0.1:80".parse().ok(),
        status: 200,
        flags: 0,
        number: 0,
        is_stream: false,
    }
}

#[test]
fn what_is_kept_is_bounded_and_forgotten_in_time() {
    let logger = logger(&AccessLogFormat::Text { format: FORMAT.into() });
    let mut texts = Texts::default();
    let mut out = Sheet::default();
    for number in 0..10_000 {
        let call = Call { status: number, ..some_call(number.into()) };
        call.with_facts(|facts| logger.write(facts, &mut texts, &mut out));
    }
    assert!(texts.kept() > 500, "{}", texts.kept());
    assert!(texts.kept() <= 768, "{}", texts.kept());
    (0..59).for_each(|_| texts.tick());
    assert!(texts.kept() > 0);
    texts.touch();
    (0..59).for_each(|_| texts.tick());
    assert!(texts.kept() > 0);
    texts.tick();
    assert_eq!(texts.kept(), 0);
}

#[test]
fn what_is_too_long_is_told_but_not_kept() {
    let logger = logger(&AccessLogFormat::Text { format: FORMAT.into() });
    let mut call = some_call(0);
    call.texts[2] = "x".repeat(5_000);
    let (mut texts, mut out) = (Texts::default(), Sheet::default());
    call.with_facts(|facts| logger.write(facts, &mut texts, &mut out));
    assert_eq!(texts.kept(), 1, "of the connection");
    assert!(out.as_bytes().starts_with(call.texts[2].as_bytes()));
}
