//! `/config_dump`: the application's account of what came over xDS; without it, the engine's own view of what is in force.
//!
//! Secrets appear by name and digest only, TLS contexts by the names of their secrets, routes without the headers they add.

use serde_json::{Value, json};

use super::clusters;
use super::console::pretty;
use super::request::Request;
use super::server::Answer;
use super::view::View;
use crate::plan::Kind;
use crate::route::{Action, CompiledRoute, Table};
use crate::snapshot::{Chain, Listener, Routes, Shards, Snapshot, Terminal};

pub(super) fn page(view: &dyn View, request: &Request) -> Answer {
    if request.parameter("source") != Some("engine")
        && let Some(answer) = view.ask(request)
    {
        return answer;
    }
    Answer::json(pretty(&own(view)))
}

fn own(view: &dyn View) -> Value {
    let snapshot = view.snapshot();
    let held: Vec<Value> = view
        .held()
        .iter()
        .map(|held| json!({ "kind": held.resource, "name": held.name, "digest": held.digest }))
        .collect();
    let names = |kind: Kind| view.held().into_iter().filter(|held| held.resource == kind).count();
    json!({
        "source": "engine",
        "generation": snapshot.generation,
        "secrets": names(Kind::Secret),
        "held": held,
        "listeners": snapshot.listeners.values().map(|each| listener(each, &snapshot)).collect::<Vec<_>>(),
        "clusters": sorted(snapshot.clusters.iter().map(|(name, each)| {
            let policy = each.policy();
            let mut shown = clusters::as_json(each);
            shown["load_balancer"] = json!(policy.balancer);
            shown["connect_timeout"] = json!(policy.connect_timeout);
            shown["http"] = json!(policy.http);
            shown["outlier"] = json!(policy.outlier);
            shown["tls"] = json!(policy.tls.as_ref().map(|cell| cell.plan().as_ref().clone()));
            (name.to_string(), shown)
        })),
        "routes": tables(&snapshot.tables),
        "generic_routes": tables(&snapshot.generic_tables),
    })
}

fn tables(tables: &Shards<Table>) -> Vec<Value> {
    sorted(tables.iter().map(|(name, each)| (name.to_string(), table(each))))
}

fn sorted(entries: impl Iterator<Item = (String, Value)>) -> Vec<Value> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    entries.into_iter().map(|(_, value)| value).collect()
}

fn listener(listener: &Listener, snapshot: &Snapshot) -> Value {
    json!({
        "name": *listener.name,
        "address": listener.address,
        "bind": listener.bind,
        "direction": listener.direction,
        "listener_filters": listener.filters,
        "chains": listener.chains.iter().map(|each| chain(each, snapshot)).collect::<Vec<_>>(),
        "default_chain": listener.default_chain.as_ref().map(|each| chain(each, snapshot)),
    })
}

fn chain(chain: &Chain, snapshot: &Snapshot) -> Value {
    let terminal = match &chain.terminal {
        Terminal::Http(manager) => json!({
            "kind": "http",
            "filters": manager.filters.names().collect::<Vec<_>>(),
            "routes": match &manager.routes {
                Routes::Named(name) | Routes::Generic(name) => {
                    json!({ "name": **name, "present": snapshot.routes(&manager.routes).is_some() })
                }
                Routes::Inline(inline) => table(inline),
            },
            "options": manager.options,
        }),
        Terminal::Tcp(proxy) => json!({
            "kind": "tcp",
            "stat_prefix": *proxy.stat_prefix,
            "idle_timeout": proxy.idle_timeout,
            "clusters": proxy.clusters().map(|name| name.to_string()).collect::<Vec<_>>(),
        }),
    };
    json!({
        "name": *chain.name,
        "tls": chain.tls.as_ref().map(|cell| cell.plan().as_ref().clone()),
        "terminal": terminal,
    })
}

fn table(table: &Table) -> Value {
    json!({
        "name": *table.name,
        "virtual_hosts": table.virtual_hosts(),
        "routes": table.routes().map(|each| route(each)).collect::<Vec<_>>(),
    })
}

fn route(route: &CompiledRoute) -> Value {
    let action = match &route.action {
        Action::Forward(forward) => json!({
            "kind": "forward",
            "clusters": forward.clusters().iter().map(|name| name.to_string()).collect::<Vec<_>>(),
            "timeout": forward.timeout,
        }),
        Action::Redirect(_) => json!({ "kind": "redirect" }),
        Action::Respond(response) => json!({ "kind": "respond", "status": response.status }),
        Action::NonForwarding => json!({ "kind": "non_forwarding" }),
    };
    json!({ "name": *route.name, "virtual_host": *route.host.name, "action": action })
}
