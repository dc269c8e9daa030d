//! Validation of values, in the words of Kubernetes (kube-openapi's validators, as
//! `apiextensions-apiserver/pkg/apiserver/validation` turns them into field errors).
//!
//! On an update, what did not change is not held against it (KEP-4008, ratcheting).

use std::collections::HashSet;

use euston_api::field::{ErrorKind, ErrorList, FieldError};
use serde_json::{Map, Value};

use super::{ListType, Place, Schema, Type, formats};
use crate::metadata;

/// Errors past this are not listed: who has so many looks at them one by one anyway.
const ERRORS_MAX: usize = 256;

impl Schema {
    /// Everything wrong with an object by itself. With `old`, only what is wrong where it differs.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList {
        let mut found = Found::default();
        self.validate_value(object, old, &mut found);
        found.errors
    }

    fn validate_value(&self, value: &Value, old: Option<&Value>, found: &mut Found) {
        if old == Some(value) || found.errors.len() >= ERRORS_MAX {
            return;
        }
        if !self.has_type(value) {
            found.mistyped(&self.type_words(), value);
            return;
        }
        match value {
            Value::Object(fields) => {
                if self.embedded {
                    let errors = metadata::validate(fields, &found.place.path());
                    found.errors.extend(errors);
                }
                self.validate_fields(fields, old.and_then(Value::as_object), found);
            }
            Value::Array(items) => {
                self.validate_items(items, old.and_then(Value::as_array), found);
            }
            Value::String(text) => self.validate_text(text, found),
            Value::Number(_) => self.validate_number(value, found),
            Value::Bool(_) | Value::Null => {}
        }
        self.validate_any(value, old, found);
    }

    fn has_type(&self, value: &Value) -> bool {
        if value.is_null() {
            return self.nullable || (self.of.is_none() && !self.int_or_string);
        }
        if self.int_or_string {
            return value.is_string() || is_whole(value);
        }
        match self.of {
            None => true,
            Some(Type::Object) => value.is_object(),
            Some(Type::Array) => value.is_array(),
            Some(Type::String) => value.is_string(),
            Some(Type::Boolean) => value.is_boolean(),
            Some(Type::Number) => value.is_number(),
            Some(Type::Integer) => is_whole(value),
        }
    }

    fn type_words(&self) -> String {
        match self.of {
            _ if self.int_or_string => "integer,string".to_owned(),
            Some(of) => of.name().to_owned(),
            None => String::new(),
        }
    }

    fn validate_fields(
        &self,
        fields: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        found: &mut Found,
    ) {
        let values = &self.values;
        for name in &values.required {
            if !fields.contains_key(name) {
                found.place.at_field(name, |place| {
                    found.errors.required(place.path(), "");
                });
            }
        }
        if let Some(min) = values.min_properties.filter(|&min| fields.len() < min) {
            let detail = format!("should have at least {min} properties");
            found.invalid(&Value::Object(fields.clone()), &detail);
        }
        if let Some(max) = values.max_properties.filter(|&max| fields.len() > max) {
            found.errors.too_many(found.place.path(), fields.len(), max);
        }
        for (name, value) in fields {
            let Some(of) = self.field(name) else {
                continue;
            };
            let old = old.and_then(|old| old.get(name));
            found.at_field(name, |found| of.validate_value(value, old, found));
        }
    }

    fn validate_items(&self, items: &[Value], old: Option<&Vec<Value>>, found: &mut Found) {
        let values = &self.values;
        if let Some(min) = values.min_items.filter(|&min| items.len() < min) {
            let detail = format!("should have at least {min} items");
            found.invalid(&items.into(), &detail);
        }
        if let Some(max) = values.max_items.filter(|&max| items.len() > max) {
            found.errors.too_many(found.place.path(), items.len(), max);
        }
        if values.unique_items {
            let mut seen = HashSet::new();
            if !items.iter().all(|item| seen.insert(item.to_string())) {
                found.invalid(&items.into(), "shouldn't contain duplicates");
            }
        }
        let Some(of) = &self.items else {
            return;
        };
        for (i, item) in items.iter().enumerate() {
            let old = old.and_then(|old| self.counterpart(item, old));
            found.at_index(i, |found| of.validate_value(item, old, found));
        }
    }

    /// The item of the old list that this one was, if the list tells its items apart.
    pub(crate) fn counterpart<'v>(&self, item: &Value, old: &'v [Value]) -> Option<&'v Value> {
        match &self.list {
            ListType::Map(keys) => {
                let same = |a: &Value, b: &Value| {
                    keys.iter()
                        .all(|key| self.key_of(a, key) == self.key_of(b, key))
                };
                old.iter().find(|candidate| same(item, candidate))
            }
            ListType::Set => old.iter().find(|candidate| *candidate == item),
            ListType::Atomic => None,
        }
    }

    /// A key's value in an item, or what it has by default.
    pub(super) fn key_of<'v>(&'v self, item: &'v Value, key: &str) -> Option<&'v Value> {
        let default = || self.items.as_ref()?.properties.get(key)?.default.as_ref();
        item.get(key).or_else(default)
    }

    fn validate_text(&self, text: &str, found: &mut Found) {
        let values = &self.values;
        let length = text.chars().count();
        if let Some(max) = values.max_length.filter(|&max| length > max) {
            found.errors.too_long(found.place.path(), max);
        }
        if let Some(min) = values.min_length.filter(|&min| length < min) {
            found.invalid(
                &text.into(),
                &format!("should be at least {min} chars long"),
            );
        }
        if let Some((pattern, regex)) = &values.pattern
            && !regex.as_ref().is_some_and(|regex| regex.is_match(text))
        {
            found.invalid(&text.into(), &format!("should match '{pattern}'"));
        }
        if let Some(format) = &values.format
            && !formats::is_of(format, text)
        {
            let detail = format!("must be of type {format}: {text:?}");
            found.push(ErrorKind::TypeInvalid, &text.into(), &detail);
        }
    }

    fn validate_number(&self, value: &Value, found: &mut Found) {
        let values = &self.values;
        let number = value.as_f64().unwrap_or(0.0);
        if let Some(min) = values.minimum {
            let (broken, words) = match values.exclusive_minimum {
                true => (number <= min, "greater than"),
                false => (number < min, "greater than or equal to"),
            };
            if broken {
                found.invalid(value, &format!("should be {words} {min}"));
            }
        }
        if let Some(max) = values.maximum {
            let (broken, words) = match values.exclusive_maximum {
                true => (number >= max, "less than"),
                false => (number > max, "less than or equal to"),
            };
            if broken {
                found.invalid(value, &format!("should be {words} {max}"));
            }
        }
        if let Some(step) = values.multiple_of.filter(|&step| step > 0.0) {
            let times = number / step;
            if (times - times.round()).abs() > 1e-9 * times.abs().max(1.0) {
                found.invalid(value, &format!("should be a multiple of {step}"));
            }
        }
        let narrow = match values.format.as_deref() {
            Some("int32") => value.as_i64().is_none_or(|v| i32::try_from(v).is_err()),
            Some("int64") => value.as_i64().is_none() && value.as_u64().is_some(),
            Some("float") => number.abs() > f64::from(f32::MAX),
            _ => false,
        };
        if narrow {
            let of = self.type_words();
            let format = values.format.as_deref().unwrap_or_default();
            let place = found.place.text();
            let detail =
                format!("Checked value must be of type {of} with format {format} in {place}");
            found.errors.invalid(found.place.path(), value, detail);
        }
    }

    /// What holds for values of any type: `enum`, and the four that combine schemas.
    fn validate_any(&self, value: &Value, old: Option<&Value>, found: &mut Found) {
        let values = &self.values;
        if let Some(allowed) = &values.allowed
            && !allowed.iter().any(|a| same_json(a, value))
        {
            let words: Vec<String> = allowed.iter().map(bare).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let path = found.place.path();
            found.errors.not_supported(path, value, &words);
        }
        for of in &values.all_of {
            of.validate_value(value, old, found);
        }
        let fits = |of: &&Schema| {
            let mut tried = Found::default();
            of.validate_value(value, None, &mut tried);
            tried.errors.is_empty()
        };
        let place = format!("{:?}", found.place.text());
        if !values.any_of.is_empty() && !values.any_of.iter().any(|of| fits(&of)) {
            found.composed(&format!(
                "{place} must validate at least one schema (anyOf)"
            ));
            if let [only] = values.any_of.as_slice() {
                only.validate_value(value, old, found);
            }
        }
        if !values.one_of.is_empty() {
            match values.one_of.iter().filter(fits).count() {
                1 => {}
                0 => found.composed(&format!(
                    "{place} must validate one and only one schema (oneOf). Found none valid"
                )),
                count => found.composed(&format!(
                    "{place} must validate one and only one schema (oneOf). Found {count} valid alternatives"
                )),
            }
        }
        if values.not.as_deref().is_some_and(|not| fits(&not)) {
            found.composed(&format!("{place} must not validate the schema (not)"));
        }
    }
}

/// A whole number, also one that is written as `2.0`.
fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
}

/// Equal as JSON: numbers by value.
fn same_json(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && b.is_number() && a.as_f64() == b.as_f64())
}

/// A string without its quotes, all else as JSON.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A type as error messages call it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What was found, and where the search is.
#[derive(Default)]
struct Found {
    place: Place,
    errors: ErrorList,
}

impl Found {
    fn at_field(&mut self, name: &str, work: impl FnOnce(&mut Self)) {
        let mut place = std::mem::take(&mut self.place);
        place.at_field(name, |place| self.at(place, work));
        self.place = place;
    }

    fn at_index(&mut self, index: usize, work: impl FnOnce(&mut Self)) {
        let mut place = std::mem::take(&mut self.place);
        place.at_index(index, |place| self.at(place, work));
        self.place = place;
    }

    fn at(&mut self, place: &mut Place, work: impl FnOnce(&mut Self)) {
        std::mem::swap(&mut self.place, place);
        work(self);
        std::mem::swap(&mut self.place, place);
    }

    /// `spec.x in body` and what it should be or do.
    fn push(&mut self, kind: ErrorKind, value: &Value, detail: &str) {
        let text = self.place.text();
        let detail = match text.is_empty() {
            true => format!("in body {detail}"),
            false => format!("{text} in body {detail}"),
        };
        self.errors.add(FieldError {
            kind,
            path: self.place.path(),
            value: Some(value.to_string()),
            detail,
        });
    }

    fn invalid(&mut self, value: &Value, detail: &str) {
        self.push(ErrorKind::Invalid, value, detail);
    }

    fn mistyped(&mut self, wanted: &str, value: &Value) {
        let got = type_of(value);
        let detail = format!("must be of type {wanted}: {got:?}");
        self.push(ErrorKind::TypeInvalid, &got.into(), &detail);
    }

    /// Kubernetes names no field for these.
    fn composed(&mut self, detail: &str) {
        let path = euston_api::field::Path::default();
        self.errors.invalid(path, "", detail);
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
