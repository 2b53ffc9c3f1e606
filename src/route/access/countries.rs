//! Countries that are admitted or refused, by where the node's database has the client's address.

use geo::Code;

use crate::config::access::Countries;

/// The countries of a rule.
#[derive(Debug)]
pub(super) struct CountryRule {
    /// Sorted.
    allow: Box<[Code]>,
    deny: Box<[Code]>,
    unknown: bool,
}

impl CountryRule {
    pub(super) fn of(rule: &Countries) -> Self {
        let sorted = |codes: &[Code]| {
            let mut codes = codes.to_vec();
            codes.sort_unstable();
            codes.into()
        };
        Self { allow: sorted(&rule.allow), deny: sorted(&rule.deny), unknown: rule.unknown }
    }

    /// Whether a client in this country may ask.
    pub(super) fn admits(&self, country: Option<Code>) -> bool {
        let Some(country) = country else { return self.unknown };
        let is_in = |codes: &[Code]| codes.binary_search(&country).is_ok();
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_admitted_unless_it_is_denied_or_only_others_are_allowed() {
        for (claim, allow, deny, unknown, country, admitted) in [
            ("nothing is said of it", &[][..], &["KP"][..], true, Some("DE"), true),
            ("denied", &[], &["KP", "DE"], true, Some("DE"), false),
            ("allowed, in small letters", &["de", "at"], &[], false, Some("DE"), true),
            ("others are allowed", &["AT"], &[], false, Some("DE"), false),
            ("both: denied", &["DE"], &["DE"], true, Some("DE"), false),
            ("not known, and admitted", &["DE"], &[], true, None, true),
            ("not known, and refused", &[], &["DE"], false, None, false),
        ] {
            let codes = |texts: &[&str]| texts.iter().map(|text| Code::new(text).expect("a code")).collect();
            let rule = CountryRule::of(&Countries { allow: codes(allow), deny: codes(deny), unknown });
            assert_eq!(rule.admits(country.and_then(Code::new)), admitted, "{claim}");
        }
    }
}
