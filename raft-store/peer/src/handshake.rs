//! Who may talk to whom: decided here, from what both sides say of themselves.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::proto::Handshake;

/// The version of the protocol. Members of another version are refused: there is only one yet.
pub(crate) const VERSION: u32 = 1;

/// The trailer that tells programs why a call was refused.
const TRAILER: &str = "euston-refused";

/// What a member knows when it is called.
pub(crate) struct Callee<'a> {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Whether the caller was removed from the group.
    pub(crate) removed: bool,
    /// Whether the caller is in the table of members, or may talk although it is not.
    pub(crate) welcome: bool,
    /// Whether the certificate may speak for the caller.
    pub(crate) identity: &'a dyn Fn() -> Result<(), String>,
}

/// Why a call is refused. The order is that of the checks: what comes later makes no sense where something before it is
/// wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The caller speaks another version of the protocol.
    Version,
    /// The caller belongs to another group.
    Cluster,
    /// Another member was meant: an address has moved, or two members have one address.
    Member,
    /// The caller says that it is this member: two members with one id.
    Own,
    /// The certificate may not speak for the caller.
    Identity,
    /// The caller was removed from the group.
    Removed,
    /// The caller is not known.
    Unknown,
    /// Another process speaks for the caller's id since: two members with one id.
    Replaced,
}

impl Reason {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Version, "version"),
        (Self::Cluster, "cluster"),
        (Self::Member, "member"),
        (Self::Own, "own-id"),
        (Self::Identity, "identity"),
        (Self::Removed, "removed"),
        (Self::Unknown, "unknown"),
        (Self::Replaced, "replaced"),
    ];

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(reason, _)| *reason == self);
        found.map_or("", |(_, name)| name)
    }

    fn of_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(reason, _)| *reason)
    }

    fn code(self) -> Code {
        match self {
            Self::Identity | Self::Removed | Self::Unknown => Code::PermissionDenied,
            _ => Code::FailedPrecondition,
        }
    }
}

/// A call that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// For people: names both sides.
    pub(crate) what: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, call: &Handshake, callee: &Callee<'_>, why: &str) -> Self {
        let Callee {
            cluster_id,
            member_id,
            ..
        } = callee;
        let what = format!(
            "member {:016x} of cluster {:016x} called member {:016x} and was answered by member {member_id:016x} of \
             cluster {cluster_id:016x}, which refuses: {why}",
            call.from, call.cluster_id, call.to
        );
        Self { reason, what }
    }

    /// What a status says, if it says a refusal.
    pub(crate) fn of_status(status: &Status) -> Option<Self> {
        let name = status.metadata().get(TRAILER)?.to_str().ok()?;
        Some(Self {
            reason: Reason::of_name(name)?,
            what: status.message().to_owned(),
        })
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Self::new(refusal.reason.code(), refusal.what);
        let name = MetadataValue::from_static(refusal.reason.name());
        status.metadata_mut().insert(TRAILER, name);
        status
    }
}

/// Decides whether a call is taken.
pub(crate) fn check(call: &Handshake, callee: &Callee<'_>) -> Result<(), Refusal> {
    let refuse = |reason, why: &str| Err(Refusal::new(reason, call, callee, why));
    if call.version != VERSION {
        let why = format!(
            "the caller speaks version {} of the protocol between members, this member version {VERSION}",
            call.version
        );
        return refuse(Reason::Version, &why);
    }
    if call.cluster_id != callee.cluster_id {
        return refuse(
            Reason::Cluster,
            "they are of different clusters; check the peer urls",
        );
    }
    if call.to != callee.member_id {
        return refuse(
            Reason::Member,
            "another member was meant; its address has moved, or two members share an address",
        );
    }
    if call.from == callee.member_id || call.from == 0 {
        return refuse(
            Reason::Own,
            "the caller's id is its own; two members with one id, perhaps a copied data directory",
        );
    }
    if let Err(why) = (callee.identity)() {
        let why = format!("the caller's certificate may not speak for that member: {why}");
        return refuse(Reason::Identity, &why);
    }
    if callee.removed {
        return refuse(
            Reason::Removed,
            "the caller was removed from the cluster; to come back it must be added as a new member, with an empty data \
             directory",
        );
    }
    if !callee.welcome {
        return refuse(Reason::Unknown, "the caller is not known to it as a member");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting() -> Handshake {
        Handshake {
            version: VERSION,
            cluster_id: 0xc1,
            from: 0xa,
            to: 0xb,
            run: 1,
            peer_urls: Vec::new(),
        }
    }

    #[test]
    fn calls_that_do_not_fit_are_refused_by_name() {
        let callee = |removed, welcome| Callee {
            cluster_id: 0xc1,
            member_id: 0xb,
            removed,
            welcome,
            identity: &|| Ok(()),
        };
        let check = |call: Handshake, removed, welcome, expect: Result<(), (Reason, &str)>| {
            let found = super::check(&call, &callee(removed, welcome));
            match (found, expect) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err((reason, why))) => {
                    assert_eq!(found.reason, reason, "{}", found.what);
                    for part in [
                        &format!(
                            "member {:016x} of cluster {:016x}",
                            call.from, call.cluster_id
                        ),
                        "member 000000000000000b of cluster 00000000000000c1",
                        why,
                    ] {
                        assert!(found.what.contains(part), "{part:?} in {:?}", found.what);
                    }
                    // What the caller gets to see.
                    let status = Status::from(found.clone());
                    assert_eq!(Refusal::of_status(&status), Some(found));
                }
                (found, expect) => panic!("{call:?}: {found:?}, expected {expect:?}"),
            }
        };
        let with = |change: fn(&mut Handshake)| {
            let mut call = fitting();
            change(&mut call);
            call
        };
        check(fitting(), false, true, Ok(()));
        let call = with(|call| call.version = 2);
        check(call, false, true, Err((Reason::Version, "version 2")));
        let call = with(|call| call.cluster_id = 0xc2);
        check(call, false, true, Err((Reason::Cluster, "different")));
        let call = with(|call| call.to = 0xd);
        check(call, false, true, Err((Reason::Member, "was meant")));
        let call = with(|call| call.from = 0xb);
        check(call, false, true, Err((Reason::Own, "one id")));
        let call = with(|call| call.from = 0);
        check(call, false, true, Err((Reason::Own, "one id")));
        check(fitting(), true, false, Err((Reason::Removed, "removed")));
        check(fitting(), true, true, Err((Reason::Removed, "removed")));
        check(fitting(), false, false, Err((Reason::Unknown, "not known")));
    }

    #[test]
    fn a_certificate_of_another_is_refused_with_its_reason() {
        let callee = Callee {
            cluster_id: 0xc1,
            member_id: 0xb,
            removed: false,
            welcome: true,
            identity: &|| Err("it names n7".to_owned()),
        };
        let refusal = check(&fitting(), &callee).unwrap_err();
        assert_eq!(refusal.reason, Reason::Identity);
        assert!(refusal.what.contains("it names n7"));
    }

    #[test]
    fn other_statuses_are_no_refusals() {
        assert_eq!(Refusal::of_status(&Status::unavailable("later")), None);
    }
}
