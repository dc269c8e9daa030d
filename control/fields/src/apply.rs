//! Server-side apply: what a configuration makes of an object and of its owners.

use std::borrow::Cow;

use crate::compare::{Diff, compare};
use crate::conflict::{Conflict, Conflicts};
use crate::last_applied;
use crate::managed::{Managed, Manager, Owner, strip};
use crate::merge::{merge, settle_nulls};
use crate::owned::{Misfit, owned};
use crate::remove::remove;
use crate::schema::Schema;
use crate::set::Set;
use crate::tree::Tree;

/// What is applied, and by whom.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// What the client sent.
    pub object: Tree<'a>,
    /// Who sent it; the operation is an apply.
    pub manager: Manager<'a>,
    /// Take over what others own.
    pub force: bool,
    /// The only field at the top that counts (`status` for the subresource of that name).
    pub only: Option<&'static str>,
    /// A field at the top that does not count (the status, where it has a subresource).
    pub except: Option<&'static str>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Applied<'a> {
    /// The object, without defaults for what is new in it.
    pub object: Tree<'a>,
    /// Who owns what now.
    pub managed: Managed<'a>,
}

/// Why nothing was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// The configuration does not fit the type.
    Misfits(Vec<Misfit>),
    /// Others own what it would change.
    Conflicts(Conflicts),
}

/// Applies a configuration to `live` (`None` if there is no such object) with its entries.
/// The manager's entry gets the time `now`, also if nothing changed: whether it did is for the
/// caller to see, once defaults are in ([`Managed::same_but_times`]).
///
/// # Errors
/// See [`ApplyError`]. Nothing conflicts with `force`.
pub fn apply<'a>(
    schema: &dyn Schema,
    live: Option<&Tree<'a>>,
    mut managed: Managed<'a>,
    config: &Config<'a>,
    now: &str,
) -> Result<Applied<'a>, ApplyError> {
    let wanted = relevant(config);
    let named = owned(schema, &wanted).map_err(ApplyError::Misfits)?;
    let mut fields = named.clone();
    strip(&mut fields);
    let manager = &config.manager;
    let Some(live) = live else {
        managed.owners_mut().clear();
        replace(&mut managed, manager, fields, now);
        return Ok(Applied {
            object: wanted,
            managed,
        });
    };
    if managed.is_empty() {
        let everything = compare(schema, None, live).changed;
        managed.begin(everything, manager.api_version.clone());
    }
    let last = managed.of(manager).map(|owner| owner.fields.clone());
    let last = last.filter(|last| *last != fields);
    let mut object = merge(schema, live.clone(), &wanted);
    replace(&mut managed, manager, fields, now);
    if let Some(last) = last {
        // Also what nobody owns: whoever names an object does not take its name away.
        let mut all = named;
        for owner in managed.owners() {
            all.unite(owner.fields.clone());
        }
        remove(schema, &mut object, &last, &all);
    }
    settle_nulls(&mut object, &wanted);
    let diff = compare(schema, Some(live), &object);
    if !config.force {
        refuse_conflicts(schema, live, &managed, manager, &diff)?;
    }
    for owner in managed.owners_mut() {
        if owner.manager != *manager {
            owner.fields.subtract(&diff.changed);
            owner.fields.subtract(&diff.removed);
        }
    }
    managed
        .owners_mut()
        .retain(|owner| !owner.fields.is_empty());
    if manager.name == last_applied::KUBECTL {
        last_applied::refresh(&mut object, &config.object);
    }
    Ok(Applied { object, managed })
}

/// The part of the configuration that counts.
fn relevant<'a>(config: &Config<'a>) -> Tree<'a> {
    let mut object = config.object.clone();
    if let Tree::Map(map) = &mut object {
        map.retain(|key, _| match (config.only, config.except) {
            (Some(only), _) => matches!(key, "apiVersion" | "kind") || key == only,
            (None, except) => except != Some(key),
        });
    }
    object
}

/// The manager owns these fields and no others.
fn replace<'a>(managed: &mut Managed<'a>, manager: &Manager<'a>, fields: Set<'a>, now: &str) {
    let owner = Owner {
        manager: manager.clone(),
        time: Cow::Owned(now.to_owned()),
        fields,
    };
    let at = managed.of(manager).map(|o| o.manager.clone());
    let owners = managed.owners_mut();
    owners.retain(|o| Some(&o.manager) != at.as_ref());
    if !owner.fields.is_empty() {
        owners.push(owner);
    }
}

fn refuse_conflicts<'a>(
    schema: &dyn Schema,
    live: &Tree<'a>,
    managed: &Managed<'a>,
    manager: &Manager<'a>,
    diff: &Diff<'a>,
) -> Result<(), ApplyError> {
    let mut others = Vec::new();
    for owner in managed.owners() {
        if owner.manager != *manager {
            let fields = owner.fields.intersection(&diff.changed);
            if !fields.is_empty() {
                others.push((&owner.manager, fields));
            }
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    if manager.name == last_applied::KUBECTL {
        let allowed = last_applied::untouched(schema, live);
        for (_, fields) in &mut others {
            fields.subtract(&allowed);
        }
    }
    others.sort_by_key(|(manager, _)| manager.to_string());
    let mut conflicts = Vec::new();
    for (manager, fields) in others {
        for path in fields.paths() {
            conflicts.push(Conflict {
                manager: manager.clone().into_owned(),
                path,
            });
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(ApplyError::Conflicts(Conflicts(conflicts)))
}
