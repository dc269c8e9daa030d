//! DefaultStorageClass and DefaultIngressClass: the class of what names none. Follows
//! <https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass> and
//! <https://kubernetes.io/docs/concepts/services-networking/ingress/#default-ingress-class>.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::api::storage::v1::StorageClass;

use super::plugin::{Lookup, Plugin, Request, newest_default};
use crate::error::Result;
use crate::kinds::{networking, storage};
use crate::registry::object::AnyObject;

/// The storage class of claims that name none.
pub struct DefaultStorageClass {
    /// The classes.
    pub classes: Lookup<StorageClass>,
}

impl Plugin for DefaultStorageClass {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        if let Some(claim) = object.as_any_mut().downcast_mut::<PersistentVolumeClaim>()
            && request.creates()
            && !storage::names_a_class(claim)
            && let Some(class) = newest_default(self.classes.all(), storage::is_default_class)
        {
            let spec = claim.spec.get_or_insert_default();
            spec.storage_class_name = class.metadata.name;
        }
        Ok(())
    }
}

/// The class of Ingresses that name none.
pub struct DefaultIngressClass {
    /// The classes.
    pub classes: Lookup<IngressClass>,
}

impl Plugin for DefaultIngressClass {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        if let Some(ingress) = object.as_any_mut().downcast_mut::<Ingress>()
            && request.creates()
            && !networking::names_a_class(ingress)
            && let Some(class) = newest_default(self.classes.all(), networking::is_default_class)
        {
            let spec = ingress.spec.get_or_insert_default();
            spec.ingress_class_name = class.metadata.name;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{admitted, lookup};
    use super::*;
    use serde_json::{Value, json};

    fn class(name: &str, created: &str, annotation: &str) -> Value {
        json!({
            "metadata": {"name": name, "creationTimestamp": created, "annotations": {(annotation): "true"}},
            "provisioner": "p", "spec": {"controller": "a/b"},
        })
    }

    #[test]
    fn a_claim_gets_the_youngest_default() {
        let mark = "storageclass.kubernetes.io/is-default-class";
        let classes = [
            class("old", "2026-01-01T00:00:00Z", mark),
            class("new-b", "2026-02-01T00:00:00Z", mark),
            class("new-a", "2026-02-01T00:00:00Z", mark),
            class("other", "2026-03-01T00:00:00Z", "x"),
        ];
        let check = |classes: &[Value], claim: Value, expected: Value| {
            let plugin = DefaultStorageClass {
                classes: lookup("storage.k8s.io", "storageclasses", classes),
            };
            let made =
                admitted::<PersistentVolumeClaim>(&plugin, "", "persistentvolumeclaims", &claim);
            assert_eq!(
                made.unwrap()["spec"]["storageClassName"],
                expected,
                "{claim}"
            );
        };
        check(&classes, json!({"spec": {}}), json!("new-a"));
        check(&classes[..1], json!({"spec": {}}), json!("old"));
        check(&classes[3..], json!({"spec": {}}), Value::Null);
        check(
            &classes,
            json!({"spec": {"storageClassName": ""}}),
            json!(""),
        );
        check(
            &classes,
            json!({"spec": {"storageClassName": "mine"}}),
            json!("mine"),
        );
        let beta = json!({"volume.beta.kubernetes.io/storage-class": "mine"});
        check(
            &classes,
            json!({"metadata": {"annotations": beta}, "spec": {}}),
            Value::Null,
        );
    }

    #[test]
    fn an_ingress_gets_the_default_class() {
        let mark = "ingressclass.kubernetes.io/is-default-class";
        let classes = [class("main", "2026-01-01T00:00:00Z", mark)];
        let check = |ingress: Value, expected: Value| {
            let plugin = DefaultIngressClass {
                classes: lookup("networking.k8s.io", "ingressclasses", &classes),
            };
            let made = admitted::<Ingress>(&plugin, "networking.k8s.io", "ingresses", &ingress);
            assert_eq!(
                made.unwrap()["spec"]["ingressClassName"],
                expected,
                "{ingress}"
            );
        };
        check(json!({"spec": {}}), json!("main"));
        check(json!({"spec": {"ingressClassName": "mine"}}), json!("mine"));
        let old = json!({"kubernetes.io/ingress.class": "mine"});
        check(
            json!({"metadata": {"annotations": old}, "spec": {}}),
            Value::Null,
        );
    }
}
