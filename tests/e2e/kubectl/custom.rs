//! Kinds that users define: what they see of them.

use super::steps::Step;

/// A definition as charts bring them.
pub const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: shirts.stable.example.com }
spec:
  group: stable.example.com
  scope: Namespaced
  names: { plural: shirts, singular: shirt, kind: Shirt, shortNames: [shi], categories: [all] }
  versions:
    - name: v1
      served: true
      storage: true
      subresources:
        status: {}
        scale: { specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector }
      selectableFields: [{ jsonPath: .spec.color }]
      additionalPrinterColumns:
        - { name: Color, type: string, jsonPath: .spec.color }
        - { name: Age, type: date, jsonPath: .metadata.creationTimestamp }
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [color]
              x-kubernetes-validations: [{ rule: "self.replicas <= 5", message: "five will do" }]
              properties:
                color: { type: string, description: "What it looks like.", enum: [red, blue] }
                size: { type: string, default: M }
                replicas: { type: integer, default: 1 }
            status:
              type: object
              properties: { replicas: { type: integer }, selector: { type: string } }
"#;

const RED: &str = "
apiVersion: stable.example.com/v1
kind: Shirt
metadata: { name: red }
spec: { color: red }
";

const BLUE: &str = "
apiVersion: stable.example.com/v1
kind: Shirt
metadata: { name: blue }
spec: { color: blue, replicas: 2 }
";

const PINK: &str = "
apiVersion: stable.example.com/v1
kind: Shirt
metadata: { name: pink }
spec: { color: pink }
";

const MISSPELT: &str = "
apiVersion: stable.example.com/v1
kind: Shirt
metadata: { name: misspelt }
spec: { colour: red, color: red }
";

pub const STEPS: &[Step] = &[
    ("apply -f -", DEFINITION, true, "shirts.stable.example.com"),
    (
        "wait --for=condition=Established crd/shirts.stable.example.com --timeout=50s",
        "",
        true,
        "condition met",
    ),
    ("get crd", "", true, "shirts.stable.example.com"),
    (
        "api-resources --api-group=stable.example.com",
        "",
        true,
        "shi",
    ),
    ("explain shirt.spec.color", "", true, "What it looks like."),
    ("explain shirt --recursive", "", true, "replicas"),
    (
        "apply -f -",
        RED,
        true,
        "shirt.stable.example.com/red created",
    ),
    ("apply -f -", RED, true, "unchanged"),
    (
        "apply --server-side -f -",
        BLUE,
        true,
        "blue serverside-applied",
    ),
    ("apply -f -", PINK, false, "Unsupported value: \"pink\""),
    (
        "apply -f -",
        MISSPELT,
        false,
        "unknown field \"spec.colour\"",
    ),
    ("get shirts", "", true, "COLOR"),
    ("get shi red -o jsonpath={.spec.size}", "", true, "M"),
    ("get all", "", true, "shirt.stable.example.com/red"),
    (
        "get shirts --field-selector=spec.color=blue -o name",
        "",
        true,
        "blue",
    ),
    ("describe shirt red", "", true, "Color:"),
    ("scale shirt/red --replicas=3", "", true, "scaled"),
    ("scale shirt/red --replicas=9", "", false, "five will do"),
    (
        "patch shirt red --subresource=status --type=merge -p {\"status\":{\"replicas\":3}}",
        "",
        true,
        "patched",
    ),
    (
        "wait --for=jsonpath={.status.replicas}=3 shirt/red --timeout=50s",
        "",
        true,
        "condition met",
    ),
    ("label shirt red worn=yes", "", true, "labeled"),
    (
        "patch shirt red -p {\"spec\":{\"size\":\"L\"}}",
        "",
        false,
        "accepted media types include",
    ),
    (
        "delete crd shirts.stable.example.com --timeout=50s",
        "",
        true,
        "deleted",
    ),
    (
        "get shirts",
        "",
        false,
        // Not that type, or not that path, by the age of what kubectl remembers of discovery.
        "the server ",
    ),
];

/// A chart that brings a definition and an object of it.
pub const CHART: &[(&str, &str)] = &[
    (
        "Chart.yaml",
        "apiVersion: v2\nname: wardrobe\nversion: 0.1.0\n",
    ),
    ("values.yaml", "color: red\n"),
    ("crds/shirts.yaml", DEFINITION),
    (
        "templates/shirt.yaml",
        "apiVersion: stable.example.com/v1\nkind: Shirt\nmetadata: { name: {{ .Release.Name }} }\nspec: { color: {{ .Values.color }} }\n",
    ),
];
