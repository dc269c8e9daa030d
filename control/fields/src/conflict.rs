//! Who owns what an apply would change, in Kubernetes' words.

use std::collections::BTreeMap;
use std::fmt;

use crate::managed::Manager;

/// A field that somebody else owns, and that an apply would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: Manager<'static>,
    /// `.spec.replicas`
    pub path: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conflict with {}", self.manager)
    }
}

/// All that stands against an apply; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = &self.0[..] {
            return write!(f, "Apply failed with 1 conflict: {one}: {}", one.path);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut by_manager: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for conflict in &self.0 {
            let paths = by_manager.entry(conflict.manager.to_string()).or_default();
            paths.push(&conflict.path);
        }
        for (at, (manager, paths)) in by_manager.iter().enumerate() {
            let before = if at == 0 { "" } else { "\n" };
            write!(f, "{before}conflicts with {manager}:")?;
            for path in paths {
                write!(f, "\n- {path}")?;
            }
        }
        Ok(())
    }
}
