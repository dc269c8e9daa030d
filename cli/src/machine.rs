//! What this machine is called, and where others reach it.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use anyhow::{Context, bail};
use euston_client::ServerAddress;
use euston_join::JoinToken;

/// An address for documentation (RFC 5737): nobody has it, and nothing is sent to it.
const SOMEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The name that was given, or the host's. It becomes a Node's name.
///
/// # Errors
/// When it cannot be one.
pub(crate) fn name(given: Option<&str>) -> anyhow::Result<String> {
    let name = match given {
        Some(given) => given.to_owned(),
        None => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .to_lowercase(),
    };
    let wrong = euston_api::names::dns1123_subdomain(&name);
    if wrong.is_empty() {
        return Ok(name);
    }
    let source = if given.is_some() {
        "the name"
    } else {
        "this machine's host name; give another one with --name, as"
    };
    bail!(
        "{source} {name:?} cannot be a node's name: {}",
        wrong.join("; ")
    )
}

/// The address that was given, or the one from which this machine would reach the world.
///
/// # Errors
/// When there is none.
pub(crate) fn address(given: Option<IpAddr>) -> anyhow::Result<IpAddr> {
    let address = match given {
        Some(given) => given,
        None => outward().context(
            "cannot find out this machine's address; give it with --address (127.0.0.1 for a cluster on one machine)",
        )?,
    };
    if address.is_unspecified() || address.is_multicast() {
        bail!(
            "other machines cannot reach this one at {address}; give one of its addresses with --address"
        );
    }
    Ok(address)
}

/// Connecting a UDP socket sends nothing; it only makes the kernel choose a route and with it an address.
fn outward() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(SOMEWHERE)?;
    Ok(socket.local_addr()?.ip())
}

/// A token as it was given: itself, or the name of a file that holds it.
///
/// # Errors
/// When the file cannot be read, or it is none.
pub(crate) fn token(given: Option<&str>) -> anyhow::Result<Option<JoinToken>> {
    let Some(given) = given else { return Ok(None) };
    let path = Path::new(given);
    if !path.is_file() {
        return Ok(Some(given.trim().parse()?));
    }
    let read = || format!("cannot use the token in {}", path.display());
    let text = std::fs::read_to_string(path).with_context(read)?;
    Ok(Some(text.trim().parse().with_context(read)?))
}

/// The servers that were given.
///
/// # Errors
/// When one is no address of a server.
pub(crate) fn servers(given: &[String]) -> anyhow::Result<Vec<ServerAddress>> {
    let parse = |url: &String| Ok(url.parse::<ServerAddress>()?);
    given.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_that_others_cannot_use_are_refused() {
        assert_eq!(name(Some("s1.example")).unwrap(), "s1.example");
        for wrong in ["", "S1", "a_b", "-a"] {
            let error = name(Some(wrong)).unwrap_err().to_string();
            assert!(
                error.contains("cannot be a node's name"),
                "{wrong}: {error}"
            );
        }
        assert!(address(Some(Ipv4Addr::LOCALHOST.into())).is_ok());
        let error = address(Some(Ipv4Addr::UNSPECIFIED.into())).unwrap_err();
        assert!(error.to_string().contains("--address"), "{error}");
    }

    #[test]
    fn a_token_may_be_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let authority = euston_tls::Authority::load_or_create(dir.path()).unwrap();
        let ca = euston_tls::Fingerprint::of_ca(authority.ca_pem()).unwrap();
        let made = JoinToken::generate(euston_join::Role::Agent, ca).to_string();
        let file = dir.path().join("token");
        std::fs::write(&file, format!("{made}\n")).unwrap();
        for given in [made.as_str(), file.to_str().unwrap()] {
            let read = token(Some(given)).unwrap().unwrap();
            assert_eq!(read.to_string(), made);
        }
        assert!(token(None).unwrap().is_none());
        std::fs::write(&file, "nonsense").unwrap();
        let error = token(file.to_str()).unwrap_err().to_string();
        assert!(error.contains("cannot use the token in"), "{error}");
    }
}
