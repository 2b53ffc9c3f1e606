//! Text becomes a type here and is never looked at as text again: addresses, origins, hosts, paths, networks, names.
//!
//! Pure: nothing here knows where the text stands or touches a file or a socket. The file and the command line ask the
//! same functions, so both refuse the same things in the same words.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::limits::{NODE_NAME_BYTES_MAX, REGEX_TEXT_BYTES_MAX};
use super::mistake::Complaint;
use super::{AdminAddress, HostPattern, Network, Origin, PathPattern, PathRegex};

/// The node's name: an RFC 9110 token, as `Via` and `CDN-Loop` need it.
///
/// # Errors
/// It is empty, too long or has a character that a token cannot have.
pub fn node_name(text: &str) -> Result<Arc<str>, Complaint> {
    let complaint = |label: String, help: String| {
        Complaint::new("node-name", format!("`{}` cannot name a node", text.escape_debug()), label, help)
    };
    if text.is_empty() || text.len() > NODE_NAME_BYTES_MAX {
        let label = if text.is_empty() {
            "empty".to_owned()
        } else {
            format!("longer than {NODE_NAME_BYTES_MAX} bytes")
        };
        return Err(complaint(label, "write a short name, like \"fra-1\"".to_owned()));
    }
    match text.chars().find(|c| !is_token_char(*c)) {
        None => Ok(text.into()),
        Some(c) => Err(complaint(
            format!("`{}` is not allowed", c.escape_debug()),
            format!(
                "it stands in Via and Cache-Status: letters, digits, `-`, `.` and `_`, like \"{}\"",
                tokenised(text)
            ),
        )),
    }
}

/// `text` with everything that a token cannot have replaced by `-`; `node` if nothing is left.
pub fn tokenised(text: &str) -> String {
    let token: String = text
        .trim()
        .chars()
        .take(NODE_NAME_BYTES_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' })
        .collect();
    if token.chars().any(|c| c.is_ascii_alphanumeric()) { token } else { "node".to_owned() }
}

/// Where to listen: `127.0.0.1:8080`, `[::]:443`, and as people type it `:80` and `8080` (all addresses, IPv4) and
/// `localhost:8080`.
///
/// # Errors
/// It is no address, or a name: we do not guess which address a name means.
pub fn listen_address(text: &str) -> Result<SocketAddr, Complaint> {
    let complaint = |label: &str, help: &str| {
        Complaint::new(
            "address",
            format!("`{}` is not an address to listen on", text.escape_debug()),
            label,
            help,
        )
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("", text),
    };
    if host.contains("://") || text.contains('/') {
        return Err(complaint(
            "a URL, not an address",
            "write address and port only, like \"127.0.0.1:8080\"",
        ));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(complaint("no port", "add a port, like \"127.0.0.1:8080\" or \"[::1]:8080\""));
    }
    let Ok(port) = port.parse::<u16>() else {
        let label = if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() {
            "no such port"
        } else {
            "no port"
        };
        return Err(complaint(
            label,
            "write address and port, like \"0.0.0.0:80\", or only the port, like \":80\"",
        ));
    };
    match host {
        "" | "*" => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        "localhost" => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err(complaint(
            "a name, not an address",
            "write the address of an interface, or \"0.0.0.0\" for all of them",
        )),
    }
}

/// Where the admin listener is: an address with port, or `unix:` and a path.
///
/// # Errors
/// Neither.
pub fn admin_address(text: &str) -> Result<AdminAddress, Complaint> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(AdminAddress::Unix(PathBuf::from(path))),
        Some(_) => Err(Complaint::new(
            "address",
            format!("`{}` is not a socket's path", text.escape_debug()),
            "not absolute",
            "write the whole path, like \"unix:/run/tidegate/admin.sock\"",
        )),
        // Without a host the clients' listeners take all addresses; this one must not.
        None if text.starts_with(':') || text.bytes().all(|b| b.is_ascii_digit()) => {
            listen_address(text).map(|all| AdminAddress::Tcp((Ipv4Addr::LOCALHOST, all.port()).into()))
        }
        None => listen_address(text).map(AdminAddress::Tcp),
    }
}

/// An origin: `http://10.0.0.1:3000`, `https://www.example.net` or `unix:/run/app.sock`, with weight 1 and not a backup. A
/// socket may also be written as nginx (`http://unix:/run/app.sock`) and Caddy (`unix//run/app.sock`) have it.
///
/// # Errors
/// Scheme, host or port is missing or wrong, or there is more than that.
pub fn origin(text: &str) -> Result<Origin, Complaint> {
    let complaint = |label: &str, help: String| {
        Complaint::new("origin-url", format!("`{}` is not an origin", text.escape_debug()), label, help)
    };
    let socket = ["unix://", "unix:", "unix/", "http://unix:"];
    if let Some(path) = socket.iter().find_map(|start| text.strip_prefix(start)) {
        return socket_origin(text, path);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(complaint("no scheme", format!("write \"http://{text}\" or \"https://{text}\"")));
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => {
            return Err(complaint(
                "a scheme we do not speak",
                format!("write \"http://{rest}\" or \"https://{rest}\""),
            ));
        }
    };
    let scheme = if tls { "https" } else { "http" };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        let help = "leave user name and password out; the origin sees the client's Authorization field";
        return Err(complaint("with a user name", help.to_owned()));
    }
    if !matches!(path, "" | "/") {
        let help =
            format!("write \"{scheme}://{authority}\": requests keep the path that the client asked for");
        return Err(complaint("with a path", help));
    }
    let (host, port) = host_and_port(authority).map_err(|label| {
        complaint(
            label,
            format!(
                "write host and port, like \"{scheme}://10.0.0.1:3000\" or \"{scheme}://www.example.net\""
            ),
        )
    })?;
    let written = port.map_or_else(String::new, |port| format!(":{port}"));
    Ok(Origin {
        name: format!("{scheme}://{host}{written}").into(),
        tls,
        port: port.unwrap_or(if tls { 443 } else { 80 }),
        host: host.trim_start_matches('[').trim_end_matches(']').into(),
        weight: 1,
        backup: false,
    })
}

/// An origin that listens on a socket in the file system.
fn socket_origin(text: &str, path: &str) -> Result<Origin, Complaint> {
    let complaint = |label: &str, help: &str| {
        Complaint::new("origin-url", format!("`{}` is not an origin", text.escape_debug()), label, help)
    };
    // nginx ends the path of a socket with a colon where a path of URLs follows.
    let path = path.strip_suffix(':').unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(complaint("not a socket's path", "write the whole path, like \"unix:/run/app.sock\""));
    }
    if path.contains([':', '?', '#']) || path.chars().any(char::is_control) {
        let help = "write the path of the socket alone: requests keep the path that the client asked for";
        return Err(complaint("more than a socket's path", help));
    }
    if path.len() > SOCKET_PATH_BYTES_MAX {
        let help = "use a path of 107 bytes at most: the system takes no longer ones";
        return Err(complaint("too long", help));
    }
    Ok(Origin {
        name: format!("unix:{path}").into(),
        tls: false,
        host: path.into(),
        port: 0,
        weight: 1,
        backup: false,
    })
}

/// What fits `sun_path` with its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A host with or without port, as a `Host` field has it; lower case.
///
/// # Errors
/// It is not one.
pub fn host_field(text: &str) -> Result<Arc<str>, Complaint> {
    let complaint = |label: &str| {
        let help = "write a host name, with port if the origin needs it, like \"www.example.com\"";
        Complaint::new("host", format!("`{}` is not a host", text.escape_debug()), label, help)
    };
    if text.contains('/') {
        return Err(complaint("more than a host"));
    }
    let (host, port) = host_and_port(text).map_err(complaint)?;
    Ok(port.map_or(host.clone(), |port| format!("{host}:{port}")).into())
}

/// A name to ask for in TLS: a host name or an address, without port.
///
/// # Errors
/// It is neither.
pub fn server_name(text: &str) -> Result<Arc<str>, Complaint> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if rustls::pki_types::ServerName::try_from(bare).is_ok() {
        return Ok(bare.to_ascii_lowercase().into());
    }
    Err(Complaint::new(
        "host",
        format!("`{}` is not a name for TLS", text.escape_debug()),
        "not a host name",
        "write the name in the origin's certificate, without port, like \"www.example.net\"",
    ))
}

/// A host in `hosts`: `www.example.com`, `*.example.org` or `*`.
///
/// # Errors
/// It has a scheme, a port or a path, or `*` elsewhere than in front.
pub fn host_pattern(text: &str) -> Result<HostPattern, Complaint> {
    let complaint = |label: &str, help: String| {
        Complaint::new("host", format!("`{}` is not a host pattern", text.escape_debug()), label, help)
    };
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.split(['/', '?', '#']).next().unwrap_or_default();
    if bare != text {
        return Err(complaint("more than a host", format!("write \"{}\"", bare.to_ascii_lowercase())));
    }
    if !text.is_ascii() {
        let help = "write it as it is on the wire, in its ASCII form: \"xn--…\"";
        return Err(complaint("not ASCII", help.to_owned()));
    }
    let (wildcard, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
    if rest.contains('*') {
        let help = "`*` stands for whole labels in front, like \"*.example.com\", or alone for any host";
        return Err(complaint("`*` at this place", help.to_owned()));
    }
    let (host, port) = host_and_port(rest).map_err(|label| {
        complaint(label, "write a host name, like \"www.example.com\", \"*.example.com\" or \"*\"".to_owned())
    })?;
    if port.is_some() {
        let star = if wildcard { "*." } else { "" };
        return Err(complaint(
            "with a port",
            format!("write \"{star}{host}\": the listener decides the port"),
        ));
    }
    Ok(if wildcard { HostPattern::Wildcard(host.into()) } else { HostPattern::Exact(host.into()) })
}

/// A path in a route: begins with `/` or `*`; `*` matches any run of characters.
///
/// # Errors
/// It begins otherwise, or has a query or a character that no request target has.
pub fn path_pattern(text: &str) -> Result<PathPattern, Complaint> {
    let complaint = |label: &str, help: String| {
        Complaint::new("path", format!("`{}` is not a path pattern", text.escape_debug()), label, help)
    };
    if let Some(expression) = text.strip_prefix('~') {
        return path_regex(expression.trim());
    }
    if !text.starts_with(['/', '*']) {
        let help = if text.starts_with('^') {
            format!(
                "write \"~ {text}\" for a regular expression; elsewhere `*` matches any run of characters"
            )
        } else {
            format!("write \"/{text}\"; `*` matches any run of characters")
        };
        return Err(complaint("does not begin with `/`", help));
    }
    if text.contains(['?', '#']) {
        let bare = text.split(['?', '#']).next().unwrap_or_default();
        return Err(complaint("with a query", format!("write \"{bare}\": routes look at the path alone")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(complaint(
            "a character no request has",
            "write it percent-encoded, as it is on the wire".to_owned(),
        ));
    }
    let parts: Vec<&str> = text.split('*').collect();
    Ok(match parts.as_slice() {
        [whole] => PathPattern::Exact((*whole).into()),
        [front, ""] => PathPattern::Prefix((*front).into()),
        parts => PathPattern::Glob(parts.iter().map(|part| Box::from(*part)).collect()),
    })
}

/// A regular expression that paths in normal form are searched for.
///
/// # Errors
/// It is none, or larger than [`REGEX_TEXT_BYTES_MAX`] or, compiled, [`super::limits::REGEX_BYTES_MAX`].
pub fn path_regex(text: &str) -> Result<PathPattern, Complaint> {
    let complaint = |label: String, help: &str| {
        let message = format!("`{}` is not a regular expression for paths", text.escape_debug());
        Complaint::new("regex", message, label, help)
    };
    if text.len() > REGEX_TEXT_BYTES_MAX {
        let label = format!("longer than {REGEX_TEXT_BYTES_MAX} bytes");
        return Err(complaint(label, "write several routes, or paths with `*`"));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(complaint("not ASCII".to_owned(), REGEX_EXAMPLE));
    }
    PathRegex::new(text).map(PathPattern::Regex).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            complaint("too large once it is compiled".to_owned(), "repeat less, or write several routes")
        }
        error => {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            complaint(last, REGEX_EXAMPLE)
        }
    })
}

/// A method of a route.
///
/// # Errors
/// It is no token, or lower case where a known method is meant: methods have case (RFC 9110 §9.1).
pub fn method(text: &str) -> Result<Method, Complaint> {
    let upper = text.to_ascii_uppercase();
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if upper != text && known.contains(&upper.as_str()) {
        let help = format!("write \"{upper}\"");
        return Err(Complaint::new("method", format!("`{text}` is not a method"), "methods have case", help));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| {
        let message = format!("`{}` is not a method", text.escape_debug());
        Complaint::new("method", message, "not a token", "write a method, like \"GET\" or \"POST\"")
    })
}

/// A field name, in lower case.
///
/// # Errors
/// It is no token.
pub fn field_name(text: &str) -> Result<HeaderName, Complaint> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        let message = format!("`{}` is not a field name", text.escape_debug());
        Complaint::new(
            "field-name",
            message,
            "not a token",
            "write a name without colon or value, like \"accept-language\"",
        )
    })
}

/// A protocol that a client may go over to, in lower case.
///
/// # Errors
/// It is no token (with a version, if it has one), or HTTP itself.
pub fn upgrade(text: &str) -> Result<Box<str>, Complaint> {
    let complaint = |label: &str, help: &str| {
        Complaint::new("upgrade", format!("`{}` cannot be gone over to", text.escape_debug()), label, help)
    };
    let name = text.to_ascii_lowercase();
    let mut parts = name.splitn(2, '/');
    if !parts.all(|part| !part.is_empty() && part.chars().all(is_token_char)) {
        return Err(complaint(
            "not a protocol",
            "write the name as it stands in `Upgrade`, like \"websocket\"",
        ));
    }
    if matches!(name.split('/').next(), Some("h2c" | "h2" | "h3" | "http" | "tls")) {
        let help = "leave it out: requests inside it would reach the origin without this node seeing them";
        return Err(complaint("HTTP inside of HTTP", help));
    }
    Ok(name.into())
}

/// A parameter's or cookie's name, or a prefix ending in `*`.
///
/// # Errors
/// It is empty, or has `*` elsewhere, `=`, `&`, `;` or white space in it.
pub fn name_pattern(text: &str) -> Result<Box<str>, Complaint> {
    let name = text.strip_suffix('*').unwrap_or(text);
    let wrong = |c: char| "*=&;,".contains(c) || c.is_whitespace() || c.is_control();
    if text.is_empty() || name.contains(wrong) {
        return Err(Complaint::new(
            "name",
            format!("`{}` is not a name", text.escape_debug()),
            "not a name",
            "write a name, like \"fbclid\", or the start of names and `*`, like \"utm_*\"",
        ));
    }
    Ok(text.into())
}

/// A parameter's or cookie's name.
///
/// # Errors
/// It is empty, or has `*`, `=`, `&`, `;` or white space in it.
pub fn exact_name(text: &str) -> Result<Box<str>, Complaint> {
    let name = name_pattern(text)?;
    if name.ends_with('*') || !name.is_ascii() {
        let message = format!("`{}` is not one name", text.escape_debug());
        return Err(Complaint::new(
            "name",
            message,
            "not one name",
            "write a whole name, as it is on the wire",
        ));
    }
    Ok(name)
}

/// A network, `10.0.0.0/8` or `fd00::/8`, or one address.
///
/// # Errors
/// It is neither, or bits behind the prefix are set: then one of the two is a slip.
pub fn network(text: &str) -> Result<Network, Complaint> {
    let complaint = |label: &str, help: String| {
        Complaint::new("network", format!("`{}` is not a network", text.escape_debug()), label, help)
    };
    let example = || "write address and prefix length, like \"10.0.0.0/8\" or \"fd00::/8\"".to_owned();
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(complaint("no address", example()));
    };
    let bits = if address.is_ipv4() { 32u8 } else { 128 };
    let Some(prefix) = prefix else {
        return Network::new(address, bits).ok_or_else(|| complaint("no network", example()));
    };
    let length = prefix.parse::<u8>().ok().filter(|length| *length <= bits);
    let Some(length) = length.filter(|_| prefix.bytes().all(|b| b.is_ascii_digit())) else {
        return Err(complaint(
            "no prefix length",
            format!("write a length from 0 to {bits}, like \"{address}/{bits}\""),
        ));
    };
    let start = first_address(address, length);
    if start != address {
        let help =
            format!("write \"{start}/{length}\" for the network, or \"{address}\" for the one address");
        return Err(complaint("bits behind the prefix are set", help));
    }
    Network::new(address, length).ok_or_else(|| complaint("no network", example()))
}

/// Host in lower case and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    if text.contains('[') != text.contains(']') {
        return Err("a bracket is missing");
    }
    let (host, port) = match text.rfind(':') {
        Some(at) if !text.ends_with(']') => {
            let (host, port) = text.split_at(at);
            (host, port.strip_prefix(':'))
        }
        _ => (text, None),
    };
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("no such port"),
        },
        Some(_) => return Err("no port behind the colon"),
    };
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok((format!("[{address}]"), port)),
            Err(_) => Err("not an IPv6 address"),
        };
    }
    if host.is_empty() {
        return Err("no host");
    }
    if host.contains(':') {
        return Err("an IPv6 address without brackets");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err("not a host name");
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// The lowest address that shares the first `length` bits.
fn first_address(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// Whether a text may stand in a request's target as it is: what a URI may hold, and encodings that are whole.
pub fn is_target_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    bytes.iter().enumerate().all(|(at, byte)| {
        let encodes = *byte != b'%' || (digit(at + 1) && digit(at + 2));
        byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(byte) && encodes
    })
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

const REGEX_EXAMPLE: &str = "write one that the crate `regex` takes, like path = { regex = \"^/v[0-9]+/\" }: no look-around, no back-references";
