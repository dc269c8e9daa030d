//! Which of the other servers has a blob.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::timeout;

use super::{Copies, majority};
use crate::Digest;
use crate::registry::siblings::SiblingError;

/// Why a blob was not found.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Missing {
    /// There is none.
    Nowhere,
    /// A server that may have it could not be asked, or did not give it. Says which and why.
    Unreachable(String),
}

impl From<io::Error> for Missing {
    fn from(e: io::Error) -> Self {
        Self::Unreachable(format!("this server's disk: {e}"))
    }
}

/// What the servers said so far.
#[derive(Debug)]
struct Tally {
    /// All of them, this one among them.
    servers: usize,
    /// Those that do not have it.
    without: usize,
    /// Those that did not say, or did not give what they said they had.
    failed: Vec<String>,
    /// Whether the index refers to it, so that some server has it.
    referenced: bool,
}

impl Tally {
    /// What is clear by now, or what the rest is unlikely to change.
    ///
    /// A blob that nothing refers to is given up soon after most servers said that they do not have it: a
    /// client that asks before it pushes shall not wait long for a server that is down. One that is
    /// referred to exists, so that "no" would be wrong.
    fn verdict(&self, all_answered: bool) -> Option<Missing> {
        let most = self.without >= majority(self.servers);
        if !self.referenced && most || all_answered && self.failed.is_empty() {
            Some(Missing::Nowhere)
        } else if all_answered {
            Some(Missing::Unreachable(self.failed.join("; ")))
        } else {
            None
        }
    }
}

/// A server that has the blob.
pub(in crate::registry) struct Holder {
    pub(super) sibling: String,
    pub(in crate::registry) size: u64,
}

type Answer = (String, Result<Option<u64>, SiblingError>);

/// All other servers, being asked.
pub(super) struct Search<'a> {
    asked: FuturesUnordered<BoxFuture<'a, Answer>>,
    tally: Tally,
    /// For those who have not answered yet, when their answer is unlikely to matter.
    patience: Duration,
}

impl Copies {
    /// Asks every other server at once. This one does not have it.
    pub(super) fn search(&self, digest: Digest) -> Search<'_> {
        let siblings = self.siblings.list();
        let tally = Tally {
            servers: siblings.len() + 1,
            without: 1,
            failed: Vec::new(),
            referenced: self.is_referenced(&digest),
        };
        let ask = |sibling: String| -> BoxFuture<'_, Answer> {
            Box::pin(async move {
                let asked = self.siblings.has(&sibling, digest);
                let answer = self.answer(self.limits.sibling_idle, asked).await;
                (sibling, answer)
            })
        };
        Search {
            asked: siblings.into_iter().map(ask).collect(),
            tally,
            patience: self.limits.sibling_idle / 10,
        }
    }
}

impl Search<'_> {
    /// The next server that has it, in the order of their answers.
    pub(super) async fn next(&mut self) -> Result<Holder, Missing> {
        loop {
            let verdict = self.tally.verdict(self.asked.is_empty());
            let answer = match verdict {
                None => self.asked.next().await,
                Some(missing) => match timeout(self.patience, self.asked.next()).await {
                    Ok(Some(answer)) => Some(answer),
                    Ok(None) | Err(_) => return Err(missing),
                },
            };
            match answer {
                Some((sibling, Ok(Some(size)))) => return Ok(Holder { sibling, size }),
                Some((_, Ok(None))) => self.tally.without += 1,
                Some((sibling, Err(e))) => self.failed(&sibling, &e),
                None => {}
            }
        }
    }

    /// A server that has it did not give it.
    pub(super) fn failed(&mut self, sibling: &str, why: &SiblingError) {
        self.tally.failed.push(format!("{sibling}: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_given_up_when_no_answer_is_likely_to_change_that() {
        let check = |servers, without, failed: usize, referenced, all, expect: Option<bool>| {
            let failed = vec!["x".to_owned(); failed];
            let tally = Tally {
                servers,
                without,
                failed,
                referenced,
            };
            let found = tally
                .verdict(all)
                .map(|missing| matches!(missing, Missing::Nowhere));
            assert_eq!(found, expect, "{tally:?} {all}");
        };
        let (nowhere, unreachable, open) = (Some(true), Some(false), None);
        check(1, 1, 0, false, true, nowhere);
        check(1, 1, 0, true, true, nowhere);
        check(3, 1, 0, false, false, open);
        check(3, 2, 0, false, false, nowhere);
        check(3, 2, 0, true, false, open);
        check(3, 2, 1, true, true, unreachable);
        check(3, 3, 0, true, true, nowhere);
        check(3, 1, 2, false, true, unreachable);
        check(5, 3, 2, false, true, nowhere);
        check(2, 1, 1, false, true, unreachable);
    }
}
