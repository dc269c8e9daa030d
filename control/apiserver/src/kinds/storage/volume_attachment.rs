//! VolumeAttachment: a volume that is to be, or is, at a node.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentStatus,
};
use serde_json::Value;

use super::validate_driver_name;
use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

/// The rules of VolumeAttachments.
pub struct VolumeAttachmentStrategy;

impl Strategy for VolumeAttachmentStrategy {
    type Object = VolumeAttachment;

    fn prepare_for_create(&self, attachment: &mut VolumeAttachment) {
        attachment.status = Some(VolumeAttachmentStatus::default());
    }

    fn validate(&self, attachment: &VolumeAttachment) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&attachment.spec, Path::new("spec"));
        validate_driver_name(&spec.attacher, &path.child("attacher"), &mut errors);
        validate_source(&spec.source, &path.child("source"), &mut errors);
        let node = &spec.node_name;
        let path = path.child("nodeName");
        errors.invalid_each(&path, node, names::dns1123_subdomain(node));
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &VolumeAttachment, old: &VolumeAttachment) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(Path::new("spec"), &new.spec, &old.spec);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Attacher", "The driver that attaches it."),
            Column::string("PV", "The volume."),
            Column::string("Node", "The node."),
            Column {
                kind: "boolean",
                ..Column::string("Attached", "True if it is there.")
            },
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, attachment: &VolumeAttachment, now: Timestamp) -> Vec<Value> {
        let spec = &attachment.spec;
        let volume = spec.source.persistent_volume_name.as_deref();
        vec![
            cells::name(&attachment.metadata),
            spec.attacher.as_str().into(),
            volume.unwrap_or_default().into(),
            spec.node_name.as_str().into(),
            attachment
                .status
                .as_ref()
                .is_some_and(|s| s.attached)
                .into(),
            cells::age(&attachment.metadata, now),
        ]
    }
}

fn validate_source(source: &VolumeAttachmentSource, path: &Path, errors: &mut ErrorList) {
    let rule = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&source.inline_volume_spec, &source.persistent_volume_name) {
        (None, None) => errors.required(path.clone(), rule),
        (Some(_), Some(_)) => errors.forbidden(path.clone(), rule),
        (None, Some(name)) => {
            let path = path.child("persistentVolumeName");
            if name.is_empty() {
                errors.required(path, "must specify non empty persistentVolumeName");
            } else {
                errors.invalid_each(&path, name, names::dns1123_subdomain(name));
            }
        }
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, merged};
    use serde_json::json;

    fn attachment(spec: Value) -> Value {
        let base = json!({"metadata": {"name": "a"}, "spec": {
            "attacher": "disk.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"},
        }});
        merged(&base, &json!({"spec": spec}))
    }

    #[test]
    fn one_volume_at_one_node() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&VolumeAttachmentStrategy, &attachment(spec), expected);
        };
        check(json!({}), &[]);
        check(
            json!({"attacher": "", "nodeName": "", "source": {"persistentVolumeName": null}}),
            &[
                "spec.attacher: Required value",
                "spec.attacher: Invalid value: \"\": a lowercase",
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                "spec.nodeName: Invalid value: \"\": a lowercase",
            ],
        );
        check(
            json!({"source": {"persistentVolumeName": ""}}),
            &[
                "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
            ],
        );
        check(
            json!({"source": {"inlineVolumeSpec": {"capacity": {"storage": "1"}}}}),
            &["spec.source: Forbidden: must specify exactly one of"],
        );
        check_update(
            &VolumeAttachmentStrategy,
            &attachment(json!({})),
            &attachment(json!({"nodeName": "m"})),
            &["spec: Invalid value: {"],
        );
        let row = [
            ("Attacher", "disk.example.com"),
            ("PV", "pv"),
            ("Node", "n"),
            ("Attached", "false"),
        ];
        check_row(&VolumeAttachmentStrategy, &attachment(json!({})), 0, &row);
    }
}
