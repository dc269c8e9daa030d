use super::*;
use serde_json::{Value, json};

#[test]
fn names_carry_scheme_and_port() {
    let check = |text, expect: Option<(bool, &'static str, &'static str)>| {
        let expect = expect.map(|(https, name, port)| Id { https, name, port });
        assert_eq!(Id::parse(text), expect, "{text}");
    };
    check("web", Some((false, "web", "")));
    check("web:80", Some((false, "web", "80")));
    check("http:web:80", Some((false, "web", "80")));
    check("https:web:", Some((true, "web", "")));
    check(":web:http", Some((false, "web", "http")));
    for text in ["", ":80", "ftp:web:80", "a:b:c:d", "https::80"] {
        check(text, None);
    }
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_pods_port_is_the_one_named_or_its_first() {
    let with_ports = |node: &str, ports: Value| {
        of::<Pod>(json!({
            "spec": { "nodeName": node, "containers": [
                { "name": "a" }, { "name": "b", "ports": ports },
            ] },
        }))
    };
    let check = |node: &str, ports: Value, id: &str, expect: std::result::Result<&str, &str>| {
        let pod = with_ports(node, ports);
        match (pod_place(&pod, "shop", &Id::parse(id).unwrap()), expect) {
            (Ok(place), Ok(root)) => assert_eq!((place.node, &*place.root), (node.into(), root)),
            (Err(error), Err(expect)) => {
                assert_eq!(error.code, 400);
                assert!(error.message.contains(expect), "{}", error.message);
            }
            (got, _) => panic!("{id}: {got:?}"),
        }
    };
    let two = || json!([{ "containerPort": 8080 }, { "containerPort": 9090 }]);
    check("n", two(), "web", Ok("/proxy/shop/web/8080"));
    check("n", two(), "web:9090", Ok("/proxy/shop/web/9090"));
    check("n", json!([]), "web", Ok("/proxy/shop/web/80"));
    check("n", two(), "web:http", Err("\"http\" is no port"));
    check("n", two(), "web:0", Err("\"0\" is no port"));
    check(
        "",
        two(),
        "web",
        Err("pod web does not have a host assigned"),
    );
}

#[test]
fn a_services_port_leads_to_ready_pods() {
    let service: Service = of(json!({ "spec": { "ports": [
        { "port": 80, "name": "http" }, { "port": 81, "name": "admin" },
    ] } }));
    let slice: EndpointSlice = of(json!({
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }, { "name": "admin", "port": 8081 }],
        "endpoints": [
            { "addresses": ["10.0.0.1"], "nodeName": "n", "targetRef": { "kind": "Pod", "name": "a" } },
            { "addresses": ["10.0.0.2"], "nodeName": "m", "targetRef": { "kind": "Pod", "name": "b" },
              "conditions": { "ready": false } },
            { "addresses": ["192.0.2.1"] },
        ],
    }));
    let check = |id: &str, expect: std::result::Result<&[(&str, &str, u16)], &str>| {
        let got = endpoints(
            &service,
            std::slice::from_ref(&slice),
            &Id::parse(id).unwrap(),
        );
        match (got, expect) {
            (Ok(got), Ok(expect)) => {
                let got: Vec<_> = got.iter().map(|(n, p, port)| (&**n, &**p, *port)).collect();
                assert_eq!(got, expect, "{id}");
            }
            (Err(got), Err(expect)) => assert_eq!((got.code, &*got.message), (503, expect)),
            (got, _) => panic!("{id}: {got:?}"),
        }
    };
    check("web:http", Ok(&[("n", "a", 8080)]));
    check("web:81", Ok(&[("n", "a", 8081)]));
    check(
        "web:82",
        Err("no service port 82 found for service \"web\""),
    );
    // As Kubernetes: without a port, the one without a name.
    check("web", Ok(&[]));
    check("web:other", Ok(&[]));
}

fn parts(uri: &str, headers: &[(&'static str, &'static str)]) -> Parts {
    let mut request = Request::post(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn requests_go_in_without_what_they_say_to_the_api_server() {
    let uri = "/api/v1/namespaces/shop/pods/web/proxy/a%2Fb//c?x=1&y=%20";
    let parts = parts(
        uri,
        &[
            ("authorization", "Bearer secret"),
            ("impersonate-user", "x"),
            ("impersonate-extra-y", "z"),
            ("host", "api:6443"),
            ("cookie", "kept"),
        ],
    );
    let target = ResourcePath::parse(parts.uri.path()).unwrap();
    let request = inward("/proxy/shop/web/80", &target, &parts, Body::empty()).unwrap();
    assert_eq!(request.uri(), "/proxy/shop/web/80/a%2Fb//c?x=1&y=%20");
    assert_eq!(request.method(), "POST");
    let mut names: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cookie",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-uri"
        ]
    );
    assert_eq!(
        prefix(&parts, &target),
        "/api/v1/namespaces/shop/pods/web/proxy"
    );
}

#[test]
fn answers_come_out_behind_the_prefix() {
    let check = |location: &'static str, expect: &str| {
        let mut answer = Response::new(Body::empty());
        let headers = answer.headers_mut();
        headers.insert(LOCATION, HeaderValue::from_static(location));
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        headers.insert("x-kept", HeaderValue::from_static("1"));
        let answer = outward(answer, "/api/v1/nodes/n/proxy");
        assert_eq!(answer.headers()[LOCATION], expect);
        assert_eq!(answer.headers().len(), 2);
    };
    check("/login?x=1", "/api/v1/nodes/n/proxy/login?x=1");
    check("login", "login");
    check("https://elsewhere/x", "https://elsewhere/x");
    check("//elsewhere/x", "//elsewhere/x");
}

#[test]
fn the_root_has_a_slash() {
    let response = with_slash(&parts("/api/v1/nodes/n/proxy?a=b", &[]));
    assert_eq!(response.status(), 301);
    assert_eq!(response.headers()[LOCATION], "/api/v1/nodes/n/proxy/?a=b");
}
