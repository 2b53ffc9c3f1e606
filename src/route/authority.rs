//! Host and port of a request, in the one spelling that site, key, `Host` and SNI share (FAULTS C4, S9).
//!
//! Lower case, no dot behind the name, no port that the scheme implies, IPv6 as RFC 5952 writes it. A name is labels of
//! letters, digits, `-` and `_`; anything else (user information, `%`, commas, raw UTF-8) is refused, because no
//! two programs read it alike. An empty port is none (RFC 3986 §6.2.3). No name is resolved here.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write as _;
use std::net::Ipv6Addr;

use super::normal::Malformed;
use crate::listener::request::Scheme;

/// A host and, where it is not the scheme's own, a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority<'a> {
    bytes: Cow<'a, [u8]>,
    host_len: usize,
}

impl<'a> Authority<'a> {
    /// The normal form of what a client named.
    ///
    /// # Errors
    /// [`Malformed::HostMissing`], [`Malformed::Host`], [`Malformed::Port`].
    pub fn of(scheme: Scheme, received: &'a [u8]) -> Result<Self, Malformed> {
        if let Some((len, host_len)) = LAST.with(|last| last.borrow().find(scheme, received)) {
            return Ok(Self { bytes: Cow::Borrowed(received.get(..len).unwrap_or(received)), host_len });
        }
        let found = Self::read(scheme, received)?;
        if let Cow::Borrowed(bytes) = found.bytes {
            LAST.with(|last| last.borrow_mut().keep(scheme, received, (bytes.len(), found.host_len)));
        }
        Ok(found)
    }

    fn read(scheme: Scheme, received: &'a [u8]) -> Result<Self, Malformed> {
        if received.is_empty() {
            return Err(Malformed::HostMissing);
        }
        if received.first() == Some(&b'[') {
            return Self::of_v6(scheme, received);
        }
        let (host, port, has_capitals) = split(received)?;
        let port = significant(port, scheme)?;
        let port_len = if port.is_empty() { 0 } else { port.len() + 1 };
        if !has_capitals && (port.is_empty() || host.len() + port_len == received.len()) {
            let bytes = received.get(..host.len() + port_len).unwrap_or(received);
            return Ok(Self { bytes: Cow::Borrowed(bytes), host_len: host.len() });
        }
        let mut bytes = host.to_ascii_lowercase();
        push_port(port, &mut bytes);
        Ok(Self { bytes: Cow::Owned(bytes), host_len: host.len() })
    }

    fn of_v6(scheme: Scheme, received: &'a [u8]) -> Result<Self, Malformed> {
        let end = received.iter().position(|byte| *byte == b']').ok_or(Malformed::Host)?;
        let text = received.get(1..end).and_then(|text| std::str::from_utf8(text).ok());
        let address: Ipv6Addr = text.and_then(|text| text.parse().ok()).ok_or(Malformed::Host)?;
        let port = match received.get(end + 1..).unwrap_or_default() {
            [] => &[][..],
            [b':', port @ ..] => port,
            _ => return Err(Malformed::Host),
        };
        let port = significant(port, scheme)?;
        let mut bytes = Vec::with_capacity(received.len().max(48));
        // Writing to a vector does not fail.
        let _ = write!(bytes, "[{address}]");
        let host_len = bytes.len();
        push_port(port, &mut bytes);
        if bytes == received {
            return Ok(Self { bytes: Cow::Borrowed(received), host_len });
        }
        Ok(Self { bytes: Cow::Owned(bytes), host_len })
    }

    /// The name or address without port; an IPv6 address in its brackets.
    pub fn host(&self) -> &[u8] {
        self.bytes.get(..self.host_len).unwrap_or_default()
    }

    /// Host and port, as `Host` is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, owned where it had to be changed; what is borrowed is a prefix of what was received.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Authority<'static> {
        Authority { bytes: Cow::Owned(self.bytes.into_owned()), host_len: self.host_len }
    }
}

/// What was read last, where nothing had to be changed in it: most requests of a thread name the same host, and to compare it costs
/// a fifth of reading it.
struct Last {
    scheme: Scheme,
    received: [u8; LAST_BYTES_MAX],
    /// None, if it is 0.
    received_len: usize,
    /// Length of the normal form, which is a prefix of what was received, and of its host.
    lens: (usize, usize),
}

impl Last {
    #[inline]
    fn find(&self, scheme: Scheme, received: &[u8]) -> Option<(usize, usize)> {
        let is_it = !received.is_empty()
            && self.scheme == scheme
            && self.received.get(..self.received_len) == Some(received);
        is_it.then_some(self.lens)
    }

    fn keep(&mut self, scheme: Scheme, received: &[u8], lens: (usize, usize)) {
        if let Some(room) = self.received.get_mut(..received.len()) {
            room.copy_from_slice(received);
            (self.scheme, self.received_len, self.lens) = (scheme, received.len(), lens);
        }
    }
}

thread_local! {
    static LAST: RefCell<Last> = const {
        RefCell::new(Last { scheme: Scheme::Http, received: [0; LAST_BYTES_MAX], received_len: 0, lens: (0, 0) })
    };
}

/// The name without a dot behind it, the port's digits, and whether the name has capitals; in one pass over the name.
#[inline]
fn split(received: &[u8]) -> Result<(&[u8], &[u8], bool), Malformed> {
    let mut has_capitals = false;
    // Where the label under way begins.
    let mut label_at = 0;
    let mut end = received.len();
    for (at, byte) in received.iter().enumerate() {
        match BYTES[usize::from(*byte)] {
            Byte::Label => {}
            Byte::Capital => has_capitals = true,
            Byte::Dot if (1..=LABEL_BYTES_MAX).contains(&(at - label_at)) => label_at = at + 1,
            Byte::Colon => {
                end = at;
                break;
            }
            Byte::Dot | Byte::None => return Err(Malformed::Host),
        }
    }
    // A last label of no bytes is the dot behind the name.
    let host_end = if end == label_at && end > 0 { end - 1 } else { end };
    let whole = host_end > 0 && host_end <= NAME_BYTES_MAX && end - label_at <= LABEL_BYTES_MAX;
    let host = received.get(..host_end).filter(|_| whole).ok_or(Malformed::Host)?;
    Ok((host, received.get(end + 1..).unwrap_or_default(), has_capitals))
}

/// The port's digits, or nothing where they say what the scheme says.
fn significant(port: &[u8], scheme: Scheme) -> Result<&[u8], Malformed> {
    if port.is_empty() {
        return Ok(port);
    }
    if !matches!(port, [b'1'..=b'9', ..])
        || port.len() > PORT_DIGITS_MAX
        || !port.iter().all(u8::is_ascii_digit)
    {
        return Err(Malformed::Port);
    }
    let number = port.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    match u16::try_from(number) {
        Err(_) => Err(Malformed::Port),
        Ok(implied) if implied == scheme.default_port() => Ok(&[]),
        Ok(_) => Ok(port),
    }
}

fn push_port(port: &[u8], out: &mut Vec<u8>) {
    if !port.is_empty() {
        out.push(b':');
        out.extend_from_slice(port);
    }
}

/// Longer ones are read each time.
const LAST_BYTES_MAX: usize = 64;
/// Of 65535.
const PORT_DIGITS_MAX: usize = 5;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// RFC 1035 §2.3.4, as text without the last dot.
const NAME_BYTES_MAX: usize = 253;

/// What a byte of a name means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Byte {
    Label,
    Capital,
    Dot,
    Colon,
    None,
}

static BYTES: [Byte; 256] = {
    let mut table = [Byte::None; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => Byte::Label,
            b'A'..=b'Z' => Byte::Capital,
            b'.' => Byte::Dot,
            b':' => Byte::Colon,
            _ => Byte::None,
        };
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};
