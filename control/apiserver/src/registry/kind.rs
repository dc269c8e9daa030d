//! A row of the table of kinds: names, scope, subresources, rules.

use euston_api::field::ErrorList;
use euston_api::names::NameRule;
use euston_protobuf::Message;
use serde_json::Value;

use super::decode::{self, Findings};
use super::object::{AnyObject, BoxObject};
use super::options::Propagation;
use super::strategy::{Column, Fields, Scale, Strategy};
use super::version::{Form, TypedForm, Version};
use crate::error::{ApiError, Result as ApiResult};
use crate::schema::{TypeId, types};
use crate::storage::Entry;

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
    /// `eviction`: a deletion that budgets may refuse.
    Eviction,
    /// `ephemeralcontainers`: containers added to a running pod.
    EphemeralContainers,
    /// `resize`: the resources of a running pod.
    Resize,
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
            | Subresource::EphemeralContainers
            | Subresource::Resize => &["get", "patch", "update"],
            Subresource::Binding | Subresource::Eviction => &["create"],
            Subresource::Log => &["get"],
            Subresource::Finalize => &["update"],
        }
    }

    /// Group, version and kind of its body where that is not the object's own.
    pub fn foreign_kind(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Subresource::Scale => Some(("autoscaling", "v1", "Scale")),
            Subresource::Binding => Some(("", "v1", "Binding")),
            Subresource::Eviction => Some(("policy", "v1", "Eviction")),
            _ => None,
        }
    }

    /// True if it is the object itself, of which a client may write a part only.
    pub fn is_part(self) -> bool {
        matches!(
            self,
            Subresource::Status | Subresource::EphemeralContainers | Subresource::Resize
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

/// A registered kind.
pub struct Kind {
    /// How it is called.
    pub names: Names,
    /// What hangs below it.
    pub subresources: Vec<Subresource>,
    /// True if PUT of an absent object creates it.
    pub create_on_update: bool,
    /// Its JSON schema, for OpenAPI.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
    /// What is particular to it.
    pub rules: Box<dyn Rules>,
    /// How its objects look, if another row stores them.
    pub form: Option<Served>,
}

/// What a row is that shows the objects of another one.
pub struct Served {
    /// Group and plural of the row that stores them.
    pub stored_as: (String, String),
    /// How they look here.
    pub form: Box<dyn Form>,
}

impl Kind {
    /// A row for the strategy `S`, named by its type.
    pub fn new<S>(strategy: S, singular: &str, namespaced: bool) -> Self
    where
        S: Strategy,
        S::Object: k8s_openapi::Resource + schemars::JsonSchema,
    {
        Kind {
            names: names_of::<S::Object>(singular, namespaced),
            subresources: Vec::new(),
            create_on_update: false,
            schema: |generator| generator.subschema_for::<S::Object>(),
            rules: Box::new(Typed {
                strategy,
                schema: type_of::<S::Object>(),
            }),
            form: None,
        }
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
        Kind {
            names: names_of::<V::Object>(singular, namespaced),
            subresources: Vec::new(),
            create_on_update: false,
            schema: |generator| generator.subschema_for::<V::Object>(),
            rules: Box::new(Typed {
                strategy,
                schema: type_of::<V::Stored>(),
            }),
            form: Some(Served {
                stored_as: (
                    <V::Stored as Resource>::GROUP.to_owned(),
                    <V::Stored as Resource>::URL_PATH_SEGMENT.to_owned(),
                ),
                form: Box::new(TypedForm {
                    version,
                    schema: type_of::<V::Object>(),
                }),
            }),
        }
    }

    /// Group and plural of the row that stores its objects: usually its own.
    pub fn stored_as(&self) -> (&str, &str) {
        match &self.form {
            Some(served) => (&served.stored_as.0, &served.stored_as.1),
            None => (&self.names.group, &self.names.plural),
        }
    }

    /// Decodes what a client sent; the object is of the stored type.
    ///
    /// # Errors
    /// As [`decode::decode`].
    pub fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String> {
        match &self.form {
            Some(served) => served.form.decode(json),
            None => self.rules.decode(json),
        }
    }

    /// Appends a stored object as clients of this row see it, `resourceVersion` included.
    ///
    /// # Errors
    /// 500 if the stored object is broken.
    pub fn write_json(&self, entry: &Entry, out: &mut Vec<u8>) -> ApiResult<()> {
        let Some(served) = &self.form else {
            entry.write_json(out);
            return Ok(());
        };
        let shown = served.form.show(&entry.value).map_err(ApiError::internal)?;
        Entry::new(entry.key.clone(), entry.revision, shown.into()).write_json(out);
        Ok(())
    }

    /// A stored object as clients of this row see it.
    ///
    /// # Errors
    /// As [`write_json`](Self::write_json).
    pub fn json(&self, entry: &Entry) -> ApiResult<Vec<u8>> {
        let mut out = Vec::new();
        self.write_json(entry, &mut out)?;
        Ok(out)
    }

    /// What the rules call a field that clients of this row select by; `None` for one
    /// that they cannot.
    pub fn field_label<'a>(&'a self, label: &'a str) -> Option<&'a str> {
        if matches!(label, "metadata.name" | "metadata.namespace") {
            return Some(label);
        }
        let own = self.form.as_ref().and_then(|s| s.form.field_labels());
        match own {
            Some(labels) => labels
                .iter()
                .find(|(here, _)| *here == label)
                .map(|(_, stored)| *stored),
            None => self.rules.field_labels().contains(&label).then_some(label),
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

    /// With subresources.
    #[must_use]
    pub fn with(mut self, subresources: &[Subresource]) -> Self {
        self.subresources = subresources.to_vec();
        self
    }

    /// PUT of an absent object creates it.
    #[must_use]
    pub fn create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }
}

fn names_of<T: k8s_openapi::Resource>(singular: &str, namespaced: bool) -> Names {
    Names {
        group: T::GROUP.to_owned(),
        version: T::VERSION.to_owned(),
        kind: T::KIND.to_owned(),
        plural: T::URL_PATH_SEGMENT.to_owned(),
        singular: singular.to_owned(),
        short: Vec::new(),
        categories: Vec::new(),
        namespaced,
    }
}

fn type_of<T: k8s_openapi::Resource>() -> Option<TypeId> {
    types().lookup_gvk(T::GROUP, T::VERSION, T::KIND)
}

/// A [`Strategy`] with its type forgotten; see there for what the methods mean.
#[allow(missing_docs)] // each mirrors the Strategy method of its name
pub trait Rules: Send + Sync {
    fn decode(&self, json: &[u8]) -> Result<(BoxObject, Findings), String>;
    fn decode_stored(&self, json: &[u8]) -> serde_json::Result<BoxObject>;
    fn name_rule(&self) -> NameRule;
    fn default(&self, object: &mut dyn AnyObject);
    fn prepare_for_create(&self, object: &mut dyn AnyObject);
    fn validate(&self, object: &dyn AnyObject) -> ErrorList;
    fn validate_create(&self, object: &dyn AnyObject) -> ErrorList;
    fn prepare_for_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject);
    fn validate_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList;
    fn prepare_for_status_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject);
    fn validate_status_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> ErrorList;
    fn prepare_for_part_update(
        &self,
        part: Subresource,
        new: &mut dyn AnyObject,
        old: &dyn AnyObject,
    );
    fn validate_part_update(
        &self,
        part: Subresource,
        new: &dyn AnyObject,
        old: &dyn AnyObject,
    ) -> ErrorList;
    fn renamed(&self, object: &mut dyn AnyObject, before: &str);
    fn default_propagation(&self) -> Option<Propagation>;
    fn bumps_generation(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> bool;
    fn has_generation(&self) -> bool;
    fn warnings(&self, object: &dyn AnyObject) -> Vec<String>;
    fn fields(&self, object: &dyn AnyObject) -> Fields;
    fn field_labels(&self) -> &'static [&'static str];
    fn grace_period_seconds(&self, object: &dyn AnyObject, asked: Option<i64>) -> Option<i64>;
    fn mark_terminating(&self, object: &mut dyn AnyObject);
    fn holds_deletion(&self, object: &dyn AnyObject) -> bool;
    fn columns(&self) -> &'static [Column];
    fn row(&self, object: &dyn AnyObject, now: jiff::Timestamp) -> Vec<Value>;
    fn scale(&self, object: &dyn AnyObject) -> Option<Scale>;
    fn set_replicas(&self, object: &mut dyn AnyObject, replicas: i32);
}

struct Typed<S> {
    strategy: S,
    /// The object's row in the table of types.
    schema: Option<TypeId>,
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
        let (object, findings) = decode::decode::<S::Object>(json, self.schema)?;
        Ok((Box::new(object), findings))
    }

    fn decode_stored(&self, json: &[u8]) -> serde_json::Result<BoxObject> {
        Ok(Box::new(serde_json::from_slice::<S::Object>(json)?))
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

    fn default_propagation(&self) -> Option<Propagation> {
        self.strategy.default_propagation()
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

    fn fields(&self, object: &dyn AnyObject) -> Fields {
        self.strategy.fields(self.of(object))
    }

    fn field_labels(&self) -> &'static [&'static str] {
        self.strategy.field_labels()
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

    fn columns(&self) -> &'static [Column] {
        self.strategy.columns()
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
}
