//! What the merge has to know about the place it is at.

use crate::schema::{FieldRef, PatchStrategy, Shape, TypeRef, types};

/// What is known about the keys of an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    /// They are the fields of a type.
    Fields(TypeRef),
    /// They are free, and every value has this shape.
    Values(Shape),
    /// Nothing: objects merge, lists are replaced.
    Nothing,
}

/// How one key of an object merges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// About the keys of the value, or of the items of a list.
    pub(super) known: Known,
    row: Option<FieldRef>,
}

impl Known {
    /// A key of such an object. Unknown fields are the decoder's business, not ours.
    pub(super) fn field(self, name: &str) -> Field {
        match self {
            Known::Fields(of) => match of.field(name) {
                Some(row) => Field {
                    known: inside(row.shape()),
                    row: Some(row),
                },
                None => Field {
                    known: Known::Nothing,
                    row: None,
                },
            },
            Known::Values(shape) => Field {
                known: inside(shape),
                row: None,
            },
            Known::Nothing => Field {
                known: Known::Nothing,
                row: None,
            },
        }
    }
}

fn inside(shape: Shape) -> Known {
    match shape {
        Shape::Scalar(_) => Known::Nothing,
        Shape::Struct(id) => Known::Fields(types().get(id)),
        Shape::Map(values) => Known::Values(values.shape()),
        Shape::List(items) => match items.shape() {
            Shape::Struct(id) => Known::Fields(types().get(id)),
            _ => Known::Nothing,
        },
    }
}

impl Field {
    /// True if an object here is replaced as a whole.
    pub(super) fn replaced(self) -> bool {
        self.row
            .is_some_and(|row| row.patch_strategy() == PatchStrategy::Replace)
    }

    /// True if a list here merges item by item.
    pub(super) fn merged_list(self) -> bool {
        self.row
            .is_some_and(|row| row.patch_strategy() == PatchStrategy::Merge)
    }

    /// What tells the items of a list of objects apart.
    pub(super) fn merge_key(self) -> Option<&'static str> {
        self.row.and_then(FieldRef::merge_key)
    }
}
