#!/usr/bin/env python3
"""Writes types.txt: the facts about Kubernetes' built-in types that the API server needs.

Usage, from any folder:
    pip download --no-deps --dest /tmp/kv kubernetes-validate==1.37.0
    python3 control/apiserver/src/schema/generate.py /tmp/kv/kubernetes_validate-1.37.0-py3-none-any.whl

Input: the `_definitions.json` of Kubernetes 1.37 inside that wheel. Output: one line per
type, then one line per field, sorted by name. Only names and rules are kept, no prose
(descriptions come from k8s-openapi at run time).

    type NAME [atomic] [gvk=GROUP/VERSION/KIND,...]
     FIELD SHAPE [required] [strategy=..] [key=..] [list=set|atomic|map:KEY,KEY] [atomic] [default=JSON]

SHAPE: `[]X` a list, `{}X` a map from string, a scalar (str bytes bool i32 i64 f64 time
microtime quantity intorstr), `raw` (an embedded object), `fields` (FieldsV1), `any`, or
the NAME of a type.
"""
import json
import pathlib
import sys
import zipfile

MEMBER = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local/_definitions.json"

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
# Types that are not objects on the wire, or whose inside no rule looks at.
LEAVES = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intorstr",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
    META + "Time": "time",
    META + "MicroTime": "microtime",
    META + "FieldsV1": "fields",
    META + "Patch": "any",
    CRD + "JSON": "any",
    CRD + "JSONSchemaPropsOrArray": "any",
    CRD + "JSONSchemaPropsOrBool": "any",
    CRD + "JSONSchemaPropsOrStringArray": "any",
}
# The published schema has these defaults and the wheel dropped them. They matter
# because the fields are keys of list-maps: an item without one is the same item.
DEFAULTS = {
    ("io.k8s.api.core.v1.ContainerPort", "protocol"): "TCP",
    ("io.k8s.api.core.v1.LocalObjectReference", "name"): "",
    ("io.k8s.api.core.v1.ServicePort", "protocol"): "TCP",
}


def plain(schema):
    """The JSON type without the `null` that the wheel's makers added."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next(k for k in kind if k != "null")
    return kind


def shape(schema):
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return LEAVES.get(name, name)
    kind, form = plain(schema), schema.get("format")
    if kind == "array":
        return "[]" + shape(schema["items"])
    if kind == "object":
        inner = schema.get("additionalProperties")
        return "{}" + shape(inner) if inner else "any"
    if kind == "string":
        return "bytes" if form == "byte" else "str"
    if kind == "integer":
        return {"int32": "i32", "int64": "i64"}[form]
    return {"boolean": "bool", "number": "f64"}[kind]


def field(type_name, name, schema, required):
    words = [name, shape(schema)]
    if required:
        words.append("required")
    if "x-kubernetes-patch-strategy" in schema:
        words.append("strategy=" + schema["x-kubernetes-patch-strategy"])
    if "x-kubernetes-patch-merge-key" in schema:
        words.append("key=" + schema["x-kubernetes-patch-merge-key"])
    listed = schema.get("x-kubernetes-list-type")
    if listed == "map":
        words.append("list=map:" + ",".join(schema["x-kubernetes-list-map-keys"]))
    elif listed:
        words.append("list=" + listed)
    if schema.get("x-kubernetes-map-type") == "atomic":
        words.append("atomic")
    if (type_name, name) in DEFAULTS:
        words.append("default=" + json.dumps(DEFAULTS[type_name, name]))
    for word in words:
        assert " " not in word and "\n" not in word, words
    return " " + " ".join(words)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        definitions = json.loads(wheel.read(MEMBER))["$defs"]
    lines = [
        "# Written by generate.py from kubernetes-validate 1.37.0 (Kubernetes 1.37); do not edit.",
    ]
    for name in sorted(definitions):
        if name in LEAVES:
            continue
        schema = definitions[name]
        words = ["type", name]
        if schema.get("x-kubernetes-map-type") == "atomic":
            words.append("atomic")
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if kinds:
            words.append("gvk=" + ",".join(
                "/".join((k["group"], k["version"], k["kind"])) for k in kinds))
        lines.append(" ".join(words))
        required = set(schema.get("required", []))
        for key in sorted(schema.get("properties", {})):
            lines.append(field(name, key, schema["properties"][key], key in required))
    out = pathlib.Path(__file__).with_name("types.txt")
    out.write_text("\n".join(lines) + "\n")
    print(f"{out}: {out.stat().st_size} bytes, {len(lines)} lines")


main()
