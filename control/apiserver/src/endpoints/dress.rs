//! What is done to an answer last, whatever it says: indentation for people, no body for
//! HEAD.

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::request::Query;

/// Answers larger than this are not indented; nobody reads them.
const INDENTED_BYTES_MAX: u64 = 16 << 20;

/// How the client wants its answer dressed.
pub struct Dress {
    head: bool,
    pretty: bool,
}

impl Dress {
    /// Reads it from the request.
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        Dress {
            head: method == Method::HEAD,
            pretty: pretty(uri.query(), headers),
        }
    }

    /// Dresses a response.
    pub async fn on(&self, response: Response) -> Response {
        let response = if self.pretty {
            indented(response).await
        } else {
            response
        };
        if self.head {
            bodiless(response)
        } else {
            response
        }
    }
}

/// True if somebody asks for indentation, or uses a tool by hand (`isPrettyPrint` of
/// k8s.io/apiserver).
fn pretty(query: Option<&str>, headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    if query.is_some_and(|query| query.contains("pretty")) {
        let query = Query::parse(query);
        if let Some(value) = query.get("pretty") {
            return matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
        }
    }
    let accept = text(ACCEPT).unwrap_or_default();
    if accept
        .split([';', ','])
        .any(|part| part.trim() == "pretty=1")
    {
        return true;
    }
    let agent = text(USER_AGENT).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|tool| agent.starts_with(tool))
}

/// Indents an answer that is JSON, whole, and not named by its content (an ETag).
async fn indented(response: Response) -> Response {
    let whole = response.body().size_hint().exact();
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|t| t == "application/json");
    let fits = whole.is_some_and(|bytes| bytes > 0 && bytes <= INDENTED_BYTES_MAX);
    if !json || !fits || response.headers().contains_key(ETAG) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let body = match body.collect().await {
        Ok(collected) => Body::from(indent(&collected.to_bytes())),
        // What is there whole cannot break off.
        Err(_) => Body::empty(),
    };
    Response::from_parts(parts, body)
}

fn bodiless(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(bytes) = body.size_hint().exact() {
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    Response::from_parts(parts, Body::empty())
}

/// The same JSON with a line for each field, indented by two blanks. The input is compact, as
/// this server writes it.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                out.push(byte);
                while let Some(inner) = bytes.next() {
                    out.push(inner);
                    match inner {
                        b'\\' => out.extend(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                out.push(byte);
                if let Some(close) = bytes.next_if(|&next| next == b'}' || next == b']') {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend([byte, b' ']),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_changes_blanks_alone() {
        for json in [
            r#"{"a":1,"b":[],"c":{},"d":[1,"x,{}:[]\"\\",null],"e":{"f":true}}"#,
            r#"[{"a":"\\"},{"b":"\u00e4ö"}]"#,
            "{}",
            "7",
        ] {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            let expect = serde_json::to_string_pretty(&value).unwrap();
            let got = String::from_utf8(indent(value.to_string().as_bytes())).unwrap();
            assert_eq!(got, expect);
        }
    }

    #[test]
    fn people_get_indentation_and_programs_do_not() {
        for (query, agent, accept, expect) in [
            ("", "kubectl/v1.37.1", "application/json", false),
            ("", "curl/8.5.0", "*/*", true),
            ("", "Wget/1.21", "*/*", true),
            ("", "Mozilla/5.0 (X11)", "text/html,*/*", true),
            ("pretty=false", "curl/8.5.0", "*/*", false),
            ("pretty=0", "curl/8.5.0", "*/*", false),
            ("pretty=true", "kubectl/v1.37.1", "*/*", true),
            ("limit=5&pretty=1", "", "", true),
            ("pretty=", "curl/8.5.0", "*/*", true),
            ("pretty=maybe", "", "", false),
            ("", "", "application/json;pretty=1", true),
            ("labelSelector=pretty", "", "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, agent.parse().unwrap());
            headers.insert(ACCEPT, accept.parse().unwrap());
            let got = pretty(Some(query), &headers);
            assert_eq!(got, expect, "{query} {agent} {accept}");
        }
    }
}
