//! What a pool's connections carry beside requests and answers, and what is shown on them first.

use super::super::limits::{count, timeout};
use super::super::{Surroundings, file};
use crate::config::file::{Item, Section};
use crate::config::mistake::Complaint;
use crate::config::{Certificate, OriginProtocol, Pool, ProxyProtocol};

/// The keys of `[pool.NAME]` that make a [`Transport`](crate::config::Transport).
pub(super) fn transport(section: &Section<'_>, pool: &mut Pool, around: &Surroundings) {
    if let Some(protocol) = section.item("protocol").and_then(|item| item.word(&OriginProtocol::WORDS)) {
        pool.transport.protocol = protocol;
    }
    count(section, "streams_max", &mut pool.transport.streams_max, 1..=1_000);
    if let Some(item) = section.item("streams_max").filter(|_| pool.transport.protocol != OriginProtocol::H2)
    {
        let help = "write protocol = \"h2\" beside it, or remove the key";
        let message = "`streams_max` has no effect: this pool's origins are asked over HTTP/1.1";
        item.tell(Complaint::new("no-effect", message, "no effect", help));
    }
    count(section, "tunnels_max", &mut pool.transport.tunnels_max, 0..=1_000_000);
    timeout(section, "tunnel_timeout", &mut pool.transport.tunnel_timeout);
    let shown = section.item("client_cert");
    pool.transport.client_cert = shown.as_ref().and_then(|item| client_cert(item, around));
    if let Some(item) = shown
        && !pool.origins.is_empty()
        && !pool.origins.iter().any(|origin| origin.tls)
    {
        let help = "write https:// in the origin's url, or remove the key";
        let message = "`client_cert` has no effect: no origin of this pool is https";
        item.tell(Complaint::new("no-effect", message, "no effect", help));
    }
    let proxy = section.item("proxy_protocol").and_then(|item| item.word(&PROXY_PROTOCOL));
    pool.transport.proxy_protocol = proxy.flatten();
}

fn client_cert(item: &Item<'_>, around: &Surroundings) -> Option<Certificate> {
    if !item.is_table() {
        let message = "`client_cert` takes a certificate and its key";
        item.tell(Complaint::new("type", message, "one of two", format!("write client_cert = {EXAMPLE}")));
        return None;
    }
    let section = item.section("`client_cert`".to_owned())?;
    let named = |key| section.required(key, format!("write {EXAMPLE}"));
    let (cert, key) = (named("cert"), named("key"));
    let path = |item: Option<Item<'_>>, help| item.and_then(|item| file(&item, help, around));
    let cert = path(cert, "write the path of a PEM file with the certificate and those that sign it");
    let key = path(key, "write the path of the PEM file with its key");
    section.close();
    let found = Certificate { cert: cert?, key: key? };
    let readable = [&found.cert, &found.key].iter().all(|path| (around.unreadable)(path).is_none());
    if readable && let Some(why) = (around.unfit)(&found.cert, &found.key) {
        let message = format!("this certificate cannot be shown to an origin: {why}");
        let help = "name a certificate in PEM form and the key that it was issued for";
        item.tell(Complaint::new("certificate", message, "cannot be used", help));
    }
    Some(found)
}

/// Names of the choices for `proxy_protocol`.
pub(in super::super::super) const PROXY_PROTOCOL: [(&str, Option<ProxyProtocol>); 3] =
    [("off", None), ("v1", Some(ProxyProtocol::V1)), ("v2", Some(ProxyProtocol::V2))];
const EXAMPLE: &str = "{ cert = \"node.pem\", key = \"node.key\" }";
