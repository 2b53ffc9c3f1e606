//! An origin that speaks HTTP/2 frame by frame, so that it can say what no library would.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One connection of it.
pub(super) struct Peer {
    socket: TcpStream,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

pub(super) async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

impl Peer {
    /// Takes a connection, with these settings.
    pub(super) async fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> Self {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        socket.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut peer = Self { socket };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        peer.send(SETTINGS, 0, 0, &payload).await;
        peer
    }

    /// The next frame but for what keeps a connection going, which is answered; `None` at the end.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.socket.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.socket.read_exact(&mut payload).await.ok()?;
            match kind {
                SETTINGS if flags == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                SETTINGS | 8 => {}
                _ => return Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) }),
            }
        }
    }

    /// The stream of the next request, once all of it is here; other frames are passed over.
    pub(super) async fn request(&mut self) -> u32 {
        loop {
            let frame = self.frame().await.expect("a request comes");
            if frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA) {
                return frame.stream;
            }
        }
    }

    /// Waits for a frame of this kind.
    pub(super) async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.frame().await.expect("the connection is open");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Answers nothing, until the other side is gone.
    pub(super) async fn silence(mut self) {
        let mut all = Vec::new();
        let _ = self.socket.read_to_end(&mut all).await;
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // What cannot be sent is seen by whoever waits for it.
        let _ = self.socket.write_all(&frame).await;
    }

    pub(super) async fn head(&mut self, stream: u32, end: bool, fields: &[(&str, &str)]) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal that is not indexed, RFC 7541 §6.2.2.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block).await;
    }

    pub(super) async fn data(&mut self, stream: u32, end: bool, bytes: &[u8]) {
        self.send(DATA, u8::from(end), stream, bytes).await;
    }

    /// A whole answer.
    pub(super) async fn answer(&mut self, stream: u32, body: &str) {
        self.head(stream, false, &[(":status", "200")]).await;
        self.data(stream, true, body.as_bytes()).await;
    }

    pub(super) async fn go_away(&mut self, last: u32, reason: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat()).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }
}
