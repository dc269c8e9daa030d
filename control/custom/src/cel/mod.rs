//! Rules of a schema in the Common Expression Language (`x-kubernetes-validations`).
//!
//! ```text
//! syntax    a rule is read
//! check     what it names is there, and it says yes or no
//! value     what JSON is to it
//! eval      it is evaluated, and its cost counted
//! library   what it may call
//! ```
//!
//! Follows <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>
//! and `apiextensions-apiserver/pkg/apiserver/schema/cel`. Written here because the crates that there are bound
//! neither the work of a rule nor check it before it is used.

mod check;
mod eval;
mod library;
mod syntax;
mod value;

use euston_api::field::{ErrorKind, ErrorList, FieldError, Path};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::Value as Json;

use crate::schema::ListType;
use crate::{JsonPath, Schema};
use eval::{Error, Evaluation};
use syntax::Expr;
use value::Value;

/// The work that one evaluation of a rule may take, in steps (Kubernetes' `PerCallLimit`): about 0.1 s.
const CALL_COST_MAX: u64 = 1_000_000;

/// The work that all rules together may take for one object (Kubernetes' `RuntimeCELCostBudget`).
const COST_MAX: u64 = 10_000_000;

/// The longest message that a rule may make of an object, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 << 10;

/// The rules of a node.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// There are rules here or below.
    anywhere: bool,
}

#[derive(Debug)]
struct Rule {
    source: String,
    expr: Result<Expr, String>,
    message: Option<String>,
    message_expr: Option<Expr>,
    reason: ErrorKind,
    field_path: Option<JsonPath>,
    old_is_optional: bool,
    /// It speaks of the object before.
    transition: bool,
}

impl Rules {
    pub(crate) fn new(props: &JSONSchemaProps, schema: &Schema) -> Self {
        let rules: Vec<Rule> = props
            .x_kubernetes_validations
            .iter()
            .flatten()
            .map(Rule::new)
            .collect();
        let below = |of: &Schema| of.rules.anywhere;
        let anywhere = !rules.is_empty()
            || schema.properties.values().any(below)
            || schema.items.as_deref().is_some_and(below)
            || matches!(&schema.additional, Some(crate::schema::Additional::Of(of)) if below(of));
        Rules { rules, anywhere }
    }
}

impl Rule {
    fn new(rule: &ValidationRule) -> Self {
        let expr = syntax::parse(&rule.rule);
        let message = rule.message_expression.as_deref().map(syntax::parse);
        let uses_old = |expr: &Expr| expr.names("oldSelf");
        Rule {
            source: rule.rule.trim().to_owned(),
            transition: expr.as_ref().is_ok_and(uses_old),
            expr,
            message: rule
                .message
                .as_deref()
                .map(|m| m.trim().to_owned())
                .filter(|m| !m.is_empty()),
            message_expr: message.and_then(Result::ok),
            reason: match rule.reason.as_deref() {
                Some("FieldValueForbidden") => ErrorKind::Forbidden,
                Some("FieldValueRequired") => ErrorKind::Required,
                Some("FieldValueDuplicate") => ErrorKind::Duplicate,
                _ => ErrorKind::Invalid,
            },
            field_path: rule
                .field_path
                .as_deref()
                .and_then(|p| JsonPath::parse(p).ok()),
            old_is_optional: rule.optional_old_self == Some(true),
        }
    }

    /// The rule in a few words.
    fn words(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.source)
    }
}

/// An evaluation of all rules of a schema.
struct Walk {
    errors: ErrorList,
    left: u64,
}

impl Schema {
    /// True if there is a rule anywhere in it.
    pub fn has_rules(&self) -> bool {
        self.rules.anywhere
    }

    /// Everything that the rules say is wrong with an object. With `old`, the object before the change.
    pub fn evaluate(&self, new: &Json, old: Option<&Json>) -> ErrorList {
        let mut walk = Walk {
            errors: ErrorList::new(),
            left: COST_MAX,
        };
        walk.node(self, new, old, &Path::default(), true);
        walk.errors
    }

    /// Everything wrong with the rules themselves.
    pub(crate) fn check_rules(&self, props: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
        check_node(self, props, path, None, true, errors);
    }
}

impl Walk {
    fn node(&mut self, schema: &Schema, new: &Json, old: Option<&Json>, path: &Path, root: bool) {
        if !schema.rules.anywhere || new.is_null() || self.left == 0 {
            return;
        }
        if !schema.rules.rules.is_empty() {
            let of = |json: &Json| match root || schema.embedded {
                true => value::of_object(json, schema),
                false => value::of_json(json, schema),
            };
            let value = of(new);
            let before = old.map(of);
            for rule in &schema.rules.rules {
                // What did not change is not held against the object (KEP-4008).
                if !rule.transition && old == Some(new) {
                    continue;
                }
                self.rule(rule, &value, before.as_ref(), path);
                if self.left == 0 {
                    return;
                }
            }
        }
        match new {
            Json::Object(fields) => {
                let old = old.and_then(Json::as_object);
                for (name, new) in fields {
                    let Some(of) = schema.field(name) else {
                        continue;
                    };
                    let path = match schema.properties.contains_key(name) {
                        true => path.child(name),
                        false => path.key(name),
                    };
                    self.node(of, new, old.and_then(|old| old.get(name)), &path, false);
                }
            }
            Json::Array(items) => {
                let Some(of) = &schema.items else {
                    return;
                };
                let old = old.and_then(Json::as_array);
                for (i, item) in items.iter().enumerate() {
                    let before = old.and_then(|old| schema.counterpart(item, old));
                    self.node(of, item, before, &path.index(i), false);
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &Rule, value: &Value, old: Option<&Value>, path: &Path) {
        let mut variables = vec![("self".to_owned(), value.clone())];
        if rule.transition {
            let old = match (rule.old_is_optional, old) {
                (true, old) => Value::Optional(old.cloned().map(Into::into)),
                (false, Some(old)) => old.clone(),
                // Nothing was there that the rule could speak of.
                (false, None) => return,
            };
            variables.push(("oldSelf".to_owned(), old));
        }
        let shown = match value {
            Value::Map(_) => "object",
            Value::List(_) => "array",
            Value::Int(_) => "integer",
            Value::Double(_) => "number",
            Value::Bool(_) => "boolean",
            _ => "string",
        };
        let expr = match &rule.expr {
            Ok(expr) => expr,
            Err(why) => {
                let detail = format!("rule compile error: {why}");
                return self.error(ErrorKind::Invalid, path.clone(), shown, detail);
            }
        };
        let limit = CALL_COST_MAX.min(self.left);
        let mut evaluation = Evaluation::new(variables, limit);
        let outcome = evaluation.value(expr);
        self.left -= limit - evaluation.left();
        let detail = match outcome {
            Ok(Value::Bool(true)) => return,
            Ok(Value::Bool(false)) => {
                let made = rule
                    .message_expr
                    .as_ref()
                    .and_then(|expr| message(&mut evaluation, expr));
                made.or_else(|| rule.message.clone())
                    .unwrap_or_else(|| format!("failed rule: {}", rule.source))
            }
            Ok(_) => format!("rule does not evaluate to a bool: {}", rule.words()),
            Err(Error::TooMuch) => {
                // One rule without end is enough: no other is asked.
                self.left = 0;
                format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    Error::TooMuch,
                    rule.words()
                )
            }
            Err(error @ Error::Failed(_)) if error == Error::overload() => format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                rule.words()
            ),
            Err(error) => format!("{error} evaluating rule: {}", rule.words()),
        };
        let fields = rule.field_path.as_ref().and_then(JsonPath::fields);
        let path = fields
            .into_iter()
            .flatten()
            .fold(path.clone(), |path, field| path.child(field));
        self.error(rule.reason, path, shown, detail);
    }

    fn error(&mut self, kind: ErrorKind, path: Path, shown: &str, detail: String) {
        let named = matches!(kind, ErrorKind::Invalid | ErrorKind::Duplicate);
        self.errors.add(FieldError {
            kind,
            path,
            value: named.then(|| format!("{shown:?}")),
            detail: match kind {
                ErrorKind::Duplicate => String::new(),
                _ => detail,
            },
        });
    }
}

/// The message that a rule makes; `None` for one that is no message.
fn message(evaluation: &mut Evaluation, expr: &Expr) -> Option<String> {
    match evaluation.value(expr) {
        Ok(Value::String(text)) => {
            let text = text.trim();
            let sound = !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX;
            sound.then(|| text.to_owned())
        }
        _ => None,
    }
}

/// The name by which a rule calls a field.
fn escape(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

/// Checks the rules of a node and of those below. `unrelated` is the place from which on an item cannot be told
/// from the one that it was.
fn check_node(
    schema: &Schema,
    props: &JSONSchemaProps,
    path: &Path,
    unrelated: Option<&Path>,
    root: bool,
    errors: &mut ErrorList,
) {
    let rules = path.child("x-kubernetes-validations");
    for (i, rule) in props.x_kubernetes_validations.iter().flatten().enumerate() {
        check_rule(schema, rule, &rules.index(i), unrelated, root, errors);
    }
    for (name, field) in props.properties.iter().flatten() {
        if let Some(of) = schema.properties.get(name) {
            let path = path.child("properties").key(name);
            check_node(of, field, &path, unrelated, false, errors);
        }
    }
    if let (Some(JSONSchemaPropsOrBool::Schema(field)), Some(crate::schema::Additional::Of(of))) =
        (&props.additional_properties, &schema.additional)
    {
        let path = path.child("additionalProperties");
        check_node(of, field, &path, unrelated, false, errors);
    }
    if let (Some(JSONSchemaPropsOrArray::Schema(item)), Some(of)) = (&props.items, &schema.items) {
        let told_apart = matches!(schema.list, ListType::Map(_));
        let unrelated = match told_apart {
            true => unrelated,
            false => unrelated.or(Some(path)),
        };
        check_node(of, item, &path.child("items"), unrelated, false, errors);
    }
}

fn check_rule(
    schema: &Schema,
    rule: &ValidationRule,
    path: &Path,
    unrelated: Option<&Path>,
    root: bool,
    errors: &mut ErrorList,
) {
    const REASONS: &[&str] = &[
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    let at = path.child("rule");
    if rule.rule.trim().is_empty() {
        errors.required(at, "rule is not specified");
        return;
    }
    if let Some(message) = &rule.message {
        if message.trim().is_empty() {
            errors.invalid(
                path.child("message"),
                message,
                "message must be non-empty if specified",
            );
        } else if message.contains('\n') {
            errors.invalid(
                path.child("message"),
                message,
                "message must not contain line breaks",
            );
        }
    } else if rule.rule.trim().contains('\n') && rule.message_expression.is_none() {
        errors.required(
            path.child("message"),
            "message must be specified if rule contains line breaks",
        );
    }
    if let Some(reason) = rule.reason.as_deref()
        && !REASONS.contains(&reason)
    {
        errors.not_supported(path.child("reason"), reason, REASONS);
    }
    if let Some(field) = rule.field_path.as_deref() {
        let named = JsonPath::parse(field).ok().and_then(|p| {
            let mut found = schema;
            for name in p.fields()? {
                found = found.field(name)?;
            }
            Some(())
        });
        if named.is_none() {
            errors.invalid(
                path.child("fieldPath"),
                field,
                "fieldPath must be a valid path: it names no field of this schema",
            );
        }
    }
    match check::check(
        &rule.rule,
        schema,
        root,
        rule.optional_old_self == Some(true),
    ) {
        Err(why) => errors.invalid(at, &rule.rule, format!("compilation failed: {why}")),
        Ok(checked) => {
            if !checked.may_be_bool {
                errors.invalid(
                    at.clone(),
                    &rule.rule,
                    "compilation failed: cel expression must evaluate to a bool",
                );
            }
            if checked.uses_old
                && let Some(place) = unrelated
            {
                errors.invalid(
                    at,
                    &rule.rule,
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}"),
                );
            }
            if rule.optional_old_self.is_some() && !checked.uses_old {
                errors.invalid(
                    path.child("optionalOldSelf"),
                    rule.optional_old_self,
                    "may not be set if oldSelf is not used in rule",
                );
            }
        }
    }
    let at = path.child("messageExpression");
    if let Some(source) = &rule.message_expression {
        match check::check(source, schema, root, rule.optional_old_self == Some(true)) {
            Err(why) => errors.invalid(
                at,
                source,
                format!("messageExpression compilation failed: {why}"),
            ),
            Ok(checked) if !checked.may_be_text => errors.invalid(
                at,
                source,
                "messageExpression compilation failed: must evaluate to a string",
            ),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
