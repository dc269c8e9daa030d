//! Questions one asks of a failed API call.

use kube::core::Status;

/// The `Status` that the API server answered with, if it answered at all.
#[must_use]
pub fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// 404: the object (or its kind) does not exist.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_not_found)
}

/// 409 Conflict: a precondition (resourceVersion or uid) no longer holds.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_conflict)
}

/// 409 AlreadyExists: an object of that name is there already.
#[must_use]
pub fn is_already_exists(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_already_exists)
}

/// The namespace is going away, so nothing can be created in it any more; retrying is pointless.
#[must_use]
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| {
        status.is_forbidden()
            && (status
                .details
                .as_ref()
                .is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
                || status.message.contains("because it is being terminated"))
    })
}

/// Whether the write may have happened although the call failed: the connection broke, the server
/// timed out or failed inside. A refusal (4xx) proves that nothing changed.
#[must_use]
pub fn outcome_unknown(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 0,
        // The request never left this process.
        kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn errors_are_told_apart_by_reason_then_code() {
        // (error, not found, conflict, already exists, outcome unknown)
        for (error, expect) in [
            (api(404, "NotFound", ""), [true, false, false, false]),
            (api(409, "Conflict", ""), [false, true, false, false]),
            (api(409, "AlreadyExists", ""), [false, false, true, false]),
            (api(422, "Invalid", ""), [false, false, false, false]),
            (api(500, "InternalError", ""), [false, false, false, true]),
            (api(504, "Timeout", ""), [false, false, false, true]),
            (
                kube::Error::Service("broken pipe".into()),
                [false, false, false, true],
            ),
        ] {
            let got = [
                is_not_found(&error),
                is_conflict(&error),
                is_already_exists(&error),
                outcome_unknown(&error),
            ];
            assert_eq!(got, expect, "{error}");
        }
    }

    #[test]
    fn a_terminating_namespace_is_recognised() {
        let message = "pods \"a\" is forbidden: unable to create new content in namespace x because it is being terminated";
        assert!(is_namespace_terminating(&api(403, "Forbidden", message)));
        assert!(!is_namespace_terminating(&api(403, "Forbidden", "no")));
    }
}
