//! Content codings: which a client takes, which a response is in, and what a response says once it is encoded here.
//!
//! [`Accepted`] is a request's `Accept-Encoding`; `respond` chooses by it, [`vary`](super::vary) matches by it where the policy
//! says that codings are negotiated here ([`Policy::codings`](super::Policy)). [`encoded`] makes of the head of a response in
//! no coding the head of the same response in one.
//!
//! Invariants: what does not parse accepts nothing; identity is refused only by a client that says so. Nothing here allocates
//! but [`encoded`], and a field is read in time linear in its length. Different bytes never share a strong entity tag.
//!
//! Departure: a request without the field is taken for one that takes identity alone. RFC 9110 §12.5.3 lets it have anything;
//! clients that do not say what they can read cannot read anything.
//!
//! RFC 9110 §8.4, §8.8.3, §12.5.3; RFC 7932, RFC 8878, RFC 1952.

use http::{HeaderMap, HeaderValue, header};

use super::Fields;
use super::preference::parse_weight;
use super::retained::hop_by_hop;

/// A coding that can be made here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

/// A set of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Codings(u8);

/// What a client takes, with weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// By [`Coding::index`], in thousandths; zero: not at all.
    weights: [u16; Coding::COUNT],
    /// The same for no coding at all; [`UNNAMED`] where nothing is said about it.
    identity: u16,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [Self::Brotli, Self::Zstd, Self::Gzip];
    /// How many there are.
    pub const COUNT: usize = 3;

    /// As it stands in `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The coding of this name, in any case; `x-gzip` is gzip (RFC 9110 §8.4.1.3).
    pub fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }

    /// Its place in a table; below [`Coding::COUNT`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Codings {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// This set and `coding`.
    #[must_use]
    pub const fn with(self, coding: Coding) -> Self {
        Self(self.0 | 1 << coding.index())
    }

    /// Whether `coding` is in it.
    pub const fn contains(self, coding: Coding) -> bool {
        self.0 & 1 << coding.index() != 0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in it, in the order of [`Coding::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Coding> {
        Coding::ALL.into_iter().filter(move |coding| self.contains(*coding))
    }

    /// The `Accept-Encoding` that asks for these: one text for each set, so that requests which mean the same are the same.
    pub const fn asking(self) -> &'static str {
        match self.0 & 0b111 {
            0b001 => "br",
            0b010 => "zstd",
            0b011 => "br, zstd",
            0b100 => "gzip",
            0b101 => "br, gzip",
            0b110 => "zstd, gzip",
            0b111 => "br, zstd, gzip",
            _ => "identity",
        }
    }
}

impl FromIterator<Coding> for Codings {
    fn from_iter<I: IntoIterator<Item = Coding>>(codings: I) -> Self {
        codings.into_iter().fold(Self::NONE, Self::with)
    }
}

impl Accepted {
    /// What a client takes that says nothing.
    pub const IDENTITY: Self = Self { weights: [0; Coding::COUNT], identity: UNNAMED };

    /// Reads the lines of an `Accept-Encoding`.
    #[inline]
    pub fn of<'f>(mut lines: impl Iterator<Item = &'f [u8]>) -> Self {
        let Some(first) = lines.next() else { return Self::IDENTITY };
        let second = lines.next();
        if second.is_none()
            && let Some((_, accepted)) = USUAL.iter().find(|(text, _)| *text == first)
        {
            return *accepted;
        }
        Self::read([Some(first), second].into_iter().flatten().chain(lines))
    }

    fn read<'f>(lines: impl Iterator<Item = &'f [u8]>) -> Self {
        let (mut named, mut identity, mut others) = ([None; Coding::COUNT], None, None);
        for member in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
            let Some((name, weight)) = member_of(member) else { continue };
            let said = match Coding::named(name) {
                Some(coding) => named.get_mut(coding.index()),
                None if name.eq_ignore_ascii_case(b"identity") => Some(&mut identity),
                None if name == b"*" => Some(&mut others),
                None => None,
            };
            // Said twice, the first counts.
            if let Some(said) = said {
                said.get_or_insert(weight);
            }
        }
        Self {
            weights: named.map(|weight| weight.or(others).unwrap_or(0)),
            identity: match (identity, others) {
                (Some(weight), _) => weight,
                (None, Some(0)) => 0,
                (None, _) => UNNAMED,
            },
        }
    }

    /// Whether it takes `coding`.
    #[inline]
    pub fn takes(self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// Whether it takes what is in no coding.
    #[inline]
    pub const fn takes_identity(self) -> bool {
        self.identity > 0
    }

    /// Those of `known` that it takes.
    pub fn among(self, known: Codings) -> Codings {
        known.iter().filter(|coding| self.takes(*coding)).collect()
    }

    /// The one of `order` that it likes best, of equals the first; `None` where it takes none, or likes identity better.
    #[inline]
    pub fn best(self, order: impl Iterator<Item = Coding>) -> Option<Coding> {
        let mut best = None;
        let mut most = if self.identity == UNNAMED { 0 } else { self.identity.saturating_sub(1) };
        for coding in order {
            let weight = self.weight(coding);
            if weight > most {
                (best, most) = (Some(coding), weight);
            }
        }
        best
    }

    #[inline]
    fn weight(self, coding: Coding) -> u16 {
        self.weights.get(coding.index()).copied().unwrap_or(0)
    }
}

/// `name` or `name;q=weight`; `None` where it is neither.
fn member_of(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = match parts.next() {
        Some(weight) => parse_weight(weight)?,
        None => 1000,
    };
    parts.next().is_none().then_some((name, weight))
}

/// What a response is encoded in: `None`, in nothing; `Some(None)`, in something that is not made here, or several times.
#[allow(clippy::option_option)] // in nothing, in something, in this
pub fn coding_of<F: Fields>(fields: &F) -> Option<Option<Coding>> {
    let mut codings = fields
        .values(&header::CONTENT_ENCODING)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // Not to be sent, and sent nevertheless (RFC 9110 §8.4.1).
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    let first = codings.next()?;
    Some(if codings.next().is_some() { None } else { Coding::named(first) })
}

/// The head of a response in no coding, as it is once its body is in `coding`. What is about the bytes goes; a strong entity
/// tag becomes a weak one, for it names other bytes; ranges are not offered, for the same representation may be encoded anew.
pub fn encoded(fields: &HeaderMap, coding: Coding) -> HeaderMap {
    let mut head = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields {
        if !hop_by_hop(name) && !is_about_bytes(name.as_str().as_bytes()) {
            head.append(name.clone(), value.clone());
        }
    }
    if let Some(tag) = head.get(header::ETAG)
        && tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        head.insert(header::ETAG, weak);
    }
    head.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    head
}

/// Whether a field of this name, in lower case, is about the bytes that were sent, and says nothing of others.
pub fn is_about_bytes(name: &[u8]) -> bool {
    matches!(
        name,
        b"accept-ranges"
            | b"content-digest"
            | b"content-encoding"
            | b"content-length"
            | b"content-md5"
            | b"content-range"
            | b"digest"
            | b"repr-digest"
    )
}

/// Less than any weight that can be written, and not nothing: acceptable, and not asked for.
const UNNAMED: u16 = u16::MAX;

const fn taking(brotli: bool, zstd: bool, gzip: bool) -> Accepted {
    Accepted { weights: [1000 * brotli as u16, 1000 * zstd as u16, 1000 * gzip as u16], identity: UNNAMED }
}

/// What browsers, crawlers and libraries write, in full; nearly every request has one of these.
const USUAL: [(&[u8], Accepted); 6] = [
    (b"gzip, deflate, br, zstd", taking(true, true, true)),
    (b"gzip, deflate, br", taking(true, false, true)),
    (b"gzip", taking(false, false, true)),
    (b"gzip, deflate", taking(false, false, true)),
    (b"br", taking(true, false, false)),
    (b"gzip, br", taking(true, false, true)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(lines: &[&str]) -> Accepted {
        Accepted::of(lines.iter().map(|line| line.as_bytes()))
    }

    fn best(lines: &[&str]) -> Option<&'static str> {
        accepted(lines).best(Coding::ALL.into_iter()).map(Coding::as_str)
    }

    #[test]
    fn a_client_gets_the_coding_that_it_likes_best() {
        let rows: &[(&str, &[&str], Option<&str>, bool)] = &[
            ("no field", &[], None, true),
            ("an empty one", &[""], None, true),
            ("commas alone", &[" , ,, "], None, true),
            ("a browser", &["gzip, deflate, br, zstd"], Some("br"), true),
            ("another", &["gzip, deflate, br"], Some("br"), true),
            ("one coding", &["gzip"], Some("gzip"), true),
            ("in any case", &["GZip"], Some("gzip"), true),
            ("under its old name", &["x-gzip"], Some("gzip"), true),
            ("not under one that begins so", &["gzipped"], None, true),
            ("nor one that ends so", &["agzip"], None, true),
            ("one not made here", &["deflate, compress"], None, true),
            ("identity alone", &["identity"], None, true),
            ("several lines", &["deflate", "zstd"], Some("zstd"), true),
            ("without spaces", &["gzip,br"], Some("br"), true),
            ("with many", &["\t gzip \t,  zstd\t"], Some("zstd"), true),
            ("by weight", &["br;q=0.5, gzip"], Some("gzip"), true),
            ("by a fine weight", &["br;q=0.998, gzip;q=0.999"], Some("gzip"), true),
            ("with space at the weight", &["br ; q=0.1, gzip ;q=0.2"], Some("gzip"), true),
            ("not within it", &["br;q =1"], None, true),
            ("with a capital", &["gzip;Q=0.2"], Some("gzip"), true),
            ("refused", &["gzip;q=0"], None, true),
            ("refused in thousandths", &["gzip;q=0.000"], None, true),
            ("one refused of two", &["br;q=0, gzip"], Some("gzip"), true),
            ("said twice, the first counts", &["gzip;q=0, gzip"], None, true),
            ("anything", &["*"], Some("br"), true),
            ("anything but", &["br;q=0, *"], Some("zstd"), true),
            ("anything, at less", &["gzip, *;q=0.1"], Some("gzip"), true),
            ("anything, at more", &["gzip;q=0.1, *"], Some("br"), true),
            ("nothing else", &["gzip, *;q=0"], Some("gzip"), false),
            ("nothing at all", &["*;q=0"], None, false),
            ("no identity", &["identity;q=0"], None, false),
            ("no identity, but gzip", &["gzip, identity;q=0"], Some("gzip"), false),
            ("identity in spite of", &["*;q=0, identity;q=0.1"], None, true),
            ("identity better than gzip", &["identity, gzip;q=0.5"], None, true),
            ("identity less than gzip", &["identity;q=0.5, gzip"], Some("gzip"), true),
            ("identity as well as gzip", &["identity, gzip"], Some("gzip"), true),
            ("a weight of nothing is no weight", &["gzip;q="], None, true),
            ("nor is one above one", &["gzip;q=1.1, zstd"], Some("zstd"), true),
            ("nor one of four places", &["gzip;q=0.1234"], None, true),
            ("nor a negative one", &["gzip;q=-1"], None, true),
            ("nor one with an exponent", &["gzip;q=1e3"], None, true),
            ("another parameter", &["gzip;level=9"], None, true),
            ("a parameter behind the weight", &["gzip;q=1;x=2"], None, true),
            ("one broken member spoils no other", &["gzip;;, br"], Some("br"), true),
            ("quotes mean nothing", &["\"gzip\""], None, true),
            ("nor do bytes beyond ASCII", &["g\u{fc}zip, zstd"], Some("zstd"), true),
        ];
        for (claim, lines, expected, identity) in rows {
            assert_eq!(best(lines), *expected, "{claim}: {lines:?}");
            assert_eq!(accepted(lines).takes_identity(), *identity, "{claim}: {lines:?}");
        }
    }

    #[test]
    fn what_is_usual_means_what_it_says() {
        for (text, accepted) in USUAL {
            assert_eq!(Accepted::read([text].into_iter()), accepted, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_set_asks_for_what_is_in_it() {
        for bits in 0..8 {
            let set = Codings(bits);
            let asked = Accepted::of([set.asking().as_bytes()].into_iter());
            assert_eq!(asked.among(Coding::ALL.into_iter().collect()), set, "{}", set.asking());
        }
    }

    #[test]
    fn a_response_is_in_what_its_field_says() {
        type Row = (&'static str, &'static [&'static str], Option<Option<Coding>>);
        let rows: &[Row] = &[
            ("in nothing", &[], None),
            ("in identity", &["identity"], None),
            ("in an empty text", &[""], None),
            ("in one", &["br"], Some(Some(Coding::Brotli))),
            ("in any case", &["GZIP"], Some(Some(Coding::Gzip))),
            ("in two", &["gzip, br"], Some(None)),
            ("in two lines", &["gzip", "gzip"], Some(None)),
            ("in another", &["deflate"], Some(None)),
        ];
        for (claim, lines, expected) in rows {
            let fields: HeaderMap = lines
                .iter()
                .map(|line| (header::CONTENT_ENCODING, HeaderValue::from_str(line).expect("text")))
                .collect();
            assert_eq!(coding_of(&fields), *expected, "{claim}");
        }
    }

    #[test]
    fn an_encoded_head_names_no_other_bytes() {
        let tags = [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\""), ("a", "a"), ("", "")];
        for (given, expected) in tags {
            let mut fields = HeaderMap::new();
            for (name, value) in [
                ("etag", given),
                ("content-type", "text/html"),
                ("content-length", "9"),
                ("content-md5", "x"),
                ("repr-digest", "x"),
                ("accept-ranges", "bytes"),
                ("vary", "cookie"),
                ("vary", "accept"),
            ] {
                fields.append(name, HeaderValue::from_static(value));
            }
            let head = encoded(&fields, Coding::Zstd);
            let lines: Vec<_> = head.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let expected: [(&str, &[u8]); 5] = [
                ("etag", expected.as_bytes()),
                ("content-type", b"text/html"),
                ("vary", b"cookie"),
                ("vary", b"accept"),
                ("content-encoding", b"zstd"),
            ];
            assert_eq!(lines, expected, "{given}");
        }
    }
}
