//! Names, addresses and TLS.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::origin::connect::{Names, Resolve, Resolved, Resolving};

/// A resolver with a script; the last word repeats.
#[derive(Default)]
struct Words {
    answers: Vec<Option<Resolved>>,
    asked: AtomicUsize,
}

impl Resolve for Words {
    fn resolve<'r>(&'r self, _: &'r str) -> Resolving<'r> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.get(turn).or(self.answers.last()).cloned().flatten();
        Box::pin(async move { answer })
    }
}

struct Never;

impl Resolve for Never {
    fn resolve<'r>(&'r self, _: &'r str) -> Resolving<'r> {
        Box::pin(std::future::pending())
    }
}

fn addresses(last: &[u8], ttl_secs: u64) -> Resolved {
    let addresses = last.iter().map(|byte| IpAddr::V4(Ipv4Addr::new(127, 0, 0, *byte))).collect();
    Resolved { addresses, ttl: Duration::from_secs(ttl_secs) }
}

fn lasts(addresses: &[IpAddr]) -> Vec<u8> {
    addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(address) => *address.octets().last().unwrap(),
            IpAddr::V6(_) => 0,
        })
        .collect()
}

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn names_are_resolved_again_when_their_ttl_has_passed_and_stale_ones_serve_on_a_failure() {
    let words = Arc::new(Words {
        answers: vec![
            Some(addresses(&[1], 30)),
            Some(addresses(&[2], 30)),
            None,
            None,
            Some(addresses(&[3], 30)),
        ],
        ..Words::default()
    });
    let names = Names::new(&"origin.test".into(), Arc::clone(&words) as Arc<dyn Resolve>);
    let clock = manual();
    // After so many seconds: the address, and how often the resolver has been asked.
    for (after, expected, asked) in
        [(0, 1, 1), (29, 1, 1), (1, 2, 2), (30, 2, 3), (1, 2, 3), (1, 2, 4), (2, 3, 5)]
    {
        clock.advance(Duration::from_secs(after));
        assert_eq!(lasts(&names.addresses(LIMIT, &clock).await.unwrap()), [expected]);
        assert_eq!(words.asked.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn a_ttl_of_zero_is_kept_a_second_and_one_of_a_year_an_hour() {
    for (ttl, kept) in [(0, 1), (31_536_000, 3600)] {
        let words = Arc::new(Words { answers: vec![Some(addresses(&[1], ttl))], ..Words::default() });
        let names = Names::new(&"origin.test".into(), Arc::clone(&words) as Arc<dyn Resolve>);
        let clock = manual();
        for (after, asked) in [(0, 1), (kept * 1000 - 1, 1), (1, 2)] {
            clock.advance(Duration::from_millis(after));
            names.addresses(LIMIT, &clock).await.unwrap();
            assert_eq!(words.asked.load(Ordering::Relaxed), asked);
        }
    }
}

#[tokio::test]
async fn a_name_that_never_had_an_address_fails_and_is_not_asked_for_by_everyone() {
    let words = Arc::new(Words { answers: vec![None], ..Words::default() });
    let names = Names::new(&"origin.test".into(), Arc::clone(&words) as Arc<dyn Resolve>);
    let clock = manual();
    for _ in 0..10 {
        assert_eq!(names.addresses(LIMIT, &clock).await, Err(OriginError::Dns));
    }
    assert_eq!(words.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn literal_addresses_never_meet_the_resolver() {
    for host in ["127.0.0.9", "::1", "[::1]"] {
        let names = Names::new(&host.into(), Arc::new(Never));
        assert_eq!(names.addresses(LIMIT, &manual()).await.unwrap().len(), 1, "{host}");
    }
}

#[tokio::test]
async fn a_resolver_that_hangs_is_given_up_and_stale_addresses_serve() {
    let clock = manual();
    let names = Arc::new(Names::new(&"origin.test".into(), Arc::new(Never)));
    let waiting = tokio::spawn({
        let (names, clock) = (Arc::clone(&names), clock.clone());
        async move { names.addresses(LIMIT, &clock).await }
    });
    tokio::task::yield_now().await;
    clock.advance(LIMIT);
    assert_eq!(waiting.await.unwrap(), Err(OriginError::Dns));
}

fn pools_with(settings: PoolSettings, clock: &Clock, words: Vec<Option<Resolved>>) -> OriginPools {
    let pools = BTreeMap::from([(Arc::clone(&settings.name), settings)]);
    let resolver: Arc<dyn Resolve> = Arc::new(Words { answers: words, ..Words::default() });
    OriginPools::with_resolver(&pools, clock, &resolver).unwrap()
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried_and_the_one_that_works_goes_first_from_then_on() {
    let origin =
        Scripted::always("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    // The origin listens on 127.0.0.1 only; the other loopback addresses refuse.
    let by_name = Origin { host: "origin.test".into(), ..at(origin.port) };
    let pools = pools_with(settings(vec![by_name]), &Clock::system(), vec![Some(addresses(&[2, 3, 1], 60))]);
    for _ in 0..2 {
        assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".to_owned())));
    }
    let names = Names::new(
        &"origin.test".into(),
        Arc::new(Words { answers: vec![Some(addresses(&[2, 3, 1], 60))], ..Words::default() }),
    );
    let clock = manual();
    names.addresses(LIMIT, &clock).await.unwrap();
    names.failed(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    assert_eq!(lasts(&names.addresses(LIMIT, &clock).await.unwrap()), [3, 1, 2]);
}

#[tokio::test]
async fn a_name_without_address_is_a_dns_failure() {
    let by_name = Origin { host: "origin.test".into(), ..at(1) };
    let pools = pools_with(settings(vec![by_name]), &Clock::system(), vec![None]);
    assert_eq!(fetch(&pools, get("/")).await, Err(OriginError::Dns));
}

/// The hosts file is the one name service every machine has.
#[tokio::test]
async fn localhost_is_found_by_the_system_resolver() {
    let origin = Scripted::always(OK).await;
    let by_name = Origin { host: "localhost".into(), ..at(origin.port) };
    let pools = pools(settings(vec![by_name]), &Clock::system());
    assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".to_owned())));
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_given_up_after_first_byte_timeout_and_nobody_else_is_asked() {
    let origin = Scripted::new(vec![vec![Play::Read, Play::Wait(Arc::default())]]).await;
    let other = Scripted::always(OK).await;
    let mut spare = at(other.port);
    spare.backup = true;
    let clock = manual();
    let pools = pools(settings(vec![at(origin.port), spare]), &clock);
    let asked = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { fetch(&pools, get("/")).await }
    });
    origin.until(|seen| seen.requests.len() == 1).await;
    clock.advance(Duration::from_secs(5));
    assert_eq!(asked.await.unwrap(), Err(OriginError::FirstByteTimeout));
    assert_eq!(other.seen().requests.len(), 0);
    assert_eq!(pools.stats().first().unwrap().counts.failures, 1);
}

/// A TLS handshake that never comes counts as connecting.
/// The second may be carried out when the client has had the first one's answer and has made anew what it deletes.
#[tokio::test]
async fn what_changes_something_is_never_asked_of_two_origins_at_once() {
    for (method, on_top) in [(Method::GET, 1), (Method::DELETE, 0)] {
        let gate = Arc::new(Notify::new());
        let silent = Scripted::new(vec![vec![Play::Read, Play::Wait(Arc::clone(&gate))]]).await;
        let well = Scripted::always(OK).await;
        let clock = manual();
        let mut settings = settings(vec![at(silent.port), at(well.port)]);
        settings.hedge_after = crate::config::HedgeAfter::Time(Duration::from_millis(200));
        let pools = pools(settings, &clock);
        let asking = tokio::spawn({
            let pools = Arc::clone(&pools);
            async move { fetch(&pools, ask(method, "/")).await.is_ok() }
        });
        silent.until(|seen| seen.requests.len() == 1).await;
        while !asking.is_finished() {
            clock.advance(Duration::from_millis(100));
            let turn = std::future::pending::<()>();
            let _ = tokio::time::timeout(Duration::from_millis(1), turn).await;
        }
        assert_eq!(asking.await.unwrap(), on_top == 1);
        assert_eq!(well.seen().requests.len(), on_top);
    }
}

#[tokio::test]
async fn a_silent_tls_origin_is_given_up_after_connect_timeout() {
    let origin = Scripted::new(vec![vec![Play::Wait(Arc::default())]]).await;
    let clock = manual();
    let mut settings = settings(vec![Origin { tls: true, ..at(origin.port) }]);
    settings.verify = false;
    let pools = pools(settings, &clock);
    let asked = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { fetch(&pools, get("/")).await }
    });
    origin.until(|seen| seen.connections == 1).await;
    clock.advance(Duration::from_secs(5));
    assert_eq!(asked.await.unwrap(), Err(OriginError::ConnectTimeout));
}

/// TLS for `name`, and the certificate to trust.
fn acceptor(name: &str) -> (tokio_rustls::TlsAcceptor, temporary::File) {
    acceptor_of(name, &[])
}

/// The same with these protocols.
pub(super) fn acceptor_of(name: &str, protocols: &[&[u8]]) -> (tokio_rustls::TlsAcceptor, temporary::File) {
    let issued = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = issued.cert.der().clone();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    (acceptor, temporary::File::new(&issued.cert.pem()))
}

/// A TLS origin for `name`; `goodbye`: it says `close_notify` at the end of its script.
async fn tls_origin(
    name: &str,
    response: &'static str,
    goodbye: bool,
) -> (u16, temporary::File, Arc<Mutex<Vec<String>>>) {
    let (acceptor, ca) = acceptor(name);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen_names = Arc::clone(&names);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, seen_names) = (acceptor.clone(), Arc::clone(&seen_names));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                seen_names.lock().push(stream.get_ref().1.server_name().unwrap_or_default().to_owned());
                while read_request(&mut stream).await.is_some() {
                    stream.write_all(response.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    if !response.contains("Content-Length") {
                        break;
                    }
                }
                if goodbye {
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    (port, ca, names)
}

/// A file in the system's temporary directory, gone when dropped.
pub(super) mod temporary {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(in crate::origin::tests) struct File(pub(in crate::origin::tests) PathBuf);

    impl File {
        pub(in crate::origin::tests) fn new(text: &str) -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name =
                format!("tidegate-ca-{}-{}.pem", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

#[tokio::test]
async fn a_tls_origin_is_verified_by_name_and_root_unless_told_otherwise() {
    let (port, ca, sni) = tls_origin("www.example.com", OK, true).await;
    let tls = || Origin { tls: true, ..at(port) };
    let trusting = || PoolSettings { ca: Some(ca.0.clone()), ..settings(vec![tls()]) };
    let ok = Ok((200, "ok".to_owned()));
    let clock = Clock::system();
    // The Host sent is the name asked for.
    let pool = pools(trusting(), &clock);
    assert_eq!(fetch(&pool, get("/")).await, ok);
    assert_eq!(fetch(&pool, get("/")).await, ok);
    assert_eq!(*sni.lock(), ["www.example.com"], "one connection, with SNI");
    // Another host must not be sent over a connection verified for this one.
    let other = Ask { authority: Bytes::from_static(b"other.example.com:8443"), ..get("/") };
    assert_eq!(fetch(&pool, other).await, Err(OriginError::Tls));
    // The pool's own names.
    let named = PoolSettings { server_name: Some("wrong.example.com".into()), ..trusting() };
    assert_eq!(fetch(&pools(named, &clock), get("/")).await, Err(OriginError::Tls));
    let hosted = PoolSettings { host: Some("wrong.example.com".into()), ..trusting() };
    assert_eq!(fetch(&pools(hosted, &clock), get("/")).await, Err(OriginError::Tls));
    let both = PoolSettings {
        host: Some("internal".into()),
        server_name: Some("www.example.com".into()),
        ..trusting()
    };
    assert_eq!(fetch(&pools(both, &clock), get("/")).await, ok);
    // Not in the system's roots.
    let unverified = PoolSettings { verify: false, ..settings(vec![tls()]) };
    assert_eq!(fetch(&pools(unverified, &clock), get("/")).await, ok);
    let empty = temporary::File::new("");
    let refused = PoolSettings { ca: Some(empty.0.clone()), ..settings(vec![tls()]) };
    let map = BTreeMap::from([("p".into(), refused)]);
    assert!(OriginPools::new(&map, &clock).is_err(), "a CA file without a certificate");
}

/// RFC 9112 §8: without `close_notify` the end of a close-delimited body proves nothing.
#[tokio::test]
async fn a_close_delimited_body_over_tls_is_whole_only_with_close_notify() {
    for (goodbye, expected) in [(true, Ok((200, "abc".to_owned()))), (false, Err(OriginError::BodyCut))] {
        let (port, ca, _) = tls_origin("www.example.com", "HTTP/1.1 200 OK\r\n\r\nabc", goodbye).await;
        let settings =
            PoolSettings { ca: Some(ca.0.clone()), ..settings(vec![Origin { tls: true, ..at(port) }]) };
        assert_eq!(fetch(&pools(settings, &Clock::system()), get("/")).await, expected);
    }
}

/// A byte behind a response must not stand for the next one, and a goodbye is not waited out.
#[tokio::test]
async fn under_tls_a_connection_is_not_used_again_behind_a_word_or_a_goodbye() {
    for goodbye in [false, true] {
        let (acceptor, ca) = acceptor("www.example.com");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answered, spoken) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let accepting = tokio::spawn({
            let (answered, spoken) = (Arc::clone(&answered), Arc::clone(&spoken));
            async move {
                let mut streams = Vec::new();
                for _ in 0..2 {
                    let (socket, _) = listener.accept().await.unwrap();
                    let mut stream = acceptor.accept(socket).await.unwrap();
                    read_request(&mut stream).await.unwrap();
                    stream.write_all(OK.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    answered.notified().await;
                    if goodbye {
                        stream.shutdown().await.unwrap();
                    } else {
                        stream.write_all(OK.replace("ok", "no").as_bytes()).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                    spoken.notify_one();
                    streams.push(stream);
                }
            }
        });
        let settings =
            PoolSettings { ca: Some(ca.0.clone()), ..settings(vec![Origin { tls: true, ..at(port) }]) };
        let pools = pools(settings, &Clock::system());
        // A POST goes out once: it was not sent on the connection that had ended.
        for _ in 0..2 {
            assert_eq!(fetch(&pools, ask(Method::POST, "/")).await, Ok((200, "ok".to_owned())));
            answered.notify_one();
            spoken.notified().await;
        }
        accepting.await.unwrap();
    }
}
