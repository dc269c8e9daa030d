//! The pod network with handlers in memory: every way that a request can take, and that endpoints
//! come and go without losing one.

// A test crate: the exemption of tests in clippy.toml does not reach its helpers.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use euston_network::{
    Body, Caller, HttpHandler, NodePorts, NodePortsConfig, OutsideClient, OutsideConfig, PodNet,
    PodNetConfig, RemoteTransport, SendError, SendOptions, ServiceTable, Undelivered, full,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers with its name and the request's body; refuses while it drains.
struct Echo {
    name: String,
    draining: AtomicBool,
    handled: AtomicUsize,
}

#[async_trait]
impl HttpHandler for Echo {
    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Undelivered> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Undelivered::Refused {
                request: Box::new(request),
                why: "draining",
            });
        }
        self.handled.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let uri = request.uri().clone();
        let forwarded = request.headers().get("x-forwarded-for").cloned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let text = format!("{} {uri} {}", self.name, String::from_utf8_lossy(&body));
        let mut response = Response::new(full(text));
        if let Some(forwarded) = forwarded {
            response.headers_mut().insert("seen-for", forwarded);
        }
        Ok(response)
    }
}

fn echo(name: &str) -> Arc<Echo> {
    Arc::new(Echo {
        name: name.into(),
        draining: AtomicBool::new(false),
        handled: AtomicUsize::new(0),
    })
}

/// Another node, whose pods answer with their address.
struct OtherNode;

#[async_trait]
impl RemoteTransport for OtherNode {
    async fn send(
        &self,
        node: &str,
        to: SocketAddr,
        _: Request<Body>,
    ) -> Result<Response<Body>, Undelivered> {
        Ok(Response::new(full(format!("{to} on {node}"))))
    }
}

fn net() -> Arc<PodNet> {
    let net = PodNet::new(
        PodNetConfig {
            node_name: "n1".into(),
            cluster_cidr: "10.128.0.0/9".parse().unwrap(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
        },
        Arc::new(ServiceTable::new("n1")),
        OutsideClient::new(OutsideConfig::default()),
        Arc::new(OtherNode),
    );
    net.set_node("n1", "10.128.0.0/18".parse().unwrap());
    net.set_node("n2", "10.128.64.0/18".parse().unwrap());
    Arc::new(net)
}

fn service(net: &PodNet, spec: Value) {
    let object = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec});
    net.table()
        .apply_service(&serde_json::from_value(object).unwrap());
}

fn endpoints(net: &PodNet, list: &[(&str, &str)]) {
    let endpoints: Vec<Value> = list
        .iter()
        .map(
            |(ip, node)| json!({"addresses": [ip], "nodeName": node, "targetRef": {"kind": "Pod"}}),
        )
        .collect();
    let object = json!({
        "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}],
    });
    net.table()
        .apply_slice(&serde_json::from_value(object).unwrap());
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn get(net: &PodNet, uri: &str) -> Result<String, SendError> {
    let caller = Caller {
        namespace: "shop".into(),
        ip: ip("10.128.0.9"),
    };
    let request = Request::post(uri).body(full("hi")).unwrap();
    let response = net.send(&caller, request, SendOptions::default()).await?;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn requests_find_their_way() {
    let net = net();
    service(
        &net,
        json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}),
    );
    endpoints(&net, &[("10.128.0.2", "n1")]);
    net.listen(ip("10.128.0.2"), 8080, echo("two")).unwrap();
    net.listen(ip("10.128.0.9"), 7000, echo("self")).unwrap();
    assert!(net.listen(ip("10.128.0.9"), 7000, echo("again")).is_err());
    for (uri, expect) in [
        ("http://web/a?b=c", Ok("two http://web/a?b=c hi")),
        ("http://10.96.0.7/", Ok("two http://10.96.0.7/ hi")),
        (
            "http://10.128.0.2:8080/",
            Ok("two http://10.128.0.2:8080/ hi"),
        ),
        (
            "http://localhost:7000/",
            Ok("self http://localhost:7000/ hi"),
        ),
        (
            "http://127.0.0.1:7000/",
            Ok("self http://127.0.0.1:7000/ hi"),
        ),
        ("http://10.128.64.5:81/", Ok("10.128.64.5:81 on n2")),
        (
            "http://localhost:7001/",
            Err("connection to 10.128.0.9:7001 refused: no container of a pod listens there"),
        ),
        (
            "http://web:81/",
            Err("connection to shop/web:81 refused: the Service has no such port"),
        ),
        (
            "http://10.200.0.1/",
            Err("connection to 10.200.0.1:80 refused: no node has pods in this range"),
        ),
        (
            "http://10.96.9.9/",
            Err("connection to 10.96.9.9:80 refused: no Service has this address"),
        ),
        ("http://nobody/", Err("no such host: nobody")),
        (
            "http://169.254.169.254/",
            Err(
                "sending to 169.254.169.254 is not allowed: link-local addresses (cloud metadata among them) are off limits",
            ),
        ),
    ] {
        let got = get(&net, uri).await.map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expect, "{uri}");
    }
    let denied = get(&net, "https://web:80/").await.unwrap_err();
    assert!(matches!(denied, SendError::Denied { .. }), "{denied}");
    endpoints(&net, &[]);
    assert!(matches!(
        get(&net, "http://web/").await,
        Err(SendError::NoEndpoints { .. })
    ));
}

#[tokio::test]
async fn headless_names_reach_pods_on_their_own_ports() {
    let net = net();
    service(&net, json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    endpoints(&net, &[("10.128.0.2", "n1")]);
    net.listen(ip("10.128.0.2"), 9000, echo("two")).unwrap();
    assert_eq!(
        get(&net, "http://web:9000/").await.unwrap(),
        "two http://web:9000/ hi"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_roll_under_load_and_no_request_is_lost() {
    let net = net();
    service(
        &net,
        json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}),
    );
    let name = |n: usize| format!("10.128.0.{}", 10 + n);
    let mut pods = Vec::new();
    for n in 0..3 {
        let pod = echo(&name(n));
        net.listen(ip(&name(n)), 8080, pod.clone()).unwrap();
        pods.push((n, pod));
    }
    let list = |pods: &[(usize, Arc<Echo>)]| -> Vec<String> {
        pods.iter().map(|(n, _)| name(*n)).collect()
    };
    let publish = |names: &[String]| {
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), "n1")).collect();
        endpoints(&net, &all);
    };
    publish(&list(&pods));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (net, stop) = (net.clone(), stop.clone());
            tokio::spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::SeqCst) {
                    get(&net, "http://web/").await.unwrap();
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for n in 3..60 {
        // A new pod joins; an old one refuses first and only then leaves the table, and its listener
        // goes at once: the harshest order of events.
        let pod = echo(&name(n));
        net.listen(ip(&name(n)), 8080, pod.clone()).unwrap();
        let (old, leaving) = pods.remove(0);
        pods.push((n, pod.clone()));
        leaving.draining.store(true, Ordering::SeqCst);
        net.unlisten(ip(&name(old)), 8080);
        tokio::task::yield_now().await;
        publish(&list(&pods));
        while pod.handled.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let mut total = 0;
    for client in clients {
        total += client.await.unwrap();
    }
    assert!(total > 100, "{total} requests");
}

#[tokio::test]
async fn a_request_that_all_refuse_waits_for_the_next_endpoint() {
    let net = net();
    service(
        &net,
        json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}),
    );
    endpoints(&net, &[("10.128.0.2", "n1")]);
    let asked = tokio::spawn({
        let net = net.clone();
        async move { get(&net, "http://web/").await }
    });
    tokio::task::yield_now().await;
    net.listen(ip("10.128.0.3"), 8080, echo("three")).unwrap();
    endpoints(&net, &[("10.128.0.3", "n1")]);
    assert_eq!(asked.await.unwrap().unwrap(), "three http://web/ hi");
}

async fn raw(to: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn node_ports_open_serve_and_close_with_their_services() {
    let net = net();
    let (events, mut heard) = tokio::sync::mpsc::channel(16);
    let address = ip("127.0.0.1");
    // A port that is free now; another process may take it, and then the first event says so.
    let port = std::net::TcpListener::bind((address, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = NodePortsConfig {
        address,
        connections_max: 16,
    };
    let node_ports = NodePorts::start(config, net.clone(), events);
    service(
        &net,
        json!({"type": "NodePort", "clusterIP": "10.96.0.7", "ports": [{"port": 80, "nodePort": port}]}),
    );
    let event = heard.recv().await.unwrap();
    assert!(
        matches!(event, euston_network::NodePortEvent::Opened(p) if p == port),
        "{event:?}"
    );
    let to = SocketAddr::new(address, port);
    let ask = "POST /x HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\nx-forwarded-for: 192.0.2.1\r\ncontent-length: 2\r\n\r\nhi";
    let answer = raw(to, ask).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    endpoints(&net, &[("10.128.0.2", "n1")]);
    net.listen(ip("10.128.0.2"), 8080, echo("two")).unwrap();
    let answer = raw(to, ask).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("seen-for: 192.0.2.1, 127.0.0.1"),
        "{answer}"
    );
    assert!(answer.ends_with("two http://shop.example/x hi"), "{answer}");
    let answer = raw(to, "GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    net.table().remove_service("shop", "web");
    let event = heard.recv().await.unwrap();
    assert!(
        matches!(event, euston_network::NodePortEvent::Closed(p) if p == port),
        "{event:?}"
    );
    node_ports.shutdown(Duration::from_secs(10)).await;
    assert!(tokio::net::TcpStream::connect(to).await.is_err());
}
