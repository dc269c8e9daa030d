//! How a member is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use raft_store_peer::PeerTls;

use super::MemberError;
use crate::EtcdConfig;

/// How a new data directory begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialState {
    /// As one of the first members of a new group, which are all started with the same list.
    #[default]
    New,
    /// As a member of a running group that was told of it before.
    Existing,
}

/// A member and its place in a group. [`MemberConfig::new`] fills in defaults.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// The store; how it starts is overwritten by what is said here.
    pub store: raft_store::Config,
    /// Where to serve clients.
    pub listen_client: SocketAddr,
    /// Where to serve other members.
    pub listen_peer: SocketAddr,
    /// Name and peer urls of each member, this one among them; see [`initial_cluster`].
    pub initial_cluster: Vec<(String, Vec<String>)>,
    /// Tells apart groups that are started with the same list.
    pub token: String,
    /// Whether the list is that of a new group, or of a running one.
    pub state: InitialState,
    /// Where clients reach this member, as the others tell them; empty for where it listens.
    pub advertise_client: Vec<String>,
    /// TLS towards clients and members; without it, both addresses must be loopback ones.
    pub tls: Option<MemberTls>,
    /// How clients are served. `tls` is overwritten.
    pub serve: EtcdConfig,
}

/// TLS of a member.
#[derive(Clone)]
pub struct MemberTls {
    /// Towards clients; says whether they must show a certificate.
    pub clients: Arc<rustls::ServerConfig>,
    /// Between members.
    pub peer: PeerTls,
}

impl std::fmt::Debug for MemberTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberTls").finish_non_exhaustive()
    }
}

impl MemberConfig {
    /// The default configuration of a member called `name` with its data in `data_dir`: etcd's bounds on requests.
    pub fn new(
        name: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        listen_client: SocketAddr,
        listen_peer: SocketAddr,
        initial_cluster: Vec<(String, Vec<String>)>,
    ) -> Self {
        let serve = EtcdConfig::default();
        Self {
            store: raft_store::Config {
                request_bytes_max: serve.request_bytes_max,
                ..raft_store::Config::new(name, data_dir)
            },
            listen_client,
            listen_peer,
            initial_cluster,
            token: "euston-store".to_owned(),
            state: InitialState::New,
            advertise_client: Vec::new(),
            tls: None,
            serve,
        }
    }

    pub(super) fn own_peer_urls(&self) -> &[String] {
        let mut members = self.initial_cluster.iter();
        let own = members.find(|(name, _)| *name == self.store.name);
        own.map_or(&[], |(_, urls)| urls)
    }

    /// Refuses what cannot be meant, before anything is begun.
    pub(super) fn check(&self) -> Result<(), MemberError> {
        let name = &self.store.name;
        let what = if self.own_peer_urls().is_empty() {
            let names: Vec<&str> = self
                .initial_cluster
                .iter()
                .map(|(n, _)| n.as_str())
                .collect();
            format!(
                "the initial cluster ({}) does not list this member, {name:?}: add {name}={}",
                names.join(", "),
                url(self.listen_peer, self.tls.is_some())
            )
        } else if self.tls.is_none() && !self.listen_client.ip().is_loopback() {
            crate::EtcdError::PlainBeyondLoopback {
                address: self.listen_client,
            }
            .to_string()
        } else {
            return Ok(());
        };
        Err(MemberError::Config { what })
    }
}

/// Reads a list of members, `N1=IP:PORT,N2=http://HOST:PORT,...`: names and peer urls as etcd has them, of which the
/// scheme may be left out. A name that comes twice has two urls.
///
/// # Errors
/// A sentence that says which part cannot be read, and what is expected.
pub fn initial_cluster(text: &str, tls: bool) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let Some((name, url)) = part
            .split_once('=')
            .filter(|(name, url)| !name.is_empty() && !url.is_empty())
        else {
            return Err(format!(
                "{part:?} is not a member: NAME=IP:PORT is expected, for example n1=127.0.0.1:2380"
            ));
        };
        let url = if url.contains("://") {
            url.trim_end_matches('/').to_owned()
        } else {
            format!("{}://{url}", scheme(tls))
        };
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url),
            None => members.push((name.to_owned(), vec![url])),
        }
    }
    if members.is_empty() {
        return Err("the list of members is empty: NAME=IP:PORT,... is expected".to_owned());
    }
    Ok(members)
}

/// The url of an address.
pub(super) fn url(address: SocketAddr, tls: bool) -> String {
    format!("{}://{address}", scheme(tls))
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_members_is_read_or_refused_with_a_reason() {
        let check = |text: &str, tls: bool, expect: Result<&str, &str>| {
            let found = initial_cluster(text, tls).map(|members| {
                let members = members.iter();
                let members = members.map(|(name, urls)| format!("{name}:{}", urls.join("|")));
                members.collect::<Vec<_>>().join(" ")
            });
            match (&found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{text}"),
                (Err(found), Err(expect)) => assert!(found.contains(expect), "{text}: {found}"),
                _ => panic!("{text}: {found:?}, expected {expect:?}"),
            }
        };
        check("a=127.0.0.1:1", false, Ok("a:http://127.0.0.1:1"));
        check("a=h:1, b=h:2,", true, Ok("a:https://h:1 b:https://h:2"));
        check("a=http://h:1/,a=h:2", false, Ok("a:http://h:1|http://h:2"));
        check("a", false, Err("\"a\" is not a member"));
        check("a=,b=h:1", false, Err("\"a=\" is not a member"));
        check("=h:1", false, Err("is not a member"));
        check(" , ", false, Err("is empty"));
    }

    #[test]
    fn a_configuration_that_cannot_be_meant_is_refused_before_anything_begins() {
        let check = |name: &str, listen: &str, expect: Option<&str>| {
            let members = initial_cluster("a=127.0.0.1:2380", false).expect("a list");
            let peer = "127.0.0.1:2380".parse().expect("an address");
            let listen = listen.parse().expect("an address");
            let config = MemberConfig::new(name, "/nowhere", listen, peer, members);
            match (config.check(), expect) {
                (Ok(()), None) => {}
                (Err(error), Some(expect)) => {
                    assert!(error.to_string().contains(expect), "{error}");
                }
                (found, expect) => panic!("{name} {listen}: {found:?}, expected {expect:?}"),
            }
        };
        check("a", "127.0.0.1:2379", None);
        check("a", "[::1]:2379", None);
        check("b", "127.0.0.1:2379", Some("add b=http://127.0.0.1:2380"));
        check("a", "0.0.0.0:2379", Some("without TLS"));
    }
}
