use serde_json::json;

use super::*;
use crate::schema::schema_of;

/// Evaluates an expression over `self`, and shows what comes out.
fn shown(source: &str, this: &Json) -> String {
    let expr = match syntax::parse(source) {
        Ok(expr) => expr,
        Err(error) => return error,
    };
    let any = Schema {
        preserve_unknown: true,
        ..Schema::default()
    };
    let this = value::of_json(this, &any);
    let mut evaluation = Evaluation::new(vec![("self".to_owned(), this)], CALL_COST_MAX);
    match evaluation.value(&expr) {
        Ok(value) => library::show(&value),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn expressions_have_the_values_that_cel_gives_them() {
    let this = json!({ "n": 3, "s": "abc", "list": [3, 1, 2], "map": { "a": 1, "b": 2 }, "none": [], "objects": [{ "k": "x", "v": 2 }, { "k": "y", "v": 1 }] });
    for (source, expect) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("-7 % 3", "-1"),
        ("7.0 / 2.0", "3.5"),
        ("1 / 0", "error: division by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x10 + 1", "17"),
        ("3u > 2u", "true"),
        ("1 == 1.0", "true"),
        ("1 < 1.5", "true"),
        ("'a' + \"b\"", "ab"),
        (r"'a\n\u0041\x42'", "a\nAB"),
        (r"r'\d'", r"\d"),
        ("'''a'b'''", "a'b"),
        ("b'ab' == bytes('ab')", "true"),
        ("1 + 'a'", "error: no such overload"),
        ("!true || false", "false"),
        ("1 / 0 > 1 || true", "true"),
        ("true || 1 / 0 > 1", "true"),
        ("1 / 0 > 1 && false", "false"),
        ("1 / 0 > 1 || false", "error: division by zero"),
        ("self.n > 2 ? 'big' : 'small'", "big"),
        ("self.list[0]", "3"),
        ("self.list[7]", "error: index out of bounds: 7"),
        ("self.missing", "error: no such key: missing"),
        ("has(self.missing)", "false"),
        ("has(self.n)", "true"),
        ("self.?missing.hasValue()", "false"),
        ("self.?n.orValue(0)", "3"),
        ("self[?'missing'].orValue(5)", "5"),
        ("self.map['a']", "1"),
        ("'a' in self.map", "true"),
        ("2 in self.list", "true"),
        ("self.list.size() == size(self.list)", "true"),
        ("'äöü'.size()", "3"),
        ("[1, 2] + [3]", "[1, 2, 3]"),
        ("{'a': 1}['a']", "1"),
        ("[?optional.none(), ?optional.of(1)]", "[1]"),
        ("self.list.all(x, x > 0)", "true"),
        ("self.list.exists(x, x == 2)", "true"),
        ("self.list.exists_one(x, x > 2)", "true"),
        ("self.list.map(x, x * 2)", "[6, 2, 4]"),
        ("self.list.map(x, x > 1, x * 2)", "[6, 4]"),
        ("self.list.filter(x, x > 1)", "[3, 2]"),
        ("self.list.all(i, v, i + v >= 2)", "true"),
        ("self.list.transformList(i, v, i * v)", "[0, 1, 4]"),
        ("self.map.transformMap(k, v, v + 1)", "{a: 2, b: 3}"),
        ("self.map.all(k, k != 'c')", "true"),
        ("self.map.map(k, k)", "[a, b]"),
        ("self.objects.sortBy(o, o.v).map(o, o.k)", "[y, x]"),
        ("cel.bind(x, self.n, x + x)", "6"),
        ("self.?n.optMap(x, x + 1).value()", "4"),
        ("self.list.isSorted()", "false"),
        ("self.list.sort()", "[1, 2, 3]"),
        ("self.list.sum()", "6"),
        ("self.none.sum()", "0"),
        ("self.list.min() + self.list.max()", "4"),
        ("self.list.indexOf(2)", "2"),
        ("self.list.slice(1, 3)", "[1, 2]"),
        ("[[1], [2, [3]]].flatten()", "[1, 2, [3]]"),
        ("[1, 1, 2].distinct()", "[1, 2]"),
        ("self.list.first().value()", "3"),
        ("self.list.reverse()", "[2, 1, 3]"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("sets.contains([1, 2], [2])", "true"),
        ("sets.equivalent([1, 2], [2, 1])", "true"),
        ("sets.intersects([1], [2])", "false"),
        ("math.greatest(1, 5, 3)", "5"),
        ("math.least([4, 2])", "2"),
        ("math.abs(-3)", "3"),
        ("math.ceil(1.2)", "2"),
        ("self.s.startsWith('a') && self.s.endsWith('c')", "true"),
        ("self.s.contains('b')", "true"),
        ("self.s.matches('^[a-c]+$')", "true"),
        ("'abc 123'.find('[0-9]+')", "123"),
        ("'1a2b'.findAll('[0-9]')", "[1, 2]"),
        ("self.s.charAt(1)", "b"),
        ("'hello'.indexOf('l')", "2"),
        ("'hello'.lastIndexOf('l')", "3"),
        ("'a,b'.split(',')", "[a, b]"),
        ("['a', 'b'].join('-')", "a-b"),
        ("' a '.trim()", "a"),
        ("'aXbX'.replace('X', '-', 1)", "a-bX"),
        ("'hello'.substring(1, 3)", "el"),
        ("'hello'.substring(9)", "error: index out of range: 9"),
        ("'Ab'.lowerAscii() + 'Ab'.upperAscii()", "abAB"),
        ("'%s is %d, %.1f'.format(['x', 5, 1.25])", "x is 5, 1.2"),
        ("base64.encode(b'hi')", "aGk="),
        ("string(base64.decode('aGk='))", "hi"),
        ("int('5') + int(2.9)", "7"),
        ("double('1.5')", "1.5"),
        ("string(5)", "5"),
        ("type(1) == int", "true"),
        ("type('a')", "string"),
        ("dyn(1) == 1", "true"),
        ("timestamp('2026-01-02T03:04:05Z').getFullYear()", "2026"),
        ("timestamp('2026-01-02T03:04:05Z').getMonth()", "0"),
        ("timestamp('2026-01-02T03:04:05Z').getHours('+02:00')", "5"),
        (
            "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
            "true",
        ),
        ("duration('1h30m').getMinutes()", "90"),
        ("duration('x')", "error: invalid duration \"x\""),
        ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", "true"),
        (
            "quantity('50k').add(20).isLessThan(quantity('50020').add(quantity('1')))",
            "true",
        ),
        ("quantity('1').compareTo(quantity('1000m'))", "0"),
        ("isQuantity('x')", "false"),
        ("ip('10.0.0.1').family()", "4"),
        ("isIP('::ffff:1.2.3.4')", "false"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"),
        ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", "true"),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", "true"),
        ("url('https://a.b:80/c?d=e').getHostname()", "a.b"),
        ("url('https://a.b:80/c?d=e').getPort()", "80"),
        ("url('https://a.b:80/c?d=e').getQuery()['d'][0]", "e"),
        ("isURL('x')", "false"),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", "true"),
        ("semver('1.0.0-a').isLessThan(semver('1.0.0'))", "true"),
        ("isSemver('v1.0', true)", "true"),
        ("format.dns1123Label().validate('a-b').hasValue()", "false"),
        (
            "format.named('dns1123Label').value().validate('A').hasValue()",
            "true",
        ),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("optional.none().or(optional.of(1)).value()", "1"),
        ("null == null", "true"),
        ("// a comment\ntrue", "true"),
    ] {
        assert_eq!(shown(source, &this), expect, "{source}");
    }
}

#[test]
fn no_expression_takes_more_than_its_share() {
    let list: Json = (0..2_000).collect::<Vec<i32>>().into();
    let this = json!({ "list": list, "text": "a".repeat(100_000) });
    for source in [
        "self.list.all(x, self.list.all(y, x + y >= 0))",
        "lists.range(9000000000).size() > 0",
        "self.list.map(x, self.text).join(self.text).size() > 0",
        "self.list.all(x, 'a'.matches('(a|b){' + string(x) + '}') || true)",
        "self.list.map(x, self.text.split('')).size() > 0",
        "self.list.all(x, self.text.matches('(a*)*b') || true)",
        "self.list.all(x, self.text.replace('a', self.text).size() > 0)",
    ] {
        assert_eq!(
            shown(source, &this),
            "error: operation cancelled: actual cost limit exceeded",
            "{source}"
        );
    }
}

fn schema(rule: Json) -> Schema {
    schema_of(json!({ "type": "object", "properties": {
        "spec": { "type": "object", "x-kubernetes-validations": [rule], "properties": {
            "min": { "type": "integer" }, "max": { "type": "integer" }, "name": { "type": "string" },
            "when": { "type": "string", "format": "date-time" },
            "port": { "x-kubernetes-int-or-string": true },
            "a-b": { "type": "string" }, "namespace": { "type": "string" },
            "labels": { "type": "object", "additionalProperties": { "type": "string" } },
        } },
    } }))
}

/// Everything that a rule at `spec` says of a step.
fn check(rule: Json, old: Option<Json>, new: Json, expect: &[&str]) {
    let schema = schema(rule.clone());
    let object = |spec: &Json| json!({ "apiVersion": "a/v1", "kind": "A", "metadata": { "name": "x" }, "spec": spec });
    let errors = schema.evaluate(&object(&new), old.as_ref().map(object).as_ref());
    let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(got, expect, "{rule}");
}

#[test]
fn a_rule_says_what_is_wrong_and_where() {
    let rule = json!({ "rule": "self.min <= self.max" });
    check(rule.clone(), None, json!({ "min": 1, "max": 2 }), &[]);
    check(
        rule,
        None,
        json!({ "min": 3, "max": 2 }),
        &["spec: Invalid value: \"object\": failed rule: self.min <= self.max"],
    );
    check(
        json!({ "rule": "self.min <= self.max", "message": "min is too large", "reason": "FieldValueForbidden", "fieldPath": ".min" }),
        None,
        json!({ "min": 3, "max": 2 }),
        &["spec.min: Forbidden: min is too large"],
    );
    check(
        json!({ "rule": "self.min <= self.max", "messageExpression": "'min is more than ' + string(self.max)" }),
        None,
        json!({ "min": 3, "max": 2 }),
        &["spec: Invalid value: \"object\": min is more than 2"],
    );
    check(
        json!({ "rule": "self.min <= self.max", "message": "fallback", "messageExpression": "self.name" }),
        None,
        json!({ "min": 3, "max": 2 }),
        &["spec: Invalid value: \"object\": fallback"],
    );
    check(
        json!({ "rule": "self.min <= self.max" }),
        None,
        json!({ "min": 3 }),
        &[
            "spec: Invalid value: \"object\": no such key: max evaluating rule: self.min <= self.max",
        ],
    );
}

#[test]
fn values_are_what_the_schema_says() {
    for (rule, spec) in [
        (
            "self.when < timestamp('2026-06-01T00:00:00Z')",
            json!({ "when": "2026-01-01T00:00:00Z" }),
        ),
        (
            "type(self.port) == int || self.port == 'http'",
            json!({ "port": "http" }),
        ),
        ("type(self.port) == int", json!({ "port": 80 })),
        (
            "self.a__dash__b == 'x' && self.__namespace__ == 'y'",
            json!({ "a-b": "x", "namespace": "y" }),
        ),
        (
            "self.labels['a.b/c'] == 'd'",
            json!({ "labels": { "a.b/c": "d" } }),
        ),
        ("!has(self.name)", json!({ "name": null })),
    ] {
        check(json!({ "rule": rule }), None, spec, &[]);
    }
}

#[test]
fn a_transition_rule_speaks_of_both_sides() {
    let rule = json!({ "rule": "self.min >= oldSelf.min", "message": "min may only grow" });
    check(rule.clone(), None, json!({ "min": 1 }), &[]);
    check(
        rule.clone(),
        Some(json!({ "min": 1 })),
        json!({ "min": 2 }),
        &[],
    );
    check(
        rule,
        Some(json!({ "min": 2 })),
        json!({ "min": 1 }),
        &["spec: Invalid value: \"object\": min may only grow"],
    );
    let optional = json!({ "rule": "oldSelf.hasValue() || self.min == 0", "optionalOldSelf": true, "message": "begin with 0" });
    check(
        optional.clone(),
        None,
        json!({ "min": 1 }),
        &["spec: Invalid value: \"object\": begin with 0"],
    );
    check(
        optional,
        Some(json!({ "min": 0 })),
        json!({ "min": 1 }),
        &[],
    );
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let rule = json!({ "rule": "self.min <= self.max" });
    let bad = json!({ "min": 3, "max": 2 });
    check(rule.clone(), Some(bad.clone()), bad.clone(), &[]);
    check(
        rule,
        Some(bad),
        json!({ "min": 4, "max": 2 }),
        &["spec: Invalid value: \"object\": failed rule: self.min <= self.max"],
    );
}

/// Everything wrong with a rule at `spec` itself.
fn check_compile(rule: Json, expect: &[&str]) {
    let props = json!({ "type": "object", "properties": {
        "spec": { "type": "object", "x-kubernetes-validations": [rule], "properties": {
            "min": { "type": "integer" }, "name": { "type": "string" }, "on": { "type": "boolean" },
            "list": { "type": "array", "items": { "type": "object", "properties": { "k": { "type": "string" } } } },
        } },
    } });
    let props: JSONSchemaProps = serde_json::from_value(props).unwrap();
    let mut errors = ErrorList::new();
    Schema::new(&props).check_rules(&props, &Path::new("s"), &mut errors);
    let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(got.len(), expect.len(), "{rule}: {got:?}");
    for (got, expect) in got.iter().zip(expect) {
        let expect = format!("s.properties[spec].x-kubernetes-validations[0].{expect}");
        assert!(got.starts_with(&expect), "{got}");
    }
}

#[test]
fn a_rule_that_cannot_work_is_refused_with_its_definition() {
    for rule in [
        "self.min > 0",
        "self.on",
        "has(self.name) && self.list.all(i, i.k != '')",
        "self.list.map(i, i.k).exists(k, k == self.name)",
        "oldSelf.min < self.min",
    ] {
        check_compile(json!({ "rule": rule }), &[]);
    }
    for (rule, expect) in [
        (
            "self.",
            "compilation failed: ERROR: <input>:1:6: Syntax error",
        ),
        (
            "self.mim > 0",
            "compilation failed: ERROR: undefined field 'mim'",
        ),
        (
            "self.list.all(i, i.x == '')",
            "compilation failed: ERROR: undefined field 'x'",
        ),
        (
            "slef.min > 0",
            "compilation failed: ERROR: undeclared reference to 'slef'",
        ),
        (
            "frob(self)",
            "compilation failed: ERROR: undeclared reference to 'frob'",
        ),
        (
            "self.name",
            "compilation failed: cel expression must evaluate to a bool",
        ),
        (
            "self.name.x",
            "compilation failed: ERROR: type does not support field selection",
        ),
        (
            "self.min && true",
            "compilation failed: ERROR: expected type 'bool'",
        ),
    ] {
        check_compile(
            json!({ "rule": rule }),
            &[&format!("rule: Invalid value: {rule:?}: {expect}")],
        );
    }
    check_compile(
        json!({ "rule": " " }),
        &["rule: Required value: rule is not specified"],
    );
    check_compile(
        json!({ "rule": "true", "message": "a\nb", "reason": "Why", "fieldPath": ".none", "messageExpression": "1", "optionalOldSelf": true }),
        &[
            "message: Invalid value: \"a\\nb\": message must not contain line breaks",
            "reason: Unsupported value: \"Why\"",
            "fieldPath: Invalid value: \".none\": fieldPath must be a valid path",
            "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
            "messageExpression: Invalid value: \"1\": messageExpression compilation failed: must evaluate to a string",
        ],
    );
}
