//! One repository: its tags and manifests. Pure; what a catalogue keeps of it is JSON.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Digest, Version};

const FORMAT: u32 = 1;

/// A repository as a catalogue keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repository {
    /// Of what is kept.
    version: u32,
    pub(super) tags: BTreeMap<String, Digest>,
    pub(super) manifests: BTreeMap<Digest, Entry>,
}

/// A manifest: its bytes are the blob of the same digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) media_type: String,
    pub(super) size: u64,
    /// What it refers to, so that nothing has to be read again to know which blobs are in use.
    pub(super) references: Vec<Digest>,
}

impl Default for Repository {
    fn default() -> Self {
        Self {
            version: FORMAT,
            tags: BTreeMap::new(),
            manifests: BTreeMap::new(),
        }
    }
}

impl Repository {
    pub(super) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let repository: Self = serde_json::from_slice(bytes)?;
        if repository.version != FORMAT {
            let found = repository.version;
            let why = format!("its format is {found} and this program knows {FORMAT}");
            return Err(io::Error::other(why));
        }
        Ok(repository)
    }

    pub(super) fn encode(&self) -> io::Result<Bytes> {
        Ok(serde_json::to_vec(self)?.into())
    }

    pub(super) fn find(&self, version: &Version) -> Option<(Digest, &Entry)> {
        let digest = match version {
            Version::Tag(tag) => *self.tags.get(tag)?,
            Version::Digest(digest) => *digest,
        };
        Some((digest, self.manifests.get(&digest)?))
    }

    /// This one with one manifest more, and a tag that points to it.
    pub(super) fn with(&self, tag: Option<&str>, digest: Digest, entry: &Entry) -> Self {
        let mut next = self.clone();
        next.manifests.insert(digest, entry.clone());
        if let Some(tag) = tag {
            next.tags.insert(tag.to_owned(), digest);
        }
        next
    }

    /// This one without a tag, or without a manifest and every tag that points to it. `None` if
    /// there is no such thing.
    pub(super) fn without(&self, version: &Version) -> Option<Self> {
        let mut next = self.clone();
        match version {
            Version::Tag(tag) => {
                next.tags.remove(tag)?;
            }
            Version::Digest(digest) => {
                next.manifests.remove(digest)?;
                next.tags.retain(|_, tagged| tagged != digest);
            }
        }
        Some(next)
    }

    /// This one with what only `other` has. A tag of both stays as it is here.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut next = other.clone();
        next.tags.extend(self.tags.clone());
        next.manifests.extend(self.manifests.clone());
        next
    }

    /// Every blob that it needs, its manifests among them.
    pub(super) fn references(&self) -> impl Iterator<Item = Digest> {
        self.manifests
            .iter()
            .flat_map(|(digest, entry)| std::iter::once(digest).chain(&entry.references))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(references: &[&[u8]]) -> Entry {
        Entry {
            media_type: "m".to_owned(),
            size: 1,
            references: references.iter().map(|r| Digest::of(r)).collect(),
        }
    }

    #[test]
    fn what_was_kept_reads_back_and_nothing_else_does() {
        let digest = Digest::of(b"m");
        let repository = Repository::default().with(Some("v1"), digest, &entry(&[b"l"]));
        let kept = repository.encode().unwrap();
        assert_eq!(Repository::decode(&kept).unwrap(), repository);
        for (text, why) in [
            ("{", "EOF"),
            (
                r#"{"version":7,"tags":{},"manifests":{}}"#,
                "its format is 7",
            ),
            (
                r#"{"version":1,"tags":{},"manifests":{},"x":1}"#,
                "unknown field",
            ),
        ] {
            let error = Repository::decode(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_manifest_goes_with_its_tags_and_a_tag_goes_alone() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let repository = Repository::default()
            .with(Some("a"), one, &entry(&[]))
            .with(Some("b"), one, &entry(&[]))
            .with(Some("c"), two, &entry(&[]));
        let tags = |r: &Repository| r.tags.keys().cloned().collect::<Vec<_>>();
        let untagged = repository.without(&Version::Tag("a".to_owned())).unwrap();
        assert_eq!((tags(&untagged).len(), untagged.manifests.len()), (2, 2));
        let removed = repository.without(&Version::Digest(one)).unwrap();
        assert_eq!(
            (tags(&removed), removed.manifests.len()),
            (vec!["c".to_owned()], 1)
        );
        for gone in [Version::Tag("a".to_owned()), Version::Digest(one)] {
            assert_eq!(removed.without(&gone), None);
        }
    }

    #[test]
    fn joining_keeps_the_tags_of_the_first() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let first = Repository::default().with(Some("a"), one, &entry(&[]));
        let second = Repository::default()
            .with(Some("a"), two, &entry(&[]))
            .with(Some("b"), two, &entry(&[]));
        let joined = first.joined(&second);
        assert_eq!((joined.tags["a"], joined.tags["b"]), (one, two));
        assert_eq!(joined.references().count(), 2);
    }
}
