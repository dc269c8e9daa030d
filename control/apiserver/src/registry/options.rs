//! What a client asks for besides the object.

use euston_api::field::{ErrorList, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;

use crate::error::{ApiError, Result};

/// What to do with unknown and duplicate fields
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; a word that is none of the three becomes an error.
    pub fn parse(text: &str, errors: &mut ErrorList) -> Self {
        match text {
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            other => {
                let words = ["", "Ignore", "Strict", "Warn"];
                errors.not_supported(Path::new("fieldValidation"), other, &words);
                FieldValidation::default()
            }
        }
    }
}

/// Options of every write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Do everything but the write.
    pub dry_run: bool,
    /// Unknown and duplicate fields.
    pub validation: FieldValidation,
    /// Who owns what the write changes; `None` if nobody is to.
    pub manager: Option<String>,
    /// Through which subresource, where that is not the status; else empty.
    pub subresource: &'static str,
}

/// 422 for options with errors; `kind` is what Kubernetes calls them.
///
/// # Errors
/// If there are any.
pub fn refuse(kind: &str, errors: &ErrorList) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("meta.k8s.io", kind, "", errors))
}

/// What happens to what an object owns when it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents are deleted afterwards.
    Background,
    /// Dependents are deleted first.
    Foreground,
    /// Dependents stay, without the owner.
    Orphan,
}

/// Options of a deletion.
#[derive(Debug, Clone, Default)]
pub struct Deletion {
    /// Seconds of grace asked for; never negative.
    pub grace_seconds: Option<i64>,
    /// Delete only this incarnation.
    pub uid: Option<String>,
    /// Delete only this version.
    pub resource_version: Option<String>,
    /// Dependents; `None` leaves it to the object's finalizers, and else to its kind.
    pub propagation: Option<Propagation>,
    /// The client asked for cascading in the words of old, and learns by the answer's code
    /// (202) that it is under way.
    pub answers_accepted: bool,
    /// Do everything but the write.
    pub dry_run: bool,
}

impl Deletion {
    /// Checks and takes over what the client sent.
    ///
    /// # Errors
    /// 422 with every contradictory or unknown value.
    pub fn from_options(options: &DeleteOptions) -> Result<Self> {
        let mut errors = ErrorList::new();
        let path = || Path::new("propagationPolicy");
        let policy = options.propagation_policy.as_deref();
        if let (Some(policy), Some(_)) = (policy, options.orphan_dependents) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.invalid(path(), policy, why);
        }
        let propagation = match (policy, options.orphan_dependents) {
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), _) => {
                let words = ["Foreground", "Background", "Orphan", "nil"];
                errors.not_supported(path(), other, &words);
                None
            }
        };
        let dry_run = options.dry_run.iter().flatten().map(String::as_str);
        let dry_run = parse_dry_run(dry_run, &mut errors);
        refuse("DeleteOptions", &errors)?;
        let preconditions = options.preconditions.clone().unwrap_or_default();
        Ok(Deletion {
            // Less than nothing is a second, as in `rest.BeforeDelete`.
            grace_seconds: options
                .grace_period_seconds
                .map(|seconds| if seconds < 0 { 1 } else { seconds }),
            uid: preconditions.uid,
            resource_version: preconditions.resource_version,
            propagation,
            answers_accepted: options.orphan_dependents == Some(false),
            dry_run,
        })
    }
}

/// True if a dry run is asked for; anything but `All` becomes an error.
pub fn parse_dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut ErrorList) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|&value| value != "All") {
        errors.not_supported(Path::new("dryRun"), &values, &["All"]);
    }
    !values.is_empty()
}

/// A resourceVersion as clients send it: a decimal without leading zeros, or `0`.
///
/// # Errors
/// 400 for anything else.
pub fn parse_resource_version(text: &str) -> Result<u64> {
    let canonical =
        text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    text.parse().ok().filter(|_| canonical).ok_or_else(|| {
        ApiError::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: must be a decimal number"
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn causes(error: ApiError) -> Vec<String> {
        assert_eq!((error.code, error.reason), (422, "Invalid"), "{error}");
        let causes = error.details.and_then(|d| d.causes).unwrap_or_default();
        let shown = |c: k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause| {
            format!(
                "{}: {}",
                c.field.unwrap_or_default(),
                c.message.unwrap_or_default()
            )
        };
        causes.into_iter().map(shown).collect()
    }

    #[test]
    fn deletions_are_read_as_kubernetes_does() {
        use Propagation::{Background, Foreground, Orphan};
        let read = |options| Deletion::from_options(&serde_json::from_value(options).unwrap());
        for (options, propagation, grace, accepted) in [
            (json!({}), None, None, false),
            (
                json!({ "propagationPolicy": "Background" }),
                Some(Background),
                None,
                false,
            ),
            (
                json!({ "propagationPolicy": "Foreground" }),
                Some(Foreground),
                None,
                false,
            ),
            (
                json!({ "propagationPolicy": "Orphan" }),
                Some(Orphan),
                None,
                false,
            ),
            (
                json!({ "orphanDependents": true }),
                Some(Orphan),
                None,
                false,
            ),
            (
                json!({ "orphanDependents": false }),
                Some(Background),
                None,
                true,
            ),
            (json!({ "gracePeriodSeconds": 0 }), None, Some(0), false),
            (json!({ "gracePeriodSeconds": 7 }), None, Some(7), false),
            (json!({ "gracePeriodSeconds": -7 }), None, Some(1), false),
        ] {
            let deletion = read(options.clone()).unwrap();
            let got = (
                deletion.propagation,
                deletion.grace_seconds,
                deletion.answers_accepted,
            );
            assert_eq!(got, (propagation, grace, accepted), "{options}");
        }
        let bad = json!({
            "propagationPolicy": "Sideways", "orphanDependents": true, "dryRun": ["All", "Some"],
        });
        let bad = causes(read(bad).unwrap_err());
        assert_eq!(
            bad,
            [
                "propagationPolicy: Invalid value: \"Sideways\": orphanDependents and deletionPropagation cannot be both set",
                "propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
                "dryRun: Unsupported value: [\"All\",\"Some\"]: supported values: \"All\"",
            ]
        );
        let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true });
        assert_eq!(causes(read(both).unwrap_err()).len(), 1);
    }

    #[test]
    fn options_of_writes_name_every_unknown_word() {
        let read = |dry: &[&str], validation: &str| {
            let mut errors = ErrorList::new();
            let dry_run = parse_dry_run(dry.iter().copied(), &mut errors);
            let validation = FieldValidation::parse(validation, &mut errors);
            refuse("CreateOptions", &errors).map(|()| (dry_run, validation))
        };
        assert_eq!(read(&[], "").unwrap(), (false, FieldValidation::Warn));
        let strict = (true, FieldValidation::Strict);
        assert_eq!(read(&["All"], "Strict").unwrap(), strict);
        let ignore = (true, FieldValidation::Ignore);
        assert_eq!(read(&["All", "All"], "Ignore").unwrap(), ignore);
        let error = read(&["yes"], "Sometimes").unwrap_err();
        let start = "CreateOptions.meta.k8s.io \"\" is invalid";
        assert!(error.message.starts_with(start), "{error}");
        assert_eq!(
            causes(error),
            [
                "dryRun: Unsupported value: [\"yes\"]: supported values: \"All\"",
                "fieldValidation: Unsupported value: \"Sometimes\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ]
        );
        assert!(read(&[""], "").is_err());
    }
}
