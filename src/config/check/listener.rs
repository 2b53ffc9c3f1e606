//! `[[listener]]`: where clients connect.

use std::net::{IpAddr, SocketAddr};

use super::super::file::{Item, Section};
use super::super::mistake::Complaint;
use super::super::{AdminAddress, Certificate, Listener, ListenerProtocol, Network, value};
use super::{NETWORKS_EXAMPLE, Surroundings, file, tables};

/// Each with the place of its address.
pub(super) type Listeners<'t> = Vec<(Item<'t>, Listener)>;

/// All listeners; at least one.
pub(super) fn listeners<'t>(root: &Section<'t>, around: &Surroundings) -> Listeners<'t> {
    let sections = tables(root, "listener", "listener");
    if sections.is_empty() {
        root.tell(Complaint::new(
            "missing-key",
            "there is no listener",
            "no [[listener]] in the file",
            "write [[listener]] and below it address = \"0.0.0.0:80\"",
        ));
    }
    sections.into_iter().filter_map(|(_, section)| listener(section, around)).collect()
}

fn listener<'t>(section: Section<'t>, around: &Surroundings) -> Option<(Item<'t>, Listener)> {
    let item = section.required("address", ADDRESS_EXAMPLE);
    let address = item.as_ref().and_then(|item| item.parsed(ADDRESS_EXAMPLE, value::listen_address));
    let tls = certificates(&section, around);
    let protocols = protocols(&section, tls.is_some());
    let trusted = section.item("trusted_proxies");
    let trusted_proxies =
        trusted.and_then(|item| item.list_of(NETWORKS_EXAMPLE, value::network)).unwrap_or_default();
    let proxy_protocol = section.item("proxy_protocol").and_then(|item| proxy_protocol(&item));
    section.close();
    let tls = tls.unwrap_or_default();
    Some((item?, Listener { address: address?, tls, protocols, trusted_proxies, proxy_protocol }))
}

/// Whose connections begin with it; it has no other setting.
fn proxy_protocol(item: &Item<'_>) -> Option<Vec<Network>> {
    let section = item.section("`proxy_protocol`".to_owned())?;
    let trust = section.required("trust", PROXY_EXAMPLE);
    let networks = trust.as_ref().and_then(|item| item.list_of(NETWORKS_EXAMPLE, value::network));
    if let Some(item) = trust.filter(|item| item.is_list() && networks.as_ref().is_some_and(Vec::is_empty))
        && item.list(NETWORKS_EXAMPLE).is_some_and(|list| list.is_empty())
    {
        let message = "`trust` names nobody: no connection would be served";
        item.tell(Complaint::new("empty", message, "empty", PROXY_EXAMPLE));
    }
    section.close();
    networks
}

fn certificates(section: &Section<'_>, around: &Surroundings) -> Option<Vec<Certificate>> {
    let item = section.item("tls")?;
    if item.is_table() {
        item.tell(Complaint::new("type", "`tls` is a list", "one table", format!("write {TLS_EXAMPLE}")));
        return Some(Vec::new());
    }
    let list = item.list(&format!("write {TLS_EXAMPLE}"))?;
    if list.is_empty() {
        let help = format!("write {TLS_EXAMPLE}, or remove the key for a listener without TLS");
        item.tell(Complaint::new("empty", "`tls` names no certificate", "empty", help));
    }
    Some(list.iter().filter_map(|item| certificate(item, around)).collect())
}

fn certificate(item: &Item<'_>, around: &Surroundings) -> Option<Certificate> {
    let section = item.section("this certificate".to_owned())?;
    let cert = section.required("cert", CERTIFICATE_EXAMPLE);
    let cert = cert.and_then(|item| file(&item, "write the path of the PEM file with the chain", around));
    let key = section.required("key", CERTIFICATE_EXAMPLE);
    let key = key.and_then(|item| file(&item, "write the path of the PEM file with the private key", around));
    section.close();
    Some(Certificate { cert: cert?, key: key? })
}

fn protocols(section: &Section<'_>, tls: bool) -> Vec<ListenerProtocol> {
    let default = if tls {
        vec![ListenerProtocol::H2, ListenerProtocol::Http11]
    } else {
        vec![ListenerProtocol::Http11]
    };
    let Some(item) = section.item("protocols") else { return default };
    let Some(list) = item.list("write protocols = [\"h2\", \"http/1.1\"]") else { return default };
    if list.is_empty() {
        let help = "write protocols = [\"h2\", \"http/1.1\"], or remove the key";
        item.tell(Complaint::new("empty", "`protocols` names none", "empty", help));
    }
    let mut protocols = Vec::new();
    for item in list {
        if matches!(item.as_text(), Some("h3" | "http/3")) {
            let help = "remove it; HTTP/1.1 and HTTP/2 are served";
            item.tell(Complaint::new(
                "not-supported",
                "HTTP/3 is not supported by this version yet",
                "not supported yet",
                help,
            ));
            continue;
        }
        let Some(protocol) =
            item.word(&[("h2", ListenerProtocol::H2), ("http/1.1", ListenerProtocol::Http11)])
        else {
            continue;
        };
        if protocol == ListenerProtocol::H2 && !tls {
            let help =
                "name a certificate with `tls`, or remove \"h2\": clients choose HTTP/2 in the TLS handshake";
            item.tell(Complaint::new(
                "h2-plain",
                "HTTP/2 is offered on a listener without TLS",
                "needs TLS",
                help,
            ));
        }
        if protocols.contains(&protocol) {
            item.tell(Complaint::new(
                "twice",
                "this protocol is named twice",
                "again",
                "remove one of the two",
            ));
        } else {
            protocols.push(protocol);
        }
    }
    protocols
}

/// Two sockets of this process cannot have one address; `SO_REUSEPORT` would share it silently.
pub(super) fn overlaps(listeners: &Listeners<'_>, admin: Option<&AdminAddress>, root: &Section<'_>) {
    for (at, (item, listener)) in listeners.iter().enumerate() {
        let earlier = listeners.iter().take(at).find(|(_, other)| overlap(other.address, listener.address));
        if let Some((other, _)) = earlier {
            let message = format!("two listeners want {}", listener.address);
            let complaint = Complaint::new(
                "overlap",
                message,
                "overlaps",
                "give each listener an address or port of its own",
            );
            item.tell_beside(complaint, other.span.clone(), "with this one");
        }
        if let Some(AdminAddress::Tcp(admin)) = admin
            && overlap(*admin, listener.address)
        {
            let message = format!("this listener and the admin listener both want port {}", admin.port());
            let help = "choose another port for one of them; the admin listener has [admin] address, by default \"127.0.0.1:9180\"";
            let complaint = Complaint::new("overlap", message, "overlaps", help);
            match root.section("admin").and_then(|section| section.item("address")) {
                Some(other) => item.tell_beside(complaint, other.span, "with this one"),
                None => item.tell(complaint),
            }
        }
    }
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |address: IpAddr| address.is_unspecified();
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || all(one.ip()) || all(other.ip()))
}

const PROXY_EXAMPLE: &str =
    "write proxy_protocol = { trust = [\"10.0.0.0/8\"] }, with the addresses of your balancers";
const ADDRESS_EXAMPLE: &str = "write address = \"0.0.0.0:80\"";
const CERTIFICATE_EXAMPLE: &str = "write { cert = \"www.pem\", key = \"www.key\" }";
const TLS_EXAMPLE: &str = "tls = [ { cert = \"www.pem\", key = \"www.key\" } ]";
