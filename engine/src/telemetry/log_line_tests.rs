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
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    course: &'a Course,
    own: &'a Own,
}

/// What calls of one course have in common.
#[derive(Debug, Clone)]
struct Course {
    rpc: bool,
    route: String,
    cluster: String,
    details: String,
    failure: String,
    protocol: String,
    upstream: Option<SocketAddr>,
    status: u16,
    flags: u32,
    is_stream: bool,
}

/// What they have not.
#[derive(Debug, Clone)]
struct Own {
    connection: usize,
    client: Option<SocketAddr>,
    upstream_local: Option<SocketAddr>,
    method: String,
    path: String,
    id: String,
    /// Of one field, as often as it comes.
    headers: Vec<Vec<u8>>,
    number: u64,
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

fn courses() -> impl Strategy<Value = Course> {
    let how = (any::<bool>(), select(vec![0u16, 200, 503]), 0u32..4, proptest::bool::weighted(0.1));
    (proptest::array::uniform5(words()), addresses(), how).prop_map(
        |([route, cluster, details, failure, protocol], upstream, (rpc, status, flags, is_stream))| Course {
            rpc,
            route,
            cluster,
            details,
            failure,
            protocol,
            upstream,
            status,
            flags,
            is_stream,
        },
    )
}

/// Many are like the one before, but for some of it.
fn owns() -> impl Strategy<Value = Own> {
    let number = select(vec![0, 9, 10, 99, 100, 1_000, u64::MAX]);
    let headers = prop_oneof![
        Just(vec![]),
        Just(vec![b"blue".to_vec()]),
        Just(vec![b"blue".to_vec(), b"\"red".to_vec()]),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 0..3)
    ];
    let texts = (select(vec!["GET", "POST", ""]), words(), words());
    ((0usize..4, addresses()), addresses(), texts, headers, number).prop_map(
        |((connection, client), upstream_local, (method, path, id), headers, number)| Own {
            connection,
            client,
            upstream_local,
            method: method.into(),
            path,
            id,
            headers,
            number,
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

impl Call<'_> {
    fn with_facts(&self, use_them: impl FnOnce(&Facts<'_>)) {
        let Self { course, own } = self;
        let mut request = RequestHead::default();
        request.set_method(own.method.as_bytes());
        request.set_path(own.path.as_bytes());
        let mut response = ResponseHead::with_status(course.status);
        for value in &own.headers {
            request.headers.push(b"x-mine", value);
            response.headers.push(b"x-mine", value);
        }
        if !own.id.is_empty() {
            request.headers.push(b"x-request-id", own.id.as_bytes());
            request.headers.push(b"user-agent", own.id.as_bytes());
        }
        let rpc = RpcFacts {
            protocol: &course.protocol,
            service: own.headers.first().map_or(b"", |value| value),
            method: own.method.as_bytes(),
            id: own.number,
            status: Some(own.number),
            trace: None,
            one_way: false,
        };
        let peer = peer(own.connection);
        use_them(&Facts {
            protocol: if course.is_stream { Protocol::Tcp } else { Protocol::Http2 },
            client: own.client,
            request: (!course.is_stream).then_some(&request),
            response: (!course.is_stream).then_some(&response),
            rpc: course.rpc.then_some(rpc),
            status: course.status,
            flags: ResponseFlags(course.flags),
            details: &course.details,
            route: &course.route,
            filter_chain: if own.connection == 3 { "chain" } else { "" },
            cluster: &course.cluster,
            upstream: course.upstream,
            upstream_local: own.upstream_local,
            upstream_failure: &course.failure,
            received: own.number,
            service_time: course.rpc.then_some(own.number as u32),
            moments: Moments { ended: Tick(own.number), started_wall: own.number, ..Moments::default() },
            connection_id: own.connection as u64,
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
        "%RESP(x-envoy-upstream-service-time?x-mine)%",
        "%START_TIME%",
        "%REQ(absent)%",
        "%REQ(user-agent)%",
        "%REQ(:METHOD?x-mine)%",
        "%REQ(x-mine?user-agent)%",
        "%REQ(user-agent?:PATH)%",
        "%REQ(x-request-id?x-mine)%",
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
        courses in proptest::collection::vec(courses(), 1..4),
        owns in proptest::collection::vec(owns(), 1..5),
        order in proptest::collection::vec((0usize..3, 0usize..4, 0usize..2), 1..30),
    ) {
        let loggers: Vec<_> = formats.iter().map(logger).collect();
        let mut texts = Texts::default();
        for (course, own, log) in order {
            let (course, own) = (&courses[course % courses.len()], &owns[own % owns.len()]);
            let (call, log) = (Call { course, own }, log % loggers.len());
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

fn some_course() -> Course {
    Course {
        rpc: false,
        route: "route".into(),
        cluster: "cluster".into(),
        details: "via_upstream".into(),
        failure: String::new(),
        protocol: String::new(),
        upstream: "10.0.0.1:80".parse().ok(),
        status: 200,
        flags: 0,
        is_stream: false,
    }
}

fn some_own(connection: usize) -> Own {
    Own {
        connection,
        client: None,
        upstream_local: None,
        method: "GET".into(),
        path: "/".into(),
        id: String::new(),
        headers: vec![],
        number: 0,
    }
}

/// Writes the lines of these calls of one course, and tells how often its line was made.
fn made_by(course: &Course, calls: impl IntoIterator<Item = Own>) -> u32 {
    let (logger, mut texts) = (logger(&AccessLogFormat::Text { format: STEADY.into() }), Texts::default());
    for own in calls {
        let call = Call { course, own: &own };
        call.with_facts(|facts| logger.write(facts, &mut texts, &mut Sheet::default()));
    }
    texts.made()
}

/// Of what calls of a course mostly say alike, and of what they do not.
const STEADY: &str =
    "%ROUTE_NAME% %UPSTREAM_HOST% %REQ(:PATH)% %REQ(:METHOD)% %REQ(user-agent)% %DURATION%\n";

#[test]
fn a_course_has_one_line_whatever_is_each_calls_own() {
    let calls = (0..1_000).map(|number| Own { number: number as u64, ..some_own(number % 4) });
    assert_eq!(made_by(&some_course(), calls), 1);
}

#[test]
fn what_differs_between_calls_is_left_to_them_from_then_on() {
    let calls = (0..1_000).map(|number| Own {
        path: format!("/{number}"),
        method: if number > 500 { "POST".into() } else { "GET".into() },
        ..some_own(0)
    });
    assert_eq!(made_by(&some_course(), calls), 3, "first, with another path, with another method");
}

#[test]
fn one_odd_call_is_forgotten_in_time() {
    let odd = Own { path: "/odd".into(), ..some_own(0) };
    let mut calls = vec![some_own(0); 16_384];
    calls[9] = odd.clone();
    assert_eq!(made_by(&some_course(), calls.clone()), 2);
    calls.push(some_own(0));
    assert_eq!(made_by(&some_course(), calls.clone()), 3, "learnt anew");
    calls.push(odd);
    assert_eq!(made_by(&some_course(), calls), 4, "so it was text again");
}

#[test]
fn methods_of_a_service_have_lines_of_their_own() {
    let calls = (0..100).map(|number| {
        let method = if number % 2 == 0 { "addItem" } else { "removeItem" };
        Own { method: method.into(), path: format!("/cart/{method}"), ..some_own(0) }
    });
    assert_eq!(made_by(&Course { rpc: true, ..some_course() }, calls), 2);
}

#[test]
fn courses_beyond_those_that_are_kept_do_not_drive_them_out() {
    let (logger, mut texts) = (logger(&AccessLogFormat::Text { format: STEADY.into() }), Texts::default());
    let courses: Vec<_> = (0..5_000).map(|status| Course { status, ..some_course() }).collect();
    for course in courses.iter().cycle().take(20_000) {
        let call = Call { course, own: &some_own(0) };
        call.with_facts(|facts| logger.write(facts, &mut texts, &mut Sheet::default()));
    }
    assert!((512..2_500).contains(&texts.made()), "{}", texts.made());
}

#[test]
fn what_stands_in_for_an_empty_value_is_looked_for_too() {
    let logger =
        logger(&AccessLogFormat::Text { format: "%REQ(:METHOD?x-mine)% %ROUTE_NAME%%UPSTREAM_HOST%".into() });
    let (course, mut texts) = (some_course(), Texts::default());
    for (headers, expected) in [(vec![], "- "), (vec![b"blue".to_vec()], "blue "), (vec![], "- ")] {
        let (own, mut out) = (Own { method: String::new(), headers, ..some_own(0) }, Sheet::default());
        Call { course: &course, own: &own }.with_facts(|facts| logger.write(facts, &mut texts, &mut out));
        assert!(out.as_bytes().starts_with(expected.as_bytes()));
    }
}

#[test]
fn what_is_kept_is_bounded_and_forgotten_in_time() {
    let logger = logger(&AccessLogFormat::Text { format: FORMAT.into() });
    let mut texts = Texts::default();
    let mut out = Sheet::default();
    for number in 0..10_000 {
        let course = Course { status: number, ..some_course() };
        let call = Call { course: &course, own: &some_own(number.into()) };
        call.with_facts(|facts| logger.write(facts, &mut texts, &mut out));
    }
    assert!(texts.kept() > 700, "{}", texts.kept());
    assert!(texts.kept() <= 1_024, "{}", texts.kept());
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
    let logger = logger(&AccessLogFormat::Text { format: format!("{FORMAT} %REQ(:PATH)%") });
    let long = "x".repeat(5_000);
    let of_course = (Course { route: long.clone(), ..some_course() }, some_own(0));
    let of_call = (some_course(), Own { path: long.clone(), ..some_own(0) });
    for ((course, own), kept) in [(of_course, 1), (of_call, 2)] {
        let (mut texts, mut out) = (Texts::default(), Sheet::default());
        let call = Call { course: &course, own: &own };
        call.with_facts(|facts| logger.write(facts, &mut texts, &mut out));
        assert_eq!(texts.kept(), kept, "the connection's; and the course's, whose path is each call's own");
        assert!(String::from_utf8_lossy(out.as_bytes()).contains(&long));
    }
}
