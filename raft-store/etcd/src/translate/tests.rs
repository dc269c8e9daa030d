//! Requests, answers and errors, as tables.

use bytes::Bytes;
use raft_store::{
    CompareOp, CompareTarget, Consistency, Error, KeyRange, KeyValue, Op, RangeResponse, StopCause,
    Txn, WatchError,
};
use tonic::Code;

use super::*;
use crate::etcdserverpb as pb;
use crate::etcdserverpb::compare::{CompareResult, CompareTarget as Target, Given};
use crate::etcdserverpb::range_request::{SortOrder, SortTarget};

fn text(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[test]
fn the_ends_of_ranges_are_those_of_etcd() {
    let check = |key: &'static [u8], end: &'static [u8], expect: Option<KeyRange>| {
        let found = key_range(Bytes::from_static(key), Bytes::from_static(end));
        match (found, expect) {
            (Ok(found), Some(expect)) => assert_eq!(found, expect),
            (Err(status), None) => assert_eq!(
                text(&status),
                (Code::InvalidArgument, "etcdserver: key is not provided")
            ),
            (found, expect) => panic!("{key:?} {end:?}: {found:?}, expected {expect:?}"),
        }
    };
    check(b"a", b"", Some(KeyRange::key("a")));
    check(b"a", b"b", Some(KeyRange::between("a", "b")));
    check(b"b", b"a", Some(KeyRange::between("b", "a")));
    check(b"a", b"\0", Some(KeyRange::from_key("a")));
    check(b"\0", b"\0", Some(KeyRange::from_key("\0")));
    check(b"", b"", None);
    check(b"", b"\0", None);
}

#[test]
fn a_watch_without_a_key_begins_at_the_first_one() {
    let check = |key: &'static [u8], end: &'static [u8], expect: Option<KeyRange>| {
        let found = watch_range(Bytes::from_static(key), Bytes::from_static(end));
        assert_eq!(found.ok(), expect, "{key:?} {end:?}");
    };
    check(b"", b"", Some(KeyRange::key("\0")));
    check(b"", b"\0", Some(KeyRange::from_key("\0")));
    check(b"a", b"b", Some(KeyRange::between("a", "b")));
    check(b"a", b"\0", Some(KeyRange::from_key("a")));
    check(b"a", b"a", None);
    check(b"b", b"a", None);
}

#[test]
fn errors_have_the_words_of_etcd() {
    let check = |error: Error, code: Code, expect: &str| {
        let status = status_of(&error);
        assert_eq!(text(&status), (code, expect), "{error:?}");
    };
    let key = Bytes::from_static(b"k");
    check(
        Error::Compacted {
            requested: 1,
            compacted: 2,
        },
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    );
    check(
        Error::FutureRevision {
            requested: 2,
            current: 1,
        },
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    );
    check(
        Error::DuplicateKey { key: key.clone() },
        Code::InvalidArgument,
        "etcdserver: duplicate key given in txn request",
    );
    check(
        Error::EmptyKey { what: "put" },
        Code::InvalidArgument,
        "etcdserver: key is not provided",
    );
    check(
        Error::TooLarge {
            what: "it",
            size: 2,
            max: 1,
        },
        Code::InvalidArgument,
        "etcdserver: request is too large",
    );
    check(
        Error::TooManySteps {
            what: "it",
            size: 2,
            max: 1,
        },
        Code::InvalidArgument,
        "etcdserver: too many operations in txn request",
    );
    check(
        Error::KeyNotFound { key },
        Code::InvalidArgument,
        "etcdserver: key not found",
    );
    check(
        Error::LeaseNotFound { id: 1 },
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
    check(
        Error::LeaseExists { id: 1 },
        Code::FailedPrecondition,
        "etcdserver: lease already exists",
    );
    check(
        Error::LeaseTtl { ttl: 2, max: 1 },
        Code::OutOfRange,
        "etcdserver: too large lease TTL",
    );
    check(
        Error::NoSpace,
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded",
    );
    check(
        Error::MemberNotFound { id: 1 },
        Code::NotFound,
        "etcdserver: member not found",
    );
    check(
        Error::MemberExists,
        Code::FailedPrecondition,
        "etcdserver: Peer URLs already exists",
    );
    check(
        Error::NotLearner { id: 1 },
        Code::FailedPrecondition,
        "etcdserver: can only promote a learner member",
    );
    check(
        Error::LearnerNotReady,
        Code::FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader",
    );
    check(
        Error::UnhealthyGroup,
        Code::FailedPrecondition,
        "etcdserver: re-configuration failed due to not enough started members",
    );
    check(
        Error::Unavailable { what: "it" },
        Code::Unavailable,
        "etcdserver: unhealthy cluster",
    );
    check(
        Error::Overloaded {
            queue_bytes: 1,
            waited: std::time::Duration::ZERO,
        },
        Code::ResourceExhausted,
        "etcdserver: too many requests",
    );
    check(
        Error::Timeout {
            what: "it",
            after: std::time::Duration::ZERO,
        },
        Code::Unavailable,
        "etcdserver: request timed out",
    );
    check(
        Error::NotLeader {
            leader: None,
            outcome_unknown: true,
        },
        Code::Unavailable,
        "etcdserver: leader changed",
    );
    let cause = StopCause::Shutdown;
    check(
        Error::Stopped {
            cause: cause.clone(),
        },
        Code::Unavailable,
        "etcdserver: server stopped",
    );
    let stopped = watch_status(&WatchError::Stopped { cause });
    assert_eq!(stopped.message(), "etcdserver: server stopped");
}

#[test]
fn most_reads_leave_nothing_to_do_afterwards() {
    let read = |change: fn(&mut pb::RangeRequest)| {
        let mut request = pb::RangeRequest {
            key: "k".into(),
            limit: 3,
            keys_only: true,
            ..pb::RangeRequest::default()
        };
        change(&mut request);
        range(request).expect("a valid request")
    };
    let check = |change: fn(&mut pb::RangeRequest), finishes: bool| {
        let (read, finish) = read(change);
        assert_eq!(finish.is_some(), finishes, "{read:?}");
        // What is done afterwards is done with all keys and their values.
        let all = (0, false);
        let asked = (3, true);
        let expect = if finishes { all } else { asked };
        assert_eq!((read.limit, read.keys_only), expect);
    };
    check(|_| {}, false);
    check(|r| r.sort_order = SortOrder::Ascend.into(), false);
    check(|r| r.sort_order = SortOrder::Descend.into(), true);
    check(|r| r.sort_target = SortTarget::Mod.into(), true);
    check(|r| r.min_mod_revision = 1, true);
    check(|r| r.max_create_revision = 1, true);
    check(|r| (r.count_only, r.min_mod_revision) = (true, 1), false);
    let (read, _) = range(pb::RangeRequest {
        key: "k".into(),
        limit: -1,
        revision: -1,
        serializable: true,
        ..pb::RangeRequest::default()
    })
    .expect("a valid request");
    assert_eq!(
        (read.limit, read.at_revision, read.consistency),
        (0, None, Consistency::Local)
    );
    for request in [
        pb::RangeRequest {
            key: "k".into(),
            sort_order: 3,
            ..pb::RangeRequest::default()
        },
        pb::RangeRequest {
            key: "k".into(),
            sort_target: -1,
            ..pb::RangeRequest::default()
        },
    ] {
        let status = range(request).expect_err("nothing of that kind");
        assert!(status.message().contains("unknown sort"), "{status}");
    }
}

#[test]
fn what_was_read_is_filtered_sorted_and_cut_off() {
    let kv = |key: &'static str, value: &'static str, create, modified, version| KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: create,
        mod_revision: modified,
        version,
        lease: 0,
    };
    let all = [
        kv("a", "3", 2, 9, 3),
        kv("b", "1", 3, 3, 1),
        kv("c", "2", 4, 8, 2),
    ];
    let check = |request: pb::RangeRequest, expect: &str, more: bool| {
        let (_, finish) = range(pb::RangeRequest {
            key: "a".into(),
            ..request
        })
        .expect("a valid request");
        let mut answer = RangeResponse {
            revision: 9,
            kvs: all.to_vec(),
            count: 3,
            more: false,
        };
        finish.expect("something to do").apply(&mut answer);
        let keys: Vec<u8> = answer.kvs.iter().map(|kv| kv.key[0]).collect();
        let keys = String::from_utf8(keys).expect("letters");
        assert_eq!((keys.as_str(), answer.more), (expect, more));
        assert_eq!(answer.count, 3, "is that of the whole range");
    };
    let of = |target: SortTarget, order: SortOrder, limit| pb::RangeRequest {
        sort_target: target.into(),
        sort_order: order.into(),
        limit,
        ..pb::RangeRequest::default()
    };
    check(of(SortTarget::Key, SortOrder::Descend, 0), "cba", false);
    check(of(SortTarget::Version, SortOrder::None, 0), "bca", false);
    check(of(SortTarget::Create, SortOrder::Ascend, 2), "ab", true);
    check(of(SortTarget::Mod, SortOrder::Descend, 3), "acb", false);
    check(of(SortTarget::Value, SortOrder::Ascend, 1), "b", true);
    let within = |min_mod, max_mod, min_create, max_create| pb::RangeRequest {
        min_mod_revision: min_mod,
        max_mod_revision: max_mod,
        min_create_revision: min_create,
        max_create_revision: max_create,
        ..pb::RangeRequest::default()
    };
    check(within(8, 0, 0, 0), "ac", false);
    check(within(0, 8, 0, 0), "bc", false);
    check(within(4, 8, 0, 0), "c", false);
    check(within(0, 0, 3, 3), "b", false);
    check(within(10, 0, 0, 0), "", false);
    let mut answer = RangeResponse {
        revision: 9,
        kvs: all.to_vec(),
        count: 3,
        more: false,
    };
    let (_, finish) = range(pb::RangeRequest {
        keys_only: true,
        ..pb::RangeRequest {
            key: "a".into(),
            ..of(SortTarget::Value, SortOrder::Descend, 0)
        }
    })
    .expect("a valid request");
    finish.expect("something to do").apply(&mut answer);
    assert!(answer.kvs.iter().all(|kv| kv.value.is_empty()));
    assert_eq!(answer.kvs[0].key, "a", "sorted by the values nevertheless");
}

fn put_of(key: &'static str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.into(),
        ..pb::PutRequest::default()
    }
}

#[test]
fn puts_that_contradict_themselves_are_refused() {
    let check = |request: pb::PutRequest, expect: &str| {
        let status = put(request).expect_err("refused");
        assert_eq!(text(&status), (Code::InvalidArgument, expect));
    };
    check(put_of(""), "etcdserver: key is not provided");
    check(
        pb::PutRequest {
            ignore_value: true,
            value: "v".into(),
            ..put_of("k")
        },
        "etcdserver: value is provided",
    );
    check(
        pb::PutRequest {
            ignore_lease: true,
            lease: 7,
            ..put_of("k")
        },
        "etcdserver: lease is provided",
    );
}

#[test]
fn comparisons_are_those_of_etcd_down_to_what_is_not_given() {
    let check = |target: Target, result: CompareResult, given: Option<Given>, expect| {
        let request = pb::TxnRequest {
            compare: vec![pb::Compare {
                key: "k".into(),
                target: target.into(),
                result: result.into(),
                given,
                ..pb::Compare::default()
            }],
            ..pb::TxnRequest::default()
        };
        let (txn, _) = txn(request, 128).expect("a valid request");
        let compare = &txn.compare[0];
        assert_eq!((compare.target.clone(), compare.op), expect);
    };
    use CompareResult::{Equal, Greater, Less, NotEqual};
    check(
        Target::Mod,
        Equal,
        Some(Given::ModRevision(7)),
        (CompareTarget::ModRevision(7), CompareOp::Equal),
    );
    check(
        Target::Version,
        Greater,
        None,
        (CompareTarget::Version(0), CompareOp::Greater),
    );
    check(
        Target::Value,
        NotEqual,
        Some(Given::Version(3)),
        (CompareTarget::Value(Bytes::new()), CompareOp::NotEqual),
    );
    check(
        Target::Lease,
        Less,
        Some(Given::Lease(-3)),
        (CompareTarget::Lease(-3), CompareOp::Less),
    );
    // Nothing stored is below 0, so these never hold, and those always do.
    for never in [Equal, Less] {
        check(
            Target::Create,
            never,
            Some(Given::CreateRevision(-1)),
            (CompareTarget::CreateRevision(0), CompareOp::Less),
        );
    }
    for always in [NotEqual, Greater] {
        check(
            Target::Create,
            always,
            Some(Given::CreateRevision(-1)),
            (CompareTarget::CreateRevision(u64::MAX), CompareOp::NotEqual),
        );
    }
}

#[test]
fn the_steps_of_a_transaction_are_counted_level_by_level() {
    use crate::etcdserverpb::request_op::Request;
    let op = |request| pb::RequestOp {
        request: Some(request),
    };
    let puts = |count: usize| vec![op(Request::Put(put_of("k"))); count];
    let nest = |mut ops: Vec<pb::RequestOp>, inner: Vec<pb::RequestOp>| {
        ops.push(op(Request::Txn(pb::TxnRequest {
            failure: inner,
            ..pb::TxnRequest::default()
        })));
        ops
    };
    let check = |success: Vec<pb::RequestOp>, expect: Result<(), &str>| {
        let found = txn(
            pb::TxnRequest {
                success,
                ..pb::TxnRequest::default()
            },
            8,
        );
        let refused = found.as_ref().err().map(Status::message);
        assert_eq!(refused, expect.err());
    };
    let too_many = Err("etcdserver: too many operations in txn request");
    check(puts(8), Ok(()));
    check(puts(9), too_many);
    check(nest(puts(3), puts(4)), Ok(()));
    check(nest(puts(3), puts(5)), too_many);
    check(
        vec![pb::RequestOp { request: None }],
        Err("etcdserver: key not found"),
    );
    check(
        vec![op(Request::Put(put_of("")))],
        Err("etcdserver: key is not provided"),
    );
}

#[test]
fn the_answer_to_a_transaction_has_what_its_steps_asked_for() {
    use crate::etcdserverpb::request_op::Request;
    use crate::etcdserverpb::response_op::Response;
    use raft_store::{OpResponse, TxnResponse};
    let kv = KeyValue {
        key: "k".into(),
        mod_revision: 4,
        ..KeyValue::default()
    };
    let put = |prev_kv| pb::PutRequest {
        prev_kv,
        ..put_of("k")
    };
    let nested = pb::TxnRequest {
        failure: vec![pb::RequestOp {
            request: Some(Request::Put(put(true))),
        }],
        ..pb::TxnRequest::default()
    };
    let requests = [
        Request::Put(put(false)),
        Request::Put(put(true)),
        Request::Txn(nested),
    ];
    let request = pb::TxnRequest {
        success: requests
            .into_iter()
            .map(|request| pb::RequestOp {
                request: Some(request),
            })
            .collect(),
        ..pb::TxnRequest::default()
    };
    let (translated, branches): (Txn, _) = txn(request, 128).expect("a valid request");
    assert!(matches!(
        translated.success[..],
        [Op::Put { .. }, Op::Put { .. }, Op::Txn(_)]
    ));
    let before = || OpResponse::Put {
        prev_kv: Some(kv.clone()),
    };
    let answer = TxnResponse {
        succeeded: true,
        revision: 5,
        responses: vec![
            before(),
            before(),
            OpResponse::Txn(TxnResponse {
                succeeded: false,
                revision: 5,
                responses: vec![before()],
            }),
        ],
    };
    let found = txn_response(answer, &branches, pb::ResponseHeader::default());
    let prev_kv = |response: &pb::ResponseOp| match &response.response {
        Some(Response::Put(put)) => put.prev_kv.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(!prev_kv(&found.responses[0]));
    assert!(prev_kv(&found.responses[1]));
    let Some(Response::Txn(inner)) = &found.responses[2].response else {
        panic!("{found:?}")
    };
    assert!(!inner.succeeded && prev_kv(&inner.responses[0]));
    assert_eq!(inner.header.map(|header| header.revision), Some(5));
}

#[test]
fn peer_urls_are_those_that_etcd_takes() {
    let check = |urls: &[&str], fits: bool| {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let found = peer_urls(urls);
        match &found {
            Ok(_) => assert!(fits, "{found:?}"),
            Err(status) => {
                assert!(!fits, "{found:?}");
                assert_eq!(
                    status.message(),
                    "etcdserver: given member URLs are invalid"
                );
            }
        }
    };
    check(&["http://127.0.0.1:2380"], true);
    check(&["https://a.example:2380/", "http://[::1]:1"], true);
    check(&[], false);
    check(&["127.0.0.1:2380"], false);
    check(&["http://127.0.0.1"], false);
    check(&["http://127.0.0.1:2380/raft"], false);
    check(&["ftp://127.0.0.1:2380"], false);
    check(&["http://127.0.0.1:2380", ""], false);
}
