//! The table of kinds: what is served now.
//!
//! Built-in kinds are there from the first moment and stay; custom kinds come and go while
//! requests are answered. A reader takes the table as it is and works on that: no locks, and
//! a row that was taken away meanwhile is still whole for whoever holds it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::Resource;
use super::kind::{Dependents, Kind, ProxyTo, Subresource};
use crate::kinds;
use crate::storage::ResourceCache;

/// The kinds that this server was built with.
pub fn builtin() -> Vec<Kind> {
    use Subresource::{
        Attach, Binding, EphemeralContainers, Eviction, Exec, Finalize, Log, PortForward, Proxy,
        Resize, Scale, Status, Token,
    };
    let mut rows = vec![
        Kind::new(kinds::namespace::NamespaceStrategy, "namespace", false)
            .short(&["ns"])
            .one_by_one()
            .with(&[Status, Finalize]),
        Kind::new(kinds::node::NodeStrategy, "node", false)
            .short(&["no"])
            .with(&[Status, Proxy(ProxyTo::Node)]),
        Kind::new(kinds::pod::PodStrategy, "pod", true)
            .short(&["po"])
            .in_all()
            .answers_deleted()
            .with(&[
                Status,
                Binding,
                Log,
                Eviction,
                EphemeralContainers,
                Resize,
                Exec,
                Attach,
                PortForward,
                Proxy(ProxyTo::Pod),
            ]),
        Kind::new(kinds::config_map::ConfigMapStrategy, "configmap", true).short(&["cm"]),
        Kind::new(kinds::secret::SecretStrategy, "secret", true).decides(),
        Kind::new(kinds::service::ServiceStrategy, "service", true)
            .short(&["svc"])
            .in_all()
            .create_on_update()
            .answers_deleted()
            .with(&[Status, Proxy(ProxyTo::Service)]),
        Kind::new(
            kinds::service_account::ServiceAccountStrategy,
            "serviceaccount",
            true,
        )
        .short(&["sa"])
        .with(&[Token])
        .decides()
        .update_needs_version()
        .answers_deleted(),
        Kind::new(kinds::lease::LeaseStrategy, "lease", true)
            .create_on_update()
            .update_needs_version(),
        Kind::new(
            kinds::endpoint_slice::EndpointSliceStrategy,
            "endpointslice",
            true,
        ),
        Kind::new(
            kinds::replication_controller::ReplicationControllerStrategy,
            "replicationcontroller",
            true,
        )
        .short(&["rc"])
        .in_all()
        .dependents(Dependents::Orphaned)
        .with(&[Status, Scale]),
        Kind::new(
            kinds::pod_template::PodTemplateStrategy,
            "podtemplate",
            true,
        ),
        Kind::new(
            kinds::custom_resource_definition::CustomResourceDefinitionStrategy,
            "customresourcedefinition",
            false,
        )
        .short(&["crd", "crds"])
        .in_category("api-extensions")
        .update_needs_version()
        .with(&[Status]),
    ];
    // Groups that bring their own rows.
    let groups = [
        kinds::admissionregistration::rows,
        kinds::api_service::rows,
        kinds::apps::rows,
        kinds::autoscaling::rows,
        kinds::batch::rows,
        kinds::certificates::rows,
        kinds::event::rows,
        kinds::flowcontrol::rows,
        kinds::limits::rows,
        kinds::networking::rows,
        kinds::policy::rows,
        kinds::priority_class::rows,
        kinds::rbac::rows,
        kinds::resource::rows,
        kinds::reviews::rows,
        kinds::runtime_class::rows,
        kinds::storage::rows,
        kinds::storage_version_migration::rows,
    ];
    rows.extend(groups.into_iter().flat_map(|rows| rows()));
    rows
}

/// A served kind and its objects.
#[derive(Clone)]
pub struct Row {
    /// The kind.
    pub kind: Arc<Kind>,
    /// Its objects.
    pub cache: Arc<ResourceCache>,
}

impl Row {
    fn new(cache: Arc<ResourceCache>) -> Self {
        Row {
            kind: cache.kind().clone(),
            cache,
        }
    }

    /// What the verbs work on.
    pub fn resource(&self) -> Resource<'_> {
        Resource {
            kind: &self.kind,
            cache: &self.cache,
            by: None,
        }
    }
}

/// The table at one moment.
pub struct Rows {
    rows: Vec<Row>,
    by_path: HashMap<String, usize>,
    generation: u64,
}

impl Rows {
    fn new(rows: Vec<Row>, generation: u64) -> Self {
        let path = |kind: &Kind| {
            let n = &kind.names;
            path(&n.group, &n.version, &n.plural)
        };
        // Of two rows for one path the first, which is the built-in one, is served.
        let by_path = (rows.iter().enumerate().rev())
            .map(|(i, row)| (path(&row.kind), i))
            .collect();
        Rows {
            rows,
            by_path,
            generation,
        }
    }

    /// Every row: the built-in ones in the order of registration, then the others.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// Every kind, in the same order.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.rows.iter().map(|row| &row.kind)
    }

    /// Which state of the table this is: another number, another state.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The row of a resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Row> {
        self.rows
            .get(*self.by_path.get(&path(group, version, plural))?)
    }
}

fn path(group: &str, version: &str, plural: &str) -> String {
    format!("{group}/{version}/{plural}")
}

/// The table: read without locks, changed rarely.
pub struct Table {
    rows: ArcSwap<Rows>,
    /// Held while a change is made of what was there.
    changing: Mutex<()>,
}

impl Table {
    /// A table of the kinds in these caches.
    pub fn new(caches: Vec<Arc<ResourceCache>>) -> Self {
        let rows = caches.into_iter().map(Row::new).collect();
        Table {
            rows: ArcSwap::from_pointee(Rows::new(rows, 0)),
            changing: Mutex::new(()),
        }
    }

    /// The table as it is now. Cheap; for the length of a request.
    pub fn now(&self) -> Guard<Arc<Rows>> {
        self.rows.load()
    }

    /// The row of a resource, as of now.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Row> {
        self.now().find(group, version, plural).cloned()
    }

    /// The first row of a core or other kind by its group and plural, in whatever version.
    pub fn row_of(&self, group: &str, plural: &str) -> Option<Row> {
        let rows = self.now();
        let mut found = rows.iter().filter(|row| {
            let names = &row.kind.names;
            names.group == group && names.plural == plural
        });
        found.next().cloned()
    }

    /// Takes rows away and puts others in, in one step. Their caches are the caller's to
    /// attach before and to detach after.
    pub fn change(&self, gone: &[Arc<ResourceCache>], new: &[Arc<ResourceCache>]) {
        let _alone = self.changing.lock();
        let old = self.rows.load();
        let is_gone = |row: &&Row| gone.iter().any(|g| Arc::ptr_eq(g, &row.cache));
        let kept = old.iter().filter(|row| !is_gone(row)).cloned();
        let added = new.iter().cloned().map(Row::new);
        let rows = Rows::new(kept.chain(added).collect(), old.generation + 1);
        self.rows.store(Arc::new(rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches(count: usize) -> Vec<Arc<ResourceCache>> {
        let kinds = builtin().into_iter().take(count);
        kinds
            .map(|kind| Arc::new(ResourceCache::new(Arc::new(kind))))
            .collect()
    }

    fn plurals(table: &Table) -> String {
        let rows = table.now();
        let plurals: Vec<&str> = rows.kinds().map(|k| k.names.plural.as_str()).collect();
        plurals.join(" ")
    }

    #[test]
    fn rows_come_and_go_while_a_reader_keeps_what_it_took() {
        let caches = caches(3);
        let table = Table::new(caches[..2].to_vec());
        assert_eq!(plurals(&table), "namespaces nodes");
        let before = table.now();
        let nodes = table.find("", "v1", "nodes").unwrap();
        assert!(table.find("", "v1", "pods").is_none());
        table.change(&caches[1..2], &caches[2..]);
        assert_eq!(plurals(&table), "namespaces pods");
        assert!(table.find("", "v1", "nodes").is_none());
        assert!(table.row_of("", "pods").is_some());
        assert_eq!(before.iter().count(), 2);
        assert_eq!(nodes.kind.names.kind, "Node");
        assert_eq!(table.now().generation(), before.generation() + 1);
    }

    #[test]
    fn the_first_row_of_a_path_is_the_one_that_is_served() {
        let caches: Vec<_> = caches(1).into_iter().chain(self::caches(1)).collect();
        let table = Table::new(caches.clone());
        let found = table.find("", "v1", "namespaces").unwrap();
        assert!(Arc::ptr_eq(&found.cache, &caches[0]));
    }
}
