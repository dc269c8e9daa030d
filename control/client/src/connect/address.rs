//! Where a server is.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The port of the API where an address names none.
pub const DEFAULT_PORT: u16 = 6443;

/// A server's host and port, as people write it: `https://10.0.0.1:6443`, `s1.example:6443`, `10.0.0.1`,
/// `[fd00::1]:6443`. The port is 6443 unless given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

impl ServerAddress {
    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a server: {why}; write it as https://HOST:PORT")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError {
            text: text.to_owned(),
            why,
        };
        let rest = match text.split_once("://") {
            Some(("https", rest)) => rest,
            Some(_) => return Err(wrong("servers speak https and nothing else")),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("a bracket is not closed"))?;
                host.parse::<Ipv6Addr>()
                    .map_err(|_| wrong("in brackets belongs an IPv6 address"))?;
                match port {
                    "" => (host, None),
                    _ => (host, port.strip_prefix(':').or(Some(""))),
                }
            }
            None => match rest.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(wrong("an IPv6 address goes into brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
            return Err(wrong("its host is neither a name nor an IP address"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(wrong("its port is not a number from 1 to 65535")),
            },
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, expect) in [
            ("https://10.0.0.1:7443", Ok("10.0.0.1:7443")),
            ("https://10.0.0.1/", Ok("10.0.0.1:6443")),
            ("10.0.0.1:1", Ok("10.0.0.1:1")),
            ("s1.example", Ok("s1.example:6443")),
            ("[fd00::1]:7443", Ok("[fd00::1]:7443")),
            ("https://[fd00::1]", Ok("[fd00::1]:6443")),
            ("http://10.0.0.1", Err("https and nothing else")),
            ("fd00::1", Err("brackets")),
            ("[fd00::1", Err("not closed")),
            ("[s1]:1", Err("IPv6")),
            ("[fd00::1]7", Err("port")),
            ("s1:0", Err("port")),
            ("s1:65536", Err("port")),
            ("s1:", Err("port")),
            ("", Err("host")),
            ("https://", Err("host")),
            ("s1/path", Err("host")),
            ("user@s1", Err("host")),
        ] {
            match (text.parse::<ServerAddress>(), expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found.to_string(), expect),
                (Err(e), Err(expect)) => assert!(e.to_string().contains(expect), "{e}"),
                (found, expect) => panic!("{text:?}: {found:?}, expected {expect:?}"),
            }
        }
    }
}
