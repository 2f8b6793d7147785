//! A chain of filters: compiled once for all workers, an [`Instance`] of it per worker.
//!
//! Invariant: a filter whose configuration did not change keeps its factory, and so its instances and what they remember, when the
//! chain around it changes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use super::contract::{HttpFilter, HttpFilterFactory, Wants};
use super::instance::{Instance, Placed};
use super::registry::Registry;
use crate::plan::{self, PlanError};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The filters of a connection manager, as a snapshot holds them.
pub struct Chain {
    id: u64,
    filters: Box<[Member]>,
}

struct Member {
    name: Arc<str>,
    disabled: bool,
    wants: Wants,
    factory: Arc<dyn HttpFilterFactory>,
}

impl Chain {
    /// `scope`: where the chain stands (listener and filter chain), the same as long as that place exists. Filters may share
    /// a name, as Istio's two of RBAC do: a route's settings by that name are for all of them, what they remember is not.
    pub fn compile(
        plans: &[plan::HttpFilter],
        scope: &str,
        registry: &Registry,
    ) -> Result<Arc<Self>, PlanError> {
        let mut filters: Vec<Member> = Vec::with_capacity(plans.len());
        for (index, plan) in plans.iter().enumerate() {
            let path = format!("filters[{index}]");
            let twins = filters.iter().filter(|other| *other.name == *plan.name).count();
            let scope =
                if twins == 0 { Cow::Borrowed(scope) } else { Cow::Owned(format!("{scope}#{twins}")) };
            let (wants, factory) = registry
                .http(&scope, &plan.name, &plan.config)
                .map_err(|problem| problem.within("config").within(&path))?;
            let name = Arc::from(plan.name.as_str());
            filters.push(Member { name, disabled: plan.disabled, wants, factory });
        }
        Ok(Arc::new(Self { id: NEXT.fetch_add(1, Relaxed), filters: filters.into() }))
    }

    /// Filters that no plan names, for tests of the contract and of those who run chains.
    #[cfg(test)]
    pub(crate) fn of(filters: Vec<(&str, Wants, Arc<dyn HttpFilterFactory>)>) -> Arc<Self> {
        let member =
            |(name, wants, factory)| Member { name: Arc::from(name), disabled: false, wants, factory };
        let id = u64::MAX - NEXT.fetch_add(1, Relaxed);
        Arc::new(Self { id, filters: filters.into_iter().map(member).collect() })
    }

    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// For pages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| &*filter.name)
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.filters.iter().map(|filter| &filter.name)).finish()
    }
}

/// A filter's instance, with what it was made by.
type Made = (Arc<dyn HttpFilterFactory>, Rc<dyn HttpFilter>);

/// A worker's instances, by chain. A filter whose configuration did not change keeps its instance when the chain around it does.
#[derive(Default)]
pub struct Instances {
    by_chain: HashMap<u64, (Weak<Chain>, Rc<Instance>)>,
    /// By the factory's address, which the factory held here keeps from being used again.
    by_factory: HashMap<usize, Made>,
    tidy_at: usize,
}

impl Instances {
    pub fn of(&mut self, chain: &Arc<Chain>) -> Rc<Instance> {
        if let Some((_, found)) = self.by_chain.get(&chain.id) {
            return Rc::clone(found);
        }
        let filters = chain.filters.iter().map(|member| {
            let filter = self.instance(&member.factory);
            (Placed { name: Arc::clone(&member.name), disabled: member.disabled, filter }, member.wants)
        });
        let made = Rc::new(Instance::new(filters));
        self.by_chain.insert(chain.id, (Arc::downgrade(chain), Rc::clone(&made)));
        if self.by_chain.len() >= self.tidy_at {
            self.tidy();
        }
        made
    }

    fn instance(&mut self, factory: &Arc<dyn HttpFilterFactory>) -> Rc<dyn HttpFilter> {
        let key = Arc::as_ptr(factory).cast::<()>() as usize;
        let make = || (Arc::clone(factory), Arc::clone(factory).instance());
        Rc::clone(&self.by_factory.entry(key).or_insert_with(make).1)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.by_chain.len() + self.by_factory.len()
    }

    /// Forgets what no snapshot holds any more; amortised by waiting until twice as many chains are known.
    fn tidy(&mut self) {
        self.by_chain.retain(|_, (chain, _)| chain.strong_count() > 0);
        self.by_factory.retain(|_, (_, filter)| Rc::strong_count(filter) > 1);
        self.tidy_at = 2 * self.by_chain.len().max(8);
    }
}
