use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Waker;

use super::*;

/// What a source does next; at the end of the script it ends.
#[derive(Clone)]
enum Step {
    Piece(Vec<u8>),
    Pause,
    Cut,
}

struct Script(VecDeque<Step>);

impl Stream for Script {
    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        match self.get_mut().0.pop_front() {
            Some(Step::Piece(bytes)) => Poll::Ready(Some(Ok(bytes.into()))),
            Some(Step::Pause) => Poll::Pending,
            Some(Step::Cut) => Poll::Ready(Some(Err(Cut))),
            None => Poll::Ready(None),
        }
    }
}

fn coded(coding: Coding, length: Option<u64>, steps: Vec<Step>) -> Coded {
    let place = Passing::new(1).place().expect("the first has a place");
    let Ok(coded) = Coded::of(Box::pin(Script(steps.into())), length, (coding, 4), place) else {
        panic!("no encoder")
    };
    coded
}

/// Everything up to the end, and whether that was one. The script's pauses wake nobody: it is asked again at once.
fn all(mut coded: Coded) -> (Vec<u8>, bool) {
    let (mut bytes, mut cx) = (Vec::new(), Context::from_waker(Waker::noop()));
    loop {
        match Pin::new(&mut coded).poll_next(&mut cx) {
            Poll::Ready(Some(Ok(piece))) => bytes.extend_from_slice(&piece),
            Poll::Ready(None) => return (bytes, true),
            Poll::Ready(Some(Err(Cut))) => {
                let again = Pin::new(&mut coded).poll_next(&mut cx);
                assert!(matches!(again, Poll::Ready(Some(Err(Cut)))), "a cut has no end behind it");
                return (bytes, false);
            }
            Poll::Pending => {}
        }
    }
}

/// What can be decoded, and whether it is whole.
fn decoded(coding: Coding, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut read = |from: &mut dyn io::Read| loop {
        let mut some = [0; 1000];
        match from.read(&mut some) {
            Ok(0) => return true,
            Ok(count) => out.extend_from_slice(&some[..count]),
            Err(_) => return false,
        }
    };
    let whole = match coding {
        Coding::Brotli => read(&mut brotli::Decompressor::new(bytes, 4096)),
        Coding::Zstd => read(&mut zstd::stream::read::Decoder::new(bytes).expect("a decoder")),
        Coding::Gzip => read(&mut flate2::read::GzDecoder::new(bytes)),
    };
    (out, whole)
}

fn text(length: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line: usize| format!("line {} of the text\n", line * 7 % 1013).into_bytes())
        .take(length)
        .collect()
}

/// In pieces of several sizes.
fn pieces(body: &[u8], size: usize) -> Vec<Step> {
    body.chunks(size).map(|piece| Step::Piece(piece.to_vec())).collect()
}

#[test]
fn what_is_encoded_as_it_goes_is_decoded_to_what_it_was() {
    for coding in Coding::ALL {
        for length in [0, 1, 1000, 16_384, 16_385, 300_000] {
            let body = text(length);
            for size in [1000, 16_384, 100_000] {
                for known in [None, Some(length as u64)] {
                    let (bytes, ended) = all(coded(coding, known, pieces(&body, size)));
                    assert!(ended, "{coding:?} {length} {size}");
                    assert!(decoded(coding, &bytes) == (body.clone(), true), "{coding:?} {length} {size}");
                    assert!(length < 1000 || bytes.len() < length / 2, "{coding:?} {length} {size}");
                }
            }
        }
    }
}

#[test]
fn what_came_before_a_pause_is_sent_before_it() {
    for coding in Coding::ALL {
        let mut seen = Vec::new();
        let steps = (0..50).flat_map(|n: u8| [Step::Piece(vec![b'a' + n % 26; 5]), Step::Pause, Step::Pause]);
        let mut coded = coded(coding, None, steps.collect());
        let mut cx = Context::from_waker(Waker::noop());
        for event in 1..=50 {
            match Pin::new(&mut coded).poll_next(&mut cx) {
                Poll::Ready(Some(Ok(bytes))) => seen.extend_from_slice(&bytes),
                other => panic!("{coding:?} {event}: {other:?}"),
            }
            assert_eq!(decoded(coding, &seen).0.len(), event * 5, "{coding:?}");
            // Nothing more is said while nothing more has come.
            assert!(Pin::new(&mut coded).poll_next(&mut cx).is_pending(), "{coding:?} {event}");
        }
        let (rest, ended) = all(coded);
        seen.extend_from_slice(&rest);
        assert!(ended && decoded(coding, &seen).1, "{coding:?}");
    }
}

#[test]
fn a_body_that_is_cut_never_ends_as_its_coding_does() {
    for coding in Coding::ALL {
        for at in [0, 1, 999, 1000, 20_000, 100_000] {
            let body = text(at);
            let cuts = [
                ("the source fails", None, [pieces(&body, 700), vec![Step::Cut]].concat()),
                ("it is short", Some(at as u64 + 1), pieces(&body, 700)),
                ("it is long", Some(at as u64), [pieces(&body, 700), vec![Step::Piece(vec![b'x'])]].concat()),
            ];
            for (claim, length, steps) in cuts {
                let (bytes, ended) = all(coded(coding, length, steps));
                assert!(!ended, "{coding:?} at {at}: {claim}");
                let (out, whole) = decoded(coding, &bytes);
                assert!(!whole || bytes.is_empty(), "{coding:?} at {at}: {claim}");
                assert!(out == body, "{coding:?} at {at}: what came is told, though {claim}");
            }
        }
    }
}

#[test]
fn there_are_so_many_places_and_who_has_none_is_counted() {
    let passing = Passing::new(2);
    let (first, second) = (passing.place(), passing.place());
    assert!(first.is_some() && second.is_some() && passing.place().is_none());
    drop(first);
    assert!(passing.place().is_some());
    let figures = passing.figures();
    assert_eq!((figures.open, figures.begun, figures.plain), (1, 3, 1));
}

/// Others have their turn: no turn of a task compresses more than the runtime has steps for.
#[tokio::test]
async fn one_turn_of_a_task_compresses_so_much_and_no_more() {
    for coding in Coding::ALL {
        let mut coded = coded(coding, None, pieces(&vec![b'a'; 1 << 20], 1 << 20));
        let passing = Arc::clone(&coded.place.0);
        let (mut turns, mut before) = (0, 0);
        tokio::spawn(poll_fn(move |cx| {
            loop {
                match Pin::new(&mut coded).poll_next(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(Cut))) => panic!("{coding:?}: it was cut"),
                    Poll::Ready(None) => break,
                    Poll::Pending => {
                        let now = passing.figures().bytes_in;
                        assert!(now - before <= 128 * ENCODE_PASSING_STEP_BYTES as u64, "{coding:?}");
                        (turns, before) = (turns + 1, now);
                        return Poll::Pending;
                    }
                }
            }
            assert!(turns >= 7, "{coding:?}: {turns}");
            Poll::Ready(())
        }))
        .await
        .expect("no panic");
    }
}
