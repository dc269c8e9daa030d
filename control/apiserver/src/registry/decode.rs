//! From a request's body to a typed object, once, loudly.
//!
//! Unknown and duplicate fields are found while decoding and reported with their
//! paths, as Kubernetes' strict decoding does
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation>).

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// What decoding noticed that is no type error.
pub type Findings = Vec<String>;

/// Findings past this are counted, not listed.
const FINDINGS_MAX: usize = 32;

/// Decodes JSON into `T` and lists unknown and duplicate fields.
///
/// # Errors
/// A sentence with the path of the first field of a wrong type, or with the
/// place where the JSON ends or breaks.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<(T, Findings), String> {
    let mut findings = duplicates(json)?;
    let mut unknown = Vec::new();
    let mut de = serde_json::Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut de, &mut track);
    let object = serde_ignored::deserialize(tracked, |path| {
        if unknown.len() < FINDINGS_MAX {
            unknown.push(format!("unknown field {:?}", show_path(&path)));
        }
    });
    let object = object.map_err(|e| {
        let path = track.path().to_string();
        if path == "." || path.is_empty() {
            e.to_string()
        } else {
            format!("{path}: {e}")
        }
    })?;
    findings.extend(unknown);
    findings.truncate(FINDINGS_MAX);
    Ok((object, findings))
}

fn show_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", show_path(parent)),
        Path::Map { parent, key } => {
            let parent = show_path(parent);
            if parent.is_empty() {
                key.clone()
            } else {
                format!("{parent}.{key}")
            }
        }
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => show_path(parent),
    }
}

/// Lists the keys that stand twice in one JSON object.
fn duplicates(json: &[u8]) -> Result<Findings, String> {
    let mut scan = Scan {
        path: String::new(),
        found: Vec::new(),
    };
    let mut de = serde_json::Deserializer::from_slice(json);
    (&mut scan)
        .deserialize(&mut de)
        .map_err(|e| e.to_string())?;
    de.end().map_err(|e| e.to_string())?;
    Ok(scan.found)
}

struct Scan {
    path: String,
    found: Findings,
}

impl<'de> DeserializeSeed<'de> for &mut Scan {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Scan {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut index = 0usize;
        loop {
            use fmt::Write;
            // Writing to a String cannot fail.
            let _ = write!(self.path, "[{index}]");
            let more = seq.next_element_seed(&mut *self)?;
            self.path.truncate(length);
            if more.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if !seen.insert(key) && self.found.len() < FINDINGS_MAX {
                self.found.push(format!("duplicate field {:?}", self.path));
            }
            map.next_value_seed(&mut *self)?;
            self.path.truncate(length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;

    fn check(json: &str, expect: Result<&[&str], &str>) {
        match (decode::<Deployment>(json.as_bytes()), expect) {
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
