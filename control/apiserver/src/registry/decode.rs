//! From a request's body to a typed object, once, loudly.
//!
//! Unknown and duplicate fields are found while decoding and reported with their
//! paths, as Kubernetes' strict decoding does
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation>).

use serde::de::DeserializeOwned;

use super::locate::path_of;
use super::scan::{FINDINGS_MAX, scan, without_empties};
use crate::schema::TypeId;

/// What decoding noticed that is no type error.
pub type Findings = Vec<String>;

/// Decodes JSON into `T` and lists duplicate fields and, where the schema knows the type,
/// unknown ones. Empty lists and maps that may as well be absent are absent in the object.
///
/// The type's own decoder is the one that reads stored objects, without a wrapper that would
/// keep track of paths: with a hundred kinds, every wrapper is as much code again.
///
/// # Errors
/// A sentence with the path of the first field of a wrong type, or with the
/// place where the JSON ends or breaks.
pub fn decode<T: DeserializeOwned>(
    json: &[u8],
    of: Option<TypeId>,
) -> Result<(T, Findings), String> {
    let scanned = scan(json, of)?;
    let lean;
    let json = match of {
        Some(of) if scanned.empties => {
            lean = without_empties(json, of).map_err(|e| e.to_string())?;
            &lean
        }
        _ => json,
    };
    let object = serde_json::from_slice(json).map_err(|e| match path_of(json, &e) {
        path if path.is_empty() => e.to_string(),
        path => format!("{path}: {e}"),
    })?;
    let mut findings = scanned.duplicates;
    findings.extend(scanned.unknown);
    findings.truncate(FINDINGS_MAX);
    Ok((object, findings))
}

/// The fields that stand twice in a body that no type describes.
///
/// # Errors
/// If it is no JSON.
pub fn duplicates(json: &[u8]) -> Result<Findings, String> {
    Ok(scan(json, None)?.duplicates)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;
    use crate::schema::types;

    fn check(json: &str, expect: Result<&[&str], &str>) {
        let of = types().lookup_gvk("apps", "v1", "Deployment");
        match (decode::<Deployment>(json.as_bytes(), of), expect) {
            (Ok((_, findings)), Ok(wanted)) => assert_eq!(findings, wanted, "{json}"),
            (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{json}: {error}"),
            (got, _) => panic!("{json}: {:?}", got.map(|(_, f)| f)),
        }
    }

    #[test]
    fn unknown_duplicate_and_mistyped_fields_are_named_by_path() {
        check(r#"{"kind":"Deployment","apiVersion":"apps/v1"}"#, Ok(&[]));
        check(r#"{"spek":{}}"#, Ok(&[r#"unknown field "spek""#]));
        check(
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","imaje":"x"}]}}}}"#,
            Ok(&[r#"unknown field "spec.template.spec.containers[0].imaje""#]),
        );
        check(
            r#"{"spec":{"replicas":1,"replicas":2}}"#,
            Ok(&[r#"duplicate field "spec.replicas""#]),
        );
        check(
            r#"{"spec":{"replicas":"two"}}"#,
            Err("spec.replicas: invalid type: string"),
        );
        check(
            r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
            Err("spec.template.spec.containers"),
        );
        check(r#"{"kind":"Pod"}"#, Err("expected Deployment"));
        check(r#"{"spec":"#, Err("EOF"));
        check(r#"{} {}"#, Err("trailing"));
        check("", Err("EOF"));
        check(&"[".repeat(100_000), Err("recursion limit"));
    }
}
