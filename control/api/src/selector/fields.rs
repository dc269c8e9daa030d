//! Field selectors: `spec.nodeName=node-1,status.phase!=Failed`. Follows
//! `k8s.io/apimachinery/pkg/fields`.

use std::fmt;

use super::SelectorError;

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's path, such as `metadata.name`.
    pub field: String,
    /// True for `=`, false for `!=`.
    pub equals: bool,
    /// What the field is compared with.
    pub value: String,
}

/// Conditions that must all hold. Shows itself in the form that [`parse`](Self::parse) reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads the `fieldSelector` parameter: `a=b,c!=d`. A backslash takes the meaning
    /// from a comma, an equals sign or a backslash in a value.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let fail = |term: &str| SelectorError::Field {
            selector: text.to_owned(),
            term: term.to_owned(),
        };
        let mut terms = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, equals, value) = split_term(term).ok_or_else(|| fail(term))?;
            let value = unescape(value).ok_or_else(|| fail(term))?;
            terms.push(FieldTerm {
                field: field.to_owned(),
                equals,
                value,
            });
        }
        Ok(FieldSelector { terms })
    }

    /// The conditions in their order.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// True if every object matches.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// True if an object is meant whose fields `value_of` looks up; a field that it does
    /// not know is empty.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms
            .iter()
            .all(|term| (value_of(&term.field).unwrap_or_default() == term.value) == term.equals)
    }

    /// The value that `field` must have, if the selector says so: with `metadata.name`,
    /// a list is a get.
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equals && term.field == field)
            .map(|t| t.value.as_str())
    }
}

impl std::str::FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let operator = if term.equals { "=" } else { "!=" };
            write!(f, "{}{operator}", term.field)?;
            for c in term.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Splits at the first operator.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    for (operator, equals) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(operator) {
            return Some((field, equals, value));
        }
    }
    None
}

/// `None` for a bare `=` or `,`, and for a backslash before anything else.
fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ ('\\' | ',' | '=') => plain.push(c),
                _ => return None,
            },
            ',' | '=' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_fields() {
        let fields = |field: &str| match field {
            "metadata.name" => Some("web"),
            "spec.x" => Some("a=b,c\\d"),
            _ => None,
        };
        let cases = [
            ("", true),
            ("metadata.name=web", true),
            ("metadata.name==web", true),
            ("metadata.name!=web", false),
            ("metadata.name=api", false),
            ("metadata.name=web,metadata.name!=api", true),
            ("metadata.name=web,metadata.name=api", false),
            ("spec.unset=", true),
            ("spec.unset!=", false),
            (r"spec.x=a\=b\,c\\d", true),
            (",metadata.name=web,", true),
        ];
        for (text, expected) in cases {
            let selector = FieldSelector::parse(text).unwrap();
            assert_eq!(selector.matches(fields), expected, "{text}");
            let again = FieldSelector::parse(&selector.to_string());
            assert_eq!(again, Ok(selector), "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        let cases = [
            ("a", "a"),
            ("a=b,c", "c"),
            ("a=b=c", "a=b=c"),
            (r"a=\x", r"a=\x"),
            (r"a=b\", r"a=b\"),
            ("a!b", "a!b"),
            ("a in (b)", "a in (b)"),
        ];
        for (text, term) in cases {
            let expected = Err(SelectorError::Field {
                selector: text.into(),
                term: term.into(),
            });
            assert_eq!(FieldSelector::parse(text), expected);
        }
    }

    #[test]
    fn a_required_name_makes_a_list_a_get() {
        let selector = FieldSelector::parse("metadata.name=web,status.phase!=Failed").unwrap();
        assert_eq!(selector.required_value("metadata.name"), Some("web"));
        assert_eq!(selector.required_value("status.phase"), None);
    }
}
