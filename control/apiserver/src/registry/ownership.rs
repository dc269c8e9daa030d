//! Who owns which field of an object, kept up by every write: the registry's side of
//! `euston-fields`, which decides.

use std::borrow::Cow;

use euston_fields::{Managed, Manager, Operation, compare_objects};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use super::kind::{Kind, Subresource};
use super::options::WriteOptions;
use super::{Part, metadata};
use crate::error::{ApiError, Result};
use crate::storage::Parts;

/// What a client says about owners.
pub(super) enum Asked {
    /// Nothing: they stay as they are.
    Nothing,
    /// That there are none.
    Reset,
    /// That these are all, as JSON.
    Entries(Vec<u8>),
}

/// What becomes of the owners of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// Nothing.
    Unchanged,
    /// This is their JSON; `None` if there are none.
    New(Option<Vec<u8>>),
}

impl Owners {
    fn of(managed: &Managed<'_>) -> Self {
        Owners::New((!managed.is_empty()).then(|| managed.to_json()))
    }

    /// What is stored after all, where `old` was.
    pub(super) fn or<'a>(&'a self, old: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self {
            Owners::Unchanged => old,
            Owners::New(json) => json.as_deref(),
        }
    }
}

/// Takes what a client says about owners out of its object. An empty list, or a single empty
/// entry, resets them
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields>).
pub(super) fn asked(meta: &mut ObjectMeta) -> Result<Asked> {
    let Some(entries) = meta.managed_fields.take() else {
        return Ok(Asked::Nothing);
    };
    match &entries[..] {
        [] => Ok(Asked::Reset),
        [one] if *one == ManagedFieldsEntry::default() => Ok(Asked::Reset),
        all => Ok(Asked::Entries(
            serde_json::to_vec(all).map_err(ApiError::internal)?,
        )),
    }
}

/// Through what an object is written, as entries say it.
pub(super) fn through(part: Part, options: &WriteOptions) -> &'static str {
    match part {
        Part::Status => Subresource::Status.name(),
        Part::Of(subresource) => subresource.name(),
        Part::Main | Part::Computed => options.subresource,
    }
}

/// Now, as entries say it.
pub(super) fn now() -> String {
    metadata::now().0.to_string()
}

/// The stored entries.
pub(super) fn read<'a>(kind: &Kind, owners: Option<&'a [u8]>) -> Managed<'a> {
    let Some(json) = owners else {
        return Managed::default();
    };
    Managed::parse_own(json).unwrap_or_else(|error| {
        // Only a write by another version could do this; the object itself is whole.
        tracing::error!(kind = %kind.names.kind, %error, "stored managedFields cannot be read");
        Managed::default()
    })
}

/// What an ordinary write makes of the owners. `old` is `None` where an object is created;
/// `new` is the object without owners.
pub(super) fn written(
    kind: &Kind,
    part: Part,
    options: &WriteOptions,
    old: Option<&Parts<'_>>,
    new: &[u8],
    asked: &Asked,
) -> Result<Owners> {
    let same = old.is_some_and(|old| old.lean == new);
    let subresource = through(part, options);
    // Through a subresource nobody says who owns what.
    let asked = if subresource.is_empty() {
        asked
    } else {
        &Asked::Nothing
    };
    if same && matches!(asked, Asked::Nothing) {
        return Ok(Owners::Unchanged);
    }
    let live = old.and_then(|old| old.owners);
    let mut managed = match asked {
        Asked::Nothing => read(kind, live),
        Asked::Reset => Managed::default(),
        // Clients that do not know them must not delete them by accident.
        Asked::Entries(json) => match Managed::parse(json) {
            Ok(managed) if !managed.is_empty() => managed,
            _ => read(kind, live),
        },
    };
    if let Some(name) = options.manager.as_deref().filter(|_| !same) {
        let schema = kind.rules.type_schema();
        let old_json = old.map(|old| &*old.lean);
        let mut diff = compare_objects(schema, old_json, new).map_err(ApiError::internal)?;
        if old.is_none() && has_status(kind) {
            // What stands there is the server's doing.
            diff.changed.remove_field("status");
        }
        let manager = Manager {
            name: Cow::Borrowed(name),
            operation: Operation::Update,
            api_version: Cow::Owned(kind.names.api_version()),
            subresource: Cow::Borrowed(subresource),
        };
        managed.update(diff, manager, &now());
    }
    if same && managed.same_but_times(&read(kind, live)) {
        return Ok(Owners::Unchanged);
    }
    Ok(Owners::of(&managed))
}

/// What an apply makes of the owners: `json`, unless it only has another time.
pub(super) fn applied(kind: &Kind, old: &Parts<'_>, new: &[u8], json: Vec<u8>) -> Owners {
    let same = old.lean == new && {
        let before = read(kind, old.owners);
        read(kind, Some(&json)).same_but_times(&before)
    };
    if same {
        Owners::Unchanged
    } else {
        Owners::New(Some(json).filter(|json| json != b"[]"))
    }
}

/// True if the status is not written through the object itself.
pub(super) fn has_status(kind: &Kind) -> bool {
    kind.subresources.contains(&Subresource::Status)
}
