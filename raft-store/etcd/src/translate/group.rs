//! Members and alarms.

use raft_store::{Alarm, Member};
use tonic::Status;

use super::Refused;
use crate::etcdserverpb as pb;

/// Urls of one member, and the length of one; what the network between members takes.
const URLS_MAX: usize = 16;
const URL_BYTES_MAX: usize = 512;

pub(crate) fn member(member: Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        is_learner: member.learner,
    }
}

pub(crate) fn members(of: Vec<Member>) -> Vec<pb::Member> {
    of.into_iter().map(member).collect()
}

/// Refuses peer urls that etcd would: none at all, or other than `http(s)://host:port`.
pub(crate) fn peer_urls(urls: Vec<String>) -> Result<Vec<String>, Status> {
    let fits = |url: &String| {
        url.len() <= URL_BYTES_MAX
            && url.parse::<http::Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && matches!(uri.path(), "" | "/")
                    && uri.query().is_none()
                    && uri.port_u16().is_some_and(|port| port > 0)
            })
    };
    if urls.is_empty() || urls.len() > URLS_MAX || !urls.iter().all(fits) {
        return Err(Refused::MemberUrls.into());
    }
    Ok(urls)
}

/// An alarm by its number; `None` stands for no certain one.
pub(crate) fn alarm_of(alarm: i32) -> Result<Option<Alarm>, Status> {
    match pb::AlarmType::try_from(alarm) {
        Ok(pb::AlarmType::None) => Ok(None),
        Ok(pb::AlarmType::Nospace) => Ok(Some(Alarm::NoSpace)),
        Ok(pb::AlarmType::Corrupt) => Ok(Some(Alarm::Corrupt)),
        Err(_) => Err(Status::invalid_argument(format!(
            "there is no alarm of type {alarm}"
        ))),
    }
}

pub(crate) fn alarms(on: Vec<(u64, Alarm)>) -> Vec<pb::AlarmMember> {
    let alarm = |alarm| match alarm {
        Alarm::NoSpace => pb::AlarmType::Nospace,
        Alarm::Corrupt => pb::AlarmType::Corrupt,
    };
    on.into_iter()
        .map(|(member_id, on)| pb::AlarmMember {
            member_id,
            alarm: alarm(on).into(),
        })
        .collect()
}
