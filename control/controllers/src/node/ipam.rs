//! Cuts the pod network into one range per node. Pure.

use std::collections::HashSet;
use std::net::Ipv4Addr;

/// A pod network: its address, its prefix length, and the prefix length of one node's range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) node_prefix: u8,
}

impl Network {
    /// How many ranges there are.
    fn ranges(&self) -> u64 {
        1 << self.node_prefix.saturating_sub(self.prefix)
    }

    fn range(&self, index: u64) -> String {
        let offset = index << (32 - u32::from(self.node_prefix));
        let address = u64::from(u32::from(self.address)) + offset;
        // Within 32 bits: the index is below the number of ranges.
        format!(
            "{}/{}",
            Ipv4Addr::from(u32::try_from(address).unwrap_or(u32::MAX)),
            self.node_prefix
        )
    }

    /// The ranges that `cidr` overlaps, first and last; `None` if it lies outside or cannot be read.
    fn overlapped(&self, cidr: &str) -> Option<(u64, u64)> {
        let (address, prefix) = cidr.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        let size = 1u64 << 32u32.checked_sub(prefix)?;
        let first = u64::from(u32::from(address)) / size * size;
        let base = u64::from(u32::from(self.address));
        let end = base + (1u64 << (32 - u32::from(self.prefix)));
        let (from, to) = (first.max(base), (first + size).min(end));
        let step = 1u64 << (32 - u32::from(self.node_prefix));
        (from < to).then(|| ((from - base) / step, (to - 1 - base) / step))
    }

    /// The lowest range that overlaps none of `taken`, or `None` if all are taken.
    pub(super) fn lowest_free<'a>(
        &self,
        taken: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        let mut used = HashSet::new();
        for cidr in taken {
            if let Some((first, last)) = self.overlapped(cidr) {
                used.extend(first..=last);
            }
        }
        (0..self.ranges())
            .find(|index| !used.contains(index))
            .map(|index| self.range(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_range_is_given() {
        let network = Network {
            address: Ipv4Addr::new(10, 128, 0, 0),
            prefix: 9,
            node_prefix: 18,
        };
        for (taken, expect) in [
            (vec![], "10.128.0.0/18"),
            (vec!["10.128.0.0/18"], "10.128.64.0/18"),
            (vec!["10.128.64.0/18"], "10.128.0.0/18"),
            (
                vec!["10.128.0.0/18", "10.128.64.0/18", "10.128.192.0/18"],
                "10.128.128.0/18",
            ),
            (vec!["10.128.0.0/16"], "10.129.0.0/18"),
            (vec!["10.128.3.0/24"], "10.128.64.0/18"),
            (vec!["10.0.0.0/8"], "none"),
            (
                vec![
                    "192.168.0.0/16",
                    "nonsense",
                    "10.128.0.0",
                    "10.128.0.0/40",
                    "",
                ],
                "10.128.0.0/18",
            ),
        ] {
            assert_eq!(
                network
                    .lowest_free(taken.clone())
                    .as_deref()
                    .unwrap_or("none"),
                expect,
                "{taken:?}"
            );
        }
    }

    #[test]
    fn all_ranges_are_given_once() {
        let network = Network {
            address: Ipv4Addr::new(10, 128, 0, 0),
            prefix: 9,
            node_prefix: 18,
        };
        let mut taken: Vec<String> = Vec::new();
        while let Some(range) = network.lowest_free(taken.iter().map(String::as_str)) {
            taken.push(range);
        }
        assert_eq!(taken.len(), 512);
        assert_eq!(taken.last().map(String::as_str), Some("10.255.192.0/18"));
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 512);
    }
}
