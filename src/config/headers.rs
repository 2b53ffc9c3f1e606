//! Header fields that a route sets, adds and removes, of requests to origins or of answers to clients.
//!
//! What a route writes is laid over what its site writes, field by field: a route that sets one field keeps the rest.
//! `respond/dress.rs` and `origin/forward.rs` apply it.

use bytes::Bytes;
use http::HeaderName;

use super::template::{Template, Values, Variable};
use crate::respond::headers::line;

/// What is done to a header block: some lines go, others are written behind the rest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderRules {
    /// Taken out, whoever wrote them. All three are sorted by name.
    removed: Vec<HeaderName>,
    /// Written in place of what is there; each name once.
    set: Vec<(HeaderName, Template)>,
    /// Written beside what is there; those of one name in the order given.
    added: Vec<(HeaderName, Template)>,
    /// All that is written, as lines, where something is and nothing in it has to be filled in.
    constant: Option<Bytes>,
}

impl HeaderRules {
    /// Lays rules over these: removes first, then sets, then adds.
    #[must_use]
    pub fn overlaid(
        mut self,
        remove: &[HeaderName],
        set: &[(HeaderName, Template)],
        add: &[(HeaderName, Template)],
    ) -> Self {
        for name in remove {
            self.forget(name);
            self.removed.push(name.clone());
        }
        for (name, value) in set {
            self.forget(name);
            self.set.push((name.clone(), value.clone()));
        }
        for one in add {
            if !self.added.contains(one) {
                self.added.push(one.clone());
            }
        }
        self.removed.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        self.set.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        // Stable: those of one name stay in the order given.
        self.added.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        self.constant = self.rendered();
        self
    }

    fn forget(&mut self, name: &HeaderName) {
        self.removed.retain(|removed| removed != name);
        self.set.retain(|(set, _)| set != name);
        self.added.retain(|(added, _)| added != name);
    }

    fn written(&self) -> impl Iterator<Item = &(HeaderName, Template)> {
        self.set.iter().chain(&self.added)
    }

    fn rendered(&self) -> Option<Bytes> {
        let mut lines = Vec::new();
        self.written().next()?;
        for (name, template) in self.written() {
            line(&mut lines, name.as_str().as_bytes(), template.constant()?.as_bytes());
        }
        Some(lines.into())
    }

    /// Whether nothing is done.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.set.is_empty() && self.added.is_empty()
    }

    /// Fields that are taken out and not written anew.
    pub fn removed(&self) -> &[HeaderName] {
        &self.removed
    }

    /// Fields that replace what is there.
    pub fn set(&self) -> &[(HeaderName, Template)] {
        &self.set
    }

    /// Fields that stand beside what is there.
    pub fn added(&self) -> &[(HeaderName, Template)] {
        &self.added
    }

    /// Every name of which no line stays.
    pub fn taken(&self) -> impl Iterator<Item = &HeaderName> {
        self.removed.iter().chain(self.set.iter().map(|(name, _)| name))
    }

    /// Whether all of it is the same for every request.
    pub fn is_constant(&self) -> bool {
        self.constant.is_some() || self.written().next().is_none()
    }

    /// Appends what is written as lines.
    pub fn write(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        if let Some(lines) = &self.constant {
            out.extend_from_slice(lines);
            return;
        }
        let mut value = Vec::new();
        for (name, template) in self.written() {
            value.clear();
            template.render(values, &mut value);
            line(out, name.as_str().as_bytes(), &value);
        }
    }

    /// Whether `variable` is filled in somewhere.
    pub fn has(&self, variable: Variable) -> bool {
        self.written().any(|(_, template)| template.has(variable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, value: &str) -> (HeaderName, Template) {
        (HeaderName::from_static(name), Template::parse(value, &[], &[]).unwrap())
    }

    fn told(rules: &HeaderRules) -> String {
        let removed: Vec<_> = rules.removed().iter().map(HeaderName::as_str).collect();
        let lines = String::from_utf8_lossy(rules.constant.as_ref().unwrap()).replace("\r\n", "|");
        format!("-{} {lines}", removed.join(","))
    }

    #[test]
    fn the_nearer_is_laid_over_the_farther_field_by_field() {
        let [a, b] = ["x-a", "x-b"].map(HeaderName::from_static);
        let site = HeaderRules::default().overlaid(
            std::slice::from_ref(&b),
            &[field("x-a", "1")],
            &[field("x-c", "1")],
        );
        assert_eq!(told(&site), "-x-b x-a: 1|x-c: 1|");
        for (claim, remove, set, add, expected) in [
            ("nothing", vec![], vec![], vec![], "-x-b x-a: 1|x-c: 1|"),
            ("set anew", vec![], vec![field("x-a", "2")], vec![], "-x-b x-a: 2|x-c: 1|"),
            ("set what was removed", vec![], vec![field("x-b", "2")], vec![], "- x-a: 1|x-b: 2|x-c: 1|"),
            ("removed", vec![a.clone()], vec![], vec![], "-x-a,x-b x-c: 1|"),
            ("added", vec![], vec![], vec![field("x-a", "2")], "-x-b x-a: 1|x-a: 2|x-c: 1|"),
            ("added again", vec![], vec![], vec![field("x-c", "1")], "-x-b x-a: 1|x-c: 1|"),
            (
                "removed, then added",
                vec![a.clone()],
                vec![],
                vec![field("x-a", "2")],
                "-x-a,x-b x-a: 2|x-c: 1|",
            ),
        ] {
            let rules = site.clone().overlaid(&remove, &set, &add);
            assert_eq!(told(&rules), expected, "{claim}");
            // What is written back, laid over the same site, means the same.
            assert_eq!(site.clone().overlaid(rules.removed(), rules.set(), rules.added()), rules, "{claim}");
        }
    }
}
