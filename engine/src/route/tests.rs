//! Decision tables of routes, and what routes do to heads.

use super::*;
use crate::matching::Field;
use crate::message::{NameId, RequestHead, ResponseHead};
use crate::plan::{
    DirectResponse, Fraction, HeaderChange, HeaderChangeKind, HeaderMatch, HeaderTest, HostRewrite,
    PathMatch, PathRewrite, PlanError, QueryMatch, QueryTest, Redirect, Regex, Route, RouteAction,
    RouteHeaders, RouteMatch, RouteTable, StringMatch, StringTest, Upstreams, VirtualHost, WeightedCluster,
};
use crate::telemetry::log_format::{Operator, Source, Value};

fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix { text: text.into() }
}

fn on(path: PathMatch) -> RouteMatch {
    RouteMatch { path, ignore_case: false, headers: vec![], query: vec![], grpc_only: false, fraction: None }
}

fn upstreams(upstreams: Upstreams) -> RouteAction {
    RouteAction::Forward {
        upstreams,
        path_rewrite: None,
        host_rewrite: None,
        append_forwarded_host: false,
        timeout: Some(15_000),
        idle_timeout: None,
        unlimited_idle: false,
        max_duration: None,
        grpc_timeout_max: None,
        retry: None,
        mirrors: vec![],
        upgrades: vec![],
        cluster_not_found_status: 503,
        high_priority: false,
        internal_redirect: None,
    }
}

fn to(cluster: &str) -> RouteAction {
    upstreams(Upstreams::Cluster { name: cluster.into() })
}

fn rewriting(path: Option<PathRewrite>, host: Option<HostRewrite>) -> RouteAction {
    let mut action = to("c");
    if let RouteAction::Forward { path_rewrite, host_rewrite, append_forwarded_host, .. } = &mut action {
        (*path_rewrite, *host_rewrite, *append_forwarded_host) = (path, host, true);
    }
    action
}

fn route(matches: RouteMatch, action: RouteAction) -> Route {
    Route {
        name: String::new(),
        matches,
        action,
        headers: RouteHeaders::default(),
        filters: vec![],
        operation: String::new(),
    }
}

fn host(domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: domains.first().copied().unwrap_or_default().into(),
        domains: domains.iter().map(|domain| (*domain).into()).collect(),
        routes,
        headers: RouteHeaders::default(),
        retry: None,
        mirrors: vec![],
        send_attempt_count: false,
        return_attempt_count: false,
        require_tls: false,
        filters: vec![],
    }
}

fn table(virtual_hosts: Vec<VirtualHost>) -> RouteTable {
    RouteTable {
        name: "t".into(),
        virtual_hosts,
        headers: RouteHeaders::default(),
        ignore_port: true,
        case_sensitive: false,
        most_specific_headers_win: false,
        internal_only_headers: vec![],
    }
}

fn compile(plan: &RouteTable) -> Table {
    Table::compile(plan, &NoOverrides).unwrap()
}

fn head(authority: &str, path: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_scheme(b"http");
    head.set_authority(authority.as_bytes());
    head.set_path(path.as_bytes());
    for (name, value) in fields {
        head.headers.push(name.as_bytes(), value.as_bytes());
    }
    head
}

fn decide(table: &Table, head: &RequestHead, random: u64) -> Decision {
    table.decide(&RouteInput { head, is_tls: false, random })
}

/// The cluster, `none`, or what else was decided.
fn outcome(table: &Table, head: &RequestHead, random: u64) -> String {
    let decision = decide(table, head, random);
    match &decision {
        Decision::Forward { .. } => decision.cluster().to_owned(),
        Decision::Redirect { status, location, .. } => {
            format!("{status} {}", String::from_utf8_lossy(location))
        }
        Decision::Respond { route } => {
            let response = route.response().unwrap();
            format!("{} {}", response.status, response.body.len())
        }
        Decision::NotFound => "none".into(),
        Decision::NonForwarding { .. } => "non-forwarding".into(),
    }
}

fn text(test: StringTest, ignore_case: bool) -> StringMatch {
    StringMatch { test, ignore_case }
}

fn header(name: &str, test: HeaderTest, invert: bool) -> HeaderMatch {
    HeaderMatch { name: name.into(), test, invert, absent_as_empty: false }
}

fn exactly(value: &str) -> HeaderTest {
    HeaderTest::Text { matches: text(StringTest::Exact { text: value.into() }, false) }
}

#[test]
fn paths_match_by_their_kind_and_without_query() {
    let cases: &[(PathMatch, bool, &[&str], &[&str])] = &[
        (prefix("/"), false, &["/", "/x?y"], &[""]),
        (prefix("/Api"), false, &["/Api", "/Apix", "/Api/x?q"], &["/api", "/Ap", "/x/Api"]),
        (prefix("/Api"), true, &["/api", "/APIx"], &["/ap"]),
        (PathMatch::Exact { text: "/a".into() }, false, &["/a", "/a?b=c", "/a#d"], &["/a/", "/A", "/ab"]),
        (PathMatch::Exact { text: "/a".into() }, true, &["/A?x"], &["/b"]),
        (
            PathMatch::SeparatedPrefix { text: "/api".into() },
            false,
            &["/api", "/api/", "/api/x", "/api?x"],
            &["/apix", "/API"],
        ),
        (PathMatch::SeparatedPrefix { text: "/api".into() }, true, &["/API/x"], &["/APIx"]),
        (
            PathMatch::Regex { text: Regex("/v[0-9]+/.*".into()) },
            false,
            &["/v1/", "/v12/x?y"],
            &["/v/", "/xv1/", "/v1"],
        ),
    ];
    for (path, ignore_case, matching, others) in cases {
        let matches = RouteMatch { ignore_case: *ignore_case, ..on(path.clone()) };
        let made = compile(&table(vec![host(&["*"], vec![route(matches, to("c"))])]));
        for (paths, expected) in [(matching, "c"), (others, "none")] {
            for path_text in *paths {
                assert_eq!(
                    outcome(&made, &head("h", path_text, &[]), 0),
                    expected,
                    "{path:?} on {path_text}"
                );
            }
        }
    }
}

#[test]
fn the_first_route_whose_tests_all_hold_decides() {
    let with = |change: fn(&mut RouteMatch)| {
        let mut matches = on(prefix("/"));
        change(&mut matches);
        matches
    };
    let routes = vec![
        route(with(|matches| matches.grpc_only = true), to("grpc")),
        route(
            with(|matches| {
                matches.headers = vec![header("x-a", exactly("1"), false), header("x-b", exactly("2"), true)];
            }),
            to("headers"),
        ),
        route(with(|matches| matches.headers = vec![header(":method", exactly("POST"), false)]), to("post")),
        route(
            with(|matches| {
                matches.query =
                    vec![QueryMatch { name: "q".into(), test: QueryTest::Present { present: true } }];
            }),
            to("query"),
        ),
        route(on(prefix("/only")), to("prefix")),
    ];
    let made = compile(&table(vec![host(&["h"], routes)]));
    for (path, fields, expected) in [
        ("/", &[("content-type", "application/grpc+proto")][..], "grpc"),
        ("/", &[("content-type", "application/grpc-web")], "none"),
        ("/", &[("x-a", "1"), ("x-b", "3")], "headers"),
        ("/", &[("x-a", "1"), ("x-b", "2")], "none"),
        ("/", &[("x-a", "1")], "none"),
        ("/?p&q=1", &[], "query"),
        ("/only?q", &[], "query"),
        ("/only?p", &[], "prefix"),
        ("/", &[], "none"),
    ] {
        assert_eq!(outcome(&made, &head("h:80", path, fields), 0), expected, "{path} {fields:?}");
    }
    let mut post = head("h", "/", &[]);
    post.set_method(b"POST");
    assert_eq!(outcome(&made, &post, 0), "post");
    assert_eq!(outcome(&made, &head("other", "/only", &[]), 0), "none");
}

#[test]
fn shares_of_requests_nest_and_weights_do_not_follow_them() {
    let share = |numerator| RouteMatch {
        fraction: Some(Fraction { numerator, denominator: 100 }),
        ..on(prefix("/"))
    };
    let weighted = |names: &[(&str, u32)]| {
        let cluster = |(name, weight): &(&str, u32)| WeightedCluster {
            name: (*name).into(),
            weight: *weight,
            headers: RouteHeaders::default(),
            host_rewrite: None,
            filters: vec![],
        };
        upstreams(Upstreams::Weighted { clusters: names.iter().map(cluster).collect() })
    };
    let routes = vec![
        route(share(50), weighted(&[("a", 1), ("never", 0), ("b", 1)])),
        route(on(prefix("/")), to("rest")),
    ];
    let made = compile(&table(vec![host(&["*"], routes)]));
    let request = head("h", "/", &[]);
    let mut counts = std::collections::BTreeMap::new();
    for random in 0..10_000 {
        *counts.entry(outcome(&made, &request, random)).or_insert(0) += 1;
    }
    assert_eq!(counts["rest"], 5_000);
    assert!((2_300..2_700).contains(&counts["a"]), "{counts:?}");
    assert_eq!(counts.get("never"), None);
}

#[test]
fn other_actions() {
    let redirect = Redirect {
        scheme: String::new(),
        host: "new".into(),
        port: None,
        path: None,
        path_rewrite: Some(PathRewrite::Prefix { text: "/n".into() }),
        status: 308,
        strip_query: true,
    };
    let routes = vec![
        route(on(prefix("/old")), RouteAction::Redirect { redirect }),
        route(
            on(prefix("/fixed")),
            RouteAction::Respond { response: DirectResponse { status: 418, body: b"tea".to_vec() } },
        ),
        route(on(prefix("/none")), RouteAction::NonForwarding {}),
        route(on(prefix("/")), upstreams(Upstreams::Header { name: "x-cluster".into() })),
    ];
    let mut secure = host(&["secure"], vec![route(on(prefix("/")), to("c"))]);
    secure.require_tls = true;
    let made = compile(&table(vec![host(&["*"], routes), secure]));
    for (authority, path, fields, expected) in [
        ("h", "/old/a?b", &[][..], "308 http://new/n/a"),
        ("h", "/fixed", &[], "418 3"),
        ("h", "/none", &[], "non-forwarding"),
        ("h", "/", &[("x-cluster", "blue")], "blue"),
        ("h", "/", &[], ""),
        ("secure:80", "/a?b", &[], "301 https://secure/a?b"),
    ] {
        assert_eq!(outcome(&made, &head(authority, path, fields), 0), expected, "{authority}{path}");
    }
    for (is_tls, forwarded, passes) in
        [(true, None, true), (false, None, false), (false, Some("https"), true), (true, Some("http"), false)]
    {
        let fields: Vec<_> = forwarded.map(|scheme| ("x-forwarded-proto", scheme)).into_iter().collect();
        let request = head("secure", "/", &fields);
        let decision = made.decide(&RouteInput { head: &request, is_tls, random: 0 });
        assert_eq!(matches!(decision, Decision::Forward { .. }), passes, "{is_tls} {forwarded:?}");
    }
}

struct Exchange;

impl Source for Exchange {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::Value(Value::DownstreamRemoteAddressWithoutPort) => out.extend_from_slice(b"10.0.0.1"),
            Operator::Request { name: Field::Path, .. } => out.extend_from_slice(b"/asked"),
            _ => return false,
        }
        true
    }
}

fn change(name: &str, value: &str, action: HeaderChangeKind) -> HeaderChange {
    HeaderChange { name: name.into(), value: value.into(), action, keep_empty: false }
}

fn fields(block: &crate::message::HeaderBlock) -> Vec<String> {
    block
        .iter()
        .map(|(_, name, value)| {
            format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        })
        .collect()
}

#[test]
fn header_changes_take_place_in_envoys_order() {
    use HeaderChangeKind::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd};
    let plan = RouteHeaders {
        request: vec![
            change("X-Added", "a", AppendIfExistsOrAdd),
            change("x-absent", "no", AddIfAbsent),
            change("x-new", "%REQ(x-old)%-%REQ(x-gone?x-kept)%", AddIfAbsent),
            change("x-kept", "over", OverwriteIfExists),
            change("x-missing", "no", OverwriteIfExists),
            change("x-from", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", OverwriteIfExistsOrAdd),
            change("x-empty", "%REQ(x-nothing)%", AppendIfExistsOrAdd),
            HeaderChange { keep_empty: true, ..change("x-hollow", "%REQ(x-nothing)%", AppendIfExistsOrAdd) },
        ],
        request_remove: vec!["x-gone".into()],
        ..RouteHeaders::default()
    };
    let mut request = head(
        "h",
        "/",
        &[
            ("x-added", "0"),
            ("x-absent", "here"),
            ("x-old", "1"),
            ("x-gone", "2"),
            ("x-kept", "3"),
            ("x-from", "4"),
        ],
    );
    HeaderChanges::of_request(&plan).unwrap().apply_request(&mut request, &Exchange);
    assert_eq!(
        fields(&request.headers),
        [
            "x-added=0",
            "x-absent=here",
            "x-old=1",
            "x-kept=over",
            "x-from=10.0.0.1",
            "x-added=a",
            "x-new=1-3",
            "x-hollow=",
        ]
    );
}

#[test]
fn levels_follow_each_other_from_the_route_up_or_the_other_way() {
    for (most_specific_wins, expected) in [(false, "table"), (true, "route")] {
        let level = |name: &str| RouteHeaders {
            request: vec![change("x-level", name, HeaderChangeKind::OverwriteIfExistsOrAdd)],
            response: vec![
                change("x-level", name, HeaderChangeKind::OverwriteIfExistsOrAdd),
                change("x-path", "%REQ(:path)%", HeaderChangeKind::OverwriteIfExistsOrAdd),
                change("x-seen", "%RESP(x-sent)%", HeaderChangeKind::OverwriteIfExistsOrAdd),
            ],
            ..RouteHeaders::default()
        };
        let weighted = WeightedCluster {
            name: "w".into(),
            weight: 1,
            headers: level("weighted"),
            host_rewrite: Some("w.host".into()),
            filters: vec![],
        };
        let mut plan = table(vec![host(
            &["*"],
            vec![Route {
                headers: level("route"),
                ..route(on(prefix("/")), upstreams(Upstreams::Weighted { clusters: vec![weighted] }))
            }],
        )]);
        plan.virtual_hosts[0].headers = level("host");
        plan.headers = level("table");
        plan.most_specific_headers_win = most_specific_wins;
        let made = compile(&plan);
        let mut request = head("h", "/", &[]);
        let decision = decide(&made, &request, 7);
        let route = decision.route().unwrap();
        route.apply_request(decision.weighted(), &mut request, &Exchange);
        assert_eq!(fields(&request.headers), [format!("x-level={expected}")]);
        assert_eq!(request.authority(), b"w.host");
        let mut response = ResponseHead::with_status(200);
        response.headers.push(b"x-sent", b"s");
        route.apply_response(decision.weighted(), &mut response, &Exchange);
        assert_eq!(
            fields(&response.headers),
            ["x-sent=s".to_owned(), format!("x-level={expected}"), "x-path=/asked".into(), "x-seen=s".into()]
        );
    }
}

#[test]
fn paths_and_hosts_are_rewritten() {
    let regex = |pattern: &str, substitution: &str| PathRewrite::Regex {
        pattern: Regex(pattern.into()),
        substitution: substitution.into(),
    };
    let to_prefix = |text: &str| Some(PathRewrite::Prefix { text: text.into() });
    let literal = Some(HostRewrite::Literal { text: "new".into() });
    let from_header = Some(HostRewrite::Header { name: "x-host".into() });
    let from_path = Some(HostRewrite::PathRegex {
        pattern: Regex("^/([^/]*)/.*$".into()),
        substitution: r"\1.svc".into(),
    });
    let separated = PathMatch::SeparatedPrefix { text: "/api".into() };
    let exact = PathMatch::Exact { text: "/api/v1".into() };
    let any = PathMatch::Regex { text: Regex(".*".into()) };
    for (matches, path, host, expected_path, expected_host) in [
        (prefix("/api"), to_prefix("/new"), None, "/new/v1?q=/api", "old"),
        (separated, to_prefix("/"), literal, "//v1?q=/api", "new"),
        (exact, to_prefix("/x"), from_header, "/x?q=/api", "other"),
        (any.clone(), to_prefix("/x"), from_path, "/x?q=/api", "api.svc"),
        (any.clone(), Some(regex("^/api/(.*)$", r"/\1/api")), None, "/v1/api?q=/api", "old"),
        (any, None, Some(HostRewrite::Endpoint {}), "/api/v1?q=/api", "old"),
    ] {
        let made = compile(&table(vec![super::tests::host(
            &["*"],
            vec![route(on(matches.clone()), rewriting(path.clone(), host))],
        )]));
        let mut request = head("old", "/api/v1?q=/api", &[("x-host", "other")]);
        let decision = decide(&made, &request, 0);
        decision.route().unwrap().apply_request(None, &mut request, &());
        assert_eq!(String::from_utf8_lossy(request.path()), expected_path, "{matches:?}");
        assert_eq!(String::from_utf8_lossy(request.authority()), expected_host, "{matches:?}");
        let original = request.headers.get_id(NameId::X_ENVOY_ORIGINAL_PATH);
        assert_eq!(original, path.is_some().then_some(&b"/api/v1?q=/api"[..]));
        let forwarded = request.headers.get_id(NameId::X_FORWARDED_HOST);
        assert_eq!(forwarded, (expected_host != "old").then_some(&b"old"[..]));
    }
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let with_route = |route: Route| table(vec![host(&["*"], vec![route])]);
    let level = |changes| RouteHeaders { request: changes, ..RouteHeaders::default() };
    let bad_header = |name: &str, value: &str| Route {
        headers: level(vec![change(name, value, HeaderChangeKind::AddIfAbsent)]),
        ..route(on(prefix("/")), to("c"))
    };
    let response = DirectResponse { status: 99, body: vec![] };
    let cases: Vec<(RouteTable, &str)> = vec![
        (table(vec![host(&["a"], vec![]), host(&["b", "A"], vec![])]), "virtual_hosts[1].domains[1]"),
        (
            with_route(route(on(PathMatch::Regex { text: Regex("(".into()) }), to("c"))),
            "virtual_hosts[0].routes[0].matches.path.text",
        ),
        (
            with_route(route(on(PathMatch::SeparatedPrefix { text: "/a/".into() }), to("c"))),
            "virtual_hosts[0].routes[0].matches.path.text",
        ),
        (
            with_route(route(on(prefix("/")), upstreams(Upstreams::Weighted { clusters: vec![] }))),
            "virtual_hosts[0].routes[0].action.upstreams.clusters",
        ),
        (with_route(route(on(prefix("/")), to(""))), "virtual_hosts[0].routes[0].action.upstreams.name"),
        (with_route(bad_header("x", "%NO%")), "virtual_hosts[0].routes[0].headers.request[0].value"),
        (with_route(bad_header("x", "a\r\nb: c")), "virtual_hosts[0].routes[0].headers.request[0].value"),
        (with_route(bad_header(":path", "a")), "virtual_hosts[0].routes[0].headers.request[0].name"),
        (with_route(bad_header("Host", "a")), "virtual_hosts[0].routes[0].headers.request[0].name"),
        (with_route(bad_header("x y", "a")), "virtual_hosts[0].routes[0].headers.request[0].name"),
        (
            with_route(route(on(prefix("/")), RouteAction::Respond { response })),
            "virtual_hosts[0].routes[0].action.response.status",
        ),
        (
            with_route(Route {
                filters: vec![("f".into(), crate::plan::HttpFilterConfig::Disabled {})],
                ..route(on(prefix("/")), to("c"))
            }),
            "virtual_hosts[0].routes[0].filters[0]",
        ),
    ];
    for (plan, path) in cases {
        let PlanError { path: found, reason } = Table::compile(&plan, &NoOverrides).unwrap_err();
        assert_eq!(found, path, "{reason}");
    }
}

#[test]
fn headers_of_the_inside_are_removed() {
    let mut plan = table(vec![]);
    plan.internal_only_headers = vec!["X-Inside".into()];
    let mut request = head("h", "/", &[("x-inside", "1"), ("x-other", "2")]);
    compile(&plan).remove_internal_headers(&mut request);
    assert_eq!(fields(&request.headers), ["x-other=2"]);
}

#[test]
fn deciding_among_fifty_header_routes_is_quick() {
    let routes: Vec<Route> = (0..50)
        .map(|number| {
            let mut matches = on(prefix("/"));
            matches.headers = vec![header("x-tenant", exactly(&format!("tenant-{number}")), false)];
            route(matches, to("c"))
        })
        .collect();
    let hosts = vec![host(&["cart.shop.svc.cluster.local", "cart", "*.example.com"], routes)];
    let made = compile(&table(hosts));
    let request = head(
        "cart.shop.svc.cluster.local:8080",
        "/cart/items?id=1",
        &[("accept", "*/*"), ("user-agent", "test"), ("x-tenant", "tenant-49")],
    );
    let rounds = 2_000;
    let best = (0..5)
        .map(|_| {
            let start = processor_time();
            for random in 0..rounds {
                assert!(matches!(decide(&made, &request, random), Decision::Forward { .. }));
            }
            (processor_time() - start) / rounds / 50
        })
        .min()
        .unwrap();
    println!("{best} ns a route");
    assert!(best < 1_000, "{best} ns a route");
}

/// Of this thread, in nanoseconds: other work on the machine does not count.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
