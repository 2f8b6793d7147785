//! Names of a STRICT_DNS cluster: what to ask the resolver and when, and the endpoints that its answers make.
//!
//! In: time and answers. Out: names to look up, a membership. A failed look-up leaves the addresses that were known; the
//! cluster counts as settled once every name has had an answer, good or bad.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::address::Remote;
use super::endpoint::Spec;
use super::intern::Interner;
use super::set::{LocalitySpec, Membership};
use crate::message::Tick;
use crate::plan::{self, Address, LocalityEndpoints, PlanError};

/// What the resolver says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameAnswer {
    /// `ttl` in milliseconds, if it is known.
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: Option<u64>,
    },
    Failed,
}

#[derive(Debug, Default)]
struct Host {
    /// Sorted; `None` before the first good answer.
    addresses: Option<BTreeSet<IpAddr>>,
    answered: bool,
    pending: bool,
    due: Tick,
}

/// The names of one cluster.
#[derive(Debug)]
pub struct Names {
    localities: Vec<LocalityEndpoints>,
    hosts: BTreeMap<String, Host>,
    refresh: u64,
    respect_ttl: bool,
}

/// Milliseconds: a refresh or TTL below that would make us a nuisance.
const SHORTEST: u64 = 1_000;

impl Names {
    /// `former`: the names of the version before, whose answers are still good.
    pub fn new(
        localities: &[LocalityEndpoints],
        refresh: u64,
        respect_ttl: bool,
        former: Option<Self>,
    ) -> Self {
        let mut known = former.map(|former| former.hosts).unwrap_or_default();
        let names =
            localities.iter().flat_map(|locality| &locality.endpoints).filter_map(|endpoint| match &endpoint
                .address
            {
                Address::Name { host, .. } => Some(host.clone()),
                _ => None,
            });
        let mut hosts = BTreeMap::new();
        for name in names {
            let mut host = known.remove(&name).unwrap_or_default();
            // The answer to a question of the version before may still come, but nobody need wait for it.
            host.pending = false;
            hosts.entry(name).or_insert(host);
        }
        Self { localities: localities.to_vec(), hosts, refresh: refresh.max(SHORTEST), respect_ttl }
    }

    /// Names to look up now; each is asked for once until it is `answered`.
    pub fn due(&mut self, now: Tick) -> Vec<String> {
        let mut due = Vec::new();
        for (name, host) in &mut self.hosts {
            if !host.pending && host.due <= now {
                host.pending = true;
                due.push(name.clone());
            }
        }
        due
    }

    /// When `due` has something next; `None`: not before an answer.
    pub fn deadline(&self) -> Option<Tick> {
        self.hosts.values().filter(|host| !host.pending).map(|host| host.due).min()
    }

    /// True if the membership is another now.
    pub fn answered(&mut self, name: &str, answer: NameAnswer, now: Tick) -> bool {
        let Some(host) = self.hosts.get_mut(name) else { return false };
        (host.pending, host.answered) = (false, true);
        let (wait, addresses) = match answer {
            NameAnswer::Addresses { addresses, ttl } => {
                let wait = ttl.filter(|_| self.respect_ttl).unwrap_or(self.refresh);
                (wait.max(SHORTEST), Some(addresses.into_iter().collect()))
            }
            NameAnswer::Failed => (self.refresh, None),
        };
        host.due = now.after_milliseconds(wait);
        match addresses {
            Some(addresses) if host.addresses.as_ref() != Some(&addresses) => {
                host.addresses = Some(addresses);
                true
            }
            _ => false,
        }
    }

    /// Every name has had an answer.
    pub fn is_settled(&self) -> bool {
        self.hosts.values().all(|host| host.answered)
    }

    /// The endpoints as far as they are known. Each address of a name is an endpoint with the name's weight.
    pub fn membership(&self, interner: &mut Interner) -> Result<Membership, PlanError> {
        let mut localities = Vec::with_capacity(self.localities.len());
        for (index, locality) in self.localities.iter().enumerate() {
            let mut endpoints = Vec::new();
            for (number, endpoint) in locality.endpoints.iter().enumerate() {
                for spec in self.specs(endpoint, interner) {
                    let spec = spec.map_err(|problem| {
                        problem.within(&format!("localities[{index}].endpoints[{number}]"))
                    })?;
                    endpoints.push(Arc::new(spec));
                }
            }
            localities.push(LocalitySpec {
                locality: interner.locality(&locality.locality),
                priority: locality.priority,
                weight: locality.weight,
                endpoints: endpoints.into(),
            });
        }
        Ok(Membership { localities: localities.into(), ..Membership::default() })
    }

    fn specs(&self, endpoint: &plan::Endpoint, interner: &mut Interner) -> Vec<Result<Spec, PlanError>> {
        let Address::Name { host, port } = &endpoint.address else {
            return vec![Spec::compile(endpoint, None, interner)];
        };
        let addresses = self.hosts.get(host).and_then(|host| host.addresses.as_ref());
        let named = if endpoint.hostname.is_empty() {
            &plan::Endpoint { hostname: host.clone(), ..endpoint.clone() }
        } else {
            endpoint
        };
        addresses
            .into_iter()
            .flatten()
            .map(|&ip| Spec::compile(named, Some(Remote::Socket(SocketAddr::new(ip, *port))), interner))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn named(host: &str) -> plan::Endpoint {
        plan::Endpoint { address: Address::Name { host: host.into(), port: 8080 }, ..endpoint_plan(0) }
    }

    fn names(hosts: &[&str], respect_ttl: bool) -> Names {
        let endpoints = hosts.iter().map(|host| named(host)).chain([endpoint_plan(9)]).collect();
        Names::new(&[locality_plan(0, endpoints)], 5_000, respect_ttl, None)
    }

    fn at(milliseconds: u64) -> Tick {
        Tick::default().after_milliseconds(milliseconds)
    }

    fn good(addresses: &[&str], ttl: Option<u64>) -> NameAnswer {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        NameAnswer::Addresses { addresses, ttl }
    }

    fn addresses(names: &Names) -> Vec<String> {
        let membership = names.membership(&mut Interner::default()).unwrap();
        membership.specs().map(|spec| format!("{} {}", spec.address, spec.hostname)).collect()
    }

    #[test]
    fn every_address_of_a_name_is_an_endpoint() {
        let mut names = names(&["a.example", "b.example"], false);
        assert_eq!(names.due(at(0)), ["a.example", "b.example"]);
        assert_eq!(names.due(at(0)), [""; 0]);
        assert!(names.answered("a.example", good(&["10.1.0.2", "10.1.0.1", "10.1.0.2"], None), at(10)));
        assert!(!names.is_settled());
        assert!(!names.answered("b.example", NameAnswer::Failed, at(10)));
        assert!(names.is_settled(), "a failure is an answer");
        assert_eq!(addresses(&names), ["10.1.0.1:8080 a.example", "10.1.0.2:8080 a.example", "10.0.0.9:80 "]);
    }

    #[test]
    fn a_failure_keeps_what_was_known() {
        let mut names = names(&["a.example"], false);
        names.due(at(0));
        names.answered("a.example", good(&["10.1.0.1"], None), at(0));
        assert_eq!(names.deadline(), Some(at(5_000)));
        assert_eq!(names.due(at(5_000)), ["a.example"]);
        assert!(!names.answered("a.example", NameAnswer::Failed, at(5_100)));
        assert_eq!(addresses(&names)[0], "10.1.0.1:8080 a.example");
        assert_eq!(names.deadline(), Some(at(10_100)));
        assert!(names.answered("a.example", good(&[], None), at(10_200)), "no address is an answer too");
        assert_eq!(addresses(&names), ["10.0.0.9:80 "]);
    }

    #[test]
    fn the_ttl_counts_where_it_is_respected() {
        for (respect_ttl, expected) in [(true, 60_000), (false, 5_000)] {
            let mut names = names(&["a.example"], respect_ttl);
            names.due(at(0));
            names.answered("a.example", good(&["10.1.0.1"], Some(60_000)), at(0));
            assert_eq!(names.deadline(), Some(at(expected)));
        }
        let mut names = names(&["a.example"], true);
        names.due(at(0));
        names.answered("a.example", good(&["10.1.0.1"], Some(0)), at(0));
        assert_eq!(names.deadline(), Some(at(SHORTEST)));
    }

    #[test]
    fn a_new_version_keeps_answers_of_names_that_stay() {
        let mut former = names(&["a.example", "b.example"], false);
        former.due(at(0));
        former.answered("a.example", good(&["10.1.0.1"], None), at(0));
        let endpoints = vec![named("a.example"), named("c.example")];
        let mut next = Names::new(&[locality_plan(0, endpoints)], 5_000, false, Some(former));
        assert_eq!(addresses(&next), ["10.1.0.1:8080 a.example"]);
        assert_eq!(next.due(at(1)), ["c.example"]);
        assert!(!next.is_settled());
    }
}
