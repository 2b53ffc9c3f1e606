//! An HTTP/2 client made of raw frames over TLS, and just enough HPACK to read a status.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::attacks::get;
use crate::client::{Io, send};
use crate::h2_cases::{PREFACE, frame};

/// A connection.
pub(crate) struct Http2 {
    pub(crate) io: Box<dyn Io>,
    pending: Vec<u8>,
}

/// A frame as it came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Answered.
    Answer { status: u16, body: String },
    /// Reset with this code.
    Reset(u32),
    /// The connection ended, with this code if it said so.
    Closed(Option<u32>),
}

impl Http2 {
    /// Says the preface with these settings, and forgoes the dynamic table so that statuses can be read without one.
    pub(crate) async fn open(io: Box<dyn Io>, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut http2 = Self { io, pending: Vec::new() };
        let mut payload = Vec::new();
        for (id, value) in [(HEADER_TABLE_SIZE, 0)].iter().chain(settings) {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let bytes = [&PREFACE[..24], &frame(SETTINGS, 0, 0, &payload)].concat();
        http2.send(&bytes).await?;
        Ok(http2)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        send(&mut *self.io, bytes).await
    }

    /// Asks for a path of `a.example`.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        self.send(&get(stream, path)).await
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(found) = take(&mut self.pending) {
                return Some(found);
            }
            let mut buffer = vec![0; 16 * 1024];
            match self.io.read(&mut buffer).await {
                Ok(count @ 1..) => self.pending.extend_from_slice(&buffer[..count]),
                _ => return None,
            }
        }
    }

    /// Reads until the stream has ended.
    pub(crate) async fn ended(&mut self, stream: u32) -> Ended {
        let mut status = 0;
        let mut body = Vec::new();
        let mut code = None;
        while let Some(frame) = self.next().await {
            match frame.kind {
                GOAWAY => code = code_of(&frame.payload, 4),
                RST_STREAM if frame.stream == stream => {
                    return Ended::Reset(code_of(&frame.payload, 0).unwrap_or_default());
                }
                HEADERS if frame.stream == stream && status == 0 => status = status_of(&frame.payload),
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            if ends && frame.stream == stream {
                return Ended::Answer { status, body: String::from_utf8_lossy(&body).into_owned() };
            }
        }
        Ended::Closed(code)
    }

    /// Completes when everything sent so far has been read by the node, which answers a PING behind it.
    pub(crate) async fn caught_up(&mut self) -> io::Result<()> {
        self.send(&frame(PING, 0, 0, b"caughtup")).await?;
        while let Some(frame) = self.next().await {
            if frame.kind == PING && frame.payload == b"caughtup" {
                return Ok(());
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Ends the writing side, for who is done.
    pub(crate) async fn leave(mut self) {
        // The node may have left before.
        let _ = self.io.shutdown().await;
    }
}

/// The code of the last GOAWAY among these frames.
pub(crate) fn goaway(bytes: &[u8]) -> Option<u32> {
    let mut pending = bytes.to_vec();
    let frames = std::iter::from_fn(|| take(&mut pending));
    frames.filter(|frame| frame.kind == GOAWAY).last().and_then(|frame| code_of(&frame.payload, 4))
}

fn take(pending: &mut Vec<u8>) -> Option<Frame> {
    let head: [u8; 9] = pending.get(..9)?.try_into().ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let payload = pending.get(9..9 + length)?.to_vec();
    pending.drain(..9 + length);
    Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload })
}

fn code_of(payload: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?))
}

/// The status at the beginning of a header block that leans on no dynamic table (RFC 7541 §6, appendix A).
fn status_of(block: &[u8]) -> u16 {
    let mut block: VecDeque<u8> = block.iter().copied().collect();
    // Updates of the table's size.
    while block.front().is_some_and(|byte| byte & 0xe0 == 0x20) {
        block.pop_front();
    }
    match block.pop_front() {
        Some(indexed @ 0x88..=0x8e) => INDEXED_STATUS[usize::from(indexed - 0x88)],
        // Literal with the name `:status`, in its three kinds.
        Some(0x48 | 0x08 | 0x18) => {
            let length = block.pop_front().unwrap_or_default();
            let value: Vec<u8> = block.into_iter().take(usize::from(length & 0x7f)).collect();
            if length & 0x80 == 0 {
                value.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'))
            } else {
                huffman_digits(&value)
            }
        }
        other => panic!("a header block that begins with {other:?}"),
    }
}

/// Three digits in RFC 7541's code: `0` to `2` are five bits from 0, `3` to `9` six bits from 0x19.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
    let mut status = 0;
    for _ in 0..3 {
        let mut code = (0..5).fold(0, |code, _| code << 1 | bits.next().unwrap_or(1));
        if code > 2 {
            code = (code << 1 | bits.next().unwrap_or(1)) - 0x19 + 3;
        }
        status = status * 10 + code;
    }
    status
}

const INDEXED_STATUS: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const HEADER_TABLE_SIZE: u16 = 1;
