//! Who owns whom: every object by uid, and the dependents of every uid. Pure.
//!
//! The graph is only a hint at what to look at. It never proves that an owner is gone: that is read
//! from the API before anything is deleted.

use std::collections::{HashMap as StdHashMap, HashSet as StdHashSet};
use std::sync::Arc;

use ahash::RandomState;
use euston_api::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

use crate::discovery::Kind;

type HashMap<K, V> = StdHashMap<K, V, RandomState>;
type HashSet<K> = StdHashSet<K, RandomState>;

pub(super) type Uid = Arc<str>;

/// What the collector needs to know of an object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Arc<Kind>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) resource_version: Option<String>,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) deletion: Deletion,
    /// What its finalizers ask for, should it be deleted.
    pub(super) policy: PropagationPolicy,
}

/// How far the deletion of an object is, and what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    No,
    /// Under way; the collector has no part in it (any more).
    Going,
    /// Waits until its dependents are gone.
    Foreground,
    /// Waits until its dependents are let go.
    Orphan,
}

impl Deletion {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        match policy_of(meta) {
            _ if meta.deletion_timestamp.is_none() => Self::No,
            PropagationPolicy::Orphan => Self::Orphan,
            PropagationPolicy::Foreground => Self::Foreground,
            PropagationPolicy::Background => Self::Going,
        }
    }
}

fn policy_of(meta: &ObjectMeta) -> PropagationPolicy {
    let has = |name: &str| {
        let mut finalizers = meta.finalizers.iter().flatten();
        finalizers.any(|finalizer| finalizer == name)
    };
    if has(FINALIZER_ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FINALIZER_FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    }
}

impl Node {
    pub(super) fn new(kind: &Arc<Kind>, meta: &ObjectMeta) -> Self {
        Self {
            kind: kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deletion: Deletion::of(meta),
            policy: policy_of(meta),
        }
    }

    /// True if it is what an object in `namespace` means by `owner`. A namespaced owner is
    /// looked for in that namespace alone, whatever uid the reference names.
    pub(super) fn is_meant_by(&self, owner: &OwnerReference, namespace: &str) -> bool {
        let resource = &self.kind.resource;
        resource.kind == owner.kind
            && resource.group == group_of(owner)
            && self.name == owner.name
            && (!self.kind.namespaced || self.namespace == namespace)
    }

    /// `pods ns/name`, for messages.
    pub(super) fn describe(&self) -> String {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        format!(
            "{} {}{slash}{}",
            self.kind.qualified(),
            self.namespace,
            self.name
        )
    }
}

/// The API group that an owner is in.
pub(super) fn group_of(owner: &OwnerReference) -> &str {
    let group_and_version = owner.api_version.rsplit_once('/');
    group_and_version.map_or("", |(group, _)| group)
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, HashSet<Uid>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Dependents of `owner`, with their uids.
    pub(super) fn dependents(&self, owner: &str) -> Vec<(Uid, Node)> {
        let uids = self.dependents.get(owner);
        uids.into_iter()
            .flatten()
            .filter_map(|uid| Some((uid.clone(), self.nodes.get(uid)?.clone())))
            .collect()
    }

    pub(super) fn has_dependents(&self, owner: &str) -> bool {
        self.dependents
            .get(owner)
            .is_some_and(|uids| !uids.is_empty())
    }

    /// Takes in the present state of an object; returns the uids that are worth a look now.
    pub(super) fn observe(&mut self, kind: &Arc<Kind>, meta: &ObjectMeta) -> Vec<Uid> {
        let Some(uid) = meta.uid.as_deref().map(Uid::from) else {
            return Vec::new();
        };
        let node = Node::new(kind, meta);
        let mut work = Vec::new();
        let old = self.nodes.remove(&uid);
        let old_owners = old
            .as_ref()
            .map(|old| old.owners.clone())
            .unwrap_or_default();
        for owner in &old_owners {
            let same = node.owners.iter().find(|new| new.uid == owner.uid);
            if same.is_none() {
                self.unlink(&owner.uid, &uid);
            }
            // It no longer holds its owner back: the owner may be free to go.
            let released = same.is_none_or(|new| blocks(owner) && !blocks(new));
            if released && self.deletion(&owner.uid) == Deletion::Foreground {
                work.push(Uid::from(owner.uid.as_str()));
            }
        }
        for owner in &node.owners {
            self.dependents
                .entry(owner.uid.as_str().into())
                .or_default()
                .insert(uid.clone());
        }
        let news = match node.deletion {
            Deletion::Orphan => true,
            Deletion::Foreground => {
                if old
                    .as_ref()
                    .is_none_or(|old| old.deletion != Deletion::Foreground)
                {
                    work.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
                }
                true
            }
            Deletion::Going => {
                // A blocking dependent of a foreground deletion counts until it is gone.
                false
            }
            Deletion::No => node.owners.iter().any(|owner| {
                let known = self.nodes.get(owner.uid.as_str());
                known.is_none_or(|known| {
                    known.deletion == Deletion::Foreground
                        || !known.is_meant_by(owner, &node.namespace)
                })
            }),
        };
        if news {
            work.push(uid.clone());
        }
        self.nodes.insert(uid, node);
        work
    }

    /// Forgets an object that is gone; returns the uids that are worth a look now.
    pub(super) fn forget(&mut self, uid: &str) -> Vec<Uid> {
        let Some(node) = self.nodes.remove(uid) else {
            return Vec::new();
        };
        let mut work: Vec<Uid> = self
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            if self.deletion(&owner.uid) == Deletion::Foreground {
                work.push(Uid::from(owner.uid.as_str()));
            }
        }
        work
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(uids) = self.dependents.get_mut(owner) {
            uids.remove(dependent);
            if uids.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// True if one of the object's own dependents waits for its dependents: then they may
    /// wait for one another.
    pub(super) fn may_be_in_a_circle(&self, uid: &str) -> bool {
        let mut dependents = self.dependents.get(uid).into_iter().flatten();
        dependents.any(|dependent| self.deletion(dependent) == Deletion::Foreground)
    }

    pub(super) fn deletion(&self, uid: &str) -> Deletion {
        self.nodes
            .get(uid)
            .map_or(Deletion::No, |node| node.deletion)
    }
}

pub(super) fn blocks(owner: &OwnerReference) -> bool {
    owner.block_owner_deletion == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::at;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::core::{ApiResource, GroupVersionKind};

    fn kind() -> Arc<Kind> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        Arc::new(Kind {
            resource,
            namespaced: true,
            watchable: true,
            delete_collection: true,
        })
    }

    /// `name<owner!` : an object owned by `owner`, `!` if it blocks the owner's deletion. A name
    /// is a uid as well; behind a `/` stands the namespace.
    fn meta(words: &str) -> ObjectMeta {
        let mut words = words.split_whitespace();
        let (name, owner) = words
            .next()
            .unwrap()
            .split_once('<')
            .map_or_else(|| (String::new(), None), |(n, o)| (n.to_owned(), Some(o)));
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
            None => (None, name),
        };
        let mut meta = ObjectMeta {
            name: Some(name.clone()),
            uid: Some(name),
            namespace,
            ..ObjectMeta::default()
        };
        meta.owner_references = owner.filter(|owner| !owner.is_empty()).map(|owner| {
            vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Pod".into(),
                name: owner.trim_end_matches('!').into(),
                uid: owner.trim_end_matches('!').into(),
                block_owner_deletion: Some(owner.ends_with('!')),
                ..OwnerReference::default()
            }]
        });
        for word in words {
            match word {
                "deleting" => meta.deletion_timestamp = Some(Time(at(0))),
                finalizer => meta
                    .finalizers
                    .get_or_insert_default()
                    .push(finalizer.into()),
            }
        }
        meta
    }

    fn observe(graph: &mut Graph, words: &str) -> String {
        sorted(graph.observe(&kind(), &meta(words)))
    }

    fn sorted(mut work: Vec<Uid>) -> String {
        work.sort();
        work.join(" ")
    }

    #[test]
    fn only_what_may_be_garbage_is_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(observe(&mut graph, "rs<"), "", "no owner, no work");
        assert_eq!(observe(&mut graph, "a<rs!"), "", "its owner is known");
        assert_eq!(
            observe(&mut graph, "b<gone!"),
            "b",
            "its owner is not known"
        );
        assert_eq!(observe(&mut graph, "b<gone! deleting"), "", "already going");
        assert!(graph.has_dependents("rs") && graph.has_dependents("gone"));
        assert_eq!(sorted(graph.forget("rs")), "a", "its owner is gone");
        assert_eq!(sorted(graph.forget("a")), "");
        assert!(!graph.has_dependents("rs"));
        assert_eq!(sorted(graph.forget("a")), "", "twice is once");
    }

    #[test]
    fn a_foreground_deletion_involves_all_dependents_and_waits_for_them() {
        let mut graph = Graph::default();
        for words in ["rs<", "a<rs!", "b<rs!"] {
            observe(&mut graph, words);
        }
        assert_eq!(
            observe(&mut graph, "rs< deleting foregroundDeletion"),
            "a b rs"
        );
        assert_eq!(
            observe(&mut graph, "rs< deleting foregroundDeletion"),
            "rs",
            "the dependents know"
        );
        assert_eq!(observe(&mut graph, "a<rs! deleting"), "");
        assert_eq!(sorted(graph.forget("a")), "rs");
        assert_eq!(observe(&mut graph, "b<rs"), "b rs", "it no longer blocks");
        assert_eq!(observe(&mut graph, "b<"), "rs", "it is nobody's any more");
        assert_eq!(observe(&mut graph, "late<rs!"), "late");
    }

    #[test]
    fn an_owner_in_another_namespace_or_by_another_name_is_none() {
        let mut graph = Graph::default();
        observe(&mut graph, "here/rs<");
        assert_eq!(observe(&mut graph, "here/a<rs!"), "");
        assert_eq!(observe(&mut graph, "there/b<rs!"), "b", "worth a look");
        let rs = graph.get("rs").unwrap();
        let owner = &graph.get("a").unwrap().owners[0];
        assert!(rs.is_meant_by(owner, "here") && !rs.is_meant_by(owner, "there"));
        for (field, value) in [("name", "x"), ("kind", "X"), ("apiVersion", "apps/v1")] {
            let mut other = serde_json::to_value(owner).unwrap();
            other[field] = value.into();
            let other = serde_json::from_value(other).unwrap();
            assert!(!rs.is_meant_by(&other, "here"), "{field}");
        }
    }

    #[test]
    fn objects_that_may_wait_for_one_another_are_seen() {
        let mut graph = Graph::default();
        observe(&mut graph, "a<b!");
        observe(&mut graph, "b<a!");
        assert!(!graph.may_be_in_a_circle("a"));
        observe(&mut graph, "b<a! deleting foregroundDeletion");
        assert!(graph.may_be_in_a_circle("a") && !graph.may_be_in_a_circle("b"));
    }

    #[test]
    fn an_object_goes_as_its_finalizers_ask() {
        for (words, policy) in [
            ("a<", PropagationPolicy::Background),
            ("a< orphan", PropagationPolicy::Orphan),
            ("a< x/y foregroundDeletion", PropagationPolicy::Foreground),
        ] {
            let node = Node::new(&kind(), &meta(words));
            assert_eq!(
                (node.policy, node.deletion),
                (policy, Deletion::No),
                "{words}"
            );
        }
    }

    #[test]
    fn an_orphaning_deletion_is_work_for_its_owner_alone() {
        let mut graph = Graph::default();
        observe(&mut graph, "rs<");
        observe(&mut graph, "a<rs!");
        assert_eq!(observe(&mut graph, "rs< deleting orphan"), "rs");
        assert_eq!(graph.deletion("rs"), Deletion::Orphan);
        assert_eq!(graph.dependents("rs").len(), 1);
    }
}
