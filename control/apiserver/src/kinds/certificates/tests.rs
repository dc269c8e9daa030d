use super::*;
use crate::kinds::testing::{check_create, check_row, created, merged, object};
use base64::Engine;
use serde_json::json;

fn good() -> Value {
    let request = euston_tls::SigningRequest::new().unwrap().csr_pem;
    let request = base64::engine::general_purpose::STANDARD.encode(request);
    json!({
        "metadata": {"name": "r"},
        "spec": { "request": request, "signerName": csr::CLIENT, "usages": ["client auth"] },
    })
}

#[test]
fn a_request_says_what_for_and_whom_it_asks() {
    let check = |patch: Value, expected: &[&str]| {
        let value = merged(&good(), &json!({ "spec": patch }));
        check_create(&CertificateSigningRequestStrategy, &value, expected);
    };
    check(json!({}), &[]);
    check(json!({"expirationSeconds": 600}), &[]);
    check(
        json!({"expirationSeconds": 599}),
        &["spec.expirationSeconds: Invalid value: 599: may not specify"],
    );
    check(
        json!({"request": "aGVsbG8="}),
        &["spec.request: Invalid value: \"aGVsbG8=\": "],
    );
    check(
        json!({"usages": []}),
        &["spec.usages: Required value: usages must contain"],
    );
    check(
        json!({"usages": ["client auth", "flying", "client auth"]}),
        &[
            "spec.usages[1]: Unsupported value: \"flying\"",
            "spec.usages[2]: Duplicate value: \"client auth\"",
        ],
    );
    check(
        json!({"signerName": ""}),
        &["spec.signerName: Required value"],
    );
    check(
        json!({"signerName": "kubernetes.io/legacy-unknown"}),
        &["spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy"],
    );
    check(
        json!({"signerName": "me"}),
        &["spec.signerName: Invalid value: \"me\": must be a fully qualified"],
    );
    // A request does not approve of itself.
    let value = merged(
        &good(),
        &json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}}),
    );
    let made = created(&CertificateSigningRequestStrategy, &value);
    assert!(conditions(&made).is_empty());
}

#[test]
fn approval_and_signature_have_their_own_doors() {
    let strategy = CertificateSigningRequestStrategy;
    let old: CertificateSigningRequest = object(&good());
    let wanted = json!({"status": {
        "conditions": [{"type": "Approved", "status": "True"}, {"type": "Failed", "status": "True"}],
        "certificate": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
    }});
    let all: CertificateSigningRequest = object(&merged(&good(), &wanted));

    let mut approved = all.clone();
    strategy.prepare_for_part_update(Subresource::Approval, &mut approved, &old);
    assert!(has(&approved, APPROVED) && certificate(&approved).is_none());
    assert!(conditions(&approved)[0].last_transition_time.is_some());

    let mut signed = all.clone();
    strategy.prepare_for_status_update(&mut signed, &old);
    assert!(!has(&signed, APPROVED) && has(&signed, FAILED) && certificate(&signed).is_some());

    let errors = strategy.validate_status_update(&old, &all);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"",
            "status.conditions: Forbidden: updates may not remove a condition of type \"Failed\"",
            "status.certificate: Forbidden: updates may not change an issued certificate",
        ]
    );
    let both = json!({"status": {"conditions": [
        {"type": "Approved", "status": "True"}, {"type": "Denied", "status": "False"},
    ]}});
    let both: CertificateSigningRequest = object(&merged(&good(), &both));
    let errors = strategy.validate_status_update(&both, &old);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
        ]
    );
}

#[test]
fn a_trust_bundle_is_named_by_its_signer() {
    use super::trust_bundle::ClusterTrustBundleStrategy;
    let dir = tempfile::tempdir().unwrap();
    let authority = euston_tls::Authority::load_or_create(dir.path()).unwrap();
    let check = |name: &str, signer: &str, bundle: &str, expected: &[&str]| {
        let spec = json!({"signerName": signer, "trustBundle": bundle});
        let value = json!({"metadata": {"name": name}, "spec": spec});
        check_create(&ClusterTrustBundleStrategy, &value, expected);
    };
    let pem = authority.ca_pem();
    check("mine", "", pem, &[]);
    check("example.com:x:mine", "example.com/x", pem, &[]);
    check(
        "a:b",
        "",
        pem,
        &["metadata.name: Invalid value: \"a:b\": ClusterTrustBundle without"],
    );
    check(
        "mine",
        "example.com/x",
        pem,
        &["metadata.name: Invalid value: \"mine\": ClusterTrustBundle for"],
    );
    check(
        "x:mine",
        "x",
        pem,
        &["spec.signerName: Invalid value: \"x\": must be"],
    );
    check(
        "mine",
        "",
        "hello",
        &["spec.trustBundle: Invalid value: \"<value omitted>\": "],
    );
}

#[test]
fn its_row_says_what_became_of_it() {
    let check = |status: Value, condition: &str| {
        let value = merged(
            &good(),
            &json!({"spec": {"username": "ann", "expirationSeconds": 3600}, "status": status}),
        );
        let expected = [
            ("Requestor", "ann"),
            ("RequestedDuration", "60m"),
            ("Condition", condition),
        ];
        check_row(&CertificateSigningRequestStrategy, &value, 0, &expected);
    };
    let with = |kind: &str| json!({"conditions": [{"type": kind, "status": "True"}]});
    check(json!({}), "Pending");
    check(with("Approved"), "Approved");
    check(with("Denied"), "Denied");
    check(with("Failed"), "Failed");
    check(
        merged(&with("Approved"), &json!({"certificate": "AAAA"})),
        "Approved,Issued",
    );
}
