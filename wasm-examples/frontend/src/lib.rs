//! The counter of Kate's cookie shop at Euston station: asks the bakery what there is, and shows
//! it as a page to browsers and as JSON to everyone else.

use serde::{Deserialize, Serialize};
use std::fmt::Write;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use web::{Reply, Request};

/// The Service of the bakery, where the manifest names no other.
const BACKEND: &str = "http://backend";
const BACKEND_TIMEOUT_MS: u64 = 5_000;

struct Frontend;

wasip2::http::proxy::export!(Frontend);

#[derive(Deserialize)]
struct Stock {
    pod: String,
    cookies: Vec<Cookie>,
}

#[derive(Deserialize, Serialize)]
struct Cookie {
    name: String,
    left: u32,
}

#[derive(Serialize)]
struct Counter {
    shop: String,
    /// The pod that asked.
    frontend: String,
    /// The pod that answered.
    backend: String,
    cookies: Vec<Cookie>,
}

impl Guest for Frontend {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        reply(&Request::new(request)).send(out);
    }
}

fn reply(request: &Request) -> Reply {
    match request.path.as_str() {
        "/" => match counter() {
            Ok(counter) if wants_html(request) => Reply::html(page(&counter)),
            Ok(counter) => match serde_json::to_vec_pretty(&counter) {
                Ok(mut json) => {
                    json.push(b'\n');
                    Reply::json(200, json)
                }
                Err(error) => Reply::text(500, format!("{error}\n")),
            },
            Err(reason) => {
                eprintln!("the bakery does not answer: {reason}");
                Reply::text(502, format!("the bakery does not answer: {reason}\n"))
            }
        },
        "/healthz" => web::health(),
        path => Reply::text(404, format!("no such path: {path}\n")),
    }
}

fn counter() -> Result<Counter, String> {
    let backend = web::env("BACKEND_URL").unwrap_or_else(|| BACKEND.to_owned());
    let url = format!("{}/stock", backend.trim_end_matches('/'));
    let answer = web::get(&url, BACKEND_TIMEOUT_MS)?;
    if answer.status != 200 {
        return Err(format!("GET {url}: status {}", answer.status));
    }
    let stock: Stock =
        serde_json::from_slice(&answer.body).map_err(|error| format!("GET {url}: {error}"))?;
    Ok(Counter {
        shop: web::env("SHOP").unwrap_or_else(|| "Kate's cookie shop".to_owned()),
        frontend: web::pod_name(),
        backend: stock.pod,
        cookies: stock.cookies,
    })
}

fn wants_html(request: &Request) -> bool {
    request
        .header("accept")
        .is_some_and(|accept| accept.contains("text/html"))
}

fn page(counter: &Counter) -> String {
    let shop = escape(&counter.shop);
    let mut rows = String::new();
    for cookie in &counter.cookies {
        let left = match cookie.left {
            0 => "sold out".to_owned(),
            n => format!("{n} left"),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{left}</td></tr>",
            escape(&cookie.name)
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{shop}</title>\n\
         <style>body{{font:1.1rem/1.5 system-ui;margin:3rem auto;max-width:32rem;color:#3a2a1a;\
         background:#fdf8f0}}td{{padding:.2rem 2rem .2rem 0}}footer{{margin-top:2rem;color:#8a7a6a;\
         font-size:.85rem}}</style>\n</head>\n<body>\n<h1>{shop}</h1>\n\
         <p>Fresh from the oven, on the counter now:</p>\n<table>\n{rows}</table>\n\
         <footer>counter: {}<br>oven: {}</footer>\n</body>\n</html>\n",
        escape(&counter.frontend),
        escape(&counter.backend),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
