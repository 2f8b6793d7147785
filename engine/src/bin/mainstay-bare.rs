//! The engine without Python: reads a configuration and serves. For benchmarks, and to see what embedding costs.
//!
//! `mainstay-bare FILE [WORKERS]`: a MessagePack delta, or JSON `{"listener": [plan …], "cluster": [plan …], …}` by kind if the name
//! ends in `.json`. Prints `name address` for each bound listener, then events, until it is killed.

use std::process::ExitCode;
use std::time::Duration;

use mainstay_engine::engine::Engine;
use mainstay_engine::plan::{self, Delta, EngineSettings, Kind, LocalWorkload, Upsert};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("mainstay-bare: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: mainstay-bare FILE [WORKERS]")?;
    let workers = arguments.next().map_or(Ok(1), |text| text.parse()).map_err(|_| "WORKERS: not a number")?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    let delta = if path.ends_with(".json") {
        from_json(&bytes)?
    } else {
        plan::decode(&bytes).map_err(|error| format!("{path}: {error}"))?
    };
    let engine = Engine::start(settings(workers)).map_err(|error| error.to_string())?;
    let report = engine.apply(delta);
    for refused in &report.refused {
        eprintln!("refused {:?} {}: {} {}", refused.resource, refused.name, refused.path, refused.reason);
    }
    for (name, address) in engine.listeners() {
        println!("{name} {address}");
    }
    loop {
        for event in engine.wait(Duration::from_secs(3_600)) {
            eprintln!("{event:?}");
        }
    }
}

fn settings(workers: u32) -> EngineSettings {
    EngineSettings {
        workers,
        admin: None,
        metrics: None,
        health: None,
        registry: None,
        admin_beyond_loopback: false,
        max_connections: None,
        resend_unprocessed: true,
        log_json: false,
        node_id: "bare".to_owned(),
        node_cluster: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        workload: LocalWorkload::default(),
    }
}

fn from_json(bytes: &[u8]) -> Result<Delta, String> {
    let document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut upserts = Vec::new();
    for (kind, plans) in document {
        let serde_json::Value::Array(plans) = plans else { return Err(format!("{kind}: not a list")) };
        for plan in plans {
            let name = ["name", "service"].iter().find_map(|field| plan.get(field)?.as_str());
            let name = name.unwrap_or_default().to_owned();
            let (resource, body) = match kind.as_str() {
                "secret" => (Kind::Secret, body::<plan::Secret>(plan)?),
                "endpoints" => (Kind::Endpoints, body::<plan::Endpoints>(plan)?),
                "cluster" => (Kind::Cluster, body::<plan::Cluster>(plan)?),
                "route" => (Kind::Route, body::<plan::RouteTable>(plan)?),
                "generic_route" => (Kind::GenericRoute, body::<plan::RouteTable>(plan)?),
                "listener" => (Kind::Listener, body::<plan::Listener>(plan)?),
                other => return Err(format!("{other} is no kind of resource")),
            };
            upserts.push(Upsert { resource, name, digest: "1".to_owned(), body });
        }
    }
    Ok(Delta { upserts, removals: Vec::new() })
}

fn body<T: DeserializeOwned + Serialize>(plan: serde_json::Value) -> Result<Vec<u8>, String> {
    let plan: T = serde_json::from_value(plan).map_err(|error| error.to_string())?;
    plan::encode(&plan).map_err(|error| error.to_string())
}
