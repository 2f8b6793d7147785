//! The contract, proved by filters of no use elsewhere, and what the built-in ones do in a chain.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::message::{
    HeaderBlock, Key, Peer, PeerCertificate, RequestHead, ResponseFlags, ResponseHead, SECOND, Tick,
};
use crate::plan::{
    self, AddressRange, Fraction, HeaderChange, HeaderChangeKind, HeaderMatch, HeaderTest, HttpFilterConfig,
    NetworkFilterConfig, RbacPermission, RbacPolicy, RbacPrincipal, RbacRules, RouteHeaders, StringMatch,
    StringTest, TokenBucket,
};
use crate::route::{Decision, Override, Overrides, RouteInput, Table};
use crate::telemetry::{Group, HttpCounter, TcpCounter};

/// An exchange as far as filters see it.
struct Bench {
    peer: Peer,
    counters: Group<HttpCounter>,
    overrides: Overrides,
    instance: Rc<Instance>,
    states: States,
    now: Tick,
}

impl Bench {
    fn new(chain: &Arc<Chain>) -> Self {
        Self {
            peer: Peer::default(),
            counters: Group::new("ingress"),
            overrides: Overrides::default(),
            instance: Instances::default().of(chain),
            states: States::default(),
            now: Tick(SECOND),
        }
    }

    /// Runs one event and gives back the wishes too.
    fn run(
        &mut self,
        event: impl FnOnce(&Instance, &mut Context<'_>, &mut States) -> Step,
    ) -> (Step, Wishes) {
        let key = Key::from_bits(7);
        let mut context = Context::new(key, self.now, 0, 5, &self.peer, &self.overrides, &self.counters, &());
        context.client = self.peer.remote;
        let step = event(&self.instance, &mut context, &mut self.states);
        (step, context.wishes.map(|wishes| *wishes).unwrap_or_default())
    }

    fn request(&mut self, run: Run, head: &mut RequestHead) -> (Step, Wishes) {
        self.run(|instance, context, states| instance.request_head(run, context, states, head, true))
    }

    fn response(&mut self, head: &mut ResponseHead) -> (Step, Wishes) {
        self.run(|instance, context, states| instance.response_head(Run::All, context, states, head, true))
    }
}

/// Writes its name into each head, so that the order shows.
struct Mark(&'static str);

impl HttpFilterFactory for Mark {
    fn instance(self: Arc<Self>) -> Rc<dyn HttpFilter> {
        Rc::new(Marking(self.0))
    }
}

struct Marking(&'static str);

impl HttpFilter for Marking {
    fn on_request_head(
        &self,
        _: &mut Context<'_>,
        _: &mut StateSlot,
        head: &mut RequestHead,
        _: bool,
    ) -> Verdict {
        head.headers.push(b"x-mark", self.0.as_bytes());
        Verdict::Continue
    }

    fn on_response_head(
        &self,
        _: &mut Context<'_>,
        _: &mut StateSlot,
        head: &mut ResponseHead,
        _: bool,
    ) -> Verdict {
        head.headers.push(b"x-mark", self.0.as_bytes());
        Verdict::Continue
    }
}

fn marks(block: &HeaderBlock) -> String {
    let values = block.iter().filter(|(_, name, _)| *name == b"x-mark");
    values.map(|(_, _, value)| String::from_utf8_lossy(value)).collect()
}

/// Asks an authority about each request and waits for the answer, at most a second; collects the body; sees the end.
#[derive(Default)]
struct Ask {
    instances: AtomicUsize,
}

struct Asking {
    asked: Cell<u32>,
}

impl HttpFilterFactory for Ask {
    fn instance(self: Arc<Self>) -> Rc<dyn HttpFilter> {
        self.instances.fetch_add(1, Relaxed);
        Rc::new(Asking { asked: Cell::new(0) })
    }
}

impl HttpFilter for Asking {
    fn on_request_head(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        head: &mut RequestHead,
        _: bool,
    ) -> Verdict {
        self.asked.set(self.asked.get() + 1);
        *state = StateSlot::Words([u64::from(self.asked.get()), 0]);
        context.call("authority", Box::new(head.clone()), Vec::new(), context.now + SECOND);
        context.wake_at(context.now + 2 * SECOND);
        context.wake_at(context.now + SECOND);
        Verdict::Pause
    }

    fn on_request_data(
        &self,
        _: &mut Context<'_>,
        _: &mut StateSlot,
        data: &mut Data<'_>,
        end: bool,
    ) -> Verdict {
        if !end {
            return Verdict::Collect;
        }
        let upper = data.bytes().to_ascii_uppercase();
        data.replace(upper);
        Verdict::Continue
    }

    fn on_answer(
        &self,
        context: &mut Context<'_>,
        state: &mut StateSlot,
        head: &mut RequestHead,
        answer: &Answer<'_>,
    ) -> Verdict {
        match answer {
            Answer::Response { head: answered, .. } if answered.status == 200 => {
                let number = state.words().map_or(0, |[number, _]| number);
                head.headers.push(b"x-asked", number.to_string().as_bytes());
                context.refresh_route();
                Verdict::Continue
            }
            Answer::Response { .. } => Verdict::Pause,
            Answer::Failed { flags } => {
                let mut reply = LocalReply::new(403, "denied", "authority_failed");
                reply.flags = *flags;
                Verdict::Reply(Box::new(reply))
            }
        }
    }

    fn on_wake(&self, _: &mut Context<'_>, _: &mut StateSlot, _: &mut RequestHead) -> Verdict {
        Verdict::Reply(Box::new(LocalReply::new(504, "too late", "authority_slow")))
    }
}

fn asking_chain() -> Arc<Chain> {
    let marks = Wants::REQUEST_HEAD.and(Wants::RESPONSE_HEAD);
    Chain::of(vec![
        ("a", marks, Arc::new(Mark("a"))),
        ("ask", Wants::REQUEST_HEAD.and(Wants::REQUEST_DATA), Arc::new(Ask::default())),
        ("b", Wants::RESPONSE_HEAD, Arc::new(Mark("b"))),
        ("c", marks, Arc::new(Mark("c"))),
    ])
}

#[test]
fn a_paused_request_goes_on_where_it_stopped() {
    let mut bench = Bench::new(&asking_chain());
    let mut head = RequestHead::default();
    let (step, wishes) = bench.request(Run::All, &mut head);
    assert!(matches!(step, Step::Paused { at: 1, collect: false }));
    assert_eq!(marks(&head.headers), "a");
    let [call] = &wishes.calls[..] else { panic!("{wishes:?}") };
    assert_eq!(
        (call.cluster.as_str(), call.token.filter, call.token.direction),
        ("authority", 1, Direction::Request)
    );
    assert_eq!(wishes.wakes, [(call.token, Tick(2 * SECOND))]);

    // The filter may still change the head, and has the route decided again before the next one runs.
    let token = call.token;
    let answer = ResponseHead::with_status(200);
    let (step, _) = bench.run(|instance, context, states| {
        let answer = Answer::Response { head: &answer, body: b"", trailers: None };
        instance.answer(token.filter.into(), token.direction, context, states, &mut head, &answer)
    });
    assert!(matches!(step, Step::RefreshRoute { at: 1 }));
    let (step, _) = bench.request(Run::After(1), &mut head);
    assert!(matches!(step, Step::Done));
    assert_eq!(marks(&head.headers), "ac");
    assert_eq!(head.headers.iter().filter(|(_, name, _)| *name == b"x-asked").count(), 1);

    // Responses pass the other way, and only by those who want them.
    let mut response = ResponseHead::with_status(200);
    assert!(matches!(bench.response(&mut response).0, Step::Done));
    assert_eq!(marks(&response.headers), "cba");
}

#[test]
fn an_answer_may_leave_it_waiting_or_end_it() {
    let mut bench = Bench::new(&asking_chain());
    let mut head = RequestHead::default();
    bench.request(Run::All, &mut head);
    let unsure = ResponseHead::with_status(500);
    let unsure = Answer::Response { head: &unsure, body: b"", trailers: None };
    let failed = Answer::Failed { flags: ResponseFlags::NO_CLUSTER };
    let mut answered = |answer: &Answer<'_>| {
        let step = bench.run(|instance, context, states| {
            instance.answer(1, Direction::Request, context, states, &mut head, answer)
        });
        step.0
    };
    assert!(matches!(answered(&unsure), Step::Paused { at: 1, .. }));
    let Step::Replied { at: 1, reply } = answered(&failed) else { panic!("no reply") };
    assert_eq!(
        (reply.status, reply.flags, &*reply.details),
        (403, ResponseFlags::NO_CLUSTER, "authority_failed")
    );
    let (step, _) = bench
        .run(|instance, context, states| instance.wake(1, Direction::Request, context, states, &mut head));
    assert!(matches!(step, Step::Replied { at: 1, reply } if reply.status == 504));
}

#[test]
fn a_body_can_be_collected_and_replaced() {
    let mut bench = Bench::new(&asking_chain());
    assert!(bench.instance.wants_request_data() && !bench.instance.wants_response_data());
    let mut first = Data::new(b"ab");
    let (step, _) = bench
        .run(|instance, context, states| instance.request_data(Run::All, context, states, &mut first, false));
    assert!(matches!(step, Step::Paused { at: 1, collect: true }));
    let mut whole = Data::new(b"abcd");
    let (step, _) = bench.run(|instance, context, states| {
        instance.request_data(Run::From(1), context, states, &mut whole, true)
    });
    assert!(matches!(step, Step::Done));
    assert_eq!(&*whole.into_inner(), b"ABCD");
}

#[test]
fn a_worker_keeps_instances_as_long_as_their_configuration() {
    let ask = Arc::new(Ask::default());
    let chain =
        |name| Chain::of(vec![(name, Wants::REQUEST_HEAD, Arc::clone(&ask) as Arc<dyn HttpFilterFactory>)]);
    let (mut instances, first) = (Instances::default(), chain("x"));
    let made = instances.of(&first);
    assert!(Rc::ptr_eq(&made, &instances.of(&first)));
    // Another chain with the same factory: the state across requests goes on.
    assert!(!Rc::ptr_eq(&made, &instances.of(&chain("y"))));
    assert_eq!(ask.instances.load(Relaxed), 1);
    Instances::default().of(&first);
    assert_eq!(ask.instances.load(Relaxed), 2);
    // Chains that came and went are forgotten.
    for _ in 0..100 {
        instances.of(&Chain::of(vec![("z", Wants::REQUEST_HEAD, Arc::new(Ask::default()))]));
    }
    assert!(instances.known() < 40, "{}", instances.known());
}

fn compiled(filters: &[(&str, HttpFilterConfig, bool)], registry: &Registry) -> Arc<Chain> {
    let filter = |(name, config, disabled): &(&str, HttpFilterConfig, bool)| plan::HttpFilter {
        name: (*name).into(),
        config: config.clone(),
        disabled: *disabled,
    };
    let plans: Vec<_> = filters.iter().map(filter).collect();
    Chain::compile(&plans, "listener/chain", registry).unwrap()
}

/// The overrides of a table's only route.
fn overrides(
    route: &[(&str, HttpFilterConfig)],
    host: &[(&str, HttpFilterConfig)],
    registry: &Registry,
) -> Overrides {
    let owned = |filters: &[(&str, HttpFilterConfig)]| {
        filters.iter().map(|(name, config)| ((*name).to_owned(), config.clone())).collect::<Vec<_>>()
    };
    let plan = plan::RouteTable {
        name: "t".into(),
        virtual_hosts: vec![plan::VirtualHost {
            name: "h".into(),
            domains: vec!["*".into()],
            routes: vec![plan::Route {
                name: "r".into(),
                matches: plan::RouteMatch {
                    path: plan::PathMatch::Prefix { text: String::new() },
                    ignore_case: false,
                    headers: vec![],
                    query: vec![],
                    grpc_only: false,
                    fraction: None,
                },
                action: plan::RouteAction::NonForwarding {},
                headers: RouteHeaders::default(),
                filters: owned(route),
                operation: String::new(),
            }],
            headers: RouteHeaders::default(),
            retry: None,
            mirrors: vec![],
            send_attempt_count: false,
            return_attempt_count: false,
            require_tls: false,
            filters: owned(host),
        }],
        headers: RouteHeaders::default(),
        ignore_port: false,
        case_sensitive: false,
        most_specific_headers_win: false,
        internal_only_headers: vec![],
    };
    let table = Table::compile(&plan, registry).unwrap();
    let head = RequestHead::default();
    let decision = table.decide(&RouteInput { head: &head, is_tls: false, random: 0 });
    assert!(matches!(decision, Decision::NonForwarding { .. }));
    decision.overrides().clone()
}

fn adding(value: &str) -> HttpFilterConfig {
    let change = HeaderChange {
        name: "x-mark".into(),
        value: value.into(),
        action: HeaderChangeKind::AppendIfExistsOrAdd,
        keep_empty: false,
    };
    HttpFilterConfig::HeaderMutation {
        headers: RouteHeaders {
            request: vec![change.clone()],
            response: vec![change],
            ..RouteHeaders::default()
        },
    }
}

#[test]
fn routes_add_to_switch_off_and_switch_on_filters_by_name() {
    let registry = Registry::default();
    let chain = compiled(&[("one", adding("1"), false), ("two", adding("2"), true)], &registry);
    let off = HttpFilterConfig::Disabled {};
    for (route, host, expected) in [
        (vec![], vec![], "1"),
        (vec![("one", adding("r"))], vec![("one", adding("h"))], "1rh"),
        (vec![("one", off.clone())], vec![("one", adding("h"))], ""),
        (vec![("two", adding("t"))], vec![], "12t"),
        (vec![("other", adding("o"))], vec![], "1"),
    ] {
        let mut bench = Bench::new(&chain);
        bench.overrides = overrides(&route, &host, &registry);
        let mut head = RequestHead::default();
        assert!(matches!(bench.request(Run::All, &mut head).0, Step::Done));
        assert_eq!(marks(&head.headers), expected, "{route:?}");
    }
}

#[test]
fn filters_that_share_a_name_share_what_a_route_says_but_not_what_they_remember() {
    let registry = Registry::default();
    let mut bench =
        Bench::new(&compiled(&[("one", adding("1"), false), ("one", adding("2"), false)], &registry));
    bench.overrides = overrides(&[("one", adding("r"))], &[], &registry);
    let mut head = RequestHead::default();
    bench.request(Run::All, &mut head);
    assert_eq!(marks(&head.headers), "1r2r");
    // Equal limits in one chain are two buckets: a request takes a token of each.
    let twice = compiled(&[("limit", limit(2, 100), false), ("limit", limit(2, 100), false)], &registry);
    let mut bench = Bench::new(&twice);
    let mut passes = || matches!(bench.request(Run::All, &mut RequestHead::default()).0, Step::Done);
    assert_eq!([passes(), passes(), passes()], [true, true, false]);
}

fn limit(max_tokens: u32, enforced: u32) -> HttpFilterConfig {
    HttpFilterConfig::LocalRateLimit {
        stat_prefix: "limit".into(),
        bucket: Some(TokenBucket { max_tokens, tokens_per_fill: 1, fill_interval: 60_000 }),
        enabled: Fraction { numerator: 100, denominator: 100 },
        enforced: Fraction { numerator: enforced, denominator: 100 },
        status: 429,
        response_headers: vec![HeaderChange {
            name: "x-limited".into(),
            value: "yes".into(),
            action: HeaderChangeKind::AppendIfExistsOrAdd,
            keep_empty: false,
        }],
        draft_headers: true,
    }
}

#[test]
fn requests_beyond_the_limit_are_refused_over_all_workers_and_through_updates() {
    let registry = Registry::default();
    let chain = compiled(&[("limit", limit(3, 100), false)], &registry);
    let mut workers = [Bench::new(&chain), Bench::new(&chain)];
    let mut passes = |worker: usize| {
        matches!(workers[worker].request(Run::All, &mut RequestHead::default()).0, Step::Done)
    };
    assert_eq!([passes(0), passes(1), passes(0), passes(1), passes(0)], [true, true, true, false, false]);
    // An update that changes another filter keeps the bucket; one that changes the limit does not.
    let again = compiled(&[("limit", limit(3, 100), false), ("other", adding("1"), false)], &registry);
    drop(chain);
    let mut bench = Bench::new(&again);
    let (step, _) = bench.request(Run::All, &mut RequestHead::default());
    let Step::Replied { at: 0, reply } = step else { panic!("{step:?}") };
    assert_eq!((reply.status, reply.flags), (429, ResponseFlags::RATE_LIMITED));
    assert_eq!((&*reply.details, &*reply.body), ("local_rate_limited", &b"local_rate_limited"[..]));
    assert_eq!(reply.headers.iter().map(|(_, name, _)| name.to_vec()).collect::<Vec<_>>(), [b"x-limited"]);
    let mut response = ResponseHead::with_status(429);
    bench.response(&mut response);
    let shown: Vec<_> = response
        .headers
        .iter()
        .map(|(_, name, value)| [name, b"=", value].concat())
        .map(|text| String::from_utf8(text).unwrap())
        .collect();
    assert_eq!(shown, ["x-mark=1", "x-ratelimit-limit=3", "x-ratelimit-remaining=0", "x-ratelimit-reset=60"]);
    for (counter, expected) in [
        (HttpCounter::RateLimitEnabled, 1),
        (HttpCounter::RateLimitOk, 0),
        (HttpCounter::RateLimited, 1),
        (HttpCounter::RateLimitEnforced, 1),
    ] {
        assert_eq!(bench.counters.get(counter), expected, "{counter:?}");
    }
    let mut fresh = Bench::new(&compiled(&[("limit", limit(4, 100), false)], &registry));
    assert!(matches!(fresh.request(Run::All, &mut RequestHead::default()).0, Step::Done));
}

#[test]
fn a_limit_may_only_count_and_a_route_may_have_its_own() {
    let registry = Registry::default();
    let chain = compiled(&[("limit", limit(1, 0), false)], &registry);
    let mut bench = Bench::new(&chain);
    for _ in 0..3 {
        assert!(matches!(bench.request(Run::All, &mut RequestHead::default()).0, Step::Done));
    }
    assert_eq!(bench.counters.get(HttpCounter::RateLimited), 2);
    assert_eq!(bench.counters.get(HttpCounter::RateLimitEnforced), 0);
    let mut bench = Bench::new(&chain);
    bench.overrides = overrides(&[("limit", limit(2, 100))], &[], &registry);
    let passed: Vec<bool> = (0..3)
        .map(|_| matches!(bench.request(Run::All, &mut RequestHead::default()).0, Step::Done))
        .collect();
    assert_eq!(passed, [true, true, false]);
}

fn exact(value: &str) -> StringMatch {
    StringMatch { test: StringTest::Exact { text: value.into() }, ignore_case: false }
}

fn prefix(value: &str) -> StringMatch {
    StringMatch { test: StringTest::Prefix { text: value.into() }, ignore_case: false }
}

fn range(ip: &str, prefix: u8) -> AddressRange {
    AddressRange { ip: ip.parse().unwrap(), prefix }
}

fn rules(allow: bool, permission: RbacPermission, principal: RbacPrincipal) -> RbacRules {
    let policy =
        RbacPolicy { name: "pol icy".into(), permissions: vec![permission], principals: vec![principal] };
    RbacRules { allow, policies: vec![policy] }
}

/// A client with a certificate, asking for `GET /api/x?q` on 10.0.0.2:8080.
fn client() -> (Peer, RequestHead) {
    let peer = Peer {
        remote: Some("10.0.0.1:5000".parse().unwrap()),
        local: Some("10.0.0.2:8080".parse().unwrap()),
        server_name: Some("cart.shop".into()),
        is_tls: true,
        certificate: Some(Arc::new(PeerCertificate {
            subject: "CN=web".into(),
            uris: vec!["spiffe://a/ns/shop/sa/web".into()],
            dns_names: vec!["web.shop".into()],
            ..PeerCertificate::default()
        })),
        ..Peer::default()
    };
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_path(b"/api/x?q");
    head.headers.push(b"x-token", b"t");
    (peer, head)
}

fn decided(rules: RbacRules) -> Result<(), String> {
    let config = HttpFilterConfig::Rbac { rules: Some(rules), shadow_rules: None };
    let mut bench = Bench::new(&compiled(&[("rbac", config, false)], &Registry::default()));
    let (peer, mut head) = client();
    bench.peer = peer;
    match bench.request(Run::All, &mut head).0 {
        Step::Done => Ok(()),
        Step::Replied { reply, .. } => {
            assert_eq!((reply.status, &*reply.body), (403, &b"RBAC: access denied"[..]));
            Err(reply.details.into_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rbac_permissions_and_principals() {
    type P = RbacPermission;
    type Q = RbacPrincipal;
    let header = |value: &str| HeaderMatch {
        name: "x-token".into(),
        test: HeaderTest::Text { matches: exact(value) },
        invert: false,
        absent_as_empty: false,
    };
    let permissions = [
        (P::Any {}, true),
        (P::Header { matches: header("t") }, true),
        (P::Header { matches: header("u") }, false),
        (P::Path { matches: exact("/api/x") }, true),
        (P::Path { matches: exact("/api/x?q") }, false),
        (P::DestinationIp { range: range("10.0.0.2", 32) }, true),
        (P::DestinationIp { range: range("10.0.0.1", 32) }, false),
        (P::DestinationPort { port: 8080 }, true),
        (P::DestinationPort { port: 80 }, false),
        (P::DestinationPortRange { start: 8000, end: 8081 }, true),
        (P::DestinationPortRange { start: 8000, end: 8080 }, false),
        (P::ServerName { matches: exact("cart.shop") }, true),
        (P::All { of: vec![P::Any {}, P::DestinationPort { port: 80 }] }, false),
        (P::All { of: vec![P::Any {}, P::DestinationPort { port: 8080 }] }, true),
        (P::AnyOf { of: vec![P::DestinationPort { port: 80 }, P::Any {}] }, true),
        (P::Not { of: Box::new(P::Any {}) }, false),
        (P::Not { of: Box::new(P::DestinationPort { port: 80 }) }, true),
    ];
    for (permission, matches) in permissions {
        let found = decided(rules(true, permission.clone(), Q::Any {}));
        assert_eq!(found.is_ok(), matches, "{permission:?}");
    }
    let principals = [
        (Q::Any {}, true),
        (Q::Authenticated { name: None }, true),
        (Q::Authenticated { name: Some(exact("spiffe://a/ns/shop/sa/web")) }, true),
        (Q::Authenticated { name: Some(prefix("spiffe://b/")) }, false),
        (Q::Authenticated { name: Some(exact("web.shop")) }, true),
        (Q::Authenticated { name: Some(exact("CN=web")) }, true),
        (Q::DirectRemoteIp { range: range("10.0.0.0", 24) }, true),
        (Q::RemoteIp { range: range("10.0.0.1", 32) }, true),
        (Q::RemoteIp { range: range("10.0.1.0", 24) }, false),
        (Q::Header { matches: header("t") }, true),
        (Q::Path { matches: prefix("/api") }, true),
        (Q::All { of: vec![Q::Any {}, Q::Path { matches: prefix("/x") }] }, false),
        (Q::AnyOf { of: vec![] }, false),
        (Q::Not { of: Box::new(Q::Authenticated { name: None }) }, false),
    ];
    for (principal, matches) in principals {
        let found = decided(rules(true, RbacPermission::Any {}, principal.clone()));
        assert_eq!(found.is_ok(), matches, "{principal:?}");
    }
}

#[test]
fn rbac_refusals_name_the_policy() {
    let any = || RbacPrincipal::Any {};
    let nobody = || RbacPermission::Not { of: Box::new(RbacPermission::Any {}) };
    let named = |policy: &str| Err(format!("rbac_access_denied_matched_policy[{policy}]"));
    assert_eq!(decided(rules(true, nobody(), any())), named("none"));
    assert_eq!(decided(rules(false, RbacPermission::Any {}, any())), named("pol_icy"));
    assert_eq!(decided(rules(false, nobody(), any())), Ok(()));
    assert_eq!(decided(RbacRules { allow: true, policies: vec![] }), named("none"));
    assert_eq!(decided(RbacRules { allow: false, policies: vec![] }), Ok(()));
}

#[test]
fn rbac_counts_shadow_rules_and_takes_a_routes_own() {
    let nobody = || rules(true, RbacPermission::Any {}, RbacPrincipal::AnyOf { of: vec![] });
    let all = || rules(true, RbacPermission::Any {}, RbacPrincipal::Any {});
    let registry = Registry::default();
    let chain = compiled(
        &[("rbac", HttpFilterConfig::Rbac { rules: Some(all()), shadow_rules: Some(nobody()) }, false)],
        &registry,
    );
    let mut bench = Bench::new(&chain);
    assert!(matches!(bench.request(Run::All, &mut RequestHead::default()).0, Step::Done));
    bench.overrides = overrides(
        &[("rbac", HttpFilterConfig::Rbac { rules: Some(nobody()), shadow_rules: None })],
        &[],
        &registry,
    );
    assert!(matches!(bench.request(Run::All, &mut RequestHead::default()).0, Step::Replied { .. }));
    for (counter, expected) in [
        (HttpCounter::RbacAllowed, 1),
        (HttpCounter::RbacDenied, 1),
        (HttpCounter::RbacShadowAllowed, 0),
        (HttpCounter::RbacShadowDenied, 1),
    ] {
        assert_eq!(bench.counters.get(counter), expected, "{counter:?}");
    }
}

#[test]
fn rbac_rules_too_deep_are_refused() {
    let mut permission = RbacPermission::Any {};
    for _ in 0..40 {
        permission = RbacPermission::Not { of: Box::new(permission) };
    }
    let config = HttpFilterConfig::Rbac {
        rules: Some(rules(true, permission, RbacPrincipal::Any {})),
        shadow_rules: None,
    };
    let filter = plan::HttpFilter { name: "rbac".into(), config, disabled: false };
    let problem = Chain::compile(&[filter], "s", &Registry::default()).unwrap_err();
    assert!(problem.path.starts_with("filters[0].config.rules.policies[0].permissions[0].of"), "{problem}");
}

#[test]
fn network_rbac_closes_connections() {
    let config = |permission, principal| {
        let filter = plan::NetworkFilter {
            name: "rbac".into(),
            config: NetworkFilterConfig::Rbac {
                rules: Some(rules(false, permission, principal)),
                shadow_rules: None,
                stat_prefix: String::new(),
            },
        };
        NetworkChain::compile(&[filter]).unwrap()
    };
    let (peer, _) = client();
    let counters = Group::<TcpCounter>::new("tcp");
    let context = NetworkContext { now: Tick(0), peer: &peer, counts: Counts::Tcp(&counters) };
    let web = RbacPrincipal::Authenticated { name: Some(exact("spiffe://a/ns/shop/sa/web")) };
    let details = "rbac_access_denied_matched_policy[pol_icy]".into();
    assert_eq!(
        config(RbacPermission::Any {}, web.clone()).on_connection(&context),
        NetworkVerdict::Close { details }
    );
    // What a request would have to say is not said here.
    let path = RbacPermission::Path { matches: prefix("/") };
    assert_eq!(config(path, web).on_connection(&context), NetworkVerdict::Continue);
    assert_eq!((counters.get(TcpCounter::RbacDenied), counters.get(TcpCounter::RbacAllowed)), (1, 1));
}

#[test]
fn what_a_route_says_for_an_unknown_type_is_not_taken_for_another() {
    // A name in the chain whose override is of another filter's type: the filter keeps its own configuration.
    let registry = Registry::default();
    let chain = compiled(&[("limit", limit(1, 100), false)], &registry);
    let mut bench = Bench::new(&chain);
    bench.overrides = overrides(&[("limit", adding("x"))], &[], &registry);
    let _: Option<&Override> = bench.overrides.get("limit");
    assert!(matches!(bench.request(Run::All, &mut RequestHead::default()).0, Step::Done));
    assert!(matches!(bench.request(Run::All, &mut RequestHead::default()).0, Step::Replied { .. }));
}
