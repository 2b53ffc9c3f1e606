//! Broad purges, and what they say about a response.
//!
//! [`Broad`] holds, for each prefix, host and tag that was ever purged, and for everything, the epochs of its last purges.
//! A hit asks it only when the epoch of the last broad purge is above the one at which the response was last checked; the
//! answer is marked on the response, so each response pays once a purge. What was looked at a few purges ago is held against those
//! (`latest.rs`); other responses cost a look-up in a table each for their host, their tags and the prefixes that their path has.
//! Nothing depends on how much is stored.
//!
//! The table is bounded: beyond [`SCOPES_MAX`] the oldest go and the *floor* rises above them. A response that nobody has
//! checked since the floor counts as purged: it may have been.
//!
//! Invariant: a response that was fetched, or last found whole, before a broad purge of it is never found whole after.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use parking_lot::RwLock;

use super::latest::{Latest, TagSketch};
use super::{Costs, Last, Purge, Resource, Scope};
use crate::atomic::{AtomicU64, Ordering};
use crate::entry::{Epoch, StoredResponse};
use crate::rules::Purged;
use crate::timestamp::Timestamp;

/// What was purged broadly.
#[derive(Debug, Default)]
pub(crate) struct Broad {
    /// The epoch of the last broad purge: what hits compare. Above every epoch while nothing is trusted.
    last: AtomicU64,
    scopes: RwLock<Scopes>,
    /// What purges of every kind cost the origins.
    pub(crate) costs: Costs,
}

#[derive(Debug, Default)]
struct Scopes {
    everything: Last,
    hosts: HashMap<Box<[u8]>, Last>,
    tags: HashMap<Box<str>, Last>,
    /// By authority.
    prefixes: HashMap<Box<[u8]>, Paths>,
    latest: Latest,
    /// The newest of each table: one that has not moved is not looked into.
    newest: Newest,
    /// The newest of all.
    last: Epoch,
    /// What everything that came before a moment counts as for the time being, whatever was purged.
    distrust: Option<(Purged, Timestamp)>,
    /// How many there are in all tables.
    count: usize,
    /// What was whole before this epoch may not be so.
    floor: Epoch,
}

/// Prefixes of paths.
type Paths = BTreeMap<Box<[u8]>, Last>;

#[derive(Debug, Default)]
struct Newest {
    hosts: Epoch,
    tags: Epoch,
    prefixes: Epoch,
}

impl Broad {
    /// The epoch of the last broad purge.
    #[inline]
    pub(crate) fn last(&self) -> Epoch {
        self.last.load(Ordering::Acquire)
    }

    /// Takes in the broad scopes of a purge. Returns when every hit that begins from now on knows of it.
    pub(crate) fn apply(&self, purge: &Purge, epoch: Epoch) {
        if !purge.scopes.iter().any(Scope::is_broad) {
            return;
        }
        let mut scopes = self.scopes.write();
        for scope in &purge.scopes {
            scopes.take_in(scope, Last::of(epoch, purge.soft, purge.at));
        }
        if scopes.count > SCOPES_MAX {
            scopes.shed();
        }
        self.publish(&mut scopes, epoch);
    }

    /// Everything that was whole before `epoch` may not be so any more: what was purged until then is not known.
    pub(crate) fn raise_floor(&self, epoch: Epoch) {
        let mut scopes = self.scopes.write();
        scopes.raise(epoch);
        self.publish(&mut scopes, epoch);
    }

    /// Until it is called with `None`, everything that was received before the moment counts as purged so, on top of what was.
    pub(crate) fn distrust(&self, how: Option<(Purged, Timestamp)>) {
        let mut scopes = self.scopes.write();
        scopes.distrust = how;
        self.last.store(how.map_or(scopes.last, |_| Epoch::MAX), Ordering::Release);
    }

    /// Within the lock, so that whoever reads under it an epoch reads all that belongs to it.
    fn publish(&self, scopes: &mut Scopes, epoch: Epoch) {
        scopes.last = scopes.last.max(epoch);
        if scopes.distrust.is_none() {
            self.last.store(scopes.last, Ordering::Release);
        }
    }

    /// What a response counts as; marks it with what was purged since it was last checked. A load and a compare where nothing
    /// was.
    #[inline]
    pub(crate) fn check(&self, stored: &StoredResponse, resource: &Resource<'_>) -> Purged {
        if stored.epoch() < self.last() { self.check_against(stored, resource) } else { stored.purged() }
    }

    #[cold]
    fn check_against(&self, stored: &StoredResponse, resource: &Resource<'_>) -> Purged {
        let scopes = self.scopes.read();
        if stored.epoch() < scopes.last {
            let last = scopes.last_of(resource, stored.tag_sketch(), || stored.tags(), stored.epoch());
            if stored.purge(last.since(stored.epoch())) {
                // Whoever asked causes a fetch: now, or of what is stale a little later.
                self.costs.caused(last.taker(stored.epoch()));
            }
            // After the mark: who sees the new epoch sees the mark as well.
            stored.checked(scopes.last);
        }
        let distrust = scopes.distrust.filter(|(_, before)| stored.freshness.received() < *before);
        match (stored.purged(), distrust) {
            // It was as good as any other until it came.
            (Purged::No, Some((Purged::Soft(since), _))) => {
                Purged::Soft(since.max(stored.freshness.received()))
            }
            (Purged::No, Some((distrust, _))) => distrust,
            (Purged::Soft(_), Some((Purged::Hard, _))) => Purged::Hard,
            (purged, _) => purged,
        }
    }

    /// What became of a response with these tags that was whole at `epoch`.
    pub(crate) fn since(&self, resource: &Resource<'_>, tags: &[Box<str>], epoch: Epoch) -> Purged {
        if epoch >= self.last() { Purged::No } else { self.scopes.read().since(resource, tags, epoch) }
    }

    /// Whether a purge since `epoch` may have taken what a fetch for the resource brings, whatever its tags will be.
    pub(crate) fn may_take(&self, resource: &Resource<'_>, epoch: Epoch) -> bool {
        if epoch >= self.last() {
            return false;
        }
        let scopes = self.scopes.read();
        scopes.newest.tags > epoch || scopes.since(resource, &[], epoch) != Purged::No
    }
}

impl Scopes {
    fn take_in(&mut self, scope: &Scope, last: Last) {
        if scope.is_broad() {
            self.latest.take_in(scope, last);
        }
        let epoch = last.newest();
        let entry = match scope {
            Scope::Url { .. } => return,
            Scope::Everything => return self.everything.take_in(last),
            Scope::Host(host) => {
                self.newest.hosts = epoch;
                self.hosts.entry(host.as_bytes().into())
            }
            Scope::Tag(tag) => {
                self.newest.tags = epoch;
                let known = self.tags.len();
                self.tags.entry(tag.clone()).or_default().take_in(last);
                self.count += self.tags.len() - known;
                return;
            }
            Scope::Prefix { authority, path } => {
                self.newest.prefixes = epoch;
                let paths = self.prefixes.entry(authority.as_bytes().into()).or_default();
                let known = paths.len();
                paths.entry(path.as_bytes().into()).or_default().take_in(last);
                self.count += paths.len() - known;
                return;
            }
        };
        if matches!(entry, std::collections::hash_map::Entry::Vacant(_)) {
            self.count += 1;
        }
        entry.or_default().take_in(last);
    }

    /// What became of a response that was whole at `epoch`.
    fn since(&self, resource: &Resource<'_>, tags: &[Box<str>], epoch: Epoch) -> Purged {
        self.last_of(resource, TagSketch::of(tags), || tags, epoch).since(epoch)
    }

    /// The last purges of a response, as far as they came after `epoch`.
    fn last_of<'tags>(
        &self,
        resource: &Resource<'_>,
        sketch: TagSketch,
        tags: impl Fn() -> &'tags [Box<str>],
        epoch: Epoch,
    ) -> Last {
        if epoch < self.floor {
            return Last { hard: self.floor, soft: 0, soft_at: 0 };
        }
        self.latest
            .last_of(resource, sketch, &tags, epoch)
            .unwrap_or_else(|| self.of_tables(resource, tags(), epoch))
    }

    fn of_tables(&self, resource: &Resource<'_>, tags: &[Box<str>], epoch: Epoch) -> Last {
        let mut last = self.everything;
        if self.newest.hosts > epoch
            && let Some(of_host) = self.hosts.get(resource.host())
        {
            last.take_in(*of_host);
        }
        if self.newest.tags > epoch {
            for of_tag in tags.iter().filter_map(|tag| self.tags.get(tag)) {
                last.take_in(*of_tag);
            }
        }
        if self.newest.prefixes > epoch
            && let Some(paths) = self.prefixes.get(resource.authority)
        {
            each_prefix(paths, resource.target, |of_prefix| last.take_in(of_prefix));
        }
        last
    }

    /// Forgets the oldest quarter.
    fn shed(&mut self) {
        let mut epochs: Vec<Epoch> = self
            .hosts
            .values()
            .chain(self.tags.values())
            .chain(self.prefixes.values().flat_map(BTreeMap::values))
            .map(|last| last.newest())
            .collect();
        let at = epochs.len() / 4;
        if at < epochs.len() {
            let (_, floor, _) = epochs.select_nth_unstable(at);
            let floor = *floor;
            self.raise(floor);
        }
    }

    fn raise(&mut self, floor: Epoch) {
        self.floor = self.floor.max(floor);
        let floor = self.floor;
        self.hosts.retain(|_, last| last.newest() > floor);
        self.tags.retain(|_, last| last.newest() > floor);
        for paths in self.prefixes.values_mut() {
            paths.retain(|_, last| last.newest() > floor);
        }
        self.prefixes.retain(|_, paths| !paths.is_empty());
        let prefixes: usize = self.prefixes.values().map(BTreeMap::len).sum();
        self.count = self.hosts.len() + self.tags.len() + prefixes;
    }
}

/// Calls `found` for every key that `path` begins with: at most one step for each of them and one for each in between.
fn each_prefix(paths: &Paths, path: &[u8], mut found: impl FnMut(Last)) {
    let mut bound = path;
    loop {
        let below = paths.range::<[u8], _>((Bound::Unbounded, Bound::Included(bound)));
        let Some((key, last)) = below.into_iter().next_back() else { return };
        // Any longer prefix of the path would lie between this key and the bound.
        let common = key.iter().zip(path).take_while(|(one, other)| one == other).count();
        let next = if common == key.len() {
            found(*last);
            common.checked_sub(1)
        } else {
            Some(common)
        };
        let Some(shorter) = next.and_then(|next| path.get(..next)) else { return };
        bound = shorter;
    }
}

/// Prefixes, hosts and tags remembered. At about 100 bytes each.
pub(crate) const SCOPES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Parts;
    use crate::key::CacheKey;
    use crate::rules::freshness::Windows;
    use crate::rules::{Freshness, VarySpec};

    fn page<'a>(authority: &'a str, target: &'a str) -> Resource<'a> {
        Resource { key: CacheKey::from_bits(1), authority: authority.as_bytes(), target: target.as_bytes() }
    }

    fn host_of(name: &str) -> Scope {
        Scope::Host(name.into())
    }

    fn prefix(authority: &str, path: &str) -> Scope {
        Scope::Prefix { authority: authority.into(), path: path.into() }
    }

    #[test]
    fn scopes() {
        let (host, tag) = (|name: &str| Scope::Host(name.into()), |name: &str| Scope::Tag(name.into()));
        for (claim, scope, authority, target, tags, taken) in [
            ("a host takes its pages", host("a"), "a", "/x", &[][..], true),
            ("on any port", host("a"), "a:8080", "/x", &[], true),
            ("not those of a longer name", host("a"), "a.b", "/x", &[], false),
            ("nor of a shorter one", host("a.b"), "b", "/x", &[], false),
            ("a prefix takes what begins so", prefix("a", "/n"), "a", "/news/1", &[], true),
            ("and what is so", prefix("a", "/n"), "a", "/n", &[], true),
            ("with any query", prefix("a", "/n"), "a", "/n?b", &[], true),
            ("not what is shorter", prefix("a", "/news/"), "a", "/news", &[], false),
            ("nor on another port", prefix("a", "/n"), "a:81", "/n", &[], false),
            ("an empty prefix takes all", prefix("a", ""), "a", "/n", &[], true),
            ("a tag takes who names it", tag("t"), "a", "/", &["s", "t"], true),
            ("exactly", tag("t"), "a", "/", &["tt", "T", "s"], false),
            ("everything takes everything", Scope::Everything, "a", "/", &[], true),
        ] {
            for soft in [false, true] {
                let broad = Broad::default();
                let at = Timestamp::from_secs(5);
                broad.apply(&Purge { id: 1, at, soft, scopes: vec![scope.clone()] }, 7);
                let tags: Vec<Box<str>> = tags.iter().map(|tag| (*tag).into()).collect();
                let scopes = broad.scopes.read();
                let expected = match (taken, soft) {
                    (false, _) => Purged::No,
                    (true, false) => Purged::Hard,
                    (true, true) => Purged::Soft(at),
                };
                assert_eq!(
                    scopes.since(&page(authority, target), &tags, 6),
                    expected,
                    "{claim}, soft: {soft}"
                );
                assert_eq!(
                    scopes.since(&page(authority, target), &tags, 7),
                    Purged::No,
                    "{claim}: but not later"
                );
            }
        }
    }

    #[test]
    fn a_fetch_whose_tags_are_not_known_yet_may_be_taken_by_any_tag() {
        let broad = Broad::default();
        let at = Timestamp::from_secs(5);
        broad.apply(&Purge { id: 1, at, soft: false, scopes: vec![Scope::Tag("t".into())] }, 3);
        broad.apply(&Purge { id: 2, at, soft: false, scopes: vec![Scope::Host("b".into())] }, 4);
        assert!(broad.may_take(&page("a", "/"), 2));
        assert!(!broad.may_take(&page("a", "/"), 3), "another's host is no reason");
        assert!(broad.may_take(&page("b", "/"), 3));
        assert!(!broad.may_take(&page("b", "/"), 4));
    }

    #[test]
    fn what_is_not_remembered_any_more_counts_as_purged() {
        let broad = Broad::default();
        for epoch in 1..=8 {
            let scopes = vec![Scope::Tag(epoch.to_string().into())];
            broad.apply(&Purge { id: 1, at: Timestamp::from_secs(5), soft: true, scopes }, epoch);
        }
        broad.scopes.write().shed();
        let scopes = broad.scopes.read();
        assert!(scopes.count < 8 && scopes.count > 0, "{}", scopes.count);
        assert!(scopes.floor > 0);
        assert_eq!(scopes.since(&page("a", "/"), &[], 0), Purged::Hard);
        assert_eq!(scopes.since(&page("a", "/"), &[], scopes.floor), Purged::No);
    }

    #[test]
    fn distrust_ends_and_leaves_nothing_behind() {
        let broad = Broad::default();
        let at = Timestamp::from_secs(5);
        let stored = StoredResponse::new(Parts {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            body: Vec::new(),
            large: None,
            freshness: Freshness::new(at, Duration::ZERO, 60, Windows::default(), Freshness::EXPLICIT),
            vary: VarySpec::default(),
            tags: Box::default(),
            held: None,
            epoch: 3,
        });
        let soft = Purged::Soft(at);
        assert_eq!(broad.check(&stored, &page("a", "/")), Purged::No);
        broad.distrust(Some((soft, at)));
        assert_eq!(broad.check(&stored, &page("a", "/")), Purged::No, "it came at that moment");
        broad.distrust(Some((soft, at.plus(Duration::from_secs(1)))));
        assert_eq!(broad.check(&stored, &page("a", "/")), soft);
        broad.apply(&Purge { id: 1, at, soft: false, scopes: vec![Scope::Host("b".into())] }, 4);
        assert_eq!(broad.check(&stored, &page("a", "/")), soft, "a purge does not end it");
        broad.distrust(None);
        assert_eq!(broad.check(&stored, &page("a", "/")), Purged::No);
        assert_eq!(broad.check(&stored, &page("b", "/")), Purged::No, "checked before, as another page's");
        broad.distrust(Some((Purged::Hard, at.plus(Duration::from_secs(1)))));
        assert_eq!(broad.check(&stored, &page("a", "/")), Purged::Hard);
    }

    proptest! {
        #[test]
        fn the_latest_say_what_the_tables_say(
            ordered in proptest::collection::vec((0..5_u8, "[ab]{1,2}", any::<bool>(), 0..2_u64), 1..24),
            host in "[ab]{1,2}",
            target in "[ab]{0,3}",
            tags in proptest::collection::vec("[ab]{1,2}", 0..3),
            epoch in 0..24_u64,
        ) {
            let mut scopes = Scopes::default();
            let mut now = 1;
            for (kind, name, soft, later) in ordered {
                now += later;
                let scope = match kind {
                    0 => host_of(&name),
                    1 => Scope::Tag(name.into()),
                    2 => prefix(&name, ""),
                    3 => prefix("a", &name),
                    _ => Scope::Everything,
                };
                scopes.take_in(&scope, Last::of(now, soft, Timestamp::from_secs(now)));
            }
            let tags: Vec<Box<str>> = tags.into_iter().map(String::into_boxed_str).collect();
            let resource = page(&host, &target);
            let by_tables = scopes.of_tables(&resource, &tags, epoch).since(epoch);
            prop_assert_eq!(scopes.since(&resource, &tags, epoch), by_tables);
        }

        #[test]
        fn prefixes_are_found_as_a_slow_search_finds_them(
            keys in proptest::collection::btree_set("[ab/]{0,6}", 0..20),
            path in "[ab/]{0,8}",
        ) {
            let paths: BTreeMap<Box<[u8]>, Last> = keys
                .iter()
                .enumerate()
                .map(|(at, key)| {
                    (key.as_bytes().into(), Last::of(at as Epoch + 1, false, Timestamp::from_secs(0)))
                })
                .collect();
            let mut found = Vec::new();
            each_prefix(&paths, path.as_bytes(), |last| found.push(last.newest()));
            found.sort_unstable();
            let mut expected: Vec<Epoch> = keys
                .iter()
                .enumerate()
                .filter(|(_, key)| path.starts_with(key.as_str()))
                .map(|(at, _)| at as Epoch + 1)
                .collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
