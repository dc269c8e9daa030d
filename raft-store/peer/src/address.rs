//! Peer urls.

use rustls::pki_types::ServerName;

/// Urls of one member that are looked at, and the length of one; no sensible member has more.
pub(crate) const URLS_MAX: usize = 16;
pub(crate) const URL_BYTES_MAX: usize = 512;

/// Where a member can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads `http://host:port`, `https://host:port` or `host:port`. The scheme must fit whether this member uses TLS: a
    /// connection is never less protected than its url says, nor than the configuration does.
    pub(crate) fn parse(url: &str, tls: bool) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("the peer url {url:?} {why}"));
        if url.len() > URL_BYTES_MAX {
            return Err(format!(
                "a peer url has {} bytes, at most {URL_BYTES_MAX} are taken",
                url.len()
            ));
        }
        let Ok(uri) = url.parse::<http::Uri>() else {
            return refuse("cannot be read: write it as https://host:port");
        };
        match uri.scheme_str() {
            None => {}
            Some("https") if tls => {}
            Some("http") if !tls => {}
            Some("http") => {
                return refuse("is without TLS, but this member was given certificates");
            }
            Some("https") => {
                return refuse("is for TLS, but this member was given no certificates");
            }
            Some(_) => return refuse("has a scheme other than http and https"),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return refuse("has a path: only https://host:port is taken");
        }
        let Some(port) = uri.port_u16().filter(|port| *port != 0) else {
            return refuse("has no port");
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if ServerName::try_from(host).is_err() {
            return refuse("has no usable host name");
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// As HTTP's `:authority` has it.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused_with_a_reason() {
        let check = |url: &str, tls: bool, expect: Result<&str, &str>| {
            let found = Address::parse(url, tls).map(|address| address.authority());
            match (&found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{url}"),
                (Err(found), Err(expect)) => assert!(found.contains(expect), "{url}: {found}"),
                _ => panic!("{url}: {found:?}, expected {expect:?}"),
            }
        };
        check("http://10.0.0.1:2380", false, Ok("10.0.0.1:2380"));
        check("https://a.example:1/", true, Ok("a.example:1"));
        check("127.0.0.1:2380", true, Ok("127.0.0.1:2380"));
        check("http://[::1]:2380", false, Ok("[::1]:2380"));
        check("http://10.0.0.1:2380", true, Err("is without TLS"));
        check("https://10.0.0.1:2380", false, Err("is for TLS"));
        check("unix://a:1", false, Err("has a scheme other"));
        check("http://10.0.0.1", false, Err("has no port"));
        check("http://10.0.0.1:0", false, Err("has no port"));
        check("http://10.0.0.1:1/raft", false, Err("has a path"));
        check("http://a..b:1", false, Err("no usable host"));
        check("", false, Err("cannot be read"));
        check(&"a".repeat(1000), false, Err("has 1000 bytes"));
    }
}
