//! Security contexts. A sandbox has no users, groups or capabilities, so most of this
//! changes nothing; what cannot be meant is refused as Kubernetes does.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, SecurityContext};

use super::{none_or_one_of, one_of, text};

pub(super) fn validate_pod(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        errors.invalid(
            path.child("securityContext").child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    let Some(context) = &spec.security_context else {
        return;
    };
    let path = path.child("securityContext");
    let ids = [
        ("fsGroup", context.fs_group),
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
    ];
    for (field, id) in ids {
        validate_id(id, &path.child(field), errors);
    }
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        validate_id(
            Some(*group),
            &path.child("supplementalGroups").index(index),
            errors,
        );
    }
    none_or_one_of(
        context.fs_group_change_policy.as_deref(),
        &["OnRootMismatch", "Always"],
        path.child("fsGroupChangePolicy"),
        errors,
    );
    none_or_one_of(
        context.supplemental_groups_policy.as_deref(),
        &["Merge", "Strict"],
        path.child("supplementalGroupsPolicy"),
        errors,
    );
    let mut seen = BTreeSet::new();
    for (index, sysctl) in context.sysctls.iter().flatten().enumerate() {
        let path = path.child("sysctls").index(index).child("name");
        if sysctl.name.is_empty() {
            errors.required(path, "");
        } else if !seen.insert(&sysctl.name) {
            errors.duplicate(path, &sysctl.name);
        }
    }
    if let Some(profile) = &context.seccomp_profile {
        validate_seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        validate_app_armor(profile, &path.child("appArmorProfile"), errors);
    }
}

pub(super) fn validate_container(context: &SecurityContext, path: &Path, errors: &mut ErrorList) {
    validate_id(context.run_as_user, &path.child("runAsUser"), errors);
    validate_id(context.run_as_group, &path.child("runAsGroup"), errors);
    none_or_one_of(
        context.proc_mount.as_deref(),
        &["Default", "Unmasked"],
        path.child("procMount"),
        errors,
    );
    if let Some(profile) = &context.seccomp_profile {
        validate_seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        validate_app_armor(profile, &path.child("appArmorProfile"), errors);
    }
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            errors.invalid(
                path.clone(),
                context,
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = context
            .capabilities
            .iter()
            .flat_map(|c| c.add.iter().flatten());
        if added
            .into_iter()
            .any(|capability| capability == "CAP_SYS_ADMIN")
        {
            errors.invalid(
                path.clone(),
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}

/// A user or group of Linux.
fn validate_id(id: Option<i64>, path: &Path, errors: &mut ErrorList) {
    if let Some(id) = id
        && !(0..=i64::from(i32::MAX)).contains(&id)
    {
        let rule = format!("must be between 0 and {}, inclusive", i32::MAX);
        errors.invalid(path.clone(), id, rule);
    }
}

fn validate_seccomp(profile: &SeccompProfile, path: &Path, errors: &mut ErrorList) {
    let known = ["Localhost", "RuntimeDefault", "Unconfined"];
    one_of(Some(&profile.type_), &known, path.child("type"), errors);
    let here = path.child("localhostProfile");
    validate_local_profile(
        &profile.type_,
        profile.localhost_profile.as_ref(),
        here,
        errors,
    );
}

fn validate_app_armor(profile: &AppArmorProfile, path: &Path, errors: &mut ErrorList) {
    let known = ["Localhost", "RuntimeDefault", "Unconfined"];
    one_of(Some(&profile.type_), &known, path.child("type"), errors);
    let here = path.child("localhostProfile");
    validate_local_profile(
        &profile.type_,
        profile.localhost_profile.as_ref(),
        here,
        errors,
    );
}

fn validate_local_profile(
    kind: &str,
    profile: Option<&String>,
    path: Path,
    errors: &mut ErrorList,
) {
    let profile = profile.cloned();
    match (kind, text(&profile)) {
        ("Localhost", None) => {
            errors.required(path, "must be set when type is Localhost");
        }
        (kind, Some(profile)) if kind != "Localhost" => {
            errors.invalid(path, profile, "can only be set when type is Localhost");
        }
        _ => {}
    }
}
