//! Users as the API shows them.

use euston_access::User;
use k8s_openapi::api::authentication::v1::UserInfo;

fn given<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

/// A user as reviews show one.
pub fn user_info(user: &User) -> UserInfo {
    UserInfo {
        username: given(user.name.clone()),
        uid: given(user.uid.clone()),
        groups: given(user.groups.clone()),
        extra: given(user.extra.clone()),
    }
}
