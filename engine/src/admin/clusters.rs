//! `/clusters`: what may be called, its limits, and the endpoints with their health.

use std::fmt::Write;

use serde_json::{Value, json};

use super::console::{pretty, wants_json};
use super::request::Request;
use super::server::Answer;
use super::view::View;
use crate::plan::Health;
use crate::upstream::{Cluster, Endpoint, Priority, Resource, SetLocality, Source};

const PRIORITIES: [(Priority, &str); 2] = [(Priority::Default, "default"), (Priority::High, "high")];
const RESOURCES: [(Resource, &str); 4] = [
    (Resource::Connections, "max_connections"),
    (Resource::Pending, "max_pending_requests"),
    (Resource::Requests, "max_requests"),
    (Resource::Retries, "max_retries"),
];

pub(super) fn page(view: &dyn View, request: &Request) -> Answer {
    let snapshot = view.snapshot();
    let mut clusters: Vec<_> = snapshot.clusters.iter().map(|(_, cluster)| cluster).collect();
    clusters.sort_by(|left, right| left.name().cmp(right.name()));
    if wants_json(request) {
        let statuses: Vec<Value> = clusters.iter().map(|cluster| as_json(cluster)).collect();
        return Answer::json(pretty(&json!({ "cluster_statuses": statuses })));
    }
    let mut text = String::new();
    for cluster in clusters {
        write_text(cluster, &mut text);
    }
    Answer::text(200, text)
}

/// Every endpoint with the locality it stands in.
fn endpoints(cluster: &Cluster, mut visit: impl FnMut(&Endpoint, &SetLocality)) {
    let set = cluster.endpoints();
    for locality in &set.localities {
        let members = set.endpoints.get(locality.start as usize..locality.end as usize).unwrap_or_default();
        for endpoint in members {
            visit(endpoint, locality);
        }
    }
    if let Source::OriginalDestination { .. } = cluster.policy().source {
        let nowhere = SetLocality::default();
        cluster.list_endpoints().iter().for_each(|endpoint| visit(endpoint, &nowhere));
    }
}

/// By Envoy's names; several are joined by `/`.
fn health_flags(endpoint: &Endpoint) -> String {
    let mut flags = Vec::new();
    if endpoint.failed_health_check() {
        flags.push("/failed_active_hc");
    }
    if endpoint.is_ejected() {
        flags.push("/failed_outlier_check");
    }
    match endpoint.configured_health() {
        Health::Healthy => {}
        Health::Degraded => flags.push("/degraded_eds_health"),
        Health::Draining => flags.push("/eds_status_draining"),
        Health::Unhealthy => flags.push("/failed_eds_health"),
    }
    if flags.is_empty() { "healthy".to_owned() } else { flags.concat() }
}

fn limit(limit: Option<u32>) -> u64 {
    u64::from(limit.unwrap_or(u32::MAX))
}

fn write_text(cluster: &Cluster, text: &mut String) {
    let policy = cluster.policy();
    let name = &policy.name;
    let _ = writeln!(text, "{name}::observability_name::{}", policy.stat_name);
    for (priority, prefix) in PRIORITIES {
        for (resource, label) in RESOURCES {
            let gate = cluster.breakers().gate(priority, resource);
            let _ = writeln!(text, "{name}::{prefix}_priority::{label}::{}", limit(gate.limit()));
        }
    }
    let _ = writeln!(text, "{name}::added_via_api::true");
    if let Source::Service(service) = &policy.source {
        let _ = writeln!(text, "{name}::eds_service_name::{service}");
    }
    endpoints(cluster, |endpoint, locality| {
        let (place, address) = (&locality.locality, endpoint.address());
        let mut line = |what: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{name}::{address}::{what}::{value}");
        };
        line("rq_active", &endpoint.active_requests());
        line("hostname", endpoint.hostname());
        line("health_flags", &health_flags(endpoint));
        line("weight", &endpoint.weight());
        line("region", &place.region);
        line("zone", &place.zone);
        line("sub_zone", &place.sub_zone);
        line("canary", &false);
        line("priority", &locality.priority);
        line("tls", &endpoint.tls().is_some());
    });
}

pub(super) fn as_json(cluster: &Cluster) -> Value {
    let policy = cluster.policy();
    let thresholds = |(priority, prefix): &(Priority, &str)| {
        let mut entry = json!({ "priority": prefix.to_uppercase() });
        for (resource, label) in RESOURCES {
            let gate = cluster.breakers().gate(*priority, resource);
            entry[label] = json!(gate.limit());
            entry[label.replacen("max", "used", 1)] = json!(gate.used());
        }
        entry
    };
    let mut hosts = Vec::new();
    endpoints(cluster, |endpoint, locality| {
        hosts.push(json!({
            "address": endpoint.address().to_string(),
            "hostname": **endpoint.hostname(),
            "health_flags": health_flags(endpoint),
            "weight": endpoint.weight(),
            "locality": *locality.locality,
            "priority": locality.priority,
            "rq_active": endpoint.active_requests(),
            "tls": endpoint.tls().is_some(),
            "takes_http1_in_http2": endpoint.takes_http1_in_http2(),
        }));
    });
    json!({
        "name": *policy.name,
        "observability_name": *policy.stat_name,
        "added_via_api": true,
        "eds_service_name": match &policy.source {
            Source::Service(service) => Value::from(&**service),
            _ => Value::Null,
        },
        "circuit_breakers": { "thresholds": PRIORITIES.iter().map(thresholds).collect::<Vec<_>>() },
        "host_statuses": hosts,
    })
}
