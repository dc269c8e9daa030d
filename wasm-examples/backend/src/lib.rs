//! The bakery behind Kate's cookie shop: says as JSON what lies on its shelves, and which pod
//! says so.

use serde::Serialize;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use web::{Reply, Request};

/// Used where the manifest sets no `COOKIES`.
const COOKIES: &str = "ginger snap=24, oat and raisin=18, double chocolate=12";

struct Backend;

wasip2::http::proxy::export!(Backend);

#[derive(Serialize)]
struct Stock {
    /// The pod that answered.
    pod: String,
    cookies: Vec<Cookie>,
}

#[derive(Serialize)]
struct Cookie {
    name: String,
    left: u32,
}

impl Guest for Backend {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        reply(&Request::new(request)).send(out);
    }
}

fn reply(request: &Request) -> Reply {
    match request.path.as_str() {
        "/" | "/stock" => {
            let list = web::env("COOKIES").unwrap_or_else(|| COOKIES.to_owned());
            let stock = Stock {
                pod: web::pod_name(),
                cookies: shelves(&list),
            };
            match serde_json::to_vec(&stock) {
                Ok(json) => Reply::json(200, json),
                Err(error) => Reply::text(500, format!("{error}\n")),
            }
        }
        "/healthz" => web::health(),
        path => Reply::text(404, format!("no such path: {path}\n")),
    }
}

/// Reads `name=number, name=number`; what has no number is sold out.
fn shelves(list: &str) -> Vec<Cookie> {
    list.split([',', '\n'])
        .map(|entry| entry.split_once('=').unwrap_or((entry, "0")))
        .filter(|(name, _)| !name.trim().is_empty())
        .map(|(name, left)| Cookie {
            name: name.trim().to_owned(),
            left: left.trim().parse().unwrap_or(0),
        })
        .collect()
}
