//! What names may look like. Follows `k8s.io/apimachinery/pkg/util/validation`:
//! each check returns every rule that the value breaks, in Kubernetes' words,
//! and an empty list if the value is good.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is wrong with a name; empty if nothing is.
pub type Problems = Vec<String>;

/// Longest label of a domain name (RFC 1123), in bytes.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest domain name (RFC 1123), in bytes.
pub const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest name of a port (RFC 6335), in bytes.
pub const PORT_NAME_BYTES_MAX: usize = 15;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035_FORMAT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// The rule that the names of a kind follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// `a.b-c`, up to 253 bytes: the rule of most kinds.
    Dns1123Subdomain,
    /// `a-b`, up to 63 bytes.
    Dns1123Label,
    /// `a-b`, up to 63 bytes, starting with a letter.
    Dns1035Label,
    /// Anything that can stand between two slashes of a URL path, such as `system:node`.
    PathSegment,
    /// An IP address in its canonical form.
    IpAddress,
}

impl NameRule {
    /// What is wrong with `name`. A prefix (`generateName`) may end in a dash,
    /// since something follows it.
    pub fn check(self, name: &str, is_prefix: bool) -> Problems {
        // Another dash before the last one still has to be followed by something.
        let masked;
        let name = match name.strip_suffix('-') {
            Some(stem)
                if is_prefix
                    && !stem.is_empty()
                    && !matches!(self, NameRule::PathSegment | NameRule::IpAddress) =>
            {
                masked = format!("{stem}a");
                &masked
            }
            _ => name,
        };
        match self {
            NameRule::Dns1123Subdomain => dns1123_subdomain(name),
            NameRule::Dns1123Label => dns1123_label(name),
            NameRule::Dns1035Label => dns1035_label(name),
            NameRule::PathSegment => path_segment(name, is_prefix),
            NameRule::IpAddress => canonical_ip_address(name),
        }
    }
}

/// A lower-case domain label: `my-name`.
pub fn dns1123_label(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > LABEL_BYTES_MAX {
        problems.push(too_long(LABEL_BYTES_MAX));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            problems.push("must not contain dots".to_owned());
        } else {
            problems.push(format_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
                 or '-', and must start and end with an alphanumeric character",
                LABEL_FORMAT,
                &["my-name", "123-abc"],
            ));
        }
    }
    problems
}

/// A lower-case domain name: `example.com`.
pub fn dns1123_subdomain(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > SUBDOMAIN_BYTES_MAX {
        problems.push(too_long(SUBDOMAIN_BYTES_MAX));
    }
    if !is_subdomain(value) {
        problems.push(format_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_FORMAT,
            &["example.com"],
        ));
    }
    problems
}

/// A domain name below a star, which stands for one label: `*.example.com`.
pub fn wildcard_dns1123_subdomain(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > SUBDOMAIN_BYTES_MAX {
        problems.push(too_long(SUBDOMAIN_BYTES_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        problems.push(format_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
             subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and \
             end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN_FORMAT}"),
            &["*.example.com"],
        ));
    }
    problems
}

/// A lower-case domain label that starts with a letter: `abc-123`.
pub fn dns1035_label(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > LABEL_BYTES_MAX {
        problems.push(too_long(LABEL_BYTES_MAX));
    }
    if !is_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        problems.push(format_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
             with an alphabetic character, and end with an alphanumeric character",
            LABEL_1035_FORMAT,
            &["my-name", "abc-123"],
        ));
    }
    problems
}

/// `name` or `example.com/name`: keys of labels and annotations, finalizers, resources.
pub fn qualified_name(value: &str) -> Problems {
    let mut problems = Vec::new();
    let mut parts = value.split('/');
    let first = parts.next().unwrap_or_default();
    let (prefix, name) = match (parts.next(), parts.next()) {
        (None, _) => (None, first),
        (Some(name), None) => (Some(first), name),
        (Some(_), Some(_)) => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')",
                qualified_error()
            )];
        }
    };
    match prefix {
        Some("") => problems.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            problems.extend(
                dns1123_subdomain(prefix)
                    .iter()
                    .map(|p| format!("prefix part {p}")),
            );
        }
        None => {}
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_BYTES_MAX {
        problems.push(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    if !is_qualified_part(name) {
        problems.push(format!("name part {}", qualified_error()));
    }
    problems
}

/// The value of a label: empty, or up to 63 bytes such as `my_value`.
pub fn label_value(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > LABEL_BYTES_MAX {
        problems.push(too_long(LABEL_BYTES_MAX));
    }
    if !value.is_empty() && !is_qualified_part(value) {
        problems.push(format_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', \
             '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    problems
}

/// The name of an environment variable: printable ASCII other than `=`, as
/// Kubernetes accepts since 1.34.
pub fn env_var_name(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.is_empty() {
        problems.push("environment variable name must be non-empty".to_owned());
    }
    if value
        .bytes()
        .any(|b| !(b == b' ' || b.is_ascii_graphic()) || b == b'=')
    {
        problems.push(
            "a valid environment variable name must consist only of printable ASCII characters \
             other than '='"
                .to_owned(),
        );
    }
    problems
}

/// A key of a ConfigMap or Secret, which becomes a file name: `key.name`.
pub fn config_map_key(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > SUBDOMAIN_BYTES_MAX {
        problems.push(too_long(SUBDOMAIN_BYTES_MAX));
    }
    if value.is_empty()
        || !value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    {
        problems.push(format_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// The name of an HTTP header, as a probe may set it.
pub fn http_header_name(value: &str) -> Problems {
    if !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return Vec::new();
    }
    vec![format_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The name of a container's port: up to 15 bytes with at least one letter.
pub fn port_name(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > PORT_NAME_BYTES_MAX {
        problems.push(too_long(PORT_NAME_BYTES_MAX));
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if value.is_empty() || !value.bytes().all(allowed) {
        problems.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// A port number.
pub fn port_number(value: i32) -> Problems {
    in_range(value, 1, 65535)
}

/// A number between `min` and `max`, both included.
pub fn in_range(value: i32, min: i32, max: i32) -> Problems {
    if (min..=max).contains(&value) {
        return Vec::new();
    }
    vec![format!("must be between {min} and {max}, inclusive")]
}

/// An IP address of either family, without leading zeros.
pub fn ip_address(value: &str) -> Problems {
    if value.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
}

/// An IP address as it is written when it is made a text again: short and lower-case.
pub fn canonical_ip_address(value: &str) -> Problems {
    let problems = ip_address(value);
    match value.parse::<IpAddr>() {
        Ok(address) if address.to_string() != value => vec![not_canonical(&address)],
        _ => problems,
    }
}

/// A range of IP addresses: `10.0.0.0/8`.
pub fn cidr(value: &str) -> Problems {
    if parse_cidr(value).is_some() {
        return Vec::new();
    }
    vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
}

/// A [`cidr`] whose address is the first of its range, in canonical form.
pub fn canonical_cidr(value: &str) -> Problems {
    match parse_cidr(value) {
        Some(cidr) if cidr.first().to_string() != value => vec![not_canonical(&cidr.first())],
        _ => cidr(value),
    }
}

fn not_canonical(canonical: &dyn std::fmt::Display) -> String {
    format!("must be in canonical form (\"{canonical}\")")
}

/// A parsed [`cidr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// The range that `value` writes; `None` if it is none.
pub fn parse_cidr(value: &str) -> Option<Cidr> {
    let (address, bits) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let max: u8 = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse::<u8>().ok().filter(|_| !bits.starts_with('+'))?;
    (bits <= max).then_some(Cidr { address, bits })
}

impl Cidr {
    /// The address as it was written, which need not be the first one.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits the addresses of the range share.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The same range, written with its first address.
    #[must_use]
    pub fn first(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & self.mask_v4()).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & self.mask_v6()).into(),
        };
        Cidr { address, ..*self }
    }

    /// True if `ip` is of this family and in this range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (own.to_bits() ^ ip.to_bits()) & self.mask_v4() == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (own.to_bits() ^ ip.to_bits()) & self.mask_v6() == 0
            }
            _ => false,
        }
    }

    // A shift by the whole width would overflow: no bit is shared then.
    fn mask_v4(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0)
    }

    fn mask_v6(&self) -> u128 {
        let shift = 128 - u32::from(self.bits);
        u128::MAX.checked_shl(shift).unwrap_or(0)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// A domain, a slash, and a path: `example.com/ingress-controller`.
pub fn domain_prefixed_path(value: &str) -> Problems {
    let Some((domain, path)) = value
        .split_once('/')
        .filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()];
    };
    let mut problems = dns1123_subdomain(domain);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(allowed) {
        problems.push(format_error(
            "Invalid path",
            "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+",
            &[],
        ));
    }
    problems
}

/// A name that can stand as one segment of a URL path. A prefix may be `.` or `..`,
/// since something follows it.
pub fn path_segment(value: &str, is_prefix: bool) -> Problems {
    let mut problems = Vec::new();
    if !is_prefix && (value == "." || value == "..") {
        return vec![format!("may not be '{value}'")];
    }
    for part in ["/", "%"] {
        if value.contains(part) {
            problems.push(format!("may not contain '{part}'"));
        }
    }
    problems
}

fn is_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified_part(value: &str) -> bool {
    let bytes = value.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn qualified_error() -> String {
    format_error(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
         an alphanumeric character",
        QUALIFIED_FORMAT,
        &["MyName", "my.name", "123-abc"],
    )
}

/// A rule in words, with examples, and as the regular expression it stands for.
pub(crate) fn format_error(rule: &str, format: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{format}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}'")).collect();
    format!(
        "{rule} (e.g. {}, regex used for validation is '{format}')",
        // Kubernetes puts a comma after each example, and `or` between them.
        examples.join(",  or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Problems, good: &[&str], bad: &[(&str, &str)]) {
        for value in good {
            assert_eq!(rule(value), Problems::new(), "{value:?} should be good");
        }
        for (value, words) in bad {
            let problems = rule(value);
            assert!(
                problems.iter().any(|p| p.contains(words)),
                "{value:?}: expected {words:?} in {problems:?}"
            );
        }
    }

    #[test]
    fn labels_are_lower_case_with_inner_dashes() {
        let long = "a".repeat(64);
        check(
            dns1123_label,
            &["a", "a1", "1a", "a-b", "a--b", &"a".repeat(63)],
            &[
                ("", "a lowercase RFC 1123 label"),
                ("A", "a lowercase RFC 1123 label"),
                (
                    "-a",
                    "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'",
                ),
                ("a-", "(e.g. 'my-name'"),
                ("a_b", "a lowercase RFC 1123 label"),
                ("a.b", "must not contain dots"),
                ("é", "a lowercase RFC 1123 label"),
                (&long, "must be no more than 63 bytes"),
            ],
        );
    }

    #[test]
    fn subdomains_are_labels_with_dots() {
        let long = format!("{}.a", "a".repeat(252));
        check(
            dns1123_subdomain,
            &["a", "a.b.c", "0.0", "my-app.example.com"],
            &[
                ("", "a lowercase RFC 1123 subdomain"),
                ("a..b", "a lowercase RFC 1123 subdomain"),
                (".a", "a lowercase RFC 1123 subdomain"),
                ("a.", "a lowercase RFC 1123 subdomain"),
                ("a.-b", "a lowercase RFC 1123 subdomain"),
                ("Web", "(e.g. 'example.com', regex used for validation is"),
                ("web server", "a lowercase RFC 1123 subdomain"),
                (&long, "must be no more than 253 bytes"),
            ],
        );
    }

    #[test]
    fn old_labels_start_with_a_letter() {
        check(
            dns1035_label,
            &["a", "a-1"],
            &[
                ("1a", "a DNS-1035 label"),
                ("", "a DNS-1035 label"),
                ("a-", "a DNS-1035 label"),
            ],
        );
    }

    #[test]
    fn qualified_names_may_have_a_domain() {
        let long = "n".repeat(64);
        check(
            qualified_name,
            &[
                "app",
                "My.Name",
                "example.com/My_Name",
                "1",
                "kubernetes.io/metadata.name",
            ],
            &[
                ("", "name part must be non-empty"),
                ("/a", "prefix part must be non-empty"),
                ("a/", "name part must be non-empty"),
                ("a/b/c", "with an optional DNS subdomain prefix and '/'"),
                ("Example/a", "prefix part a lowercase RFC 1123 subdomain"),
                ("-a", "name part must consist of alphanumeric characters"),
                ("a b", "name part must consist of alphanumeric characters"),
                (&long, "name part must be no more than 63 bytes"),
            ],
        );
    }

    #[test]
    fn label_values_may_be_empty() {
        check(
            label_value,
            &["", "a", "A_b.c-1"],
            &[
                ("a b", "a valid label must be an empty string"),
                ("-", "a valid label"),
                ("a/b", "a valid label"),
            ],
        );
    }

    #[test]
    fn environment_names_are_printable() {
        check(
            env_var_name,
            &["A", "my.env-name", "1A", "with space"],
            &[
                ("", "must be non-empty"),
                ("A=B", "other than '='"),
                ("A\n", "printable ASCII"),
                ("é", "printable ASCII"),
            ],
        );
    }

    #[test]
    fn config_keys_cannot_leave_their_directory() {
        check(
            config_map_key,
            &["a", "A.b_c-d", ".hidden"],
            &[
                ("", "a valid config key"),
                (".", "must not be '.'"),
                ("..", "must not be '..'"),
                ("..a", "must not start with '..'"),
                ("a/b", "a valid config key"),
            ],
        );
    }

    #[test]
    fn port_names_have_a_letter() {
        check(
            port_name,
            &["http", "a", "1-a", "http-2"],
            &[
                ("", "must contain at least one letter"),
                ("80", "must contain at least one letter"),
                ("a--b", "consecutive hyphens"),
                ("-a", "must not begin or end"),
                ("Http", "must contain only alpha-numeric"),
                ("a-very-long-name", "no more than 15 bytes"),
            ],
        );
    }

    #[test]
    fn addresses_and_ranges() {
        check(
            ip_address,
            &["10.0.0.1", "::1", "2001:db8::ffff"],
            &[
                ("", "must be a valid IP"),
                ("10.0.0", "must be a valid IP"),
                ("010.0.0.1", "must be a valid IP"),
            ],
        );
        check(
            cidr,
            &["10.0.0.0/8", "::/0", "10.0.0.1/32"],
            &[
                ("10.0.0.0", "CIDR"),
                ("10.0.0.0/33", "CIDR"),
                ("::/129", "CIDR"),
                ("a/8", "CIDR"),
                ("1.1.1.1/+8", "CIDR"),
            ],
        );
        check(
            canonical_ip_address,
            &["10.0.0.1", "::1", "fd00::1"],
            &[
                ("x", "must be a valid IP"),
                ("FD00::1", "must be in canonical form (\"fd00::1\")"),
                ("0:0:0::1", "must be in canonical form (\"::1\")"),
            ],
        );
        check(
            canonical_cidr,
            &["10.0.0.0/8", "::/0", "fd00::/8", "10.0.0.1/32"],
            &[
                ("x", "CIDR"),
                ("10.0.0.1/8", "must be in canonical form (\"10.0.0.0/8\")"),
                ("fd00::1/8", "must be in canonical form (\"fd00::/8\")"),
            ],
        );
        let contains = |range: &str, ip: &str| {
            let range = parse_cidr(range).unwrap();
            range.contains(ip.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "fe80::1") && contains("fd00::/8", "fd12::1"));
    }

    #[test]
    fn wildcards_and_paths_have_domains() {
        check(
            wildcard_dns1123_subdomain,
            &["*.a", "*.example.com"],
            &[
                ("*", "a wildcard DNS-1123 subdomain must start with '*.'"),
                ("a.*", "regex used for validation is '\\*\\.[a-z0-9]"),
                ("*.A", "a wildcard DNS-1123 subdomain"),
            ],
        );
        check(
            domain_prefixed_path,
            &["a/b", "example.com/a/b", "a.b/~c"],
            &[
                ("a", "must be a domain-prefixed path"),
                ("/a", "must be a domain-prefixed path"),
                ("a/", "must be a domain-prefixed path"),
                ("A/b", "a lowercase RFC 1123 subdomain"),
                ("a/b c", "Invalid path (regex used for validation is"),
            ],
        );
    }

    #[test]
    fn prefixes_may_end_in_a_dash() {
        let cases = [
            (NameRule::Dns1123Subdomain, "web-", true, true),
            (NameRule::Dns1123Subdomain, "web-", false, false),
            (NameRule::Dns1123Subdomain, "web--", true, true),
            (NameRule::Dns1123Label, "a.b-", true, false),
            (NameRule::Dns1035Label, "1a-", true, false),
            (NameRule::Dns1123Subdomain, "-", true, false),
            (NameRule::PathSegment, "system:node", false, true),
            (NameRule::PathSegment, "a/b", false, false),
            (NameRule::PathSegment, "..", false, false),
            (NameRule::PathSegment, "..", true, true),
            (NameRule::PathSegment, "50%", false, false),
        ];
        for (rule, name, is_prefix, good) in cases {
            assert_eq!(
                rule.check(name, is_prefix).is_empty(),
                good,
                "{rule:?} {name:?} {is_prefix}"
            );
        }
    }
}
