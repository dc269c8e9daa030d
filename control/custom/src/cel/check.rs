//! What can be known of a rule before it meets an object: that its names and fields are there, and whether it
//! can say yes or no. Where a type is not known, anything goes: evaluation tells.

use super::syntax::{Each, Expr, What, parse};
use super::value::Value;
use super::{escape, library};
use crate::schema::{Additional, Schema, Type};

/// What is known of an expression.
pub(super) struct Checked {
    pub(super) may_be_bool: bool,
    pub(super) may_be_text: bool,
    pub(super) uses_old: bool,
}

/// What is known of a value.
#[derive(Clone)]
enum Known<'s> {
    Nothing,
    Bool,
    Text,
    Number,
    /// The fields of a schema; true for a whole object.
    Object(&'s Schema, bool),
    Map(Option<&'s Schema>),
    List(Option<&'s Schema>),
}

impl<'s> Known<'s> {
    fn of(schema: &'s Schema, root: bool) -> Self {
        if schema.int_or_string || schema.preserve_unknown {
            return Known::Nothing;
        }
        match schema.of {
            Some(Type::Boolean) => Known::Bool,
            Some(Type::String) => match schema.values.format.as_deref() {
                Some("date-time" | "date" | "duration" | "byte") => Known::Nothing,
                _ => Known::Text,
            },
            Some(Type::Integer | Type::Number) => Known::Number,
            Some(Type::Array) => Known::List(schema.items.as_deref()),
            Some(Type::Object) => match &schema.additional {
                Some(Additional::Of(of)) => Known::Map(Some(of)),
                Some(Additional::Any(_)) => Known::Map(None),
                None => Known::Object(schema, root || schema.embedded),
            },
            None => Known::Nothing,
        }
    }

    fn item(of: Option<&'s Schema>) -> Self {
        of.map_or(Known::Nothing, |of| Known::of(of, false))
    }
}

/// Checks an expression over `self` (and `oldSelf`) of a schema.
///
/// # Errors
/// What is wrong, in cel-go's words.
pub(super) fn check(
    source: &str,
    schema: &Schema,
    root: bool,
    old_is_optional: bool,
) -> Result<Checked, String> {
    let expr = parse(source)?;
    let this = Known::of(schema, root);
    let old = match old_is_optional {
        true => Known::Nothing,
        false => this.clone(),
    };
    let mut checker = Checker {
        variables: vec![("self".to_owned(), this), ("oldSelf".to_owned(), old)],
    };
    let known = checker.expr(&expr)?;
    Ok(Checked {
        may_be_bool: matches!(known, Known::Bool | Known::Nothing),
        may_be_text: matches!(known, Known::Text | Known::Nothing),
        uses_old: expr.names("oldSelf"),
    })
}

struct Checker<'s> {
    variables: Vec<(String, Known<'s>)>,
}

impl<'s> Checker<'s> {
    fn with<T>(&mut self, bound: Vec<(String, Known<'s>)>, work: impl FnOnce(&mut Self) -> T) -> T {
        let depth = self.variables.len();
        self.variables.extend(bound);
        let done = work(self);
        self.variables.truncate(depth);
        done
    }

    fn expr(&mut self, expr: &Expr) -> Result<Known<'s>, String> {
        Ok(match expr {
            Expr::Literal(value) => match value {
                Value::Bool(_) => Known::Bool,
                Value::String(_) => Known::Text,
                Value::Int(_) | Value::Uint(_) | Value::Double(_) => Known::Number,
                _ => Known::Nothing,
            },
            Expr::Ident(name) => match self.variables.iter().rev().find(|(n, _)| n == name) {
                Some((_, known)) => known.clone(),
                None if library::type_named(name).is_some() => Known::Nothing,
                None => return Err(undeclared(name)),
            },
            Expr::Select(of, field, optional) => {
                let known = self.expr(of)?;
                let field = self.field(known, field)?;
                if *optional { Known::Nothing } else { field }
            }
            Expr::Has(of, field) => {
                let known = self.expr(of)?;
                self.field(known, field)?;
                Known::Bool
            }
            Expr::Index(of, index, optional) => {
                self.expr(index)?;
                match self.expr(of)? {
                    _ if *optional => Known::Nothing,
                    Known::List(of) | Known::Map(of) => Known::item(of),
                    Known::Bool | Known::Text | Known::Number => {
                        return Err("ERROR: found no matching overload for '_[_]'".to_owned());
                    }
                    _ => Known::Nothing,
                }
            }
            Expr::And(a, b) | Expr::Or(a, b) => {
                for side in [a, b] {
                    if !matches!(self.expr(side)?, Known::Bool | Known::Nothing) {
                        return Err(
                            "ERROR: expected type 'bool' of each side of a condition".to_owned()
                        );
                    }
                }
                Known::Bool
            }
            Expr::Conditional(of) => {
                self.expr(&of[0])?;
                let then = self.expr(&of[1])?;
                let otherwise = self.expr(&of[2])?;
                match (&then, &otherwise) {
                    (Known::Bool, Known::Bool)
                    | (Known::Text, Known::Text)
                    | (Known::Number, Known::Number) => then,
                    _ => Known::Nothing,
                }
            }
            Expr::List(items) => {
                for (_, item) in items {
                    self.expr(item)?;
                }
                Known::List(None)
            }
            Expr::Map(entries) => {
                for (_, key, value) in entries {
                    self.expr(key)?;
                    self.expr(value)?;
                }
                Known::Map(None)
            }
            Expr::Bind(name, value, body) => {
                let known = self.expr(value)?;
                self.with(vec![(name.clone(), known)], |c| c.expr(body))?
            }
            Expr::OptMap(of, name, body, _) => {
                self.expr(of)?;
                self.with(vec![(name.clone(), Known::Nothing)], |c| c.expr(body))?;
                Known::Nothing
            }
            Expr::Each(each) => self.each(each)?,
            Expr::Call(name, target, args) => self.call(name, target.as_deref(), args)?,
        })
    }

    fn field(&self, known: Known<'s>, field: &str) -> Result<Known<'s>, String> {
        match known {
            Known::Object(schema, whole) => {
                let own = schema
                    .properties
                    .iter()
                    .find(|(name, _)| escape(name) == field);
                match own {
                    _ if whole && matches!(field, "apiVersion" | "kind" | "metadata") => {
                        Ok(Known::Nothing)
                    }
                    Some((_, of)) => Ok(Known::of(of, false)),
                    None => Err(format!("ERROR: undefined field '{field}'")),
                }
            }
            Known::Map(of) => Ok(Known::item(of)),
            Known::Nothing => Ok(Known::Nothing),
            Known::Bool | Known::Text | Known::Number | Known::List(_) => Err(format!(
                "ERROR: type does not support field selection: '{field}'"
            )),
        }
    }

    fn each(&mut self, each: &Each) -> Result<Known<'s>, String> {
        let (key, value) = match self.expr(&each.over)? {
            Known::List(of) => (Known::Number, Known::item(of)),
            Known::Map(of) => (Known::Text, Known::item(of)),
            Known::Nothing | Known::Object(..) => (Known::Nothing, Known::Nothing),
            _ => return Err("ERROR: expression cannot be range of a comprehension (must be list, map, or dynamic)".to_owned()),
        };
        let is_map = matches!(key, Known::Text);
        let bound = match each.names.as_slice() {
            [one] => vec![(one.clone(), if is_map { key } else { value })],
            names => names.iter().cloned().zip([key, value]).collect(),
        };
        let body = self.with(bound, |c| {
            if let Some(filter) = &each.filter {
                c.expr(filter)?;
            }
            c.expr(&each.body)
        })?;
        let quantified = !matches!(each.what, What::Map | What::SortBy | What::TransformMap);
        if quantified && !matches!(body, Known::Bool | Known::Nothing) {
            return Err("ERROR: expected type 'bool' of a predicate".to_owned());
        }
        Ok(match each.what {
            What::All | What::Exists | What::ExistsOne => Known::Bool,
            What::TransformMap => Known::Map(None),
            _ => Known::List(None),
        })
    }

    fn call(
        &mut self,
        name: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Result<Known<'s>, String> {
        const SAY_YES_OR_NO: &[&str] = &[
            "==",
            "!=",
            "<",
            "<=",
            ">",
            ">=",
            "!",
            "in",
            "contains",
            "startsWith",
            "endsWith",
            "matches",
            "isSorted",
            "isURL",
            "isIP",
            "isCIDR",
            "isQuantity",
            "isSemver",
            "isGreaterThan",
            "isLessThan",
            "hasValue",
            "containsIP",
            "containsCIDR",
            "isInteger",
            "equivalent",
            "intersects",
            "bool",
        ];
        const SAY_TEXT: &[&str] = &[
            "string",
            "lowerAscii",
            "upperAscii",
            "trim",
            "replace",
            "substring",
            "join",
            "format",
            "charAt",
            "find",
        ];
        const COUNT: &[&str] = &["size", "int", "uint", "double"];
        if !library::FUNCTIONS.contains(&name) {
            return Err(undeclared(name));
        }
        if let Some(target) = target {
            let module = matches!(target, Expr::Ident(m) if library::MODULES.contains(&m.as_str())
                && !self.variables.iter().any(|(n, _)| n == m));
            if !module {
                self.expr(target)?;
            }
        }
        for arg in args {
            self.expr(arg)?;
        }
        Ok(match name {
            // Of a module (`format.dns1123Label()`), or a text: not the same.
            "format" if target.is_none() => Known::Nothing,
            name if SAY_YES_OR_NO.contains(&name) => Known::Bool,
            name if SAY_TEXT.contains(&name) => Known::Text,
            name if COUNT.contains(&name) => Known::Number,
            _ => Known::Nothing,
        })
    }
}

fn undeclared(name: &str) -> String {
    format!("ERROR: undeclared reference to '{name}' (in container '')")
}
