//! What is particular to a kind. Everything else about a verb is generic
//! ([`super::store`]). Follows `k8s.io/apiserver/pkg/registry/rest` strategies.

use euston_access::User;
use euston_api::field::ErrorList;
use euston_api::names::NameRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::Subresource;
use crate::access::Access;

/// A typed API object with ordinary metadata.
pub trait Object:
    k8s_openapi::Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Object for T where
    T: k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A column of `kubectl get`.
#[derive(Debug, Clone, Copy)]
pub struct ColumnOf<'a> {
    /// Heading, as kubectl upper-cases it: `Name`, `Ready`, `Nominated Node`.
    pub name: &'a str,
    /// `string`, `integer`, ...
    pub kind: &'a str,
    /// `name` for the name column, else empty.
    pub format: &'a str,
    /// What the column means, for `--help` of printers.
    pub description: &'a str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

/// A column of a built-in kind.
pub type Column = ColumnOf<'static>;

impl Column {
    /// A string column.
    pub const fn string(name: &'static str, description: &'static str) -> Self {
        Column {
            name,
            kind: "string",
            format: "",
            description,
            priority: 0,
        }
    }

    /// An integer column.
    pub const fn integer(name: &'static str, description: &'static str) -> Self {
        Column {
            name,
            kind: "integer",
            format: "",
            description,
            priority: 0,
        }
    }

    /// The same column, shown with `-o wide` only.
    #[must_use]
    pub const fn wide(self) -> Self {
        Column {
            priority: 1,
            ..self
        }
    }
}

/// The name column that every table starts with.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace.",
    priority: 0,
};

/// The age column that most tables end with.
pub const AGE: Column = Column::string("Age", "Time since creation.");

/// A field selector's value for an object: (`spec.nodeName`, `node-1`).
pub type Fields = Vec<(&'static str, String)>;

/// The rules of one kind. Methods are pure: no I/O, no clock, no randomness.
///
/// Order on create: [`default`](Strategy::default), [`prepare_for_create`](Strategy::prepare_for_create),
/// [`validate`](Strategy::validate), [`validate_create`](Strategy::validate_create). On update: `default`,
/// [`prepare_for_update`](Strategy::prepare_for_update), `validate`,
/// [`validate_update`](Strategy::validate_update). On a status update:
/// [`prepare_for_status_update`](Strategy::prepare_for_status_update),
/// [`validate_status_update`](Strategy::validate_status_update). On an update of another part:
/// [`prepare_for_part_update`](Strategy::prepare_for_part_update), `default`, `validate`,
/// [`validate_part_update`](Strategy::validate_part_update).
pub trait Strategy: Send + Sync + 'static {
    /// The type, from `k8s-openapi`.
    type Object: Object;

    /// What names of this kind look like.
    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Subdomain
    }

    /// Fills in Kubernetes' defaults. Idempotent.
    fn default(&self, _object: &mut Self::Object) {}

    /// Drops what a client may not set at creation (usually the status).
    fn prepare_for_create(&self, _object: &mut Self::Object) {}

    /// Everything wrong with the object by itself, metadata apart.
    fn validate(&self, object: &Self::Object) -> ErrorList;

    /// Everything wrong with a new object that would be let pass in one that is there
    /// already, after [`validate`](Strategy::validate).
    fn validate_create(&self, _object: &Self::Object) -> ErrorList {
        ErrorList::new()
    }

    /// Keeps what an ordinary update may not change (usually the status).
    fn prepare_for_update(&self, _new: &mut Self::Object, _old: &Self::Object) {}

    /// Everything wrong with the step from `old` to `new`.
    fn validate_update(&self, _new: &Self::Object, _old: &Self::Object) -> ErrorList {
        ErrorList::new()
    }

    /// Keeps all but the status as it was.
    fn prepare_for_status_update(&self, _new: &mut Self::Object, _old: &Self::Object) {}

    /// Everything wrong with the new status.
    fn validate_status_update(&self, _new: &Self::Object, _old: &Self::Object) -> ErrorList {
        ErrorList::new()
    }

    /// Keeps all as it was but what the subresource `part` is for. The metadata is the old
    /// object's already. Only called for subresources other than the status that
    /// [are the object](Subresource::is_part).
    fn prepare_for_part_update(
        &self,
        _part: Subresource,
        _new: &mut Self::Object,
        _old: &Self::Object,
    ) {
    }

    /// Everything wrong with the step from `old` to `new` by way of the subresource `part`.
    fn validate_part_update(
        &self,
        _part: Subresource,
        _new: &Self::Object,
        _old: &Self::Object,
    ) -> ErrorList {
        ErrorList::new()
    }

    /// Called when the server has chosen another name than `before`, which was taken, for
    /// a new object that is otherwise ready to be stored.
    fn renamed(&self, _object: &mut Self::Object, _before: &str) {}

    /// True if the change bumps `metadata.generation` (a changed spec, for most kinds).
    fn bumps_generation(&self, _new: &Self::Object, _old: &Self::Object) -> bool {
        false
    }

    /// True for kinds whose `metadata.generation` starts at 1 (those with a spec); others have none.
    fn has_generation(&self) -> bool {
        false
    }

    /// What the client should know though the request is fine (`Warning` headers).
    fn warnings(&self, _object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// Field selector values besides `metadata.name` and `metadata.namespace`.
    /// Always the same labels in the same order, with empty values where unset.
    fn fields(&self, _object: &Self::Object) -> Fields {
        Vec::new()
    }

    /// The labels that [`fields`](Strategy::fields) returns.
    fn field_labels(&self) -> &'static [&'static str] {
        &[]
    }

    /// How many seconds of grace a deletion gives, if this kind is deleted
    /// gracefully: `asked` is what the client asked for. `None` deletes at once.
    fn grace_period_seconds(&self, _object: &Self::Object, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Called when the object begins to terminate (a namespace's phase, for example).
    fn mark_terminating(&self, _object: &mut Self::Object) {}

    /// True while something besides `metadata.finalizers` and grace keeps a
    /// terminating object alive (a namespace's `spec.finalizers`).
    fn holds_deletion(&self, _object: &Self::Object) -> bool {
        false
    }

    /// The columns of `kubectl get`, in order; the first is [`NAME`].
    fn columns(&self) -> &'static [Column];

    /// One cell for each of [`columns`](Strategy::columns). `now` is for ages.
    fn row(&self, object: &Self::Object, now: jiff::Timestamp) -> Vec<Value>;

    /// The scale subresource's view, for kinds that have one.
    fn scale(&self, _object: &Self::Object) -> Option<Scale> {
        None
    }

    /// Sets `spec.replicas`, for kinds with a scale subresource.
    fn set_replicas(&self, _object: &mut Self::Object, _replicas: i32) {}

    /// Writes the answer into the question of `by`, for kinds whose objects are
    /// [asked](super::kind::Kind::asked) and not kept.
    fn answer(&self, _object: &mut Self::Object, _by: &User, _access: &Access) {}
}

/// Methods of a [`Strategy`] whose kind counts the changes of its `spec` as generations.
macro_rules! counts_spec_changes {
    () => {
        fn has_generation(&self) -> bool {
            true
        }

        fn bumps_generation(&self, new: &Self::Object, old: &Self::Object) -> bool {
            new.spec != old.spec
        }
    };
}
pub(crate) use counts_spec_changes;

/// Methods of a [`Strategy`] whose kind has its `status` changed through the subresource alone,
/// and its `spec` never through that.
macro_rules! keeps_status_apart {
    () => {
        fn prepare_for_update(&self, new: &mut Self::Object, old: &Self::Object) {
            new.status.clone_from(&old.status);
        }

        fn prepare_for_status_update(&self, new: &mut Self::Object, old: &Self::Object) {
            new.spec.clone_from(&old.spec);
        }
    };
}
pub(crate) use keeps_status_apart;

/// What `autoscaling/v1 Scale` says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`
    pub replicas: i32,
    /// `status.replicas`
    pub observed: i32,
    /// The label selector of its pods, serialised.
    pub selector: String,
}
