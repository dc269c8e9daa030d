//! What is decided about a join: pure functions of what is asked and what is there.

use std::net::IpAddr;

use euston_api::names;
use euston_client::ServerAddress;

use crate::group::{GroupId, Member};
use crate::refusal::{Refusal, Result};
use crate::token::Role;

/// A certificate names them all. A machine has a few.
const ADDRESSES_MAX: usize = 16;

/// What the certificate of a node is good for: its addresses and its name.
///
/// Refuses a name that cannot be a node's, and names and addresses of the API itself: with those, a node could
/// pose as a server. A server's token may ask for its address too, as a server has a node of its own; and on
/// a loopback address nobody is reached from another machine.
pub(crate) fn node_names(
    name: &str,
    addresses: &[IpAddr],
    role: Role,
    members: &[Member],
) -> Result<Vec<String>> {
    let problems = node_name_problems(name);
    if !problems.is_empty() {
        return Err(Refusal::invalid(format!(
            "{name:?} cannot be the name of a node: {}",
            problems.join("; ")
        )));
    }
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
        return Err(Refusal::invalid(format!(
            "the node {name} gave {} addresses, and has 1 to {ADDRESSES_MAX}",
            addresses.len()
        )));
    }
    if let Some(address) = addresses
        .iter()
        .find(|a| a.is_unspecified() || a.is_multicast())
    {
        return Err(Refusal::invalid(format!(
            "{address} is no address of a machine; give the node {name} the one that others reach it at, with --address"
        )));
    }
    let of_servers: Vec<ServerAddress> = members
        .iter()
        .flat_map(|m| m.client_urls.iter().chain(&m.peer_urls))
        .filter_map(|url| url.parse().ok())
        .collect();
    let of_api = |host: &str| of_servers.iter().any(|server| server.host() == host);
    // 0: of the loopback addresses there is no need to know.
    if euston_tls::loopback_sans(0).iter().any(|n| n == name) || of_api(name) {
        return Err(Refusal::invalid(format!(
            "{name:?} cannot be the name of a node, for it is a name of the API; choose another with --name"
        )));
    }
    if let Some(address) = addresses
        .iter()
        .find(|a| role == Role::Agent && !a.is_loopback() && of_api(&a.to_string()))
    {
        return Err(Refusal::forbidden(format!(
            "the node {name} asks for {address}, which is a server's: with an agent's token a node could pose as \
             that server; give it an address of its own with --address, or join with a server's token"
        )));
    }
    let names = addresses.iter().map(IpAddr::to_string);
    Ok(names.chain([name.to_owned()]).collect())
}

/// A node's name is also its label `kubernetes.io/hostname`, and the end of Secrets' names.
fn node_name_problems(name: &str) -> Vec<String> {
    let mut problems = names::dns1123_subdomain(name);
    for problem in names::label_value(name) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

/// Where a server that joins finds its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was announced before and never started: asked again, or announced by a replacement.
    Waiting(GroupId),
    /// The group does not know it yet.
    New,
}

/// What to do with a server that asks to join. Its peer URL is its identity until it has started, and
/// has published its name.
pub(crate) fn place(name: &str, peer_url: &str, members: &[Member]) -> Result<Place> {
    let problems = names::dns1123_label(name);
    if !problems.is_empty() {
        return Err(Refusal::invalid(format!(
            "{name:?} cannot be the name of a server: {}",
            problems.join("; ")
        )));
    }
    let same_url = members
        .iter()
        .find(|m| m.peer_urls.iter().any(|url| url == peer_url));
    if let Some(member) = same_url.filter(|m| !m.started) {
        return Ok(Place::Waiting(member.id));
    }
    let same_name = members.iter().find(|m| m.name == name);
    match same_url.or(same_name) {
        None => Ok(Place::New),
        Some(member) => Err(Refusal::conflict(format!(
            "the server {name} ({peer_url}) cannot join: the group has the member {id} with the name {:?} and peer URLs \
             {:?}, which has run before. If it is this machine, start it with the data folder that it had. If \
             that folder is lost, first `euston member remove {id}`, then join again",
            member.name,
            member.peer_urls,
            id = member.id,
        ))),
    }
}

/// The peer URL in the form in which it is compared.
pub(crate) fn peer_url(text: &str) -> Result<String> {
    if !text.starts_with("https://") {
        return Err(Refusal::invalid(format!(
            "{text:?} is not the peer URL of a server: write https://HOST:PORT"
        )));
    }
    let address: ServerAddress = text
        .parse()
        .map_err(|e| Refusal::invalid(format!("the peer URL is unusable: {e}")))?;
    Ok(format!("https://{address}"))
}

/// The member that somebody means: by name, or by id.
pub(crate) fn find<'a>(which: &str, members: &'a [Member]) -> Result<&'a Member> {
    let named: Vec<&Member> = members.iter().filter(|m| m.name == which).collect();
    match named.as_slice() {
        [member] if !which.is_empty() => return Ok(member),
        [_, _, ..] if !which.is_empty() => {
            return Err(Refusal::conflict(format!(
                "{} members are called {which:?}; say which by its id, see `euston member list`",
                named.len()
            )));
        }
        _ => {}
    }
    let id: Option<GroupId> = which.parse().ok();
    members.iter().find(|m| Some(m.id) == id).ok_or_else(|| {
        let known: Vec<String> = members
            .iter()
            .map(|m| {
                format!(
                    "{} ({})",
                    m.id,
                    if m.name.is_empty() {
                        "not started"
                    } else {
                        &m.name
                    }
                )
            })
            .collect();
        Refusal::not_found(format!(
            "there is no member {which:?}; the members are {}",
            known.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, host: &str, started: bool) -> Member {
        Member {
            id: GroupId(id),
            name: name.to_owned(),
            peer_urls: vec![format!("https://{host}:2380")],
            client_urls: vec![format!("https://{host}:6443")],
            learner: false,
            started,
            reachable: None,
        }
    }

    fn members() -> Vec<Member> {
        vec![
            member(0xa1, "s1", "10.0.0.1", true),
            member(0xa2, "", "10.0.0.2", false),
            member(0xa3, "s3", "s3.example", true),
        ]
    }

    #[test]
    fn a_node_gets_its_own_names_and_no_others() {
        let long = "a".repeat(64);
        for (name, addresses, role, expect) in [
            ("w1", &["10.0.0.7"][..], Role::Agent, "10.0.0.7 w1"),
            (
                "w1.eu",
                &["10.0.0.7", "fd00::7"],
                Role::Agent,
                "10.0.0.7 fd00::7 w1.eu",
            ),
            ("s1", &["10.0.0.1"], Role::Server, "10.0.0.1 s1"),
            ("w1", &["127.0.0.1"], Role::Agent, "127.0.0.1 w1"),
            ("w1", &["10.0.0.1"], Role::Agent, "!which is a server's"),
            (
                "w1",
                &["10.0.0.7", "10.0.0.2"],
                Role::Agent,
                "!which is a server's",
            ),
            ("kubernetes", &["10.0.0.7"], Role::Agent, "!name of the API"),
            (
                "kubernetes.default.svc",
                &["10.0.0.7"],
                Role::Server,
                "!name of the API",
            ),
            ("s3.example", &["10.0.0.7"], Role::Agent, "!name of the API"),
            ("localhost", &["10.0.0.7"], Role::Agent, "!name of the API"),
            (
                "W1",
                &["10.0.0.7"],
                Role::Agent,
                "!cannot be the name of a node",
            ),
            (
                "",
                &["10.0.0.7"],
                Role::Agent,
                "!cannot be the name of a node",
            ),
            (
                "../w1",
                &["10.0.0.7"],
                Role::Agent,
                "!cannot be the name of a node",
            ),
            ("10.0.0.1", &["10.0.0.7"], Role::Agent, "!name of the API"),
            (
                &long,
                &["10.0.0.7"],
                Role::Agent,
                "!cannot be the name of a node",
            ),
            ("w1", &[], Role::Agent, "!0 addresses"),
            ("w1", &["10.0.0.7"; 17], Role::Agent, "!17 addresses"),
            ("w1", &["0.0.0.0"], Role::Agent, "!no address of a machine"),
            ("w1", &["ff02::1"], Role::Agent, "!no address of a machine"),
        ] {
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            match (
                node_names(name, &addresses, role, &members()),
                expect.strip_prefix('!'),
            ) {
                (Ok(names), None) => assert_eq!(names.join(" "), expect),
                (Err(refusal), Some(expect)) => {
                    assert!(refusal.message.contains(expect), "{}", refusal.message);
                }
                (found, _) => panic!("{name} {addresses:?}: {found:?}, expected {expect}"),
            }
        }
    }

    #[test]
    fn a_server_finds_its_place_or_hears_what_to_do() {
        for (name, url, expect) in [
            ("s4", "https://10.0.0.4:2380", Ok(Place::New)),
            (
                "s2",
                "https://10.0.0.2:2380",
                Ok(Place::Waiting(GroupId(0xa2))),
            ),
            // The place of a removed member whose replacement was announced, under its old name.
            (
                "s1",
                "https://10.0.0.2:2380",
                Ok(Place::Waiting(GroupId(0xa2))),
            ),
            (
                "s1",
                "https://10.0.0.1:2380",
                Err("euston member remove a1"),
            ),
            (
                "s9",
                "https://10.0.0.1:2380",
                Err("euston member remove a1"),
            ),
            (
                "s3",
                "https://10.0.0.9:2380",
                Err("euston member remove a3"),
            ),
            (
                "S 4",
                "https://10.0.0.4:2380",
                Err("cannot be the name of a server"),
            ),
            (
                "",
                "https://10.0.0.4:2380",
                Err("cannot be the name of a server"),
            ),
        ] {
            match (place(name, url, &members()), expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{name} {url}"),
                (Err(refusal), Err(expect)) => {
                    assert!(refusal.message.contains(expect), "{}", refusal.message);
                }
                (found, expect) => panic!("{name} {url}: {found:?}, expected {expect:?}"),
            }
        }
    }

    #[test]
    fn peer_urls_are_compared_in_one_form() {
        for (text, expect) in [
            ("https://10.0.0.1:2380/", Some("https://10.0.0.1:2380")),
            ("https://[fd00::1]:2380", Some("https://[fd00::1]:2380")),
            ("http://10.0.0.1:2380", None),
            ("10.0.0.1:2380", None),
            ("https://", None),
        ] {
            assert_eq!(peer_url(text).ok().as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn a_member_is_found_by_name_or_id() {
        let mut all = members();
        all.push(member(0xa4, "s3", "10.0.0.4", true));
        // A name that reads as the id of another: names are what people type.
        all.push(member(0xa5, "a1", "10.0.0.5", true));
        for (which, expect) in [
            ("s1", Ok(0xa1)),
            ("a2", Ok(0xa2)),
            ("A2", Ok(0xa2)),
            ("a1", Ok(0xa5)),
            ("s3", Err("2 members are called")),
            ("", Err("no member")),
            ("+a2", Err("no member")),
            ("ffffffffffffffffff", Err("a2 (not started)")),
        ] {
            match (find(which, &all), expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found.id.0, expect, "{which}"),
                (Err(refusal), Err(expect)) => {
                    assert!(refusal.message.contains(expect), "{}", refusal.message);
                }
                (found, expect) => panic!("{which}: {found:?}, expected {expect:?}"),
            }
        }
    }
}
