//! What a custom kind does with its objects. Follows
//! `apiextensions-apiserver/pkg/registry/customresource`.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use euston_api::field::{ErrorKind, ErrorList, FieldError, Path};
use euston_api::names::NameRule;
use euston_custom::columns::PrinterColumn;
use euston_custom::{JsonPath, Pruned, Schema};
use euston_fields::OpenApi;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::object::CustomObject;
use crate::registry::decode::{Findings, duplicates};
use crate::registry::kind::{FieldValues, Rules};
use crate::registry::object::{AnyObject, BoxObject};
use crate::registry::strategy::{ColumnOf, NAME, Scale};
use crate::storage::{join, split};

const STATUS: &str = "status";

/// The rules of one version of a custom kind.
pub struct Custom {
    /// `stable.example.com/v1`
    pub api_version: String,
    /// `CronTab`
    pub kind: String,
    /// The `apiVersion` that objects are stored with.
    pub stored_as: String,
    /// What its objects look like.
    pub schema: Arc<Schema>,
    /// The same, as server-side apply looks at it.
    pub ownership: OpenApi,
    /// The status is written apart.
    pub has_status: bool,
    /// Where replicas are.
    pub scale: Option<ScalePaths>,
    /// Where those are that the scale subresource sets, as a path with dots; empty if there are none.
    pub replicas_path: String,
    /// The columns after the name.
    pub columns: Vec<PrinterColumn>,
    /// Label and path of what field selectors may name.
    pub selectable: Vec<(String, JsonPath)>,
    /// What whoever writes in this version should know.
    pub warning: Option<String>,
}

/// Where a kind with a scale subresource has its replicas.
pub struct ScalePaths {
    /// Wanted.
    pub spec: JsonPath,
    /// There.
    pub status: JsonPath,
    /// The selector of its pods, as text.
    pub selector: Option<JsonPath>,
}

impl Custom {
    fn of<'a>(&self, object: &'a dyn AnyObject) -> &'a CustomObject {
        // A kind only ever meets objects that it decoded itself.
        (object.as_any().downcast_ref()).expect("an object meets its own kind's rules")
    }

    fn of_mut<'a>(&self, object: &'a mut dyn AnyObject) -> &'a mut CustomObject {
        (object.as_any_mut().downcast_mut()).expect("an object meets its own kind's rules")
    }

    /// Everything wrong with an object, or with what changed of it.
    fn check(&self, new: &CustomObject, old: Option<&CustomObject>) -> ErrorList {
        let mut errors = ErrorList::new();
        let whole = new.whole().and_then(|new| {
            let old = old.map(CustomObject::whole).transpose()?;
            Ok((new, old))
        });
        let (new, old) = match whole {
            Ok(whole) => whole,
            Err(error) => {
                errors.invalid(Path::default(), "", error.to_string());
                return errors;
            }
        };
        errors.extend(self.schema.validate(&new, old.as_ref()));
        let repeated = |object: &Value| !self.schema.duplicates(object).is_empty();
        if !old.as_ref().is_some_and(repeated) {
            errors.extend(self.schema.duplicates(&new));
        }
        if !self.schema.has_rules() {
            return errors;
        }
        if errors.is_empty() {
            errors.extend(self.schema.evaluate(&new, old.as_ref()));
        } else {
            errors.add(FieldError {
                kind: ErrorKind::Invalid,
                path: Path::default(),
                value: Some("null".to_owned()),
                detail: "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation".to_owned(),
            });
        }
        errors
    }

    /// The object's own fields, without the status if that is written apart.
    fn main_of<'a>(
        &self,
        object: &'a CustomObject,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let apart = self.has_status;
        object
            .fields
            .iter()
            .filter(move |(name, _)| !(apart && *name == STATUS))
    }

    fn named(&self, fields: &Map<String, Value>) -> Result<(), String> {
        for (field, expected) in [("apiVersion", &self.api_version), ("kind", &self.kind)] {
            match fields.get(field) {
                Some(Value::String(given)) if given == expected => {}
                Some(Value::String(given)) if !given.is_empty() => {
                    return Err(format!("{field} is {given:?}, expected {expected:?}"));
                }
                _ => return Err(format!("Object '{field}' is missing")),
            }
        }
        Ok(())
    }
}

fn object_of(json: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(json).map_err(|e| e.to_string())? {
        Value::Object(fields) => Ok(fields),
        _ => Err("it is no JSON object".to_owned()),
    }
}

impl Rules for Custom {
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String> {
        let mut findings = duplicates(json)?;
        let fields = object_of(json)?;
        self.named(&fields)?;
        let (mut object, of_metadata) = CustomObject::decode(fields)?;
        findings.extend(of_metadata);
        let mut pruned = Pruned::default();
        self.schema.prune(&mut object.fields, &mut pruned);
        let unknown = pruned.unknown.into_iter();
        findings.extend(unknown.map(|path| format!("unknown field {path:?}")));
        Ok((Box::new(object), findings))
    }

    fn decode_stored(&self, json: &[u8]) -> serde_json::Result<BoxObject> {
        let fields = serde_json::from_slice::<Map<String, Value>>(&split(json).lean)?;
        Ok(Box::new(CustomObject::stored(fields)?))
    }

    fn type_schema(&self) -> &dyn euston_fields::Schema {
        &self.ownership
    }

    fn replicas_path(&self) -> &str {
        &self.replicas_path
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Subdomain
    }

    fn default(&self, object: &mut dyn AnyObject) {
        self.schema.default_fields(&mut self.of_mut(object).fields);
    }

    fn prepare_for_create(&self, object: &mut dyn AnyObject) {
        if self.has_status {
            self.of_mut(object).fields.remove(STATUS);
        }
    }

    fn validate(&self, object: &dyn AnyObject) -> ErrorList {
        self.check(self.of(object), None)
    }

    fn prepare_for_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        if !self.has_status {
            return;
        }
        let fields = &mut self.of_mut(new).fields;
        match self.of(old).fields.get(STATUS) {
            Some(status) => fields.insert(STATUS.to_owned(), status.clone()),
            None => fields.remove(STATUS),
        };
    }

    fn validate_update(&self, _new: &dyn AnyObject, _old: &dyn AnyObject) -> ErrorList {
        // What changed cannot be told from what is: see `validate_step`.
        ErrorList::new()
    }

    fn validate_step(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList {
        self.check(self.of(new), Some(self.of(old)))
    }

    fn prepare_for_status_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        let new = self.of_mut(new);
        let status = new.fields.remove(STATUS);
        new.fields = self.of(old).fields.clone();
        match status {
            Some(status) => new.fields.insert(STATUS.to_owned(), status),
            None => new.fields.remove(STATUS),
        };
        self.schema.default_fields(&mut new.fields);
    }

    fn validate_status_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList {
        self.check(self.of(new), Some(self.of(old)))
    }

    fn bumps_generation(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> bool {
        !self.main_of(self.of(new)).eq(self.main_of(self.of(old)))
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn warnings(&self, _object: &dyn AnyObject) -> Vec<String> {
        self.warning.iter().cloned().collect()
    }

    fn fields(&self, object: &dyn AnyObject) -> FieldValues {
        if self.selectable.is_empty() {
            return Vec::new();
        }
        let whole = Value::Object(self.of(object).fields.clone());
        let text = |path: &JsonPath| match path.first(&whole) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(is)) => is.to_string(),
            _ => String::new(),
        };
        let labels = self.selectable.iter();
        labels
            .map(|(label, path)| (Cow::Owned(label.clone()), text(path)))
            .collect()
    }

    fn field_labels(&self) -> Vec<&str> {
        self.selectable.iter().map(|(l, _)| l.as_str()).collect()
    }

    fn grace_period_seconds(&self, _object: &dyn AnyObject, _asked: Option<i64>) -> Option<i64> {
        None
    }

    fn mark_terminating(&self, _object: &mut dyn AnyObject) {}

    fn holds_deletion(&self, _object: &dyn AnyObject) -> bool {
        false
    }

    fn columns(&self) -> Vec<ColumnOf<'_>> {
        let own = self.columns.iter().map(|column| ColumnOf {
            name: &column.name,
            kind: &column.of,
            format: &column.format,
            description: &column.description,
            priority: column.priority,
        });
        std::iter::once(NAME).chain(own).collect()
    }

    fn row(&self, object: &dyn AnyObject, now: Timestamp) -> Vec<Value> {
        let object = self.of(object);
        let name = object.meta.name.as_deref().unwrap_or_default().into();
        let whole = object.whole().unwrap_or_default();
        let age = |then| euston_api::time::since(Some(then), now);
        let cells = self.columns.iter().map(|column| column.cell(&whole, age));
        std::iter::once(name).chain(cells).collect()
    }

    fn scale(&self, object: &dyn AnyObject) -> Option<Scale> {
        let paths = self.scale.as_ref()?;
        let whole = Value::Object(self.of(object).fields.clone());
        let count = |path: &JsonPath| {
            let value = path.first(&whole)?.as_i64()?;
            i32::try_from(value).ok()
        };
        let selector = paths.selector.as_ref().and_then(|path| path.first(&whole));
        Some(Scale {
            replicas: count(&paths.spec)?,
            observed: count(&paths.status).unwrap_or(0),
            selector: selector
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        })
    }

    fn set_replicas(&self, object: &mut dyn AnyObject, replicas: i32) {
        if let Some(paths) = &self.scale {
            paths
                .spec
                .put(&mut self.of_mut(object).fields, replicas.into());
        }
    }

    fn encode(&self, object: &dyn AnyObject) -> serde_json::Result<Vec<u8>> {
        let mut whole = self.of(object).whole()?;
        whole["apiVersion"] = self.stored_as.as_str().into();
        serde_json::to_vec(&whole)
    }

    fn present(&self, stored: &Bytes) -> Option<Bytes> {
        let parts = split(stored);
        let mut fields = object_of(&parts.lean).ok()?;
        fields.insert("apiVersion".to_owned(), self.api_version.as_str().into());
        self.schema.prune(&mut fields, &mut Pruned::default());
        self.schema.default_fields(&mut fields);
        let shown = join(serde_json::to_vec(&fields).ok()?, parts.owners);
        (shown != *stored).then(|| shown.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::ownership::object_meta;

    fn custom() -> Custom {
        let schema = json!({ "type": "object", "properties": {
            "spec": { "type": "object", "properties": {
                "color": { "type": "string", "default": "red" },
                "replicas": { "type": "integer", "maximum": 3 },
            } },
            "status": { "type": "object", "properties": { "seen": { "type": "integer" } } },
        } });
        let ownership = OpenApi::new(&schema, Some(object_meta()));
        let schema = serde_json::from_value(schema).unwrap();
        Custom {
            ownership,
            replicas_path: "spec.replicas".into(),
            api_version: "example.org/v2".into(),
            kind: "Shirt".into(),
            stored_as: "example.org/v1".into(),
            schema: Arc::new(Schema::new(&schema)),
            has_status: true,
            scale: Some(ScalePaths {
                spec: JsonPath::parse(".spec.replicas").unwrap(),
                status: JsonPath::parse(".status.seen").unwrap(),
                selector: None,
            }),
            columns: PrinterColumn::all(None),
            selectable: vec![("spec.color".into(), JsonPath::parse(".spec.color").unwrap())],
            warning: None,
        }
    }

    fn shirt(rest: Value) -> Value {
        let mut whole =
            json!({ "apiVersion": "example.org/v2", "kind": "Shirt", "metadata": { "name": "a" } });
        whole
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        whole
    }

    fn decode(rest: Value) -> (BoxObject, Findings) {
        custom().decode(shirt(rest).to_string().as_bytes()).unwrap()
    }

    fn json_of(object: &BoxObject) -> Value {
        serde_json::from_slice(&object.to_json().unwrap()).unwrap()
    }

    #[test]
    fn a_body_is_pruned_and_what_is_odd_is_told() {
        let body = br#"{"apiVersion":"example.org/v2","kind":"Shirt","metadata":{"name":"a","nome":"b"},"spec":{"x":1,"color":"a","color":"b"}}"#;
        let (object, findings) = custom().decode(body).unwrap();
        assert_eq!(json_of(&object), shirt(json!({ "spec": { "color": "b" } })));
        assert_eq!(
            findings,
            [
                "duplicate field \"spec.color\"",
                "unknown field \"metadata.nome\"",
                "unknown field \"spec.x\"",
            ]
        );
        for (body, expect) in [
            ("{}", "Object 'apiVersion' is missing"),
            ("[]", "no JSON object"),
            (
                r#"{"apiVersion":"example.org/v1","kind":"Shirt"}"#,
                "expected \"example.org/v2\"",
            ),
            (
                r#"{"apiVersion":"example.org/v2","kind":"Shirt","metadata":{"labels":{"a":1}}}"#,
                "metadata.labels.a: invalid type",
            ),
        ] {
            let error = custom().decode(body.as_bytes()).err().unwrap();
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn each_half_of_the_object_is_written_apart() {
        let rules = custom();
        let (old, _) = decode(json!({ "spec": { "color": "red" }, "status": { "seen": 1 } }));
        let (mut new, _) = decode(json!({ "spec": { "color": "blue" }, "status": { "seen": 2 } }));
        rules.prepare_for_update(new.as_mut(), old.as_ref());
        assert_eq!(json_of(&new)["status"], json!({ "seen": 1 }));
        assert!(rules.bumps_generation(new.as_ref(), old.as_ref()));

        let (mut new, _) = decode(json!({ "spec": { "color": "blue" }, "status": { "seen": 2 } }));
        rules.prepare_for_status_update(new.as_mut(), old.as_ref());
        assert_eq!(
            json_of(&new),
            shirt(json!({ "spec": { "color": "red" }, "status": { "seen": 2 } }))
        );
        assert!(!rules.bumps_generation(new.as_ref(), old.as_ref()));

        rules.prepare_for_create(new.as_mut());
        assert_eq!(json_of(&new).get("status"), None);
    }

    #[test]
    fn stored_bytes_are_served_in_the_version_and_with_the_defaults_of_now() {
        let rules = custom();
        let (object, _) = decode(json!({ "spec": { "replicas": 1 } }));
        let stored = Bytes::from(rules.encode(object.as_ref()).unwrap());
        let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
        assert_eq!(value(&stored)["apiVersion"], "example.org/v1");
        let shown = rules.present(&stored).unwrap();
        assert_eq!(
            value(&shown),
            shirt(json!({ "spec": { "replicas": 1, "color": "red" } }))
        );
        assert_eq!(rules.present(&shown), None);
        assert_eq!(rules.present(&Bytes::from_static(b"broken")), None);
    }

    #[test]
    fn replicas_and_selectable_fields_are_found_by_path() {
        let rules = custom();
        let (mut object, _) = decode(json!({ "spec": { "color": "red" } }));
        assert_eq!(rules.scale(object.as_ref()), None);
        rules.set_replicas(object.as_mut(), 3);
        let scale = rules.scale(object.as_ref()).unwrap();
        assert_eq!((scale.replicas, scale.observed), (3, 0));
        assert_eq!(
            rules.fields(object.as_ref()),
            [(Cow::from("spec.color"), "red".to_owned())]
        );
    }

    #[test]
    fn an_update_is_judged_by_what_it_changes() {
        let rules = custom();
        let (old, _) = decode(json!({ "spec": { "color": "red", "replicas": 9 } }));
        let (new, _) = decode(json!({ "spec": { "color": "blue", "replicas": 9 } }));
        assert_eq!(rules.validate(new.as_ref()).len(), 1);
        assert!(rules.validate_step(new.as_ref(), old.as_ref()).is_empty());
    }
}
