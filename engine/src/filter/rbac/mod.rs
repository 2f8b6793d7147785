//! `envoy.filters.http.rbac`: who may ask for what.
//!
//! Shadow rules are evaluated and counted, never enforced. A route may have rules of its own in place of the chain's.

mod engine;
#[cfg(test)]
mod tests;
mod tree;

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

pub(super) use engine::{Rules, Verdicts};
pub(super) use tree::Subject;

use super::context::Context;
use super::contract::{HttpFilter, HttpFilterFactory, LocalReply, Verdict, Wants};
use super::state::StateSlot;
use crate::message::RequestHead;
use crate::plan::{HttpFilterConfig, PlanError};
use crate::telemetry::HttpCounter;

pub(super) const WANTS: Wants = Wants::REQUEST_HEAD;

fn compile(config: &HttpFilterConfig) -> Result<Arc<Rules>, PlanError> {
    match config {
        HttpFilterConfig::Rbac { rules, shadow_rules } => {
            Rules::compile(rules.as_ref(), shadow_rules.as_ref()).map(Arc::new)
        }
        _ => Err(PlanError::new("kind", "this is no configuration of RBAC")),
    }
}

pub(super) fn factory(config: &HttpFilterConfig) -> Result<Arc<dyn HttpFilterFactory>, PlanError> {
    compile(config).map(|rules| rules as Arc<dyn HttpFilterFactory>)
}

pub(super) fn per_route(config: &HttpFilterConfig) -> Result<Arc<dyn Any + Send + Sync>, PlanError> {
    compile(config).map(|rules| rules as Arc<dyn Any + Send + Sync>)
}

impl HttpFilterFactory for Rules {
    fn instance(self: Arc<Self>) -> Rc<dyn HttpFilter> {
        Rc::new(Rbac(self))
    }
}

struct Rbac(Arc<Rules>);

impl HttpFilter for Rbac {
    fn on_request_head(
        &self,
        context: &mut Context<'_>,
        _: &mut StateSlot,
        head: &mut RequestHead,
        _: bool,
    ) -> Verdict {
        let rules = context.config::<Rules>().unwrap_or(&self.0);
        let verdicts = rules.judge(&Subject {
            peer: context.peer,
            client: context.client,
            request: Some(head),
            remembered: context.remembered,
        });
        if let Some(allowed) = verdicts.shadow {
            context.counters.increment(if allowed {
                HttpCounter::RbacShadowAllowed
            } else {
                HttpCounter::RbacShadowDenied
            });
        }
        match verdicts.enforced {
            None => Verdict::Continue,
            Some(Ok(())) => {
                context.counters.increment(HttpCounter::RbacAllowed);
                Verdict::Continue
            }
            Some(Err(policy)) => {
                context.counters.increment(HttpCounter::RbacDenied);
                let details = Verdicts::details(policy);
                Verdict::Reply(Box::new(LocalReply::new(403, "RBAC: access denied", details)))
            }
        }
    }
}
