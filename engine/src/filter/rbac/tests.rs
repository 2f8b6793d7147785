//! What is asked of trees in form, with what a connection remembers, against the plan read off literally.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::{Rules, Subject};
use crate::filter::Remembered;
use crate::matching::{HeaderMatcher, Range, TextMatcher, without_query};
use crate::message::{Peer, PeerCertificate, RequestHead};
use crate::plan::{
    AddressRange, HeaderMatch, HeaderTest, RbacPermission, RbacPolicy, RbacPrincipal, RbacRules, StringMatch,
    StringTest,
};

struct Asked<'a> {
    peer: &'a Peer,
    client: Option<SocketAddr>,
    head: &'a RequestHead,
}

impl Asked<'_> {
    fn text(matches: &StringMatch, value: &[u8]) -> bool {
        TextMatcher::compile(matches).unwrap().matches(value)
    }

    fn inside(range: &AddressRange, address: Option<SocketAddr>) -> bool {
        address.is_some_and(|address| Range::compile(range).unwrap().contains(address.ip()))
    }

    fn may(&self, plan: &RbacPermission) -> bool {
        let destination = self.peer.original_destination.or(self.peer.local);
        let port = destination.map(|address| u32::from(address.port()));
        match plan {
            RbacPermission::Any {} => true,
            RbacPermission::All { of } => of.iter().all(|each| self.may(each)),
            RbacPermission::AnyOf { of } => of.iter().any(|each| self.may(each)),
            RbacPermission::Not { of } => !self.may(of),
            RbacPermission::Header { matches } => HeaderMatcher::compile(matches).unwrap().matches(self.head),
            RbacPermission::Path { matches } => Self::text(matches, without_query(self.head.path())),
            RbacPermission::DestinationIp { range } => Self::inside(range, destination),
            RbacPermission::DestinationPort { port: wanted } => port == Some(u32::from(*wanted)),
            RbacPermission::DestinationPortRange { start, end } => {
                port.is_some_and(|port| (u32::from(*start)..*end).contains(&port))
            }
            RbacPermission::ServerName { matches } => {
                Self::text(matches, self.peer.server_name.as_deref().unwrap_or_default().as_bytes())
            }
        }
    }

    fn is(&self, plan: &RbacPrincipal) -> bool {
        match plan {
            RbacPrincipal::Any {} => true,
            RbacPrincipal::All { of } => of.iter().all(|each| self.is(each)),
            RbacPrincipal::AnyOf { of } => of.iter().any(|each| self.is(each)),
            RbacPrincipal::Not { of } => !self.is(of),
            RbacPrincipal::Authenticated { name } => {
                self.peer.certificate.as_ref().is_some_and(|certificate| {
                    let names = certificate.uris.iter().chain(&certificate.dns_names);
                    name.as_ref().is_none_or(|name| {
                        names.chain([&certificate.subject]).any(|known| Self::text(name, known.as_bytes()))
                    })
                })
            }
            RbacPrincipal::DirectRemoteIp { range } => Self::inside(range, self.peer.remote),
            RbacPrincipal::RemoteIp { range } => Self::inside(range, self.client),
            RbacPrincipal::Header { matches } => HeaderMatcher::compile(matches).unwrap().matches(self.head),
            RbacPrincipal::Path { matches } => Self::text(matches, without_query(self.head.path())),
        }
    }

    fn judged(&self, plan: &RbacRules) -> Result<(), String> {
        let is_meant = |policy: &&RbacPolicy| {
            policy.permissions.iter().any(|each| self.may(each))
                && policy.principals.iter().any(|each| self.is(each))
        };
        match (plan.allow, plan.policies.iter().find(is_meant)) {
            (true, Some(_)) | (false, None) => Ok(()),
            (true, None) => Err("none".into()),
            (false, Some(policy)) => Err(policy.name.clone()),
        }
    }
}

fn texts() -> impl Strategy<Value = StringMatch> {
    let test = prop_oneof![
        "[ab/]{0,2}".prop_map(|text| StringTest::Exact { text }),
        "[ab/]{0,2}".prop_map(|text| StringTest::Prefix { text }),
        "[ab/]{0,2}".prop_map(|text| StringTest::Suffix { text }),
        "[ab/]{1,2}".prop_map(|text| StringTest::Regex { text: format!(".*{text}.*") }),
    ];
    (test, any::<bool>()).prop_map(|(test, ignore_case)| StringMatch { test, ignore_case })
}

fn fields() -> impl Strategy<Value = HeaderMatch> {
    let test = prop_oneof![
        any::<bool>().prop_map(|present| HeaderTest::Present { present }),
        texts().prop_map(|matches| HeaderTest::Text { matches }),
    ];
    ("x-[ab]", test, any::<bool>(), any::<bool>())
        .prop_map(|(name, test, invert, absent_as_empty)| HeaderMatch { name, test, invert, absent_as_empty })
}

fn ranges() -> impl Strategy<Value = AddressRange> {
    (0u8..3, 30u8..=32).prop_map(|(last, prefix)| AddressRange { ip: [10, 0, 0, last].into(), prefix })
}

fn permissions() -> impl Strategy<Value = RbacPermission> {
    let leaf = prop_oneof![
        Just(RbacPermission::Any {}),
        fields().prop_map(|matches| RbacPermission::Header { matches }),
        texts().prop_map(|matches| RbacPermission::Path { matches }),
        ranges().prop_map(|range| RbacPermission::DestinationIp { range }),
        (1u16..4).prop_map(|port| RbacPermission::DestinationPort { port }),
        (1u16..4, 1u32..5).prop_map(|(start, end)| RbacPermission::DestinationPortRange { start, end }),
        texts().prop_map(|matches| RbacPermission::ServerName { matches }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            several.clone().prop_map(|of| RbacPermission::All { of }),
            several.prop_map(|of| RbacPermission::AnyOf { of }),
            inner.prop_map(|of| RbacPermission::Not { of: Box::new(of) }),
        ]
    })
}

fn principals() -> impl Strategy<Value = RbacPrincipal> {
    let leaf = prop_oneof![
        Just(RbacPrincipal::Any {}),
        proptest::option::of(texts()).prop_map(|name| RbacPrincipal::Authenticated { name }),
        ranges().prop_map(|range| RbacPrincipal::DirectRemoteIp { range }),
        ranges().prop_map(|range| RbacPrincipal::RemoteIp { range }),
        fields().prop_map(|matches| RbacPrincipal::Header { matches }),
        texts().prop_map(|matches| RbacPrincipal::Path { matches }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            several.clone().prop_map(|of| RbacPrincipal::All { of }),
            several.prop_map(|of| RbacPrincipal::AnyOf { of }),
            inner.prop_map(|of| RbacPrincipal::Not { of: Box::new(of) }),
        ]
    })
}

fn rules() -> impl Strategy<Value = RbacRules> {
    let policy =
        (proptest::collection::vec(permissions(), 0..3), proptest::collection::vec(principals(), 0..3));
    (any::<bool>(), proptest::collection::vec(policy, 0..5)).prop_map(|(allow, policies)| {
        let named = |(index, (permissions, principals))| RbacPolicy {
            name: format!("p{index}"),
            permissions,
            principals,
        };
        RbacRules { allow, policies: policies.into_iter().enumerate().map(named).collect() }
    })
}

fn address() -> impl Strategy<Value = Option<SocketAddr>> {
    proptest::option::of((0u8..4, 1u16..5).prop_map(|(last, port)| ([10, 0, 0, last], port).into()))
}

fn peers() -> impl Strategy<Value = Peer> {
    let certificate = ("[abA/]{0,3}", proptest::collection::vec("[abA/]{0,3}", 0..2))
        .prop_map(|(subject, uris)| PeerCertificate { subject, uris, ..PeerCertificate::default() }.into());
    (address(), address(), address(), proptest::option::of("[ab]{0,2}"), proptest::option::of(certificate))
        .prop_map(|(remote, local, original_destination, server_name, certificate)| Peer {
            remote,
            local,
            original_destination,
            server_name: server_name.map(Into::into),
            certificate,
            ..Peer::default()
        })
}

fn heads() -> impl Strategy<Value = RequestHead> {
    ("/[abA?/]{0,4}", proptest::collection::vec(("x-[ab]", "[abA/]{0,2}"), 0..4)).prop_map(
        |(path, fields)| {
            let mut head = RequestHead::default();
            head.set_path(path.as_bytes());
            for (name, value) in fields {
                head.headers.push(name.as_bytes(), value.as_bytes());
            }
            head
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    /// Several requests of several connections: what one has taught must not mislead about another.
    #[test]
    fn rules_judge_as_the_plan_says_whatever_was_asked_before(
        plans in proptest::collection::vec((rules(), rules()), 1..3),
        peers in proptest::collection::vec(peers(), 1..3),
        requests in proptest::collection::vec((0usize..3, 0usize..3, address(), heads()), 1..6),
    ) {
        let made: Vec<_> =
            plans.iter().map(|(rules, shadow)| Rules::compile(Some(rules), Some(shadow)).unwrap()).collect();
        let connections: Vec<_> = peers.iter().map(|peer| (peer, Remembered::default())).collect();
        for (plan, connection, client, head) in &requests {
            let (peer, remembered) = &connections[connection % connections.len()];
            let plan = plan % made.len();
            let subject =
                Subject { peer, client: *client, request: Some(head), remembered: Some(remembered) };
            let verdicts = made[plan].judge(&subject);
            let asked = Asked { peer, client: *client, head };
            let (rules, shadow) = &plans[plan];
            let enforced = verdicts.enforced.unwrap();
            prop_assert_eq!(enforced.map_err(str::to_owned), asked.judged(rules));
            prop_assert_eq!(verdicts.shadow, Some(asked.judged(shadow).is_ok()));
        }
    }
}

#[test]
fn a_principal_is_looked_at_once_for_a_connection() {
    let name =
        StringMatch { test: StringTest::Regex { text: "spiffe://.*/ns/shop/.*".into() }, ignore_case: false };
    let policy = RbacPolicy {
        name: "shop".into(),
        permissions: vec![RbacPermission::Path {
            matches: StringMatch { test: StringTest::Prefix { text: "/a".into() }, ignore_case: false },
        }],
        principals: vec![RbacPrincipal::Authenticated { name: Some(name) }],
    };
    let rules = Rules::compile(Some(&RbacRules { allow: true, policies: vec![policy] }), None).unwrap();
    let remembered = Remembered::default();
    let peer = |uri: &str| Peer {
        certificate: Some(PeerCertificate { uris: vec![uri.into()], ..PeerCertificate::default() }.into()),
        ..Peer::default()
    };
    let judged = |peer: &Peer, path: &str| {
        let mut head = RequestHead::default();
        head.set_path(path.as_bytes());
        let subject = Subject { peer, client: None, request: Some(&head), remembered: Some(&remembered) };
        rules.judge(&subject).enforced.unwrap().is_ok()
    };
    let shop = peer("spiffe://mesh/ns/shop/sa/cart");
    assert!(judged(&shop, "/a") && !judged(&shop, "/b"));
    // No connection changes its peer; this one does, to show that nobody looks again.
    assert!(judged(&peer("spiffe://mesh/ns/other/sa/cart"), "/a"));
}
