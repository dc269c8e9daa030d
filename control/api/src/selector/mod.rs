//! Selectors: which objects a list, a watch, a Service or a Deployment means.

mod fields;
mod labels;
mod parse;

pub use fields::{FieldSelector, FieldTerm};
pub use labels::{LabelSelector, Operator, Requirement, format_label_selector, validate};

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text breaks the grammar.
    #[error("unable to parse requirement: {0}")]
    Parse(String),
    /// A key, value or operator breaks its rule.
    #[error("{0}")]
    Requirement(String),
    /// A field selector term has no operator or a bad escape.
    #[error("invalid selector: {selector:?}; can't understand {term:?}")]
    Field {
        /// The whole selector.
        selector: String,
        /// The part of it that is wrong.
        term: String,
    },
}
