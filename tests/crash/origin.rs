//! An origin whose pages tell what they are, so that any byte of an answer can be judged.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::Random;

/// The origin. Clones are one.
#[derive(Clone)]
pub(crate) struct Origin {
    address: SocketAddr,
    generations: Arc<Vec<AtomicU64>>,
}

/// What a body says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) generation: u64,
}

impl Origin {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let generations: Arc<Vec<_>> = Arc::new((0..PAGES).map(|_| AtomicU64::new(0)).collect());
        let origin = Self { address, generations };
        let serving = origin.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let origin = serving.clone();
                std::thread::spawn(move || origin.serve(&stream));
            }
        });
        origin
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a new generation of a page; its number.
    pub(crate) fn change(&self, number: u64) -> u64 {
        self.of(number).fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn generation(&self, number: u64) -> u64 {
        self.of(number).load(Ordering::SeqCst)
    }

    fn of(&self, number: u64) -> &AtomicU64 {
        &self.generations[usize::try_from(number).expect("few pages")]
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(first)) = lines.next() {
            let (mut range, mut if_range) = (None, None);
            loop {
                let line = lines.next()?.ok()?.to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                range = line.strip_prefix("range: bytes=").and_then(between).or(range);
                if_range = line.strip_prefix("if-range: ").map(str::to_owned).or(if_range);
            }
            let number = first.split_once("/page/")?.1.split(' ').next()?.parse().ok()?;
            let generation = self.generation(number);
            let body = written(Told { number, generation });
            let tag = format!("\"{generation}\"");
            let mut head = "Cache-Control: max-age=3600, stale-while-revalidate=600\r\n".to_owned();
            let (mut status, mut part) = ("200 OK", 0..body.len());
            if is_large(number) {
                head.extend(["ETag: ", &tag, "\r\n"]);
                if let Some((from, to)) = range.filter(|_| if_range.is_none_or(|known| known == tag)) {
                    part = from.min(body.len())..to.saturating_add(1).min(body.len());
                    status = "206 Partial Content";
                    let told = format!("Content-Range: bytes {from}-{}/{}\r\n", part.end - 1, body.len());
                    head.push_str(&told);
                }
            }
            let head = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n", part.len());
            let mut out = stream;
            out.write_all(&[head.as_bytes(), &body[part]].concat()).ok()?;
        }
        Some(())
    }
}

/// `10-19`.
fn between(range: &str) -> Option<(usize, usize)> {
    let (from, to) = range.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// Whether a page is too large for anything but chunks. The origin tells the generation of such a one as its tag, and sends
/// parts of it.
pub(crate) const fn is_large(number: u64) -> bool {
    number % 8 == 7
}

/// The path of a page.
pub(crate) fn page(number: u64) -> String {
    format!("/page/{number}")
}

/// A body: number, generation, noise of a length that depends on the page, and a sum over all of it.
fn written(told: Told) -> Vec<u8> {
    let mut random = Random::new(told.number << 32 | told.generation);
    // Few bytes or many: within a buffer, over several, up to what the disk takes whole, and in chunks.
    let length = match told.number % 4 {
        _ if is_large(told.number) => LARGE_BYTES,
        0 => 100,
        1 => 3_000,
        2 => 40_000,
        _ => 200_000,
    };
    let mut body = [told.number.to_le_bytes(), told.generation.to_le_bytes()].concat();
    while body.len() < length {
        body.extend_from_slice(&random.next().to_le_bytes());
    }
    let sum = sum(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

/// Whether these bytes are the body's from offset `from` on.
pub(crate) fn is_part(told: Told, from: usize, bytes: &[u8]) -> bool {
    written(told).get(from..).is_some_and(|rest| rest.starts_with(bytes))
}

/// What a body says, if it is whole.
pub(crate) fn read(body: &[u8]) -> Option<Told> {
    let at = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let told = Told { number: at(0)?, generation: at(8)? };
    (written(told) == body).then_some(told)
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Length of a large page, its sum not counted: two chunks.
pub(crate) const LARGE_BYTES: usize = 1_500_000;
/// Pages there are.
pub(crate) const PAGES: u64 = 120;
