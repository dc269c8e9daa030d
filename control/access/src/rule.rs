//! One rule of a role: what it allows, what it covers, how it is written.
//! Follows `k8s.io/component-helpers/auth/rbac/validation`.

use std::fmt::Write;

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::Asked;

/// Stands for all verbs, groups, resources, or paths.
pub const ALL: &str = "*";

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == wanted)
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == wanted)
}

fn given(list: &Option<Vec<String>>) -> &[String] {
    list.as_deref().unwrap_or_default()
}

/// True if `rule` allows what is asked.
pub fn allows(rule: &PolicyRule, asked: &Asked<'_>) -> bool {
    match *asked {
        Asked::Resource(action) => {
            has_or_all(&rule.verbs, action.verb)
                && has_or_all(given(&rule.api_groups), action.group)
                && given(&rule.resources)
                    .iter()
                    .any(|r| names_resource(r, action.resource, action.subresource))
                && {
                    let names = given(&rule.resource_names);
                    names.is_empty() || has(names, action.name)
                }
        }
        Asked::Path { verb, path } => {
            has_or_all(&rule.verbs, verb)
                && given(&rule.non_resource_urls)
                    .iter()
                    .any(|url| covers_path(url, path))
        }
    }
}

/// True if `written` in a rule means the (sub)resource: its name, all of them, or `*/SUBRESOURCE`.
/// `pods/*` means nothing, in Kubernetes too.
fn names_resource(written: &str, resource: &str, subresource: &str) -> bool {
    if written == ALL {
        return true;
    }
    match written.split_once('/') {
        None => subresource.is_empty() && written == resource,
        Some((before, after)) => {
            !subresource.is_empty() && after == subresource && (before == ALL || before == resource)
        }
    }
}

fn covers_path(written: &str, path: &str) -> bool {
    written == path
        || written
            .strip_suffix('*')
            .is_some_and(|start| path.starts_with(start.trim_end_matches('*')))
}

/// The smallest thing that a rule grants: one verb on one resource (of one name), or on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain<'a> {
    /// On a resource.
    Resource {
        /// API group.
        group: &'a str,
        /// Resource, perhaps with a subresource.
        resource: &'a str,
        /// The one object, if it is one.
        name: Option<&'a str>,
        /// The verb.
        verb: &'a str,
    },
    /// On a path.
    Path {
        /// The path, perhaps with a star at its end.
        url: &'a str,
        /// The verb.
        verb: &'a str,
    },
}

/// Everything that a rule grants, one by one. Their number is the product of the lists' lengths.
pub fn grains(rule: &PolicyRule) -> impl Iterator<Item = Grain<'_>> {
    let names = || {
        let names = given(&rule.resource_names);
        let any = names.is_empty().then_some(None);
        any.into_iter()
            .chain(names.iter().map(|name| Some(name.as_str())))
    };
    let on_resources = given(&rule.api_groups).iter().flat_map(move |group| {
        given(&rule.resources).iter().flat_map(move |resource| {
            rule.verbs.iter().flat_map(move |verb| {
                names().map(move |name| Grain::Resource {
                    group,
                    resource,
                    name,
                    verb,
                })
            })
        })
    });
    let on_paths = given(&rule.non_resource_urls)
        .iter()
        .flat_map(|url| rule.verbs.iter().map(move |verb| Grain::Path { url, verb }));
    on_resources.chain(on_paths)
}

/// True if whoever holds `rule` may do all that `grain` stands for.
pub fn covers(rule: &PolicyRule, grain: &Grain<'_>) -> bool {
    match *grain {
        Grain::Resource {
            group,
            resource,
            name,
            verb,
        } => {
            has_or_all(&rule.verbs, verb)
                && has_or_all(given(&rule.api_groups), group)
                && covers_resource(given(&rule.resources), resource)
                && {
                    let names = given(&rule.resource_names);
                    names.is_empty() || name.is_some_and(|name| has(names, name))
                }
        }
        Grain::Path { url, verb } => {
            has_or_all(&rule.verbs, verb)
                && given(&rule.non_resource_urls)
                    .iter()
                    .any(|held| covers_path(held, url))
        }
    }
}

fn covers_resource(held: &[String], resource: &str) -> bool {
    has_or_all(held, resource)
        || resource.split_once('/').is_some_and(|(_, sub)| {
            held.iter()
                .any(|h| h.strip_prefix("*/").is_some_and(|held| held == sub))
        })
}

/// The rule as Kubernetes writes it into messages.
pub fn compact(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", given(&rule.api_groups)),
        ("Resources", given(&rule.resources)),
        ("NonResourceURLs", given(&rule.non_resource_urls)),
        ("ResourceNames", given(&rule.resource_names)),
        ("Verbs", &rule.verbs),
    ];
    let mut text = String::from("{");
    for (name, list) in parts.iter().filter(|(_, list)| !list.is_empty()) {
        if text.len() > 1 {
            text.push_str(", ");
        }
        let _ = write!(text, "{name}:{}", quoted(list));
    }
    text.push('}');
    text
}

/// `["a" "b"]`: a list as Kubernetes' messages show one.
pub fn quoted(list: &[String]) -> String {
    let mut text = String::from("[");
    for (index, entry) in list.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        let _ = write!(text, "{entry:?}");
    }
    text.push(']');
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Action;

    fn words(text: &str) -> Vec<String> {
        text.split(',')
            .map(|w| if w == "-" { "" } else { w }.to_owned())
            .collect()
    }

    /// `get,list - pods,pods/log =a,b` or `get /healthz,/x*`; `-` is the core group.
    pub(crate) fn rule(text: &str) -> PolicyRule {
        let mut parts = text.split_whitespace();
        let mut rule = PolicyRule {
            verbs: words(parts.next().unwrap()),
            ..PolicyRule::default()
        };
        let next = parts.next().unwrap();
        if next.starts_with('/') || (next == "*" && text.split_whitespace().count() == 2) {
            rule.non_resource_urls = Some(words(next));
            return rule;
        }
        rule.api_groups = Some(words(next));
        rule.resources = Some(words(parts.next().unwrap()));
        rule.resource_names = parts.next().map(|names| words(&names[1..]));
        rule
    }

    /// `get - pods/log NAME` or `get /path`.
    pub(crate) fn asked(text: &str) -> Asked<'_> {
        let mut parts = text.split_whitespace();
        let verb = parts.next().unwrap();
        let next = parts.next().unwrap();
        if next.starts_with('/') {
            return Asked::Path { verb, path: next };
        }
        let resource = parts.next().unwrap();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Asked::Resource(Action {
            verb,
            group: if next == "-" { "" } else { next },
            resource,
            subresource,
            namespace: "ns",
            name: parts.next().unwrap_or_default(),
            fields: "",
        })
    }

    #[test]
    fn a_rule_allows_what_it_names() {
        let check = |written: &str, yes: &[&str], no: &[&str]| {
            for (expect, list) in [(true, yes), (false, no)] {
                for text in list {
                    assert_eq!(
                        allows(&rule(written), &asked(text)),
                        expect,
                        "{written}: {text}"
                    );
                }
            }
        };
        check(
            "get,list - pods",
            &["get - pods", "list - pods", "get - pods a"],
            &[
                "watch - pods",
                "get - services",
                "get apps pods",
                "get - pods/log",
                "get /pods",
                "GET - pods",
                "get - pod",
            ],
        );
        check(
            "* - pods",
            &["get - pods", "frobnicate - pods"],
            &["get - pods/status", "get apps pods"],
        );
        check(
            "get * pods",
            &["get - pods", "get x.y pods"],
            &["list - pods", "get - pods/log"],
        );
        check(
            "get - *",
            &["get - pods", "get - pods/log", "get - secrets a"],
            &["list - pods", "get apps deployments"],
        );
        check(
            "get - pods/log",
            &["get - pods/log", "get - pods/log a"],
            &["get - pods", "get - pods/status", "get - services/log"],
        );
        check(
            "update * */scale",
            &[
                "update apps deployments/scale",
                "update - replicationcontrollers/scale",
            ],
            &[
                "update apps deployments",
                "update apps deployments/status",
                "update apps deployments/xscale",
            ],
        );
        // No wildcard in Kubernetes either.
        check(
            "get - pods/*",
            &[],
            &["get - pods", "get - pods/log", "get - pods/status"],
        );
        check("get - */*", &[], &["get - pods", "get - pods/log"]);
        check(
            "get,list,watch,create,deletecollection - secrets =a,b",
            &[
                "get - secrets a",
                "get - secrets b",
                "list - secrets a",
                "watch - secrets b",
            ],
            &[
                "get - secrets c",
                "list - secrets",
                "create - secrets",
                "deletecollection - secrets",
            ],
        );
        check(
            "get - pods/log =a",
            &["get - pods/log a"],
            &["get - pods/log b", "get - pods a"],
        );
        check(
            "* * *",
            &["get - pods", "x y z/w n"],
            &["get /healthz", "get /"],
        );
        check(
            "get /healthz,/api*,/a/*",
            &[
                "get /healthz",
                "get /api",
                "get /apis",
                "get /api/v1",
                "get /a/",
                "get /a/b/c",
            ],
            &[
                "get /healthz/",
                "get /health",
                "post /healthz",
                "get /a",
                "get - healthz",
            ],
        );
        check("* *", &["get /", "post /x/y"], &["get - pods"]);
        check("get *", &["get /", "get /x"], &["post /x"]);
        // A star anywhere else is a letter.
        check("get /a/*/b", &["get /a/*/b"], &["get /a/x/b"]);
        check(
            "impersonate - users,groups =bob",
            &["impersonate - users bob"],
            &["impersonate - users eve"],
        );
    }

    #[test]
    fn a_rule_covers_what_its_holder_may_grant() {
        let check = |held: &str, granted: &str, expect: bool| {
            let (held, rule) = (rule(held), rule(granted));
            let all = grains(&rule).all(|grain| covers(&held, &grain));
            assert_eq!(all, expect, "{held:?} {granted}");
        };
        check("get - pods", "get - pods", true);
        check("get,list - pods", "get - pods", true);
        check("get - pods", "get,list - pods", false);
        check("* - pods", "get,list - pods", true);
        check("get - pods", "* - pods", false);
        check("get * pods", "get apps pods", true);
        check("get - pods", "get * pods", false);
        check("get - *", "get - pods,pods/log", true);
        check("get - pods", "get - pods/log", false);
        check("get - */log", "get - pods/log", true);
        check("get - */log", "get - */log", true);
        check("get - */log", "get - pods/status", false);
        check("get - pods/log", "get - */log", false);
        check("get - pods", "get - pods =a", true);
        check("get - pods =a", "get - pods", false);
        check("get - pods =a,b", "get - pods =a", true);
        check("get - pods =a", "get - pods =a,b", false);
        check("get /a*", "get /a/b", true);
        check("get /a*", "get /a*", true);
        check("get /a/b", "get /a*", false);
        check("get *", "get /a*", true);
        check("get /a*", "get *", false);
        check("* * *", "get /a", false);
        check("* *", "get - pods", false);
        check("* * *", "* * *", true);
    }

    #[test]
    fn rules_are_written_as_kubernetes_writes_them() {
        let check = |written: &str, expect: &str| assert_eq!(compact(&rule(written)), expect);
        check(
            "get,list -,apps pods =a",
            r#"{APIGroups:["" "apps"], Resources:["pods"], ResourceNames:["a"], Verbs:["get" "list"]}"#,
        );
        check("get /x*", r#"{NonResourceURLs:["/x*"], Verbs:["get"]}"#);
    }
}
