//! Ranges of addresses (`envoy.config.core.v3.CidrRange`), ready to compare.

use std::net::IpAddr;

use crate::plan::{AddressRange, PlanError};

/// IPv4 addresses and those mapped into IPv6 are the same addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    network: u128,
    mask: u128,
    is_v4: bool,
    prefix: u8,
}

fn number(ip: IpAddr) -> (u128, bool) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

impl Range {
    pub fn compile(plan: &AddressRange) -> Result<Self, PlanError> {
        let (network, is_v4) = number(plan.ip);
        let (width, prefix) = match (is_v4, plan.ip) {
            // 96 bits of a mapped address say only that it is one.
            (true, IpAddr::V6(_)) => (32, plan.prefix.saturating_sub(96)),
            (true, _) => (32, plan.prefix),
            (false, _) => (128, plan.prefix),
        };
        if prefix > width {
            return Err(PlanError::new(
                "prefix",
                format!("{} is more than the address has bits", plan.prefix),
            ));
        }
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        Ok(Self { network: network & mask, mask, is_v4, prefix })
    }

    pub fn compile_all(plans: &[AddressRange], path: &str) -> Result<Box<[Self]>, PlanError> {
        let compile = |(index, plan)| {
            Self::compile(plan).map_err(|problem| problem.within(&format!("{path}[{index}]")))
        };
        plans.iter().enumerate().map(compile).collect()
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let (address, is_v4) = number(ip);
        is_v4 == self.is_v4 && address & self.mask == self.network
    }

    /// Length of the prefix in bits: the longer, the more specific.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_contain_their_addresses() {
        for (range, prefix, ip, expected) in [
            ("10.0.0.0", 8, "10.255.1.2", true),
            ("10.1.2.3", 8, "10.9.9.9", true),
            ("10.0.0.0", 8, "11.0.0.0", false),
            ("10.0.0.0", 8, "::ffff:10.1.1.1", true),
            ("0.0.0.0", 0, "1.2.3.4", true),
            ("0.0.0.0", 0, "::1", false),
            ("::", 0, "::1", true),
            ("::ffff:10.0.0.0", 104, "10.2.3.4", true),
            ("2001:db8::", 32, "2001:db8:1::1", true),
            ("127.0.0.1", 32, "127.0.0.2", false),
        ] {
            let made = Range::compile(&AddressRange { ip: range.parse().unwrap(), prefix }).unwrap();
            assert_eq!(made.contains(ip.parse().unwrap()), expected, "{ip} in {range}/{prefix}");
        }
        assert!(Range::compile(&AddressRange { ip: "10.0.0.0".parse().unwrap(), prefix: 33 }).is_err());
    }

    proptest! {
        #[test]
        fn a_range_holds_its_own_address_and_only_equal_prefixes(ip: u32, other: u32, prefix in 0u8..=32) {
            let range = Range::compile(&AddressRange { ip: IpAddr::from(ip.to_be_bytes()), prefix }).unwrap();
            prop_assert!(range.contains(IpAddr::from(ip.to_be_bytes())));
            let equal = prefix == 0 || ip >> (32 - prefix) == other >> (32 - prefix);
            prop_assert_eq!(range.contains(IpAddr::from(other.to_be_bytes())), equal);
        }
    }
}
