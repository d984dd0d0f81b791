//! The cheapest WebSocket client there is, because it shares the machine with what it measures: it looks at the heads
//! of frames and at the first bytes of their text, and never parses. What is not measured is left to `chat_client`.

use std::{io, net::SocketAddr};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// A socket that was let in.
pub(crate) struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Socket {
    /// Connects to a room, perhaps after a place.
    ///
    /// # Errors
    /// What the network or the server said.
    pub(crate) async fn connect(
        address: SocketAddr,
        token: &str,
        path: &str,
    ) -> io::Result<Socket> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut socket = Socket {
            stream,
            buffer: vec![0; 2048],
            filled: 0,
        };
        loop {
            let head = &socket.buffer[..socket.filled];
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                if !head.starts_with(b"HTTP/1.1 101") {
                    return Err(io::Error::other(String::from_utf8_lossy(head).into_owned()));
                }
                socket.buffer.copy_within(end + 4..socket.filled, 0);
                socket.filled -= end + 4;
                return Ok(socket);
            }
            let read = socket
                .stream
                .read(&mut socket.buffer[socket.filled..])
                .await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            socket.filled += read;
        }
    }

    /// Reads once, and shows every text that is complete by now.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) async fn read(&mut self, mut text: impl FnMut(&[u8])) -> io::Result<()> {
        let mut at = 0;
        while let Some((opcode, payload, end)) = frame(&self.buffer[at..self.filled]) {
            match opcode {
                1 => text(&self.buffer[at..][payload..end]),
                8 => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
            at += end;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        if at > 0 {
            return Ok(());
        }
        if self.filled == self.buffer.len() {
            // Small until something comes: ten thousand of them are silent.
            self.buffer.resize(
                (self.buffer.len() * 2)
                    .min(READ_BYTES)
                    .max(self.filled + 4096),
                0,
            );
        }
        match self.stream.read(&mut self.buffer[self.filled..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }

    /// Reads until a text of this type came, and returns it.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) async fn wait_for(&mut self, kind: &str) -> io::Result<Vec<u8>> {
        let head = format!("{{\"type\":\"{kind}\"");
        let mut found = None;
        while found.is_none() {
            self.read(|text| {
                if text.starts_with(head.as_bytes()) {
                    found.get_or_insert_with(|| text.to_vec());
                }
            })
            .await?;
        }
        Ok(found.unwrap_or_default())
    }

    /// Writes what [`masked`] made.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) async fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.stream.write_all(frames).await
    }
}

/// The first frame: its opcode, where its payload begins, where it ends. None if it is not complete.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, ..] = *bytes else {
        return None;
    };
    let (begin, length) = match second & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
        ),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= begin + length).then_some((first & 0x0f, begin, begin + length))
}

/// A text frame as clients must write it, under a mask of zeros, which costs nothing.
pub(crate) fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()).expect("a short text") {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend(long.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// A message of so many characters, without an id of its own.
pub(crate) fn message(characters: usize) -> String {
    json!({ "message": "x".repeat(characters) }).to_string()
}
