//! The pages of the admin listener, in one table.

use std::sync::Arc;

use serde_json::json;

use super::request::{Method, Request};
use super::server::{Answer, Pages};
use super::view::{State, View};
use super::{certs, clusters, config_dump, listeners, stats};

/// A page. What `changes` something is POST only.
struct Page {
    path: &'static str,
    changes: bool,
    about: &'static str,
    answer: fn(&dyn View, &Request) -> Answer,
}

const PAGES: &[Page] = &[
    Page { path: "/certs", changes: false, about: "certificates in force", answer: certs::page },
    Page {
        path: "/clusters",
        changes: false,
        about: "clusters, their limits and endpoints; ?format=json",
        answer: clusters::page,
    },
    Page {
        path: "/config_dump",
        changes: false,
        about: "configuration in force, without secrets; ?source=engine for the engine's own view of it",
        answer: config_dump::page,
    },
    Page {
        path: "/drain_listeners",
        changes: true,
        about: "drain connections; ?inboundonly for inbound listeners only",
        answer: drain_listeners,
    },
    Page { path: "/help", changes: false, about: "this page", answer: help },
    Page {
        path: "/listeners",
        changes: false,
        about: "listeners and their addresses; ?format=json",
        answer: listeners::page,
    },
    Page {
        path: "/logging",
        changes: false,
        about: "log levels; POST ?level=debug or ?paths=room:level,… changes them",
        answer: logging,
    },
    Page { path: "/mainstay/status", changes: false, about: "the sidecar's own account", answer: status },
    Page { path: "/quitquitquit", changes: true, about: "end the process", answer: quit },
    Page {
        path: "/ready",
        changes: false,
        about: "200 when traffic is served, else 503",
        // Answered by the listener, which serves it to probes too.
        answer: |view, _| Answer::text(200, format!("{}\n", view.state().text())),
    },
    Page { path: "/server_info", changes: false, about: "version, state, node, uptime", answer: server_info },
    Page {
        path: "/stats",
        changes: false,
        about: "counters and gauges; ?filter=regex, ?usedonly, ?format=json|prometheus",
        answer: stats::page,
    },
    Page {
        path: "/stats/prometheus",
        changes: false,
        about: "the same and Istio's metrics, for Prometheus",
        answer: |view, _| Answer::prometheus(stats::prometheus(view)),
    },
];

/// The pages of an engine.
pub struct Console(Arc<dyn View>);

impl Console {
    pub fn new(view: Arc<dyn View>) -> Self {
        Self(view)
    }

    /// A page as its listener would serve it, for the border.
    pub fn render(&self, target: &str) -> Option<Answer> {
        Request::get(target).map(|request| self.answer(&request))
    }
}

impl Pages for Console {
    fn answer(&self, request: &Request) -> Answer {
        let path = if request.path == "/" { "/help" } else { request.path.as_str() };
        match PAGES.iter().find(|page| page.path == path) {
            Some(page) if page.changes && request.method != Method::Post => {
                Answer::text(405, format!("{path} changes something: it must be a POST\n"))
            }
            Some(page) => (page.answer)(self.0.as_ref(), request),
            None => Answer::text(404, format!("no such page: {path}\n\n{}", table_of_pages())),
        }
    }

    fn lend(&self, request: &Request) -> Option<Answer> {
        self.0.lend(request)
    }

    fn state(&self) -> State {
        self.0.state()
    }

    fn prometheus(&self) -> String {
        stats::prometheus(self.0.as_ref())
    }
}

fn table_of_pages() -> String {
    let line = |page: &Page| {
        let mark = if page.changes { " (POST)" } else { "" };
        format!("  {}{mark}: {}\n", page.path, page.about)
    };
    format!("admin commands are:\n{}", PAGES.iter().map(line).collect::<String>())
}

fn help(_: &dyn View, _: &Request) -> Answer {
    Answer::text(200, table_of_pages())
}

/// Known to the application alone.
fn status(view: &dyn View, request: &Request) -> Answer {
    view.ask(request).unwrap_or_else(|| {
        Answer::text(504, "the sidecar did not answer within a second; the data plane goes on without it\n")
    })
}

/// The application drains and ends in its own order; where it does not answer, the engine does it alone.
fn drain_listeners(view: &dyn View, request: &Request) -> Answer {
    view.ask(request).unwrap_or_else(|| {
        view.drain(request.parameter("inboundonly").is_some());
        Answer::text(200, "OK\n")
    })
}

fn quit(view: &dyn View, request: &Request) -> Answer {
    view.ask(request).unwrap_or_else(|| {
        view.quit();
        Answer::text(200, "OK\n")
    })
}

fn logging(view: &dyn View, request: &Request) -> Answer {
    let mut changes = Vec::new();
    for (name, value) in &request.query {
        match name.as_str() {
            "level" => changes.push((String::new(), value.clone())),
            "paths" => {
                let pairs = value.split(',').map(|pair| pair.split_once(':').unwrap_or((pair, "")));
                changes.extend(pairs.map(|(room, level)| (room.to_owned(), level.to_owned())));
            }
            room => changes.push((room.to_owned(), value.clone())),
        }
    }
    if !changes.is_empty() && request.method != Method::Post {
        return Answer::text(405, "changing a level must be a POST\n");
    }
    for (room, level) in changes {
        if let Err(reason) = view.set_log_level(&room, &level) {
            return Answer::text(400, format!("{reason}\n"));
        }
    }
    let levels = view.log_levels();
    let lines: String = levels.iter().map(|(room, level)| format!("  {room}: {level}\n")).collect();
    Answer::text(200, format!("active loggers:\n{lines}"))
}

fn server_info(view: &dyn View, _: &Request) -> Answer {
    let settings = view.settings();
    let uptime = format!("{}s", view.uptime().as_secs());
    let workload = &settings.workload;
    let info = json!({
        "version": settings.version,
        "state": view.state().text(),
        "hot_restart_version": "disabled",
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "command_line_options": { "concurrency": settings.workers },
        "node": {
            "id": settings.node_id,
            "cluster": settings.node_cluster,
            "user_agent_name": "mainstay",
        },
        "workload": {
            "name": workload.name,
            "namespace": workload.namespace,
            "principal": workload.principal,
            "cluster": workload.cluster,
        },
        "generation": view.snapshot().generation,
        "live_connections": view.connections(),
    });
    Answer::json(pretty(&info))
}

pub(super) fn pretty(value: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Pages that come as lines or, with `?format=json`, as JSON.
pub(super) fn wants_json(request: &Request) -> bool {
    request.parameter("format") == Some("json")
}
