//! The columns of `kubectl get` that a definition adds
//! (`apiextensions-apiserver/pkg/registry/customresource/tableconvertor`).

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use serde_json::Value;

use crate::JsonPath;

/// A column, read.
#[derive(Debug)]
pub struct PrinterColumn {
    /// Its heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub of: String,
    /// A hint for clients.
    pub format: String,
    /// What it means.
    pub description: String,
    /// 0 is always shown, more with `-o wide`.
    pub priority: i32,
    path: Option<JsonPath>,
}

impl PrinterColumn {
    /// The columns of a version; an age where it names none.
    pub fn all(columns: Option<&[CustomResourceColumnDefinition]>) -> Vec<Self> {
        match columns {
            Some(columns) if !columns.is_empty() => columns.iter().map(Self::new).collect(),
            _ => vec![PrinterColumn {
                name: "Age".to_owned(),
                of: "date".to_owned(),
                format: String::new(),
                description: AGE.to_owned(),
                priority: 0,
                path: JsonPath::parse(".metadata.creationTimestamp").ok(),
            }],
        }
    }

    fn new(column: &CustomResourceColumnDefinition) -> Self {
        let description = column.description.clone().unwrap_or_default();
        PrinterColumn {
            name: column.name.clone(),
            of: column.type_.clone(),
            format: column.format.clone().unwrap_or_default(),
            description: match description.is_empty() {
                true => format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    column.json_path
                ),
                false => description,
            },
            priority: column.priority.unwrap_or(0),
            path: JsonPath::parse(&column.json_path).ok(),
        }
    }

    /// The cell of an object; null where there is nothing to show. `age` says how long ago a time was.
    pub fn cell(&self, object: &Value, age: impl Fn(Timestamp) -> String) -> Value {
        let found = self.path.as_ref().map(|path| path.find(object));
        let Some(values) = found.filter(|values| !values.is_empty()) else {
            return Value::Null;
        };
        let value = values[0];
        match (self.of.as_str(), value) {
            ("string", _) => {
                let texts: Vec<String> = values.iter().map(|value| text(value)).collect();
                texts.join(" ").into()
            }
            ("integer", Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
                (Some(whole), _) => whole.into(),
                (None, Some(number)) => (number as i64).into(),
                _ => Value::Null,
            },
            ("number", Value::Number(n)) => n.as_f64().into(),
            ("boolean", Value::Bool(is)) => (*is).into(),
            ("date", Value::String(time)) => match time.parse() {
                Ok(time) => age(time).into(),
                Err(_) => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.";

/// As kubectl's templates print a value.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(of: &str, path: &str, expect: Value) {
        let column = json!({ "name": "X", "type": of, "jsonPath": path });
        let column = PrinterColumn::new(&serde_json::from_value(column).unwrap());
        let object = json!({
            "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "n": 3, "f": 1.5, "b": true, "s": "x", "l": ["a", "b"], "o": { "k": 1 }, "t": "soon" },
        });
        let age = |time: Timestamp| format!("since {time}");
        assert_eq!(column.cell(&object, age), expect, "{of} {path}");
    }

    #[test]
    fn cells_show_what_paths_lead_to() {
        check("integer", ".spec.n", json!(3));
        check("integer", ".spec.f", json!(1));
        check("integer", ".spec.s", json!(null));
        check("number", ".spec.f", json!(1.5));
        check("boolean", ".spec.b", json!(true));
        check("string", ".spec.s", json!("x"));
        check("string", ".spec.n", json!("3"));
        check("string", ".spec.l[*]", json!("a b"));
        check("string", ".spec.l", json!("[\"a\",\"b\"]"));
        check("string", ".spec.o", json!("{\"k\":1}"));
        check("string", ".spec.none", json!(null));
        check(
            "date",
            ".metadata.creationTimestamp",
            json!("since 2026-01-01T00:00:00Z"),
        );
        check("date", ".spec.t", json!("<invalid>"));
    }

    #[test]
    fn a_version_without_columns_shows_its_age() {
        let columns = PrinterColumn::all(None);
        assert_eq!(columns.len(), 1);
        assert_eq!(columns[0].name, "Age");
    }
}
