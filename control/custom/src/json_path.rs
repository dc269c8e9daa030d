//! The JSON paths of definitions: printer columns, scale, selectable fields.
//!
//! Follows <https://kubernetes.io/docs/reference/kubectl/jsonpath/> as far as a path without
//! braces, ranges and recursion goes: fields, indices, slices, wildcards, filters.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// Values that one path may lead to; more are not looked at.
const FOUND_MAX: usize = 1_000;

/// A path, read.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Vec<Step>,
    /// Without one the left side has to be there.
    compare: Option<(Comparison, Operand)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Value(Value),
    Path(Vec<Step>),
}

impl JsonPath {
    /// Reads a path such as `.spec.replicas` or `.status.conditions[?(@.type=="Ready")].status`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with(['.', '[']) && text != "$" && !text.starts_with('$') {
            return Err("must be a simple json path starting with .".to_owned());
        }
        let mut reader = Reader {
            rest: text.strip_prefix('$').unwrap_or(text),
        };
        let steps = reader.steps()?;
        match reader.rest {
            "" => Ok(JsonPath { steps }),
            rest => Err(format!("unexpected {rest:?}")),
        }
    }

    /// The names of the fields, if the path has nothing else: `.spec.replicas`.
    pub fn fields(&self) -> Option<Vec<&str>> {
        let steps = self.steps.iter();
        steps
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Everything that the path leads to, in order.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        walk(&self.steps, value)
    }

    /// The first value that the path leads to.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.find(value).into_iter().next()
    }

    /// Puts a value where a path of fields leads, making the objects on the way. What is there and no
    /// object stays, and the value is not put.
    pub fn put(&self, object: &mut Map<String, Value>, new: Value) {
        let Some((last, on_the_way)) = self.fields().and_then(|fields| {
            let (last, rest) = fields.split_last()?;
            let own = |f: &&str| (*f).to_owned();
            Some(((*last).to_owned(), rest.iter().map(own).collect::<Vec<_>>()))
        }) else {
            return;
        };
        let mut at = object;
        for name in on_the_way {
            let next = at.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(next) = next else {
                return;
            };
            at = next;
        }
        at.insert(last, new);
    }
}

fn walk<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            take(step, value, &mut next);
            if next.len() > FOUND_MAX {
                break;
            }
        }
        found = next;
    }
    found
}

fn take<'v>(step: &Step, value: &'v Value, found: &mut Vec<&'v Value>) {
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => found.extend(fields.get(name)),
        // A wildcard over a map, written as a field.
        (Step::All, Value::Object(fields)) => found.extend(fields.values()),
        (Step::All, Value::Array(items)) => found.extend(items),
        (Step::Index(index), Value::Array(items)) => {
            found.extend(place(*index, items.len()).and_then(|i| items.get(i)));
        }
        (Step::Slice(from, to), Value::Array(items)) => {
            let bound = |b: i64| match b {
                b if b < 0 => items.len().saturating_sub(b.unsigned_abs() as usize),
                b => (b as usize).min(items.len()),
            };
            let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
            found.extend(items.get(from..to.max(from)).into_iter().flatten());
        }
        (Step::Filter(filter), Value::Array(items)) => {
            found.extend(items.iter().filter(|item| filter.takes(item)));
        }
        _ => {}
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    match index {
        i if i < 0 => length.checked_sub(usize::try_from(i.unsigned_abs()).ok()?),
        i => usize::try_from(i).ok(),
    }
}

impl Filter {
    fn takes(&self, item: &Value) -> bool {
        let left = walk(&self.left, item).into_iter().next();
        let Some((comparison, operand)) = &self.compare else {
            return left.is_some();
        };
        let right = match operand {
            Operand::Value(value) => Some(value),
            Operand::Path(steps) => walk(steps, item).into_iter().next(),
        };
        let (Some(left), Some(right)) = (left, right) else {
            return false;
        };
        let order = match (left, right) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (a, b) if a == b => Some(Ordering::Equal),
            _ => None,
        };
        match comparison {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::LessOrEqual => {
                matches!(order, Some(Ordering::Less | Ordering::Equal))
            }
            Comparison::GreaterOrEqual => {
                matches!(order, Some(Ordering::Greater | Ordering::Equal))
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            if self.rest.starts_with("..") {
                return Err("recursive descent (..) is not supported here".to_owned());
            }
            if self.eat(".") {
                if self.eat("*") {
                    steps.push(Step::All);
                } else if !self.rest.starts_with('[') {
                    let name = self.name();
                    if name.is_empty() {
                        // A lone dot is the object itself.
                        if steps.is_empty() && self.rest.is_empty() {
                            return Ok(steps);
                        }
                        return Err("a field's name is missing".to_owned());
                    }
                    steps.push(Step::Field(name));
                }
            } else if self.eat("[") {
                self.bracket(&mut steps)?;
            } else {
                return Ok(steps);
            }
        }
    }

    /// A field's name, where a backslash takes the next character as it is.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | ' ' | '=' | '!' | '<' | '>' | ')' | '&' | '|' => {
                    self.rest = &self.rest[at..];
                    return name;
                }
                c => name.push(c),
            }
        }
        self.rest = "";
        name
    }

    fn bracket(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        self.spaces();
        let step = if self.eat("?(") {
            let filter = self.filter()?;
            if !self.eat(")") {
                return Err("a filter is not closed".to_owned());
            }
            Step::Filter(filter)
        } else if self.eat("*") {
            Step::All
        } else if self.rest.starts_with(['\'', '"']) {
            Step::Field(self.quoted()?)
        } else {
            let from = self.number()?;
            if self.eat(":") {
                Step::Slice(from, self.number()?)
            } else {
                Step::Index(from.ok_or("an index is missing")?)
            }
        };
        self.spaces();
        if !self.eat("]") {
            return Err("a bracket is not closed".to_owned());
        }
        steps.push(step);
        Ok(())
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                c if Some(c) == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err("a text is not closed".to_owned())
    }

    fn number(&mut self) -> Result<Option<i64>, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        if digits.is_empty() {
            return Ok(None);
        }
        let bad = || format!("{digits:?} is no index");
        digits.parse().map(Some).map_err(|_| bad())
    }

    fn filter(&mut self) -> Result<Filter, String> {
        const COMPARISONS: &[(&str, Comparison)] = &[
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        self.spaces();
        if !self.eat("@") {
            return Err("a filter begins with @".to_owned());
        }
        let left = self.steps()?;
        self.spaces();
        let found = COMPARISONS
            .iter()
            .find(|(sign, _)| self.rest.starts_with(sign));
        let Some((sign, comparison)) = found else {
            return Ok(Filter {
                left,
                compare: None,
            });
        };
        self.eat(sign);
        self.spaces();
        let operand = if self.eat("@") {
            Operand::Path(self.steps()?)
        } else if self.rest.starts_with(['\'', '"']) {
            Operand::Value(self.quoted()?.into())
        } else {
            let end = self.rest.find([')', ' ']).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            let value = serde_json::from_str(word);
            Operand::Value(value.map_err(|_| format!("{word:?} is no value"))?)
        };
        self.spaces();
        Ok(Filter {
            left,
            compare: Some((*comparison, operand)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expect: Value) {
        let object = json!({
            "metadata": { "annotations": { "a.b/c": "x" } },
            "spec": { "n": 3, "list": [1, 2, 3], "of": [{ "k": "a", "v": 1 }, { "k": "b", "v": 2 }] },
        });
        let found = JsonPath::parse(path).unwrap();
        assert_eq!(json!(found.find(&object)), expect, "{path}");
    }

    #[test]
    fn paths_lead_to_values() {
        check(".spec.n", json!([3]));
        check("$.spec.n", json!([3]));
        check(".spec.none.at.all", json!([]));
        check(r".metadata.annotations.a\.b/c", json!(["x"]));
        check(".metadata.annotations['a.b/c']", json!(["x"]));
        check(".spec.list[0]", json!([1]));
        check(".spec.list[-1]", json!([3]));
        check(".spec.list[1:]", json!([2, 3]));
        check(".spec.list[:-1]", json!([1, 2]));
        check(".spec.list[9]", json!([]));
        check(".spec.list[*]", json!([1, 2, 3]));
        check(".spec.of[*].v", json!([1, 2]));
        check(r#".spec.of[?(@.k=="b")].v"#, json!([2]));
        check(r#".spec.of[?(@.k == 'a')].v"#, json!([1]));
        check(".spec.of[?(@.v>1)].k", json!(["b"]));
        check(".spec.of[?(@.w)].k", json!([]));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "spec",
            ".spec..n",
            ".spec[",
            ".spec[a]",
            ".spec['a",
            ".a[?(b)]",
            ".a[?(@.b==",
            ".a b",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_put_where_fields_lead() {
        let put = |path: &str, object: Value| {
            let Value::Object(mut object) = object else {
                unreachable!()
            };
            JsonPath::parse(path).unwrap().put(&mut object, json!(7));
            Value::Object(object)
        };
        assert_eq!(
            put(".spec.replicas", json!({})),
            json!({ "spec": { "replicas": 7 } })
        );
        assert_eq!(
            put(".spec.replicas", json!({ "spec": { "a": 1 } })),
            json!({ "spec": { "a": 1, "replicas": 7 } })
        );
        assert_eq!(
            put(".spec.replicas", json!({ "spec": 1 })),
            json!({ "spec": 1 })
        );
    }
}
