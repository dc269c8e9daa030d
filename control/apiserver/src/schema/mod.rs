//! Facts about the built-in types of Kubernetes 1.37: fields, merge keys, list types.
//!
//! Patches, server-side apply, OpenAPI and protobuf decoding all ask the same questions
//! ("what is `spec.containers`, and which field tells its items apart?"). The answers are
//! data, kept in `types.txt` (made by `generate.py`, see there) and parsed once, on first
//! use, into a few flat arrays whose strings point into the program itself.
//!
//! ```text
//! let pod = types().lookup_gvk("", "v1", "Pod")?;
//! let containers = types().get(pod).field("spec")?.element()?.field("containers")?;
//! assert_eq!(containers.merge_key(), Some("name"));
//! ```

pub mod ownership;
mod parse;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

/// A type of the table; an index, valid for [`types`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u16);

/// An interned shape; an index, valid for [`types`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ShapeId(u16);

/// A value that has no fields of its own, as it stands in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A string.
    String,
    /// Base64 in a string.
    Bytes,
    /// True or false.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A number.
    Double,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// `100m`, `1Gi`; a string, or a number from lenient clients.
    Quantity,
    /// An integer or a string.
    IntOrString,
    /// An embedded object of any kind.
    Raw,
    /// The field set of one manager (`FieldsV1`).
    Fields,
    /// Any JSON.
    Any,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// No fields that the table knows.
    Scalar(Scalar),
    /// An object with the fields of a type.
    Struct(TypeId),
    /// A list; see [`FieldRef::element`].
    List(Inner),
    /// A map from string; see [`FieldRef::element`].
    Map(Inner),
}

/// What is in a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner(ShapeId);

impl Inner {
    /// The shape of one item.
    pub fn shape(self) -> Shape {
        types().shape(self.0)
    }
}

/// How the items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value. Also where the field says nothing, as in Kubernetes.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects, told apart by [`FieldRef::list_map_keys`].
    Map,
}

/// How strategic merge treats a list or object (`x-kubernetes-patch-strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchStrategy {
    /// Nothing said: objects merge, lists are replaced.
    Unset,
    /// Item by item.
    Merge,
    /// As a whole.
    Replace,
}

#[derive(Debug)]
struct TypeRow {
    name: &'static str,
    fields: std::ops::Range<u32>,
    atomic: bool,
}

/// One field. Rare facts sit in [`Rules`], so that the common row stays small.
#[derive(Debug)]
struct FieldRow {
    name: &'static str,
    shape: ShapeId,
    rules: Option<std::num::NonZeroU16>,
    required: bool,
}

#[derive(Debug)]
struct Rules {
    strategy: PatchStrategy,
    retain_keys: bool,
    merge_key: Option<&'static str>,
    list: Option<ListType>,
    list_map_keys: &'static str,
    atomic: bool,
    default: Option<&'static str>,
}

impl Rules {
    const NONE: Rules = Rules {
        strategy: PatchStrategy::Unset,
        retain_keys: false,
        merge_key: None,
        list: None,
        list_map_keys: "",
        atomic: false,
        default: None,
    };
}

#[derive(Debug)]
struct KindRow {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    of: TypeId,
}

/// The whole table.
#[derive(Debug)]
pub struct Types {
    /// Sorted by name.
    types: Vec<TypeRow>,
    /// Sorted by name within a type.
    fields: Vec<FieldRow>,
    shapes: Vec<Shape>,
    /// Row 0 is `Rules::NONE`, so that an index fits a `NonZeroU16`.
    rules: Vec<Rules>,
    /// Sorted by group, version, kind.
    kinds: Vec<KindRow>,
}

/// The table, parsed on the first call (a few milliseconds, about 200 KiB).
pub fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(|| match parse::parse(TEXT) {
        Ok(types) => types,
        // Part of the program: the unit tests parse this very text.
        Err(error) => unreachable!("the built-in schema table is damaged: {error}"),
    })
}

const TEXT: &str = include_str!("types.txt");

impl Types {
    /// The type of a kind.
    pub fn lookup_gvk(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let row = self
            .kinds
            .binary_search_by(|k| (k.group, k.version, k.kind).cmp(&(group, version, kind)))
            .ok()?;
        Some(self.kinds[row].of)
    }

    /// The type of that name, such as `io.k8s.api.core.v1.Pod`.
    pub fn lookup_name(&self, name: &str) -> Option<TypeId> {
        let row = self.types.binary_search_by(|t| t.name.cmp(name)).ok()?;
        Some(TypeId(u16::try_from(row).ok()?))
    }

    /// One type.
    pub fn get(&'static self, id: TypeId) -> TypeRef {
        TypeRef {
            row: &self.types[usize::from(id.0)],
            id,
        }
    }

    /// Every type, by name.
    pub fn iter(&'static self) -> impl Iterator<Item = TypeRef> {
        (0u16..).zip(&self.types).map(|(id, row)| TypeRef {
            row,
            id: TypeId(id),
        })
    }

    /// Group, version and kind of every kind.
    pub fn kinds(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str, &'static str, TypeId)> {
        self.kinds
            .iter()
            .map(|k| (k.group, k.version, k.kind, k.of))
    }

    fn shape(&self, id: ShapeId) -> Shape {
        self.shapes[usize::from(id.0)]
    }
}

/// One type of [`types`].
#[derive(Debug, Clone, Copy)]
pub struct TypeRef {
    row: &'static TypeRow,
    id: TypeId,
}

impl TypeRef {
    /// Its index.
    pub fn id(self) -> TypeId {
        self.id
    }

    /// Its name, as OpenAPI definitions are called.
    pub fn name(self) -> &'static str {
        self.row.name
    }

    /// True if server-side apply treats an object of this type as one value
    /// (`x-kubernetes-map-type: atomic`).
    pub fn atomic(self) -> bool {
        self.row.atomic
    }

    /// The field of that JSON name.
    pub fn field(self, name: &str) -> Option<FieldRef> {
        let rows = self.rows();
        let at = rows.binary_search_by(|f| f.name.cmp(name)).ok()?;
        Some(FieldRef { row: &rows[at] })
    }

    /// Every field, by name.
    pub fn fields(self) -> impl Iterator<Item = FieldRef> {
        self.rows().iter().map(|row| FieldRef { row })
    }

    /// Group, version and kind of every kind with this type.
    pub fn kinds(self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        types()
            .kinds()
            .filter(move |k| k.3 == self.id)
            .map(|(g, v, k, _)| (g, v, k))
    }

    fn rows(self) -> &'static [FieldRow] {
        &types().fields[self.row.fields.start as usize..self.row.fields.end as usize]
    }
}

/// One field of a type.
#[derive(Debug, Clone, Copy)]
pub struct FieldRef {
    row: &'static FieldRow,
}

impl FieldRef {
    fn rules(self) -> &'static Rules {
        match self.row.rules {
            Some(at) => &types().rules[usize::from(at.get())],
            None => &Rules::NONE,
        }
    }

    /// Its JSON name.
    pub fn name(self) -> &'static str {
        self.row.name
    }

    /// What its value looks like.
    pub fn shape(self) -> Shape {
        types().shape(self.row.shape)
    }

    /// The type of the value, of a list's items, or of a map's values, where it has fields.
    pub fn element(self) -> Option<TypeRef> {
        let mut shape = self.shape();
        loop {
            match shape {
                Shape::Struct(id) => return Some(types().get(id)),
                Shape::List(inner) | Shape::Map(inner) => shape = inner.shape(),
                Shape::Scalar(_) => return None,
            }
        }
    }

    /// True if an object without it is invalid.
    pub fn required(self) -> bool {
        self.row.required
    }

    /// How strategic merge treats it.
    pub fn patch_strategy(self) -> PatchStrategy {
        self.rules().strategy
    }

    /// True if patches carry `$retainKeys` for it (unions such as `strategy`).
    pub fn retain_keys(self) -> bool {
        self.rules().retain_keys
    }

    /// The field that tells a list's items apart in a strategic merge.
    pub fn merge_key(self) -> Option<&'static str> {
        self.rules().merge_key
    }

    /// How the items of the list are told apart in server-side apply; `None` if not said
    /// (then a list is atomic).
    pub fn list_type(self) -> Option<ListType> {
        self.rules().list
    }

    /// The fields that together tell the items of a list-map apart.
    pub fn list_map_keys(self) -> impl Iterator<Item = &'static str> {
        self.rules()
            .list_map_keys
            .split(',')
            .filter(|k| !k.is_empty())
    }

    /// True if server-side apply treats the map or object as one value.
    pub fn atomic(self) -> bool {
        self.rules().atomic
    }

    /// What an absent key of a list-map's item stands for, as JSON text.
    pub fn default_json(self) -> Option<&'static str> {
        self.rules().default
    }
}
