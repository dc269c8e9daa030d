//! Tokens: whose they are, for how long, and what they die with.

use euston_tests::control_plane::ControlPlane;
use euston_tests::wait;
use kube::Client;
use serde_json::{Value, json};

use super::{RBAC, binding, get, made, post, with_token};
use crate::raw::{self, Answer};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn account(plane: &ControlPlane, name: &str) {
    made(plane, ACCOUNTS, json!({ "metadata": { "name": name } })).await;
}

async fn ask(client: &Client, account: &str, spec: Value) -> Answer {
    let path = format!("{ACCOUNTS}/{account}/token");
    post(client, &path, &json!({ "spec": spec })).await
}

async fn token(plane: &ControlPlane, account: &str, spec: Value) -> String {
    let answer = ask(&plane.client, account, spec).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["status"]["token"].as_str().unwrap().to_owned()
}

async fn works(plane: &ControlPlane, token: &str) -> u16 {
    let nobody = plane.api.client("", &[]);
    with_token(&nobody, "GET", "/api", token)
        .await
        .status
        .as_u16()
}

async fn delete(plane: &ControlPlane, path: &str) {
    let body = json!({ "gracePeriodSeconds": 0 }).to_string();
    let answer = raw::send(&plane.client, "DELETE", path, "application/json", body).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
}

async fn uid(plane: &ControlPlane, path: &str) -> Value {
    raw::send(&plane.client, "GET", path, "", "").await.body["metadata"]["uid"].clone()
}

#[tokio::test]
async fn a_token_makes_its_bearer_the_service_account() {
    let plane = ControlPlane::start().await;
    account(&plane, "robot").await;
    let subject = json!({ "kind": "ServiceAccount", "name": "robot", "namespace": "default" });
    let mut view = binding("robot", "ClusterRole/view", "");
    view["subjects"] = json!([subject]);
    made(
        &plane,
        &format!("{RBAC}/namespaces/default/rolebindings"),
        view,
    )
    .await;
    let token = token(&plane, "robot", json!({})).await;
    let nobody = plane.api.client("", &[]);
    let status = async |path: &str, token: &str| {
        with_token(&nobody, "GET", path, token)
            .await
            .status
            .as_u16()
    };
    assert_eq!(status(PODS, &token).await, 200);
    assert_eq!(status(SECRETS, &token).await, 403);
    assert_eq!(status("/openid/v1/jwks", &token).await, 200);
    // What is no token, or no longer quite this one, is nobody's: 401, and not the 403 of the anonymous.
    let half = &token[..token.len() - 4];
    for other in [
        "hello",
        half,
        &format!("{token}AAAA"),
        "abcdef.0123456789abcdef",
        "a.b.c",
    ] {
        let answer = with_token(&nobody, "GET", PODS, other).await;
        assert_eq!(answer.status, 401, "{other}: {answer:?}");
        assert_eq!(answer.reason(), "Unauthorized");
    }
    assert_eq!(status(PODS, "").await, 403);

    let answer = with_token(&nobody, "GET", "/.well-known/openid-configuration", &token).await;
    assert_eq!(
        answer.body["issuer"],
        "https://kubernetes.default.svc.cluster.local"
    );
    let keys = with_token(&nobody, "GET", "/openid/v1/jwks", &token).await;
    assert_eq!(keys.body["keys"][0]["alg"], "ES256");
    let review = json!({ "spec": { "token": token } });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = post(&plane.client, path, &review).await;
    let status = &answer.body["status"];
    assert_eq!(status["authenticated"], true, "{answer:?}");
    assert_eq!(
        status["user"]["username"],
        "system:serviceaccount:default:robot"
    );
    assert_eq!(
        status["user"]["groups"],
        json!([
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated"
        ])
    );
    assert_eq!(
        status["user"]["uid"],
        uid(&plane, &format!("{ACCOUNTS}/robot")).await
    );
    let review = json!({ "spec": { "token": token, "audiences": ["vault"] } });
    let answer = post(&plane.client, path, &review).await;
    assert_eq!(answer.body["status"]["authenticated"], false, "{answer:?}");
    // Whoever may not ask learns nothing.
    assert_eq!(with_token(&nobody, "POST", path, &token).await.status, 403);
    assert_eq!(
        with_token(&nobody, "POST", WHOAMI, &token).await.status,
        201
    );
}

#[tokio::test]
async fn a_token_ends_with_its_account_and_with_what_it_is_bound_to() {
    let plane = ControlPlane::start().await;
    account(&plane, "robot").await;
    let pod = json!({
        "metadata": { "name": "p" },
        "spec": {
            "serviceAccountName": "robot",
            "containers": [{ "name": "main", "image": "hello:v1" }],
        },
    });
    made(&plane, PODS, pod.clone()).await;
    made(&plane, SECRETS, json!({ "metadata": { "name": "s" } })).await;
    let bound = |kind: &str, name: &str, uid: Value| {
        let reference = json!({ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid });
        json!({ "boundObjectRef": reference })
    };
    let pod_uid = uid(&plane, &format!("{PODS}/p")).await;
    let of_pod = token(&plane, "robot", bound("Pod", "p", pod_uid.clone())).await;
    let of_secret = token(&plane, "robot", bound("Secret", "s", Value::Null)).await;
    let free = token(&plane, "robot", json!({})).await;
    for token in [&of_pod, &of_secret, &free] {
        assert_eq!(works(&plane, token).await, 200);
    }
    let nobody = plane.api.client("", &[]);
    let who = with_token(&nobody, "POST", WHOAMI, &of_pod).await;
    let extra = &who.body["status"]["userInfo"]["extra"];
    assert_eq!(
        extra["authentication.kubernetes.io/pod-name"],
        json!(["p"]),
        "{who:?}"
    );
    assert_eq!(
        extra["authentication.kubernetes.io/pod-uid"],
        json!([pod_uid])
    );

    delete(&plane, &format!("{PODS}/p")).await;
    delete(&plane, &format!("{SECRETS}/s")).await;
    wait::until("the pod's token is refused", async || {
        match works(&plane, &of_pod).await {
            401 => Ok(()),
            got => Err(got.to_string()),
        }
    })
    .await;
    assert_eq!(works(&plane, &of_secret).await, 401);
    // Others of the same name are others.
    made(&plane, PODS, pod).await;
    assert_eq!(works(&plane, &of_pod).await, 401);
    let stale = ask(&plane.client, "robot", bound("Pod", "p", pod_uid)).await;
    assert_eq!(stale.status, 409, "{stale:?}");
    assert_eq!(works(&plane, &free).await, 200);
    delete(&plane, &format!("{ACCOUNTS}/robot")).await;
    assert_eq!(works(&plane, &free).await, 401);
    account(&plane, "robot").await;
    assert_eq!(works(&plane, &free).await, 401);
}

#[tokio::test]
async fn requests_for_tokens_have_rules() {
    let plane = ControlPlane::start().await;
    account(&plane, "robot").await;
    account(&plane, "other").await;
    let pod = json!({
        "metadata": { "name": "p" },
        "spec": {
            "serviceAccountName": "other",
            "containers": [{ "name": "main", "image": "hello:v1" }],
        },
    });
    made(&plane, PODS, pod).await;
    let check = async |account: &str, spec: Value, code: u16, says: &str| {
        let answer = ask(&plane.client, account, spec).await;
        assert_eq!(answer.status.as_u16(), code, "{answer:?}");
        assert!(answer.message().contains(says), "{answer:?}");
    };
    let reference = |kind: &str, name: &str| json!({ "boundObjectRef": { "apiVersion": "v1", "kind": kind, "name": name } });
    check(
        "nobody",
        json!({}),
        404,
        "serviceaccounts \"nobody\" not found",
    )
    .await;
    check(
        "robot",
        json!({ "expirationSeconds": 599 }),
        422,
        "less than 10 minutes",
    )
    .await;
    check(
        "robot",
        reference("Pod", "none"),
        404,
        "pods \"none\" not found",
    )
    .await;
    check(
        "robot",
        reference("ConfigMap", "c"),
        400,
        "cannot bind token to object of type",
    )
    .await;
    check(
        "robot",
        reference("Pod", "p"),
        400,
        "different serviceaccount name",
    )
    .await;
    let other = token(&plane, "robot", json!({ "audiences": ["vault"] })).await;
    assert_eq!(works(&plane, &other).await, 401);
    let jane = plane.api.client("jane", &[]);
    assert_eq!(ask(&jane, "robot", json!({})).await.status, 403);
}

#[tokio::test]
async fn pods_get_the_token_of_their_account_mounted() {
    let plane = ControlPlane::start().await;
    account(&plane, "plain").await;
    let quiet = json!({
        "metadata": { "name": "quiet" },
        "automountServiceAccountToken": false,
        "imagePullSecrets": [{ "name": "pull" }],
    });
    made(&plane, ACCOUNTS, quiet).await;
    let create = async |name: &str, spec: Value| {
        let mut spec = spec;
        spec["containers"] = json!([{ "name": "main", "image": "hello:v1" }]);
        let pod = json!({ "metadata": { "name": name }, "spec": spec });
        post(&plane.client, PODS, &pod).await
    };
    let pod = create("a", json!({ "serviceAccountName": "plain" }))
        .await
        .body;
    let volume = &pod["spec"]["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-"), "{pod}");
    let sources = &volume["projected"]["sources"];
    assert_eq!(
        sources[0]["serviceAccountToken"],
        json!({ "path": "token", "expirationSeconds": 3607 })
    );
    assert_eq!(sources[1]["configMap"]["name"], "kube-root-ca.crt");
    assert_eq!(
        pod["spec"]["containers"][0]["volumeMounts"],
        json!([{
            "name": name,
            "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        }])
    );
    let pod = create("b", json!({ "serviceAccountName": "quiet" }))
        .await
        .body;
    assert!(pod["spec"]["volumes"].is_null(), "{pod}");
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{ "name": "pull" }]));
    // The pod's own word counts more.
    let spec = json!({ "serviceAccountName": "quiet", "automountServiceAccountToken": true });
    assert!(!create("c", spec).await.body["spec"]["volumes"].is_null());
    let spec = json!({ "serviceAccountName": "plain", "automountServiceAccountToken": false });
    assert!(create("d", spec).await.body["spec"]["volumes"].is_null());
    let refused = create("e", json!({ "serviceAccountName": "nobody" })).await;
    assert_eq!(refused.status, 403);
    let expect = "pods \"e\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found";
    assert_eq!(refused.message(), expect);
}

#[tokio::test]
async fn a_bootstrap_token_is_as_good_as_its_secret() {
    let plane = ControlPlane::start().await;
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let data = json!({
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:workers",
    });
    let secret = json!({
        "metadata": { "name": "bootstrap-token-abcdef" },
        "type": "bootstrap.kubernetes.io/token",
        "stringData": data,
    });
    made(&plane, secrets, secret).await;
    let nobody = plane.api.client("", &[]);
    let token = "abcdef.0123456789abcdef";
    let who = with_token(&nobody, "POST", WHOAMI, token).await;
    assert_eq!(
        who.body["status"]["userInfo"],
        json!({
            "username": "system:bootstrap:abcdef",
            "groups": ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"],
        })
    );
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    assert_eq!(
        with_token(&nobody, "GET", requests, token).await.status,
        200
    );
    assert_eq!(
        with_token(&nobody, "GET", "/api/v1/nodes", token)
            .await
            .status,
        403
    );
    assert_eq!(
        with_token(&nobody, "GET", "/api", "abcdef.0123456789abcdee")
            .await
            .status,
        401
    );
    delete(&plane, &format!("{secrets}/bootstrap-token-abcdef")).await;
    assert_eq!(works(&plane, token).await, 401);
    assert_eq!(get(&nobody, "/version").await, 200);
}
