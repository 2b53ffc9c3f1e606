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
            while !lines.next()?.ok()?.is_empty() {}
            let number = first.split_once("/page/")?.1.split(' ').next()?.parse().ok()?;
            let body = written(Told { number, generation: self.generation(number) });
            let head = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600, stale-while-revalidate=600\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut out = stream;
            out.write_all(&[head.as_bytes(), &body].concat()).ok()?;
        }
        Some(())
    }
}

/// The path of a page.
pub(crate) fn page(number: u64) -> String {
    format!("/page/{number}")
}

/// A body: number, generation, noise of a length that depends on the page, and a sum over all of it.
fn written(told: Told) -> Vec<u8> {
    let mut random = Random::new(told.number << 32 | told.generation);
    // Few bytes or many: within a buffer, over several, and up to what the disk takes whole.
    let length = match told.number % 4 {
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

/// Pages there are.
pub(crate) const PAGES: u64 = 120;
