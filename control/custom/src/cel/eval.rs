//! Evaluation, with its cost counted: what takes too long ends with an error, whatever the rule says.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use super::library;
use super::syntax::{Each, Expr, What};
use super::value::{Key, Value};

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Error {
    /// In cel-go's words.
    Failed(String),
    /// The work that one evaluation may take is done.
    TooMuch,
}

impl Error {
    pub(super) fn failed(what: impl Into<String>) -> Self {
        Error::Failed(what.into())
    }

    pub(super) fn overload() -> Self {
        Error::failed("no such overload")
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Failed(what) => f.write_str(what),
            Error::TooMuch => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// What it costs to compile a pattern: some milliseconds for the worst that are allowed.
const PATTERN_COST: u64 = 10_000;

/// Patterns that an evaluation keeps compiled: those of its text, not those it makes.
const PATTERNS_MAX: usize = 16;

/// An evaluation under way: its variables, and the work that is left to it.
pub(super) struct Evaluation {
    variables: Vec<(String, Value)>,
    patterns: Vec<(String, Regex)>,
    left: u64,
}

impl Evaluation {
    /// One that may take `cost` steps.
    pub(super) fn new(variables: Vec<(String, Value)>, cost: u64) -> Self {
        Evaluation {
            variables,
            patterns: Vec::new(),
            left: cost,
        }
    }

    /// A pattern, compiled.
    pub(super) fn pattern(&mut self, source: &str) -> Result<Regex> {
        if let Some((_, regex)) = self.patterns.iter().find(|(s, _)| s == source) {
            return Ok(regex.clone());
        }
        self.spend(PATTERN_COST)?;
        let regex = crate::schema::pattern(source)
            .map_err(|why| Error::failed(format!("error parsing regexp: {why}")))?;
        if self.patterns.len() < PATTERNS_MAX {
            self.patterns.push((source.to_owned(), regex.clone()));
        }
        Ok(regex)
    }

    /// The work that is left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Takes from the work that is left.
    pub(super) fn spend(&mut self, cost: u64) -> Result<()> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Error::TooMuch)
            }
        }
    }

    fn with<T>(&mut self, name: &str, value: Value, work: impl FnOnce(&mut Self) -> T) -> T {
        self.variables.push((name.to_owned(), value));
        let done = work(self);
        self.variables.pop();
        done
    }

    /// The value of an expression.
    pub(super) fn value(&mut self, expr: &Expr) -> Result<Value> {
        self.spend(1)?;
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(of, field, optional) => {
                let of = self.value(of)?;
                select(of, &Value::text(field.as_str()), *optional, || {
                    format!("no such key: {field}")
                })
            }
            Expr::Has(of, field) => match self.value(of)? {
                Value::Map(map) => Ok(Value::Bool(
                    map.contains_key(&Key::String(field.as_str().into())),
                )),
                Value::Optional(Some(of)) => match of.as_ref() {
                    Value::Map(map) => Ok(Value::Bool(
                        map.contains_key(&Key::String(field.as_str().into())),
                    )),
                    _ => Err(Error::overload()),
                },
                Value::Optional(None) => Ok(Value::Bool(false)),
                _ => Err(Error::overload()),
            },
            Expr::Index(of, index, optional) => {
                let (of, index) = (self.value(of)?, self.value(index)?);
                let shown = library::show(&index);
                let missing = match &of {
                    Value::List(_) => format!("index out of bounds: {shown}"),
                    _ => format!("no such key: {shown}"),
                };
                select(of, &index, *optional, || missing)
            }
            Expr::Call(name, target, args) => self.call(name, target.as_deref(), args),
            Expr::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (optional, item) in items {
                    match (optional, self.value(item)?) {
                        (true, Value::Optional(item)) => {
                            list.extend(item.map(|item| item.as_ref().clone()));
                        }
                        (_, item) => list.push(item),
                    }
                }
                Ok(Value::list(list))
            }
            Expr::Map(entries) => {
                let mut map = BTreeMap::new();
                for (optional, key, value) in entries {
                    let key = self.value(key)?;
                    let key = Key::of(&key).ok_or_else(Error::overload)?;
                    match (optional, self.value(value)?) {
                        (true, Value::Optional(None)) => {}
                        (true, Value::Optional(Some(value))) => {
                            map.insert(key, value.as_ref().clone());
                        }
                        (_, value) => {
                            map.insert(key, value);
                        }
                    }
                }
                Ok(Value::Map(Arc::new(map)))
            }
            Expr::And(left, right) => self.either(left, right, false),
            Expr::Or(left, right) => self.either(left, right, true),
            Expr::Conditional(of) => match self.value(&of[0])? {
                Value::Bool(true) => self.value(&of[1]),
                Value::Bool(false) => self.value(&of[2]),
                _ => Err(Error::overload()),
            },
            Expr::Each(each) => self.each(each),
            Expr::Bind(name, value, body) => {
                let value = self.value(value)?;
                self.with(name, value, |e| e.value(body))
            }
            Expr::OptMap(of, name, body, flat) => match self.value(of)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(value)) => {
                    let value = self.with(name, value.as_ref().clone(), |e| e.value(body))?;
                    match flat {
                        true => Ok(value),
                        false => Ok(Value::Optional(Some(Arc::new(value)))),
                    }
                }
                _ => Err(Error::overload()),
            },
        }
    }

    fn variable(&self, name: &str) -> Result<Value> {
        let found = self.variables.iter().rev().find(|(n, _)| n == name);
        match found {
            Some((_, value)) => Ok(value.clone()),
            None => library::type_named(name)
                .ok_or_else(|| Error::failed(format!("no such attribute(s): {name}"))),
        }
    }

    /// `||` and `&&`: whichever side decides, an error on the other does not matter.
    fn either(&mut self, left: &Expr, right: &Expr, decides: bool) -> Result<Value> {
        let left = match self.value(left) {
            Ok(Value::Bool(is)) if is == decides => return Ok(Value::Bool(decides)),
            Ok(Value::Bool(_)) => Ok(()),
            Ok(_) => Err(Error::overload()),
            Err(Error::TooMuch) => return Err(Error::TooMuch),
            Err(error) => Err(error),
        };
        match (self.value(right)?, left) {
            (Value::Bool(is), _) if is == decides => Ok(Value::Bool(decides)),
            (Value::Bool(_), Ok(())) => Ok(Value::Bool(!decides)),
            (_, Err(error)) => Err(error),
            _ => Err(Error::overload()),
        }
    }

    fn call(&mut self, name: &str, target: Option<&Expr>, args: &[Expr]) -> Result<Value> {
        // A function of a module: its name has a dot, and the module is no variable.
        if let Some(Expr::Ident(module)) = target
            && library::MODULES.contains(&module.as_str())
            && !self.variables.iter().any(|(n, _)| n == module)
        {
            let args = self.values(args)?;
            return library::in_module(self, module, name, &args);
        }
        if let (Some(of), "or" | "orValue") = (target, name) {
            // The alternative is asked for only if it is needed.
            let [alternative] = args else {
                return Err(Error::overload());
            };
            return match self.value(of)? {
                Value::Optional(None) => self.value(alternative),
                Value::Optional(Some(value)) if name == "orValue" => Ok(value.as_ref().clone()),
                value @ Value::Optional(Some(_)) => Ok(value),
                _ => Err(Error::overload()),
            };
        }
        let target = target.map(|of| self.value(of)).transpose()?;
        let args = self.values(args)?;
        let weight = |value: &Value| value.weight();
        let cost = target.iter().map(weight).sum::<u64>() + args.iter().map(weight).sum::<u64>();
        self.spend(cost)?;
        match target {
            None => library::function(self, name, &args),
            Some(target) => library::method(self, name, &target, &args),
        }
    }

    fn values(&mut self, exprs: &[Expr]) -> Result<Vec<Value>> {
        exprs.iter().map(|expr| self.value(expr)).collect()
    }

    /// A macro over a list or map.
    fn each(&mut self, each: &Each) -> Result<Value> {
        let over = self.value(&each.over)?;
        let pairs: Vec<(Value, Value)> = match &over {
            Value::List(items) => (0..).map(Value::Int).zip(items.iter().cloned()).collect(),
            Value::Map(map) => map.iter().map(|(k, v)| (k.value(), v.clone())).collect(),
            _ => return Err(Error::overload()),
        };
        let is_map = matches!(over, Value::Map(_));
        let mut found = 0;
        let mut items = Vec::new();
        let mut entries = BTreeMap::new();
        let mut keyed = Vec::new();
        let mut failed = None;
        for (key, value) in pairs {
            self.spend(1)?;
            // Of a map, one variable is the key.
            let single = if is_map { &key } else { &value };
            let bound = match each.names.as_slice() {
                [one] => vec![(one.clone(), single.clone())],
                [one, two] => vec![(one.clone(), key.clone()), (two.clone(), value.clone())],
                _ => return Err(Error::overload()),
            };
            let depth = self.variables.len();
            self.variables.extend(bound);
            let wanted = match &each.filter {
                Some(filter) => self.value(filter),
                None => Ok(Value::Bool(true)),
            };
            let outcome = match wanted {
                Ok(Value::Bool(true)) => self.value(&each.body).map(Some),
                Ok(Value::Bool(false)) => Ok(None),
                Ok(_) => Err(Error::overload()),
                Err(error) => Err(error),
            };
            self.variables.truncate(depth);
            let quantified = matches!(each.what, What::All | What::Exists);
            let outcome = match outcome {
                Ok(outcome) => outcome,
                // A later item may decide.
                Err(Error::Failed(why)) if quantified => {
                    failed = Some(Error::Failed(why));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(outcome) = outcome else {
                continue;
            };
            match (each.what, outcome) {
                (What::All, Value::Bool(false)) => return Ok(Value::Bool(false)),
                (What::Exists, Value::Bool(true)) => return Ok(Value::Bool(true)),
                (What::ExistsOne, Value::Bool(true)) => found += 1,
                (What::Filter, Value::Bool(true)) if is_map => items.push(key),
                (What::Filter, Value::Bool(true)) => items.push(value),
                (What::All | What::Exists | What::ExistsOne | What::Filter, Value::Bool(_)) => {}
                (What::Map, outcome) => items.push(outcome),
                (What::SortBy, outcome) => keyed.push((outcome, value)),
                (What::TransformMap, outcome) => {
                    entries.insert(Key::of(&key).ok_or_else(Error::overload)?, outcome);
                }
                _ => return Err(Error::overload()),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        Ok(match each.what {
            What::All => Value::Bool(true),
            What::Exists => Value::Bool(false),
            What::ExistsOne => Value::Bool(found == 1),
            What::Map | What::Filter => Value::list(items),
            What::TransformMap => Value::Map(Arc::new(entries)),
            What::SortBy => {
                let mut comparable = true;
                keyed.sort_by(|(a, _), (b, _)| {
                    a.order(b).unwrap_or_else(|| {
                        comparable = false;
                        Ordering::Equal
                    })
                });
                if !comparable {
                    return Err(Error::overload());
                }
                Value::list(keyed.into_iter().map(|(_, value)| value).collect())
            }
        })
    }
}

/// A field, an entry or an item.
fn select(
    of: Value,
    index: &Value,
    optional: bool,
    missing: impl FnOnce() -> String,
) -> Result<Value> {
    let (of, optional) = match of {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(of)) => (of.as_ref().clone(), true),
        of => (of, optional),
    };
    let found = match (&of, index) {
        (Value::Map(map), index) => {
            let key = Key::of(index).ok_or_else(Error::overload)?;
            map.get(&key).cloned()
        }
        (Value::List(items), index) => {
            let Some(Key::Number(at)) = Key::of(index) else {
                return Err(Error::overload());
            };
            usize::try_from(at)
                .ok()
                .and_then(|at| items.get(at))
                .cloned()
        }
        _ => return Err(Error::overload()),
    };
    match found {
        found if optional => Ok(Value::Optional(found.map(Arc::new))),
        Some(value) => Ok(value),
        None => Err(Error::Failed(missing())),
    }
}
