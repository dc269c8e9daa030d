//! An HTTP server to try things with; README.md lists its paths.

use std::io::Read;
use std::time::Duration;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use web::{Reply, Request};

/// The longest that `/slow` sleeps.
const SLOW_MS_MAX: u64 = 60_000;
/// The most that `/bytes` sends.
const BYTES_MAX: u64 = 1 << 30;

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let request = Request::new(request);
        match request.path.as_str() {
            "/echo" => echo(&request, out),
            "/bytes" => bytes(&request, out),
            "/drip" => drip(&request, out),
            _ => reply(&request).send(out),
        }
    }
}

fn reply(request: &Request) -> Reply {
    match request.path.as_str() {
        "/" => {
            let name = web::env("NAME").unwrap_or_else(|| "world".to_owned());
            Reply::text(
                200,
                format!("Hello, {name}! This is {}.\n", web::pod_name()),
            )
        }
        "/healthz" => web::health(),
        "/env" => {
            let mut lines: Vec<String> = std::env::vars()
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect();
            lines.sort();
            Reply::text(200, lines.concat())
        }
        "/file" => file(request.param("path").unwrap_or_default()),
        "/slow" => {
            let asked = request.param("ms").and_then(|ms| ms.parse().ok());
            let ms = asked.unwrap_or(1000).min(SLOW_MS_MAX);
            std::thread::sleep(Duration::from_millis(ms));
            Reply::text(200, format!("slept {ms} ms\n"))
        }
        "/spin" => spin(),
        "/alloc" => {
            let asked = request.param("mib").and_then(|mib| mib.parse().ok());
            let mib: usize = asked.unwrap_or(64);
            let memory = vec![1_u8; mib << 20];
            let touched = memory
                .iter()
                .step_by(4096)
                .filter(|byte| **byte == 1)
                .count();
            Reply::text(200, format!("{mib} MiB in {touched} pages\n"))
        }
        "/panic" => panic!("asked to"),
        path => match path.strip_prefix("/status/").map(str::parse) {
            Some(Ok(status @ 200..=599)) => Reply::text(status, format!("status {status}\n")),
            Some(_) => Reply::text(400, "a status is a number from 200 to 599\n"),
            None => Reply::text(404, format!("no such path: {path}\n")),
        },
    }
}

/// What a file says now.
fn file(path: &str) -> Reply {
    match std::fs::read(path) {
        Ok(content) => Reply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: content,
        },
        Err(error) => Reply::text(404, format!("cannot read {path:?}: {error}\n")),
    }
}

/// Burns CPU until the node ends it.
fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

/// Sends the request's body back as it comes in.
fn echo(request: &Request, out: ResponseOutparam) {
    let (_body, mut input) = match request.body() {
        Ok(parts) => parts,
        Err(error) => return Reply::text(400, format!("{error}\n")).send(out),
    };
    let content_type = request
        .header("content-type")
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    web::stream(out, &content_type, |output| {
        std::io::copy(&mut input, output).map(drop)
    });
}

/// Streams `?n=` bytes.
fn bytes(request: &Request, out: ResponseOutparam) {
    let asked = request.param("n").and_then(|n| n.parse().ok());
    let n: u64 = asked.unwrap_or(1 << 20).min(BYTES_MAX);
    web::stream(out, "application/octet-stream", |output| {
        std::io::copy(&mut std::io::repeat(b'x').take(n), output).map(drop)
    });
}

/// Streams `?n=` lines with `?ms=` between them; with `?then=panic` it falls over at the end.
fn drip(request: &Request, out: ResponseOutparam) {
    let number = |name| request.param(name).and_then(|value| value.parse().ok());
    let lines: u64 = number("n").unwrap_or(10).min(1_000_000);
    let pause = Duration::from_millis(number("ms").unwrap_or(100).min(SLOW_MS_MAX));
    web::stream(out, "text/plain; charset=utf-8", |output| {
        for line in 1..=lines {
            writeln!(output, "line {line} of {lines}")?;
            output.flush()?;
            std::thread::sleep(pause);
        }
        if request.param("then") == Some("panic") {
            panic!("asked to, after {lines} lines");
        }
        Ok(())
    });
}
