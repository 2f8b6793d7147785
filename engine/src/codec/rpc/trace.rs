//! Where a protocol tells a call's trace, and how one is begun. Who looks and decides is `telemetry`.

use crate::message::{Name, NameId, NameSet};
use crate::plan::{PlanError, RpcTrace, RpcTraceValue};

/// Headers that tell a trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its text names the trace.
    pub id: Option<Name>,
    /// It holds a W3C trace context.
    pub context: Option<Name>,
    /// It says whether the trace is sampled.
    pub sampled: Option<Name>,
    /// What a call without a trace gets.
    pub begin: Box<[(Name, TraceValue)]>,
    /// Names of `begin` as they are written.
    spellings: Box<[Box<[u8]>]>,
    /// Those that HTTP knows too: they are written nevertheless.
    written: NameSet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceValue {
    TraceId,
    SpanId,
    Context,
    Sampled,
    Text(Box<[u8]>),
}

impl Trace {
    pub(super) fn compile(plan: &RpcTrace) -> Result<Self, PlanError> {
        if plan.id.is_none() && plan.context.is_none() {
            return Err(PlanError::new("", "a trace is told by an id or a context"));
        }
        let names = [&plan.id, &plan.context, &plan.sampled].into_iter().flatten();
        for name in names.chain(plan.begin.iter().map(|header| &header.name)) {
            if name.is_empty() || name.len() > usize::from(u16::MAX) {
                return Err(PlanError::new("", format!("{name:?} is no name of a header")));
            }
        }
        let name = |given: &Option<String>| given.as_deref().map(Name::new);
        let begin: Box<[_]> = plan
            .begin
            .iter()
            .map(|header| {
                let value = match &header.value {
                    RpcTraceValue::TraceId {} => TraceValue::TraceId,
                    RpcTraceValue::SpanId {} => TraceValue::SpanId,
                    RpcTraceValue::Context {} => TraceValue::Context,
                    RpcTraceValue::Sampled {} => TraceValue::Sampled,
                    RpcTraceValue::Text { text } => TraceValue::Text(text.as_bytes().into()),
                };
                (Name::new(&header.name), value)
            })
            .collect();
        let known: Vec<_> = begin.iter().map(|(name, _)| name.id).filter(|id| *id != NameId::OTHER).collect();
        Ok(Self {
            id: name(&plan.id),
            context: name(&plan.context),
            sampled: name(&plan.sampled),
            begin,
            spellings: plan.begin.iter().map(|header| header.name.as_bytes().into()).collect(),
            written: NameSet::of(&known),
        })
    }

    /// Whether a field of this name belongs into frames although HTTP knows it.
    pub(super) fn writes(&self, id: NameId) -> bool {
        id != NameId::OTHER && self.written.contains(id)
    }

    /// How a name that was lowered is written.
    pub(super) fn spelling(&self, name: &[u8]) -> Option<&[u8]> {
        self.spellings.iter().map(AsRef::as_ref).find(|known| known.eq_ignore_ascii_case(name))
    }
}
