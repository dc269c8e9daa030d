//! The table of types, as server-side apply looks at it.

use std::sync::LazyLock;

use euston_fields::{Field, Place, Schema, Tree};

use super::{FieldRef, Inner, ListType, Rules, Scalar, Shape, ShapeId, TypeId, types};

/// The schema of a built-in kind. A [`Place`] is an index into one of the table's lists, and
/// which list that is.
#[derive(Debug, Clone, Copy)]
pub struct Builtin(pub Option<TypeId>);

const TYPE: u32 = 0;
const FIELD: u32 = 1 << 30;
const SHAPE: u32 = 2 << 30;
const LIST: u32 = 3 << 30;

/// The schema of every object's `metadata`, for kinds that are not built in.
pub fn object_meta() -> &'static dyn Schema {
    static META: LazyLock<Builtin> = LazyLock::new(|| {
        Builtin(types().lookup_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"))
    });
    &*META
}

/// What is known about a place.
enum Known {
    Type(TypeId),
    Field(FieldRef),
    /// A shape without rules of its own: in a list or map.
    Shape(Shape),
}

fn known(at: Place) -> Option<Known> {
    let index = at.0 & !LIST;
    Some(match at.0 & LIST {
        TYPE => Known::Type(TypeId(u16::try_from(index).ok()?)),
        FIELD => Known::Field(FieldRef {
            row: types().fields.get(index as usize)?,
        }),
        SHAPE => Known::Shape(*types().shapes.get(index as usize)?),
        _ => return None,
    })
}

fn inside(Inner(ShapeId(index)): Inner) -> Place {
    Place(SHAPE | u32::from(index))
}

impl Known {
    fn shape(&self) -> Shape {
        match self {
            Known::Type(of) => Shape::Struct(*of),
            Known::Field(field) => field.shape(),
            Known::Shape(shape) => *shape,
        }
    }

    fn rules(&self) -> &'static Rules {
        match self {
            Known::Field(field) => field.rules(),
            _ => &Rules::NONE,
        }
    }
}

impl Schema for Builtin {
    fn root(&self) -> Place {
        self.0
            .map_or(Place::UNTYPED, |of| Place(TYPE | u32::from(of.0)))
    }

    fn shape(&self, at: Place) -> euston_fields::Shape {
        use euston_fields::Shape::{Keyed, Leaf, Map, Set, Untyped};
        let Some(known) = known(at) else {
            return Untyped;
        };
        let rules = known.rules();
        match known.shape() {
            Shape::Scalar(Scalar::Raw | Scalar::Any | Scalar::Fields) => Untyped,
            Shape::Scalar(_) => Leaf,
            Shape::Struct(of) if types().get(of).atomic() => Leaf,
            Shape::Struct(_) | Shape::Map(_) if rules.atomic => Leaf,
            Shape::Struct(_) | Shape::Map(_) => Map,
            Shape::List(_) => match rules.list {
                None | Some(ListType::Atomic) => Leaf,
                Some(ListType::Set) => Set,
                Some(ListType::Map) => Keyed,
            },
        }
    }

    fn field(&self, at: Place, name: &str) -> Option<Field> {
        match known(at)?.shape() {
            Shape::Struct(of) => {
                let row = &types().types[usize::from(of.0)];
                let fields = &types().fields[row.fields.start as usize..row.fields.end as usize];
                let index = fields.binary_search_by(|f| f.name.cmp(name)).ok()?;
                Some(Field {
                    place: Place(FIELD | (row.fields.start + u32::try_from(index).ok()?)),
                    named: true,
                })
            }
            Shape::Map(inner) => Some(Field {
                place: inside(inner),
                named: false,
            }),
            Shape::Scalar(_) | Shape::List(_) => None,
        }
    }

    fn item(&self, at: Place) -> Place {
        match known(at).map(|known| known.shape()) {
            Some(Shape::List(inner)) => inside(inner),
            _ => Place::UNTYPED,
        }
    }

    fn key(&self, at: Place, nth: usize) -> Option<&str> {
        match known(at)? {
            Known::Field(field) => field.list_map_keys().nth(nth),
            _ => None,
        }
    }

    fn key_default(&self, at: Place, key: &str) -> Option<Tree<'_>> {
        match known(at)? {
            Known::Field(list) => {
                let default = list.element()?.field(key)?.default_json()?;
                Tree::parse(default.as_bytes()).ok()
            }
            _ => None,
        }
    }
}
