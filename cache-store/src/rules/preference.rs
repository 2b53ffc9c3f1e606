//! What a client likes better: `Accept-Language` and `Accept-Encoding`, names with weights (RFC 9110 §12.4.2).
//!
//! [`vary`](super::vary) asks for the normal form of such a field, equal for all ways to write the same preference, and
//! for the one name liked best. Nothing here allocates.

use http::HeaderName;

use super::Fields;

/// The ranges of an `Accept-…` field that is a list of names with weights (RFC 9110 §12.4.2), best liked first.
#[derive(Debug)]
pub(super) struct Ranges<'a> {
    ranges: [Range<'a>; RANGES_MAX],
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range<'a> {
    name: &'a [u8],
    /// Thousandths.
    weight: u16,
}

/// More members than this, and the field is compared as it stands.
const RANGES_MAX: usize = 32;

impl<'a> Ranges<'a> {
    /// Reads the field; `None` when it does not parse or is too long a list.
    pub(super) fn of<F: Fields>(request: &'a F, name: &'a HeaderName) -> Option<Self> {
        let mut ranges = Self { ranges: [Range { name: b"", weight: 0 }; RANGES_MAX], count: 0 };
        for line in request.values(name) {
            for member in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if !member.is_empty() {
                    *ranges.ranges.get_mut(ranges.count)? = Range::parse(member)?;
                    ranges.count += 1;
                }
            }
        }
        let used = ranges.ranges.get_mut(..ranges.count)?;
        used.sort_unstable_by(|a, b| b.weight.cmp(&a.weight).then_with(|| compare(a.name, b.name)));
        Some(ranges)
    }

    fn used(&self) -> &[Range<'a>] {
        self.ranges.get(..self.count).unwrap_or_default()
    }

    /// Streams the normal form: lower case, best liked first, each once.
    pub(super) fn write(&self, write: &mut impl FnMut(&[u8])) {
        let mut previous: Option<&Range<'_>> = None;
        for range in self.used() {
            let repeated = previous.is_some_and(|previous| {
                previous.weight == range.weight && previous.name.eq_ignore_ascii_case(range.name)
            });
            if repeated {
                continue;
            }
            if previous.is_some() {
                write(b",");
            }
            for byte in range.name {
                write(&[byte.to_ascii_lowercase()]);
            }
            if range.weight != 1000 {
                let digit = |place: u16| b'0' + u8::try_from(range.weight / place % 10).unwrap_or(0);
                write(&[b';', b'q', b'=', b'0', b'.', digit(100), digit(10), digit(1)]);
            }
            previous = Some(range);
        }
    }

    /// The one range liked better than all others, `None` when several are, or it is refused.
    pub(super) fn best(&self) -> Option<&'a [u8]> {
        let (first, others) = self.used().split_first()?;
        let alone = others
            .iter()
            .all(|other| other.weight < first.weight || other.name.eq_ignore_ascii_case(first.name));
        (alone && first.weight > 0).then_some(first.name)
    }
}

impl<'a> Range<'a> {
    fn parse(member: &'a [u8]) -> Option<Self> {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = match parts.next() {
            Some(weight) => parse_weight(weight)?,
            None => 1000,
        };
        parts.next().is_none().then_some(Self { name, weight })
    }
}

/// `q=0.5` in thousandths.
pub(super) fn parse_weight(text: &[u8]) -> Option<u16> {
    let value = text.strip_prefix(b"q=").or_else(|| text.strip_prefix(b"Q="))?;
    let (whole, decimals) = match value.split_first()? {
        (whole, []) => (whole, [].as_slice()),
        (whole, tail) => (whole, tail.strip_prefix(b".")?),
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = decimals
        .iter()
        .zip([100_u16, 10, 1])
        .map(|(digit, place)| u16::from(digit - b'0') * place)
        .sum::<u16>();
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}
