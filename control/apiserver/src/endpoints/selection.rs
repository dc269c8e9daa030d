//! Label and field selectors of a list or watch.

use std::sync::Arc;

use euston_api::selector::{FieldSelector, LabelSelector};

use super::request::Query;
use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;
use crate::storage::{Entry, ObjectKey, Snapshot};

/// Which objects of a kind a client wants.
pub struct Selection {
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read, and for fields that this kind cannot be selected by.
    pub fn parse(kind: &Kind, namespace: Option<&str>, query: &Query) -> Result<Self> {
        let bad = |what: &str, text: &str, error: &dyn std::fmt::Display| {
            ApiError::bad_request(format!("unable to parse {what} selector {text:?}: {error}"))
        };
        let labels = match query.get("labelSelector") {
            Some(text) => LabelSelector::parse(text).map_err(|e| bad("label", text, &e))?,
            None => LabelSelector::everything(),
        };
        let fields = match query.get("fieldSelector") {
            Some(text) => FieldSelector::parse(text).map_err(|e| bad("field", text, &e))?,
            None => FieldSelector::everything(),
        };
        for term in fields.terms() {
            let known = matches!(term.field.as_str(), "metadata.name" | "metadata.namespace")
                || kind.rules.field_labels().contains(&term.field.as_str());
            if !known {
                return Err(ApiError::bad_request(format!(
                    "field label not supported: {}",
                    term.field
                )));
            }
        }
        Ok(Selection {
            namespace: namespace.map(str::to_owned),
            labels,
            fields,
        })
    }

    /// True if neither selector narrows anything.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The namespace, and the prefix of keys that it stands for.
    pub fn key_prefix(&self) -> String {
        self.namespace
            .as_ref()
            .map_or(String::new(), |n| format!("{n}/"))
    }

    /// The one name that is asked for, if the field selector asks for one.
    pub fn name(&self) -> Option<&str> {
        self.fields.required_value("metadata.name")
    }

    /// The key of the one object that can be meant, where the selectors say which.
    fn only_key(&self, kind: &Kind) -> Option<ObjectKey> {
        let name = self.name()?;
        match (&self.namespace, kind.names.namespaced) {
            (Some(namespace), true) => Some(ObjectKey::new(Some(namespace), name)),
            (None, false) => Some(ObjectKey::new(None, name)),
            _ => None,
        }
    }

    /// What is wanted of a snapshot, from the key `start` on, in order of the keys.
    pub fn within<'a>(
        &'a self,
        kind: &'a Kind,
        snapshot: &'a Snapshot,
        start: &str,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let start = ObjectKey::parse(start);
        let only = self.only_key(kind);
        // A list of one name is a get.
        let start = match &only {
            Some(only) => only.clone().max(start),
            None => start,
        };
        let within = self.key_prefix();
        snapshot
            .range(start..)
            .take_while(move |(key, _)| match &only {
                Some(only) => *key == only,
                None => key.as_str().starts_with(&within),
            })
            .filter(move |(_, entry)| self.matches(kind, entry))
            .map(|(_, entry)| entry)
    }

    /// True if the object is wanted.
    pub fn matches(&self, kind: &Kind, entry: &Entry) -> bool {
        if self
            .namespace
            .as_deref()
            .is_some_and(|n| n != entry.namespace())
        {
            return false;
        }
        if self.is_everything() {
            return true;
        }
        // Names need no decoding, and often decide.
        if self.name().is_some_and(|n| n != entry.name()) {
            return false;
        }
        let attrs = entry.attrs(kind);
        self.labels.matches(&attrs.labels)
            && self.fields.matches(|field| match field {
                "metadata.name" => Some(entry.name()),
                "metadata.namespace" => Some(entry.namespace()),
                other => attrs
                    .fields
                    .iter()
                    .find(|(l, _)| *l == other)
                    .map(|(_, v)| v.as_str()),
            })
    }
}
