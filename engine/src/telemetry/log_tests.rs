//! Access logs from facts to files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::facts::{Facts, Moments, PeerLabels, Reporter, RpcFacts};
use super::log_sheet::Sheet;
use super::log_texts::Texts;
use super::{AccessLogger, LogWriter, Trouble};
use crate::message::{
    HeaderBlock, MILLISECOND, NameId, Peer, PeerCertificate, Protocol, RequestHead, ResponseFlags,
    ResponseHead, Tick,
};
use crate::plan::{AccessLog, AccessLogFormat, AccessLogSink, JsonField};

fn at(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

fn tick(milliseconds: u64) -> Tick {
    Tick(milliseconds * MILLISECOND)
}

/// Facts of a GET that was forwarded, or of a connection without request.
fn with_facts(is_stream: bool, use_them: impl FnOnce(&Facts<'_>)) {
    let mut request = RequestHead::default();
    request.set_method(b"GET");
    request.set_authority(b"cart");
    request.set_path(b"/new?q=\"1\"");
    request.headers.push(b"x-envoy-original-path", b"/old");
    request.headers.push(b"x-request-id", b"id-1");
    request.headers.push(b"user-agent", b"te\xffst\t\x01");
    let mut response = ResponseHead::with_status(503);
    response.headers.push(b"x-envoy-upstream-service-time", b"7");
    let peer = Peer {
        remote: at("10.0.0.1:5000"),
        local: at("10.0.0.2:15001"),
        original_destination: at("10.0.0.3:80"),
        server_name: Some("cart.shop".into()),
        tls_version: Some("TLSv1.3"),
        certificate: Some(Arc::new(PeerCertificate {
            uris: vec!["spiffe://a/ns/b/sa/c".into()],
            ..PeerCertificate::default()
        })),
        ..Peer::default()
    };
    let mut trailers = HeaderBlock::default();
    trailers.push_id(NameId::GRPC_STATUS, b"14");
    use_them(&Facts {
        reporter: Reporter::Source,
        protocol: if is_stream { Protocol::Tcp } else { Protocol::Http2 },
        peer: &peer,
        client: at("192.168.1.1:7"),
        request: (!is_stream).then_some(&request),
        response: (!is_stream).then_some(&response),
        rpc: None,
        trailers: Some(&trailers),
        grpc_status: Some(14),
        status: if is_stream { 0 } else { 503 },
        flags: ResponseFlags(
            ResponseFlags::UPSTREAM_CONNECTION_FAILURE.0 | ResponseFlags::UPSTREAM_RETRY_LIMIT.0,
        ),
        details: "no luck",
        route: "default",
        filter_chain: "",
        cluster: "outbound|80||cart",
        service_host: "",
        service_name: "",
        service_namespace: "",
        upstream: at("10.0.0.9:8080"),
        upstream_local: None,
        mutual_tls: false,
        upstream_failure: "connection refused",
        downstream_failure: "",
        other: &PeerLabels::default(),
        other_principal: "",
        attempts: 2,
        received: 3,
        sent: 4,
        received_headers: 0,
        sent_headers: 0,
        request_messages: 0,
        response_messages: 0,
        moments: Moments {
            started: tick(100),
            request_complete: Some(tick(105)),
            first_upstream_received: Some(tick(110)),
            ended: tick(123),
            started_wall: 1_709_211_845_006_000_000,
        },
        service_time: None,
        trace: None,
        connection_id: 77,
    });
}

fn text_log(format: &str, sink: AccessLogSink) -> AccessLogger {
    AccessLogger::compile(&AccessLog {
        sink,
        format: AccessLogFormat::Text { format: format.into() },
        filter: None,
    })
    .unwrap()
}

fn line(logger: &AccessLogger, is_stream: bool) -> String {
    let mut out = Sheet::default();
    with_facts(is_stream, |facts| logger.write(facts, &mut Texts::default(), &mut out));
    String::from_utf8(out.as_bytes().to_vec()).unwrap()
}

#[test]
fn calls_of_framed_protocols_are_told_by_their_own_words() {
    let json = AccessLogger::compile(&AccessLog {
        sink: AccessLogSink::Stdout {},
        format: AccessLogFormat::Json {
            fields: [("service", "%RPC_SERVICE%"), ("status", "%RPC_STATUS%"), ("id", "%RPC_REQUEST_ID%")]
                .map(|(name, value)| JsonField { name: name.into(), value: value.into(), fields: Vec::new() })
                .into(),
            omit_empty: false,
        },
        filter: None,
    });
    let text =
        "%PROTOCOL% %RPC_PROTOCOL% %RPC_SERVICE%/%RPC_METHOD% %RPC_STATUS% %RPC_REQUEST_ID% %RPC_ONE_WAY%";
    let envoys = "%HOST% %METHOD% %PATH% %GENERIC_RESPONSE_CODE% %REQUEST_PROPERTY(User-Agent):2% \
                  %REQUEST_PROPERTY(host)% %REQUEST_PROPERTY(x?user-agent)% %RESPONSE_PROPERTY(x)%";
    let call = RpcFacts {
        protocol: "bolt",
        service: b"shop.Cart:1.0",
        method: b"add",
        id: 42,
        status: Some(4),
        trace: None,
        one_way: false,
    };
    let told = |rpc: Option<RpcFacts<'_>>, logger: &AccessLogger| {
        let mut out = Sheet::default();
        with_facts(false, |facts| logger.write(&Facts { rpc, ..*facts }, &mut Texts::default(), &mut out));
        String::from_utf8(out.as_bytes().to_vec()).unwrap()
    };
    let text = text_log(text, AccessLogSink::Stdout {});
    assert_eq!(told(Some(call), &text), "bolt bolt shop.Cart:1.0/add 4 42 false");
    let silent = RpcFacts { method: b"", status: None, one_way: true, ..call };
    assert_eq!(told(Some(silent), &text), "bolt bolt shop.Cart:1.0/- - 42 true");
    assert_eq!(told(None, &text), "HTTP/2 - -/- - - -");
    let envoys = text_log(envoys, AccessLogSink::Stdout {});
    assert_eq!(told(Some(call), &envoys), "shop.Cart:1.0 add shop.Cart:1.0 4 te - - -");
    let json = json.unwrap();
    assert_eq!(told(Some(call), &json), "{\"service\":\"shop.Cart:1.0\",\"status\":4,\"id\":42}\n");
    assert_eq!(told(None, &json), "{\"service\":null,\"status\":null,\"id\":null}\n");
}

#[test]
fn text_is_filled_in_as_envoy_does() {
    for (format, expected) in [
        ("[%START_TIME%] %START_TIME(%s.%3f)%", "[2024-02-29T13:04:05.006Z] 1709211845.006"),
        (
            "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(:PATH):4% %PROTOCOL%",
            "GET /old /new HTTP/2",
        ),
        ("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%", "503 UF,URX no_luck"),
        ("%CONNECTION_TERMINATION_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%", "- connection_refused"),
        ("%BYTES_RECEIVED% %BYTES_SENT% %DURATION%", "3 4 23"),
        ("%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "5 10 13"),
        ("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% %RESP(x?:status)% %REQ(x)%", "7 503 -"),
        ("%UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_CLUSTER%", "10.0.0.9:8080 - outbound|80||cart"),
        ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "10.0.0.3:80 80"),
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "192.168.1.1:7 192.168.1.1"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %CONNECTION_ID%", "10.0.0.1:5000 77"),
        ("%GRPC_STATUS% %GRPC_STATUS_NUMBER% %TRAILER(grpc-status)% %TRAILER(x)%", "Unavailable 14 14 -"),
        ("%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%", "cart.shop TLSv1.3 -"),
        ("%DOWNSTREAM_PEER_URI_SAN% %ROUTE_NAME% %STREAM_ID%", "spiffe://a/ns/b/sa/c default id-1"),
    ] {
        assert_eq!(line(&text_log(format, AccessLogSink::Stdout {}), false), expected, "{format}");
    }
    // A request that was answered before anybody had read it is none of layer 4.
    let details =
        text_log("%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%", AccessLogSink::Stdout {});
    with_facts(false, |facts| {
        let unread = Facts { request: None, ..*facts };
        let mut out = Sheet::default();
        details.write(&unread, &mut Texts::default(), &mut out);
        assert_eq!(out.as_bytes(), b"no_luck -");
    });
    let stream = text_log(
        "%PROTOCOL% %RESPONSE_CODE% %REQ(:PATH)% %CONNECTION_TERMINATION_DETAILS%",
        AccessLogSink::Stdout {},
    );
    assert_eq!(line(&stream, true), "- 0 - no_luck");
}

fn json(fields: Vec<JsonField>, omit_empty: bool) -> String {
    let format = AccessLogFormat::Json { fields, omit_empty };
    let logger =
        AccessLogger::compile(&AccessLog { sink: AccessLogSink::Stderr {}, format, filter: None }).unwrap();
    line(&logger, false)
}

fn field(name: &str, value: &str) -> JsonField {
    JsonField { name: name.into(), value: value.into(), fields: vec![] }
}

#[test]
fn json_keeps_types_and_order() {
    let fields = || {
        vec![
            field("z", "%RESPONSE_CODE%"),
            field("ms", "%DURATION% ms"),
            field("none", "%REQ(x)%"),
            field("mixed", "a%REQ(x)%"),
            field("path", "%REQ(:PATH):8%"),
            field("agent\"", "%REQ(user-agent)%"),
            JsonField {
                fields: vec![field("flags", "%RESPONSE_FLAGS%"), field("none", "%ROUTE_NAME:3%")],
                ..field("nested", "")
            },
            field("last", "%REQ(x)%"),
        ]
    };
    let whole = json(fields(), false);
    assert_eq!(
        whole,
        concat!(
            r#"{"z":503,"ms":"23 ms","none":null,"mixed":"a-","path":"/new?q=\"","agent\"":"te"#,
            "\u{fffd}",
            r#"st\t\u0001","nested":{"flags":"UF,URX","none":"def"},"last":null}"#,
            "\n"
        )
    );
    serde_json::from_str::<serde_json::Value>(&whole).unwrap();
    let short = json(fields(), true);
    let parsed: serde_json::Value = serde_json::from_str(&short).unwrap();
    assert_eq!(parsed.get("none"), None);
    assert_eq!(parsed["mixed"], "a");
    assert_eq!(json(vec![field("a", "%REQ(x)%"), field("b", "%REQ(y)%")], true), "{}\n");
    assert_eq!(json(vec![field("a", "%REQ(x)%"), field("b", "1")], true), "{\"b\":\"1\"}\n");
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let text = |format: &str| AccessLogFormat::Text { format: format.into() };
    let nested = JsonField { fields: vec![field("a", "1"), field("b", "%NO%")], ..field("x", "") };
    let file = |path: &str| AccessLogSink::File { path: path.into() };
    for (sink, format, path) in [
        (file("/tmp/x"), text("%NO%"), "format.format"),
        (file(""), text("x"), "sink.path"),
        (
            AccessLogSink::Stdout {},
            AccessLogFormat::Json { fields: vec![nested], omit_empty: false },
            "format.fields[0].fields[1].value",
        ),
    ] {
        assert_eq!(AccessLogger::compile(&AccessLog { sink, format, filter: None }).unwrap_err().path, path);
    }
    assert_eq!(text_log("x", file("/dev/stdout")).sink, AccessLogSink::Stdout {});
}

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mainstay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn lines_reach_their_file_and_a_rotated_file_is_opened_anew() {
    let place = Place::new("rotate");
    let (path, moved) = (place.file("access.log"), place.file("access.log.1"));
    let logger = text_log("%RESPONSE_CODE%\n", AccessLogSink::File { path: path.clone() });
    let writer = LogWriter::default();
    let mut buffers = writer.buffers();
    with_facts(false, |facts| buffers.log(&logger, facts));
    buffers.flush();
    // The writer's own thread: wait for the file, at most a few seconds.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::fs::read_to_string(&path).unwrap_or_default().is_empty() {
        assert!(std::time::Instant::now() < deadline, "no line was written");
        std::thread::yield_now();
    }
    std::fs::rename(&path, &moved).unwrap();
    with_facts(false, |facts| buffers.log(&logger, facts));
    drop(buffers);
    drop(writer);
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "503\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "503\n");
}

#[test]
fn many_files_lose_no_line() {
    let place = Place::new("many");
    let loggers: Vec<_> = (0..20)
        .map(|number| text_log("x\n", AccessLogSink::File { path: place.file(&format!("{number}.log")) }))
        .collect();
    let writer = LogWriter::default();
    let mut buffers = writer.buffers();
    with_facts(false, |facts| loggers.iter().for_each(|logger| buffers.log(logger, facts)));
    drop(buffers);
    assert_eq!(writer.dropped(), 0);
    drop(writer);
    for number in 0..20 {
        assert_eq!(std::fs::read_to_string(place.file(&format!("{number}.log"))).unwrap(), "x\n");
    }
}

#[test]
fn every_line_is_written_or_counted() {
    let place = Place::new("count");
    let path = place.file("access.log");
    // Lines of 1 KiB: two thousand of them are many more buffers than may wait.
    let logger = text_log(&format!("{}\n", "x".repeat(1_023)), AccessLogSink::File { path: path.clone() });
    let writer = LogWriter::default();
    let mut buffers = writer.buffers();
    with_facts(false, |facts| (0..2_000).for_each(|_| buffers.log(&logger, facts)));
    drop(buffers);
    let dropped = writer.dropped();
    drop(writer);
    let written = std::fs::metadata(&path).unwrap().len() / 1_024;
    assert_eq!(written + dropped, 2_000);
}

#[test]
fn a_file_that_cannot_be_written_costs_its_lines_only() {
    let place = Place::new("refused");
    let logger = text_log("x\n", AccessLogSink::File { path: place.file("no/such/place") });
    let telemetry = super::Telemetry::new(crate::plan::LocalWorkload::default());
    let mut recorder = telemetry.recorder();
    with_facts(false, |facts| recorder.log(&[logger], facts));
    recorder.flush_logs();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while telemetry.dropped_lines() == 0 {
        assert!(std::time::Instant::now() < deadline, "the line was not counted");
        std::thread::yield_now();
    }
    assert_eq!(telemetry.dropped_lines(), 1);
}

#[test]
fn a_place_that_refuses_lines_is_told_of_when_that_begins_and_when_it_is_over() {
    let place = Place::new("trouble");
    let path = place.file("late/access.log");
    let logger = text_log("x\n", AccessLogSink::File { path: path.clone() });
    let (send, heard) = std::sync::mpsc::channel();
    let writer = LogWriter::default();
    writer.tell_by(move |trouble| send.send(trouble).unwrap());
    let mut buffers = writer.buffers();
    let mut line = || {
        with_facts(false, |facts| buffers.log(&logger, facts));
        buffers.flush();
    };
    let within = std::time::Duration::from_secs(10);
    line();
    let Trouble::Begun { place: told, reason } = heard.recv_timeout(within).unwrap() else { panic!("over") };
    assert_eq!(told, path);
    assert!(reason.contains("No such file"), "{reason}");
    line();
    line();
    let deadline = std::time::Instant::now() + within;
    while writer.dropped() < 3 {
        assert!(std::time::Instant::now() < deadline, "the lines were not counted");
        std::thread::yield_now();
    }
    std::fs::create_dir(place.file("late")).unwrap();
    line();
    assert_eq!(heard.recv_timeout(within).unwrap(), Trouble::Over { place: path, lost: 3 });
}

#[test]
fn the_reference_names_every_operator() {
    let page = include_str!("../../../docs/reference/access-log.md");
    for (_, text) in super::log_format::Value::ALL {
        assert!(page.contains(&format!("`{text}`")), "{text} is not in docs/reference/access-log.md");
    }
}

#[test]
fn filters_choose_what_is_told() {
    use crate::plan::{
        Fraction, HeaderMatch, HeaderTest, LogComparison, LogComparisonKind as Kind, LogFilter as Filter,
    };
    let status = |kind, value| Filter::StatusCode { comparison: LogComparison { kind, value } };
    let duration = |kind, value| Filter::Duration { comparison: LogComparison { kind, value } };
    let flags =
        |names: &[&str]| Filter::ResponseFlag { flags: names.iter().map(|name| (*name).into()).collect() };
    let header = |name: &str| Filter::Header {
        matches: HeaderMatch {
            name: name.into(),
            test: HeaderTest::Present { present: true },
            invert: false,
            absent_as_empty: false,
        },
    };
    let share =
        |numerator| Filter::Runtime { fraction: Fraction { numerator, denominator: 100 }, independent: true };
    let grpc = |statuses: &[u32], exclude| Filter::GrpcStatus { statuses: statuses.into(), exclude };
    // 503, 23 ms, UF and URX, gRPC status of the facts above.
    for (filter, expected) in [
        (status(Kind::Eq, 503), true),
        (status(Kind::Ge, 500), true),
        (status(Kind::Le, 499), false),
        (status(Kind::Ne, 503), false),
        (duration(Kind::Ge, 23), true),
        (duration(Kind::Ge, 24), false),
        (Filter::NotHealthCheck {}, true),
        (Filter::Traceable {}, false),
        (flags(&[]), true),
        (flags(&["UF"]), true),
        (flags(&["UC", "URX"]), true),
        (flags(&["UC", "DF"]), false),
        (header(":path"), true),
        (header("x-nobody-sends"), false),
        (share(0), false),
        (share(100), true),
        (grpc(&[7], false), false),
        (grpc(&[7], true), true),
        (Filter::And { filters: vec![flags(&["UF"]), status(Kind::Ge, 600)] }, false),
        (Filter::Or { filters: vec![flags(&["UF"]), status(Kind::Ge, 600)] }, true),
    ] {
        let plan = AccessLog {
            sink: AccessLogSink::Stderr {},
            format: AccessLogFormat::Text { format: "x\n".into() },
            filter: Some(filter.clone()),
        };
        let logger = AccessLogger::compile(&plan).unwrap();
        with_facts(false, |facts| assert_eq!(logger.wants(facts), expected, "{filter:?}"));
    }
}

#[test]
fn filters_that_nest_without_end_are_refused() {
    use crate::plan::LogFilter as Filter;
    let mut filter = Filter::Traceable {};
    for _ in 0..20 {
        filter = Filter::Or { filters: vec![filter] };
    }
    let plan = AccessLog {
        sink: AccessLogSink::Stderr {},
        format: AccessLogFormat::Text { format: String::new() },
        filter: Some(filter),
    };
    assert!(AccessLogger::compile(&plan).unwrap_err().path.starts_with("filter.filters[0]"));
}
