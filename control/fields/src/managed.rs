//! The entries of `metadata.managedFields`: who owns what, since when, and through which version.
//! Follows `k8s.io/apimachinery/pkg/util/managedfields/internal`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::compare::Diff;
use crate::set::Set;

/// Entries of ordinary writes past this are merged into one, oldest first (Kubernetes' bound).
pub(crate) const UPDATERS_MAX: usize = 10;

/// Who owns what those wrote whose entries were merged.
const ANCIENT: &str = "ancient-changes";

/// Who owned everything when an object without entries was first applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Which metadata nobody owns: the server's, and what makes an object this one.
const NOBODYS: &[&str] = &[
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// How a manager came to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// By server-side apply: it owns what its last configuration named.
    Apply,
    /// By any other write: it owns what it changed.
    Update,
}

/// Who owns fields. An applier is the same through all versions of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager<'a> {
    /// `kubectl`, from the query parameter `fieldManager` or the user agent.
    pub name: Cow<'a, str>,
    /// How it wrote.
    pub operation: Operation,
    /// `apps/v1`: in which version the paths are.
    pub api_version: Cow<'a, str>,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: Cow<'a, str>,
}

impl Manager<'_> {
    /// What an entry belongs to.
    fn key(&self) -> (Operation, &str, &str, &str) {
        let version = match self.operation {
            Operation::Apply => "",
            Operation::Update => &self.api_version,
        };
        (self.operation, &self.name, version, &self.subresource)
    }

    /// True if the two share one entry.
    fn same(&self, other: &Manager<'_>) -> bool {
        self.key() == other.key()
    }

    /// A copy that outlives the text it was read from.
    pub fn into_owned(self) -> Manager<'static> {
        Manager {
            name: Cow::Owned(self.name.into_owned()),
            operation: self.operation,
            api_version: Cow::Owned(self.api_version.into_owned()),
            subresource: Cow::Owned(self.subresource.into_owned()),
        }
    }
}

impl fmt::Display for Manager<'_> {
    /// As conflicts name it: `"kubectl-edit" using apps/v1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Who.
    pub manager: Manager<'a>,
    /// When it last took something, as RFC 3339 in UTC with whole seconds; empty if unknown.
    pub time: Cow<'a, str>,
    /// What it owns; never empty.
    pub fields: Set<'a>,
}

/// All entries of an object: no two of the same manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managed<'a>(Vec<Owner<'a>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    #[serde(borrow, default)]
    manager: Cow<'a, str>,
    operation: Operation,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    subresource: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
    #[serde(default)]
    fields_type: Cow<'a, str>,
    #[serde(borrow, default)]
    fields_v1: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'s, 'a> {
    api_version: &'s str,
    fields_type: &'s str,
    fields_v1: &'s Set<'a>,
    manager: &'s str,
    operation: Operation,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'s str,
    #[serde(skip_serializing_if = "str::is_empty")]
    time: &'s str,
}

impl<'a> Managed<'a> {
    /// Reads the JSON of `metadata.managedFields` as any client may have written it.
    ///
    /// # Errors
    /// If it is no list of entries, or a path in it makes no sense.
    pub fn parse(json: &'a [u8]) -> serde_json::Result<Self> {
        let mut managed = Self::read(json, Set::parse)?;
        managed.join();
        Ok(managed)
    }

    /// Reads what [`Managed::to_json`] wrote.
    ///
    /// # Errors
    /// If somebody else wrote it.
    pub fn parse_own(json: &'a [u8]) -> serde_json::Result<Self> {
        Self::read(json, Set::parse_own)
    }

    fn read(
        json: &'a [u8],
        set: fn(&'a str) -> serde_json::Result<Set<'a>>,
    ) -> serde_json::Result<Self> {
        use serde::de::Error;
        let entries: Vec<Read<'a>> = serde_json::from_slice(json)?;
        let mut all = Vec::with_capacity(entries.len() + 1);
        for entry in entries {
            if !matches!(&*entry.fields_type, "FieldsV1" | "") {
                let why = format!("unsupported fields type: {}", entry.fields_type);
                return Err(serde_json::Error::custom(why));
            }
            let fields = match entry.fields_v1 {
                Some(raw) => set(raw.get())?,
                None => Set::default(),
            };
            let owner = Owner {
                manager: Manager {
                    name: entry.manager,
                    operation: entry.operation,
                    api_version: entry.api_version,
                    subresource: entry.subresource,
                },
                time: entry.time.unwrap_or_default(),
                fields,
            };
            if !owner.fields.is_empty() {
                all.push(owner);
            }
        }
        Ok(Managed(all))
    }

    /// Makes one entry of those that one manager has.
    fn join(&mut self) {
        self.0.sort_by(|a, b| a.manager.key().cmp(&b.manager.key()));
        self.0.dedup_by(|later, earlier| {
            let same = later.manager.same(&earlier.manager);
            if same {
                earlier.fields.unite(std::mem::take(&mut later.fields));
                earlier.time = std::mem::take(&mut later.time);
            }
            same
        });
    }

    /// As JSON, in Kubernetes' order: appliers first, then by time, name, version, subresource.
    pub fn to_json(&self) -> Vec<u8> {
        let mut order: Vec<&Owner<'_>> = self.0.iter().collect();
        order.sort_by(|a, b| {
            let (x, y) = (&a.manager, &b.manager);
            let by_time = x.operation.cmp(&y.operation).then(a.time.cmp(&b.time));
            by_time
                .then(x.name.cmp(&y.name))
                .then(x.api_version.cmp(&y.api_version))
                .then(x.subresource.cmp(&y.subresource))
        });
        let entries: Vec<Written<'_, '_>> = order
            .into_iter()
            .map(|owner| Written {
                api_version: &owner.manager.api_version,
                fields_type: "FieldsV1",
                fields_v1: &owner.fields,
                manager: &owner.manager.name,
                operation: owner.manager.operation,
                subresource: &owner.manager.subresource,
                time: &owner.time,
            })
            .collect();
        // Strings, lists and maps with string keys: there is always a text.
        serde_json::to_vec(&entries).unwrap_or_default()
    }

    /// The entries, in no particular order.
    pub fn owners(&self) -> &[Owner<'a>] {
        &self.0
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if both say the same but for the times.
    pub fn same_but_times(&self, other: &Managed<'_>) -> bool {
        let (mine, theirs) = (self.in_order(), other.in_order());
        mine.len() == theirs.len()
            && mine
                .iter()
                .zip(theirs)
                .all(|(a, b)| a.manager == b.manager && a.fields == b.fields)
    }

    fn in_order(&self) -> Vec<&Owner<'a>> {
        let mut all: Vec<&Owner<'a>> = self.0.iter().collect();
        all.sort_by(|a, b| a.manager.key().cmp(&b.manager.key()));
        all
    }

    /// What an ordinary write of `manager` makes of the entries. It owns what it changed; from all
    /// others that goes, and what it removed.
    pub fn update(&mut self, diff: Diff<'a>, manager: Manager<'a>, now: &str) {
        let Diff { changed, removed } = diff;
        for owner in &mut self.0 {
            owner.fields.subtract(&changed);
            owner.fields.subtract(&removed);
        }
        let mut fields = changed;
        strip(&mut fields);
        if !fields.is_empty() {
            self.add(Owner {
                manager,
                time: Cow::Owned(now.to_owned()),
                fields,
            });
        }
        self.0.retain(|owner| !owner.fields.is_empty());
        self.cap();
    }

    /// The entry of a manager.
    pub(crate) fn of(&self, manager: &Manager<'_>) -> Option<&Owner<'a>> {
        self.0.iter().find(|owner| owner.manager.same(manager))
    }

    pub(crate) fn owners_mut(&mut self) -> &mut Vec<Owner<'a>> {
        &mut self.0
    }

    /// Gives all of an object that had no entries to one that stands for its past.
    pub(crate) fn begin(&mut self, mut everything: Set<'a>, api_version: Cow<'a, str>) {
        strip(&mut everything);
        if !everything.is_empty() {
            self.0.push(Owner {
                manager: Manager {
                    name: BEFORE_FIRST_APPLY.into(),
                    operation: Operation::Update,
                    api_version,
                    subresource: "".into(),
                },
                time: Cow::Borrowed(""),
                fields: everything,
            });
        }
    }

    /// Adds to the entry of the same manager, or appends.
    fn add(&mut self, owner: Owner<'a>) {
        match self.0.iter_mut().find(|o| o.manager.same(&owner.manager)) {
            Some(mine) => {
                mine.fields.unite(owner.fields);
                mine.time = owner.time;
            }
            None => self.0.push(owner),
        }
    }

    /// Merges the oldest entries of ordinary writes, by version, until there are few enough.
    fn cap(&mut self) {
        let is_update = |o: &Owner<'_>| o.manager.operation == Operation::Update;
        let mut count = self.0.iter().filter(|o| is_update(o)).count();
        if count <= UPDATERS_MAX {
            return;
        }
        let (mut updaters, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(is_update);
        self.0 = rest;
        updaters.sort_by(|a, b| (&a.time, &a.manager.name).cmp(&(&b.time, &b.manager.name)));
        let mut first: Vec<Owner<'a>> = Vec::new();
        for owner in updaters {
            let bucket = first
                .iter_mut()
                .find(|o| o.manager.api_version == owner.manager.api_version);
            match bucket {
                Some(bucket) if count > UPDATERS_MAX => {
                    bucket.manager.name = ANCIENT.into();
                    bucket.manager.subresource = "".into();
                    bucket.time = owner.time;
                    bucket.fields.unite(owner.fields);
                    count -= 1;
                }
                _ => first.push(owner),
            }
        }
        for owner in first {
            self.add(owner);
        }
    }
}

/// Takes out what nobody owns.
pub(crate) fn strip(fields: &mut Set<'_>) {
    fields.remove_field("apiVersion");
    fields.remove_field("kind");
    for (element, node) in fields.nodes_mut() {
        if matches!(element, crate::element::Element::Field(name) if name == "metadata") {
            node.member = false;
            for name in NOBODYS {
                node.below.remove_field(name);
            }
        }
    }
    fields.nodes_mut().retain(|(_, node)| !node.is_empty());
}
