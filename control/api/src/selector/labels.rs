//! Label selectors: `app=web,tier in (a,b),!canary`. Follows
//! `k8s.io/apimachinery/pkg/labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::SelectorError;
use super::parse::Parser;
use crate::field::{ErrorList, Path};
use crate::names;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `key=value`, and `matchLabels`
    Equals,
    /// `key!=value`; true where the key is missing
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; true where the key is missing
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>5`
    GreaterThan,
    /// `key<5`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    /// A checked requirement.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: BTreeSet<String>,
    ) -> Result<Self, SelectorError> {
        let key = key.into();
        let fail = |text: String| Err(SelectorError::Requirement(text));
        if let Some(problem) = names::qualified_name(&key).into_iter().next() {
            return fail(format!("key: Invalid value: {key:?}: {problem}"));
        }
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return fail(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be \
                     empty"
                        .to_owned(),
                );
            }
            Operator::Equals | Operator::NotEquals if values.len() != 1 => {
                return fail(
                    "values: Invalid value: exact-match compatibility requires one single value"
                        .to_owned(),
                );
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return fail(
                    "values: Invalid value: values set must be empty for exists and does not exist"
                        .to_owned(),
                );
            }
            Operator::GreaterThan | Operator::LessThan
                if values.len() != 1 || !values.iter().all(|v| v.parse::<i64>().is_ok()) =>
            {
                return fail(
                    "values: Invalid value: for 'Gt', 'Lt' operators, the value must be an integer"
                        .to_owned(),
                );
            }
            _ => {}
        }
        for value in &values {
            if let Some(problem) = names::label_value(value).into_iter().next() {
                return fail(format!(
                    "values[0][{key}]: Invalid value: {value:?}: {problem}"
                ));
            }
        }
        Ok(Requirement {
            key,
            operator,
            values,
        })
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with, sorted.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// True if an object with these labels meets the condition.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = || value.is_some_and(|value| self.values.contains(value));
        let compare = |greater: bool| {
            let wanted: Option<i64> = self.values.first().and_then(|v| v.parse().ok());
            let actual: Option<i64> = value.and_then(|v| v.parse().ok());
            wanted.zip(actual).is_some_and(|(wanted, actual)| {
                if greater {
                    actual > wanted
                } else {
                    actual < wanted
                }
            })
        };
        match self.operator {
            Operator::Equals | Operator::In => listed(),
            Operator::NotEquals | Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(true),
            Operator::LessThan => compare(false),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let one = self.values.first().map_or("", String::as_str);
        let set = || self.values().collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::Equals => write!(f, "{key}={one}"),
            Operator::NotEquals => write!(f, "{key}!={one}"),
            Operator::In => write!(f, "{key} in ({})", set()),
            Operator::NotIn => write!(f, "{key} notin ({})", set()),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{one}"),
            Operator::LessThan => write!(f, "{key}<{one}"),
        }
    }
}

/// Conditions that must all hold. Shows itself in the form that [`parse`](Self::parse) reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        LabelSelector {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// Matches objects that carry all of these labels.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Result<Self, SelectorError> {
        let requirements = labels
            .iter()
            .map(|(key, value)| Requirement::new(key, Operator::Equals, [value.clone()].into()))
            .collect::<Result<_, _>>()?;
        Ok(LabelSelector {
            requirements,
            nothing: false,
        })
    }

    /// Reads the `labelSelector` parameter: `a=b,c!=d,e in (x,y),!f,g`. Empty matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser::new(text).requirements()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector {
            requirements,
            nothing: false,
        })
    }

    /// Reads the selector of an API object. An absent one matches nothing, an empty one everything.
    pub fn from_api(selector: Option<&meta::LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(
                key,
                Operator::Equals,
                [value.clone()].into(),
            )?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError::Requirement(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            let values = expression.values.iter().flatten().cloned().collect();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector {
            requirements,
            nothing: false,
        })
    }

    /// True if an object with these labels is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// [`matches`](Self::matches) for metadata, where no labels may stand at all.
    pub fn matches_optional(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        match labels {
            Some(labels) => self.matches(labels),
            None => self.matches(&BTreeMap::new()),
        }
    }

    /// True if every object matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// True if no object can match.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The conditions, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl std::str::FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

/// An API object's selector as tables show it: `<none>` if it is empty.
pub fn format_label_selector(selector: &meta::LabelSelector) -> String {
    match LabelSelector::from_api(Some(selector)) {
        Err(_) => "<error>".to_owned(),
        Ok(selector) if selector.is_everything() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
    }
}

/// Adds an error for everything wrong with an API object's selector.
pub fn validate(selector: &meta::LabelSelector, path: &Path, errors: &mut ErrorList) {
    let labels = selector.match_labels.as_ref();
    crate::metadata::validate_labels(labels, &path.child("matchLabels"), errors);
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => errors.required(
                path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
                path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.invalid(
                    path.child("operator"),
                    other,
                    "not a valid selector operator",
                );
            }
        }
        let key = &expression.key;
        errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
        for (index, value) in values.iter().enumerate() {
            let path = path.child("values").index(index);
            errors.invalid_each(&path, value, names::label_value(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn conditions_on_labels() {
        let cases = [
            ("", "", true),
            ("a=b", "a=b", true),
            ("a==b", "a=b,c=d", true),
            ("a=b", "a=c", false),
            ("a=b", "", false),
            ("a=", "a=", true),
            ("a", "a=", true),
            ("!a", "a=", false),
            ("!a", "b=", true),
            ("a!=b", "", true),
            ("a!=b", "a=b", false),
            ("a in (b,c)", "a=c", true),
            ("a in (b,c)", "a=d", false),
            ("a in ()", "a=", true),
            ("a in (,b)", "a=", true),
            ("a notin (b,c)", "a=d", true),
            ("a notin (b,c)", "", true),
            ("a notin (b,c)", "a=b", false),
            ("a>1", "a=2", true),
            ("a>1", "a=1", false),
            ("a<1", "a=x", false),
            ("a=b,c!=d,e in (x,y),!f,g", "a=b,e=y,g=1", true),
            ("a=b,c!=d,e in (x,y),!f,g", "a=b,e=y,g=1,f=1", false),
            (" a = b , c ", "a=b,c=1", true),
            ("in=notin", "in=notin", true),
        ];
        for (selector, on, expected) in cases {
            let selector =
                LabelSelector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
            assert_eq!(
                selector.matches(&labels(on)),
                expected,
                "{selector} on {on}"
            );
        }
    }

    #[test]
    fn shows_itself_as_it_is_read() {
        let cases = [
            ("c,a=b", "a=b,c"),
            ("x==y", "x=y"),
            ("x!=y", "x!=y"),
            ("x in (b,a,b)", "x in (a,b)"),
            ("x notin (a)", "x notin (a)"),
            ("!x", "!x"),
            ("x>5,y<6", "x>5,y<6"),
            ("", ""),
        ];
        for (text, expected) in cases {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.to_string(), expected, "{text}");
            assert_eq!(LabelSelector::parse(expected), Ok(selector), "{expected}");
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in [
            ",",
            "a,",
            ",a",
            "a=b,,c",
            "a b",
            "a=b=c",
            "a in",
            "a in b",
            "a in (b",
            "a in (b c)",
            "!a=b",
            "!",
            "!!a",
            "=b",
            "a>b",
            "a>1.5",
            "a/b/c=d",
            "a=b c",
            "-a",
            "a=-",
            "é=1",
            "a in (b))",
            "(a)",
            "a notin b",
            "a=(b)",
        ] {
            let parsed = LabelSelector::parse(text);
            assert!(
                parsed.is_err(),
                "{text:?} should be refused, not {parsed:?}"
            );
        }
    }

    #[test]
    fn selectors_of_objects() {
        let from = |value: Value| -> meta::LabelSelector { serde_json::from_value(value).unwrap() };
        let cases = [
            (json!({}), "<none>"),
            (json!({"matchLabels": {"b": "c", "a": "d"}}), "a=d,b=c"),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["y", "x"]}]}),
                "a notin (x,y)",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}], "matchLabels": {"b": "c"}}),
                "!a,b=c",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
                "<error>",
            ),
        ];
        for (selector, expected) in cases {
            assert_eq!(
                format_label_selector(&from(selector.clone())),
                expected,
                "{selector}"
            );
        }
        assert!(LabelSelector::from_api(None).unwrap().is_nothing());
        assert!(
            !LabelSelector::from_api(None)
                .unwrap()
                .matches(&BTreeMap::new())
        );
        assert!(
            LabelSelector::from_api(Some(&from(json!({}))))
                .unwrap()
                .matches_optional(None)
        );
        let map = LabelSelector::from_map(&labels("b=c,a=d")).unwrap();
        assert_eq!(map.to_string(), "a=d,b=c");
    }

    #[test]
    fn everything_wrong_with_a_selector_is_told() {
        let selector = serde_json::from_value(json!({
            "matchLabels": {"a b": "c"},
            "matchExpressions": [
                {"key": "a", "operator": "In"},
                {"key": "a", "operator": "Exists", "values": ["x"]},
                {"key": "", "operator": "Near", "values": ["x y"]},
            ],
        }))
        .unwrap();
        let mut errors = ErrorList::new();
        validate(&selector, &Path::new("s"), &mut errors);
        let expected = [
            "s.matchLabels: Invalid value: \"a b\": name part",
            "s.matchExpressions[0].values: Required value: must be specified when",
            "s.matchExpressions[1].values: Forbidden: may not be specified when",
            "s.matchExpressions[2].operator: Invalid value: \"Near\": not a valid selector operator",
            "s.matchExpressions[2].key: Invalid value: \"\": name part must be non-empty",
            "s.matchExpressions[2].key: Invalid value: \"\": name part must consist",
            "s.matchExpressions[2].values[0]: Invalid value: \"x y\": a valid label",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(
                error.to_string().starts_with(expected),
                "{error} is not {expected}"
            );
        }
    }
}
