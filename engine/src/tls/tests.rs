//! Pairs of both sides, shaken hands with in memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::message::Peer;
use crate::plan::{
    AlternativeNames, CertificateChain, DownstreamTls, SecretMaterial, StringMatch, StringTest, TlsVersion,
    TrustDomainBundle, UpstreamTls, ValidationContext,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

struct Held(HashMap<String, Arc<SecretMaterial>>);

impl Secrets for Held {
    fn material(&self, name: &str) -> Option<Arc<Material>> {
        Some(Arc::new(Material::compile(self.0.get(name)?, &|_| None).unwrap()))
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn leaf(issuer: &Issuer<'static, KeyPair>, uri: &str) -> SecretMaterial {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    SecretMaterial::Certificate {
        chain: CertificateChain {
            certificates: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            key_id: None,
        },
    }
}

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/front";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/cart";

fn secrets() -> Held {
    let (root, issuer) = authority();
    let (other_root, other_issuer) = authority();
    let roots = SecretMaterial::Validation {
        context: ValidationContext {
            roots: vec![],
            domains: vec![
                TrustDomainBundle { domain: "cluster.local".into(), roots: root.into_bytes() },
                TrustDomainBundle { domain: "other.example".into(), roots: other_root.into_bytes() },
            ],
        },
    };
    let held = [
        ("client", leaf(&issuer, CLIENT)),
        ("server", leaf(&issuer, SERVER)),
        ("forged", leaf(&other_issuer, CLIENT)),
        ("foreign", leaf(&other_issuer, "spiffe://other.example/ns/a/sa/b")),
        ("roots", roots),
    ];
    Held(held.into_iter().map(|(name, material)| (name.to_owned(), Arc::new(material))).collect())
}

fn downstream(required: bool) -> DownstreamTls {
    DownstreamTls {
        certificates: vec!["server".into()],
        validation: Some("roots".into()),
        alternative_names: AlternativeNames::default(),
        require_client_certificate: required,
        application_protocols: vec!["h2".into(), "istio".into()],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

fn upstream(certificate: Option<&str>, server: &str) -> UpstreamTls {
    UpstreamTls {
        certificates: certificate.map(str::to_owned).into_iter().collect(),
        validation: Some("roots".into()),
        alternative_names: AlternativeNames {
            any_of: vec![StringMatch { test: StringTest::Exact { text: server.into() }, ignore_case: false }],
        },
        server_name: "outbound_.80_._.cart".into(),
        auto_server_name: false,
        auto_san_validation: false,
        application_protocols: vec!["istio".into()],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

/// Bytes on their way to one side, with what it could not use yet.
#[derive(Default)]
struct Line {
    waiting: Vec<u8>,
    plain: Vec<u8>,
}

fn pass(
    line: &mut Line,
    to: &mut Transport,
    bytes: &[u8],
    split: usize,
) -> Result<(Vec<u8>, Opened), TlsFault> {
    let (mut answer, mut last) = (Vec::new(), Opened::default());
    for piece in bytes.chunks(split) {
        line.waiting.extend_from_slice(piece);
        let opened = to.open(&mut line.waiting, &mut line.plain, &mut answer)?;
        line.waiting.drain(..opened.consumed);
        last.established |= opened.established;
        last.peer_closed = opened.peer_closed;
    }
    Ok((answer, last))
}

struct Pair {
    client: Transport,
    server: Transport,
    to_client: Line,
    to_server: Line,
}

fn shake(server: &ServerContext, client: &ClientContext, split: usize) -> Result<Pair, TlsFault> {
    let mut pair = Pair {
        client: Transport::client(client, None, None)?,
        server: Transport::server(server)?,
        to_client: Line::default(),
        to_server: Line::default(),
    };
    let mut flight = Vec::new();
    pair.client.open(&mut [], &mut Vec::new(), &mut flight)?;
    for _ in 0..8 {
        let (answer, _) = pass(&mut pair.to_server, &mut pair.server, &flight, split)?;
        let (next, _) = pass(&mut pair.to_client, &mut pair.client, &answer, split)?;
        flight = next;
        if flight.is_empty() && pair.client.is_established() && pair.server.is_established() {
            break;
        }
    }
    Ok(pair)
}

#[test]
fn a_pair_shakes_hands_and_talks_whatever_the_split() {
    let held = secrets();
    let server = ServerContext::compile(&downstream(true), &held).unwrap();
    let client = ClientContext::compile(&upstream(Some("client"), SERVER), &held).unwrap();
    for split in [1, 7, 100_000] {
        let mut pair = shake(&server, &client, split).unwrap();
        let mut peer = Peer::default();
        pair.server.describe_peer(&mut peer, true);
        assert_eq!(peer.identity.as_ref().map(|id| id.as_str()), Some(CLIENT));
        assert_eq!(peer.application_protocol.as_deref(), Some("istio"));
        let message: Vec<u8> = (0..40_000u32).map(|number| number as u8).collect();
        let mut sealed = Vec::new();
        pair.client.seal(&message, &mut sealed).unwrap();
        pair.client.close(&mut sealed);
        let (_, opened) = pass(&mut pair.to_server, &mut pair.server, &sealed, split).unwrap();
        assert_eq!(pair.to_server.plain, message);
        assert!(opened.peer_closed);
        let mut answer = Vec::new();
        pair.server.seal(b"after your close", &mut answer).unwrap();
        pass(&mut pair.to_client, &mut pair.client, &answer, split).unwrap();
        assert_eq!(pair.to_client.plain, b"after your close");
    }
}

#[test]
fn bytes_that_are_no_tls_get_one_alert() {
    let server = ServerContext::compile(&downstream(false), &secrets()).unwrap();
    let mut transport = Transport::server(&server).unwrap();
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    let mut request = *b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
    let fault = transport.open(&mut request, &mut plain, &mut answer).unwrap_err();
    assert_eq!((fault.kind, plain.len()), (FaultKind::Malformed, 0));
    // One record: type alert, two bytes, fatal (2).
    assert_eq!((answer.len(), answer.first(), answer.get(5)), (7, Some(&21), Some(&2)), "{answer:?}");
}

#[test]
fn a_server_knows_the_uri_of_what_it_shows() {
    let server = ServerContext::compile(&downstream(false), &secrets()).unwrap();
    assert_eq!(server.own_uri(None).as_deref(), Some(SERVER));
}

#[test]
fn who_may_not_talk_is_turned_away() {
    let held = secrets();
    let cases = [
        (Some("forged"), true, SERVER, "signed by the bundle of another domain"),
        (None, true, SERVER, "no certificate though one is required"),
        (Some("client"), true, "spiffe://cluster.local/ns/shop/sa/other", "server is another workload"),
    ];
    for (certificate, required, expected_server, what) in cases {
        let server = ServerContext::compile(&downstream(required), &held).unwrap();
        let client = ClientContext::compile(&upstream(certificate, expected_server), &held).unwrap();
        assert!(shake(&server, &client, 100_000).is_err(), "{what}");
    }
}

#[test]
fn a_peer_of_another_trust_domain_is_judged_by_its_own_bundle() {
    let held = secrets();
    let server = ServerContext::compile(&downstream(true), &held).unwrap();
    let client = ClientContext::compile(&upstream(Some("foreign"), SERVER), &held).unwrap();
    let pair = shake(&server, &client, 100_000).unwrap();
    let mut peer = Peer::default();
    pair.server.describe_peer(&mut peer, true);
    assert_eq!(peer.identity.unwrap().trust_domain(), "other.example");
}

#[test]
fn an_optional_certificate_may_be_missing() {
    let held = secrets();
    let server = ServerContext::compile(&downstream(false), &held).unwrap();
    let client = ClientContext::compile(&upstream(None, SERVER), &held).unwrap();
    let pair = shake(&server, &client, 100_000).unwrap();
    let mut peer = Peer::default();
    pair.server.describe_peer(&mut peer, true);
    assert_eq!(peer.identity, None);
    assert!(peer.is_tls);
}

#[test]
fn a_second_connection_resumes_and_keeps_the_identity() {
    let held = secrets();
    let server = ServerContext::compile(&downstream(true), &held).unwrap();
    let client = ClientContext::compile(&upstream(Some("client"), SERVER), &held).unwrap();
    let first = shake(&server, &client, 100_000).unwrap();
    assert!(!first.server.is_resumed());
    let second = shake(&server, &client, 100_000).unwrap();
    assert!(second.server.is_resumed() && second.client.is_resumed());
    let mut peer = Peer::default();
    second.server.describe_peer(&mut peer, true);
    assert_eq!(peer.identity.as_ref().map(|id| id.as_str()), Some(CLIENT));
}

#[test]
fn a_server_without_its_roots_lets_nobody_in() {
    let held = secrets();
    let plan = DownstreamTls { validation: Some("nothing".into()), ..downstream(false) };
    let unready = ServerContext::compile(&plan, &held).unwrap();
    assert_eq!(Transport::server(&unready).map(|_| ()).unwrap_err().kind, FaultKind::NotReady);
}

#[test]
fn contexts_say_what_is_wrong() {
    let held = secrets();
    let mut plan = downstream(true);
    plan.certificates = vec!["nothing".into()];
    let unready = ServerContext::compile(&plan, &held).unwrap();
    let fault = Transport::server(&unready).map(|_| ()).unwrap_err();
    assert_eq!((fault.what.as_str(), fault.kind), ("secret \"nothing\" is not there", FaultKind::NotReady));
    plan.certificates = vec!["roots".into()];
    assert!(ServerContext::compile(&plan, &held).unwrap_err().reason.contains("holds trust roots"));
    plan.certificates = vec!["server".into()];
    plan.min_version = TlsVersion::V1_3;
    plan.max_version = TlsVersion::V1_2;
    assert_eq!(ServerContext::compile(&plan, &held).unwrap_err().path, "min_version");
}
