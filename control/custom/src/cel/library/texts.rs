//! Texts, patterns, base64.

use std::sync::Arc;

use super::{Error, Evaluation, Result, Value, index};

/// The longest text that one function makes, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// A value as text, as `string()` and `format` show it.
pub(in crate::cel) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entries = map
                .iter()
                .map(|(k, v)| format!("{}: {}", show(&k.value()), show(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(duration) => format!("{}s", duration.as_secs_f64()),
        Value::Type(name) => name.to_string(),
        Value::Optional(Some(of)) => format!("optional({})", show(of)),
        Value::Optional(None) => "optional.none()".to_owned(),
        Value::Quantity(quantity) => quantity.to_string(),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(ip, bits) => format!("{ip}/{bits}"),
        Value::Url(url) => url.text.clone(),
        Value::Semver([major, minor, patch], pre) if pre.is_empty() => {
            format!("{major}.{minor}.{patch}")
        }
        Value::Semver([major, minor, patch], pre) => format!("{major}.{minor}.{patch}-{pre}"),
        Value::Format(name) => (*name).to_owned(),
    }
}

/// `None` if it is no function of these.
pub(super) fn function(name: &str, args: &[Value]) -> Option<Result<Value>> {
    Some(match (name, args) {
        ("string", [Value::Bytes(bytes)]) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::text(text)),
            Err(_) => Err(Error::failed(
                "invalid UTF-8 in bytes, cannot convert to string",
            )),
        },
        ("string", [Value::List(_) | Value::Map(_) | Value::Null]) => Err(Error::overload()),
        ("string", [value]) => Ok(Value::text(show(value))),
        ("bytes", [Value::String(text)]) => Ok(Value::Bytes(text.as_bytes().into())),
        ("bytes", [bytes @ Value::Bytes(_)]) => Ok(bytes.clone()),
        _ => return None,
    })
}

/// `None` if it is no method of these.
pub(super) fn method(
    evaluation: &mut Evaluation,
    name: &str,
    target: &Value,
    args: &[Value],
) -> Option<Result<Value>> {
    use Value::{Int, String as Text};
    if let (Value::List(items), "join") = (target, name) {
        let separator = match args {
            [] => "",
            [Text(separator)] => separator,
            _ => return Some(Err(Error::overload())),
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            let Text(text) = item else {
                return Some(Err(Error::overload()));
            };
            texts.push(text.as_ref());
        }
        let size = texts.iter().map(|t| t.len() + separator.len()).sum();
        return Some(sized(size).map(|()| Value::text(texts.join(separator))));
    }
    let Text(text) = target else {
        return None;
    };
    let chars = || text.chars().collect::<Vec<char>>();
    let of = |chars: &[char]| Value::text(chars.iter().collect::<String>());
    Some(match (name, args) {
        ("contains", [Text(part)]) => {
            let cost = (text.len() / 10 + 1).saturating_mul(part.len() / 10 + 1);
            if let Err(error) = evaluation.spend(cost as u64) {
                return Some(Err(error));
            }
            Ok(Value::Bool(text.contains(part.as_ref())))
        }
        ("startsWith", [Text(part)]) => Ok(Value::Bool(text.starts_with(part.as_ref()))),
        ("endsWith", [Text(part)]) => Ok(Value::Bool(text.ends_with(part.as_ref()))),
        ("matches" | "find" | "findAll", [Text(source), ..]) => {
            matching(evaluation, name, text, source, &args[1..])
        }
        ("charAt", [Int(at)]) => index(*at, text.chars().count())
            .map(|at| Value::text(text.chars().nth(at).map(String::from).unwrap_or_default())),
        ("indexOf" | "lastIndexOf", [Text(part), from @ ..]) => place_of(name, text, part, from),
        ("lowerAscii", []) => Ok(Value::text(text.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Value::text(text.to_ascii_uppercase())),
        ("trim", []) => Ok(Value::text(text.trim())),
        ("reverse", []) => Ok(Value::text(text.chars().rev().collect::<String>())),
        ("replace", [Text(from), Text(to)]) => replace(text, from, to, usize::MAX),
        ("replace", [Text(from), Text(to), Int(times)]) => replace(
            text,
            from,
            to,
            usize::try_from(*times).unwrap_or(usize::MAX),
        ),
        // Every part is a value of its own.
        ("split", _) if evaluation.spend(text.len() as u64).is_err() => Err(Error::TooMuch),
        ("split", [Text(by)]) => Ok(split(text, by, None)),
        ("split", [Text(by), Int(parts)]) => Ok(split(text, by, usize::try_from(*parts).ok())),
        ("substring", [Int(from)]) => {
            let chars = chars();
            index(*from, chars.len()).map(|from| of(&chars[from..]))
        }
        ("substring", [Int(from), Int(to)]) => {
            let chars = chars();
            let bounds = index(*from, chars.len()).and_then(|f| Ok((f, index(*to, chars.len())?)));
            bounds.and_then(|(from, to)| match chars.get(from..to) {
                Some(part) => Ok(of(part)),
                None => Err(Error::failed(format!(
                    "invalid substring range. start: {from}, end: {to}"
                ))),
            })
        }
        ("format", [Value::List(args)]) => format(text, args),
        _ => return None,
    })
}

/// Whether a text of so many bytes may be made: asked before it is.
fn sized(bytes: usize) -> Result<()> {
    if bytes > TEXT_BYTES_MAX {
        return Err(Error::TooMuch);
    }
    Ok(())
}

fn replace(text: &str, from: &str, to: &str, times: usize) -> Result<Value> {
    let found = text.matches(from).take(times).count();
    sized(text.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(Value::text(text.replacen(from, to, times)))
}

fn matching(
    evaluation: &mut Evaluation,
    name: &str,
    text: &str,
    source: &str,
    rest: &[Value],
) -> Result<Value> {
    let cost = (text.len() / 10 + 1).saturating_mul(source.len() / 4 + 1);
    evaluation.spend(cost as u64)?;
    let regex = evaluation.pattern(source)?;
    match (name, rest) {
        ("matches", []) => Ok(Value::Bool(regex.is_match(text))),
        ("find", []) => Ok(Value::text(regex.find(text).map_or("", |m| m.as_str()))),
        ("findAll", _) => {
            let limit = match rest {
                [] => usize::MAX,
                [Value::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => return Err(Error::overload()),
            };
            evaluation.spend(text.len() as u64)?;
            let found = regex.find_iter(text).take(limit);
            Ok(Value::list(
                found.map(|m| Value::text(m.as_str())).collect(),
            ))
        }
        _ => Err(Error::overload()),
    }
}

/// Where a part begins, counted in characters; -1 if nowhere.
fn place_of(name: &str, text: &str, part: &str, from: &[Value]) -> Result<Value> {
    let chars: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = part.chars().collect();
    let last = chars.len().checked_sub(wanted.len());
    let is_at = |at: &usize| chars[*at..].starts_with(&wanted);
    let given = match from {
        [] => None,
        [Value::Int(from)] => Some(index(*from, chars.len())?),
        _ => return Err(Error::overload()),
    };
    let Some(last) = last else {
        return Ok(Value::Int(-1));
    };
    let found = match name {
        "indexOf" => (given.unwrap_or(0)..=last).find(is_at),
        _ => (0..=given.unwrap_or(last).min(last)).rev().find(is_at),
    };
    Ok(Value::Int(
        found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1),
    ))
}

fn split(text: &str, by: &str, parts: Option<usize>) -> Value {
    let texts: Vec<Value> = match (by, parts) {
        (_, Some(0)) => Vec::new(),
        ("", limit) => {
            let chars: Vec<char> = text.chars().collect();
            let single = limit.map_or(chars.len(), |l| chars.len().min(l - 1));
            let mut texts: Vec<Value> = chars[..single]
                .iter()
                .map(|c| Value::text(c.to_string()))
                .collect();
            if single < chars.len() {
                texts.push(Value::text(chars[single..].iter().collect::<String>()));
            }
            texts
        }
        (by, Some(limit)) => text.splitn(limit, by).map(Value::text).collect(),
        (by, None) => text.split(by).map(Value::text).collect(),
    };
    Value::list(texts)
}

/// `"%s is %d".format([a, b])`
fn format(text: &str, args: &[Value]) -> Result<Value> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = text.chars().peekable();
    let bad = |what: &str| Error::failed(format!("could not parse formatting clause: {what}"));
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                digits.push(d);
            }
            precision = digits.parse::<usize>().ok().filter(|p| *p <= 100);
        }
        let verb = chars
            .next()
            .ok_or_else(|| bad("unexpected end of string"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.next().ok_or_else(|| bad("index out of range"))?;
        let number = match arg {
            Value::Int(n) => Some(*n as f64),
            Value::Uint(n) => Some(*n as f64),
            Value::Double(n) => Some(*n),
            _ => None,
        };
        let whole = match arg {
            Value::Int(n) => Some(i128::from(*n)),
            Value::Uint(n) => Some(i128::from(*n)),
            Value::Bool(is) => Some(i128::from(*is)),
            _ => None,
        };
        let shown = match (verb, whole, number) {
            ('s', ..) => Some(show(arg)),
            ('d', Some(n), _) => Some(n.to_string()),
            ('f', _, Some(n)) => Some(format!("{n:.*}", precision.unwrap_or(6))),
            ('e', _, Some(n)) => Some(format!("{n:.*e}", precision.unwrap_or(6))),
            ('b', Some(n), _) => Some(format!("{n:b}")),
            ('o', Some(n), _) => Some(format!("{n:o}")),
            ('x', Some(n), _) => Some(format!("{n:x}")),
            ('X', Some(n), _) => Some(format!("{n:X}")),
            ('x', None, _) => Some(hex(show(arg).as_bytes())),
            _ => None,
        };
        out.push_str(&shown.ok_or_else(|| bad(&format!("%{verb} of a {}", arg.type_name())))?);
        if out.len() > TEXT_BYTES_MAX {
            return Err(Error::TooMuch);
        }
    }
    Ok(Value::text(out))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Functions of `strings` and `base64`.
pub(super) fn in_module(name: &str, args: &[Value]) -> Result<Value> {
    match (name, args) {
        ("quote", [Value::String(text)]) => Ok(Value::text(format!("{text:?}"))),
        ("encode", [Value::Bytes(bytes)]) => Ok(Value::text(encode_base64(bytes))),
        ("decode", [Value::String(text)]) => decode_base64(text)
            .map(|bytes| Value::Bytes(Arc::from(bytes)))
            .ok_or_else(|| Error::failed("illegal base64 data")),
        _ => Err(Error::overload()),
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from(word[0]) << 16 | u32::from(word[1]) << 8 | u32::from(word[2]);
        for i in 0..4 {
            let index = (bits >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= chunk.len() {
                char::from(BASE64[index])
            } else {
                '='
            });
        }
    }
    out
}

/// The bytes that base64 stands for; with or without padding.
pub(in crate::cel) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes() {
        let value = BASE64.iter().position(|b| *b == byte)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}
