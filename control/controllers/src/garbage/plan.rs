//! What becomes of an object, given what is known of its owners. Pure.
//!
//! Follows `attemptToDeleteItem` in `pkg/controller/garbagecollector` of Kubernetes.

use kube::api::PropagationPolicy;

/// The verified state of one owner reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It exists: the object stays.
    Solid,
    /// It is gone, or another object bears its name: read from the API.
    Absent,
    /// It waits for its dependents to be gone.
    Waiting,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Keep,
    /// Someone still owns it: drop the references at these positions.
    DropReferences(Vec<usize>),
    Delete(PropagationPolicy),
}

/// Decides for an object with these owners. `policy` is what its own finalizers ask for, `blocking`
/// whether its dependents hold it back in a foreground deletion.
pub(super) fn verdict(
    owners: &[Owner],
    policy: PropagationPolicy,
    has_dependents: bool,
) -> Verdict {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if owners.contains(&Owner::Solid) {
        let useless: Vec<usize> = owners
            .iter()
            .enumerate()
            .filter(|(_, owner)| **owner != Owner::Solid)
            .map(|(i, _)| i)
            .collect();
        return if useless.is_empty() {
            Verdict::Keep
        } else {
            Verdict::DropReferences(useless)
        };
    }
    // An owner that waits for it waits for its dependents too.
    if owners.contains(&Owner::Waiting) && has_dependents {
        return Verdict::Delete(PropagationPolicy::Foreground);
    }
    Verdict::Delete(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Owner::{Absent, Solid, Waiting};

    #[test]
    fn an_object_goes_when_its_last_owner_does() {
        let background = || Verdict::Delete(PropagationPolicy::Background);
        for (owners, has_dependents, expect) in [
            (vec![], true, Verdict::Keep),
            (vec![Solid], true, Verdict::Keep),
            (vec![Solid, Solid], false, Verdict::Keep),
            (vec![Absent], false, background()),
            (vec![Absent], true, background()),
            (vec![Absent, Absent], false, background()),
            (vec![Absent, Solid], false, Verdict::DropReferences(vec![0])),
            (
                vec![Solid, Waiting, Absent],
                true,
                Verdict::DropReferences(vec![1, 2]),
            ),
            (vec![Waiting], false, background()),
            (
                vec![Waiting],
                true,
                Verdict::Delete(PropagationPolicy::Foreground),
            ),
            (
                vec![Waiting, Absent],
                true,
                Verdict::Delete(PropagationPolicy::Foreground),
            ),
        ] {
            assert_eq!(
                verdict(&owners, PropagationPolicy::Background, has_dependents),
                expect,
                "{owners:?}"
            );
        }
        assert_eq!(
            verdict(&[Absent], PropagationPolicy::Orphan, true),
            Verdict::Delete(PropagationPolicy::Orphan)
        );
    }
}
