//! Policies of RBAC, compiled, and the judgement by them; shared by the HTTP and the network filter.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::tree::{Node, Subject};
use crate::filter::remembered::Facts;
use crate::matching::{HeaderMatcher, PathMatcher, Range, TextMatcher};
use crate::plan::{
    AddressRange, HeaderMatch, PlanError, RbacPermission, RbacPrincipal, RbacRules, StringMatch,
};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Enforced and shadow rules.
#[derive(Debug)]
pub struct Rules {
    /// Names these rules and no others, for as long as the process lives.
    number: u64,
    /// Some questions are about the connection alone.
    remembers: bool,
    enforced: Option<Policies>,
    shadow: Option<Policies>,
}

/// `None` where there are no rules. A refusal names the policy that led to it, `none` if none matched.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdicts<'r> {
    pub enforced: Option<Result<(), &'r str>>,
    pub shadow: Option<bool>,
}

impl Verdicts<'_> {
    /// `%RESPONSE_CODE_DETAILS%` of a refusal. Blanks would break the log's columns.
    pub fn details(policy: &str) -> String {
        let policy: String =
            policy.chars().map(|letter| if letter.is_whitespace() { '_' } else { letter }).collect();
        format!("rbac_access_denied_matched_policy[{policy}]")
    }
}

#[derive(Debug)]
struct Policies {
    allow: bool,
    policies: Box<[Policy]>,
}

#[derive(Debug)]
struct Policy {
    name: Box<str>,
    /// Both a permission and a principal of it hold.
    is_meant: Node,
}

/// How deep a tree may be: it is walked by recursion.
const MAX_DEPTH: u32 = 32;

impl Rules {
    pub fn compile(enforced: Option<&RbacRules>, shadow: Option<&RbacRules>) -> Result<Self, PlanError> {
        let mut questions = 0;
        let mut compile = |rules: Option<&RbacRules>, path| {
            rules
                .map(|rules| Policies::compile(rules, &mut questions))
                .transpose()
                .map_err(|problem| problem.within(path))
        };
        let (enforced, shadow) = (compile(enforced, "rules")?, compile(shadow, "shadow_rules")?);
        Ok(Self { number: NEXT.fetch_add(1, Relaxed), remembers: questions > 0, enforced, shadow })
    }

    pub fn judge(&self, subject: &Subject<'_>) -> Verdicts<'_> {
        let remembered = subject.remembered.filter(|_| self.remembers);
        let known = remembered.map_or_else(Facts::default, |remembered| remembered.of(self.number));
        let mut facts = known;
        let verdicts = Verdicts {
            enforced: self.enforced.as_ref().map(|policies| policies.judge(subject, &mut facts)),
            shadow: self.shadow.as_ref().map(|policies| policies.judge(subject, &mut facts).is_ok()),
        };
        if let Some(remembered) = remembered
            && facts != known
        {
            remembered.keep(self.number, facts);
        }
        verdicts
    }
}

impl Policies {
    fn compile(plan: &RbacRules, questions: &mut usize) -> Result<Self, PlanError> {
        let compile = |(index, policy): (usize, &crate::plan::RbacPolicy)| {
            let within = |problem: PlanError| problem.within(&format!("policies[{index}]"));
            let permissions = list(&policy.permissions, "permissions", 0, permission).map_err(within)?;
            let principals = list(&policy.principals, "principals", 0, principal).map_err(within)?;
            let is_meant = Node::all(vec![Node::any_of(permissions), Node::any_of(principals)]);
            Ok(Policy { name: policy.name.as_str().into(), is_meant: is_meant.with_questions(questions) })
        };
        let policies = plan.policies.iter().enumerate().map(compile).collect::<Result<_, PlanError>>()?;
        Ok(Self { allow: plan.allow, policies })
    }

    fn judge(&self, subject: &Subject<'_>, facts: &mut Facts) -> Result<(), &str> {
        let matched = self.policies.iter().find(|policy| policy.is_meant.holds(subject, facts));
        match (self.allow, matched) {
            (true, Some(_)) | (false, None) => Ok(()),
            (true, None) => Err("none"),
            (false, Some(policy)) => Err(&policy.name),
        }
    }
}

type Compile<P> = fn(&P, u32) -> Result<Node, PlanError>;

fn list<P>(plans: &[P], path: &str, depth: u32, compile: Compile<P>) -> Result<Vec<Node>, PlanError> {
    if depth > MAX_DEPTH {
        return Err(PlanError::new(path, format!("rules nest deeper than {MAX_DEPTH}")));
    }
    let compile = |(index, plan)| {
        compile(plan, depth + 1).map_err(|problem| problem.within(&format!("{path}[{index}]")))
    };
    plans.iter().enumerate().map(compile).collect()
}

fn not<P>(plan: &P, depth: u32, compile: Compile<P>) -> Result<Node, PlanError> {
    let mut inner = list(std::slice::from_ref(plan), "of", depth, compile)?;
    Ok(Node::not(inner.pop().unwrap_or(Node::Any)))
}

fn text(plan: &StringMatch) -> Result<TextMatcher, PlanError> {
    TextMatcher::compile(plan).map_err(|problem| problem.within("matches"))
}

fn path(plan: &StringMatch) -> Result<Node, PlanError> {
    PathMatcher::compile(plan).map(Node::Path).map_err(|problem| problem.within("matches"))
}

fn header(plan: &HeaderMatch) -> Result<Node, PlanError> {
    HeaderMatcher::compile(plan).map(Node::Header).map_err(|problem| problem.within("matches"))
}

fn range(plan: &AddressRange) -> Result<Range, PlanError> {
    Range::compile(plan).map_err(|problem| problem.within("range"))
}

fn permission(plan: &RbacPermission, depth: u32) -> Result<Node, PlanError> {
    Ok(match plan {
        RbacPermission::Any {} => Node::Any,
        RbacPermission::All { of } => Node::all(list(of, "of", depth, permission)?),
        RbacPermission::AnyOf { of } => Node::any_of(list(of, "of", depth, permission)?),
        RbacPermission::Not { of } => not(of.as_ref(), depth, permission)?,
        RbacPermission::Header { matches } => header(matches)?,
        RbacPermission::Path { matches } => path(matches)?,
        RbacPermission::DestinationIp { range: plan } => Node::Destination(range(plan)?),
        RbacPermission::DestinationPort { port } => {
            Node::DestinationPort { start: u32::from(*port), end: u32::from(*port) + 1 }
        }
        RbacPermission::DestinationPortRange { start, end } => {
            Node::DestinationPort { start: u32::from(*start), end: *end }
        }
        RbacPermission::ServerName { matches } => Node::ServerName(text(matches)?),
    })
}

fn principal(plan: &RbacPrincipal, depth: u32) -> Result<Node, PlanError> {
    Ok(match plan {
        RbacPrincipal::Any {} => Node::Any,
        RbacPrincipal::All { of } => Node::all(list(of, "of", depth, principal)?),
        RbacPrincipal::AnyOf { of } => Node::any_of(list(of, "of", depth, principal)?),
        RbacPrincipal::Not { of } => not(of.as_ref(), depth, principal)?,
        RbacPrincipal::Authenticated { name } => {
            let name = name.as_ref().map(TextMatcher::compile).transpose();
            Node::Authenticated(name.map_err(|problem| problem.within("name"))?)
        }
        RbacPrincipal::DirectRemoteIp { range: plan } => Node::DirectRemote(range(plan)?),
        RbacPrincipal::RemoteIp { range: plan } => Node::Remote(range(plan)?),
        RbacPrincipal::Header { matches } => header(matches)?,
        RbacPrincipal::Path { matches } => path(matches)?,
    })
}
