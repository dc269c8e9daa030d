//! A member of the group, as its table of members has it.

/// A member, as the group knows it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Member {
    /// Given once, never used again, not even after the member was removed.
    pub id: u64,
    /// What people call it; empty until the member has published it.
    pub name: String,
    /// Where other members reach it; any of them will do.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until the member has published them.
    pub client_urls: Vec<String>,
    /// Whether it is sent the log without having a vote.
    pub learner: bool,
}

/// What is wrong with a member, so that the whole group must act on it until somebody turns it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// Its data outgrew the quota. Writes that need room are refused by all members.
    NoSpace,
    /// Its data contradicts that of other members.
    Corrupt,
}
