//! Permissions and principals as one tree of tests, brought into the form that is quickest to ask.
//!
//! Tests have no effects, so that their order is free: the cheapest are asked first. What depends on the connection alone is one
//! question of its facts (`Remembered`) and found once. Invariant: a tree in form holds for what the plan's tree holds for.

use std::net::SocketAddr;

use crate::filter::remembered::{Facts, Remembered};
use crate::matching::{HeaderMatcher, PathMatcher, Range, TextMatcher};
use crate::message::{Peer, PeerCertificate, RequestHead};

/// Who asks for what. `request` is `None` on layer 4: matches on requests fail there.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub peer: &'a Peer,
    /// The client as trusted hops forwarded it.
    pub client: Option<SocketAddr>,
    pub request: Option<&'a RequestHead>,
    /// Of the peer's connection.
    pub remembered: Option<&'a Remembered>,
}

#[derive(Debug)]
pub enum Node {
    Any,
    All(Box<[Node]>),
    AnyOf(Box<[Node]>),
    Not(Box<Node>),
    Header(HeaderMatcher),
    Path(PathMatcher),
    Destination(Range),
    DestinationPort {
        start: u32,
        end: u32,
    },
    ServerName(TextMatcher),
    DirectRemote(Range),
    Remote(Range),
    Authenticated(Option<TextMatcher>),
    /// The answer is the same for all requests of a connection.
    Constant {
        question: u8,
        node: Box<Node>,
    },
}

/// Asking the facts costs about as much as this; cheaper tests are made each time.
const WORTH_REMEMBERING: u32 = 10;

impl Node {
    pub fn all(nodes: Vec<Node>) -> Self {
        let mut kept = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node {
                Self::Any => {}
                Self::All(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        Self::joined(kept, Self::All, Self::Any)
    }

    pub fn any_of(nodes: Vec<Node>) -> Self {
        let mut kept = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node {
                Self::Any => return Self::Any,
                Self::AnyOf(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        Self::joined(kept, Self::AnyOf, Self::never())
    }

    pub fn not(node: Node) -> Self {
        match node {
            Self::Not(inner) => *inner,
            Self::Any => Self::never(),
            other => Self::Not(Box::new(other)),
        }
    }

    fn never() -> Self {
        Self::AnyOf(Box::default())
    }

    fn joined(mut nodes: Vec<Node>, join: fn(Box<[Node]>) -> Self, empty: Self) -> Self {
        nodes.sort_by_key(Self::cost);
        match nodes.pop() {
            None => empty,
            Some(only) if nodes.is_empty() => only,
            Some(last) => {
                nodes.push(last);
                join(nodes.into())
            }
        }
    }

    /// Makes a question of each largest part that depends on the connection alone. `questions`: asked so far.
    pub fn with_questions(self, questions: &mut usize) -> Self {
        let each = |nodes: Box<[Node]>, questions: &mut usize| -> Vec<Node> {
            nodes.into_vec().into_iter().map(|node| node.with_questions(questions)).collect()
        };
        if self.is_constant() {
            let question = u8::try_from(*questions).ok().filter(|_| *questions < Facts::ROOM);
            return match question {
                Some(question) if self.cost() >= WORTH_REMEMBERING => {
                    *questions += 1;
                    Self::Constant { question, node: Box::new(self) }
                }
                _ => self,
            };
        }
        match self {
            Self::All(nodes) => {
                let (constant, rest): (Vec<_>, Vec<_>) =
                    nodes.into_vec().into_iter().partition(Self::is_constant);
                let constant = Self::all(constant).with_questions(questions);
                let rest = Self::all(each(rest.into(), questions));
                Self::all(vec![constant, rest])
            }
            Self::AnyOf(nodes) => {
                let (constant, rest): (Vec<_>, Vec<_>) =
                    nodes.into_vec().into_iter().partition(Self::is_constant);
                let constant = Self::any_of(constant).with_questions(questions);
                let rest = Self::any_of(each(rest.into(), questions));
                Self::any_of(vec![constant, rest])
            }
            Self::Not(node) => Self::not(node.with_questions(questions)),
            other => other,
        }
    }

    /// The peer alone tells; that of a connection never changes.
    fn is_constant(&self) -> bool {
        match self {
            Self::All(nodes) | Self::AnyOf(nodes) => nodes.iter().all(Self::is_constant),
            Self::Not(node) => node.is_constant(),
            Self::Header(_) | Self::Path(_) | Self::Remote(_) => false,
            Self::Any
            | Self::Destination(_)
            | Self::DestinationPort { .. }
            | Self::ServerName(_)
            | Self::DirectRemote(_)
            | Self::Authenticated(_)
            | Self::Constant { .. } => true,
        }
    }

    /// How dear a test is, by and large in nanoseconds.
    fn cost(&self) -> u32 {
        let sum = |nodes: &[Node]| nodes.iter().map(Self::cost).fold(1, u32::saturating_add);
        match self {
            Self::Any | Self::Constant { .. } => 1,
            Self::All(nodes) | Self::AnyOf(nodes) => sum(nodes),
            Self::Not(node) => node.cost(),
            Self::Header(matcher) => matcher.cost(),
            Self::Path(matcher) => matcher.cost(),
            Self::DestinationPort { .. } => 3,
            Self::Destination(_) | Self::DirectRemote(_) | Self::Remote(_) => 10,
            Self::ServerName(matcher) => 10_u32.saturating_add(matcher.cost()),
            Self::Authenticated(None) => 3,
            Self::Authenticated(Some(matcher)) => 20_u32.saturating_add(matcher.cost()),
        }
    }

    pub fn holds(&self, subject: &Subject<'_>, facts: &mut Facts) -> bool {
        let inside =
            |range: &Range, at: Option<SocketAddr>| at.is_some_and(|address| range.contains(address.ip()));
        let destination = || subject.peer.original_destination.or(subject.peer.local);
        match self {
            Self::Any => true,
            Self::All(nodes) => nodes.iter().all(|node| node.holds(subject, facts)),
            Self::AnyOf(nodes) => nodes.iter().any(|node| node.holds(subject, facts)),
            Self::Not(node) => !node.holds(subject, facts),
            Self::Header(matcher) => match subject.request {
                Some(head) => matcher.matches(head),
                None => matcher.accepts(None),
            },
            Self::Path(matcher) => subject.request.is_some_and(|head| matcher.matches(head.path())),
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
            Self::Constant { question, node } => {
                // What is inside asks no facts: it is the largest part of its kind.
                facts.answer(*question, || node.holds(subject, &mut Facts::default()))
            }
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
