//! `/stats` and `/stats/prometheus`: telemetry's counts and the process's own.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use regex::RegexBuilder;
use serde_json::json;

use super::certs;
use super::console::{pretty, wants_json};
use super::request::Request;
use super::server::Answer;
use super::view::{State, View};
use crate::plan::Health;
use crate::telemetry::prometheus::{render, render_stats};
use crate::upstream::Cluster;

/// Compiled size up to which a filter is taken, bytes.
const MAX_FILTER: usize = 1 << 20;

pub(super) fn page(view: &dyn View, request: &Request) -> Answer {
    if request.parameter("format") == Some("prometheus") {
        return Answer::prometheus(prometheus(view));
    }
    let filter = match RegexBuilder::new(request.parameter("filter").unwrap_or_default())
        .size_limit(MAX_FILTER)
        .build()
    {
        Ok(filter) => filter,
        Err(error) => return Answer::text(400, format!("filter is no regular expression: {error}\n")),
    };
    let used_only = request.parameter("usedonly").is_some();
    count_members(view);
    let mut text: String = process(view).iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    text.push_str(&render_stats(view.telemetry(), ""));
    let lines = text.lines().filter_map(|line| line.rsplit_once(": "));
    let mut kept: Vec<(&str, &str)> =
        lines.filter(|(name, value)| filter.is_match(name) && !(used_only && *value == "0")).collect();
    kept.sort_unstable();
    if wants_json(request) {
        let stat = |(name, value): &(&str, &str)| json!({ "name": name, "value": value.parse::<i64>().unwrap_or(0) });
        return Answer::json(pretty(&json!({ "stats": kept.iter().map(stat).collect::<Vec<_>>() })));
    }
    let lines: String = kept.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    Answer::text(200, lines)
}

/// Who is in each cluster now: nobody counts that before somebody asks.
fn count_members(view: &dyn View) {
    let snapshot = view.snapshot();
    let mut by_stat_name: HashMap<&str, Vec<&Arc<Cluster>>> = HashMap::new();
    for (_, cluster) in snapshot.clusters.iter() {
        by_stat_name.entry(&cluster.policy().stat_name).or_default().push(cluster);
    }
    view.telemetry().set_members(&|name| {
        let mut sums = [0; 3];
        let clusters = by_stat_name.get(name).into_iter().flatten();
        for endpoint in clusters.flat_map(|cluster| cluster.list_endpoints()) {
            let counts = [true, endpoint.health() == Health::Healthy, endpoint.is_ejected()];
            sums.iter_mut().zip(counts).for_each(|(sum, counts)| *sum += u32::from(counts));
        }
        sums
    });
}

/// What is known of the process, by Envoy's names.
fn process(view: &dyn View) -> Vec<(&'static str, u64)> {
    let snapshot = view.snapshot();
    let state = view.state();
    let mut stats = vec![
        ("cluster_manager.active_clusters", snapshot.clusters.len() as u64),
        ("listener_manager.total_listeners_active", snapshot.listeners.len() as u64),
        ("server.concurrency", view.settings().workers.into()),
        ("server.live", u64::from(state == State::Live)),
        ("server.mainstay_generation", snapshot.generation),
        ("server.state", state.number().into()),
        ("server.total_connections", view.connections() as u64),
        ("server.uptime", view.uptime().as_secs()),
    ];
    if let Some(days) = certs::days_until_first_expires(view) {
        stats.push(("server.days_until_first_cert_expiring", days));
    }
    stats
}

pub(super) fn prometheus(view: &dyn View) -> String {
    count_members(view);
    let mut text = render(view.telemetry());
    for (name, value) in process(view) {
        let name = format!("envoy_{}", name.replace('.', "_"));
        let _ = write!(text, "# TYPE {name} gauge\n{name} {value}\n");
    }
    text.push_str(&view.foreign_metrics());
    text
}
