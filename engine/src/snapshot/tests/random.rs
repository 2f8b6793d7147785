//! Any deltas, against one from scratch.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A change to one of a few resources.
#[derive(Debug, Clone)]
enum Change {
    Cluster { name: usize, service: usize, timeout: u64 },
    Endpoints { service: usize, numbers: Vec<u8> },
    Route { name: usize, ignore_port: bool },
    Listener { name: usize, cluster: usize },
    RemoveCluster(usize),
    RemoveRoute(usize),
    RemoveListener(usize),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn any_change() -> impl Strategy<Value = Change> {
    let name = 0..NAMES.len();
    prop_oneof![
        (name.clone(), name.clone(), 0u64..3).prop_map(|(name, service, timeout)| Change::Cluster {
            name,
            service,
            timeout
        }),
        (name.clone(), proptest::collection::vec(0u8..6, 0..4))
            .prop_map(|(service, numbers)| Change::Endpoints { service, numbers }),
        (name.clone(), any::<bool>()).prop_map(|(name, ignore_port)| Change::Route { name, ignore_port }),
        (name.clone(), name.clone()).prop_map(|(name, cluster)| Change::Listener { name, cluster }),
        name.clone().prop_map(Change::RemoveCluster),
        name.clone().prop_map(Change::RemoveRoute),
        name.prop_map(Change::RemoveListener),
    ]
}

/// The change as a resource (`None`: removed).
fn resource(change: &Change) -> (Kind, &'static str, Option<Upsert>) {
    let name = |index: &usize| NAMES[*index];
    match change {
        // A timeout of 0 is refused.
        Change::Cluster { name: index, service, timeout } => {
            let discovery = Discovery::Eds { service: name(service).into() };
            let plan = plan::Cluster { connect_timeout: *timeout, discovery, ..cluster_plan(name(index)) };
            (Kind::Cluster, name(index), Some(cluster_upsert(&plan)))
        }
        Change::Endpoints { service, numbers } => {
            (Kind::Endpoints, name(service), Some(endpoints_upsert(name(service), numbers)))
        }
        Change::Route { name: index, ignore_port } => {
            let plan = plan::RouteTable { ignore_port: *ignore_port, ..route_table(name(index)) };
            (Kind::Route, name(index), Some(upsert(Kind::Route, name(index), &plan)))
        }
        Change::Listener { name: index, cluster } => {
            let plan = tcp_listener(name(index), name(cluster));
            (Kind::Listener, name(index), Some(upsert(Kind::Listener, name(index), &plan)))
        }
        Change::RemoveCluster(index) => (Kind::Cluster, name(index), None),
        Change::RemoveRoute(index) => (Kind::Route, name(index), None),
        Change::RemoveListener(index) => (Kind::Listener, name(index), None),
    }
}

/// All that can be seen of a builder, but for identities.
fn visible(builder: &Builder) -> String {
    let snapshot = builder.snapshot();
    let mut clusters: Vec<_> = snapshot
        .clusters
        .iter()
        .map(|(name, cluster)| {
            let mut numbers = numbers(builder, name);
            numbers.sort_unstable();
            format!("{name} {} {:?} {numbers:?}", cluster.policy().connect_timeout, cluster.policy().source)
        })
        .collect();
    clusters.sort();
    let mut tables: Vec<_> = snapshot.tables.iter().map(|(name, _)| name.to_string()).collect();
    tables.sort();
    let listeners: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|(name, listener)| match &listener.chains[0].terminal {
            Terminal::Tcp(proxy) => format!("{name} {:?}", proxy.cluster(0)),
            Terminal::Http(_) => name.to_string(),
        })
        .collect();
    let held: Vec<_> =
        builder.held().into_iter().filter(|held| held.resource != Kind::Endpoints || snapshot.clusters.iter().any(|(_, cluster)| {
            matches!(&cluster.policy().source, crate::upstream::Source::Service(service) if **service == *held.name)
        })).collect();
    format!("{clusters:#?} {tables:?} {listeners:?} {held:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_deltas_end_where_one_from_scratch_begins(
        deltas in proptest::collection::vec(proptest::collection::vec(any_change(), 1..6), 1..12),
    ) {
        let mut builder = builder();
        let mut wanted: BTreeMap<(Kind, &str), Upsert> = BTreeMap::new();
        for changes in &deltas {
            // Of several changes to one resource in a delta the last one counts, as a control plane would send it.
            let last: BTreeMap<_, _> =
                changes.iter().map(resource).map(|(kind, name, upsert)| ((kind, name), upsert)).collect();
            let removals = last.iter().filter(|(_, upsert)| upsert.is_none());
            let removals = removals.map(|((kind, name), _)| removal(*kind, name)).collect();
            let report = apply(&mut builder, last.values().flatten().cloned().collect(), removals);
            for (place, upsert) in last {
                let refused = report.refused.iter().any(|refused| (refused.resource, &*refused.name) == place);
                match upsert {
                    Some(upsert) if !refused => drop(wanted.insert(place, upsert)),
                    Some(_) => {}
                    None => drop(wanted.remove(&place)),
                }
            }
        }
        let mut scratch = Builder::new(Arc::default(), 2);
        let report = apply(&mut scratch, wanted.into_values().collect(), vec![]);
        prop_assert_eq!(report.refused, vec![]);
        prop_assert_eq!(visible(&builder), visible(&scratch));
    }
}
