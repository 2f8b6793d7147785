//! Which filter chain takes a connection: `envoy.config.listener.v3.FilterChainMatch` in Envoy's order.
//!
//! Criterion by criterion (destination port, destination address, server name, transport protocol, application protocols,
//! direct source, kind of source, source address, source port) the chains with the most specific match stay; there is no way
//! back: a chain that matched better on an earlier criterion wins or nobody does.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::matching::Range;
use crate::plan::{ChainMatch, PlanError};

/// What is known of a connection when its chain is looked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChainInput<'a> {
    /// Where the client meant to go; `None` for Unix sockets.
    pub destination: Option<SocketAddr>,
    /// Server name of the ClientHello.
    pub server_name: Option<&'a str>,
    /// A ClientHello was seen.
    pub is_tls: bool,
    /// ALPN of the ClientHello, or what the first bytes showed (`http/1.1`, `h2c`).
    pub application_protocols: &'a [String],
    /// Address of the connection's peer.
    pub direct_source: Option<SocketAddr>,
    /// Address of the client (the peer's unless a proxy's header told another).
    pub source: Option<SocketAddr>,
}

/// Filter chain matches of one listener, by the chains' indices.
#[derive(Debug)]
pub struct ChainTable {
    chains: Box<[Criteria]>,
    by_port: HashMap<u16, Group>,
    any_port: Group,
}

#[derive(Debug)]
struct Criteria {
    destination: Box<[Range]>,
    names: Box<[Box<str>]>,
    /// `None`: any; else TLS or not.
    is_tls: Option<bool>,
    application_protocols: Box<[Box<str>]>,
    direct_source: Box<[Range]>,
    source_type: SourceType,
    source: Box<[Range]>,
    source_ports: Box<[u16]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceType {
    Any,
    SameIpOrLoopback,
    External,
}

/// Chains of one destination port.
#[derive(Debug, Default)]
struct Group {
    members: Vec<u32>,
    /// Where no member looks at the destination address: members by server name (`.suffix` for `*.suffix`, empty for none),
    /// so that a gateway with thousands of names finds one at once.
    by_name: Option<HashMap<Box<str>, Vec<u32>>>,
}

impl ChainTable {
    /// Refuses two chains that one connection could match equally well.
    pub fn compile(plans: &[ChainMatch]) -> Result<Self, PlanError> {
        let compile = |(index, plan)| {
            Criteria::compile(plan)
                .map_err(|problem: PlanError| problem.within(&format!("chains[{index}].matches")))
        };
        let chains = plans.iter().enumerate().map(compile).collect::<Result<Box<[_]>, _>>()?;
        let (mut by_port, mut any_port) = (HashMap::<u16, Group>::new(), Group::default());
        for (index, plan) in plans.iter().enumerate() {
            let group = match plan.destination_port {
                Some(port) => by_port.entry(port).or_default(),
                None => &mut any_port,
            };
            group.members.push(index as u32);
        }
        let mut made = Self { chains, by_port, any_port };
        made.refuse_overlaps()?;
        for group in made.by_port.values_mut().chain([&mut made.any_port]) {
            group.index_names(&made.chains);
        }
        Ok(made)
    }

    /// Index of the chain; `None`: the listener's default chain, or nobody, takes the connection.
    pub fn find(&self, input: &ChainInput<'_>) -> Option<usize> {
        let port = input.destination.map(|address| address.port());
        let group = port.and_then(|port| self.by_port.get(&port)).unwrap_or(&self.any_port);
        let mut left = match &group.by_name {
            Some(by_name) => find_name(by_name, input.server_name.unwrap_or_default()).to_vec(),
            None => {
                let mut left = group.members.clone();
                let ip = input.destination.map(|address| address.ip());
                self.narrow(&mut left, |chain| range_rank(&chain.destination, ip));
                self.narrow(&mut left, |chain| {
                    name_rank(&chain.names, input.server_name.unwrap_or_default())
                });
                left
            }
        };
        let (direct, source) = (input.direct_source.map(|at| at.ip()), input.source.map(|at| at.ip()));
        self.narrow(&mut left, |chain| match chain.is_tls {
            None => Some(0),
            Some(wanted) => (wanted == input.is_tls).then_some(1),
        });
        self.narrow(&mut left, |chain| chain.protocol_rank(input.application_protocols));
        self.narrow(&mut left, |chain| range_rank(&chain.direct_source, direct));
        self.narrow(&mut left, |chain| chain.source_type_rank(source, input.destination.map(|at| at.ip())));
        self.narrow(&mut left, |chain| range_rank(&chain.source, source));
        self.narrow(&mut left, |chain| match input.source {
            _ if chain.source_ports.is_empty() => Some(0),
            Some(address) => chain.source_ports.contains(&address.port()).then_some(1),
            None => None,
        });
        left.first().map(|&index| index as usize)
    }

    /// Keeps those of the highest rank; `None` does not match at all.
    fn narrow(&self, left: &mut Vec<u32>, rank: impl Fn(&Criteria) -> Option<usize>) {
        let rank = |index: &u32| self.chains.get(*index as usize).and_then(&rank);
        match left.iter().filter_map(rank).max() {
            Some(best) => left.retain(|index| rank(index) == Some(best)),
            None => left.clear(),
        }
    }

    fn refuse_overlaps(&self) -> Result<(), PlanError> {
        for group in self.by_port.values().chain([&self.any_port]) {
            let members: Vec<_> = group
                .members
                .iter()
                .filter_map(|&index| Some((index, self.chains.get(index as usize)?)))
                .collect();
            for (position, (_, chain)) in members.iter().enumerate() {
                if let Some((other, _)) =
                    members.iter().skip(position + 1).find(|(_, other)| chain.overlaps(other))
                {
                    let (first, _) = members.get(position).copied().unwrap_or((0, chain));
                    return Err(PlanError::new(
                        format!("chains[{other}].matches"),
                        format!("matches the same connections as chains[{first}]"),
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Group {
    fn index_names(&mut self, chains: &[Criteria]) {
        let criteria = |index: &u32| chains.get(*index as usize);
        if self.members.iter().filter_map(criteria).any(|chain| !chain.destination.is_empty()) {
            return;
        }
        let mut by_name = HashMap::<Box<str>, Vec<u32>>::new();
        for index in &self.members {
            let names = criteria(index).map_or(&[][..], |chain| &chain.names);
            for name in names {
                by_name.entry(name.clone()).or_default().push(*index);
            }
            if names.is_empty() {
                by_name.entry("".into()).or_default().push(*index);
            }
        }
        self.by_name = Some(by_name);
    }
}

/// Exact, then longest suffix, then those without names.
fn find_name<'t>(by_name: &'t HashMap<Box<str>, Vec<u32>>, name: &str) -> &'t [u32] {
    // A name that begins with a dot is no name, though it looks like the key of a suffix.
    let exact = by_name.get(name).filter(|_| !name.is_empty() && !name.starts_with('.'));
    let suffix = || {
        let dots = name.match_indices('.').map(|(at, _)| at).filter(|&at| at > 0);
        dots.filter_map(|at| name.get(at..)).find_map(|suffix| by_name.get(suffix))
    };
    exact.or_else(suffix).or_else(|| by_name.get("")).map_or(&[], Vec::as_slice)
}

fn name_rank(names: &[Box<str>], name: &str) -> Option<usize> {
    if names.is_empty() {
        return Some(0);
    }
    let rank = |wanted: &str| match wanted.strip_prefix('.') {
        Some(_) => (name.len() > wanted.len() && name.ends_with(wanted)).then_some(wanted.len()),
        None => (wanted == name).then_some(usize::MAX),
    };
    names.iter().filter_map(|wanted| rank(wanted)).max()
}

/// No ranges are the whole address space; an address that is not known is in no range.
fn range_rank(ranges: &[Range], ip: Option<IpAddr>) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    let ip = ip?;
    ranges.iter().filter(|range| range.contains(ip)).map(|range| usize::from(range.prefix())).max()
}

impl Criteria {
    fn compile(plan: &ChainMatch) -> Result<Self, PlanError> {
        let names = plan.server_names.iter().enumerate().map(|(index, name)| {
            let lower = name.to_ascii_lowercase();
            let bare = lower.strip_prefix("*.").map(|suffix| format!(".{suffix}"));
            match bare.unwrap_or(lower) {
                bare if bare.contains('*') || bare.is_empty() || bare == "." => Err(PlanError::new(
                    format!("server_names[{index}]"),
                    format!("\"{name}\" is neither a name nor *.suffix"),
                )),
                bare => Ok(bare.into()),
            }
        });
        Ok(Self {
            destination: Range::compile_all(&plan.destination_ranges, "destination_ranges")?,
            names: names.collect::<Result<_, _>>()?,
            is_tls: match plan.transport_protocol.as_str() {
                "" => None,
                "tls" => Some(true),
                "raw_buffer" => Some(false),
                other => {
                    let reason = format!("\"{other}\" is neither tls nor raw_buffer");
                    return Err(PlanError::new("transport_protocol", reason));
                }
            },
            application_protocols: plan
                .application_protocols
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            direct_source: Range::compile_all(&plan.direct_source_ranges, "direct_source_ranges")?,
            source_type: match plan.source_type.as_str() {
                "" | "any" => SourceType::Any,
                "same_ip_or_loopback" => SourceType::SameIpOrLoopback,
                "external" => SourceType::External,
                other => {
                    return Err(PlanError::new("source_type", format!("\"{other}\" is no kind of source")));
                }
            },
            source: Range::compile_all(&plan.source_ranges, "source_ranges")?,
            source_ports: plan.source_ports.clone().into(),
        })
    }

    fn protocol_rank(&self, offered: &[String]) -> Option<usize> {
        if self.application_protocols.is_empty() {
            return Some(0);
        }
        // The client's first that a chain wants decides.
        let wanted = |offer: &String| self.application_protocols.iter().any(|known| **known == **offer);
        offered.iter().position(wanted).map(|place| offered.len() - place)
    }

    fn source_type_rank(&self, source: Option<IpAddr>, destination: Option<IpAddr>) -> Option<usize> {
        // Both ends of a Unix socket are here.
        let is_local = source.is_none_or(|ip| {
            ip.to_canonical().is_loopback()
                || destination.is_some_and(|other| other.to_canonical() == ip.to_canonical())
        });
        match self.source_type {
            SourceType::Any => Some(0),
            SourceType::SameIpOrLoopback => is_local.then_some(1),
            SourceType::External => (!is_local).then_some(1),
        }
    }

    /// Some connection ranks equally with both on every criterion. The ports are known to be equal.
    fn overlaps(&self, other: &Self) -> bool {
        same_ranges(&self.destination, &other.destination)
            && shares(&self.names, &other.names)
            && self.is_tls == other.is_tls
            && shares(&self.application_protocols, &other.application_protocols)
            && same_ranges(&self.direct_source, &other.direct_source)
            && self.source_type == other.source_type
            && same_ranges(&self.source, &other.source)
            && shares(&self.source_ports, &other.source_ports)
    }
}

/// Both empty, or one element in common.
fn shares<T: PartialEq>(left: &[T], right: &[T]) -> bool {
    (left.is_empty() && right.is_empty()) || left.iter().any(|one| right.contains(one))
}

fn same_ranges(left: &[Range], right: &[Range]) -> bool {
    let has_all = |ranges: &[Range]| ranges.is_empty() || ranges.iter().any(|range| range.prefix() == 0);
    shares(left, right) || (left.is_empty() || right.is_empty()) && has_all(left) && has_all(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::AddressRange;
    use proptest::prelude::*;

    fn range(text: &str) -> AddressRange {
        let (ip, prefix) = text.split_once('/').unwrap();
        AddressRange { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    fn at(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    fn found(chains: &[ChainMatch], input: ChainInput<'_>) -> Option<usize> {
        ChainTable::compile(chains).unwrap().find(&input)
    }

    fn input() -> ChainInput<'static> {
        ChainInput {
            destination: at("10.1.2.3:80"),
            direct_source: at("10.9.9.9:5000"),
            source: at("10.9.9.9:5000"),
            ..ChainInput::default()
        }
    }

    fn matching(change: impl FnOnce(&mut ChainMatch)) -> ChainMatch {
        let mut made = ChainMatch::default();
        change(&mut made);
        made
    }

    #[test]
    fn an_earlier_criterion_wins_and_there_is_no_way_back() {
        let port = matching(|chain| {
            chain.destination_port = Some(80);
            chain.transport_protocol = "tls".into();
        });
        let any = ChainMatch::default();
        // The port leads to a chain that wants TLS: the chain for any port is not tried.
        assert_eq!(found(&[any.clone(), port.clone()], input()), None);
        assert_eq!(found(&[any.clone(), port.clone()], ChainInput { is_tls: true, ..input() }), Some(1));
        let other = ChainInput { destination: at("10.1.2.3:81"), ..input() };
        assert_eq!(found(&[any, port], other), Some(0));
    }

    #[test]
    fn addresses_match_by_their_longest_prefix() {
        let chains = [
            matching(|chain| chain.destination_ranges = vec![range("10.0.0.0/8")]),
            matching(|chain| chain.destination_ranges = vec![range("10.1.0.0/16"), range("11.0.0.0/8")]),
            matching(|_| {}),
        ];
        for (destination, expected) in [
            ("10.1.2.3:80", Some(1)),
            ("10.2.2.3:80", Some(0)),
            ("11.1.1.1:80", Some(1)),
            ("12.1.1.1:80", Some(2)),
            ("[::1]:80", Some(2)),
        ] {
            let input = ChainInput { destination: at(destination), ..input() };
            assert_eq!(found(&chains, input), expected, "{destination}");
        }
        assert_eq!(found(&chains, ChainInput::default()), Some(2));
    }

    #[test]
    fn server_names_match_exactly_then_by_suffix() {
        let named = |names: &[&str]| {
            matching(|chain| chain.server_names = names.iter().map(|n| (*n).into()).collect())
        };
        let chains = [named(&["a.b.c"]), named(&["*.b.c", "x"]), named(&["*.c"]), named(&[])];
        for (name, expected) in
            [("a.b.c", 0), ("z.b.c", 1), ("y.z.b.c", 1), ("b.c", 2), ("c", 3), ("x", 1), ("", 3), (".b.c", 2)]
        {
            assert_eq!(
                found(&chains, ChainInput { server_name: Some(name), ..input() }),
                Some(expected),
                "{name}"
            );
        }
        for bad in ["*", "a.*", "*.*.c", ""] {
            assert!(ChainTable::compile(&[named(&[bad])]).is_err(), "{bad}");
        }
    }

    #[test]
    fn istios_permissive_inbound_chains() {
        let protocols = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let istio = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];
        let chains = [
            matching(|chain| {
                (chain.transport_protocol, chain.application_protocols) =
                    ("tls".into(), protocols(&istio[2..]));
            }),
            matching(|chain| {
                (chain.transport_protocol, chain.application_protocols) =
                    ("raw_buffer".into(), protocols(&["http/1.1", "h2c"]));
            }),
            matching(|chain| {
                (chain.transport_protocol, chain.application_protocols) =
                    ("tls".into(), protocols(&istio[..2]));
            }),
            matching(|chain| chain.transport_protocol = "raw_buffer".into()),
            matching(|chain| chain.transport_protocol = "tls".into()),
        ];
        for (is_tls, offered, expected) in [
            (true, &["istio-peer-exchange", "istio-h2"][..], 2),
            (true, &["istio-h2"], 0),
            (true, &["h2"], 4),
            (true, &[], 4),
            (false, &["http/1.1"], 1),
            (false, &[], 3),
        ] {
            let offered = protocols(offered);
            let input = ChainInput { is_tls, application_protocols: &offered, ..input() };
            assert_eq!(found(&chains, input), Some(expected), "{is_tls} {offered:?}");
        }
    }

    #[test]
    fn sources_match_by_kind_range_and_port() {
        let chains = [
            matching(|chain| chain.source_type = "same_ip_or_loopback".into()),
            matching(|chain| chain.source_ranges = vec![range("10.9.0.0/16")]),
            matching(|chain| {
                (chain.source_ranges, chain.source_ports) = (vec![range("10.9.0.0/16")], vec![7, 8]);
            }),
            matching(|chain| chain.direct_source_ranges = vec![range("10.9.9.9/32")]),
        ];
        let source = |text: &str| ChainInput { direct_source: at("1.1.1.1:1"), source: at(text), ..input() };
        for (input, expected) in [
            (source("127.0.0.1:1"), Some(0)),
            (source("10.1.2.3:1"), Some(0)),
            (source("10.9.1.1:7"), Some(2)),
            (source("10.9.1.1:9"), Some(1)),
            (source("10.8.1.1:9"), None),
            (input(), Some(3)),
        ] {
            assert_eq!(found(&chains, input), expected, "{input:?}");
        }
        let external = [matching(|chain| chain.source_type = "external".into())];
        assert_eq!(found(&external, source("127.0.0.1:1")), None);
        assert_eq!(found(&external, source("10.8.1.1:1")), Some(0));
    }

    #[test]
    fn chains_that_match_alike_are_refused() {
        let named = |names: &[&str]| {
            matching(|chain| chain.server_names = names.iter().map(|n| (*n).into()).collect())
        };
        let problem = ChainTable::compile(&[named(&["a"]), named(&["b"]), named(&["c", "a"])]).unwrap_err();
        assert_eq!(problem.path, "chains[2].matches");
        let zero = matching(|chain| chain.source_ranges = vec![range("0.0.0.0/0")]);
        assert!(ChainTable::compile(&[ChainMatch::default(), zero]).is_err());
        assert!(ChainTable::compile(&[ChainMatch::default(), named(&["a"])]).is_ok());
    }

    proptest! {
        #[test]
        fn names_by_index_are_names_by_rank(
            sets in proptest::collection::vec(
                proptest::collection::hash_set(r"(\*\.)?[ab](\.[ab]){0,2}", 0..3), 1..6),
            name in r"([ab](\.[ab]){0,3})?",
        ) {
            let chains: Vec<ChainMatch> =
                sets.into_iter().map(|names| matching(|chain| chain.server_names = names.into_iter().collect())).collect();
            let Ok(indexed) = ChainTable::compile(&chains) else { return Ok(()) };
            let mut scanned = ChainTable::compile(&chains).unwrap();
            scanned.any_port.by_name = None;
            let input = ChainInput { server_name: Some(&name), ..input() };
            prop_assert_eq!(indexed.find(&input), scanned.find(&input));
        }
    }
}
