//! What protobuf costs beside JSON, for a typical pod:
//! `cargo run --release -p euston-protobuf --example ratio`.

#![allow(clippy::unwrap_used)] // a program for developers
#![recursion_limit = "256"] // json! takes a step for each field

use std::hint::black_box;
use std::time::{Duration, Instant};

use euston_protobuf::{Message, decode, encode};
use serde_json::{Value, json};

/// How long each is run for.
const RUN: Duration = Duration::from_millis(500);

fn main() {
    let pod = pod().to_string().into_bytes();
    let of = Message::named("io.k8s.api.core.v1.Pod").unwrap();
    let mut wire = Vec::new();
    encode(of, &pod, &mut wire).unwrap();
    println!(
        "a pod: {} bytes of JSON, {} bytes of protobuf",
        pod.len(),
        wire.len()
    );
    let parse = time(|| {
        black_box(serde_json::from_slice::<Value>(black_box(&pod)).unwrap());
    });
    let value: Value = serde_json::from_slice(&pod).unwrap();
    let print = time(|| {
        black_box(serde_json::to_vec(black_box(&value)).unwrap());
    });
    let read = time(|| {
        black_box(decode(of, Some(("v1", "Pod")), black_box(&wire), 1 << 20).unwrap());
    });
    let write = time(|| {
        let mut out = Vec::with_capacity(pod.len());
        encode(of, black_box(&pod), &mut out).unwrap();
        black_box(out);
    });
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!("JSON parsed to a tree      {parse:>10.1?}");
    println!("JSON printed from a tree   {print:>10.1?}");
    println!(
        "protobuf to JSON           {read:>10.1?}  {:.2} of parsing",
        ratio(read, parse)
    );
    println!(
        "JSON to protobuf           {write:>10.1?}  {:.2} of parsing",
        ratio(write, parse)
    );
}

fn time(mut run: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut times = 0;
    while start.elapsed() < RUN {
        run();
        times += 1;
    }
    start.elapsed() / times
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-5d8f7c9b6d-x2x7k", "generateName": "web-5d8f7c9b6d-", "namespace": "shop",
            "uid": "0b1f6a54-6a0e-4d8e-9a37-0c8c9d0f5a11", "resourceVersion": "184467",
            "creationTimestamp": "2026-11-25T10:11:12Z",
            "labels": { "app": "web", "tier": "front", "pod-template-hash": "5d8f7c9b6d" },
            "annotations": { "example.com/revision": "42", "example.com/owner": "team-web" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d8f7c9b6d",
                "uid": "9a37f6a5-0b1f-4d8e-6a0e-0c8c9d0f5a11", "controller": true,
                "blockOwnerDeletion": true,
            }],
            "managedFields": [{
                "manager": "controllers", "operation": "Update", "apiVersion": "v1",
                "time": "2026-11-25T10:11:12Z", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:metadata": { "f:labels": { ".": {}, "f:app": {}, "f:tier": {} } },
                    "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": { ".": {}, "f:image": {} } } } },
            }],
        },
        "spec": {
            "nodeName": "node-7", "restartPolicy": "Always", "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "priority": 0,
            "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "schedulerName": "default-scheduler", "securityContext": {},
            "containers": [{
                "name": "web", "image": "registry.example.com/shop/web:1.42.0",
                "imagePullPolicy": "IfNotPresent", "args": ["--listen", "0.0.0.0:8080"],
                "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
                "env": [
                    { "name": "DATABASE", "value": "postgres://db.shop:5432/shop" },
                    { "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "web", "key": "token" } } },
                ],
                "resources": {
                    "limits": { "cpu": "500m", "memory": "128Mi" },
                    "requests": { "cpu": "100m", "memory": "64Mi" },
                },
                "readinessProbe": {
                    "httpGet": { "path": "/ready", "port": "http", "scheme": "HTTP" },
                    "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1,
                },
                "volumeMounts": [{ "name": "config", "mountPath": "/etc/web", "readOnly": true }],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "volumes": [{ "name": "config", "configMap": { "name": "web", "defaultMode": 420 } }],
            "tolerations": [{
                "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300,
            }],
        },
        "status": {
            "phase": "Running", "podIP": "10.128.3.7", "podIPs": [{ "ip": "10.128.3.7" }],
            "hostIP": "192.168.1.7", "startTime": "2026-11-25T10:11:13Z", "qosClass": "Burstable",
            "conditions": [
                { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-25T10:11:12Z" },
                { "type": "Initialized", "status": "True", "lastTransitionTime": "2026-11-25T10:11:13Z" },
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-25T10:11:15Z" },
            ],
            "containerStatuses": [{
                "name": "web", "ready": true, "started": true, "restartCount": 0,
                "image": "registry.example.com/shop/web:1.42.0", "imageID": "sha256:0b1f6a54",
                "state": { "running": { "startedAt": "2026-11-25T10:11:14Z" } }, "lastState": {},
            }],
        },
    })
}
