//! What the walks have in common: how a value counts at a place, and which item is which.

use std::borrow::Cow;

use crate::element::Element;
use crate::schema::{Field, Place, Schema, Shape};
use crate::tree::{Map, Tree};

/// Levels below which a value is owned as a whole. A set of fields is stored inside of the
/// object it speaks of, four levels down, and serde_json reads 127 levels: without this
/// bound, an object as deep as that could be stored with owners and never be read again.
pub(crate) const DEPTH_MAX: usize = 100;

/// How a value counts at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Leaf,
    Map,
    Set,
    Keyed,
}

/// How a value counts; `None` for null, which goes along with any form.
pub(crate) fn form(schema: &dyn Schema, at: Place, value: &Tree<'_>) -> Option<Form> {
    let shape = shape(schema, at);
    Some(match (shape, value) {
        (_, Tree::Null) => return None,
        (Shape::Map | Shape::Untyped, Tree::Map(_)) => Form::Map,
        (Shape::Set, Tree::List(_)) => Form::Set,
        (Shape::Keyed, Tree::List(_)) => Form::Keyed,
        // Also what has not the type that it should have: the decoder refuses that.
        _ => Form::Leaf,
    })
}

pub(crate) fn shape(schema: &dyn Schema, at: Place) -> Shape {
    if at == Place::UNTYPED {
        Shape::Untyped
    } else {
        schema.shape(at)
    }
}

/// The field of an object; `None` if the type has no such field.
pub(crate) fn field(schema: &dyn Schema, at: Place, name: &str) -> Option<Field> {
    let free = Field {
        place: Place::UNTYPED,
        named: false,
    };
    match shape(schema, at) {
        Shape::Map => schema.field(at, name),
        _ => Some(free),
    }
}

/// The same in an object that is stored already, and so in order.
pub(crate) fn stored_field(schema: &dyn Schema, at: Place, name: &str) -> Field {
    field(schema, at, name).unwrap_or(Field {
        place: Place::UNTYPED,
        named: false,
    })
}

/// Which item of a [`Form::Set`] or [`Form::Keyed`] list this is.
///
/// # Errors
/// Why that cannot be told.
pub(crate) fn item<'a>(
    schema: &dyn Schema,
    at: Place,
    form: Form,
    item: &Tree<'a>,
) -> Result<Element<'a>, Cow<'static, str>> {
    if form == Form::Set {
        return match item {
            Tree::Map(_) => {
                Err("associative list without keys has an element that's a map type".into())
            }
            Tree::List(_) => Err("not supported: associative list with lists as elements".into()),
            Tree::Null => {
                Err("associative list without keys has an element that's an explicit null".into())
            }
            scalar => Ok(Element::value(scalar)),
        };
    }
    let Tree::Map(map) = item else {
        return Err(match item {
            Tree::Null => "associative list with keys may not have a null element".into(),
            _ => "associative list with keys may not have non-map elements".into(),
        });
    };
    let mut keys = Map::default();
    for name in (0..).map_while(|nth| schema.key(at, nth)) {
        let value = match map
            .get(name)
            .cloned()
            .or_else(|| schema.key_default(at, name))
        {
            Some(value) => value,
            None => {
                return Err(format!(
                    "associative list with keys has an element that omits key field {name:?} (and doesn't have default value)"
                )
                .into());
            }
        };
        keys.insert(Cow::Borrowed(name), value);
    }
    Ok(Element::key(keys))
}

/// The items of a list, and what tells each apart.
type Items<'a, 't> = Vec<(Element<'a>, &'t Tree<'a>)>;

/// The items of a list with what tells them apart, in their order.
///
/// # Errors
/// Where the first is that cannot be told apart, and why.
pub(crate) fn items<'t, 'a>(
    schema: &dyn Schema,
    at: Place,
    form: Form,
    list: &'t [Tree<'a>],
) -> Result<Items<'a, 't>, (usize, Cow<'static, str>)> {
    let named = |(index, value)| match item(schema, at, form, value) {
        Ok(element) => Ok((element, value)),
        Err(why) => Err((index, why)),
    };
    list.iter().enumerate().map(named).collect()
}
