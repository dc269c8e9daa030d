//! A GET, waited for.

use std::io::Read;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingRequest, RequestOptions, Scheme,
};

/// More than this of a response is not read.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// A response, read whole.
pub struct Fetched {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Gets an `http://` or `https://` URL.
pub fn get(url: &str, timeout_ms: u64) -> Result<Fetched, String> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err(format!("{url:?} is not an http or https URL")),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let refused = |what: &str| format!("{what} of {url:?} is not allowed");
    let request = OutgoingRequest::new(Fields::new());
    request
        .set_method(&Method::Get)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .map_err(|()| refused("the scheme"))?;
    request
        .set_authority(Some(authority))
        .map_err(|()| refused("the host"))?;
    request
        .set_path_with_query(Some(path))
        .map_err(|()| refused("the path"))?;

    let options = RequestOptions::new();
    let nanos = timeout_ms.saturating_mul(1_000_000);
    // A host that does not know these options keeps its own limits.
    let _ = options.set_connect_timeout(Some(nanos));
    let _ = options.set_first_byte_timeout(Some(nanos));

    let failed = |code: ErrorCode| format!("GET {url}: {code:?}");
    let future = outgoing_handler::handle(request, Some(options)).map_err(failed)?;
    let response = loop {
        match future.get() {
            Some(Ok(response)) => break response.map_err(failed)?,
            Some(Err(())) => return Err(format!("GET {url}: the response was taken already")),
            None => future.subscribe().block(),
        }
    };
    read(&response).map_err(|error| format!("GET {url}: {error}"))
}

fn read(response: &IncomingResponse) -> std::io::Result<Fetched> {
    let gone = || std::io::Error::other("the body was taken already");
    let body = response.consume().map_err(|()| gone())?;
    let stream = body.stream().map_err(|()| gone())?;
    let mut bytes = Vec::new();
    stream.take(BODY_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Fetched {
        status: response.status(),
        body: bytes,
    })
}
