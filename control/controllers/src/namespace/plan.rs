//! What a namespace that is being deleted says about itself. Pure.
//!
//! Conditions, reasons and messages follow `pkg/controller/namespace/deletion` of Kubernetes.

use std::collections::BTreeMap;

use euston_api::time::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;

/// What one pass over a namespace's content found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Why the kinds could not be discovered.
    pub(super) discovery_error: Option<String>,
    /// Why content could not be deleted.
    pub(super) content_errors: Vec<String>,
    /// Objects left, by kind.
    pub(super) remaining: BTreeMap<String, usize>,
    /// Finalizers on what is left, and how many objects carry each.
    pub(super) finalizers: BTreeMap<String, usize>,
}

impl Findings {
    /// Nothing holds the namespace any more.
    pub(super) fn is_empty(&self) -> bool {
        self.discovery_error.is_none()
            && self.content_errors.is_empty()
            && self.remaining.is_empty()
    }

    /// One sentence for the log.
    pub(super) fn summary(&self) -> String {
        if let Some(error) = &self.discovery_error {
            return error.clone();
        }
        if let Some(error) = self.content_errors.first() {
            return error.clone();
        }
        remaining_message(&self.remaining)
    }
}

fn remaining_message(remaining: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = remaining
        .iter()
        .map(|(kind, count)| format!("{kind} has {count} resource instances"))
        .collect();
    format!("Some resources are remaining: {}", each.join(", "))
}

fn finalizers_message(finalizers: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    format!(
        "Some content in the namespace has finalizers remaining: {}",
        each.join(", ")
    )
}

/// The five conditions of a namespace that is being deleted, keeping transition times of those
/// whose status did not change.
pub(super) fn conditions(
    old: &[NamespaceCondition],
    findings: &Findings,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let discovery = findings.discovery_error.clone();
    let content = (!findings.content_errors.is_empty()).then(|| {
        format!(
            "Failed to delete all resource types, {} remaining: {}",
            findings.content_errors.len(),
            findings.content_errors.join(", ")
        )
    });
    let remaining =
        (!findings.remaining.is_empty()).then(|| remaining_message(&findings.remaining));
    let finalizers =
        (!findings.finalizers.is_empty()).then(|| finalizers_message(&findings.finalizers));
    let table = [
        (
            "NamespaceDeletionDiscoveryFailure",
            discovery,
            "DiscoveryFailed",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            content,
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            remaining,
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            finalizers,
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let mut conditions: Vec<NamespaceCondition> = old
        .iter()
        .filter(|condition| table.iter().all(|row| row.0 != condition.type_))
        .cloned()
        .collect();
    for (type_, trouble, bad_reason, good_reason, good_message) in table {
        let (status, reason, message) = match trouble {
            Some(message) => ("True", bad_reason, message),
            None => ("False", good_reason, good_message.to_owned()),
        };
        let before = old
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status);
        conditions.push(NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: before
                .and_then(|condition| condition.last_transition_time.clone())
                .or_else(|| Some(whole_seconds(now))),
        });
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::at;

    fn told(conditions: &[NamespaceCondition], type_: &str) -> String {
        let condition = conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .unwrap();
        format!(
            "{} {}: {}",
            condition.status,
            condition.reason.as_deref().unwrap(),
            condition.message.as_deref().unwrap()
        )
    }

    #[test]
    fn conditions_say_what_holds_the_namespace() {
        let findings = Findings {
            remaining: [
                ("pods".to_owned(), 3),
                ("widgets.example.com".to_owned(), 1),
            ]
            .into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            ..Findings::default()
        };
        assert!(!findings.is_empty());
        let first = conditions(&[], &findings, at(1));
        assert_eq!(first.len(), 5);
        for (type_, expect) in [
            (
                "NamespaceDeletionDiscoveryFailure",
                "False ResourcesDiscovered: All resources successfully discovered",
            ),
            (
                "NamespaceContentRemaining",
                "True SomeResourcesRemain: Some resources are remaining: pods has 3 resource instances, widgets.example.com has 1 resource instances",
            ),
            (
                "NamespaceFinalizersRemaining",
                "True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
            ),
        ] {
            assert_eq!(told(&first, type_), expect);
        }
        assert_eq!(
            conditions(&first, &findings, at(9)),
            first,
            "no news, no change"
        );
        let last = conditions(&first, &Findings::default(), at(9));
        assert_eq!(
            told(&last, "NamespaceContentRemaining"),
            "False ContentRemoved: All content successfully removed"
        );
        let transition = |list: &[NamespaceCondition], i: usize| {
            list[i].last_transition_time.as_ref().map(|t| t.0)
        };
        assert_eq!(transition(&last, 0), Some(at(1)));
        assert_eq!(transition(&last, 3), Some(at(9)));
    }

    #[test]
    fn failures_are_told_in_full() {
        let findings = Findings {
            discovery_error: Some("no answer".into()),
            content_errors: vec!["a".into(), "b".into()],
            ..Findings::default()
        };
        let conditions = conditions(&[], &findings, at(1));
        assert_eq!(
            told(&conditions, "NamespaceDeletionDiscoveryFailure"),
            "True DiscoveryFailed: no answer"
        );
        assert_eq!(
            told(&conditions, "NamespaceDeletionContentFailure"),
            "True ContentDeletionFailed: Failed to delete all resource types, 2 remaining: a, b"
        );
        assert_eq!(findings.summary(), "no answer");
    }
}
