//! Pod addresses: which one a new pod of this node gets.

use crate::Cidr;
use std::net::IpAddr;

/// Addresses of this node's range that can never be given: the network's own, one kept for the
/// node itself (a gateway in other networks), and the broadcast address.
const RESERVED_LOW: u64 = 2;
const RESERVED_HIGH: u64 = 1;

/// Largest range that is tracked, in addresses: 2^20, a bitmap of 128 KiB. A node never runs that
/// many pods; of a larger range the first part is used.
const TRACKED_MAX: u64 = 1 << 20;

/// The addresses of one node's range.
///
/// It hands out the lowest free address after the one that it gave last, and so gives an address
/// back only after all others had their turn: a late packet for a pod that is gone reaches nobody
/// instead of a stranger.
#[derive(Debug)]
pub struct IpPool {
    range: Cidr,
    used: Vec<u64>,
    end: u64,
    next: u64,
    free: u64,
}

/// Every address of the range is in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("all {size} pod addresses of the node's range {range} are in use")]
pub struct PoolExhausted {
    range: Cidr,
    size: u64,
}

impl IpPool {
    /// A pool in which every address of the range is free.
    pub fn new(range: Cidr) -> Self {
        let size = range.size().min(TRACKED_MAX);
        let end = size.saturating_sub(RESERVED_HIGH);
        Self {
            range,
            used: vec![0; usize::try_from(size.div_ceil(64)).unwrap_or(0)],
            end,
            next: RESERVED_LOW,
            free: end.saturating_sub(RESERVED_LOW),
        }
    }

    /// The range it was made from.
    pub fn range(&self) -> Cidr {
        self.range
    }

    /// Gives the lowest free address after the last one given.
    ///
    /// # Errors
    /// When none is free.
    pub fn allocate(&mut self) -> Result<IpAddr, PoolExhausted> {
        let exhausted = || PoolExhausted {
            range: self.range,
            size: self.end.saturating_sub(RESERVED_LOW),
        };
        let offset = self
            .lowest_free(self.next, self.end)
            .or_else(|| self.lowest_free(RESERVED_LOW, self.next))
            .ok_or_else(exhausted)?;
        let ip = self.range.nth(offset).ok_or_else(exhausted)?;
        self.set(offset, true);
        self.next = offset + 1;
        Ok(ip)
    }

    /// Takes this very address, as for a pod that had it before the agent restarted. `false` when
    /// it is in use or not the pool's to give.
    pub fn reserve(&mut self, ip: IpAddr) -> bool {
        match self.range.offset(ip) {
            Some(offset) if (RESERVED_LOW..self.end).contains(&offset) && !self.is_used(offset) => {
                self.set(offset, true);
                true
            }
            _ => false,
        }
    }

    /// Makes an address free again; of one that was not given, nothing happens.
    pub fn release(&mut self, ip: IpAddr) {
        if let Some(offset) = self.range.offset(ip)
            && (RESERVED_LOW..self.end).contains(&offset)
            && self.is_used(offset)
        {
            self.set(offset, false);
        }
    }

    /// How many addresses are free.
    pub fn free(&self) -> u64 {
        self.free
    }

    fn is_used(&self, offset: u64) -> bool {
        self.used
            .get((offset / 64) as usize)
            .is_some_and(|word| word & (1 << (offset % 64)) != 0)
    }

    fn set(&mut self, offset: u64, used: bool) {
        if let Some(word) = self.used.get_mut((offset / 64) as usize) {
            if used {
                *word |= 1 << (offset % 64);
                self.free -= 1;
            } else {
                *word &= !(1 << (offset % 64));
                self.free += 1;
            }
        }
    }

    /// A word of 64 addresses at a time, so that a nearly full pool costs no search.
    fn lowest_free(&self, from: u64, to: u64) -> Option<u64> {
        let mut offset = from;
        while offset < to {
            let word = self.used.get((offset / 64) as usize)?;
            let free = !word & (u64::MAX << (offset % 64));
            if free != 0 {
                let found = offset / 64 * 64 + u64::from(free.trailing_zeros());
                return (found < to).then_some(found);
            }
            offset = (offset / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(range: &str) -> IpPool {
        IpPool::new(range.parse().unwrap())
    }

    fn take(pool: &mut IpPool) -> String {
        pool.allocate().unwrap().to_string()
    }

    #[test]
    fn addresses_come_in_order_and_are_not_reused_at_once() {
        let mut pool = pool("10.128.0.0/29");
        assert_eq!(pool.free(), 5);
        assert_eq!(take(&mut pool), "10.128.0.2");
        assert_eq!(take(&mut pool), "10.128.0.3");
        pool.release("10.128.0.2".parse().unwrap());
        assert_eq!(take(&mut pool), "10.128.0.4");
        assert_eq!(take(&mut pool), "10.128.0.5");
        assert_eq!(take(&mut pool), "10.128.0.6");
        assert_eq!(take(&mut pool), "10.128.0.2", "wraps around");
        assert_eq!(
            pool.allocate().unwrap_err().to_string(),
            "all 5 pod addresses of the node's range 10.128.0.0/29 are in use"
        );
        pool.release("10.128.0.4".parse().unwrap());
        pool.release("10.128.0.4".parse().unwrap());
        assert_eq!(pool.free(), 1, "a second release changes nothing");
        assert_eq!(take(&mut pool), "10.128.0.4");
    }

    #[test]
    fn reserving_takes_only_what_is_free_and_the_pools_own() {
        let mut pool = pool("10.128.0.0/29");
        for (ip, expect) in [
            ("10.128.0.3", true),
            ("10.128.0.3", false),
            ("10.128.0.0", false),
            ("10.128.0.1", false),
            ("10.128.0.7", false),
            ("10.128.0.9", false),
            ("::1", false),
        ] {
            assert_eq!(pool.reserve(ip.parse().unwrap()), expect, "{ip}");
        }
        assert_eq!(take(&mut pool), "10.128.0.2");
        assert_eq!(take(&mut pool), "10.128.0.4");
    }

    #[test]
    fn a_node_range_gives_every_address_once() {
        let mut pool = pool("10.128.64.0/18");
        let mut seen = std::collections::HashSet::new();
        while let Ok(ip) = pool.allocate() {
            assert!(seen.insert(ip));
        }
        assert_eq!(seen.len(), 16_384 - 3);
        let small = |range: &str| IpPool::new(range.parse().unwrap()).allocate().is_err();
        assert!(small("10.0.0.0/31") && small("10.0.0.0/32"));
    }
}
