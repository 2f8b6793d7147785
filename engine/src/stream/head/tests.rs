use std::sync::Arc;

use super::*;
use crate::message::{PeerCertificate, SpiffeId};
use crate::plan::ForwardClientCertificate;
use crate::stream::testing::manager;

fn request(authority: &str, path: &str, fields: &[(&str, &str)]) -> RequestHead {
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

fn peer(address: &str) -> Peer {
    Peer {
        remote: Some(address.parse().unwrap()),
        local: Some("10.0.0.1:8080".parse().unwrap()),
        ..Peer::default()
    }
}

fn arrive(manager: &plan::HttpConnectionManager, peer: &Peer, head: &mut RequestHead) -> Received {
    let internal = Range::compile_all(&manager.internal_ranges, "").unwrap();
    let entrance = Entrance {
        manager,
        peer,
        internal: &internal,
        takes_http1_in_http2: true,
        trace: None,
        own: "spiffe://own",
    };
    receive(entrance, head, || u64::MAX)
}

fn field<'a>(head: &'a RequestHead, name: &str) -> Option<&'a str> {
    head.headers.get(&crate::message::Name::new(name)).map(|value| std::str::from_utf8(value).unwrap())
}

#[test]
fn edge_believes_its_own_socket_and_strips_what_strangers_say() {
    let mut manager = manager();
    manager.use_remote_address = true;
    let mut head = request(
        "shop",
        "/",
        &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-envoy-retry-on", "5xx"),
            ("x-envoy-internal", "true"),
            ("x-request-id", "theirs"),
            ("x-envoy-attempt-count", "3"),
        ],
    );
    let received = arrive(&manager, &peer("8.8.4.4:999"), &mut head);
    let Received::GoOn { client, .. } = received else { panic!("{received:?}") };
    assert_eq!((client.address, client.is_internal), (Some("8.8.4.4:999".parse().unwrap()), false));
    for (name, wanted) in [
        ("x-forwarded-for", Some("6.6.6.6,8.8.4.4")),
        ("x-forwarded-proto", Some("http")),
        ("x-envoy-retry-on", None),
        ("x-envoy-internal", None),
        ("x-envoy-external-address", Some("8.8.4.4")),
        ("x-request-id", Some("ffffffff-ffff-4fff-bfff-ffffffffffff")),
        ("x-envoy-attempt-count", Some("3")),
    ] {
        assert_eq!(field(&head, name), wanted, "{name}");
    }
}

#[test]
fn forwarded_addresses_count_from_the_trusted_end() {
    for (use_remote, hops, forwarded, wanted) in [
        (false, 0, "1.1.1.1, 2.2.2.2", "2.2.2.2:0"),
        (false, 1, "1.1.1.1, 2.2.2.2", "1.1.1.1:0"),
        (false, 0, "nonsense", "8.8.8.8:1"),
        (true, 1, "1.1.1.1, 2.2.2.2", "2.2.2.2:0"),
        (true, 2, "1.1.1.1, 2.2.2.2", "1.1.1.1:0"),
        (true, 3, "1.1.1.1, 2.2.2.2", "8.8.8.8:1"),
        (true, 0, "1.1.1.1", "8.8.8.8:1"),
    ] {
        let mut manager = manager();
        (manager.use_remote_address, manager.xff_trusted_hops) = (use_remote, hops);
        let mut head = request("shop", "/", &[("x-forwarded-for", forwarded)]);
        let Received::GoOn { client, .. } = arrive(&manager, &peer("8.8.8.8:1"), &mut head) else { panic!() };
        assert_eq!(client.address, Some(wanted.parse().unwrap()), "{use_remote} {hops} {forwarded}");
    }
}

#[test]
fn only_a_client_of_a_named_range_is_inside_and_may_steer() {
    let ten = plan::AddressRange { ip: [10, 0, 0, 0].into(), prefix: 8 };
    for (ranges, use_remote, remote, forwarded, inside) in [
        (vec![ten], false, "8.8.8.8:1", Some("10.1.2.3"), true),
        (vec![ten], false, "8.8.8.8:1", Some("10.1.2.3, 10.1.2.4"), false),
        (vec![ten], false, "8.8.8.8:1", Some("127.0.0.1"), false),
        (vec![ten], false, "10.0.0.9:1", None, false),
        (vec![ten], true, "10.0.0.9:1", None, true),
        (vec![ten], true, "10.0.0.9:1", Some("10.1.2.3"), false),
        (vec![], false, "10.0.0.9:1", Some("10.1.2.3"), false),
        (vec![], true, "127.0.0.1:1", None, false),
    ] {
        let mut manager = manager();
        (manager.internal_ranges, manager.use_remote_address) = (ranges, use_remote);
        let mut head = request("shop", "/", &[("x-envoy-retry-on", "5xx")]);
        if let Some(forwarded) = forwarded {
            head.headers.push(b"x-forwarded-for", forwarded.as_bytes());
        }
        let Received::GoOn { client, .. } = arrive(&manager, &peer(remote), &mut head) else { panic!() };
        assert_eq!(client.is_internal, inside, "{use_remote} {remote} {forwarded:?}");
        let seen = (field(&head, "x-envoy-internal"), field(&head, "x-envoy-retry-on"));
        assert_eq!(seen, if inside { (Some("true"), Some("5xx")) } else { (None, None) });
    }
}

#[test]
fn clients_of_unix_sockets_are_inside_where_the_plan_says_so() {
    for unix in [false, true] {
        let mut manager = manager();
        (manager.internal_unix_sockets, manager.use_remote_address) = (unix, true);
        let peer = Peer { remote: None, ..peer("10.0.0.9:1") };
        let Received::GoOn { client, .. } = arrive(&manager, &peer, &mut request("shop", "/", &[])) else {
            panic!()
        };
        assert_eq!(client.is_internal, unix);
    }
}

#[test]
fn original_protocol_is_believed_from_the_mesh_only() {
    let identity = SpiffeId::parse("spiffe://cluster.local/ns/a/sa/b");
    for (identity, protocol, value, wanted) in [
        (identity.clone(), Protocol::Http2, "HTTP/1.1", Some(Protocol::Http11)),
        (None, Protocol::Http2, "HTTP/1.1", None),
        (identity.clone(), Protocol::Http11, "HTTP/1.1", None),
        (identity, Protocol::Http2, "HTTP/1.0", None),
    ] {
        let mut head = request("shop", "/", &[("mainstay-orig-proto", value)]);
        head.protocol = protocol;
        let peer = Peer { identity, ..peer("10.0.0.9:1") };
        let Received::GoOn { carried, .. } = arrive(&manager(), &peer, &mut head) else { panic!() };
        assert_eq!((carried, field(&head, "mainstay-orig-proto")), (wanted, None));
    }
}

#[test]
fn client_certificate_field_follows_its_mode() {
    use ForwardClientCertificate as Mode;
    let certificate = PeerCertificate {
        uris: vec!["spiffe://c/x".into()],
        digest: "d1".into(),
        ..PeerCertificate::default()
    };
    let ours = "By=spiffe://own;Hash=d1;URI=spiffe://c/x";
    let appended = format!("By=them,{ours}");
    for (mode, is_mutual, wanted) in [
        (Mode::Sanitize, true, None),
        (Mode::ForwardOnly, true, Some("By=them")),
        (Mode::ForwardOnly, false, None),
        (Mode::AppendForward, true, Some(appended.as_str())),
        (Mode::AppendForward, false, None),
        (Mode::SanitizeSet, true, Some(ours)),
        (Mode::AlwaysForwardOnly, false, Some("By=them")),
    ] {
        let mut manager = manager();
        manager.forward_client_certificate = mode;
        manager.client_certificate_details.uri = true;
        let mut peer = peer("10.0.0.9:1");
        peer.certificate = is_mutual.then(|| Arc::new(certificate.clone()));
        let mut head = request("shop", "/", &[("x-forwarded-client-cert", "By=them")]);
        arrive(&manager, &peer, &mut head);
        assert_eq!(field(&head, "x-forwarded-client-cert"), wanted, "{mode:?} {is_mutual}");
    }
}

#[test]
fn ports_are_stripped_where_the_plan_says_so() {
    for (any, matching, authority, wanted) in [
        (true, false, "shop:1", "shop"),
        (false, true, "shop:8080", "shop"),
        (false, true, "shop:1", "shop:1"),
        (true, true, "[::1]", "[::1]"),
        (true, false, "[::1]:80", "[::1]"),
        (false, false, "shop:8080", "shop:8080"),
    ] {
        let mut manager = manager();
        (manager.strip_any_host_port, manager.strip_matching_host_port) = (any, matching);
        let mut head = request(authority, "/", &[]);
        arrive(&manager, &peer("10.0.0.9:1"), &mut head);
        assert_eq!(head.authority(), wanted.as_bytes());
    }
}

#[test]
fn paths_are_refused_or_redirected_before_any_route() {
    let mut manager = manager();
    manager.escaped_slashes = "reject".into();
    let refused = arrive(&manager, &peer("10.0.0.9:1"), &mut request("shop", "/a%2Fb", &[]));
    assert_eq!(refused, Received::Refused(400, "path_normalization_failed"));
    manager.escaped_slashes = "unescape_and_redirect".into();
    let sent = arrive(&manager, &peer("10.0.0.9:1"), &mut request("shop", "/a%2Fb?x", &[]));
    assert_eq!(sent, Received::Redirected(b"/a/b?x".to_vec()));
    let mut grpc = request("shop", "/a%2Fb", &[("content-type", "application/grpc")]);
    assert_eq!(
        arrive(&manager, &peer("10.0.0.9:1"), &mut grpc),
        Received::Refused(400, "path_normalization_failed")
    );
    assert_eq!(
        arrive(&manager, &peer("10.0.0.9:1"), &mut request("", "/", &[])),
        Received::Refused(400, "missing_host_header")
    );
}

#[test]
fn headers_with_underscores_are_kept_refused_or_dropped() {
    let mut manager = manager();
    let with = || request("shop", "/", &[("x_user", "admin"), ("x-user", "guest")]);
    let mut kept = with();
    arrive(&manager, &peer("10.0.0.9:1"), &mut kept);
    assert_eq!(field(&kept, "x_user"), Some("admin"));
    manager.underscores = plan::Underscores::Reject;
    assert_eq!(
        arrive(&manager, &peer("10.0.0.9:1"), &mut with()),
        Received::Refused(400, "unexpected_underscore")
    );
    assert!(matches!(
        arrive(&manager, &peer("10.0.0.9:1"), &mut request("shop", "/a_b", &[])),
        Received::GoOn { .. }
    ));
    manager.underscores = plan::Underscores::Drop;
    let mut dropped = with();
    arrive(&manager, &peer("10.0.0.9:1"), &mut dropped);
    assert_eq!((field(&dropped, "x_user"), field(&dropped, "x-user")), (None, Some("guest")));
}

#[test]
fn the_dot_at_the_end_of_a_host_is_stripped_where_asked_for() {
    for (authority, strip, wanted) in [
        ("shop.", true, "shop"),
        ("shop.:80", true, "shop:80"),
        ("shop", true, "shop"),
        (".", true, "."),
        ("[::1]:80", true, "[::1]:80"),
        ("shop.", false, "shop."),
    ] {
        let mut manager = manager();
        manager.strip_trailing_host_dot = strip;
        let mut head = request(authority, "/", &[]);
        arrive(&manager, &peer("10.0.0.9:1"), &mut head);
        assert_eq!(head.authority(), wanted.as_bytes());
    }
}

#[test]
fn responses_carry_who_and_when() {
    let mut manager = manager();
    manager.server_name = Some("mainstay".into());
    let request = request("shop", "/", &[]);
    let mut head = ResponseHead::with_status(200);
    head.headers.push(b"server", b"python");
    send(&manager, &request, &mut head, b"now", false);
    assert_eq!(head.headers.all_id(NameId::SERVER).collect::<Vec<_>>(), [b"mainstay"]);
    assert_eq!(head.headers.get_id(NameId::DATE), Some(&b"now"[..]));
    manager.server_name_if_absent = true;
    let mut head = ResponseHead::with_status(200);
    head.headers.push(b"server", b"python");
    head.headers.push(b"date", b"then");
    send(&manager, &request, &mut head, b"now", false);
    assert_eq!(head.headers.get_id(NameId::SERVER), Some(&b"python"[..]));
    assert_eq!(head.headers.all_id(NameId::DATE).collect::<Vec<_>>(), [b"then"]);
}
