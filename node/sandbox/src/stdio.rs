//! stdout and stderr of a guest, handed on to the container's [`Output`], and stdin.

use crate::spec::{Output, StdStream};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes a guest may write in one call: a bound on the copy that the host makes of them, where the
/// output would take more.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// One output stream of one container.
pub(crate) struct Sink {
    output: Arc<dyn Output>,
    stream: StdStream,
    /// For [`AsyncWrite`]: kept between polls, or its waker would be lost.
    waiting: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Sink {
    pub(crate) fn new(output: &Arc<dyn Output>, stream: StdStream) -> Self {
        Self {
            output: Arc::clone(output),
            stream,
            waiting: Mutex::new(None),
        }
    }
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self::new(&self.output, self.stream))
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Self::new(&self.output, self.stream))
    }
}

#[async_trait::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {
        while self.output.room() == 0 {
            self.output.ready().await;
        }
    }
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !bytes.is_empty() {
            self.output.write(self.stream, &bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.output.room().min(WRITE_BYTES_MAX))
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let waiting = this.waiting.get_mut();
        let mut room = this.output.room();
        while room == 0 {
            let ready = waiting.get_or_insert_with(|| this.output.ready());
            ready!(ready.as_mut().poll(cx));
            *waiting = None;
            room = this.output.room();
        }
        let taken = bytes.len().min(room);
        self.output.write(self.stream, &bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
