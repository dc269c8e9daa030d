//! A served kind: names, scope, subresources, rules.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use euston_access::User;
use euston_api::field::ErrorList;
use euston_api::names::NameRule;
use euston_protobuf::Message;
use serde_json::Value;

use super::decode::{self, Findings};
use super::object::{AnyObject, BoxObject};
use super::strategy::{ColumnOf, Scale, Strategy};
use super::version::{Form, TypedForm, Version};
use crate::access::Access;
use crate::schema::ownership::Builtin;
use crate::schema::{TypeId, types};
use crate::storage::{join, split};

/// What hangs below an object's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// `status`: the controller's half of the object.
    Status,
    /// `scale`: replicas alone.
    Scale,
    /// `binding`: which node a pod runs on.
    Binding,
    /// `log`: what a container wrote.
    Log,
    /// `finalize`: a namespace's own finalizers.
    Finalize,
    /// `approval`: somebody's decision about it.
    Approval,
    /// `token`: a new token of a service account.
    Token,
    /// `exec`: run a command in a container.
    Exec,
    /// `attach`: join the streams of a container that runs.
    Attach,
    /// `portforward`: connections to ports of a pod.
    PortForward,
    /// `proxy`: requests to what stands behind the object.
    Proxy(ProxyTo),
    /// `eviction`: a deletion that budgets may refuse.
    Eviction,
    /// `ephemeralcontainers`: containers added to a running pod.
    EphemeralContainers,
    /// `resize`: the resources of a running pod.
    Resize,
}

/// Whom the subresource `proxy` speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyTo {
    /// The agent of the node.
    Node,
    /// The pod.
    Pod,
    /// A pod behind the Service.
    Service,
}

impl Subresource {
    /// Its segment of the path.
    pub fn name(self) -> &'static str {
        match self {
            Subresource::Status => "status",
            Subresource::Scale => "scale",
            Subresource::Binding => "binding",
            Subresource::Log => "log",
            Subresource::Finalize => "finalize",
            Subresource::Approval => "approval",
            Subresource::Token => "token",
            Subresource::Exec => "exec",
            Subresource::Attach => "attach",
            Subresource::PortForward => "portforward",
            Subresource::Proxy(_) => "proxy",
            Subresource::Eviction => "eviction",
            Subresource::EphemeralContainers => "ephemeralcontainers",
            Subresource::Resize => "resize",
        }
    }

    /// The verbs it answers, as discovery lists them.
    pub fn verbs(self) -> &'static [&'static str] {
        match self {
            Subresource::Status
            | Subresource::Scale
            | Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize => &["get", "patch", "update"],
            Subresource::Binding | Subresource::Eviction | Subresource::Token => &["create"],
            Subresource::Log => &["get"],
            Subresource::Finalize => &["update"],
            Subresource::Exec | Subresource::Attach | Subresource::PortForward => {
                &["create", "get"]
            }
            Subresource::Proxy(_) => &["create", "delete", "get", "patch", "update"],
        }
    }

    /// Group, version and kind of its body where that is not the object's own.
    pub fn foreign_kind(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Subresource::Scale => Some(("autoscaling", "v1", "Scale")),
            Subresource::Binding => Some(("", "v1", "Binding")),
            Subresource::Token => Some(("authentication.k8s.io", "v1", "TokenRequest")),
            Subresource::Exec => Some(("", "v1", "PodExecOptions")),
            Subresource::Attach => Some(("", "v1", "PodAttachOptions")),
            Subresource::PortForward => Some(("", "v1", "PodPortForwardOptions")),
            Subresource::Proxy(ProxyTo::Node) => Some(("", "v1", "NodeProxyOptions")),
            Subresource::Proxy(ProxyTo::Pod) => Some(("", "v1", "PodProxyOptions")),
            Subresource::Proxy(ProxyTo::Service) => Some(("", "v1", "ServiceProxyOptions")),
            Subresource::Eviction => Some(("policy", "v1", "Eviction")),
            _ => None,
        }
    }

    /// True if it is the object itself, of which a client may write a part only.
    pub fn is_part(self) -> bool {
        matches!(
            self,
            Subresource::Status
                | Subresource::Approval
                | Subresource::EphemeralContainers
                | Subresource::Resize
        )
    }
}

/// How a kind is called, and where it is served.
#[derive(Debug, Clone)]
pub struct Names {
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// `Deployment`
    pub kind: String,
    /// `DeploymentList`
    pub list_kind: String,
    /// `deployments`
    pub plural: String,
    /// `deployment`
    pub singular: String,
    /// `deploy`
    pub short: Vec<String>,
    /// `all`
    pub categories: Vec<String>,
    /// False for cluster-wide kinds.
    pub namespaced: bool,
}

impl Names {
    /// Group, version and kind.
    pub fn gvk(&self) -> (&str, &str, &str) {
        (&self.group, &self.version, &self.kind)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// The verbs of every stored kind, as discovery lists them.
pub const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// [`VERBS`] of a kind whose objects are deleted one by one.
const VERBS_ONE_BY_ONE: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];

/// What becomes of what an object owns when it goes (`DefaultGarbageCollectionPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// They go too.
    Deleted,
    /// They stay: so it was when the kind was new, and clients count on it.
    Orphaned,
    /// Objects of this kind own nothing, whatever a client asks for.
    None,
}

/// Adds a kind's JSON schema to the generator and refers to it.
pub type Documentation =
    Arc<dyn Fn(&mut schemars::SchemaGenerator) -> schemars::Schema + Send + Sync>;

/// What field selectors see of an object: (`spec.nodeName`, `node-1`).
pub type FieldValues = Vec<(Cow<'static, str>, String)>;

/// A registered kind.
pub struct Kind {
    /// How it is called.
    pub names: Names,
    /// Group and plural of the row that stores its objects, if that is another group's.
    pub stored_as: Option<(String, String)>,
    /// What hangs below it.
    pub subresources: Vec<Subresource>,
    /// The verbs that it answers, as discovery lists them.
    pub verbs: &'static [&'static str],
    /// True if PUT of an absent object creates it.
    pub create_on_update: bool,
    /// True if decisions about requests are made from its objects: a write is answered when the cache has it.
    pub decides: bool,
    /// True if PUT must name the version that it replaces.
    pub update_needs_version: bool,
    /// True if DELETE is answered with the object as it last was, and not with a Status.
    pub answers_deleted: bool,
    /// What becomes of what an object owns, where neither client nor object says so.
    pub dependents: Dependents,
    /// Its JSON schema, for OpenAPI.
    pub schema: Documentation,
    /// What is particular to it.
    pub rules: Box<dyn Rules>,
    /// What cannot be done with it for now.
    pub closed: Option<Closed>,
    /// For a custom kind, the store's key of its definition: without it nothing is created.
    pub guard: Option<String>,
}

/// Why something cannot be done with a kind, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// New objects.
    ToCreation(String),
    /// Anything.
    ToAll(String),
}

impl Kind {
    /// A row for the strategy `S`, named by its type.
    pub fn new<S>(strategy: S, singular: &str, namespaced: bool) -> Self
    where
        S: Strategy,
        S::Object: k8s_openapi::Resource + schemars::JsonSchema,
    {
        let rules = Typed {
            strategy,
            schema: Builtin(type_of::<S::Object>()),
            form: None,
        };
        Kind::of::<S::Object>(singular, namespaced, Box::new(rules))
    }

    /// A row that shows, in another version or group, the objects that the row of the
    /// type `V::Stored` stores. `strategy` is the stored type's; it may be stricter here.
    pub fn version<S, V>(strategy: S, version: V, singular: &str, namespaced: bool) -> Self
    where
        S: Strategy<Object = V::Stored>,
        V: Version,
        V::Object: k8s_openapi::Resource + schemars::JsonSchema,
        V::Stored: k8s_openapi::Resource,
    {
        use k8s_openapi::Resource;
        let schema = Builtin(type_of::<V::Object>());
        let rules = Typed {
            strategy,
            schema: Builtin(type_of::<V::Stored>()),
            form: Some(Box::new(TypedForm { version, schema })),
        };
        let mut kind = Kind::of::<V::Object>(singular, namespaced, Box::new(rules));
        let group = <V::Stored as Resource>::GROUP.to_owned();
        let plural = <V::Stored as Resource>::URL_PATH_SEGMENT.to_owned();
        kind.stored_as = Some((group, plural));
        kind
    }

    fn of<T>(singular: &str, namespaced: bool, rules: Box<dyn Rules>) -> Self
    where
        T: k8s_openapi::Resource + schemars::JsonSchema,
    {
        Kind {
            names: Names {
                group: T::GROUP.to_owned(),
                version: T::VERSION.to_owned(),
                kind: T::KIND.to_owned(),
                list_kind: format!("{}List", T::KIND),
                plural: T::URL_PATH_SEGMENT.to_owned(),
                singular: singular.to_owned(),
                short: Vec::new(),
                categories: Vec::new(),
                namespaced,
            },
            stored_as: None,
            subresources: Vec::new(),
            verbs: VERBS,
            create_on_update: false,
            decides: false,
            update_needs_version: false,
            answers_deleted: false,
            dependents: Dependents::Deleted,
            schema: Arc::new(|generator| generator.subschema_for::<T>()),
            closed: None,
            guard: None,
            rules,
        }
    }

    /// Group and plural that its objects are stored under: usually its own.
    pub fn stored_as(&self) -> (&str, &str) {
        match &self.stored_as {
            Some((group, plural)) => (group, plural),
            None => (&self.names.group, &self.names.plural),
        }
    }

    /// Its message in Kubernetes' protobuf; `None` for kinds that have none (custom resources).
    pub fn message(&self) -> Option<Message> {
        let names = &self.names;
        let of = types().lookup_gvk(&names.group, &names.version, &names.kind)?;
        Message::named(types().get(of).name())
    }

    /// With short names.
    #[must_use]
    pub fn short(mut self, names: &[&str]) -> Self {
        self.names.short = names.iter().map(|&n| n.to_owned()).collect();
        self
    }

    /// Listed by `kubectl get all`.
    #[must_use]
    pub fn in_all(mut self) -> Self {
        self.names.categories.push("all".to_owned());
        self
    }

    /// Listed by `kubectl get CATEGORY`.
    #[must_use]
    pub fn in_category(mut self, category: &str) -> Self {
        self.names.categories.push(category.to_owned());
        self
    }

    /// With subresources.
    #[must_use]
    pub fn with(mut self, subresources: &[Subresource]) -> Self {
        self.subresources = subresources.to_vec();
        self
    }

    /// Its objects are questions: created, answered, and not kept.
    #[must_use]
    pub fn asked(mut self) -> Self {
        self.verbs = &["create"];
        self
    }

    /// True if its objects are kept.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get")
    }

    /// Decisions about requests are made from its objects.
    #[must_use]
    pub fn decides(mut self) -> Self {
        self.decides = true;
        self
    }

    /// PUT must name the version that it replaces.
    #[must_use]
    pub fn update_needs_version(mut self) -> Self {
        self.update_needs_version = true;
        self
    }

    /// DELETE is answered with the object as it last was.
    #[must_use]
    pub fn answers_deleted(mut self) -> Self {
        self.answers_deleted = true;
        self
    }

    /// Objects are deleted one by one alone.
    #[must_use]
    pub fn one_by_one(mut self) -> Self {
        self.verbs = VERBS_ONE_BY_ONE;
        self
    }

    /// What becomes of what an object owns, where nobody says so.
    #[must_use]
    pub fn dependents(mut self, dependents: Dependents) -> Self {
        self.dependents = dependents;
        self
    }

    /// PUT of an absent object creates it.
    #[must_use]
    pub fn create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }
}

fn type_of<T: k8s_openapi::Resource>() -> Option<TypeId> {
    types().lookup_gvk(T::GROUP, T::VERSION, T::KIND)
}

/// A [`Strategy`] with its type forgotten; see there for what the methods mean.
#[allow(missing_docs)] // each mirrors the Strategy method of its name
pub trait Rules: Send + Sync {
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String>;
    /// Without `metadata.managedFields`, which typed objects do not carry ([`split`]).
    fn decode_stored(&self, json: &[u8]) -> serde_json::Result<BoxObject>;
    /// What server-side apply has to know about the type.
    fn type_schema(&self) -> &dyn euston_fields::Schema;
    /// The same about the type as clients see it, where that is another.
    fn shown_schema(&self) -> &dyn euston_fields::Schema {
        self.type_schema()
    }
    /// Where the replicas are that the scale subresource sets, as a path with dots.
    fn replicas_path(&self) -> &str {
        "spec.replicas"
    }
    fn name_rule(&self) -> NameRule;
    fn default(&self, object: &mut dyn AnyObject);
    fn prepare_for_create(&self, object: &mut dyn AnyObject);
    fn validate(&self, object: &dyn AnyObject) -> ErrorList;
    fn validate_create(&self, _object: &dyn AnyObject) -> ErrorList {
        ErrorList::new()
    }
    fn prepare_for_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject);
    fn validate_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList;
    /// Everything wrong with an update, the object by itself included.
    fn validate_step(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList {
        let mut errors = self.validate(new);
        errors.extend(self.validate_update(new, old));
        errors
    }
    fn prepare_for_status_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject);
    fn validate_status_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList;
    fn prepare_for_part_update(
        &self,
        _part: Subresource,
        _new: &mut dyn AnyObject,
        _old: &dyn AnyObject,
    ) {
    }
    fn validate_part_update(
        &self,
        _part: Subresource,
        _new: &dyn AnyObject,
        _old: &dyn AnyObject,
    ) -> ErrorList {
        ErrorList::new()
    }
    fn renamed(&self, _object: &mut dyn AnyObject, _before: &str) {}
    fn bumps_generation(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> bool;
    fn has_generation(&self) -> bool;
    fn warnings(&self, object: &dyn AnyObject) -> Vec<String>;
    fn fields(&self, object: &dyn AnyObject) -> FieldValues;
    fn field_labels(&self) -> Vec<&str>;
    fn grace_period_seconds(&self, object: &dyn AnyObject, asked: Option<i64>) -> Option<i64>;
    fn mark_terminating(&self, object: &mut dyn AnyObject);
    fn holds_deletion(&self, object: &dyn AnyObject) -> bool;
    fn columns(&self) -> Vec<ColumnOf<'_>>;
    fn row(&self, object: &dyn AnyObject, now: jiff::Timestamp) -> Vec<Value>;
    fn scale(&self, object: &dyn AnyObject) -> Option<Scale>;
    fn set_replicas(&self, object: &mut dyn AnyObject, replicas: i32);
    fn answer(&self, _object: &mut dyn AnyObject, _by: &User, _access: &Access) {}

    /// The bytes to store: the object in the version that its kind is stored in.
    ///
    /// # Errors
    /// As [`AnyObject::to_json`].
    fn encode(&self, object: &dyn AnyObject) -> serde_json::Result<Vec<u8>> {
        object.to_json()
    }

    /// What is served of stored bytes where it differs from them: another version, defaults
    /// that came after the write. Called once for each write and served version, by the caches'
    /// one writer: must be quick. Bytes that make no sense to it are served as they are.
    fn present(&self, _stored: &Bytes) -> Option<Bytes> {
        None
    }
}

struct Typed<S: Strategy> {
    strategy: S,
    /// The object's row in the table of types.
    schema: Builtin,
    /// How objects look here, if that is not as they are stored.
    form: Option<Box<dyn Form<S::Object>>>,
}

impl<S: Strategy> Typed<S> {
    fn of<'a>(&self, object: &'a dyn AnyObject) -> &'a S::Object {
        // A kind only ever meets objects that it decoded itself.
        object
            .as_any()
            .downcast_ref()
            .expect("an object meets its own kind's strategy")
    }

    fn of_mut<'a>(&self, object: &'a mut dyn AnyObject) -> &'a mut S::Object {
        object
            .as_any_mut()
            .downcast_mut()
            .expect("an object meets its own kind's strategy")
    }
}

impl<S: Strategy> Rules for Typed<S> {
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String> {
        if let Some(form) = &self.form {
            return form.decode(json);
        }
        let (object, findings) = decode::decode::<S::Object>(json, self.schema.0)?;
        Ok((Box::new(object), findings))
    }

    fn decode_stored(&self, json: &[u8]) -> serde_json::Result<BoxObject> {
        let lean = split(json).lean;
        match &self.form {
            Some(form) => form.decode_shown(&lean),
            None => Ok(Box::new(serde_json::from_slice::<S::Object>(&lean)?)),
        }
    }

    fn type_schema(&self) -> &dyn euston_fields::Schema {
        &self.schema
    }

    fn shown_schema(&self) -> &dyn euston_fields::Schema {
        match &self.form {
            Some(form) => form.schema(),
            None => &self.schema,
        }
    }

    fn present(&self, stored: &Bytes) -> Option<Bytes> {
        let parts = split(stored);
        let shown = self.form.as_ref()?.show(&parts.lean);
        if let Err(error) = &shown {
            tracing::error!(%error, "a stored object cannot be shown in another version");
        }
        Some(join(shown.ok()?, parts.owners).into())
    }

    fn name_rule(&self) -> NameRule {
        self.strategy.name_rule()
    }

    fn default(&self, object: &mut dyn AnyObject) {
        self.strategy.default(self.of_mut(object));
    }

    fn prepare_for_create(&self, object: &mut dyn AnyObject) {
        self.strategy.prepare_for_create(self.of_mut(object));
    }

    fn validate(&self, object: &dyn AnyObject) -> ErrorList {
        self.strategy.validate(self.of(object))
    }

    fn validate_create(&self, object: &dyn AnyObject) -> ErrorList {
        self.strategy.validate_create(self.of(object))
    }

    fn prepare_for_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        self.strategy
            .prepare_for_update(self.of_mut(new), self.of(old));
    }

    fn validate_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList {
        self.strategy.validate_update(self.of(new), self.of(old))
    }

    fn prepare_for_status_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        self.strategy
            .prepare_for_status_update(self.of_mut(new), self.of(old));
    }

    fn validate_status_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList {
        self.strategy
            .validate_status_update(self.of(new), self.of(old))
    }

    fn prepare_for_part_update(
        &self,
        part: Subresource,
        new: &mut dyn AnyObject,
        old: &dyn AnyObject,
    ) {
        self.strategy
            .prepare_for_part_update(part, self.of_mut(new), self.of(old));
    }

    fn validate_part_update(
        &self,
        part: Subresource,
        new: &dyn AnyObject,
        old: &dyn AnyObject,
    ) -> ErrorList {
        self.strategy
            .validate_part_update(part, self.of(new), self.of(old))
    }

    fn renamed(&self, object: &mut dyn AnyObject, before: &str) {
        self.strategy.renamed(self.of_mut(object), before);
    }

    fn bumps_generation(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> bool {
        self.strategy.bumps_generation(self.of(new), self.of(old))
    }

    fn has_generation(&self) -> bool {
        self.strategy.has_generation()
    }

    fn warnings(&self, object: &dyn AnyObject) -> Vec<String> {
        self.strategy.warnings(self.of(object))
    }

    fn fields(&self, object: &dyn AnyObject) -> FieldValues {
        let fields = self.strategy.fields(self.of(object)).into_iter();
        let renamed = self.form.as_ref().and_then(|f| f.field_labels());
        match renamed {
            None => fields.map(|(l, v)| (Cow::Borrowed(l), v)).collect(),
            Some(names) => fields
                .filter_map(|(label, value)| {
                    let (here, _) = names.iter().find(|(_, stored)| *stored == label)?;
                    Some((Cow::Borrowed(*here), value))
                })
                .collect(),
        }
    }

    fn field_labels(&self) -> Vec<&str> {
        match self.form.as_ref().and_then(|f| f.field_labels()) {
            Some(names) => names.iter().map(|(here, _)| *here).collect(),
            None => self.strategy.field_labels().to_vec(),
        }
    }

    fn grace_period_seconds(&self, object: &dyn AnyObject, asked: Option<i64>) -> Option<i64> {
        self.strategy.grace_period_seconds(self.of(object), asked)
    }

    fn mark_terminating(&self, object: &mut dyn AnyObject) {
        self.strategy.mark_terminating(self.of_mut(object));
    }

    fn holds_deletion(&self, object: &dyn AnyObject) -> bool {
        self.strategy.holds_deletion(self.of(object))
    }

    fn columns(&self) -> Vec<ColumnOf<'_>> {
        self.strategy.columns().to_vec()
    }

    fn row(&self, object: &dyn AnyObject, now: jiff::Timestamp) -> Vec<Value> {
        self.strategy.row(self.of(object), now)
    }

    fn scale(&self, object: &dyn AnyObject) -> Option<Scale> {
        self.strategy.scale(self.of(object))
    }

    fn set_replicas(&self, object: &mut dyn AnyObject, replicas: i32) {
        self.strategy.set_replicas(self.of_mut(object), replicas);
    }

    fn answer(&self, object: &mut dyn AnyObject, by: &User, access: &Access) {
        self.strategy.answer(self.of_mut(object), by, access);
    }
}
