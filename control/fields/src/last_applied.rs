//! From client-side to server-side apply: the annotation that `kubectl apply` keeps.
//!
//! Kubernetes' server does two things for the manager named `kubectl`, and for no other:
//! what the annotation says, and the object still is, was the same person's wish, so it is no
//! conflict; and where there is an annotation, server-side apply keeps it up to date, so that
//! going back is possible
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply>).

use crate::compare::compare;
use crate::merge::{annotation, set_annotation};
use crate::owned::owned;
use crate::schema::Schema;
use crate::set::Set;
use crate::tree::Tree;

/// The manager that these rules are for.
pub(crate) const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Bytes of all annotations together (Kubernetes' bound): a larger text is not kept.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// The fields that the annotation names and that the object still has as they stand there.
/// Empty if there is no annotation, or one that cannot be read.
pub(crate) fn untouched(schema: &dyn Schema, live: &Tree<'_>) -> Set<'static> {
    let none = Set::default;
    let Some(text) = annotation(live, ANNOTATION) else {
        return none();
    };
    let Ok(last) = Tree::parse(text.as_bytes()) else {
        return none();
    };
    let version = |of: &Tree<'_>| {
        of.get("apiVersion")
            .and_then(|v| v.as_str().map(str::to_owned))
    };
    if version(&last) != version(live) {
        return none();
    }
    let Ok(mut fields) = owned(schema, &last) else {
        return none();
    };
    let diff = compare(schema, Some(&last), live);
    fields.subtract(&diff.changed);
    fields.subtract(&diff.removed);
    fields.into_owned()
}

/// Brings the annotation up to date, where there is one.
pub(crate) fn refresh(object: &mut Tree<'_>, config: &Tree<'_>) {
    if annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Tree::Map(top) = &mut config {
        top.retain(|key, value| {
            if let ("metadata", Tree::Map(meta)) = (key, value) {
                meta.retain(|key, value| {
                    if let ("annotations", Tree::Map(annotations)) = (key, value) {
                        annotations.retain(|name, _| name != ANNOTATION);
                    }
                    key != "managedFields"
                });
            }
            true
        });
    }
    let text = config.to_json() + "\n";
    if text.len() <= TEXT_BYTES_MAX {
        set_annotation(object, ANNOTATION, text);
    }
}
