//! The table of types, as server-side apply looks at it.

use std::sync::LazyLock;

use euston_fields::{Field, Place, Schema, Tree};

use super::{FieldRef, Inner, ListType, Rules, Scalar, Shape, ShapeId, TypeId, types};

/// The schema of a built-in kind. A [`Place`] is an index into one of the table's lists, and
/// which list that is.
#[derive(Debug, Clone, Copy)]
pub struct Builtin(pub Option<TypeId>);

const TYPE: u32 = 0;
const FIELD: u32 = 1 << 30;
const SHAPE: u32 = 2 << 30;
const LIST: u32 = 3 << 30;

/// The schema of every object's `metadata`, for kinds that are not built in.
pub fn object_meta() -> &'static dyn Schema {
    static META: LazyLock<Builtin> = LazyLock::new(|| {
        Builtin(types().lookup_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"))
    });
    &*META
}

/// What is known about a place.
enum Known {
    Type(TypeId),
    Field(FieldRef),
    /// A shape without rules of its own: in a list or map.
    Shape(Shape),
}

fn known(at: Place) -> Option<Known> {
    let index = at.0 & !LIST;
    Some(match at.0 & LIST {
        TYPE => Known::Type(TypeId(u16::try_from(index).ok()?)),
        FIELD => Known::Field(FieldRef {
            row: types().fields.get(index as usize)?,
        }),
        SHAPE => Known::Shape(*types().shapes.get(index as usize)?),
        _ => return None,
    })
}

fn inside(Inner(ShapeId(index)): Inner) -> Place {
    Place(SHAPE | u32::from(index))
}

impl Known {
    fn shape(&self) -> Shape {
        match self {
            Known::Type(of) => Shape::Struct(*of),
            Known::Field(field) => field.shape(),
            Known::Shape(shape) => *shape,
        }
    }

    fn rules(&self) -> &'static Rules {
        match self {
            Known::Field(field) => field.rules(),
            _ => &Rules::NONE,
        }
    }
}

impl Schema for Builtin {
    fn root(&self) -> Place {
        self.0
            .map_or(Place::UNTYPED, |of| Place(TYPE | u32::from(of.0)))
    }

    fn shape(&self, at: Place) -> euston_fields::Shape {
        use euston_fields::Shape::{Keyed, Leaf, Map, Set, Untyped};
        let Some(known) = known(at) else {
            return Untyped;
        };
        let rules = known.rules();
        match known.shape() {
            Shape::Scalar(Scalar::Raw | Scalar::Any | Scalar::Fields) => Untyped,
            Shape::Scalar(_) => Leaf,
            Shape::Struct(of) if types().get(of).atomic() => Leaf,
            Shape::Struct(_) | Shape::Map(_) if rules.atomic => Leaf,
            Shape::Struct(_) | Shape::Map(_) => Map,
            Shape::List(_) => match rules.list {
                None | Some(ListType::Atomic) => Leaf,
                Some(ListType::Set) => Set,
                Some(ListType::Map) => Keyed,
            },
        }
    }

    fn field(&self, at: Place, name: &str) -> Option<Field> {
        match known(at)?.shape() {
            Shape::Struct(of) => {
                let row = &types().types[usize::from(of.0)];
                let fields = &types().fields[row.fields.start as usize..row.fields.end as usize];
                let index = fields.binary_search_by(|f| f.name.cmp(name)).ok()?;
                Some(Field {
                    place: Place(FIELD | (row.fields.start + u32::try_from(index).ok()?)),
                    named: true,
                })
            }
            Shape::Map(inner) => Some(Field {
                place: inside(inner),
                named: false,
            }),
            Shape::Scalar(_) | Shape::List(_) => None,
        }
    }

    fn item(&self, at: Place) -> Place {
        match known(at).map(|known| known.shape()) {
            Some(Shape::List(inner)) => inside(inner),
            _ => Place::UNTYPED,
        }
    }

    fn key(&self, at: Place, nth: usize) -> Option<&str> {
        match known(at)? {
            Known::Field(field) => field.list_map_keys().nth(nth),
            _ => None,
        }
    }

    fn key_default(&self, at: Place, key: &str) -> Option<Tree<'_>> {
        match known(at)? {
            Known::Field(list) => {
                let default = list.element()?.field(key)?.default_json()?;
                Tree::parse(default.as_bytes()).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use euston_fields::{compare, owned};

    use super::*;

    /// What the sender of this object owns.
    fn check(kind: (&str, &str, &str), json: &str, expect: &[&str]) {
        let schema = Builtin(types().lookup_gvk(kind.0, kind.1, kind.2));
        let tree = Tree::parse(json.as_bytes()).unwrap();
        let fields = owned(&schema, &tree);
        let fields = fields.unwrap_or_else(|misfits| panic!("{json}: {misfits:?}"));
        assert_eq!(fields.paths(), expect, "{json}");
    }

    const POD: (&str, &str, &str) = ("", "v1", "Pod");

    #[test]
    fn lists_and_maps_are_owned_as_kubernetes_declares_them() {
        check(
            POD,
            r#"{"spec":{"containers":[{"name":"a","args":["x"]}]}}"#,
            &[
                r#".spec.containers[name="a"]"#,
                r#".spec.containers[name="a"].args"#,
                r#".spec.containers[name="a"].name"#,
            ],
        );
        check(
            POD,
            r#"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}]}]}}"#,
            &[
                r#".spec.containers[name="a"]"#,
                r#".spec.containers[name="a"].name"#,
                r#".spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]"#,
                r#".spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort"#,
            ],
        );
        check(
            POD,
            r#"{"spec":{"nodeSelector":{"a":"b"},"tolerations":[{"key":"k"}]}}"#,
            &[".spec.nodeSelector", ".spec.tolerations"],
        );
        check(
            POD,
            r#"{"spec":{"imagePullSecrets":[{"name":"a"},{}]}}"#,
            &[
                r#".spec.imagePullSecrets[name=""]"#,
                r#".spec.imagePullSecrets[name="a"]"#,
            ],
        );
        check(
            POD,
            r#"{"spec":{"topologySpreadConstraints":[{"topologyKey":"z","whenUnsatisfiable":"W","maxSkew":1}]}}"#,
            &[
                r#".spec.topologySpreadConstraints[topologyKey="z",whenUnsatisfiable="W"]"#,
                r#".spec.topologySpreadConstraints[topologyKey="z",whenUnsatisfiable="W"].maxSkew"#,
                r#".spec.topologySpreadConstraints[topologyKey="z",whenUnsatisfiable="W"].topologyKey"#,
                r#".spec.topologySpreadConstraints[topologyKey="z",whenUnsatisfiable="W"].whenUnsatisfiable"#,
            ],
        );
        check(
            POD,
            r#"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#,
            &[
                r#".spec.volumes[name="v"]"#,
                r#".spec.volumes[name="v"].emptyDir"#,
                r#".spec.volumes[name="v"].name"#,
            ],
        );
        check(
            POD,
            r#"{"metadata":{"labels":{"a":"1"},"finalizers":["f"],"ownerReferences":[{"uid":"u","name":"n"}]}}"#,
            &[
                r#".metadata.finalizers[="f"]"#,
                ".metadata.labels.a",
                r#".metadata.ownerReferences[uid="u"]"#,
            ],
        );
        check(
            ("", "v1", "Service"),
            r#"{"spec":{"selector":{"a":"b"},"ports":[{"port":80}],"externalIPs":["1.1.1.1"]}}"#,
            &[
                ".spec.externalIPs",
                r#".spec.ports[port=80,protocol="TCP"]"#,
                r#".spec.ports[port=80,protocol="TCP"].port"#,
                ".spec.selector",
            ],
        );
        check(
            ("apps", "v1", "Deployment"),
            r#"{"spec":{"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":1}}}}"#,
            &[".spec.selector", ".spec.strategy.rollingUpdate.maxSurge"],
        );
        check(
            ("", "v1", "ConfigMap"),
            r#"{"data":{"a.b/c":"x"},"binaryData":{}}"#,
            &[".binaryData", ".data.a.b/c"],
        );
        check(
            ("apps", "v1", "ControllerRevision"),
            r#"{"data":{"a":{"b":[1]}},"revision":1}"#,
            &[".data.a", ".data.a.b", ".revision"],
        );
        check(
            ("", "v1", "Node"),
            r#"{"status":{"capacity":{"cpu":1},"conditions":[{"type":"Ready"}]}}"#,
            &[
                ".status.capacity.cpu",
                r#".status.conditions[type="Ready"]"#,
                r#".status.conditions[type="Ready"].type"#,
            ],
        );
        // A kind that the table does not know is judged by its values.
        check(
            ("example.com", "v1", "Thing"),
            r#"{"spec":{"a":[1],"b":{"c":1}}}"#,
            &[".spec", ".spec.a", ".spec.b", ".spec.b.c"],
        );
    }

    #[test]
    fn every_place_of_every_kind_answers() {
        fn walk(schema: &Builtin, at: Place, of: crate::schema::TypeRef, depth: usize) -> usize {
            if depth == 0 {
                return 0;
            }
            let mut seen = 1;
            for field in of.fields() {
                let found = schema.field(at, field.name());
                let Some(Field { place, named: true }) = found else {
                    // Atomic types are one value, but have fields all the same.
                    panic!("{}.{}: {found:?}", of.name(), field.name());
                };
                let shape = schema.shape(place);
                let keys = (0..).map_while(|nth| schema.key(place, nth)).count();
                assert_eq!(
                    keys > 0,
                    shape == euston_fields::Shape::Keyed,
                    "{}.{}",
                    of.name(),
                    field.name()
                );
                if let (Shape::Struct(_), Some(inner)) = (field.shape(), field.element()) {
                    seen += walk(schema, place, inner, depth - 1);
                }
                if let (euston_fields::Shape::Keyed, Some(inner)) = (shape, field.element()) {
                    seen += walk(schema, schema.item(place), inner, depth - 1);
                }
            }
            seen
        }
        let mut seen = 0;
        for (_, _, _, of) in types().kinds() {
            let schema = Builtin(Some(of));
            seen += walk(&schema, schema.root(), types().get(of), 4);
        }
        assert!(seen > 1_000, "{seen}");
    }

    #[test]
    fn a_custom_resource_has_the_metadata_of_all_objects() {
        let schema = euston_fields::OpenApi::new(
            &serde_json::json!({"type": "object", "properties": {
                "metadata": {"type": "object"},
                "spec": {"type": "object", "properties": {"a": {"type": "integer"}}},
            }}),
            Some(object_meta()),
        );
        let old = Tree::parse(br#"{"metadata":{"finalizers":["a"]},"spec":{"a":1}}"#).unwrap();
        let new = br#"{"metadata":{"finalizers":["a","b"],"labels":{"l":"1"}},"spec":{"a":2}}"#;
        let new = Tree::parse(new).unwrap();
        let diff = compare(&schema, Some(&old), &new);
        let expect = [
            r#".metadata.finalizers[="b"]"#,
            ".metadata.labels",
            ".metadata.labels.l",
            ".spec.a",
        ];
        assert_eq!(diff.changed.paths(), expect);
        assert!(owned(&schema, &new).is_ok());
    }
}
