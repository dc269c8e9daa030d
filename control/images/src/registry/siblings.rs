//! The other servers of a cluster, as far as the registry needs them.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::Digest;

/// The content of a blob as it arrives.
pub type BlobStream = BoxStream<'static, Result<Bytes, SiblingError>>;

/// Why another server did not do what was asked. Its message completes the sentence "server X: ...".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SiblingError(String);

impl SiblingError {
    /// An error with the given message.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// The other servers. They are trusted to mean well, not to be right: what they send is checked.
///
/// Implementations need not bound their time, the registry does.
#[async_trait]
pub trait Siblings: Send + Sync + 'static {
    /// Every other server of the cluster, whether it is running or not. A blob counts as safe when
    /// more than half of these and this one have it, so leaving one out weakens that promise.
    fn list(&self) -> Vec<String>;

    /// The size of a blob that the server has, and then keeps for as long as an unused blob is kept.
    ///
    /// # Errors
    /// When the server did not answer.
    async fn has(&self, sibling: &str, digest: Digest) -> Result<Option<u64>, SiblingError>;

    /// The blob from there with its size; `None` if the server does not have it.
    ///
    /// # Errors
    /// When the server did not answer; in the stream, when it broke off.
    async fn fetch(
        &self,
        sibling: &str,
        digest: Digest,
    ) -> Result<Option<(u64, BlobStream)>, SiblingError>;

    /// Gives the server a blob of `size` bytes. It has it for good when this returns.
    ///
    /// # Errors
    /// When the server did not take it.
    async fn offer(
        &self,
        sibling: &str,
        digest: Digest,
        size: u64,
        content: BlobStream,
    ) -> Result<(), SiblingError>;
}

/// The siblings of the only server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

#[async_trait]
impl Siblings for Alone {
    fn list(&self) -> Vec<String> {
        Vec::new()
    }

    async fn has(&self, _: &str, _: Digest) -> Result<Option<u64>, SiblingError> {
        Ok(None)
    }

    async fn fetch(&self, _: &str, _: Digest) -> Result<Option<(u64, BlobStream)>, SiblingError> {
        Ok(None)
    }

    async fn offer(
        &self,
        sibling: &str,
        _: Digest,
        _: u64,
        _: BlobStream,
    ) -> Result<(), SiblingError> {
        Err(SiblingError::new(format!("there is no server {sibling}")))
    }
}
