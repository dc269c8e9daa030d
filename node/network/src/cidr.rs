//! Address ranges as Kubernetes writes them: `10.128.0.0/18`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses: a base address and the number of leading bits that are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// A text that is not an address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address range: {why}")]
pub struct CidrError {
    text: String,
    why: &'static str,
}

impl Cidr {
    /// The first address of the range.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// How many leading bits are fixed.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in the range. An address of the other family never does.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.base.is_ipv4() && mask(ip, self.prefix) == self.base
    }

    /// How many addresses there are; `u64::MAX` for ranges that have more than that.
    pub fn size(&self) -> u64 {
        let width: u32 = if self.base.is_ipv4() { 32 } else { 128 };
        1u64.checked_shl(width - u32::from(self.prefix))
            .unwrap_or(u64::MAX)
    }

    /// The address at this offset from the base, if the range has it.
    pub fn nth(&self, offset: u64) -> Option<IpAddr> {
        if offset >= self.size() {
            return None;
        }
        Some(match self.base {
            IpAddr::V4(base) => IpAddr::from((u32::from(base) + offset as u32).to_be_bytes()),
            IpAddr::V6(base) => IpAddr::from((u128::from(base) + u128::from(offset)).to_be_bytes()),
        })
    }

    /// The offset of an address from the base, if it lies in the range.
    pub fn offset(&self, ip: IpAddr) -> Option<u64> {
        if !self.contains(ip) {
            return None;
        }
        match (ip, self.base) {
            (IpAddr::V4(ip), IpAddr::V4(base)) => Some(u64::from(u32::from(ip) - u32::from(base))),
            (IpAddr::V6(ip), IpAddr::V6(base)) => {
                u64::try_from(u128::from(ip) - u128::from(base)).ok()
            }
            _ => None,
        }
    }
}

fn mask(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix.min(32)))
                .unwrap_or(0);
            IpAddr::from((u32::from(ip) & mask).to_be_bytes())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            IpAddr::from((u128::from(ip) & mask).to_be_bytes())
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let fail = |why| CidrError {
            text: text.to_owned(),
            why,
        };
        let (ip, prefix) = text
            .split_once('/')
            .ok_or_else(|| fail("it has no '/' and prefix length"))?;
        let ip: IpAddr = ip
            .parse()
            .map_err(|_| fail("the part before '/' is no IP address"))?;
        let prefix: u8 = prefix
            .parse()
            .map_err(|_| fail("the part after '/' is no number of bits"))?;
        if prefix > if ip.is_ipv4() { 32 } else { 128 } {
            return Err(fail("the prefix is longer than an address"));
        }
        Ok(Self {
            base: mask(ip, prefix),
            prefix,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_printed() {
        for (text, expect) in [
            ("10.128.0.0/18", Ok("10.128.0.0/18")),
            ("10.128.9.7/18", Ok("10.128.0.0/18")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("10.0.0.1/32", Ok("10.0.0.1/32")),
            ("fd00::/64", Ok("fd00::/64")),
            ("10.0.0.0", Err("it has no '/' and prefix length")),
            ("10.0.0/8", Err("the part before '/' is no IP address")),
            ("10.0.0.0/x", Err("the part after '/' is no number of bits")),
            ("10.0.0.0/33", Err("the prefix is longer than an address")),
        ] {
            match (text.parse::<Cidr>(), expect) {
                (Ok(cidr), Ok(expect)) => assert_eq!(cidr.to_string(), expect, "{text}"),
                (Err(error), Err(why)) => assert_eq!(error.why, why, "{text}"),
                (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
            }
        }
    }

    #[test]
    fn membership_offsets_and_sizes() {
        let range: Cidr = "10.128.64.0/18".parse().unwrap();
        assert_eq!(range.size(), 16_384);
        for (ip, offset) in [
            ("10.128.64.0", Some(0)),
            ("10.128.64.9", Some(9)),
            ("10.128.127.255", Some(16_383)),
            ("10.128.128.0", None),
            ("10.128.63.255", None),
            ("::1", None),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(range.offset(ip), offset, "{ip}");
            if let Some(offset) = offset {
                assert_eq!(range.nth(offset), Some(ip));
            }
        }
        assert_eq!(range.nth(16_384), None);
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert_eq!(all.size(), 1 << 32);
        let v6: Cidr = "fd00::/16".parse().unwrap();
        assert_eq!(v6.size(), u64::MAX);
    }
}
