//! A container that runs, as clients may reach into it.

use super::pipe::Taps;
use euston_sandbox::{Container, Input, Mount};
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Mutex;

/// Bytes that clients have typed and the container has not read. When it is full, clients wait.
const STDIN_BYTES_MAX: usize = 64 << 10;

/// The container.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) container: Container,
    /// Who sees what it prints.
    pub(crate) taps: Taps,
    /// Its standard input, if its spec says `stdin: true`.
    pub(crate) stdin: Option<Arc<Stdin>>,
    /// Where its volumes lie.
    pub(crate) mounts: Arc<[Mount]>,
    /// Its spec says `tty: true`: both output streams are one.
    pub(crate) tty: bool,
}

/// The writing end of a container's standard input.
pub(crate) struct Stdin {
    /// `None` once it was closed.
    writer: Mutex<Option<DuplexStream>>,
    /// The first client that leaves closes it.
    once: bool,
}

impl Stdin {
    /// An open one, and what the container reads.
    pub(crate) fn open(once: bool) -> (Arc<Self>, Input) {
        let (writer, reader) = tokio::io::duplex(STDIN_BYTES_MAX);
        let stdin = Self {
            writer: Mutex::new(Some(writer)),
            once,
        };
        (Arc::new(stdin), Input::new(reader))
    }

    /// Passes on what a client typed; waits until the container reads. `false` if it never will.
    pub(crate) async fn write(&self, bytes: &[u8]) -> bool {
        match &mut *self.writer.lock().await {
            Some(writer) => writer.write_all(bytes).await.is_ok(),
            None => false,
        }
    }

    /// A client types nothing more.
    pub(crate) async fn leave(&self) {
        if self.once {
            self.writer.lock().await.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_client_or_the_containers_end_closes_it() {
        for (once, open_after) in [(true, false), (false, true)] {
            let (stdin, _input) = Stdin::open(once);
            assert!(stdin.write(b"one").await);
            stdin.leave().await;
            assert_eq!(stdin.write(b"two").await, open_after, "stdinOnce: {once}");
        }
        let (stdin, input) = Stdin::open(false);
        drop(input);
        assert!(!stdin.write(b"nobody reads").await);
    }
}
