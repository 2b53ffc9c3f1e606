//! The origin of `tidegate demo`: a small newspaper, served by this process on two loopback ports.
//!
//! It plays the origin that a node stands in front of, so it is no part of the walk and shares nothing with it but the
//! clock: hyper's server, plain HTTP/1, and pages that are functions of the request (`site.rs`).
//! [`guide`] tells what to try with it.

mod art;
mod articles;
mod io;
mod page;
mod site;
mod steering;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::limits::DEMO_CONNECTIONS_MAX;
use site::{Ask, Site};
pub use steering::Atlas;

/// The running site; dropping it stops it.
#[derive(Debug)]
pub struct DemoSite {
    /// Its two origins, quay and pier; both serve the same pages.
    pub addresses: [SocketAddr; 2],
    /// The accept loops, aborted with it.
    _berths: JoinSet<()>,
}

/// Starts the site on two free loopback ports of the current runtime.
///
/// # Errors
/// No port can be bound.
pub async fn start(clock: &Clock) -> std::io::Result<DemoSite> {
    let site = Arc::new(Site::new(clock.wall()));
    let quay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let pier = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addresses = [quay.local_addr()?, pier.local_addr()?];
    let mut berths = JoinSet::new();
    for (name, listener) in [(QUAY, quay), ("pier", pier)] {
        berths.spawn(Berth { name, site: Arc::clone(&site), clock: clock.clone() }.accept(listener));
    }
    Ok(DemoSite { addresses, _berths: berths })
}

/// One of the two origins.
#[derive(Clone)]
struct Berth {
    name: &'static str,
    site: Arc<Site>,
    clock: Clock,
}

/// The berth has gone dark: the connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the berth is dark")]
struct Dark;

impl Berth {
    async fn accept(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(DEMO_CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                // The client is gone already, or descriptors are short: then trying at once would only burn.
                self.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            let berth = self.clone();
            connections.spawn(async move {
                let answer = service_fn(|request| berth.answer(request));
                // Whatever ends a connection, the client sees it too.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(io::Io(stream), answer).await;
                drop(permit);
            });
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<http::Response<Whole>, Dark> {
        if self.name == QUAY && self.site.quay_is_dark() {
            return Err(Dark);
        }
        let field = |name| text(request.headers(), name);
        let now = self.clock.wall();
        let mut answer = self.site.answer(&Ask {
            method: request.method(),
            path: request.uri().path(),
            accept_language: field(header::ACCEPT_LANGUAGE).unwrap_or_default(),
            if_none_match: field(header::IF_NONE_MATCH),
            if_modified_since: field(header::IF_MODIFIED_SINCE),
            now,
        });
        self.clock.sleep(answer.delay).await;
        answer.fields.push(("date", site::date(self.clock.wall())));
        answer.fields.push(("x-berth", self.name.to_owned()));
        let mut response = http::Response::new(Whole(None));
        *response.status_mut() = answer.status;
        for (name, value) in answer.fields {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        let length = HeaderValue::from(answer.body.len());
        if request.method() == Method::HEAD {
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
        } else {
            *response.body_mut() = Whole(Some(answer.body));
        }
        Ok(response)
    }
}

fn text(fields: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    fields.get(name)?.to_str().ok()
}

/// A body in one piece.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// What to try, as commands to paste, given how this program was called and where the node and its admin listener are.
pub fn guide(program: &str, node: SocketAddr, admin: SocketAddr) -> String {
    let program = shell_word(program);
    let mut guide = format!(
        "The Harbour Post is printing. Its pages, through the node:  http://{node}/\n\
         What the node makes of it, live:                            http://{admin}/\n\n\
         Things to try in another terminal, this line first:\n\n    {LOOK}\n"
    );
    for (what, commands) in TO_TRY {
        let _ = write!(guide, "\n  {what}\n");
        for command in *commands {
            let command = command
                .replace("NODE", &format!("http://{node}"))
                .replace("ADMIN", &admin.to_string())
                .replace("TIDEGATE", &program);
            let _ = writeln!(guide, "    {command}");
        }
    }
    guide.push_str("\nCtrl-C ends it.\n");
    guide
}

/// `text` as one word of a shell's command line.
fn shell_word(text: &str) -> String {
    if !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte))
    {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Shows the fields of an answer that tell about the cache.
const LOOK: &str = "look() { curl -so /dev/null -D - \"$@\" | grep -iE '^(http|cache-status|age|x-berth)'; }";

/// Headings and their commands; capital words are filled in by [`guide`].
#[rustfmt::skip]
const TO_TRY: &[(&str, &[&str])] = &[
    ("A miss, then a hit from memory", &[
        "look NODE/harbour/the-gate-holds; look NODE/harbour/the-gate-holds",
    ]),
    ("Stale while revalidate: after six seconds the old page comes at once, the next one is new", &[
        "look NODE/live; sleep 6; look NODE/live; sleep 1; look NODE/live",
    ]),
    ("Five readers, one fetch: each waits the same two seconds", &[
        "for i in 1 2 3 4 5; do curl -s NODE/slow -o /dev/null -w '%{time_total} s\\n' & done; wait",
    ]),
    ("A variant for each language", &[
        "curl -s -H 'Accept-Language: de' NODE/welcome | grep -o '<h1>.*</h1>'",
        "curl -s -H 'Accept-Language: fr' NODE/welcome | grep -o '<h1>.*</h1>'",
    ]),
    ("A purge, and the miss after it", &[
        "TIDEGATE purge --admin ADMIN NODE/harbour/the-gate-holds",
        "look NODE/harbour/the-gate-holds",
        "curl -X PURGE NODE/harbour/the-gate-holds",
    ]),
    ("Steering by place: 127.0.0.2 is in America here, whose readers go to the pier", &[
        "look NODE/where; look --interface 127.0.0.2 NODE/where",
        "TIDEGATE explain --admin ADMIN --client 127.0.0.2 NODE/where",
    ]),
    ("A canary: the pier has 5 % of these requests, then half, and nothing is restarted", &[
        "share() { for i in $(seq 40); do curl -so /dev/null -D - NODE/canary; done | grep -i x-berth | sort | uniq -c; }; share",
        "TIDEGATE steer --admin ADMIN '*' quay=50 pier=50; share",
    ]),
    ("A failover: one of the two origins goes dark, the other answers, also for Germany's readers", &[
        "curl -s NODE/outage/quay; look NODE/town/an-anchor-with-no-ship; look NODE/where",
        "curl -s NODE/outage/off",
    ]),
    ("An outage: both origins answer 503, readers still get what is stored", &[
        "curl -s NODE/outage/off; look NODE/flaky",
        "curl -s NODE/outage/on; sleep 2; look NODE/flaky; curl -s NODE/outage/off",
    ]),
    ("Ask the node itself", &[
        "TIDEGATE explain --admin ADMIN NODE/live",
        "TIDEGATE stat --admin ADMIN",
    ]),
];
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const QUAY: &str = "quay";
