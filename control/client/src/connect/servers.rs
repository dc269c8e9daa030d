//! Which server to try next: the one that answered last, then the others in turn.

use std::sync::Arc;

use euston_tls::{Identity, TlsError};
use parking_lot::Mutex;
use tokio_rustls::rustls::ClientConfig;

use super::address::ServerAddress;

/// The servers of a connection, and who it says it is. Clones are the same list.
#[derive(Clone)]
pub struct Servers {
    inner: Arc<Inner>,
}

struct Inner {
    ca_pem: String,
    choice: Mutex<Choice>,
    tls: Mutex<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Servers").field(&self.list()).finish()
    }
}

impl Servers {
    pub(super) fn new(
        list: Vec<ServerAddress>,
        ca_pem: &str,
        identity: Option<&Identity>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            inner: Arc::new(Inner {
                ca_pem: ca_pem.to_owned(),
                choice: Mutex::new(Choice::new(list, rand::random())),
                tls: Mutex::new(config(ca_pem, identity)?),
            }),
        })
    }

    /// The servers that are known.
    pub fn list(&self) -> Vec<ServerAddress> {
        self.inner.choice.lock().list.clone()
    }

    /// Replaces the servers. A connection that stands is left alone; an empty list is ignored, for
    /// nothing could then be asked where the servers are.
    pub fn set(&self, list: Vec<ServerAddress>) {
        self.inner.choice.lock().set(list);
    }

    /// The server that is tried first: the one that was connected to last.
    pub fn preferred(&self) -> Option<ServerAddress> {
        self.order().into_iter().next()
    }

    /// Shows another certificate on connections that are made from now on, after a renewal.
    ///
    /// # Errors
    /// When the identity is not usable; the one before stays.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), TlsError> {
        let config = config(&self.inner.ca_pem, Some(identity))?;
        *self.inner.tls.lock() = config;
        Ok(())
    }

    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        self.inner.tls.lock().clone()
    }

    pub(super) fn order(&self) -> Vec<ServerAddress> {
        self.inner.choice.lock().order()
    }

    pub(super) fn connected(&self, server: &ServerAddress) {
        self.inner.choice.lock().connected(server);
    }

    /// Prefers the server after `server`. False where there is no other.
    pub(super) fn give_up(&self, server: &ServerAddress) -> bool {
        self.inner.choice.lock().give_up(server)
    }
}

fn config(ca_pem: &str, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = euston_tls::client_config(ca_pem, identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

struct Choice {
    list: Vec<ServerAddress>,
    first: usize,
}

impl Choice {
    /// Begins anywhere, so that clients started with one list spread over the servers.
    fn new(list: Vec<ServerAddress>, seed: u32) -> Self {
        let first = seed as usize % list.len().max(1);
        Self { list, first }
    }

    fn set(&mut self, list: Vec<ServerAddress>) {
        if list.is_empty() {
            return;
        }
        let preferred = self.list.get(self.first);
        let kept = list.iter().position(|server| Some(server) == preferred);
        self.first = kept.unwrap_or(self.first % list.len());
        self.list = list;
    }

    fn order(&self) -> Vec<ServerAddress> {
        let (before, from) = self.list.split_at(self.first.min(self.list.len()));
        from.iter().chain(before).cloned().collect()
    }

    fn connected(&mut self, server: &ServerAddress) {
        if let Some(index) = self.list.iter().position(|s| s == server) {
            self.first = index;
        }
    }

    fn give_up(&mut self, server: &ServerAddress) -> bool {
        // Another request may have moved on already.
        if self.list.get(self.first) == Some(server) && self.list.len() > 1 {
            self.first = (self.first + 1) % self.list.len();
        }
        self.list.iter().any(|other| other != server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> Vec<ServerAddress> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn check(choice: &Choice, expect: &[&str]) {
        assert_eq!(choice.order(), servers(expect));
    }

    #[test]
    fn the_last_used_server_comes_first_and_the_others_in_turn() {
        let mut choice = Choice::new(servers(&["a", "b", "c"]), 3);
        check(&choice, &["a", "b", "c"]);
        choice.connected(&servers(&["c"])[0]);
        check(&choice, &["c", "a", "b"]);
        assert!(choice.give_up(&servers(&["c"])[0]));
        check(&choice, &["a", "b", "c"]);
        // One that is not preferred any more moves nobody.
        assert!(choice.give_up(&servers(&["c"])[0]));
        check(&choice, &["a", "b", "c"]);
    }

    #[test]
    fn a_new_list_keeps_the_preferred_server() {
        let mut choice = Choice::new(servers(&["a", "b"]), 1);
        check(&choice, &["b", "a"]);
        choice.set(servers(&["c", "d", "b"]));
        check(&choice, &["b", "c", "d"]);
        choice.set(servers(&["e"]));
        check(&choice, &["e"]);
        choice.set(Vec::new());
        check(&choice, &["e"]);
        assert!(!choice.give_up(&servers(&["e"])[0]));
        check(&Choice::new(Vec::new(), 7), &[]);
    }
}
