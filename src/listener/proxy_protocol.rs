//! The PROXY protocol, versions 1 and 2: a balancer says, before the first byte of TLS or HTTP, whom it speaks for.
//!
//! `door.rs` reads it on listeners with `proxy_protocol`, from peers that are trusted and from nobody else: whoever could write
//! such a header could be anyone. On such a listener it is not optional, as its specification demands (a header that may
//! be missing can be forged by a client that sends it itself).
//!
//! Invariant: exactly the header's bytes are taken off the socket, at most [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`] of them; what
//! follows is TLS or HTTP, untouched. Not a byte of it is believed unless all of it is well-formed.
//! Absent: what version 2 carries beside addresses (TLVs), which is skipped.
//! Specification: `proxy-protocol.txt` of `HAProxy`, 2020/03/05.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a connection is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// The peer is not one that may say whom it speaks for.
    #[error("this listener serves its balancers only")]
    Untrusted,
    /// What came first is no header.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// It is one, and broken.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// It did not come in time.
    #[error("the PROXY protocol header did not come in time")]
    Late,
    /// The peer left.
    #[error("the peer left within its PROXY protocol header")]
    Gone,
}

impl From<io::Error> for ProxyError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Reads the header; the client's address, or `None` where the peer speaks for itself (health checks) or does not know.
pub(super) async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Option<SocketAddr>, ProxyError> {
    let mut start = [0; V2_SIGNATURE.len()];
    // Both versions are longer than this. What begins otherwise is refused at its first byte that does: a client that waits
    // for an answer to a shorter request would wait for ever.
    for at in 0..start.len() {
        let byte = io.read_u8().await?;
        if let Some(place) = start.get_mut(at) {
            *place = byte;
        }
        let so_far = start.get(..=at).unwrap_or_default();
        if !V2_SIGNATURE.starts_with(so_far) && !is_v1(so_far) {
            return Err(ProxyError::Missing);
        }
    }
    if start == V2_SIGNATURE { version_2(io).await } else { version_1(io, &start).await }
}

fn is_v1(so_far: &[u8]) -> bool {
    let common = so_far.len().min(V1_START.len());
    so_far.get(..common) == V1_START.get(..common)
}

async fn version_1<IO: AsyncRead + Unpin>(
    io: &mut IO,
    start: &[u8],
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut line = Vec::with_capacity(V1_BYTES_MAX);
    line.extend_from_slice(start);
    // Byte by byte: what lies behind it is not ours. A line has at most a hundred, once a connection.
    while !line.ends_with(b"\r\n") {
        if line.len() >= V1_BYTES_MAX {
            return Err(ProxyError::Malformed);
        }
        line.push(io.read_u8().await?);
    }
    line.truncate(line.len().saturating_sub(2));
    let text = std::str::from_utf8(&line).map_err(|_| ProxyError::Malformed)?;
    let mut parts = text.split(' ').skip(1);
    let family = parts.next().ok_or(ProxyError::Malformed)?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(None);
    }
    let mut next = || parts.next().ok_or(ProxyError::Malformed);
    let (source, target, source_port, target_port) = (next()?, next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(ProxyError::Malformed);
    }
    let (source, _) = (address(family, source)?, address(family, target)?);
    let (port, _) = (port(source_port)?, port(target_port)?);
    Ok(Some(SocketAddr::new(source, port)))
}

fn address(family: &str, text: &str) -> Result<IpAddr, ProxyError> {
    let address = match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from),
        _ => return Err(ProxyError::Malformed),
    };
    address.map_err(|_| ProxyError::Malformed)
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !(text.len() > 1 && text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyError::Malformed)
}

async fn version_2<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Option<SocketAddr>, ProxyError> {
    let (command, family) = (io.read_u8().await?, io.read_u8().await?);
    let length = usize::from(io.read_u16().await?);
    if length > V2_BYTES_MAX - V2_SIGNATURE.len() - 4 {
        return Err(ProxyError::Malformed);
    }
    let mut body = vec![0; length];
    io.read_exact(&mut body).await?;
    match command {
        // LOCAL: the balancer itself, to see whether we live. What follows is to be ignored.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(ProxyError::Malformed),
    }
    match family {
        // UNSPEC, and Unix sockets: no address that could be a client's.
        0x00 => Ok(None),
        0x31 if body.len() >= 216 => Ok(None),
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, ..] = *body.as_slice() else {
                return Err(ProxyError::Malformed);
            };
            if body.len() < 12 {
                return Err(ProxyError::Malformed);
            }
            Ok(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))))
        }
        0x21 => {
            let source: Option<[u8; 16]> = body.get(..16).and_then(|bytes| bytes.try_into().ok());
            let port: Option<[u8; 2]> = body.get(32..34).and_then(|bytes| bytes.try_into().ok());
            match (source, port) {
                (Some(source), Some(port)) if body.len() >= 36 => {
                    Ok(Some(SocketAddr::new(Ipv6Addr::from(source).into(), u16::from_be_bytes(port))))
                }
                _ => Err(ProxyError::Malformed),
            }
        }
        // UDP, and what nobody has defined.
        _ => Err(ProxyError::Malformed),
    }
}

/// What a header of version 1 begins with.
const V1_START: &[u8] = b"PROXY ";
/// Its longest line, with the end of it. §2.1.
const V1_BYTES_MAX: usize = 107;
/// What a header of version 2 begins with. §2.2.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a header of version 2, TLVs included; balancers send a few hundred.
const V2_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn two(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("a short body").to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    #[tokio::test]
    async fn headers_name_clients_and_nothing_behind_them_is_read() {
        let mut six = [0_u8; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[32..34].copy_from_slice(&[0, 99]);
        let tlvs = [&FOUR[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let rows: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
            ("TCP4", b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n".to_vec(), Some("192.0.2.7:8080")),
            ("TCP6", b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), Some("[2001:db8::1]:1")),
            ("UNKNOWN, the shortest", b"PROXY UNKNOWN\r\n".to_vec(), None),
            ("UNKNOWN, with what is to be ignored", b"PROXY UNKNOWN ffff::1 x y z\r\n".to_vec(), None),
            ("2, IPv4", two(0x21, 0x11, &FOUR), Some("192.0.2.7:8080")),
            ("2, IPv4 with TLVs", two(0x21, 0x11, &tlvs), Some("192.0.2.7:8080")),
            ("2, IPv6", two(0x21, 0x21, &six), Some("[2001::]:99")),
            ("2, a Unix socket", two(0x21, 0x31, &[0; 216]), None),
            ("2, LOCAL", two(0x20, 0x00, b""), None),
            ("2, LOCAL with an address, which is to be ignored", two(0x20, 0x11, &FOUR), None),
            ("2, UNSPEC", two(0x21, 0x00, b"anything"), None),
        ];
        for (claim, header, expected) in rows {
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let mut io = bytes.as_slice();
            let found = read(&mut io).await;
            assert_eq!(found, Ok(expected.map(|text| text.parse().expect("an address"))), "{claim}");
            assert_eq!(io, b"GET / HTTP/1.1\r\n", "{claim}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_or_a_broken_one_is_refused() {
        let long = format!("PROXY TCP4 {} 10.0.0.1 1 2\r\n", "1".repeat(120));
        let rows: Vec<(&str, Vec<u8>, ProxyError)> = vec![
            ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), ProxyError::Missing),
            ("a short one is refused at once", b"G".to_vec(), ProxyError::Missing),
            ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), ProxyError::Missing),
            ("lower case", b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), ProxyError::Missing),
            ("another method", b"PROXYS / HTTP/1.1\r\n".to_vec(), ProxyError::Missing),
            ("a line without end", long.clone().into_bytes(), ProxyError::Malformed),
            ("IPv6 for IPv4", b"PROXY TCP4 ::1 10.0.0.1 1 2\r\n".to_vec(), ProxyError::Malformed),
            ("IPv4 for IPv6", b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n".to_vec(), ProxyError::Malformed),
            ("a family nobody knows", b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), ProxyError::Malformed),
            ("an octet too large", b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n".to_vec(), ProxyError::Malformed),
            ("a leading zero", b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n".to_vec(), ProxyError::Malformed),
            ("a port too large", b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n".to_vec(), ProxyError::Malformed),
            ("a port with a sign", b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(), ProxyError::Malformed),
            ("a port with a zero", b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(), ProxyError::Malformed),
            ("no port", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(), ProxyError::Malformed),
            ("more than there is", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(), ProxyError::Malformed),
            ("two spaces", b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), ProxyError::Malformed),
            ("a line feed alone", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".to_vec(), ProxyError::Gone),
            ("a NUL in it", b"PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n".to_vec(), ProxyError::Malformed),
            ("2, too short for IPv4", two(0x21, 0x11, &FOUR[..11]), ProxyError::Malformed),
            ("2, too short for IPv6", two(0x21, 0x21, &FOUR), ProxyError::Malformed),
            ("2, too short for a Unix socket", two(0x21, 0x31, &FOUR), ProxyError::Malformed),
            ("2, UDP", two(0x21, 0x12, &FOUR), ProxyError::Malformed),
            ("2, version 1 in it", two(0x11, 0x11, &FOUR), ProxyError::Malformed),
            ("2, a command nobody knows", two(0x22, 0x11, &FOUR), ProxyError::Malformed),
            ("2, longer than is read", two(0x21, 0x11, &[0; 4090]), ProxyError::Malformed),
            ("2, cut within the signature", V2_SIGNATURE[..5].to_vec(), ProxyError::Gone),
            ("2, cut within the addresses", two(0x21, 0x11, &FOUR)[..20].to_vec(), ProxyError::Gone),
            ("nothing", Vec::new(), ProxyError::Gone),
        ];
        for (claim, bytes, expected) in rows {
            assert_eq!(read(&mut bytes.as_slice()).await, Err(expected), "{claim}");
        }
    }

    /// No byte of a header, changed, makes it panic or names a client of another family than it says.
    #[tokio::test]
    async fn no_changed_byte_makes_it_panic() {
        for good in [two(0x21, 0x11, &FOUR), b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n".to_vec()] {
            for at in 0..good.len() {
                for to in 0..=255_u8 {
                    let mut bytes = good.clone();
                    bytes[at] = to;
                    let _ = read(&mut bytes.as_slice()).await;
                }
            }
        }
    }
}
