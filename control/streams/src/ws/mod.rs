//! WebSocket: channels in messages, and a byte stream in messages.

pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod tunnel;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Bytes of one message from a client; it is held whole. kubectl sends 32 KiB, but scripts send
/// what they have at once. Longer ones end the session with code 1009.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes that are read, and gathered for writing, at once.
const BUFFER_BYTES: usize = 32 << 10;

async fn over<IO>(io: IO) -> WebSocketStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(16 * BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}
