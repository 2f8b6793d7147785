//! `envoy.filters.http.header_mutation`: header changes of the chain, then those of route levels, the most specific first.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use super::context::Context;
use super::contract::{HttpFilter, HttpFilterFactory, Verdict, Wants};
use super::state::StateSlot;
use crate::message::{RequestHead, ResponseHead};
use crate::plan::{HttpFilterConfig, PlanError, RouteHeaders};
use crate::route::HeaderChanges;

pub(super) const WANTS: Wants = Wants::REQUEST_HEAD.and(Wants::RESPONSE_HEAD);

/// Compiled changes of one level.
struct Mutations {
    request: HeaderChanges,
    response: HeaderChanges,
}

impl Mutations {
    fn compile(config: &HttpFilterConfig) -> Result<Arc<Self>, PlanError> {
        let none = RouteHeaders::default();
        let headers = if let HttpFilterConfig::HeaderMutation { headers } = config { headers } else { &none };
        Ok(Arc::new(Self {
            request: HeaderChanges::of_request(headers)?,
            response: HeaderChanges::of_response(headers)?,
        }))
    }
}

pub(super) fn factory(config: &HttpFilterConfig) -> Result<Arc<dyn HttpFilterFactory>, PlanError> {
    Mutations::compile(config).map(|made| made as Arc<dyn HttpFilterFactory>)
}

pub(super) fn per_route(config: &HttpFilterConfig) -> Result<Arc<dyn Any + Send + Sync>, PlanError> {
    Mutations::compile(config).map(|made| made as Arc<dyn Any + Send + Sync>)
}

impl HttpFilterFactory for Mutations {
    fn instance(self: Arc<Self>) -> Rc<dyn HttpFilter> {
        Rc::new(HeaderMutation(self))
    }
}

struct HeaderMutation(Arc<Mutations>);

impl HttpFilter for HeaderMutation {
    fn on_request_head(
        &self,
        context: &mut Context<'_>,
        _: &mut StateSlot,
        head: &mut RequestHead,
        _: bool,
    ) -> Verdict {
        self.0.request.apply_request(head, context.source);
        for level in context.configs::<Mutations>() {
            level.request.apply_request(head, context.source);
        }
        Verdict::Continue
    }

    fn on_response_head(
        &self,
        context: &mut Context<'_>,
        _: &mut StateSlot,
        head: &mut ResponseHead,
        _: bool,
    ) -> Verdict {
        self.0.response.apply_response(head, context.source);
        for level in context.configs::<Mutations>() {
            level.response.apply_response(head, context.source);
        }
        Verdict::Continue
    }
}
