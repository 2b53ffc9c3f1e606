//! How connections to origins are made beyond TCP and plain TLS: sockets in the file system, certificates of our own, and what an
//! origin is told of the client first.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::UnixListener;

use super::*;
use crate::clock::Clock;
use crate::config::{Certificate, ProxyProtocol, Transport, value};
use crate::origin::forward::Forwarded;
use crate::origin::unfit_identity;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Requests, by connection.
type Heard = Arc<Mutex<Vec<(usize, Vec<u8>)>>>;

/// A place in the file system, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new(ending: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("tidegate-way-{}-{number}.{ending}", std::process::id())))
    }

    fn holding(text: &str) -> Self {
        let place = Self::new("pem");
        std::fs::write(&place.0, text).unwrap();
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn an_origin_on_a_socket_in_the_file_system_answers_like_any_other() {
    let place = Place::new("sock");
    let seen: Arc<Mutex<Vec<(usize, String)>>> = Arc::default();
    let open = |place: &Place, seen: &Arc<Mutex<Vec<(usize, String)>>>| {
        let (listener, seen) = (UnixListener::bind(&place.0).unwrap(), Arc::clone(seen));
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((mut socket, _)) = listener.accept().await else { return };
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut socket).await {
                        let ends = request.starts_with("GET /last");
                        seen.lock().push((connection, request));
                        socket.write_all(OK.as_bytes()).await.unwrap();
                        if ends {
                            return;
                        }
                    }
                });
            }
        })
    };
    let opened = open(&place, &seen);
    let origin = value::origin(&format!("unix:{}", place.0.display())).unwrap();
    let pools = pools(settings(vec![origin]), &Clock::system());
    let ok = Ok((200, "ok".to_owned()));
    assert_eq!(fetch(&pools, get("/1")).await, ok);
    assert_eq!(fetch(&pools, Ask { body: body_of(&["a"]), ..ask(Method::POST, "/2") }).await, ok);
    assert_eq!(fetch(&pools, get("/last")).await, ok);
    assert_eq!(fetch(&pools, get("/4")).await, ok);
    let told: Vec<_> = seen.lock().iter().map(|(connection, _)| *connection).collect();
    assert_eq!(told, [0, 0, 0, 1], "it is kept as long as it lives");
    assert!(seen.lock()[0].1.contains("\r\nhost: www.example.com\r\n"));
    assert_eq!(&*pools.stats()[0].origin, format!("unix:{}", place.0.display()));
    opened.abort();
    let _ = opened.await;
    std::fs::remove_file(&place.0).unwrap();
    // What is kept serves on; a new connection finds nobody.
    assert_eq!(fetch(&pools, get("/last")).await, ok);
    assert_eq!(fetch(&pools, get("/6")).await, Err(OriginError::Connect));
}

#[test]
fn a_socket_may_be_written_as_others_write_it() {
    for written in [
        "unix:/run/app.sock",
        "unix:///run/app.sock",
        "unix//run/app.sock",
        "http://unix:/run/app.sock",
        "http://unix:/run/app.sock:",
    ] {
        let origin = value::origin(written).unwrap();
        assert_eq!(
            (&*origin.name, origin.socket()),
            ("unix:/run/app.sock", Some(Path::new("/run/app.sock"))),
            "{written}"
        );
        assert_eq!(value::origin(&origin.name).unwrap().name, origin.name);
    }
    let long = format!("unix:/{}", "a".repeat(107));
    for written in [
        "unix:",
        "unix:app.sock",
        "unix:/run/",
        "unix:/run/app.sock:/api",
        "unix:/run/a?b",
        "unix:@abstract",
        &long,
    ] {
        assert!(value::origin(written).is_err(), "{written}");
    }
    assert!(value::origin("http://10.0.0.1:3000").unwrap().socket().is_none());
}

/// A TLS origin that asks for a certificate of this authority's, and how its handshakes went.
async fn asking_origin(
    authority: &rcgen::Issuer<'_, rcgen::KeyPair>,
    root: &rcgen::Certificate,
) -> (u16, Place, Arc<Mutex<Vec<String>>>) {
    let (cert, key) = issued("www.example.com", authority);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from(cert.der().to_vec())],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let telling = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, told) = (acceptor.clone(), Arc::clone(&telling));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let session = stream.get_ref().1;
                let line = format!(
                    "{:?} {} {}",
                    session.handshake_kind().unwrap(),
                    String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()),
                    session.peer_certificates().map_or(0, <[_]>::len),
                );
                told.lock().push(line);
                if read_request(&mut stream).await.is_some() {
                    stream
                        .write_all(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())
                        .await
                        .unwrap();
                    stream.shutdown().await.unwrap();
                }
            });
        }
    });
    (port, Place::holding(&root.pem()), told)
}

fn issued(name: &str, authority: &rcgen::Issuer<'_, rcgen::KeyPair>) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

#[tokio::test]
async fn an_origin_that_asks_for_a_certificate_is_shown_the_pools_and_resumes_its_sessions() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    let authority = rcgen::Issuer::new(params, key);
    let (port, ca, told) = asking_origin(&authority, &root).await;
    let (cert, key) = issued("node-1.example.com", &authority);
    let (cert, key) = (Place::holding(&cert.pem()), Place::holding(&key.serialize_pem()));
    let (foreign, other_key) = {
        let made = rcgen::generate_simple_self_signed(["node-1.example.com".to_owned()]).unwrap();
        (Place::holding(&made.cert.pem()), Place::holding(&made.signing_key.serialize_pem()))
    };
    let showing = |client_cert: Option<Certificate>| PoolSettings {
        ca: Some(ca.0.clone()),
        transport: Transport { client_cert, ..Transport::default() },
        ..settings(vec![Origin { tls: true, ..at(port) }])
    };
    let certificate = |cert: &Place, key: &Place| Certificate { cert: cert.0.clone(), key: key.0.clone() };
    let ours = certificate(&cert, &key);
    let pool = pools(showing(Some(ours.clone())), &Clock::system());
    for _ in 0..2 {
        assert_eq!(fetch(&pool, get("/")).await, Ok((200, "ok".to_owned())));
    }
    assert_eq!(*told.lock(), ["Full http/1.1 1", "Resumed http/1.1 1"]);
    assert_eq!(unfit_identity(&ours.cert, &ours.key), None);
    // Without one, or with one that it does not know, there is no answer.
    for other in [None, Some(certificate(&foreign, &other_key))] {
        let refused = fetch(&pools(showing(other), &Clock::system()), get("/")).await;
        assert!(matches!(refused, Err(OriginError::Tls | OriginError::Reset)), "{refused:?}");
    }
    // And what cannot be shown at all is told before the node begins.
    let empty = Place::holding("");
    for (cert, key) in [(&cert, &other_key), (&empty, &key), (&cert, &empty)] {
        let wrong = certificate(cert, key);
        assert!(unfit_identity(&wrong.cert, &wrong.key).is_some());
        let map = BTreeMap::from([("p".into(), showing(Some(wrong)))]);
        assert!(OriginPools::new(&map, &Clock::system()).is_err());
    }
}

/// Certificates are renewed under the name they had.
#[tokio::test]
async fn a_pool_whose_certificates_have_changed_on_disk_is_another_one() {
    let made = || rcgen::generate_simple_self_signed(["node-1.example.com".to_owned()]).unwrap();
    let (ca, identity) = (made(), made());
    let ca = Place::holding(&ca.cert.pem());
    let (cert, key) =
        (Place::holding(&identity.cert.pem()), Place::holding(&identity.signing_key.serialize_pem()));
    let client_cert = Some(Certificate { cert: cert.0.clone(), key: key.0.clone() });
    let settings = PoolSettings {
        ca: Some(ca.0.clone()),
        transport: Transport { client_cert, ..Transport::default() },
        ..settings(vec![Origin { tls: true, ..at(1) }])
    };
    let clock = Clock::system();
    let map = BTreeMap::from([("p".into(), settings)]);
    let pools = OriginPools::new(&map, &clock).unwrap();
    let is_same = |pools: &OriginPools, next: &OriginPools| {
        Arc::ptr_eq(pools.pools.get("p").unwrap(), next.pools.get("p").unwrap())
    };
    let same = pools.renewed(&map, &clock).unwrap();
    assert!(is_same(&pools, &same.pools), "nothing has changed");
    std::fs::write(&ca.0, made().cert.pem()).unwrap();
    let next = pools.renewed(&map, &clock).unwrap();
    assert!(!is_same(&pools, &next.pools), "other roots");
    let other = made();
    std::fs::write(&cert.0, other.cert.pem()).unwrap();
    assert!(next.pools.renewed(&map, &clock).is_err(), "half of a pair is none, and what was there stays");
    std::fs::write(&key.0, other.signing_key.serialize_pem()).unwrap();
    let last = next.pools.renewed(&map, &clock).unwrap();
    assert!(!is_same(&next.pools, &last.pools), "another identity");
    assert!(is_same(&last.pools, &last.pools.renewed(&map, &clock).unwrap().pools));
}

#[tokio::test]
async fn an_origin_is_told_of_the_client_first_and_its_connection_serves_that_one_alone() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Heard = Arc::default();
        let noting = Arc::clone(&seen);
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((mut socket, _)) = listener.accept().await else { return };
                let seen = Arc::clone(&noting);
                tokio::spawn(async move {
                    loop {
                        let mut bytes = Vec::new();
                        // A header of version 2 has such an end in it.
                        while !(bytes.ends_with(b"\r\n\r\n") && bytes.windows(5).any(|five| five == b"GET /"))
                        {
                            let Ok(byte) = socket.read_u8().await else { return };
                            bytes.push(byte);
                        }
                        seen.lock().push((connection, bytes));
                        socket.write_all(OK.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        let mut settings = settings(vec![at(port)]);
        settings.transport.proxy_protocol = Some(version);
        let pools = pools(settings, &Clock::system());
        let from = |client: Option<&str>| {
            let forwarded = Forwarded::default();
            let client: Option<SocketAddr> = client.map(|client| client.parse().unwrap());
            let forwarded = client.map_or(forwarded.clone(), |client| forwarded.of_client(client));
            Ask { fields: Sent::with_conditions(Arc::new(forwarded)), ..get("/") }
        };
        let (one, other) = ("192.0.2.7:5000", "192.0.2.7:5001");
        for client in [Some(one), Some(other), Some(one), None, Some(other), None] {
            assert_eq!(fetch(&pools, from(client)).await, Ok((200, "ok".to_owned())));
        }
        let seen = seen.lock();
        assert_eq!(seen.iter().map(|(connection, _)| *connection).collect::<Vec<_>>(), [0, 1, 0, 2, 1, 2]);
        let firsts: Vec<_> = seen.iter().map(|(_, bytes)| bytes.starts_with(b"GET / ")).collect();
        assert_eq!(firsts, [false, false, true, false, true, true], "it is said once");
        let said = match version {
            ProxyProtocol::V1 => {
                format!("PROXY TCP4 192.0.2.7 127.0.0.1 5001 {port}\r\nGET / HTTP/1.1\r\n").into_bytes()
            }
            ProxyProtocol::V2 => [
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x13\x89",
                &port.to_be_bytes()[..],
                b"GET / HTTP/1.1\r\n",
            ]
            .concat(),
        };
        assert!(seen[1].1.starts_with(&said), "{}", seen[1].1.escape_ascii());
    }
}
