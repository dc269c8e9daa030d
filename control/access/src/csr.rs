//! Certificate signing requests: who signs what, and what needs nobody's approval.
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>.

use crate::user::{MASTERS, NODE_PREFIX, NODES};

/// For clients of the API, after somebody's approval.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// For nodes as clients of the API, approved by itself for those who may.
pub const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// For nodes as servers, after somebody's approval.
pub const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

/// Every usage that a request may name.
pub const USAGES: &[&str] = &[
    "signing",
    "digital signature",
    "content commitment",
    "key encipherment",
    "key agreement",
    "data encipherment",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
    "any",
    "server auth",
    "client auth",
    "code signing",
    "email protection",
    "s/mime",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "timestamping",
    "ocsp signing",
    "microsoft sgc",
    "netscape sgc",
];

/// What a request (PKCS #10) says of whom it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The common name: the user.
    pub common_name: String,
    /// The organizations: the groups.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<String>,
    /// True if there are names of other sorts: mail, URI.
    pub other_names: bool,
}

impl Subject {
    fn names_a_node(&self) -> Result<(), &'static str> {
        if self.organizations != [NODES] {
            return Err("organization must be [\"system:nodes\"]");
        }
        let name = self.common_name.strip_prefix(NODE_PREFIX);
        if name.is_none_or(str::is_empty) {
            return Err("subject common name does not begin with \"system:node:\"");
        }
        Ok(())
    }

    fn has_names(&self) -> bool {
        !self.dns_names.is_empty() || !self.addresses.is_empty() || self.other_names
    }
}

/// What a certificate is signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Client authentication.
    Client,
    /// Server authentication.
    Server,
}

/// Whether and for what the signer called `signer_name` signs a request; `None`: it is no signer of this cluster.
///
/// # Errors
/// Why it never will.
pub fn purpose(
    signer_name: &str,
    subject: &Subject,
    usages: &[String],
) -> Option<Result<Purpose, String>> {
    let (purpose, must) = match signer_name {
        CLIENT | NODE_CLIENT => (Purpose::Client, "client auth"),
        NODE_SERVING => (Purpose::Server, "server auth"),
        _ => return None,
    };
    Some(
        judge(signer_name, subject, usages, must)
            .map(|()| purpose)
            .map_err(str::to_owned),
    )
}

fn judge(
    signer_name: &str,
    subject: &Subject,
    usages: &[String],
    must: &str,
) -> Result<(), &'static str> {
    let known = |usage: &str| ["digital signature", "key encipherment"].contains(&usage);
    if !usages.iter().any(|u| u == must) {
        return Err(if must == "client auth" {
            "usages did not include \"client auth\""
        } else {
            "usages did not include \"server auth\""
        });
    }
    if let Some(_other) = usages.iter().find(|u| *u != must && !known(u)) {
        return Err("usages hold one that this signer does not sign for");
    }
    match signer_name {
        NODE_CLIENT => {
            subject.names_a_node()?;
            if subject.has_names() {
                return Err("a client certificate of a node carries no DNS, IP, mail or URI names");
            }
        }
        NODE_SERVING => {
            subject.names_a_node()?;
            if subject.other_names {
                return Err("mail and URI names are not allowed");
            }
            if !subject.has_names() {
                return Err("a serving certificate needs a DNS name or an IP address");
            }
        }
        _ if subject.organizations.iter().any(|o| o == MASTERS) => {
            return Err("the group system:masters is not signed for");
        }
        _ if subject.common_name.is_empty() => return Err("the subject has no common name"),
        _ => {}
    }
    Ok(())
}

/// The subresource of `certificatesigningrequests` that whoever sent this request must be allowed to create, for it to
/// be approved without asking anybody. `None` if somebody has to.
pub fn approved_by_right(
    signer_name: &str,
    subject: &Subject,
    usages: &[String],
    sent_by: &str,
) -> Option<&'static str> {
    if signer_name != NODE_CLIENT || purpose(signer_name, subject, usages)?.is_err() {
        return None;
    }
    Some(if subject.common_name == sent_by {
        "selfnodeclient"
    } else {
        "nodeclient"
    })
}

/// True if a signer's name is `DOMAIN/PATH`.
pub fn is_signer_name(name: &str) -> bool {
    let Some((domain, path)) = name.split_once('/') else {
        return false;
    };
    let labels = |text: &str| euston_api::names::dns1123_subdomain(text).is_empty();
    domain.contains('.') && labels(domain) && labels(path) && name.len() <= 571
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Subject {
        Subject {
            common_name: "system:node:n".to_owned(),
            organizations: vec![NODES.to_owned()],
            ..Subject::default()
        }
    }

    fn check(signer: &str, subject: &Subject, usages: &str, expect: Option<Result<Purpose, &str>>) {
        let usages: Vec<String> = usages.split(',').map(str::to_owned).collect();
        match (purpose(signer, subject, &usages), expect) {
            (Some(Err(error)), Some(Err(part))) => assert!(error.contains(part), "{error}"),
            (got, expect) => assert_eq!(
                got,
                expect.map(|e| e.map_err(str::to_owned)),
                "{signer} {subject:?}"
            ),
        }
    }

    #[test]
    fn each_signer_signs_for_its_own() {
        let all = "client auth,digital signature,key encipherment";
        let ann = Subject {
            common_name: "ann".to_owned(),
            organizations: vec!["devs".to_owned()],
            ..Subject::default()
        };
        check(CLIENT, &ann, all, Some(Ok(Purpose::Client)));
        check(CLIENT, &ann, "client auth", Some(Ok(Purpose::Client)));
        check(
            CLIENT,
            &ann,
            "digital signature",
            Some(Err("did not include \"client auth\"")),
        );
        check(
            CLIENT,
            &ann,
            "client auth,server auth",
            Some(Err("does not sign for")),
        );
        check(
            CLIENT,
            &Subject::default(),
            all,
            Some(Err("no common name")),
        );
        let root = Subject {
            organizations: vec![MASTERS.to_owned()],
            ..ann.clone()
        };
        check(CLIENT, &root, all, Some(Err("system:masters")));
        check("example.com/mine", &ann, all, None);
        check("kubernetes.io/legacy-unknown", &ann, all, None);

        check(NODE_CLIENT, &node(), all, Some(Ok(Purpose::Client)));
        check(NODE_CLIENT, &ann, all, Some(Err("organization must be")));
        let change = |change: fn(&mut Subject)| {
            let mut subject = node();
            change(&mut subject);
            subject
        };
        let prefix_alone = change(|s| s.common_name = NODE_PREFIX.to_owned());
        check(NODE_CLIENT, &prefix_alone, all, Some(Err("common name")));
        let more_groups = change(|s| s.organizations.push(MASTERS.to_owned()));
        check(
            NODE_CLIENT,
            &more_groups,
            all,
            Some(Err("organization must be")),
        );
        let dns = change(|s| s.dns_names.push("n".to_owned()));
        check(NODE_CLIENT, &dns, all, Some(Err("carries no DNS")));

        let serving = "server auth,digital signature";
        check(NODE_SERVING, &dns, serving, Some(Ok(Purpose::Server)));
        let ip = change(|s| s.addresses.push("10.0.0.1".to_owned()));
        check(NODE_SERVING, &ip, serving, Some(Ok(Purpose::Server)));
        check(
            NODE_SERVING,
            &node(),
            serving,
            Some(Err("needs a DNS name")),
        );
        check(
            NODE_SERVING,
            &ip,
            all,
            Some(Err("did not include \"server auth\"")),
        );
        check(
            NODE_SERVING,
            &ann,
            serving,
            Some(Err("organization must be")),
        );
        let mail = change(|s| s.other_names = true);
        check(NODE_SERVING, &mail, serving, Some(Err("mail and URI")));
    }

    #[test]
    fn nodes_get_client_certificates_by_right() {
        let usages = ["client auth".to_owned()];
        let check = |signer: &str, subject: &Subject, sent_by: &str, expect: Option<&str>| {
            assert_eq!(approved_by_right(signer, subject, &usages, sent_by), expect);
        };
        check(
            NODE_CLIENT,
            &node(),
            "system:node:n",
            Some("selfnodeclient"),
        );
        check(
            NODE_CLIENT,
            &node(),
            "system:bootstrap:abcdef",
            Some("nodeclient"),
        );
        check(NODE_SERVING, &node(), "system:node:n", None);
        check(CLIENT, &node(), "system:node:n", None);
        check(NODE_CLIENT, &Subject::default(), "", None);
    }

    #[test]
    fn signers_have_a_domain_and_a_path() {
        for (name, expect) in [
            (CLIENT, true),
            ("example.com/a.b-c", true),
            ("example.com", false),
            ("example/x", false),
            ("example.com/", false),
            ("/x", false),
            ("example.com/A", false),
            ("example.com/a/b", false),
        ] {
            assert_eq!(is_signer_name(name), expect, "{name}");
        }
    }
}
