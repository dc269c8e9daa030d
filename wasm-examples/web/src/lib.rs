//! What the HTTP guests share: requests, replies, and a client, over `wasi:http` 0.2.
//!
//! Thin on purpose: a guest is a function from [`Request`] to [`Reply`], and where it wants to
//! stream, the bindings are right there.

mod client;

pub use client::{Fetched, get};

use std::io::{self, Write};
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse,
    ResponseOutparam,
};

/// An incoming request; its body is read only when asked for.
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Behind the `?`; empty if there is none.
    pub query: String,
    raw: IncomingRequest,
}

impl Request {
    pub fn new(raw: IncomingRequest) -> Self {
        let target = raw.path_with_query().unwrap_or_else(|| "/".to_owned());
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), query.to_owned()),
            None => (target, String::new()),
        };
        Self {
            method: method_name(&raw.method()),
            path,
            query,
            raw,
        }
    }

    /// The first value of a query parameter, as it is written.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.raw.headers().get(name).into_iter().next()?;
        String::from_utf8(value).ok()
    }

    /// The body, to be read as a stream. Keep the first part while reading the second.
    pub fn body(&self) -> io::Result<(IncomingBody, wasip2::io::streams::InputStream)> {
        let gone = || io::Error::other("the body was taken already");
        let body = self.raw.consume().map_err(|()| gone())?;
        let stream = body.stream().map_err(|()| gone())?;
        Ok((body, stream))
    }
}

fn method_name(method: &Method) -> String {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
    .to_owned()
}

/// A response whose body is at hand.
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into().into_bytes(),
        }
    }

    pub fn html(body: String) -> Self {
        Self {
            status: 200,
            content_type: "text/html; charset=utf-8",
            body: body.into_bytes(),
        }
    }

    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: "application/json",
            body,
        }
    }

    /// Sends it. A caller that went away is no error of ours.
    pub fn send(self, out: ResponseOutparam) {
        let length = self.body.len().to_string();
        let head = start(self.status, self.content_type, Some(&length));
        let Some((response, body)) = head else {
            return refuse(out);
        };
        ResponseOutparam::set(out, Ok(response));
        if let Ok(mut stream) = body.write() {
            let written = stream
                .write_all(&self.body)
                .and_then(|()| Write::flush(&mut stream));
            if let Err(error) = written {
                eprintln!("the caller went away: {error}");
            }
        }
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Sends a response whose body `write` produces as it goes.
pub fn stream(
    out: ResponseOutparam,
    content_type: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) {
    let Some((response, body)) = start(200, content_type, None) else {
        return refuse(out);
    };
    ResponseOutparam::set(out, Ok(response));
    let result = match body.write() {
        Ok(mut stream) => write(&mut stream).and_then(|()| Write::flush(&mut stream)),
        Err(()) => return,
    };
    match result {
        Ok(()) => {
            let _ = OutgoingBody::finish(body, None);
        }
        // Dropped without `finish`, the body ends in an error: nobody takes a part for the whole.
        Err(error) => eprintln!("the response broke off: {error}"),
    }
}

fn start(
    status: u16,
    content_type: &str,
    length: Option<&str>,
) -> Option<(OutgoingResponse, OutgoingBody)> {
    let mut entries = vec![("content-type".to_owned(), content_type.as_bytes().to_vec())];
    if let Some(length) = length {
        entries.push(("content-length".to_owned(), length.as_bytes().to_vec()));
    }
    let response = OutgoingResponse::new(Fields::from_list(&entries).ok()?);
    response.set_status_code(status).ok()?;
    let body = response.body().ok()?;
    Some((response, body))
}

/// There is no response to be made; says so with the only thing left.
fn refuse(out: ResponseOutparam) {
    let reason = Some("the guest could not form a response".to_owned());
    ResponseOutparam::set(out, Err(ErrorCode::InternalError(reason)));
}

/// An environment variable that is set and not empty.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The answer of `/healthz`: ready, unless the environment says `HEALTHY=false`.
pub fn health() -> Reply {
    match env("HEALTHY").as_deref() {
        Some("false" | "0" | "no") => Reply::text(503, "not healthy: HEALTHY=false\n"),
        _ => Reply::text(200, "ok\n"),
    }
}

/// The pod's name, as its manifest passes it.
pub fn pod_name() -> String {
    env("POD_NAME").unwrap_or_else(|| "unknown".to_owned())
}
