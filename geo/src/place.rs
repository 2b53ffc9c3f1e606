//! What is known about where an address is. Small and `Copy`, so that a look-up hands it on without allocating.

use std::fmt;

/// Where an address is. Every part may be unknown, but not all of them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Place {
    /// ISO 3166-1 alpha-2 code of the country.
    pub country: Option<Code>,
    /// Two letters, as databases write it: `EU`, `NA`.
    pub continent: Option<Code>,
    /// The part of an ISO 3166-2 code behind the country: `BY` for Bavaria.
    pub region: Option<Code>,
    /// Where on the globe.
    pub coordinates: Option<Coordinates>,
}

impl Place {
    /// Whether nothing is known.
    pub(crate) const fn is_empty(&self) -> bool {
        self.country.is_none()
            && self.continent.is_none()
            && self.region.is_none()
            && self.coordinates.is_none()
    }
}

/// A code of one to three ASCII letters or digits, kept in capitals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code {
    bytes: [u8; Code::BYTES_MAX],
    len: u8,
}

impl Code {
    const BYTES_MAX: usize = 3;

    /// The code that `text` is, in any case; `None` if it is none.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::BYTES_MAX];
        let is_code = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let room = bytes.get_mut(..text.len()).filter(|_| is_code)?;
        room.copy_from_slice(text.as_bytes());
        bytes.make_ascii_uppercase();
        Some(Self { bytes, len: u8::try_from(text.len()).ok()? })
    }

    /// The code, in capitals.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A point on the globe, degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Coordinates {
    latitude: f64,
    longitude: f64,
}

impl Coordinates {
    /// A point; `None` unless latitude is within ±90 and longitude within ±180, both finite.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let valid = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        valid.then_some(Self { latitude, longitude })
    }

    /// Degrees north.
    pub const fn latitude(&self) -> f64 {
        self.latitude
    }

    /// Degrees east.
    pub const fn longitude(&self) -> f64 {
        self.longitude
    }
}
