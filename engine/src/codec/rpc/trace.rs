//! Where a protocol tells a call's trace, and how one is begun. Who looks and decides is `telemetry`.

use crate::message::{Name, NameId, NameSet, RequestHead};
use crate::plan::{PlanError, RpcLimits, RpcTrace, RpcTraceValue};

/// The longest value that is made here, and what stands around name and value, bytes.
const LONGEST: usize = 55;
const AROUND: usize = 16;

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
    /// Pairs and bytes that a call may have in front of its body so that what begins a trace can be written there, too.
    most_pairs: u32,
    most_in_front: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceValue {
    TraceId,
    SpanId,
    Context,
    Sampled,
    Text(Box<[u8]>),
}

impl TraceValue {
    fn length(&self) -> usize {
        if let Self::Text(text) = self { text.len() } else { LONGEST }
    }
}

impl Trace {
    pub(super) fn compile(plan: &RpcTrace, limits: &RpcLimits) -> Result<Self, PlanError> {
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
        let bytes: usize =
            begin.iter().map(|(name, value)| name.as_bytes().len() + value.length() + AROUND).sum();
        let known: Vec<_> = begin.iter().map(|(name, _)| name.id).filter(|id| *id != NameId::OTHER).collect();
        Ok(Self {
            id: name(&plan.id),
            context: name(&plan.context),
            sampled: name(&plan.sampled),
            begin,
            spellings: plan.begin.iter().map(|header| header.name.as_bytes().into()).collect(),
            written: NameSet::of(&known),
            most_pairs: limits.headers.saturating_sub(plan.begin.len() as u32),
            most_in_front: limits.head.saturating_sub(bytes as u64),
        })
    }

    /// Whether what begins a trace fits beside what the call brings: one that does not leaves as it came.
    pub fn has_room(&self, head: &RequestHead) -> bool {
        head.frame.is_none_or(|frame| {
            u32::from(frame.pairs) <= self.most_pairs && u64::from(frame.bytes.length) <= self.most_in_front
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
