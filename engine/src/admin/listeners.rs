//! `/listeners`: names and the addresses that were bound.

use serde_json::{Value, json};

use super::console::{pretty, wants_json};
use super::request::Request;
use super::server::Answer;
use super::view::View;

pub(super) fn page(view: &dyn View, request: &Request) -> Answer {
    let snapshot = view.snapshot();
    let bound = view.listeners();
    // A listener without a socket of its own is found by original destination.
    let rows = snapshot.listeners.keys().map(|name| {
        let address = bound.iter().find(|(known, _)| *known == **name).map(|(_, address)| address.as_str());
        (&**name, address)
    });
    if wants_json(request) {
        let status = |(name, address)| json!({ "name": name, "local_address": address });
        let statuses: Vec<Value> = rows.map(status).collect();
        return Answer::json(pretty(&json!({ "listener_statuses": statuses })));
    }
    let line =
        |(name, address): (&str, Option<&str>)| format!("{name}::{}\n", address.unwrap_or("not bound"));
    Answer::text(200, rows.map(line).collect::<String>())
}
