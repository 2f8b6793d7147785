//! The one table of filters, and the memory of what is compiled already.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::contract::{HttpFilterFactory, Wants};
use super::{header_mutation, local_rate_limit, network, rbac};
use crate::plan::{HttpFilterConfig, PlanError};
use crate::route::{CompileOverride, Override};

type Made<T> = Result<Arc<T>, PlanError>;

/// A kind of HTTP filter.
struct Row {
    name: &'static str,
    type_url: &'static str,
    wants: Wants,
    takes: fn(&HttpFilterConfig) -> bool,
    factory: fn(&HttpFilterConfig) -> Made<dyn HttpFilterFactory>,
    per_route: fn(&HttpFilterConfig) -> Made<dyn Any + Send + Sync>,
}

const TABLE: &[Row] = &[
    Row {
        name: "envoy.filters.http.rbac",
        type_url: "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        wants: rbac::WANTS,
        takes: |config| matches!(config, HttpFilterConfig::Rbac { .. }),
        factory: rbac::factory,
        per_route: rbac::per_route,
    },
    Row {
        name: "envoy.filters.http.local_ratelimit",
        type_url: "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        wants: local_rate_limit::WANTS,
        takes: |config| matches!(config, HttpFilterConfig::LocalRateLimit { .. }),
        factory: local_rate_limit::factory,
        per_route: local_rate_limit::per_route,
    },
    Row {
        name: "envoy.filters.http.header_mutation",
        type_url: "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        wants: header_mutation::WANTS,
        takes: |config| matches!(config, HttpFilterConfig::HeaderMutation { .. }),
        factory: header_mutation::factory,
        per_route: header_mutation::per_route,
    },
];

/// Per-route configuration that takes a filter off the way.
pub(super) struct SwitchedOff;

/// A filter this engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Envoy's category.
    pub category: &'static str,
    pub name: &'static str,
    pub type_url: &'static str,
}

type Digest = [u8; 32];
type Known<T> = Mutex<HashMap<(String, Digest), Weak<T>>>;

/// Compiles filters. One per engine: what did not change where it stands is found again, with its state (token buckets).
#[derive(Default)]
pub struct Registry {
    factories: Known<dyn HttpFilterFactory>,
    overrides: Known<dyn Any + Send + Sync>,
}

impl Registry {
    /// Every filter there is: Python keeps no second table.
    pub fn extensions() -> Vec<Extension> {
        let http = TABLE.iter().map(|row| Extension {
            category: "envoy.filters.http",
            name: row.name,
            type_url: row.type_url,
        });
        http.chain([network::RBAC]).collect()
    }

    pub(super) fn http(
        &self,
        scope: &str,
        name: &str,
        config: &HttpFilterConfig,
    ) -> Result<(Wants, Arc<dyn HttpFilterFactory>), PlanError> {
        let row = row_of(config)?;
        let place = format!("{scope}/{name}");
        find_or_make(&self.factories, place, config, || (row.factory)(config)).map(|made| (row.wants, made))
    }
}

impl CompileOverride for Registry {
    fn compile(&self, scope: &str, filter: &str, config: &HttpFilterConfig) -> Result<Override, PlanError> {
        if matches!(config, HttpFilterConfig::Disabled {}) {
            return Ok(Arc::new(SwitchedOff));
        }
        let row = row_of(config)?;
        find_or_make(&self.overrides, format!("{scope}/{filter}"), config, || (row.per_route)(config))
    }
}

fn row_of(config: &HttpFilterConfig) -> Result<&'static Row, PlanError> {
    TABLE
        .iter()
        .find(|row| (row.takes)(config))
        .ok_or_else(|| PlanError::new("kind", "there is no filter of this kind"))
}

/// What was made for an equal configuration in the same place, if anyone still holds it.
fn find_or_make<T: ?Sized>(
    known: &Known<T>,
    place: String,
    config: &HttpFilterConfig,
    make: impl FnOnce() -> Made<T>,
) -> Made<T> {
    let bytes = rmp_serde::to_vec_named(config).map_err(|error| PlanError::new("", error.to_string()))?;
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (place, digest);
    if let Some(found) = known.get(&key).and_then(Weak::upgrade) {
        return Ok(found);
    }
    let made = make()?;
    if known.len() == known.capacity() {
        known.retain(|_, held| held.strong_count() > 0);
    }
    known.insert(key, Arc::downgrade(&made));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RouteHeaders;

    #[test]
    fn equal_configuration_in_the_same_place_is_the_same_thing() {
        let registry = Registry::default();
        let config = |name: &str| HttpFilterConfig::HeaderMutation {
            headers: RouteHeaders { request_remove: vec![name.into()], ..RouteHeaders::default() },
        };
        let make = |scope: &str, name: &str| registry.compile(scope, "f", &config(name)).unwrap();
        let first = make("a", "x");
        assert!(Arc::ptr_eq(&first, &make("a", "x")));
        assert!(!Arc::ptr_eq(&first, &make("b", "x")));
        assert!(!Arc::ptr_eq(&first, &make("a", "y")));
        drop(first);
        assert_eq!(
            registry.overrides.lock().unwrap().values().filter(|held| held.strong_count() > 0).count(),
            0
        );
    }

    #[test]
    fn switching_off_is_no_filter() {
        let problem = Registry::default().http("a", "f", &HttpFilterConfig::Disabled {}).err().unwrap();
        assert_eq!(problem.path, "kind");
    }
}
