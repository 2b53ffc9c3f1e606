//! Which field governs: a targeted one, where the origin sent one to us, else `Cache-Control`.
//!
//! RFC 9213: the first field of the policy's list that is there and readable replaces `Cache-Control` *and* `Expires`
//! altogether; one that is empty or does not parse as a Dictionary is as if it were not sent. `Surrogate-Control`
//! (Edge Architecture Specification, 2001) may stand in the list; it has the grammar of `Cache-Control`, plus
//! `max-age=60+30` (fresh plus stale) and a parameter that aims a directive at one device.
//!
//! Departure, RFC 9213 §2.1: a lifetime of the wrong type (`max-age="60"`) counts as zero and does not fall through to
//! a field the origin meant for others.

use http::HeaderName;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::Fields;
use super::cache_control::{Argument, CacheControl, DELTA_MAX, Delta, Directives};
use super::policy::{Policy, SURROGATE_CONTROL};

/// The directives that govern a response, and where they stood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Governing {
    /// The directives.
    pub control: CacheControl,
    /// Whether a targeted field said them: `Cache-Control` and `Expires` are then not looked at.
    pub targeted: bool,
}

impl Governing {
    /// Finds the field that governs a response with these `fields`.
    pub fn of<F: Fields>(fields: &F, policy: &Policy) -> Self {
        let targeted = policy.targets.iter().find_map(|name| {
            if *name == SURROGATE_CONTROL { surrogate(fields, policy) } else { structured(fields, name) }
        });
        match targeted {
            Some(control) => Self { control, targeted: true },
            None => Self { control: CacheControl::of(fields), targeted: false },
        }
    }
}

/// A targeted field by RFC 9213; `None` when it is absent, empty or not a Dictionary.
fn structured<F: Fields>(fields: &F, name: &HeaderName) -> Option<CacheControl> {
    let mut text = Vec::new();
    for line in fields.values(name) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(line);
    }
    if text.trim_ascii().is_empty() {
        return None;
    }
    let members: Dictionary = Parser::new(&text).parse().ok()?;
    let mut control = CacheControl::default();
    for (name, value) in &members {
        let value = match value {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        add(&mut control, name.as_str(), value);
    }
    Some(control)
}

/// Adds one member of a Dictionary. A member that is `?0` is not there; one of a type the directive does not take
/// is malformed, which never makes the response more reusable.
fn add(control: &mut CacheControl, name: &str, value: Option<&BareItem>) {
    let digits;
    let argument = match value {
        Some(BareItem::Boolean(false)) => return,
        Some(BareItem::Boolean(true)) => Argument::None,
        Some(BareItem::Integer(number)) => {
            digits = clamp(i64::from(*number)).to_string();
            Argument::Token(digits.as_bytes())
        }
        Some(BareItem::String(text)) if !LIFETIMES.contains(&name) => {
            Argument::Quoted(text.as_str().as_bytes())
        }
        Some(BareItem::Token(text)) if !LIFETIMES.contains(&name) => {
            Argument::Token(text.as_str().as_bytes())
        }
        _ => Argument::Malformed,
    };
    control.add(name.as_bytes(), argument);
}

/// A number of seconds; a negative one is none.
fn clamp(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(DELTA_MAX).min(DELTA_MAX)
}

/// `Surrogate-Control`; `None` when it is absent or nothing in it is for us.
fn surrogate<F: Fields>(fields: &F, policy: &Policy) -> Option<CacheControl> {
    let mut control = CacheControl::default();
    let mut ours = false;
    for line in fields.values(&SURROGATE_CONTROL) {
        for directive in Directives::with_parameters(line) {
            let device = policy.surrogate_device.as_deref().unwrap_or_default().as_bytes();
            if !directive.parameters.is_empty() && directive.parameters != device {
                continue;
            }
            if directive.name.eq_ignore_ascii_case(b"max-age") {
                let (fresh, stale) = fresh_and_stale(directive.argument);
                control.max_age = control.max_age.and(fresh);
                if stale != Delta::Absent {
                    control.stale_while_revalidate = control.stale_while_revalidate.and(stale);
                }
                ours = true;
            } else if directive.name.eq_ignore_ascii_case(b"no-store") {
                control.add(directive.name, directive.argument);
                ours = true;
            }
        }
    }
    ours.then_some(control)
}

/// `60+30`: fresh for 60 seconds, and usable for 30 more.
fn fresh_and_stale(argument: Argument<'_>) -> (Delta, Delta) {
    let Argument::Token(text) = argument else { return (argument.delta(), Delta::Absent) };
    match text.iter().position(|byte| *byte == b'+') {
        Some(plus) => (
            Delta::parse(text.get(..plus).unwrap_or_default()),
            Delta::parse(text.get(plus + 1..).unwrap_or_default()),
        ),
        None => (argument.delta(), Delta::Absent),
    }
}

const LIFETIMES: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
