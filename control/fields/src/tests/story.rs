//! One object and those who write it.

use serde_json::Value;

use super::{spec, thing};
use crate::{
    Applied, ApplyError, Config, Managed, Manager, OpenApi, Operation, Tree, apply, compare,
};

/// The state of an object between writes.
pub(super) struct Story {
    schema: OpenApi,
    /// `None` before it is created.
    pub(super) object: Option<Value>,
    managed: Vec<u8>,
    clock: u32,
}

fn manager(name: &str, operation: Operation) -> Manager<'_> {
    let (name, subresource) = name.split_once('/').unwrap_or((name, ""));
    Manager {
        name: name.into(),
        operation,
        api_version: "v1".into(),
        subresource: subresource.into(),
    }
}

impl Story {
    pub(super) fn new() -> Self {
        Story {
            schema: thing(),
            object: None,
            managed: b"[]".to_vec(),
            clock: 0,
        }
    }

    fn now(&mut self) -> String {
        self.clock += 1;
        format!("2026-01-01T00:00:{:02}Z", self.clock)
    }

    pub(super) fn try_apply(
        &mut self,
        name: &str,
        config: &Value,
        force: bool,
    ) -> Result<(), ApplyError> {
        let now = self.now();
        let managed = Managed::parse_own(&self.managed).unwrap();
        let live = self.object.as_ref().map(Tree::from);
        let config = Config {
            object: Tree::from(config),
            manager: manager(name, Operation::Apply),
            force,
            only: name.ends_with("/status").then_some("status"),
            except: Some("status"),
        };
        let Applied { object, managed } =
            apply(&self.schema, live.as_ref(), managed, &config, &now)?;
        let object = serde_json::from_str(&object.to_json()).unwrap();
        let managed = managed.to_json();
        (self.object, self.managed) = (Some(object), managed);
        Ok(())
    }

    /// `name` applies a spec, or a whole object; `NAME/status` applies through the subresource.
    pub(super) fn apply(mut self, name: &str, config: &str) -> Self {
        self.try_apply(name, &parse(config), false)
            .unwrap_or_else(|e| panic!("{name} applies {config}: {e:?}"));
        self
    }

    pub(super) fn force(mut self, name: &str, config: &str) -> Self {
        self.try_apply(name, &parse(config), true)
            .unwrap_or_else(|e| panic!("{name} applies {config}: {e:?}"));
        self
    }

    /// The apply is refused because of these (manager, path below `.spec`).
    pub(super) fn conflict(mut self, name: &str, config: &str, expect: &[(&str, &str)]) -> Self {
        let before = (self.object.clone(), self.managed.clone());
        let Err(ApplyError::Conflicts(conflicts)) = self.try_apply(name, &parse(config), false)
        else {
            panic!("{name} applies {config}: no conflict");
        };
        let got: Vec<(&str, &str)> = conflicts
            .0
            .iter()
            .map(|c| {
                (
                    &*c.manager.name,
                    c.path.strip_prefix(".spec").unwrap_or(&c.path),
                )
            })
            .collect();
        assert_eq!(got, expect, "{name} applies {config}");
        assert_eq!((&self.object, &self.managed), (&before.0, &before.1));
        self
    }

    /// `name` replaces the object in an ordinary write.
    pub(super) fn update(mut self, name: &str, object: &str) -> Self {
        let now = self.now();
        let new = parse(object);
        let managed = {
            let mut managed = Managed::parse_own(&self.managed).unwrap();
            let old = self.object.as_ref().map(Tree::from);
            let diff = compare(&self.schema, old.as_ref(), &Tree::from(&new));
            managed.update(diff, manager(name, Operation::Update), &now);
            managed.to_json()
        };
        (self.object, self.managed) = (Some(new), managed);
        self
    }

    /// All entries are gone.
    pub(super) fn reset(mut self) -> Self {
        self.managed = b"[]".to_vec();
        self
    }

    /// The object's spec is this.
    pub(super) fn is(self, expect: &str) -> Self {
        let expect: Value = serde_json::from_str(expect).unwrap();
        assert_eq!(self.object.as_ref().unwrap()["spec"], expect);
        self
    }

    /// What a manager owns, below `.spec`; `NAME!` for ordinary writes.
    pub(super) fn owns(self, name: &str, expect: &[&str]) -> Self {
        let (name, operation) = match name.strip_suffix('!') {
            Some(name) => (name, Operation::Update),
            None => (name, Operation::Apply),
        };
        let managed = Managed::parse_own(&self.managed).unwrap();
        let wanted = manager(name, operation);
        let owner = managed.owners().iter().find(|o| {
            let m = &o.manager;
            (&m.name, m.operation, &m.subresource) == (&wanted.name, operation, &wanted.subresource)
        });
        let paths = owner.map(|o| o.fields.paths()).unwrap_or_default();
        let paths: Vec<&str> = paths
            .iter()
            .map(|p| p.strip_prefix(".spec").unwrap_or(p))
            .collect();
        assert_eq!(paths, expect, "{name} owns");
        self
    }

    /// How many entries there are.
    pub(super) fn entries(self, expect: usize) -> Self {
        let managed = Managed::parse_own(&self.managed).unwrap();
        assert_eq!(managed.owners().len(), expect);
        self
    }

    pub(super) fn managed(&self) -> Managed<'_> {
        Managed::parse_own(&self.managed).unwrap()
    }
}

/// A spec, or a whole object.
fn parse(json: &str) -> Value {
    let whole = json.contains("apiVersion");
    let text = if whole { json.to_owned() } else { spec(json) };
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{json}: {e}"))
}
