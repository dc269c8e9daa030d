//! Errors, in the words and codes of etcd: its clients tell them apart by the text.

use raft_store::{Error, WatchError};
use tonic::{Code, Status};

/// Why etcd refuses a request, as far as the store has no error of that kind, or is not asked.
///
/// Source: `etcdserver/api/v3rpc/rpctypes` of etcd 3.4, whose texts are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    EmptyKey,
    KeyNotFound,
    ValueProvided,
    LeaseProvided,
    TooManyOps,
    DuplicateKey,
    Compacted,
    FutureRevision,
    NoSpace,
    LeaseNotFound,
    LeaseExists,
    LeaseTtl,
    MemberUrls,
    PeerUrlExists,
    MemberNotFound,
    NotLearner,
    LearnerNotReady,
    NotEnoughStarted,
    RequestTooLarge,
    TooManyRequests,
    AuthNotEnabled,
    NoLeader,
    NotLeader,
    LeaderChanged,
    Stopped,
    Timeout,
    Unhealthy,
    BadTransferee,
}

impl Refused {
    const fn words(self) -> (Code, &'static str) {
        match self {
            Self::EmptyKey => (Code::InvalidArgument, "etcdserver: key is not provided"),
            Self::KeyNotFound => (Code::InvalidArgument, "etcdserver: key not found"),
            Self::ValueProvided => (Code::InvalidArgument, "etcdserver: value is provided"),
            Self::LeaseProvided => (Code::InvalidArgument, "etcdserver: lease is provided"),
            Self::TooManyOps => (
                Code::InvalidArgument,
                "etcdserver: too many operations in txn request",
            ),
            Self::DuplicateKey => (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
            ),
            Self::Compacted => (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            Self::FutureRevision => (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            Self::NoSpace => (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
            Self::LeaseNotFound => (Code::NotFound, "etcdserver: requested lease not found"),
            Self::LeaseExists => (Code::FailedPrecondition, "etcdserver: lease already exists"),
            Self::LeaseTtl => (Code::OutOfRange, "etcdserver: too large lease TTL"),
            Self::MemberUrls => (
                Code::InvalidArgument,
                "etcdserver: given member URLs are invalid",
            ),
            Self::PeerUrlExists => (
                Code::FailedPrecondition,
                "etcdserver: Peer URLs already exists",
            ),
            Self::MemberNotFound => (Code::NotFound, "etcdserver: member not found"),
            Self::NotLearner => (
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member",
            ),
            Self::LearnerNotReady => (
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member which is in sync with leader",
            ),
            Self::NotEnoughStarted => (
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members",
            ),
            Self::RequestTooLarge => (Code::InvalidArgument, "etcdserver: request is too large"),
            Self::TooManyRequests => (Code::ResourceExhausted, "etcdserver: too many requests"),
            Self::AuthNotEnabled => (
                Code::FailedPrecondition,
                "etcdserver: authentication is not enabled",
            ),
            Self::NoLeader => (Code::Unavailable, "etcdserver: no leader"),
            Self::NotLeader => (Code::FailedPrecondition, "etcdserver: not leader"),
            Self::LeaderChanged => (Code::Unavailable, "etcdserver: leader changed"),
            Self::Stopped => (Code::Unavailable, "etcdserver: server stopped"),
            Self::Timeout => (Code::Unavailable, "etcdserver: request timed out"),
            Self::Unhealthy => (Code::Unavailable, "etcdserver: unhealthy cluster"),
            Self::BadTransferee => (
                Code::FailedPrecondition,
                "etcdserver: bad leader transferee",
            ),
        }
    }

    /// The text alone.
    pub(crate) const fn text(self) -> &'static str {
        self.words().1
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let (code, text) = refused.words();
        Self::new(code, text)
    }
}

/// A store's error, as etcd would say it.
pub(crate) fn status_of(error: &Error) -> Status {
    let refused = match error {
        Error::Compacted { .. } => Refused::Compacted,
        Error::FutureRevision { .. } => Refused::FutureRevision,
        Error::DuplicateKey { .. } => Refused::DuplicateKey,
        Error::EmptyKey { .. } => Refused::EmptyKey,
        Error::TooLarge { .. } => Refused::RequestTooLarge,
        Error::TooManySteps { .. } => Refused::TooManyOps,
        Error::KeyNotFound { .. } => Refused::KeyNotFound,
        Error::LeaseNotFound { .. } => Refused::LeaseNotFound,
        Error::LeaseExists { .. } => Refused::LeaseExists,
        Error::LeaseTtl { .. } => Refused::LeaseTtl,
        Error::NoSpace => Refused::NoSpace,
        Error::MemberNotFound { .. } => Refused::MemberNotFound,
        Error::MemberExists => Refused::PeerUrlExists,
        Error::NotLearner { .. } => Refused::NotLearner,
        Error::LearnerNotReady => Refused::LearnerNotReady,
        Error::UnhealthyGroup => Refused::NotEnoughStarted,
        Error::Unavailable { .. } => Refused::Unhealthy,
        Error::Overloaded { .. } => Refused::TooManyRequests,
        Error::Timeout { .. } => Refused::Timeout,
        // etcd's followers forward too, and say this where what they had forwarded is lost with a leader.
        Error::NotLeader { .. } => Refused::LeaderChanged,
        Error::Stopped { .. } => Refused::Stopped,
    };
    refused.into()
}

/// Why all watches of a stream end.
pub(crate) fn watch_status(error: &WatchError) -> Status {
    match error {
        WatchError::Compacted { .. } => Refused::Compacted.into(),
        WatchError::Stopped { .. } => Refused::Stopped.into(),
    }
}
