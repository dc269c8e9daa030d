//! Field errors: where in an object something is wrong, what stands there, and
//! what would be right. Follows `k8s.io/apimachinery/pkg/util/validation/field`:
//! the same paths, the same words, all errors of an object at once.

use std::fmt;

/// The bound of counts and sizes.
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// What is wrong with a changed field that may not change.
pub const IMMUTABLE: &str = "field is immutable";

/// A path to a field, such as `spec.containers[0].name` or `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path that starts at `name`.
    pub fn new(name: &str) -> Self {
        Path(name.to_owned())
    }

    /// The field `name` of the struct at this path.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            return Path::new(name);
        }
        Path(format!("{}.{name}", self.0))
    }

    /// The element `index` of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Path(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of the map at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Path(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field; the name is the `reason` of the Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The field must have a value.
    Required,
    /// The value is malformed or out of bounds.
    Invalid,
    /// The value is none of the allowed ones.
    NotSupported,
    /// The value stands twice where it must be unique.
    Duplicate,
    /// The field must not be set here, or must not change.
    Forbidden,
    /// The value is longer than allowed.
    TooLong,
    /// The list has more entries than allowed.
    TooMany,
    /// What the value names does not exist.
    NotFound,
    /// The value has the wrong type.
    TypeInvalid,
}

impl ErrorKind {
    /// The cause's reason, as Kubernetes names it (`FieldValueInvalid`, ...).
    pub fn reason(self) -> &'static str {
        match self {
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            ErrorKind::Required => "Required value",
            ErrorKind::Invalid | ErrorKind::TypeInvalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::Forbidden => "Forbidden",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooMany => "Too many",
            ErrorKind::NotFound => "Not found",
        }
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Which sort of wrong.
    pub kind: ErrorKind,
    /// Where.
    pub path: Path,
    /// The bad value as JSON text, where showing it helps.
    pub value: Option<String>,
    /// What would be right, in words.
    pub detail: String,
}

impl FieldError {
    /// The message of the Status cause: the error without its path.
    pub fn message(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message())
    }
}

/// Everything that is wrong with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorList(Vec<FieldError>);

impl ErrorList {
    /// No errors yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The errors in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }

    /// How many errors there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One `Invalid` for each broken rule in `problems`.
    pub fn invalid_each(
        &mut self,
        path: &Path,
        value: impl serde::Serialize,
        problems: impl IntoIterator<Item = String>,
    ) {
        for problem in problems {
            self.invalid(path.clone(), &value, problem);
        }
    }

    /// `value` is below zero and must not be.
    pub fn non_negative(&mut self, path: Path, value: i64) {
        if value < 0 {
            self.invalid(path, value, NOT_NEGATIVE);
        }
    }

    /// `new` differs from `old` and must not.
    pub fn immutable<T: serde::Serialize + PartialEq + ?Sized>(
        &mut self,
        path: Path,
        new: &T,
        old: &T,
    ) {
        if new != old {
            self.invalid(path, new, IMMUTABLE);
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: ErrorList) {
        self.0.extend(other.0);
    }

    /// `path` needs a value; `detail` may say more or be empty.
    pub fn required(&mut self, path: Path, detail: impl Into<String>) {
        self.push(ErrorKind::Required, path, None, detail);
    }

    /// `value` at `path` breaks the rule in `detail`.
    pub fn invalid(&mut self, path: Path, value: impl serde::Serialize, detail: impl Into<String>) {
        self.push(ErrorKind::Invalid, path, Some(show(&value)), detail);
    }

    /// What stands at `path` breaks the rule in `detail`; showing it would not help.
    pub fn broken(&mut self, path: Path, detail: impl Into<String>) {
        self.push(ErrorKind::Invalid, path, None, detail);
    }

    /// `value` at `path` is none of `supported`.
    pub fn not_supported(&mut self, path: Path, value: impl serde::Serialize, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.push(ErrorKind::NotSupported, path, Some(show(&value)), detail);
    }

    /// `value` at `path` stands there twice.
    pub fn duplicate(&mut self, path: Path, value: impl serde::Serialize) {
        self.push(ErrorKind::Duplicate, path, Some(show(&value)), "");
    }

    /// `path` must not be set, or must not change.
    pub fn forbidden(&mut self, path: Path, detail: impl Into<String>) {
        self.push(ErrorKind::Forbidden, path, None, detail);
    }

    /// `path` is longer than `max` bytes.
    pub fn too_long(&mut self, path: Path, max: usize) {
        let detail = format!("may not be more than {max} bytes");
        self.push(ErrorKind::TooLong, path, None, detail);
    }

    /// `path` has `actual` entries and may have `max`.
    pub fn too_many(&mut self, path: Path, actual: usize, max: usize) {
        let detail = format!("must have at most {max} items");
        self.push(ErrorKind::TooMany, path, Some(actual.to_string()), detail);
    }

    /// What `value` at `path` names does not exist.
    pub fn not_found(&mut self, path: Path, value: impl serde::Serialize) {
        self.push(ErrorKind::NotFound, path, Some(show(&value)), "");
    }

    /// One more error, for kinds of error that have no method here.
    pub fn add(&mut self, error: FieldError) {
        self.0.push(error);
    }

    fn push(
        &mut self,
        kind: ErrorKind,
        path: Path,
        value: Option<String>,
        detail: impl Into<String>,
    ) {
        self.0.push(FieldError {
            kind,
            path,
            value,
            detail: detail.into(),
        });
    }
}

impl fmt::Display for ErrorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                f.write_str("[")?;
                for (i, error) in many.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{error}")?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Values in messages are cut here, so that one 1 MiB string does not fill a terminal.
const SHOWN_BYTES_MAX: usize = 512;

fn show(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_else(|e| format!("<{e}>"));
    if text.len() > SHOWN_BYTES_MAX {
        let mut cut = SHOWN_BYTES_MAX;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
        text.push_str("...");
    }
    text
}
