//! What a virtual host, route or weighted cluster says for a filter of the chain by its name (`typed_per_filter_config`).
//!
//! Compiled with the table, by whoever knows filters (`filter::Registry`): a bad one refuses the table, with its path.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::plan::{HttpFilterConfig, PlanError};

/// What a filter made of a per-route configuration; the filter that made it knows the type.
pub type Override = Arc<dyn Any + Send + Sync>;

/// Compiles per-route configurations of filters.
pub trait CompileOverride {
    /// `scope`: where it stands (table, virtual host, route, cluster), the same as long as that place exists; `filter`: name of
    /// the filter's instance. State shared by workers (token buckets) is found again by both and the configuration.
    fn compile(&self, scope: &str, filter: &str, config: &HttpFilterConfig) -> Result<Override, PlanError>;
}

/// For tables that may not have any.
#[derive(Debug, Clone, Copy)]
pub struct NoOverrides;

impl CompileOverride for NoOverrides {
    fn compile(&self, _: &str, filter: &str, _: &HttpFilterConfig) -> Result<Override, PlanError> {
        Err(PlanError::new("", format!("filter {filter} cannot be configured here")))
    }
}

/// Overrides that hold for a route, most specific first: weighted cluster, route, virtual host.
#[derive(Clone, Default)]
pub struct Overrides(Vec<(Arc<str>, Override)>);

impl Overrides {
    /// For requests without a route.
    pub fn none() -> &'static Self {
        static NONE: Overrides = Overrides(Vec::new());
        &NONE
    }

    /// The most specific one for a filter.
    pub fn get(&self, filter: &str) -> Option<&Override> {
        self.0.iter().find(|(name, _)| **name == *filter).map(|(_, made)| made)
    }

    /// Every level's, most specific first.
    pub fn all(&self, filter: Arc<str>) -> impl DoubleEndedIterator<Item = &Override> {
        self.0.iter().filter(move |(name, _)| *name == filter).map(|(_, made)| made)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn compile(
        plans: &[(String, HttpFilterConfig)],
        scope: &str,
        compiler: &dyn CompileOverride,
    ) -> Result<Self, PlanError> {
        let mut made = Vec::with_capacity(plans.len());
        for (index, (filter, config)) in plans.iter().enumerate() {
            let compiled = compiler
                .compile(scope, filter, config)
                .map_err(|problem| problem.within(&format!("filters[{index}]")))?;
            made.push((Arc::from(filter.as_str()), compiled));
        }
        Ok(Self(made))
    }

    /// These before those of the level above.
    pub(super) fn over(mut self, above: &Self) -> Self {
        self.0.extend(above.0.iter().cloned());
        self
    }
}

impl fmt::Debug for Overrides {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
