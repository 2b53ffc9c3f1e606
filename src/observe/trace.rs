//! W3C Trace Context: the trace that a request belongs to, and our part in it.
//!
//! A `traceparent` that a client sends is read strictly and goes on to the origin with a span id of our own in it, `tracestate`
//! beside it as it came; a malformed one is left out, and `tracestate` with it (§3.2.2.3, §3.3.1.5). A request without one begins a
//! trace where `[trace]` is on. Neither field is part of a key, and no stored response depends on it.
//!
//! Nothing is kept for a request: its span id follows from its own id, so the log, which comes last, writes the same one that the
//! origin was sent.

use super::id::{RequestId, Run};
use crate::config::limits::TRACESTATE_BYTES_MAX;
use crate::config::log::Sample;
use crate::config::trace::Trace;
use crate::listener::fields::{FieldId, Fields};

/// A request's part of a trace.
#[allow(clippy::struct_field_names)] // as W3C names them
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) trace_id: u128,
    /// Of this node's part.
    pub(crate) span_id: u64,
    /// Of the part that it came from; `None` where the trace begins here.
    pub(crate) parent_id: Option<u64>,
    /// Those of the flags that are known: sampled, and random trace id.
    flags: u8,
}

/// What a `traceparent` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Parent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl Span {
    /// That of a request with these fields and this id; `None` where it came with none and begins none.
    pub(crate) fn of(fields: &Fields, id: RequestId, run: Run, trace: &Trace) -> Option<Self> {
        let parent = parent(fields);
        if parent.is_none() && !trace.on {
            return None;
        }
        let span_id = run.number_of(id, SPAN).max(1);
        if let Some(Parent { trace_id, span_id: parent_id, flags }) = parent {
            return Some(Self { trace_id, span_id, parent_id: Some(parent_id), flags });
        }
        let halves = [TRACE_HIGH, TRACE_LOW].map(|salt| u128::from(run.number_of(id, salt)));
        let trace_id = ((halves[0] << 64) | halves[1]).max(1);
        let sampled = is_sampled(trace.sample, trace_id);
        Some(Self { trace_id, span_id, parent_id: None, flags: RANDOM | if sampled { SAMPLED } else { 0 } })
    }

    /// Whether it is recorded.
    pub(crate) const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What the origin is sent: this part is the parent of its own. §3.2, version 00.
    pub(crate) fn traceparent(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRACEPARENT_BYTES);
        out.extend_from_slice(b"00-");
        self.write_trace_id(&mut out);
        out.push(b'-');
        self.write_span_id(&mut out);
        out.push(b'-');
        hex(&mut out, u128::from(self.flags), 2);
        out
    }

    pub(crate) fn write_trace_id(&self, out: &mut Vec<u8>) {
        hex(out, self.trace_id, 32);
    }

    pub(crate) fn write_span_id(&self, out: &mut Vec<u8>) {
        hex(out, u128::from(self.span_id), 16);
    }

    pub(crate) fn write_parent_id(&self, out: &mut Vec<u8>) {
        if let Some(id) = self.parent_id {
            hex(out, u128::from(id), 16);
        }
    }
}

/// The `tracestate` to go with a `traceparent` that the request came with; `None` where it has none, or one that breaks the rules.
pub(crate) fn tracestate(fields: &Fields) -> Option<Vec<u8>> {
    if !fields.has(FieldId::TraceState) || parent(fields).is_none() {
        return None;
    }
    let mut state = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    for line in fields.all(FieldId::TraceState) {
        for member in line.split(|byte| *byte == b',').map(trimmed).filter(|member| !member.is_empty()) {
            let (key, value) = member.split_at(memchr::memchr(b'=', member)?);
            let value = value.get(1..)?;
            if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() >= MEMBERS_MAX {
                return None;
            }
            keys.push(key);
            if !state.is_empty() {
                state.push(b',');
            }
            state.extend_from_slice(member);
        }
    }
    (!state.is_empty() && state.len() <= TRACESTATE_BYTES_MAX).then_some(state)
}

/// The one valid `traceparent` of a request.
fn parent(fields: &Fields) -> Option<Parent> {
    let mut all = fields.all(FieldId::TraceParent);
    let parent = all.next()?;
    if all.next().is_some() { None } else { parsed(parent) }
}

/// §3.2.2: version, trace, parent, flags; lower case, neither of them zero. A later version may say more behind a dash.
fn parsed(text: &[u8]) -> Option<Parent> {
    let (known, more) = text.split_at_checked(TRACEPARENT_BYTES)?;
    let number = |range: std::ops::Range<usize>| from_hex(known.get(range)?);
    let version = number(0..2)?;
    let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
    let ends = if version == 0 { more.is_empty() } else { matches!(more.first(), None | Some(b'-')) };
    if version == 0xff || !dashes || !ends {
        return None;
    }
    let (trace_id, span_id, flags) = (number(3..35)?, number(36..52)?, number(53..55)?);
    if trace_id == 0 || span_id == 0 {
        return None;
    }
    let flags = u8::try_from(flags).ok()? & (SAMPLED | RANDOM);
    Some(Parent { trace_id, span_id: u64::try_from(span_id).ok()?, flags })
}

fn from_hex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0_u128, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(digit))
    })
}

/// The lowest `digits` digits of `number`.
fn hex(out: &mut Vec<u8>, number: u128, digits: u32) {
    for at in (0..digits).rev() {
        let digit = (number >> (4 * at)) & 15;
        // Below 16.
        out.push(DIGITS.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'0'));
    }
}

/// §3.3.1.3.1: `key`, or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    let rest = |text: &[u8]| {
        text.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/')
        })
    };
    let lower = |text: &[u8]| text.first().is_some_and(u8::is_ascii_lowercase);
    let mut parts = key.splitn(2, |byte| *byte == b'@');
    match (parts.next(), parts.next()) {
        (Some(simple), None) => lower(simple) && simple.len() <= 256 && rest(simple),
        (Some(tenant), Some(system)) => {
            let starts =
                tenant.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            starts
                && tenant.len() <= 241
                && rest(tenant)
                && lower(system)
                && system.len() <= 14
                && rest(system)
        }
        _ => false,
    }
}

/// §3.3.1.3.2: printable, without comma and equals sign, not ending in a space.
fn is_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value.last() != Some(&b' ')
        && value.iter().all(|byte| (0x20..0x7f).contains(byte) && !matches!(byte, b',' | b'='))
}

fn trimmed(member: &[u8]) -> &[u8] {
    let start = member.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(member.len());
    let end = member.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(start, |at| at + 1);
    member.get(start..end).unwrap_or_default()
}

/// By the trace and not the request: whoever samples by it decides alike.
fn is_sampled(sample: Sample, trace_id: u128) -> bool {
    sample.takes(&trace_id.to_be_bytes())
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// `00-` 32 `-` 16 `-` 2.
const TRACEPARENT_BYTES: usize = 55;
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;
/// §3.3.1.1.
const MEMBERS_MAX: usize = 32;
const SPAN: u64 = 1;
const TRACE_HIGH: u64 = 2;
const TRACE_LOW: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::id::RequestIds;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn fields(lines: &[(&str, &str)]) -> Fields {
        Fields::pack(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn span(lines: &[(&str, &str)], on: bool) -> Option<Span> {
        let (run, trace) = (Run::from_bits(9), Trace { on, ..Trace::default() });
        Span::of(&fields(lines), RequestIds::new(run, 0).draw(), run, &trace)
    }

    #[test]
    fn a_trace_goes_on_under_a_span_of_our_own() {
        let span = span(&[("Traceparent", GOOD)], false).unwrap();
        assert_eq!(
            (span.trace_id, span.parent_id),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, Some(0xb7ad_6b71_6920_3331))
        );
        let sent = String::from_utf8(span.traceparent()).unwrap();
        assert!(sent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && sent.ends_with("-01"), "{sent}");
        assert!(!sent.contains("b7ad6b7169203331") && sent.len() == 55, "{sent}");
    }

    #[test]
    fn parents_are_read_strictly() {
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        for (claim, parent, is) in [
            ("as it should be", GOOD.to_owned(), true),
            ("unknown flags are not ours to keep", GOOD.replace("-01", "-ff"), true),
            ("a later version", GOOD.replacen("00", "cc", 1), true),
            ("a later version that says more", format!("{}-what-else", GOOD.replacen("00", "cc", 1)), true),
            ("a later version that ends otherwise", format!("{}.", GOOD.replacen("00", "cc", 1)), false),
            ("more than version 00 has", format!("{GOOD}-00"), false),
            ("the version that is none", GOOD.replacen("00", "ff", 1), false),
            ("upper case", GOOD.to_uppercase(), false),
            ("no trace", zero_trace, false),
            ("no parent", zero_span, false),
            ("short", GOOD.get(..54).unwrap().to_owned(), false),
            ("another separator", GOOD.replace('-', "_"), false),
            ("nothing", String::new(), false),
        ] {
            assert_eq!(parsed(parent.as_bytes()).is_some(), is, "{claim}");
        }
        assert_eq!(parsed(GOOD.replace("-01", "-ff").as_bytes()).unwrap().flags, 3);
        assert_eq!(span(&[("traceparent", GOOD), ("traceparent", GOOD)], false), None, "two of them");
    }

    #[test]
    fn a_trace_begins_here_only_where_that_is_on() {
        assert_eq!((span(&[], false), span(&[("traceparent", "x")], false)), (None, None));
        let begun = span(&[("traceparent", "x")], true).unwrap();
        assert!(begun.parent_id.is_none() && begun.is_sampled() && begun.trace_id > u128::from(u64::MAX));
        assert_eq!(
            span(&[], true),
            Some(begun),
            "the same request, the same span: the log says what the origin was sent"
        );
    }

    #[test]
    fn states_go_along_whole_or_not_at_all() {
        let many = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        let long = format!("a={}", "v".repeat(257));
        for (claim, state, sent) in [
            (
                "as it came",
                vec!["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"],
                Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".to_owned()),
            ),
            ("lines are one list", vec!["a=1", " b=2 ,"], Some("a=1,b=2".to_owned())),
            ("a tenant", vec!["t61@fw=x y"], Some("t61@fw=x y".to_owned())),
            ("as many as may be", vec![many(32).leak()], Some(many(32))),
            ("one more", vec![many(33).leak()], None),
            ("a key twice", vec!["a=1,a=2"], None),
            ("no key", vec!["=1"], None),
            ("an upper case key", vec!["A=1"], None),
            ("no value", vec!["a"], None),
            ("too long", vec![long.leak()], None),
        ] {
            let mut lines = vec![("traceparent", GOOD)];
            lines.extend(state.iter().map(|state| ("tracestate", *state)));
            assert_eq!(
                tracestate(&fields(&lines)).map(|state| String::from_utf8(state).unwrap()),
                sent,
                "{claim}"
            );
        }
        assert_eq!(tracestate(&fields(&[("tracestate", "a=1")])), None, "without a parent");
    }
}
