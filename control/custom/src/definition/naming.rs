//! Which names a definition gets: of two that want the same, the first keeps it
//! (`apiextensions-apiserver/pkg/controller/status`).

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{ESTABLISHED, NAMES_ACCEPTED, set_condition};

/// Names that others of the group have.
#[derive(Debug, Default)]
pub struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    /// Takes in the names of a kind.
    pub fn add<'n>(
        &mut self,
        resources: impl IntoIterator<Item = &'n str>,
        kinds: impl IntoIterator<Item = &'n str>,
    ) {
        let named = |names: &mut BTreeSet<String>, new: &str| {
            if !new.is_empty() {
                names.insert(new.to_owned());
            }
        };
        for name in resources {
            named(&mut self.resources, name);
        }
        for name in kinds {
            named(&mut self.kinds, name);
        }
    }

    /// Takes in what another definition was given.
    pub fn add_accepted(&mut self, other: &CustomResourceDefinition) {
        let Some(names) = other
            .status
            .as_ref()
            .and_then(|s| s.accepted_names.as_ref())
        else {
            return;
        };
        let short = names.short_names.iter().flatten().map(String::as_str);
        let single = [
            names.plural.as_str(),
            names.singular.as_deref().unwrap_or_default(),
        ];
        let kinds = [
            names.kind.as_str(),
            names.list_kind.as_deref().unwrap_or_default(),
        ];
        self.add(single.into_iter().chain(short), kinds);
    }
}

/// The definition with what it may have of what it asks for, and the conditions that tell. Nothing changes
/// if nothing is new.
pub fn accept(
    definition: &CustomResourceDefinition,
    taken: &Taken,
    now: &Time,
) -> CustomResourceDefinition {
    let wanted = &definition.spec.names;
    let mut given = definition
        .status
        .as_ref()
        .and_then(|s| s.accepted_names.clone())
        .unwrap_or_default();
    let mut conflict: Option<(&str, String)> = None;
    let mut free = |reason: &'static str, names: &[&str], among: &BTreeSet<String>| {
        let used: Vec<String> = names
            .iter()
            .filter(|name| among.contains(**name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        if used.is_empty() {
            return true;
        }
        // The last one is told, as Kubernetes does.
        conflict = Some((reason, used.join(", ")));
        false
    };
    let singular = wanted.singular.as_deref().unwrap_or_default();
    let list_kind = wanted.list_kind.as_deref().unwrap_or_default();
    let short: Vec<&str> = wanted
        .short_names
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    if free("PluralConflict", &[&wanted.plural], &taken.resources) {
        given.plural = wanted.plural.clone();
    }
    if free("SingularConflict", &[singular], &taken.resources) {
        given.singular = wanted.singular.clone();
    }
    if free("ShortNamesConflict", &short, &taken.resources) {
        given.short_names = wanted.short_names.clone();
    }
    if free("KindConflict", &[&wanted.kind], &taken.kinds) {
        given.kind = wanted.kind.clone();
    }
    if free("ListKindConflict", &[list_kind], &taken.kinds) {
        given.list_kind = wanted.list_kind.clone();
    }
    given.categories = wanted.categories.clone();

    let mut new = definition.clone();
    let established = super::is_true(definition, ESTABLISHED);
    let (names, served) = match &conflict {
        None => (
            ("NoConflicts", "no conflicts found"),
            (
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
        ),
        Some((reason, message)) => (
            (*reason, message.as_str()),
            ("NotAccepted", "not all names are accepted"),
        ),
    };
    set_condition(&mut new, NAMES_ACCEPTED, conflict.is_none(), names, now);
    // Once served, always served: objects may be there.
    if !established {
        set_condition(&mut new, ESTABLISHED, conflict.is_none(), served, now);
    }
    put_names(&mut new, given);
    new
}

fn put_names(definition: &mut CustomResourceDefinition, names: CustomResourceDefinitionNames) {
    definition.status.get_or_insert_default().accepted_names = Some(names);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> CustomResourceDefinition {
        serde_json::from_value(json!({
            "metadata": { "name": format!("{plural}.example.org") },
            "spec": { "group": "example.org", "scope": "Namespaced", "names": {
                "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": short,
            }, "versions": [] },
        }))
        .unwrap()
    }

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    /// Status and reason of both conditions, and the names given.
    fn told(definition: &CustomResourceDefinition) -> String {
        let status = definition.status.as_ref().unwrap();
        let conditions = status
            .conditions
            .iter()
            .flatten()
            .map(|c| format!("{} {} {}", c.type_, c.status, c.reason.as_deref().unwrap()));
        let names = status.accepted_names.as_ref().unwrap();
        format!(
            "{}; {} {}",
            conditions.collect::<Vec<_>>().join(", "),
            names.plural,
            names.kind
        )
    }

    #[test]
    fn names_that_nobody_has_are_given() {
        let new = accept(
            &definition("apples", "Apple", &["ap"]),
            &Taken::default(),
            &at(1),
        );
        assert_eq!(
            told(&new),
            "NamesAccepted True NoConflicts, Established True InitialNamesAccepted; apples Apple"
        );
        assert_eq!(accept(&new, &Taken::default(), &at(2)), new);
    }

    #[test]
    fn names_that_another_has_are_not_given_until_it_lets_them_go() {
        let first = accept(
            &definition("apples", "Apple", &["ap"]),
            &Taken::default(),
            &at(1),
        );
        let mut taken = Taken::default();
        taken.add_accepted(&first);
        for (plural, kind, short, expect) in [
            ("pears", "Apple", "p", "ListKindConflict"),
            ("pears", "Pear", "ap", "ShortNamesConflict"),
            ("pears", "Pear", "apples", "ShortNamesConflict"),
            ("pears", "AppleList", "p", "KindConflict"),
        ] {
            let second = accept(&definition(plural, kind, &[short]), &taken, &at(2));
            let told = told(&second);
            assert!(
                told.starts_with(&format!(
                    "NamesAccepted False {expect}, Established False NotAccepted"
                )),
                "{told}"
            );
            let later = accept(&second, &Taken::default(), &at(3));
            assert!(super::super::is_true(&later, ESTABLISHED));
        }
    }

    #[test]
    fn what_is_served_stays_so_when_it_wants_what_another_has() {
        let served = accept(&definition("pears", "Pear", &[]), &Taken::default(), &at(1));
        let mut greedy = served.clone();
        greedy.spec.names.short_names = Some(vec!["ap".into()]);
        let mut taken = Taken::default();
        taken.add(["ap"], []);
        let new = accept(&greedy, &taken, &at(2));
        assert_eq!(
            told(&new),
            "NamesAccepted False ShortNamesConflict, Established True InitialNamesAccepted; pears Pear"
        );
        assert_eq!(
            new.status.unwrap().accepted_names.unwrap().short_names,
            Some(vec![])
        );
    }
}
