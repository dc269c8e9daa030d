//! What a client asks for besides the object.

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
    /// Reads the query parameter.
    ///
    /// # Errors
    /// 400 for a word that is none of the three.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "Ignore" => Ok(FieldValidation::Ignore),
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Strict" => Ok(FieldValidation::Strict),
            other => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Warn\", \"Strict\""
            ))),
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
    /// Seconds of grace asked for.
    pub grace_seconds: Option<i64>,
    /// Delete only this incarnation.
    pub uid: Option<String>,
    /// Delete only this version.
    pub resource_version: Option<String>,
    /// Dependents; `None` keeps whatever finalizers the object has.
    pub propagation: Option<Propagation>,
    /// Do everything but the write.
    pub dry_run: bool,
}

impl Deletion {
    /// Checks and takes over what the client sent.
    ///
    /// # Errors
    /// 400 for contradictory or unknown values.
    pub fn from_options(options: &DeleteOptions) -> Result<Self> {
        let propagation = match (
            options.propagation_policy.as_deref(),
            options.orphan_dependents,
        ) {
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_request(
                    "orphanDependents and propagationPolicy cannot be both set",
                ));
            }
            (Some("Background"), None) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), None) => Some(Propagation::Foreground),
            (Some("Orphan"), None) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), None) => {
                return Err(ApiError::bad_request(format!(
                    "propagationPolicy: Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\""
                )));
            }
        };
        if let Some(grace) = options.grace_period_seconds.filter(|&g| g < 0) {
            return Err(ApiError::bad_request(format!(
                "gracePeriodSeconds: Invalid value: {grace}: must be greater than or equal to 0"
            )));
        }
        let preconditions = options.preconditions.clone().unwrap_or_default();
        Ok(Deletion {
            grace_seconds: options.grace_period_seconds,
            uid: preconditions.uid,
            resource_version: preconditions.resource_version,
            propagation,
            dry_run: parse_dry_run(options.dry_run.iter().flatten().map(String::as_str))?,
        })
    }
}

/// True if a dry run is asked for.
///
/// # Errors
/// 400 for anything but `All`.
pub fn parse_dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool> {
    let mut dry = false;
    for value in values {
        if value != "All" {
            return Err(ApiError::bad_request(format!(
                "dryRun: Unsupported value: {value:?}: supported values: \"All\""
            )));
        }
        dry = true;
    }
    Ok(dry)
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
