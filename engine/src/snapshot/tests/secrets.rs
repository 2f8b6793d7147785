//! Secrets that come, rotate and are refused, and the contexts made of them.

use super::*;

/// A certificate for `name` with its key, signed by itself, as a secret of that name.
fn certificate_secret(name: &str) -> plan::Secret {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let chain = plan::CertificateChain {
        certificates: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        key_id: None,
    };
    plan::Secret { name: name.into(), material: plan::SecretMaterial::Certificate { chain } }
}

fn secret_upsert(plan: &plan::Secret) -> Upsert {
    upsert(Kind::Secret, &plan.name, plan)
}

fn client_tls(server_name: &str) -> plan::UpstreamTls {
    plan::UpstreamTls {
        certificates: vec!["own".into()],
        validation: None,
        alternative_names: plan::AlternativeNames::default(),
        server_name: server_name.into(),
        auto_server_name: false,
        auto_san_validation: false,
        application_protocols: vec![],
        min_version: plan::TlsVersion::V1_2,
        max_version: plan::TlsVersion::V1_3,
    }
}

fn tls_listener(name: &str) -> plan::Listener {
    let mut listener = tcp_listener(name, "a");
    listener.chains[0].tls = Some(plan::DownstreamTls {
        certificates: vec!["own".into()],
        validation: None,
        alternative_names: plan::AlternativeNames::default(),
        require_client_certificate: false,
        application_protocols: vec![],
        min_version: plan::TlsVersion::V1_2,
        max_version: plan::TlsVersion::V1_3,
    });
    listener
}

#[test]
fn a_new_secret_swaps_contexts_and_leaves_listeners_and_clusters() {
    let mut builder = builder();
    let cluster = plan::Cluster { tls: Some(client_tls("a")), ..cluster_plan("a") };
    let report = apply(
        &mut builder,
        vec![
            upsert(Kind::Listener, "l", &tls_listener("l")),
            cluster_upsert(&cluster),
            endpoints_upsert("a", &[1]),
            secret_upsert(&certificate_secret("own")),
        ],
        vec![],
    );
    assert_eq!(report.refused, [], "secrets come first, whatever the order");
    let server = Arc::clone(builder.snapshot().listeners["l"].chains[0].tls.as_ref().unwrap());
    let client = Arc::clone(builder.snapshot().cluster("a").unwrap().policy().tls.as_ref().unwrap());
    let (old_server, old_client) = (server.load(), client.load());
    assert!(Arc::ptr_eq(&old_client, &client.load()), "built once");

    let rotated = secret_upsert(&certificate_secret("own"));
    let (snapshot, report) =
        builder.apply(Delta { upserts: vec![rotated], removals: vec![] }, Tick::default());
    assert!(snapshot.is_none() && report.refused.is_empty());
    assert!(!Arc::ptr_eq(&old_server, &server.load()) && !Arc::ptr_eq(&old_client, &client.load()));
    let endpoint = Arc::clone(&builder.snapshot().cluster("a").unwrap().endpoints().endpoints[0]);
    assert!(Arc::ptr_eq(endpoint.tls().unwrap(), &client));

    let (good_server, good_client) = (server.load(), client.load());
    let mut broken = certificate_secret("own");
    if let plan::SecretMaterial::Certificate { chain } = &mut broken.material {
        chain.key = b"no key".to_vec();
    }
    let report = apply(&mut builder, vec![secret_upsert(&broken)], vec![]);
    assert_eq!(report.refused.first().map(|refused| &*refused.path), Some("material.chain.key"));
    assert!(Arc::ptr_eq(&good_server, &server.load()) && Arc::ptr_eq(&good_client, &client.load()));
    assert!(!format!("{report:?} {builder:?}").contains("PRIVATE KEY"));
}

#[test]
fn equal_contexts_are_one() {
    let mut builder = builder();
    let with = |name: &str, server_name: &str| {
        cluster_upsert(&plan::Cluster { tls: Some(client_tls(server_name)), ..cluster_plan(name) })
    };
    let secret = secret_upsert(&certificate_secret("own"));
    apply(&mut builder, vec![secret, with("a", "x"), with("b", "x"), with("c", "y")], vec![]);
    let cell =
        |name: &str| Arc::clone(builder.snapshot().cluster(name).unwrap().policy().tls.as_ref().unwrap());
    assert!(Arc::ptr_eq(&cell("a"), &cell("b")) && !Arc::ptr_eq(&cell("a"), &cell("c")));
}

#[test]
fn socket_labels_choose_the_context_of_each_endpoint() {
    let mut builder = builder();
    let label = |value: &str| vec![("tlsMode".to_owned(), value.to_owned())];
    let socket_matches = vec![
        plan::SocketMatch { name: "istio".into(), labels: label("istio"), tls: Some(client_tls("mesh")) },
        plan::SocketMatch { name: "disabled".into(), labels: label("disabled"), tls: None },
    ];
    let cluster = plan::Cluster { socket_matches, tls: Some(client_tls("other")), ..cluster_plan("a") };
    let labelled = |number, labels| plan::Endpoint { socket_labels: labels, ..endpoint_plan(number) };
    let endpoints = |first: &str| {
        let members = vec![labelled(1, label(first)), labelled(2, label("disabled")), labelled(3, vec![])];
        upsert(Kind::Endpoints, "a", &endpoints_plan("a", vec![locality_plan(0, members)]))
    };
    let names = |builder: &Builder| {
        let set = builder.snapshot().cluster("a").unwrap().endpoints();
        let name = |endpoint: &Arc<crate::upstream::Endpoint>| {
            endpoint.tls().map_or("clear".to_owned(), |tls| tls.plan().server_name.clone())
        };
        set.endpoints.iter().map(name).collect::<Vec<_>>()
    };
    let secret = secret_upsert(&certificate_secret("own"));
    apply(&mut builder, vec![secret, cluster_upsert(&cluster), endpoints("istio")], vec![]);
    assert_eq!(names(&builder), ["mesh", "clear", "other"]);
    let id = builder.snapshot().cluster("a").unwrap().endpoints().endpoints[0].id();
    apply(&mut builder, vec![endpoints("disabled")], vec![]);
    assert_eq!(names(&builder), ["clear", "clear", "other"]);
    assert_eq!(builder.snapshot().cluster("a").unwrap().endpoints().endpoints[0].id(), id);
}

#[test]
fn a_listener_serves_without_the_chain_whose_secret_has_not_come() {
    let mut builder = builder();
    let mut listener = tls_listener("l");
    listener.chains.push(plan::FilterChain { name: "clear".into(), tls: None, ..listener.chains[0].clone() });
    listener.chains[0].matches.server_names = vec!["a.example".into()];
    let report = apply(
        &mut builder,
        vec![upsert(Kind::Listener, "l", &listener), cluster_upsert(&cluster_plan("a"))],
        vec![],
    );
    assert_eq!(report.refused, []);
    let chains = &builder.snapshot().listeners["l"].chains;
    let waiting = chains.iter().find_map(|chain| chain.tls.clone()).unwrap();
    assert_eq!(chains.len(), 2);
    assert!(crate::tls::Transport::server(&waiting.load()).is_err());
    let report = apply(&mut builder, vec![secret_upsert(&certificate_secret("own"))], vec![]);
    assert_eq!(report.refused, []);
    assert!(crate::tls::Transport::server(&waiting.load()).is_ok(), "the chain itself, not a new one");
}
