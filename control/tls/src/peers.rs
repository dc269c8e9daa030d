//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The addresses that are connected. Clones share it. An address leaves no trace once its
/// last connection has ended.
#[derive(Clone)]
pub(crate) struct Peers {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
}

impl Peers {
    /// Addresses with at most `max` connections each.
    pub(crate) fn new(max: usize) -> Self {
        Peers {
            counts: Arc::default(),
            max,
        }
    }

    /// A place for one more connection; `None` if the address has as many as it may.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        // Nothing that holds the lock can panic.
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place {
            peers: self.clone(),
            address,
        })
    }
}

/// One connection's place, given back when dropped.
pub(crate) struct Place {
    peers: Peers,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .peers
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let peers = Peers::new(2);
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = peers.enter(one).unwrap();
        let second = peers.enter(one).unwrap();
        assert!(peers.enter(one).is_none());
        assert!(peers.enter(other).is_some(), "others are served");
        drop(first);
        assert!(peers.enter(one).is_some());
        drop(second);
        assert!(peers.counts.lock().unwrap().is_empty());
    }
}
