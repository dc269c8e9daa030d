//! Impersonation: asking as somebody else.
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/>.

use std::sync::Arc;

use euston_access::user::{
    ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account_groups, service_account_of,
};
use euston_access::{Action, Asked, User};
use http::HeaderMap;

use super::Access;
use crate::error::{ApiError, Result};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The group of what users are made of, where it is not core.
const AUTHENTICATION: &str = "authentication.k8s.io";

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    headers
        .get(name)
        .map(|value| readable(name, value))
        .transpose()
}

fn readable<'a>(name: &str, value: &'a http::HeaderValue) -> Result<&'a str> {
    value.to_str().map_err(|_| {
        ApiError::bad_request(format!(
            "the header {name} holds bytes that are no visible ASCII"
        ))
    })
}

fn thing<'a>(group: &'a str, resource: &'a str, name: &'a str) -> Action<'a> {
    Action {
        group,
        resource,
        name,
        ..Action::default()
    }
}

impl Access {
    /// The user to go on with: the one that the headers ask to be, if `user` may, else `user`.
    ///
    /// # Errors
    /// 403 for each thing that may not be impersonated, 400 for headers that make no sense.
    pub fn masquerade(&self, user: Arc<User>, headers: &HeaderMap) -> Result<Arc<User>> {
        let named = |name: &str| [USER, GROUP, UID].contains(&name) || name.starts_with(EXTRA);
        if !headers.keys().any(|name| named(name.as_str())) {
            return Ok(user);
        }
        let Some(name) = text(headers, USER)?.filter(|n| !n.is_empty()) else {
            return Err(ApiError::bad_request(
                "the headers ask to impersonate groups, a uid or extra attributes without naming a user \
                 (Impersonate-User)",
            ));
        };
        let may = |thing: Action<'_>| {
            let action = Action {
                verb: "impersonate",
                ..thing
            };
            self.authorize(&user, &Asked::Resource(action))
        };
        let service_account = service_account_of(name);
        match service_account {
            Some((namespace, name)) => may(Action {
                namespace,
                ..thing("", "serviceaccounts", name)
            })?,
            None => may(thing("", "users", name))?,
        }
        let mut other = User {
            name: name.to_owned(),
            ..User::default()
        };
        for value in headers.get_all(GROUP) {
            let group = readable(GROUP, value)?;
            may(thing("", "groups", group))?;
            other.groups.push(group.to_owned());
        }
        if let Some(uid) = text(headers, UID)? {
            may(thing(AUTHENTICATION, "uids", uid))?;
            other.uid = uid.to_owned();
        }
        for (name, value) in headers {
            let Some(key) = name.as_str().strip_prefix(EXTRA) else {
                continue;
            };
            let key = percent_encoding::percent_decode_str(key)
                .decode_utf8()
                .map_err(|_| ApiError::bad_request(format!("the header {name} is not UTF-8")))?;
            let value = readable(name.as_str(), value)?;
            may(Action {
                subresource: &key,
                ..thing(AUTHENTICATION, "userextras", value)
            })?;
            other
                .extra
                .entry(key.into_owned())
                .or_default()
                .push(value.to_owned());
        }
        if other.groups.is_empty()
            && let Some((namespace, _)) = service_account
        {
            other.groups.extend(service_account_groups(namespace));
        }
        // Nobody has to ask to be what everybody is.
        let implied = if other.name == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !other.is_in(AUTHENTICATED) && !other.is_in(UNAUTHENTICATED) {
            other.groups.push(implied.to_owned());
        }
        Ok(Arc::new(other))
    }
}
