//! What has to be known about a type in order to say who owns what in it.

use crate::tree::Tree;

/// A place in a schema: a number that only the schema which gave it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(pub u32);

impl Place {
    /// The place below which nothing is known. Objects are maps with free keys there, and
    /// lists are atomic. The walks answer for it themselves and never ask a schema about it.
    pub const UNTYPED: Place = Place(u32::MAX);
}

/// What a value at a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value, owned as a whole: scalars, and lists, maps and objects that are `atomic`.
    Leaf,
    /// An object: each of its fields has an owner of its own.
    Map,
    /// A list of scalars, each at most once and with owners of its own (`list-type: set`).
    Set,
    /// A list of objects, told apart by [`Schema::key`] (`list-type: map`).
    Keyed,
    /// As the value itself is: see [`Place::UNTYPED`].
    Untyped,
}

/// What a key of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Where its value is.
    pub place: Place,
    /// The type lists it by name; otherwise it is a key of a map, or of an object that keeps
    /// unknown fields.
    pub named: bool,
}

/// The type of an object.
///
/// The walks hold a [`Place`] and ask about it, level by level, so an implementation may be
/// an index into a table (built-in types, [`OpenApi`](crate::OpenApi)) or anything else that
/// answers quickly. Nothing is cloned.
///
/// The facts are those of OpenAPI's `x-kubernetes-list-type`, `-list-map-keys`, `-map-type`
/// and `-preserve-unknown-fields`
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy>).
pub trait Schema: Send + Sync {
    /// Where the object as a whole is.
    fn root(&self) -> Place;

    /// What a value there is.
    fn shape(&self, at: Place) -> Shape;

    /// The field of that name in an object there; `None` if the type has no such field.
    fn field(&self, at: Place, name: &str) -> Option<Field>;

    /// Where the items of a list are.
    fn item(&self, at: Place) -> Place;

    /// The `nth` of the fields that tell the items of a [`Shape::Keyed`] list apart.
    fn key(&self, at: Place, nth: usize) -> Option<&str>;

    /// What an item of the list that lacks the key stands for (`protocol: TCP` in ports).
    fn key_default(&self, at: Place, key: &str) -> Option<Tree<'_>>;
}
