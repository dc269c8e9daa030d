//! What a claim asks of devices. Follows `validateDeviceClaim` of `pkg/apis/resource/validation`.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceTaint, DeviceToleration,
    OpaqueDeviceConfiguration, ResourceClaimSpec,
};

use crate::kinds::pod_spec::{one_of, required_name, text};

const EXACT_COUNT: &str = "ExactCount";
const MODES: [&str; 2] = ["All", EXACT_COUNT];
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
const OPERATORS: [&str; 2] = ["Equal", "Exists"];
/// Entries of a claim's lists; Kubernetes' bounds.
const REQUESTS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const FIRST_AVAILABLE_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;
const EXPRESSION_BYTES_MAX: usize = 10 << 10;
const DRIVER_BYTES_MAX: usize = 63;

pub(super) fn default_claim(spec: &mut ResourceClaimSpec) {
    let Some(devices) = &mut spec.devices else {
        return;
    };
    for request in devices.requests.iter_mut().flatten() {
        if let Some(exactly) = &mut request.exactly {
            let mode = (&mut exactly.allocation_mode, &mut exactly.count);
            default_request(mode, exactly.tolerations.as_deref_mut());
        }
        for sub in request.first_available.iter_mut().flatten() {
            let mode = (&mut sub.allocation_mode, &mut sub.count);
            default_request(mode, sub.tolerations.as_deref_mut());
        }
    }
}

fn default_request(
    (mode, count): (&mut Option<String>, &mut Option<i64>),
    tolerations: Option<&mut [DeviceToleration]>,
) {
    let mode = mode.get_or_insert_with(|| EXACT_COUNT.to_owned());
    if mode == EXACT_COUNT && count.unwrap_or_default() == 0 {
        *count = Some(1);
    }
    for toleration in tolerations.into_iter().flatten() {
        toleration
            .operator
            .get_or_insert_with(|| OPERATORS[0].to_owned());
    }
}

pub(super) fn validate_claim(spec: &ResourceClaimSpec, path: &Path, errors: &mut ErrorList) {
    if let Some(devices) = &spec.devices {
        validate_devices(devices, &path.child("devices"), errors);
    }
}

fn validate_devices(devices: &DeviceClaim, path: &Path, errors: &mut ErrorList) {
    let requests = devices.requests.as_deref().unwrap_or_default();
    let mut names = BTreeSet::new();
    bounded(requests.len(), REQUESTS_MAX, path.child("requests"), errors);
    for (index, request) in requests.iter().enumerate() {
        let path = path.child("requests").index(index);
        if validate_name(&request.name, &path, errors) && !names.insert(request.name.clone()) {
            errors.duplicate(path.child("name"), &request.name);
        }
        names.extend(validate_request(request, &path, errors));
    }
    let constraints = devices.constraints.as_deref().unwrap_or_default();
    let here = path.child("constraints");
    bounded(constraints.len(), CONSTRAINTS_MAX, here.clone(), errors);
    for (index, constraint) in constraints.iter().enumerate() {
        validate_constraint(constraint, &names, &here.index(index), errors);
    }
    for (index, config) in devices.config.iter().flatten().enumerate() {
        let path = path.child("config").index(index);
        validate_known(config.requests.as_deref(), &names, &path, errors);
        validate_config(config.opaque.as_ref(), &path, errors);
    }
}

fn bounded(count: usize, max: usize, path: Path, errors: &mut ErrorList) {
    if count > max {
        errors.too_many(path, count, max);
    }
}

/// True if the name is a good one.
fn validate_name(name: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    required_name(name, names::dns1123_label, path.child("name"), errors);
    errors.len() == before
}

/// The names of the alternatives, as constraints refer to them.
fn validate_request(request: &DeviceRequest, path: &Path, errors: &mut ErrorList) -> Vec<String> {
    let alternatives = request.first_available.as_deref().unwrap_or_default();
    match (&request.exactly, alternatives) {
        (None, []) => {
            let rule = "exactly one of `exactly` or `firstAvailable` is required";
            errors.required(path.clone(), rule);
        }
        (Some(_), [_, ..]) => {
            let rule = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(path.clone(), request, rule);
        }
        _ => {}
    }
    if let Some(exactly) = &request.exactly {
        let path = path.child("exactly");
        validate_class(&exactly.device_class_name, &path, errors);
        validate_selectors(exactly.selectors.as_deref(), &path, errors);
        let mode = exactly.allocation_mode.as_deref();
        validate_mode(mode, exactly.count, &path, errors);
        validate_tolerations(exactly.tolerations.as_deref(), &path, errors);
    }
    let here = path.child("firstAvailable");
    bounded(
        alternatives.len(),
        FIRST_AVAILABLE_MAX,
        here.clone(),
        errors,
    );
    let mut names: Vec<String> = Vec::new();
    for (index, sub) in alternatives.iter().enumerate() {
        let path = here.index(index);
        let full = format!("{}/{}", request.name, sub.name);
        if validate_name(&sub.name, &path, errors) && names.contains(&full) {
            errors.duplicate(path.child("name"), &sub.name);
        }
        names.push(full);
        validate_class(&sub.device_class_name, &path, errors);
        validate_selectors(sub.selectors.as_deref(), &path, errors);
        validate_mode(sub.allocation_mode.as_deref(), sub.count, &path, errors);
        validate_tolerations(sub.tolerations.as_deref(), &path, errors);
    }
    names
}

fn validate_class(class: &str, path: &Path, errors: &mut ErrorList) {
    let path = path.child("deviceClassName");
    required_name(class, names::dns1123_subdomain, path, errors);
}

fn validate_mode(mode: Option<&str>, count: Option<i64>, path: &Path, errors: &mut ErrorList) {
    one_of(mode, &MODES, path.child("allocationMode"), errors);
    let count = count.unwrap_or_default();
    let path = path.child("count");
    match mode {
        Some(EXACT_COUNT) if count <= 0 => errors.invalid(path, count, "must be greater than zero"),
        Some("All") if count != 0 => {
            let rule = format!(
                "must not be specified when allocationMode is '{}'",
                MODES[0]
            );
            errors.invalid(path, count, rule);
        }
        _ => {}
    }
}

pub(super) fn validate_selectors(
    selectors: Option<&[DeviceSelector]>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let selectors = selectors.unwrap_or_default();
    let path = path.child("selectors");
    bounded(selectors.len(), SELECTORS_MAX, path.clone(), errors);
    for (index, selector) in selectors.iter().enumerate() {
        let path = path.index(index).child("cel");
        match &selector.cel {
            None => errors.required(path, ""),
            Some(cel) if cel.expression.is_empty() => {
                errors.required(path.child("expression"), "");
            }
            Some(cel) if cel.expression.len() > EXPRESSION_BYTES_MAX => {
                errors.too_long(path.child("expression"), EXPRESSION_BYTES_MAX);
            }
            Some(_) => {}
        }
    }
}

fn validate_constraint(
    constraint: &DeviceConstraint,
    names: &BTreeSet<String>,
    path: &Path,
    errors: &mut ErrorList,
) {
    validate_known(constraint.requests.as_deref(), names, path, errors);
    let attributes = [
        ("matchAttribute", text(&constraint.match_attribute)),
        ("distinctAttribute", text(&constraint.distinct_attribute)),
    ];
    if attributes.iter().all(|(_, attribute)| attribute.is_none()) {
        let rule = "exactly one of `matchAttribute` or `distinctAttribute` is required";
        errors.required(path.clone(), rule);
    }
    for (field, attribute) in attributes {
        if let Some(attribute) = attribute
            && !attribute.contains('/')
        {
            let rule = "must include the domain";
            errors.invalid(path.child(field), attribute, rule);
        }
    }
}

/// Requests that something is about must be there.
fn validate_known(
    requests: Option<&[String]>,
    names: &BTreeSet<String>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (index, name) in requests.unwrap_or_default().iter().enumerate() {
        if !names.contains(name) {
            errors.invalid(
                path.child("requests").index(index),
                name,
                "must be the name of a request in the claim or the name of a request and a \
                 subrequest separated by '/'",
            );
        }
    }
}

pub(super) fn validate_config(
    opaque: Option<&OpaqueDeviceConfiguration>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("opaque");
    match opaque {
        None => errors.required(path, ""),
        Some(opaque) => {
            validate_driver(&opaque.driver, &path.child("driver"), errors);
            if !opaque.parameters.0.is_object() {
                errors.required(path.child("parameters"), "");
            }
        }
    }
}

/// The name of a driver, which is a short domain.
pub(super) fn validate_driver(driver: &str, path: &Path, errors: &mut ErrorList) {
    if driver.len() > DRIVER_BYTES_MAX {
        errors.too_long(path.clone(), DRIVER_BYTES_MAX);
    }
    required_name(driver, names::dns1123_subdomain, path.clone(), errors);
}

fn validate_tolerations(
    tolerations: Option<&[DeviceToleration]>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let tolerations = tolerations.unwrap_or_default();
    let path = path.child("tolerations");
    bounded(tolerations.len(), TOLERATIONS_MAX, path.clone(), errors);
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let key = text(&toleration.key);
        if let Some(key) = key {
            errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
        }
        let value = toleration.value.as_deref().unwrap_or_default();
        match toleration.operator.as_deref().unwrap_or_default() {
            "Exists" if !value.is_empty() => {
                let rule = "must be empty for operator `Exists`";
                errors.invalid(path.child("value"), value, rule);
            }
            "Exists" => {}
            "Equal" => {
                if key.is_none() {
                    errors.required(path.child("key"), "required for operator `Equal`");
                }
                errors.invalid_each(&path.child("value"), value, names::label_value(value));
            }
            other => one_of(Some(other), &OPERATORS, path.child("operator"), errors),
        }
        if let Some(effect) = text(&toleration.effect) {
            one_of(Some(effect), &EFFECTS[..2], path.child("effect"), errors);
        }
    }
}

/// What keeps claims away from a device.
pub(super) fn validate_taint(taint: &DeviceTaint, path: &Path, errors: &mut ErrorList) {
    required_name(&taint.key, names::qualified_name, path.child("key"), errors);
    let value = taint.value.as_deref().unwrap_or_default();
    errors.invalid_each(&path.child("value"), value, names::label_value(value));
    one_of(Some(&taint.effect), &EFFECTS, path.child("effect"), errors);
}
