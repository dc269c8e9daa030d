//! Kubernetes' own: quantities, addresses, URLs, versions, named formats.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use euston_api::names;
use euston_api::quantity::Quantity;

use super::{Error, Result, Value};

/// An absolute URL or path, taken apart.
#[derive(Debug)]
pub(in crate::cel) struct Url {
    pub(in crate::cel) text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    fn parse(text: &str) -> Option<Url> {
        if text.contains(|c: char| c.is_control() || c == ' ') {
            return None;
        }
        let (scheme, rest) = match text.strip_prefix('/') {
            Some(_) => ("", text),
            None => text.split_once(':').filter(|(scheme, rest)| {
                scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !rest.is_empty()
            })?,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            _ => ("", rest),
        };
        Some(Url {
            text: text.to_owned(),
            scheme: scheme.to_owned(),
            host: host.rsplit('@').next().unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }

    fn host_and_port(&self) -> (&str, &str) {
        let end = self.host.rfind(']').map_or(0, |at| at + 1);
        match self.host[end..].rfind(':') {
            Some(at) => (&self.host[..end + at], &self.host[end + at + 1..]),
            None => (&self.host, ""),
        }
    }
}

fn quantity(text: &str) -> Result<Quantity> {
    Quantity::parse(text).map_err(|error| Error::failed(error.to_string()))
}

/// An address without a zone, and no IPv4 address in the clothes of an IPv6 one.
fn ip(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let (ip, bits) = (ip(address)?, bits.parse::<u8>().ok().filter(|_| plain)?);
    (bits <= width(ip)).then_some((ip, bits))
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The bits of an address, on the left.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(ip: IpAddr, length: u8) -> IpAddr {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    let kept = bits(ip) & mask;
    match ip {
        IpAddr::V4(_) => IpAddr::V4(((kept >> 96) as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    }
}

fn holds(outer: (IpAddr, u8), inner: (IpAddr, u8)) -> bool {
    outer.0.is_ipv4() == inner.0.is_ipv4()
        && inner.1 >= outer.1
        && masked(outer.0, outer.1) == masked(inner.0, outer.1)
}

/// `1.2.3-pre`; `lenient` takes `v1.2` as well.
fn semver(text: &str, lenient: bool) -> Option<Value> {
    let text = match lenient {
        true => text.strip_prefix('v').unwrap_or(text),
        false => text,
    };
    let text = text.split('+').next().unwrap_or_default();
    let (core, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut numbers: Vec<u64> = Vec::new();
    for part in core.split('.') {
        let plain = part.bytes().all(|b| b.is_ascii_digit())
            && (lenient || part == "0" || !part.starts_with('0'));
        numbers.push(part.parse().ok().filter(|_| plain)?);
    }
    if lenient {
        numbers.resize(numbers.len().max(3), 0);
    }
    let named =
        |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let sound = pre.is_empty() || pre.split('.').all(named);
    let numbers: [u64; 3] = numbers.try_into().ok().filter(|_| sound)?;
    Some(Value::Semver(numbers, pre.into()))
}

/// `None` if it is no function of these.
pub(super) fn function(name: &str, args: &[Value]) -> Option<Result<Value>> {
    use Value::String as Text;
    let is = |is: bool| Ok(Value::Bool(is));
    Some(match (name, args) {
        ("quantity", [Text(text)]) => quantity(text).map(Value::Quantity),
        ("isQuantity", [Text(text)]) => is(Quantity::parse(text).is_ok()),
        ("ip", [Text(text)]) => ip(text).map(Value::Ip).ok_or_else(|| {
            Error::failed(format!(
                "IP Address {text:?} parse error during conversion from string"
            ))
        }),
        ("isIP", [Text(text)]) => is(ip(text).is_some()),
        ("cidr", [Text(text)]) => cidr(text)
            .map(|(ip, bits)| Value::Cidr(ip, bits))
            .ok_or_else(|| {
                Error::failed(format!(
                    "network address parse error during conversion from string: {text:?}"
                ))
            }),
        ("isCIDR", [Text(text)]) => is(cidr(text).is_some()),
        ("url", [Text(text)]) => Url::parse(text)
            .map(|url| Value::Url(Arc::new(url)))
            .ok_or_else(|| {
                Error::failed(format!(
                    "URL parse error during conversion from string: {text:?}"
                ))
            }),
        ("isURL", [Text(text)]) => is(Url::parse(text).is_some()),
        ("semver", [Text(text), rest @ ..]) => semver(text, matches!(rest, [Value::Bool(true)]))
            .ok_or_else(|| Error::failed(format!("invalid semantic version {text:?}"))),
        ("isSemver", [Text(text), rest @ ..]) => {
            is(semver(text, matches!(rest, [Value::Bool(true)])).is_some())
        }
        _ => return None,
    })
}

/// `None` if it is no method of these.
pub(super) fn method(name: &str, target: &Value, args: &[Value]) -> Option<Result<Value>> {
    let is = |is: bool| Ok(Value::Bool(is));
    Some(match (target, name, args) {
        (
            Value::Quantity(_) | Value::Semver(..),
            "isGreaterThan" | "isLessThan" | "compareTo",
            [other],
        ) => {
            let Some(order) = target.order(other) else {
                return Some(Err(Error::overload()));
            };
            match name {
                "isGreaterThan" => is(order == Ordering::Greater),
                "isLessThan" => is(order == Ordering::Less),
                _ => Ok(Value::Int(order as i64)),
            }
        }
        (Value::Quantity(quantity), ..) => return quantity_method(*quantity, name, args),
        (Value::Semver([major, minor, patch], _), name, []) => {
            let part = match name {
                "major" => *major,
                "minor" => *minor,
                "patch" => *patch,
                _ => return None,
            };
            Ok(Value::Int(i64::try_from(part).unwrap_or(i64::MAX)))
        }
        (Value::Ip(ip), name, []) => match name {
            "family" => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
            "isUnspecified" => is(ip.is_unspecified()),
            "isLoopback" => is(ip.is_loopback()),
            "isLinkLocalMulticast" => is(match ip {
                IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
                IpAddr::V6(v6) => v6.segments()[0] == 0xff02,
            }),
            "isLinkLocalUnicast" => is(match ip {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
            }),
            "isGlobalUnicast" => is(match ip {
                IpAddr::V4(v4) => {
                    !(v4.is_unspecified()
                        || v4.is_loopback()
                        || v4.is_multicast()
                        || v4.is_link_local()
                        || v4.is_broadcast())
                }
                IpAddr::V6(v6) => {
                    !(v6.is_unspecified()
                        || v6.is_loopback()
                        || v6.is_multicast()
                        || v6.segments()[0] & 0xffc0 == 0xfe80)
                }
            }),
            _ => return None,
        },
        (Value::Cidr(address, length), name, args) => match (name, args) {
            ("ip", []) => Ok(Value::Ip(*address)),
            ("masked", []) => Ok(Value::Cidr(masked(*address, *length), *length)),
            ("prefixLength", []) => Ok(Value::Int((*length).into())),
            ("containsIP", [Value::Ip(ip)]) => is(holds((*address, *length), (*ip, width(*ip)))),
            ("containsIP", [Value::String(text)]) => match ip(text) {
                Some(ip) => is(holds((*address, *length), (ip, width(ip)))),
                None => Err(Error::failed(format!("IP Address {text:?} parse error"))),
            },
            ("containsCIDR", [Value::Cidr(ip, bits)]) => {
                is(holds((*address, *length), (*ip, *bits)))
            }
            ("containsCIDR", [Value::String(text)]) => match cidr(text) {
                Some(inner) => is(holds((*address, *length), inner)),
                None => Err(Error::failed(format!(
                    "network address parse error: {text:?}"
                ))),
            },
            _ => return None,
        },
        (Value::Url(url), name, []) => match name {
            "getScheme" => Ok(Value::text(url.scheme.as_str())),
            "getHost" => Ok(Value::text(url.host.as_str())),
            "getHostname" => Ok(Value::text(url.host_and_port().0.trim_matches(['[', ']']))),
            "getPort" => Ok(Value::text(url.host_and_port().1)),
            "getEscapedPath" => Ok(Value::text(url.path.as_str())),
            "getQuery" => Ok(query(&url.query)),
            _ => return None,
        },
        (Value::Format(format), "validate", [Value::String(text)]) => {
            let problems: Vec<Value> = problems(format, text)
                .into_iter()
                .map(Value::text)
                .collect();
            let some = (!problems.is_empty()).then(|| Arc::new(Value::list(problems)));
            Ok(Value::Optional(some))
        }
        _ => return None,
    })
}

fn quantity_method(quantity: Quantity, name: &str, args: &[Value]) -> Option<Result<Value>> {
    let other = match args {
        [] => None,
        [Value::Quantity(other)] => Some(*other),
        [Value::Int(n)] => Some(Quantity::from_value(
            *n,
            euston_api::quantity::Format::DecimalSi,
        )),
        _ => return None,
    };
    Some(Ok(match (name, other) {
        ("add", Some(other)) => Value::Quantity(quantity.plus(other)),
        ("sub", Some(other)) => Value::Quantity(quantity.minus(other)),
        ("sign", None) => Value::Int(match () {
            () if quantity.is_zero() => 0,
            () if quantity.is_negative() => -1,
            () => 1,
        }),
        ("isInteger", None) => Value::Bool(quantity.is_whole()),
        ("asInteger", None) if quantity.is_whole() => Value::Int(quantity.value()),
        ("asInteger", None) => return Some(Err(Error::failed("cannot convert value to integer"))),
        ("asApproximateFloat", None) => Value::Double(quantity.milli() as f64 / 1000.0),
        _ => return None,
    }))
}

fn query(text: &str) -> Value {
    use super::Key;
    let mut map: std::collections::BTreeMap<Key, Vec<Value>> = std::collections::BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        map.entry(Key::String(key.into()))
            .or_default()
            .push(Value::text(value));
    }
    let map = map
        .into_iter()
        .map(|(key, values)| (key, Value::list(values)));
    Value::Map(Arc::new(map.collect()))
}

const FORMATS: &[&str] = &[
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "qualifiedName",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

fn problems(format: &str, text: &str) -> Vec<String> {
    let of = |schema_format: &str, words: &str| match crate::schema::is_of(schema_format, text) {
        true => Vec::new(),
        false => vec![words.to_owned()],
    };
    // A prefix is followed by something: a letter stands for it.
    let longer = || format!("{}a", text.strip_suffix('-').unwrap_or(text));
    match format {
        "dns1123Label" => names::dns1123_label(text),
        "dns1123Subdomain" => names::dns1123_subdomain(text),
        "dns1035Label" => names::dns1035_label(text),
        "dns1123LabelPrefix" => names::dns1123_label(&longer()),
        "dns1123SubdomainPrefix" => names::dns1123_subdomain(&longer()),
        "dns1035LabelPrefix" => names::dns1035_label(&longer()),
        "qualifiedName" => names::qualified_name(text),
        "labelValue" => names::label_value(text),
        "uri" => of("uri", "invalid URI"),
        "uuid" => of("uuid", "does not match the UUID format"),
        "byte" => of("byte", "invalid base64"),
        "date" => of("date", "invalid date"),
        _ => of("date-time", "invalid datetime"),
    }
}

/// Functions of `format`, `ip` and `cidr`.
pub(super) fn in_module(module: &str, name: &str, args: &[Value]) -> Result<Value> {
    let named = |name: &str| FORMATS.iter().find(|f| **f == name).copied();
    match (module, name, args) {
        ("format", "named", [Value::String(name)]) => Ok(Value::Optional(
            named(name).map(|f| Arc::new(Value::Format(f))),
        )),
        ("format", name, []) => named(name).map(Value::Format).ok_or_else(Error::overload),
        ("ip", "isCanonical", [Value::String(text)]) => match ip(text) {
            Some(ip) => Ok(Value::Bool(ip.to_string() == text.as_ref())),
            None => Err(Error::failed(format!(
                "IP Address {text:?} parse error during conversion from string"
            ))),
        },
        _ => Err(Error::overload()),
    }
}
