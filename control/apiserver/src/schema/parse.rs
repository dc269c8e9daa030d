//! Reads `types.txt` (its format: the header of `generate.py`).

use std::collections::HashMap;
use std::num::NonZeroU16;

use super::{
    FieldRow, Inner, KindRow, ListType, PatchStrategy, Rules, Scalar, Shape, ShapeId, TypeId,
    TypeRow, Types,
};

/// Where the text is not what `generate.py` writes.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct ParseError {
    line: usize,
    what: &'static str,
}

/// Parses the whole text; borrows every name from it.
pub(super) fn parse(text: &'static str) -> Result<Types, ParseError> {
    // Names first: a field may refer to a type further down.
    let mut names = HashMap::new();
    for (line, word) in (1..).zip(text.lines()) {
        if let Some(rest) = word.strip_prefix("type ") {
            let name = rest.split(' ').next().unwrap_or(rest);
            let id = index(names.len(), line)?;
            names.insert(name, TypeId(id));
        }
    }

    let mut shapes = Shapes {
        names,
        known: HashMap::new(),
        rows: Vec::new(),
    };
    let mut types: Vec<TypeRow> = Vec::with_capacity(shapes.names.len());
    let mut fields: Vec<FieldRow> = Vec::new();
    let mut rules = vec![Rules::NONE];
    let mut kinds: Vec<KindRow> = Vec::new();
    for (line, words) in (1..).zip(text.lines()) {
        let fail = |what| ParseError { line, what };
        if words.starts_with('#') {
            continue;
        }
        if let Some(words) = words.strip_prefix("type ") {
            let mut words = words.split(' ');
            let name = words.next().ok_or_else(|| fail("a type without a name"))?;
            if types.last().is_some_and(|last| last.name >= name) {
                return Err(fail("types out of order"));
            }
            let start = fields.len() as u32;
            let mut row = TypeRow {
                name,
                fields: start..start,
                atomic: false,
            };
            for word in words {
                match word.split_once('=') {
                    None if word == "atomic" => row.atomic = true,
                    Some(("gvk", list)) => {
                        for gvk in list.split(',') {
                            let mut parts = gvk.split('/');
                            let (Some(group), Some(version), Some(kind), None) =
                                (parts.next(), parts.next(), parts.next(), parts.next())
                            else {
                                return Err(fail("a kind is GROUP/VERSION/KIND"));
                            };
                            let of = TypeId(index(types.len(), line)?);
                            kinds.push(KindRow {
                                group,
                                version,
                                kind,
                                of,
                            });
                        }
                    }
                    _ => return Err(fail("unknown word about a type")),
                }
            }
            types.push(row);
        } else if let Some(words) = words.strip_prefix(' ') {
            let owner = types
                .last_mut()
                .ok_or_else(|| fail("a field before any type"))?;
            let row = field(words, line, &mut shapes, &mut rules)?;
            let first = owner.fields.start as usize;
            if fields[first..]
                .last()
                .is_some_and(|last: &FieldRow| last.name >= row.name)
            {
                return Err(fail("fields out of order"));
            }
            fields.push(row);
            owner.fields.end = fields.len() as u32;
        } else {
            return Err(fail("neither a type nor a field"));
        }
    }
    kinds.sort_by_key(|k| (k.group, k.version, k.kind));
    fields.shrink_to_fit();
    Ok(Types {
        types,
        fields,
        shapes: shapes.rows,
        rules,
        kinds,
    })
}

fn field(
    words: &'static str,
    line: usize,
    shapes: &mut Shapes,
    all_rules: &mut Vec<Rules>,
) -> Result<FieldRow, ParseError> {
    let fail = |what| ParseError { line, what };
    let mut words = words.split(' ');
    let name = words.next().ok_or_else(|| fail("a field without a name"))?;
    let shape = words
        .next()
        .ok_or_else(|| fail("a field without a shape"))?;
    let shape = shapes.intern(shape, line)?;
    let mut required = false;
    let mut special = false;
    let mut rules = Rules::NONE;
    for word in words {
        if word == "required" {
            required = true;
            continue;
        }
        special = true;
        match word.split_once('=') {
            None if word == "atomic" => rules.atomic = true,
            Some(("strategy", list)) => {
                for part in list.split(',') {
                    match part {
                        "merge" => rules.strategy = PatchStrategy::Merge,
                        "replace" => rules.strategy = PatchStrategy::Replace,
                        "retainKeys" => rules.retain_keys = true,
                        _ => return Err(fail("unknown patch strategy")),
                    }
                }
            }
            Some(("key", key)) => rules.merge_key = Some(key),
            Some(("list", "set")) => rules.list = Some(ListType::Set),
            Some(("list", "atomic")) => rules.list = Some(ListType::Atomic),
            Some(("list", map)) => {
                rules.list = Some(ListType::Map);
                rules.list_map_keys = map
                    .strip_prefix("map:")
                    .ok_or_else(|| fail("unknown list type"))?;
            }
            Some(("default", json)) => rules.default = Some(json),
            _ => return Err(fail("unknown word about a field")),
        }
    }
    let rules = if special {
        let at = NonZeroU16::new(index(all_rules.len(), line)?);
        all_rules.push(rules);
        at
    } else {
        None
    };
    Ok(FieldRow {
        name,
        shape,
        rules,
        required,
    })
}

struct Shapes {
    names: HashMap<&'static str, TypeId>,
    known: HashMap<&'static str, ShapeId>,
    rows: Vec<Shape>,
}

impl Shapes {
    fn intern(&mut self, text: &'static str, line: usize) -> Result<ShapeId, ParseError> {
        if let Some(&id) = self.known.get(text) {
            return Ok(id);
        }
        let shape = if let Some(item) = text.strip_prefix("[]") {
            Shape::List(Inner(self.intern(item, line)?))
        } else if let Some(item) = text.strip_prefix("{}") {
            Shape::Map(Inner(self.intern(item, line)?))
        } else if let Some(&id) = self.names.get(text) {
            Shape::Struct(id)
        } else {
            Shape::Scalar(scalar(text).ok_or(ParseError {
                line,
                what: "unknown shape",
            })?)
        };
        let id = ShapeId(index(self.rows.len(), line)?);
        self.rows.push(shape);
        self.known.insert(text, id);
        Ok(id)
    }
}

fn scalar(text: &str) -> Option<Scalar> {
    Some(match text {
        "str" => Scalar::String,
        "bytes" => Scalar::Bytes,
        "bool" => Scalar::Bool,
        "i32" => Scalar::Int32,
        "i64" => Scalar::Int64,
        "f64" => Scalar::Double,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "quantity" => Scalar::Quantity,
        "intorstr" => Scalar::IntOrString,
        "raw" => Scalar::Raw,
        "fields" => Scalar::Fields,
        "any" => Scalar::Any,
        _ => return None,
    })
}

fn index(at: usize, line: usize) -> Result<u16, ParseError> {
    u16::try_from(at).map_err(|_| ParseError {
        line,
        what: "more rows than an index can count",
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn damaged_tables_name_the_line() {
        for (text, expect) in [
            (" a str", "line 1: a field before any type"),
            ("type b\ntype a", "line 2: types out of order"),
            ("type a\n y str\n x str", "line 3: fields out of order"),
            ("type a\n x", "line 2: a field without a shape"),
            ("type a\n x []widget", "line 2: unknown shape"),
            (
                "type a\n x str colour=red",
                "line 2: unknown word about a field",
            ),
            ("type a\n x []str list=bag", "line 2: unknown list type"),
            (
                "type a\n x []str strategy=guess",
                "line 2: unknown patch strategy",
            ),
            ("type a gvk=v1/Pod", "line 1: a kind is GROUP/VERSION/KIND"),
            ("type a shiny", "line 1: unknown word about a type"),
            ("nonsense", "line 1: neither a type nor a field"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.to_string(), expect);
        }
    }
}
