//! Prometheus text (exposition format 0.0.4) and Envoy's `/stats` lines, from the workers' counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::counters::{Counter, Group};
use super::histogram::Reading;
use super::record::{Telemetry, lock};
use super::series::{Labels, Series};
use crate::message::ResponseFlags;

/// Workers' series of one label set, added up.
#[derive(Debug, Default)]
struct Sum {
    requests: u64,
    duration: Option<Reading>,
    request_bytes: Option<Reading>,
    response_bytes: Option<Reading>,
    request_messages: u64,
    response_messages: u64,
    opened: u64,
    closed: u64,
    received: u64,
    sent: u64,
}

impl Sum {
    fn take(&mut self, series: &Series) {
        let merge = |mine: &mut Option<Reading>, theirs: Option<Reading>| match (mine.as_mut(), theirs) {
            (Some(reading), Some(more)) => reading.merge(&more),
            (None, more) => *mine = more,
            (Some(_), None) => {}
        };
        self.requests += series.requests.load(Relaxed);
        merge(&mut self.duration, series.duration.as_ref().map(super::histogram::Histogram::read));
        merge(&mut self.request_bytes, series.request_bytes.as_ref().map(super::histogram::Histogram::read));
        merge(
            &mut self.response_bytes,
            series.response_bytes.as_ref().map(super::histogram::Histogram::read),
        );
        self.request_messages += series.request_messages.load(Relaxed);
        self.response_messages += series.response_messages.load(Relaxed);
        self.opened += series.opened.load(Relaxed);
        self.closed += series.closed.load(Relaxed);
        self.received += series.received_bytes.load(Relaxed);
        self.sent += series.sent_bytes.load(Relaxed);
    }
}

/// All of it as Prometheus text.
pub fn render(telemetry: &Telemetry) -> String {
    let mut text = String::with_capacity(64 * 1024);
    render_istio(telemetry, &mut text);
    let shards = telemetry.shards();
    render_groups(shards.iter().flat_map(|shard| lock(&shard.clusters).clone()).collect(), &mut text);
    render_groups(shards.iter().flat_map(|shard| lock(&shard.listeners).clone()).collect(), &mut text);
    render_groups(shards.iter().flat_map(|shard| lock(&shard.http).clone()).collect(), &mut text);
    render_groups(shards.iter().flat_map(|shard| lock(&shard.tcp).clone()).collect(), &mut text);
    let dropped: u64 = shards.iter().map(|shard| shard.dropped.load(Relaxed)).sum();
    let _ = write!(
        text,
        "# TYPE mainstay_series_dropped_total counter\nmainstay_series_dropped_total {dropped}\n"
    );
    let unnamed: u64 = shards.iter().map(|shard| shard.dropped_names.load(Relaxed)).sum();
    let _ = write!(
        text,
        "# TYPE mainstay_rpc_names_dropped_total counter\nmainstay_rpc_names_dropped_total {unnamed}\n"
    );
    let lines = telemetry.dropped_lines();
    let _ = write!(
        text,
        "# TYPE mainstay_log_lines_dropped_total counter\nmainstay_log_lines_dropped_total {lines}\n"
    );
    text
}

/// Envoy's `/stats`: one `name: value` a line, sorted; `filter` is a substring.
pub fn render_stats(telemetry: &Telemetry, filter: &str) -> String {
    fn collect<C: Counter>(groups: Vec<std::sync::Arc<Group<C>>>, into: &mut BTreeMap<String, i64>) {
        for group in groups {
            for ((name, _), value) in C::ALL.iter().zip(group.read()) {
                *into.entry(format!("{}.{}.{name}", C::SCOPE, group.name)).or_default() += value;
            }
        }
    }
    let mut values = BTreeMap::new();
    for shard in telemetry.shards() {
        collect(lock(&shard.clusters).clone(), &mut values);
        collect(lock(&shard.listeners).clone(), &mut values);
        collect(lock(&shard.http).clone(), &mut values);
        collect(lock(&shard.tcp).clone(), &mut values);
    }
    let mut text = String::new();
    for (name, value) in values.iter().filter(|(name, _)| name.contains(filter)) {
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}

fn render_istio(telemetry: &Telemetry, text: &mut String) {
    let mut sums: BTreeMap<Labels, Sum> = BTreeMap::new();
    for shard in telemetry.shards() {
        for series in lock(&shard.series).iter() {
            sums.entry(series.labels.clone()).or_default().take(series);
        }
    }
    let rows: Vec<(String, &Labels, &Sum)> =
        sums.iter().map(|(labels, sum)| (label_text(telemetry, labels), labels, sum)).collect();
    let counter = |text: &mut String, name: &str, tcp: bool, value: fn(&Sum) -> u64| {
        let mut rows = rows.iter().filter(|(_, labels, _)| labels.is_tcp == tcp).peekable();
        if rows.peek().is_some() {
            let _ = writeln!(text, "# TYPE {name} counter");
        }
        for (labels, _, sum) in rows {
            let _ = writeln!(text, "{name}{{{labels}}} {}", value(sum));
        }
    };
    counter(text, "istio_requests_total", false, |sum| sum.requests);
    counter(text, "istio_request_messages_total", false, |sum| sum.request_messages);
    counter(text, "istio_response_messages_total", false, |sum| sum.response_messages);
    counter(text, "istio_tcp_connections_opened_total", true, |sum| sum.opened);
    counter(text, "istio_tcp_connections_closed_total", true, |sum| sum.closed);
    counter(text, "istio_tcp_received_bytes_total", true, |sum| sum.received);
    counter(text, "istio_tcp_sent_bytes_total", true, |sum| sum.sent);
    type Pick = fn(&Sum) -> &Option<Reading>;
    let histograms: [(&str, Pick, f64); 3] = [
        ("istio_request_duration_milliseconds", |sum| &sum.duration, 1_000.0),
        ("istio_request_bytes", |sum| &sum.request_bytes, 1.0),
        ("istio_response_bytes", |sum| &sum.response_bytes, 1.0),
    ];
    for (name, reading, scale) in histograms {
        let mut typed = false;
        for (labels, _, sum) in &rows {
            if let Some(reading) = reading(sum) {
                if !typed {
                    let _ = writeln!(text, "# TYPE {name} histogram");
                    typed = true;
                }
                render_histogram(text, name, labels, reading, scale);
            }
        }
    }
}

fn render_histogram(text: &mut String, name: &str, labels: &str, reading: &Reading, scale: f64) {
    let mut running = 0;
    for (bound, count) in reading.bounds.iter().zip(&reading.counts) {
        running += count;
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{}\"}} {running}", *bound as f64 / scale);
    }
    let total = reading.total();
    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
    let _ = writeln!(text, "{name}_sum{{{labels}}} {}", reading.sum as f64 / scale);
    let _ = writeln!(text, "{name}_count{{{labels}}} {total}");
}

fn label_text(telemetry: &Telemetry, labels: &Labels) -> String {
    let own = &telemetry.local;
    let mine = [
        &own.name,
        &own.namespace,
        &own.principal,
        &own.app,
        &own.version,
        &own.canonical_name,
        &own.canonical_revision,
        &own.cluster,
    ];
    let theirs: [&String; 8] = std::array::from_fn(|index| &labels.other[index]);
    let (source, destination) = if labels.destination_is_local { (theirs, mine) } else { (mine, theirs) };
    let mut text = String::with_capacity(1_024);
    let mut put = |name: &str, value: &str| {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"{}\"", escape(value));
    };
    let known = |value: &str| if value.is_empty() { "unknown".to_owned() } else { value.to_owned() };
    const SIDE: [&str; 8] = [
        "workload",
        "workload_namespace",
        "principal",
        "app",
        "version",
        "canonical_service",
        "canonical_revision",
        "cluster",
    ];
    put("reporter", if labels.destination_is_local { "destination" } else { "source" });
    for (side, values) in [("source", source), ("destination", destination)] {
        for (field, value) in SIDE.iter().zip(values) {
            let fallback = if *field == "canonical_revision" && value.is_empty() {
                "latest".to_owned()
            } else {
                known(value)
            };
            put(&format!("{side}_{field}"), &fallback);
        }
    }
    put("destination_service", &known(&labels.service_host));
    put("destination_service_name", &known(&labels.service_name));
    put("destination_service_namespace", &known(&labels.service_namespace));
    put("request_protocol", &labels.protocol);
    put("response_flags", &ResponseFlags(labels.flags).text());
    put("connection_security_policy", labels.mutual_tls.text());
    if !labels.is_tcp {
        put("response_code", &labels.status.to_string());
    }
    if let Some(call) = &labels.call {
        put("request_service", &known(&String::from_utf8_lossy(&call.service)));
        put("request_method", &known(&String::from_utf8_lossy(&call.method)));
    } else if !labels.is_tcp {
        put("grpc_response_status", &labels.grpc_status.map_or(String::new(), |status| status.to_string()));
    }
    text
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn render_groups<C: Counter>(groups: Vec<std::sync::Arc<Group<C>>>, text: &mut String) {
    let mut sums: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for group in &groups {
        let sum = sums.entry(group.name.clone()).or_insert_with(|| vec![0; C::ALL.len()]);
        for (total, value) in sum.iter_mut().zip(group.read()) {
            *total += value;
        }
    }
    if sums.is_empty() {
        return;
    }
    let mut typed = "";
    for (index, (name, gauge)) in C::ALL.iter().enumerate() {
        let (metric, class) = metric_name(name);
        let metric = format!("envoy_{}_{metric}", C::SCOPE);
        if typed != metric_base(name) {
            let _ = writeln!(text, "# TYPE {metric} {}", if *gauge { "gauge" } else { "counter" });
            typed = metric_base(name);
        }
        for (group, values) in &sums {
            let value = values.get(index).copied().unwrap_or(0);
            let _ = writeln!(text, "{metric}{{{}=\"{}\"{class}}} {value}", C::LABEL, escape(group));
        }
    }
}

/// `upstream_rq_2xx` is `upstream_rq_xx` with a label, as in Envoy; dots become underscores.
fn metric_name(name: &str) -> (String, String) {
    let digit = name.strip_suffix("xx").and_then(|head| head.chars().last()).filter(char::is_ascii_digit);
    match digit {
        Some(digit) => {
            let head = name.trim_end_matches("xx").trim_end_matches(digit);
            (format!("{head}xx"), format!(",envoy_response_code_class=\"{digit}\""))
        }
        None => (name.replace('.', "_"), String::new()),
    }
}

fn metric_base(name: &'static str) -> &'static str {
    match name.strip_suffix("xx") {
        Some(head) if head.ends_with(|last: char| last.is_ascii_digit()) => {
            head.get(..head.len() - 1).unwrap_or(head)
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::{ClusterCounter, HttpCounter};
    use super::super::facts::{Facts, Moments, PeerLabels, Reporter, RpcFacts};
    use super::super::named::NAMED_SERIES_LIMIT;
    use super::super::record::Recorder;
    use super::super::series::SERIES_LIMIT;
    use super::*;
    use crate::message::{MILLISECOND, Peer, Protocol, RequestHead, Tick};
    use crate::plan::LocalWorkload;

    fn with_facts(status: u16, other: &PeerLabels, use_them: impl FnOnce(&Facts<'_>)) {
        let (peer, request) = (Peer::default(), RequestHead::default());
        use_them(&Facts {
            reporter: Reporter::Source,
            protocol: Protocol::Http11,
            peer: &peer,
            client: None,
            request: Some(&request),
            response: None,
            rpc: None,
            trailers: None,
            grpc_status: None,
            status,
            flags: ResponseFlags::default(),
            details: "",
            route: "",
            filter_chain: "",
            cluster: "outbound|80||cart",
            service_host: "cart.shop.svc.cluster.local",
            service_name: "cart",
            service_namespace: "shop",
            upstream: None,
            upstream_local: None,
            mutual_tls: true,
            upstream_failure: "",
            downstream_failure: "",
            other,
            other_principal: "",
            attempts: 1,
            received: 10,
            sent: 20,
            received_headers: 0,
            sent_headers: 0,
            request_messages: 0,
            response_messages: 0,
            moments: Moments { ended: Tick(3 * MILLISECOND), ..Moments::default() },
            service_time: None,
            trace: None,
            connection_id: 0,
        });
    }

    #[test]
    fn requests_of_all_workers_are_one_series() {
        let telemetry = Telemetry::new(LocalWorkload { name: "front".into(), ..LocalWorkload::default() });
        let other = PeerLabels { workload: "cart-v1".into(), ..PeerLabels::default() };
        for mut recorder in [telemetry.recorder(), telemetry.recorder()] {
            with_facts(200, &other, |facts| recorder.record(facts));
        }
        let text = render(&telemetry);
        let line = text.lines().find(|line| line.starts_with("istio_requests_total{")).unwrap();
        assert!(line.ends_with(" 2"), "{line}");
        for part in [
            "reporter=\"source\"",
            "source_workload=\"front\"",
            "destination_workload=\"cart-v1\"",
            "destination_service=\"cart.shop.svc.cluster.local\"",
            "response_code=\"200\"",
            "connection_security_policy=\"mutual_tls\"",
            "destination_canonical_revision=\"latest\"",
            "source_principal=\"unknown\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(text.contains("le=\"2\"} 0") && text.contains("le=\"3\"} 2"), "{text}");
    }

    #[test]
    fn beyond_the_limit_series_overflow_and_are_counted() {
        let telemetry = Telemetry::new(LocalWorkload::default());
        let mut recorder = telemetry.recorder();
        for number in 0..SERIES_LIMIT + 5 {
            let other = PeerLabels { workload: format!("w{number}"), ..PeerLabels::default() };
            with_facts(200, &other, |facts| recorder.record(facts));
        }
        let text = render(&telemetry);
        assert!(text.contains("mainstay_series_dropped_total 5"));
        assert!(text.contains("destination_workload=\"overflow\""));
    }

    fn record_call(recorder: &mut Recorder, service: &str, method: &str, flags: ResponseFlags) {
        with_facts(503, &PeerLabels::default(), |facts| {
            let rpc = RpcFacts {
                protocol: "bolt",
                service: service.as_bytes(),
                method: method.as_bytes(),
                id: 7,
                status: Some(4),
                trace: None,
                one_way: false,
            };
            recorder.record(&Facts { protocol: Protocol::Rpc, rpc: Some(rpc), flags, ..*facts });
        });
    }

    #[test]
    fn calls_are_counted_by_protocol_service_and_method() {
        let telemetry = Telemetry::new(LocalWorkload::default());
        for mut recorder in [telemetry.recorder(), telemetry.recorder()] {
            record_call(&mut recorder, "shop.Cart:1.0", "add", ResponseFlags::UPSTREAM_OVERFLOW);
        }
        let mut recorder = telemetry.recorder();
        record_call(&mut recorder, "made.Up", "by-a-stranger", ResponseFlags::NO_ROUTE);
        let text = render(&telemetry);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("istio_requests_total{")).collect();
        let line = lines.iter().find(|line| line.ends_with(" 2")).unwrap();
        for part in [
            "request_protocol=\"bolt\"",
            "request_service=\"shop.Cart:1.0\",request_method=\"add\"",
            "response_code=\"503\"",
            "response_flags=\"UO\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("grpc"));
        assert_eq!(lines.len(), 2);
        assert!(text.contains("request_service=\"unknown\",request_method=\"unknown\"} 1"));
        assert!(!text.contains("made.Up"));
        assert!(text.contains("istio_request_duration_milliseconds_count{"));
    }

    #[test]
    fn names_beyond_the_limit_overflow_and_nothing_else_does() {
        let telemetry = Telemetry::new(LocalWorkload::default());
        let (mut one, mut two) = (telemetry.recorder(), telemetry.recorder());
        for number in 0..NAMED_SERIES_LIMIT + 3 {
            let recorder = if number % 2 == 0 { &mut one } else { &mut two };
            record_call(recorder, "shop.Cart", &format!("m{number}"), ResponseFlags::default());
        }
        with_facts(200, &PeerLabels::default(), |facts| one.record(facts));
        record_call(&mut one, "shop.Cart", "m0", ResponseFlags::default());
        let text = render(&telemetry);
        assert!(text.contains("mainstay_rpc_names_dropped_total 3\n"));
        assert!(text.contains("mainstay_series_dropped_total 0\n"));
        let named = |line: &&str| line.starts_with("istio_requests_total{") && line.contains("shop.Cart");
        assert_eq!(text.lines().filter(named).count(), NAMED_SERIES_LIMIT);
        let overflow = text.lines().find(|line| line.contains("request_service=\"overflow\"")).unwrap();
        assert!(
            overflow.contains("destination_service_name=\"cart\"") && overflow.ends_with(" 3"),
            "{overflow}"
        );
        assert!(text.contains("request_protocol=\"http\""));
        assert!(text.lines().any(|line| line.contains("request_method=\"m0\"") && line.ends_with(" 2")));
        // What is quiet makes room.
        let later = Tick(super::super::series::QUIET_AFTER + 9 * MILLISECOND);
        one.sweep(later);
        two.sweep(later);
        record_call(&mut two, "shop.Cart", "later", ResponseFlags::default());
        assert!(render(&telemetry).contains("request_method=\"later\""));
    }

    #[test]
    fn quiet_series_go() {
        let telemetry = Telemetry::new(LocalWorkload::default());
        let mut recorder = telemetry.recorder();
        with_facts(200, &PeerLabels::default(), |facts| recorder.record(facts));
        recorder.sweep(Tick(super::super::series::QUIET_AFTER));
        assert!(render(&telemetry).contains("istio_requests_total"));
        recorder.sweep(Tick(super::super::series::QUIET_AFTER + 4 * MILLISECOND));
        assert!(!render(&telemetry).contains("istio_requests_total"));
    }

    #[test]
    fn envoy_counters_keep_envoys_names() {
        let telemetry = Telemetry::new(LocalWorkload::default());
        let recorder = telemetry.recorder();
        let cluster = recorder.cluster("a|b");
        cluster.increment(ClusterCounter::RqTotal);
        cluster.increment(ClusterCounter::Rq5xx);
        recorder.http("in").increment(HttpCounter::RbacDenied);
        let text = render(&telemetry);
        assert!(text.contains("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"a|b\"} 1"));
        assert!(text.contains(
            "envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"a|b\",envoy_response_code_class=\"5\"} 1"
        ));
        assert!(text.contains("envoy_http_rbac_denied{envoy_http_conn_manager_prefix=\"in\"} 1"));
        assert_eq!(text.matches("# TYPE envoy_cluster_upstream_rq_xx ").count(), 1);
        assert!(render_stats(&telemetry, "rq_total").contains("cluster.a|b.upstream_rq_total: 1\n"));
    }
}
