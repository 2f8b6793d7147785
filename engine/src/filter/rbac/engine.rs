//! Policies of RBAC, compiled, and the judgement by them; shared by the HTTP and the network filter.

use std::net::SocketAddr;

use crate::matching::{HeaderMatcher, Range, TextMatcher, without_query};
use crate::message::{Peer, PeerCertificate, RequestHead};
use crate::plan::{
    AddressRange, HeaderMatch, PlanError, RbacPermission, RbacPrincipal, RbacRules, StringMatch,
};

/// Who asks for what. `request` is `None` on layer 4: matches on requests fail there.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub peer: &'a Peer,
    /// The client as trusted hops forwarded it.
    pub client: Option<SocketAddr>,
    pub request: Option<&'a RequestHead>,
}

/// Enforced and shadow rules.
#[derive(Debug)]
pub struct Rules {
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
    permission: Node,
    principal: Node,
}

/// Permissions and principals are trees of the same tests.
#[derive(Debug)]
enum Node {
    Any,
    All(Box<[Node]>),
    AnyOf(Box<[Node]>),
    Not(Box<Node>),
    Header(HeaderMatcher),
    Path(TextMatcher),
    Destination(Range),
    DestinationPort { start: u32, end: u32 },
    ServerName(TextMatcher),
    DirectRemote(Range),
    Remote(Range),
    Authenticated(Option<TextMatcher>),
}

/// How deep a tree may be: it is walked by recursion.
const MAX_DEPTH: u32 = 32;

impl Rules {
    pub fn compile(enforced: Option<&RbacRules>, shadow: Option<&RbacRules>) -> Result<Self, PlanError> {
        let compile = |rules: Option<&RbacRules>, path| {
            rules.map(Policies::compile).transpose().map_err(|problem| problem.within(path))
        };
        Ok(Self { enforced: compile(enforced, "rules")?, shadow: compile(shadow, "shadow_rules")? })
    }

    pub fn judge(&self, subject: &Subject<'_>) -> Verdicts<'_> {
        Verdicts {
            enforced: self.enforced.as_ref().map(|policies| policies.judge(subject)),
            shadow: self.shadow.as_ref().map(|policies| policies.judge(subject).is_ok()),
        }
    }
}

impl Policies {
    fn compile(plan: &RbacRules) -> Result<Self, PlanError> {
        let compile = |(index, policy): (usize, &crate::plan::RbacPolicy)| {
            let within = |problem: PlanError| problem.within(&format!("policies[{index}]"));
            let permissions = list(&policy.permissions, "permissions", 0, permission).map_err(within)?;
            let principals = list(&policy.principals, "principals", 0, principal).map_err(within)?;
            Ok(Policy {
                name: policy.name.as_str().into(),
                permission: Node::AnyOf(permissions),
                principal: Node::AnyOf(principals),
            })
        };
        let policies = plan.policies.iter().enumerate().map(compile).collect::<Result<_, PlanError>>()?;
        Ok(Self { allow: plan.allow, policies })
    }

    fn judge(&self, subject: &Subject<'_>) -> Result<(), &str> {
        let matched = self
            .policies
            .iter()
            .find(|policy| policy.permission.holds(subject) && policy.principal.holds(subject));
        match (self.allow, matched) {
            (true, Some(_)) | (false, None) => Ok(()),
            (true, None) => Err("none"),
            (false, Some(policy)) => Err(&policy.name),
        }
    }
}

type Compile<P> = fn(&P, u32) -> Result<Node, PlanError>;

fn list<P>(plans: &[P], path: &str, depth: u32, compile: Compile<P>) -> Result<Box<[Node]>, PlanError> {
    if depth > MAX_DEPTH {
        return Err(PlanError::new(path, format!("rules nest deeper than {MAX_DEPTH}")));
    }
    let compile = |(index, plan)| {
        compile(plan, depth + 1).map_err(|problem| problem.within(&format!("{path}[{index}]")))
    };
    plans.iter().enumerate().map(compile).collect()
}

fn not<P>(plan: &P, depth: u32, compile: Compile<P>) -> Result<Node, PlanError> {
    let mut inner = list(std::slice::from_ref(plan), "of", depth, compile)?.into_vec();
    Ok(Node::Not(Box::new(inner.pop().unwrap_or(Node::Any))))
}

fn text(plan: &StringMatch) -> Result<TextMatcher, PlanError> {
    TextMatcher::compile(plan).map_err(|problem| problem.within("matches"))
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
        RbacPermission::All { of } => Node::All(list(of, "of", depth, permission)?),
        RbacPermission::AnyOf { of } => Node::AnyOf(list(of, "of", depth, permission)?),
        RbacPermission::Not { of } => not(of.as_ref(), depth, permission)?,
        RbacPermission::Header { matches } => header(matches)?,
        RbacPermission::Path { matches } => Node::Path(text(matches)?),
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
        RbacPrincipal::All { of } => Node::All(list(of, "of", depth, principal)?),
        RbacPrincipal::AnyOf { of } => Node::AnyOf(list(of, "of", depth, principal)?),
        RbacPrincipal::Not { of } => not(of.as_ref(), depth, principal)?,
        RbacPrincipal::Authenticated { name } => {
            let name = name.as_ref().map(TextMatcher::compile).transpose();
            Node::Authenticated(name.map_err(|problem| problem.within("name"))?)
        }
        RbacPrincipal::DirectRemoteIp { range: plan } => Node::DirectRemote(range(plan)?),
        RbacPrincipal::RemoteIp { range: plan } => Node::Remote(range(plan)?),
        RbacPrincipal::Header { matches } => header(matches)?,
        RbacPrincipal::Path { matches } => Node::Path(text(matches)?),
    })
}

impl Node {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let inside =
            |range: &Range, at: Option<SocketAddr>| at.is_some_and(|address| range.contains(address.ip()));
        let destination = || subject.peer.original_destination.or(subject.peer.local);
        match self {
            Self::Any => true,
            Self::All(nodes) => nodes.iter().all(|node| node.holds(subject)),
            Self::AnyOf(nodes) => nodes.iter().any(|node| node.holds(subject)),
            Self::Not(node) => !node.holds(subject),
            Self::Header(matcher) => match subject.request {
                Some(head) => matcher.matches(head),
                None => matcher.accepts(None),
            },
            Self::Path(matcher) => {
                subject.request.is_some_and(|head| matcher.matches(without_query(head.path())))
            }
            Self::Destination(range) => inside(range, destination()),
            Self::DestinationPort { start, end } => {
                destination().is_some_and(|address| (*start..*end).contains(&u32::from(address.port())))
            }
            Self::ServerName(matcher) => {
                matcher.matches(subject.peer.server_name.as_deref().unwrap_or_default().as_bytes())
            }
            Self::DirectRemote(range) => inside(range, subject.peer.remote),
            Self::Remote(range) => inside(range, subject.client),
            Self::Authenticated(name) => subject
                .peer
                .certificate
                .as_deref()
                .is_some_and(|certificate| is_named(certificate, name.as_ref())),
        }
    }
}

/// A URI of the certificate, else a DNS name, else its subject matches.
fn is_named(certificate: &PeerCertificate, name: Option<&TextMatcher>) -> bool {
    let Some(name) = name else { return true };
    certificate
        .uris
        .iter()
        .chain(&certificate.dns_names)
        .chain([&certificate.subject])
        .any(|known| name.matches(known.as_bytes()))
}
