//! `/certs`: what certificates in force say of themselves. Keys are not even reachable from here.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::console::pretty;
use super::request::Request;
use super::server::Answer;
use super::view::View;
use crate::tls::{Material, describe, validity};

const DAY: u64 = 86_400;

pub(super) fn page(view: &dyn View, _: &Request) -> Answer {
    let now = now();
    let certificates: Vec<Value> = view
        .secrets()
        .iter()
        .map(|(name, material)| match material.as_ref() {
            Material::Certificate(certified) => json!({
                "name": name,
                "cert_chain": certified.cert.iter().map(|der| entry(der, now)).collect::<Vec<_>>(),
            }),
            Material::Trust(trust) => json!({ "name": name, "ca_cert": trust.domains() }),
        })
        .collect();
    Answer::json(pretty(&json!({ "certificates": certificates })))
}

fn entry(der: &[u8], now: u64) -> Value {
    let read = describe(der);
    let names = read.uris.iter().map(|uri| json!({ "uri": uri }));
    let names: Vec<Value> = names.chain(read.dns_names.iter().map(|name| json!({ "dns": name }))).collect();
    let (from, until) = validity(der).unwrap_or_default();
    json!({
        "subject": read.subject,
        "serial_number": read.serial,
        "fingerprint_256": read.digest,
        "subject_alt_names": names,
        "valid_from": time(from),
        "expiration_time": time(until),
        "days_until_expiration": until.saturating_sub(now) / DAY,
    })
}

/// Whole days until the first certificate in force ends; `None` if there is none.
pub(super) fn days_until_first_expires(view: &dyn View) -> Option<u64> {
    let secrets = view.secrets();
    let leaves = secrets.iter().filter_map(|(_, material)| match material.as_ref() {
        Material::Certificate(certified) => certified.cert.first(),
        Material::Trust(_) => None,
    });
    let ends = leaves.filter_map(|leaf| validity(leaf)).map(|(_, until)| until).min()?;
    Some(ends.saturating_sub(now()) / DAY)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// RFC 3339.
fn time(seconds: u64) -> String {
    let mut text = Vec::new();
    crate::telemetry::write_time("%Y-%m-%dT%H:%M:%SZ", seconds.saturating_mul(1_000_000_000), &mut text);
    String::from_utf8(text).unwrap_or_default()
}
