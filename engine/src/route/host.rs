//! Which virtual host a request is for: exact name, longest `*.suffix`, longest `prefix.*`, `*`.

use std::collections::HashMap;

use super::redirect::split_port;
use crate::bytes;
use crate::message::QuickHash;
use crate::plan::PlanError;

/// Keys come from configuration, clients only look up.
type Names = HashMap<Box<[u8]>, u32, QuickHash>;

/// Wildcards of one length.
#[derive(Debug, Default)]
struct Wildcards {
    /// Longest first.
    by_length: Vec<(usize, Names)>,
}

impl Wildcards {
    fn insert(&mut self, text: &[u8], host: u32) -> Option<u32> {
        let place = self.by_length.partition_point(|(length, _)| *length > text.len());
        if self.by_length.get(place).is_none_or(|(length, _)| *length != text.len()) {
            self.by_length.insert(place, (text.len(), Names::default()));
        }
        self.by_length.get_mut(place).and_then(|(_, names)| names.insert(text.into(), host))
    }

    /// `part(host, length)`: the part of the host to compare; the wildcard stands for at least one byte.
    fn find<'h>(&self, host: &'h [u8], part: fn(&'h [u8], usize) -> Option<&'h [u8]>) -> Option<u32> {
        self.by_length
            .iter()
            .filter(|(length, _)| *length < host.len())
            .find_map(|(length, names)| names.get(part(host, *length)?).copied())
    }
}

/// Domains of a table's virtual hosts, by index.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: Names,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<u32>,
    ignore_port: bool,
    case_sensitive: bool,
}

impl HostIndex {
    pub fn new(ignore_port: bool, case_sensitive: bool) -> Self {
        Self { ignore_port, case_sensitive, ..Self::default() }
    }

    pub fn insert(&mut self, domain: &str, host: u32) -> Result<(), PlanError> {
        let lower = if self.case_sensitive { domain.to_owned() } else { domain.to_ascii_lowercase() };
        let taken = match (lower.strip_prefix('*'), lower.strip_suffix('*')) {
            (Some(""), _) => self.any.replace(host),
            (Some(suffix), _) => self.suffixes.insert(suffix.as_bytes(), host),
            (None, Some(prefix)) => self.prefixes.insert(prefix.as_bytes(), host),
            (None, None) if lower.is_empty() => return Err(PlanError::new("", "a domain cannot be empty")),
            (None, None) => self.exact.insert(lower.as_bytes().into(), host),
        };
        match taken {
            Some(_) => Err(PlanError::new("", format!("domain {domain} appears twice"))),
            None => Ok(()),
        }
    }

    pub fn find(&self, authority: &[u8]) -> Option<u32> {
        if authority.is_empty() || self.is_only_any() {
            return self.any;
        }
        let port = if self.ignore_port { split_port(authority) } else { None };
        let bare = port.map_or(authority, |(host, _)| host);
        if self.case_sensitive || !has_capitals(bare) {
            return self.find_folded(bare);
        }
        let mut small = [0; 256];
        match small.get_mut(..bare.len()) {
            Some(lower) => {
                lower.copy_from_slice(bare);
                lower.make_ascii_lowercase();
                self.find_folded(lower)
            }
            None => self.find_folded(&bare.to_ascii_lowercase()),
        }
    }

    fn is_only_any(&self) -> bool {
        self.exact.is_empty() && self.suffixes.by_length.is_empty() && self.prefixes.by_length.is_empty()
    }

    fn find_folded(&self, host: &[u8]) -> Option<u32> {
        self.exact
            .get(host)
            .copied()
            .or_else(|| self.suffixes.find(host, |host, length| host.get(host.len() - length..)))
            .or_else(|| self.prefixes.find(host, |host, length| host.get(..length)))
            .or(self.any)
    }
}

fn has_capitals(host: &[u8]) -> bool {
    bytes::find(host, |word| word.within(b'A', b'Z'), |byte| byte.is_ascii_uppercase()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Envoy's documented order, read off literally.
    fn naive(domains: &[String], host: &str) -> Option<usize> {
        let host = host.to_ascii_lowercase();
        let mut best: Option<(u8, usize, usize)> = None;
        for (index, domain) in domains.iter().enumerate() {
            let domain = domain.to_ascii_lowercase();
            let rank = if domain == "*" {
                Some((0, 0))
            } else if let Some(suffix) = domain.strip_prefix('*') {
                (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()))
            } else if let Some(prefix) = domain.strip_suffix('*') {
                (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()))
            } else {
                (domain == host).then_some((3, 0))
            };
            if let Some((kind, length)) = rank
                && best.is_none_or(|(other, longest, _)| (kind, length) > (other, longest))
            {
                best = Some((kind, length, index));
            }
        }
        best.map(|(_, _, index)| index)
    }

    fn index(domains: &[String], ignore_port: bool) -> HostIndex {
        let mut made = HostIndex::new(ignore_port, false);
        for (number, domain) in domains.iter().enumerate() {
            made.insert(domain, number as u32).unwrap();
        }
        made
    }

    #[test]
    fn hosts_are_found_in_envoys_order() {
        let domains: Vec<String> =
            ["a.foo.com", "*.foo.com", "*-bar.foo.com", "a.*", "a.b.*", "*", "[::1]", "x:81"]
                .map(Into::into)
                .into();
        let made = index(&domains, true);
        for (host, expected) in [
            ("A.foo.COM", 0),
            ("a.foo.com:8080", 0),
            ("b.foo.com", 1),
            ("baz-bar.foo.com", 2),
            ("-bar.foo.com", 1),
            (".foo.com", 5),
            ("a.org", 3),
            ("a.b.org", 4),
            ("a.b.", 3),
            ("other", 5),
            ("[::1]:80", 6),
            ("x:81", 5),
            ("", 5),
        ] {
            assert_eq!(made.find(host.as_bytes()), Some(expected), "{host}");
        }
        assert_eq!(index(&domains, false).find(b"x:81"), Some(7));
        assert_eq!(index(&domains, false).find(b"a.foo.com:80"), Some(3));
        assert_eq!(index(&["a".into()], false).find(b"b"), None);
    }

    #[test]
    fn capitals_count_where_the_table_says_so() {
        let mut made = HostIndex::new(false, true);
        for (number, domain) in ["shop.Cart", "shop.cart", "*.Cart", "Cart.*"].into_iter().enumerate() {
            made.insert(domain, number as u32).unwrap();
        }
        for (host, expected) in [
            ("shop.Cart", Some(0)),
            ("shop.cart", Some(1)),
            ("SHOP.CART", None),
            ("a.Cart", Some(2)),
            ("a.cart", None),
            ("Cart.b", Some(3)),
            ("cart.b", None),
        ] {
            assert_eq!(made.find(host.as_bytes()), expected, "{host}");
        }
    }

    #[test]
    fn a_domain_belongs_to_one_host() {
        let mut made = HostIndex::new(false, false);
        for domain in ["a", "*.a", "a.*", "*"] {
            made.insert(domain, 0).unwrap();
            assert!(made.insert(&domain.to_uppercase(), 1).is_err(), "{domain}");
        }
        assert!(made.insert("", 0).is_err());
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_scan_finds(
            domains in proptest::collection::hash_set(r"\*|\*?[ab.]{1,4}|[ab.]{1,4}\*|[AB]\.[ab]", 0..12),
            host in "[abAB.]{0,7}",
        ) {
            let mut lower = std::collections::HashSet::new();
            let domains: Vec<String> =
                domains.into_iter().filter(|domain| lower.insert(domain.to_lowercase())).collect();
            let found = index(&domains, false).find(host.as_bytes()).map(|found| found as usize);
            if host.is_empty() {
                prop_assert_eq!(found, domains.iter().position(|domain| domain == "*"));
            } else {
                prop_assert_eq!(found, naive(&domains, &host));
            }
        }
    }
}
