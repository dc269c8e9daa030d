//! Paths and operations of the registered kinds, before they become v2 or v3.

use serde_json::{Map, Value};

use super::definitions::{self, Definitions};
use super::{ResourceDoc, SubresourceDoc};

/// A path of the API and what can be done there.
pub(super) struct PathDoc {
    pub(super) path: String,
    /// Has `{name}`.
    pub(super) named: bool,
    /// Has `{namespace}`.
    pub(super) namespaced: bool,
    pub(super) operations: Vec<Operation>,
}

impl PathDoc {
    /// The path item, which both versions build alike from their operations and parameters.
    pub(super) fn item(
        &self,
        operation: impl Fn(&Operation) -> Value,
        parameter: impl Fn(&Parameter, &str) -> Value,
    ) -> Value {
        let operations = self.operations.iter();
        let mut item: Map<String, Value> = operations
            .map(|o| (o.method.to_owned(), operation(o)))
            .collect();
        let parameters: Vec<Value> = [(self.named, &NAME), (self.namespaced, &NAMESPACE)]
            .into_iter()
            .filter(|(has, _)| *has)
            .map(|(_, of)| parameter(of, "path"))
            .collect();
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        Value::Object(item)
    }
}

/// One method of a path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// The value of `x-kubernetes-action`.
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) description: String,
    /// Group, version, kind.
    pub(super) kind: (String, String, String),
    pub(super) query: Vec<&'static Parameter>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<(&'static str, &'static str, Answer)>,
    pub(super) streams: bool,
}

/// What is sent.
pub(super) enum Body {
    /// An object of that definition.
    Object(String),
    /// A patch of any type.
    Patch,
    /// DeleteOptions, or nothing.
    DeleteOptions,
}

/// What comes back.
pub(super) enum Answer {
    /// An object of that definition.
    Object(String),
    /// Text, such as logs.
    Text,
}

/// A query or path parameter.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// JSON type.
    pub(super) of: &'static str,
    pub(super) description: &'static str,
}

/// `api/v1` or `apis/apps/v1`.
pub(super) fn root(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        _ => format!("apis/{group}/{version}"),
    }
}

/// The patch types that PATCH takes.
pub(super) const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

macro_rules! parameters {
    ($($constant:ident $name:literal $of:literal $description:literal;)*) => {
        $(static $constant: Parameter =
            Parameter { name: $name, of: $of, description: $description };)*
    };
}

parameters! {
    ALLOW_BOOKMARKS "allowWatchBookmarks" "boolean"
        "Ask a watch for BOOKMARK events, which tell how far it has come.";
    CONTINUE "continue" "string" "The token of the list's previous part.";
    FIELDS "fieldSelector" "string" "Only objects whose fields match.";
    LABELS "labelSelector" "string" "Only objects whose labels match.";
    LIMIT "limit" "integer" "At most that many objects; the rest follows by the continue token.";
    VERSION "resourceVersion" "string" "How recent the answer must be, or where a watch starts.";
    VERSION_MATCH "resourceVersionMatch" "string" "How resourceVersion is meant: Exact or NotOlderThan.";
    INITIAL_EVENTS "sendInitialEvents" "boolean"
        "Begin a watch with the objects that exist, then a bookmark that marks their end.";
    TIMEOUT "timeoutSeconds" "integer" "End a list or watch after so many seconds.";
    WATCH "watch" "boolean" "Stream changes instead of listing objects.";
    PRETTY "pretty" "string" "If true, the answer is indented.";
    DRY_RUN "dryRun" "string" "All: do everything but store the outcome.";
    MANAGER "fieldManager" "string" "The name under which the fields of this change are owned.";
    VALIDATION "fieldValidation" "string"
        "What becomes of unknown and duplicate fields: Ignore, Warn or Strict.";
    FORCE "force" "boolean" "Server-side apply only: take over fields that others own.";
    GRACE "gracePeriodSeconds" "integer" "Seconds until the object is deleted by force.";
    ORPHAN "orphanDependents" "boolean" "Deprecated; see propagationPolicy.";
    PROPAGATION "propagationPolicy" "string"
        "What becomes of dependents: Orphan, Background or Foreground.";
    CONTAINER "container" "string" "Which container; needed if the pod has several.";
    FOLLOW "follow" "boolean" "Keep streaming what is written.";
    LIMIT_BYTES "limitBytes" "integer" "Stop after so many bytes.";
    PREVIOUS "previous" "boolean" "The container's run before this one.";
    SINCE_SECONDS "sinceSeconds" "integer" "Only what was written in the last so many seconds.";
    TAIL "tailLines" "integer" "Begin so many lines before the end.";
    TIMESTAMPS "timestamps" "boolean" "Begin every line with its time.";
}

/// `{name}`.
static NAME: Parameter = Parameter {
    name: "name",
    of: "string",
    description: "The object's name.",
};
/// `{namespace}`.
static NAMESPACE: Parameter = Parameter {
    name: "namespace",
    of: "string",
    description: "The namespace.",
};

static LIST: &[&Parameter] = &[
    &PRETTY,
    &ALLOW_BOOKMARKS,
    &CONTINUE,
    &FIELDS,
    &LABELS,
    &LIMIT,
    &VERSION,
    &VERSION_MATCH,
    &INITIAL_EVENTS,
    &TIMEOUT,
    &WATCH,
];
static READ: &[&Parameter] = &[&PRETTY];
static WRITE: &[&Parameter] = &[&PRETTY, &DRY_RUN, &MANAGER, &VALIDATION];
static PATCH: &[&Parameter] = &[&PRETTY, &DRY_RUN, &MANAGER, &VALIDATION, &FORCE];
static DELETE: &[&Parameter] = &[&PRETTY, &DRY_RUN, &GRACE, &ORPHAN, &PROPAGATION];
static DELETE_COLLECTION: &[&Parameter] = &[
    &PRETTY,
    &CONTINUE,
    &DRY_RUN,
    &FIELDS,
    &GRACE,
    &LABELS,
    &LIMIT,
    &ORPHAN,
    &PROPAGATION,
    &VERSION,
    &VERSION_MATCH,
    &INITIAL_EVENTS,
    &TIMEOUT,
];
static LOG: &[&Parameter] = &[
    &PRETTY,
    &CONTAINER,
    &FOLLOW,
    &LIMIT_BYTES,
    &PREVIOUS,
    &SINCE_SECONDS,
    &TAIL,
    &TIMESTAMPS,
];

/// Every path of these kinds.
pub(super) fn paths(resources: &[&ResourceDoc], definitions: &Definitions) -> Vec<PathDoc> {
    let mut paths = Vec::new();
    for (resource, (item, list)) in resources.iter().zip(&definitions.names) {
        let of = Writer {
            resource,
            item,
            list,
        };
        of.collections(&mut paths);
        of.objects(&mut paths);
    }
    paths.retain(|path| !path.operations.is_empty());
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    paths
}

/// Writes the paths of one kind.
struct Writer<'a> {
    resource: &'a ResourceDoc,
    item: &'a str,
    list: &'a str,
}

impl Writer<'_> {
    fn base(&self) -> String {
        let root = root(&self.resource.group, &self.resource.version);
        let scope = if self.resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        format!("/{root}{scope}/{}", self.resource.plural)
    }

    fn has(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|v| v == verb)
    }

    fn collections(&self, paths: &mut Vec<PathDoc>) {
        let resource = self.resource;
        let mut operations = Vec::new();
        if self.has("list") {
            operations.push(self.listing(""));
        }
        if self.has("create") {
            operations.push(self.create(self.item, "", None));
        }
        if self.has("deletecollection") {
            let mut all = self.operation("delete", "deletecollection", "delete", "");
            all.id = all.id.replacen(
                &self.version_words(),
                &(self.version_words() + "Collection"),
                1,
            );
            all.description = format!("delete every {} of the collection", resource.kind);
            all.query = DELETE_COLLECTION.to_vec();
            all.body = Some(Body::DeleteOptions);
            all.answers = vec![("200", "OK", Answer::Object(definitions::STATUS.into()))];
            operations.push(all);
        }
        let namespaced = resource.namespaced;
        paths.push(PathDoc {
            path: self.base(),
            named: false,
            namespaced,
            operations,
        });
        if namespaced && self.has("list") {
            let root = root(&resource.group, &resource.version);
            paths.push(PathDoc {
                path: format!("/{root}/{}", resource.plural),
                named: false,
                namespaced: false,
                operations: vec![self.listing("ForAllNamespaces")],
            });
        }
    }

    fn objects(&self, paths: &mut Vec<PathDoc>) {
        let path = format!("{}/{{name}}", self.base());
        let namespaced = self.resource.namespaced;
        let mut operations = Vec::new();
        if self.has("get") {
            operations.push(self.read(self.item, "", None));
        }
        if self.has("update") {
            operations.push(self.replace(self.item, "", None));
        }
        if self.has("patch") {
            operations.push(self.patch(self.item, "", None));
        }
        if self.has("delete") {
            let mut delete = self.operation("delete", "delete", "delete", "");
            delete.description = format!("delete one {}", self.resource.kind);
            delete.query = DELETE.to_vec();
            delete.body = Some(Body::DeleteOptions);
            let status = || Answer::Object(definitions::STATUS.into());
            delete.answers = vec![("200", "OK", status()), ("202", "Accepted", status())];
            operations.push(delete);
        }
        for sub in &self.resource.subresources {
            let below = format!("{path}/{}", sub.name);
            let operations = self.subresource(sub);
            // Streams and proxies have no schema to tell of.
            if operations.is_empty() {
                continue;
            }
            paths.push(PathDoc {
                path: below,
                named: true,
                namespaced,
                operations,
            });
        }
        paths.push(PathDoc {
            path,
            named: true,
            namespaced,
            operations,
        });
    }

    fn subresource(&self, sub: &SubresourceDoc) -> Vec<Operation> {
        let kind = sub.foreign_kind.as_ref();
        let body = match kind {
            None => self.item,
            Some((group, version, kind)) => match definitions::foreign_name(group, version, kind) {
                Some(name) => name,
                None => return Vec::new(),
            },
        };
        let suffix = camel(&sub.name);
        let mut operations = Vec::new();
        for verb in &sub.verbs {
            operations.push(match verb.as_str() {
                "get" if sub.name == "log" => {
                    let mut log = self.read(body, &suffix, kind);
                    log.query = LOG.to_vec();
                    log.answers = vec![("200", "OK", Answer::Text)];
                    log.streams = true;
                    log
                }
                "get" => self.read(body, &suffix, kind),
                "update" => self.replace(body, &suffix, kind),
                "patch" => self.patch(body, &suffix, kind),
                "create" => self.create(body, &suffix, kind),
                _ => continue,
            });
        }
        operations
    }

    fn listing(&self, suffix: &str) -> Operation {
        let mut list = self.operation("get", "list", "list", suffix);
        list.description = format!("list or watch objects of kind {}", self.resource.kind);
        list.query = LIST.to_vec();
        list.answers = vec![("200", "OK", Answer::Object(self.list.into()))];
        list.streams = true;
        list
    }

    fn read(&self, body: &str, suffix: &str, kind: Option<&Gvk>) -> Operation {
        let mut read = self.operation("get", "get", "read", suffix).of_kind(kind);
        read.query = READ.to_vec();
        read.answers = vec![("200", "OK", Answer::Object(body.into()))];
        read
    }

    fn create(&self, body: &str, suffix: &str, kind: Option<&Gvk>) -> Operation {
        let mut create = self
            .operation("post", "post", "create", suffix)
            .of_kind(kind);
        create.query = WRITE.to_vec();
        create.body = Some(Body::Object(body.into()));
        let answer = || Answer::Object(body.into());
        create.answers = vec![
            ("200", "OK", answer()),
            ("201", "Created", answer()),
            ("202", "Accepted", answer()),
        ];
        create
    }

    fn replace(&self, body: &str, suffix: &str, kind: Option<&Gvk>) -> Operation {
        let mut replace = self
            .operation("put", "put", "replace", suffix)
            .of_kind(kind);
        replace.query = WRITE.to_vec();
        replace.body = Some(Body::Object(body.into()));
        let answer = || Answer::Object(body.into());
        replace.answers = vec![("200", "OK", answer()), ("201", "Created", answer())];
        replace
    }

    fn patch(&self, body: &str, suffix: &str, kind: Option<&Gvk>) -> Operation {
        let mut patch = self
            .operation("patch", "patch", "patch", suffix)
            .of_kind(kind);
        patch.query = PATCH.to_vec();
        patch.body = Some(Body::Patch);
        let answer = || Answer::Object(body.into());
        patch.answers = vec![("200", "OK", answer()), ("201", "Created", answer())];
        patch
    }

    /// `CoreV1`, `RbacAuthorizationV1`.
    fn version_words(&self) -> String {
        let ResourceDoc { group, version, .. } = self.resource;
        format!("{}{}", group_words(group), camel(version))
    }

    /// With `listCoreV1NamespacedPod` as its id; clients are generated from these ids.
    fn operation(
        &self,
        method: &'static str,
        action: &'static str,
        verb: &str,
        suffix: &str,
    ) -> Operation {
        let ResourceDoc {
            group,
            version,
            kind,
            ..
        } = self.resource;
        let everywhere = suffix == "ForAllNamespaces";
        let scope = if self.resource.namespaced && !everywhere {
            "Namespaced"
        } else {
            ""
        };
        let what = match suffix {
            "" => kind.clone(),
            "ForAllNamespaces" => format!("{kind} of any namespace"),
            _ => format!("{} of {kind}", suffix.to_lowercase()),
        };
        Operation {
            method,
            action,
            id: format!("{verb}{}{scope}{kind}{suffix}", self.version_words()),
            tag: format!("{}_{version}", lower_first(&group_words(group))),
            description: format!("{verb} {what}"),
            kind: (group.clone(), version.clone(), kind.clone()),
            query: Vec::new(),
            body: None,
            answers: Vec::new(),
            streams: false,
        }
    }
}

type Gvk = (String, String, String);

impl Operation {
    fn of_kind(mut self, kind: Option<&Gvk>) -> Self {
        if let Some(kind) = kind {
            self.kind = kind.clone();
        }
        self
    }
}

/// Kubernetes drops its own domain, and joins what dots separate.
fn group_words(group: &str) -> String {
    match group {
        "" => "Core".to_owned(),
        _ => group
            .strip_suffix(".k8s.io")
            .unwrap_or(group)
            .split('.')
            .map(camel)
            .collect(),
    }
}

fn camel(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(chars)
        .collect()
}

fn lower_first(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect()
}
