//! `POST /v1/deploy`: a build's paths and hashes in, a purge of what is new, changed or gone out.
//!
//! The node keeps the last manifest of a site as a note and compares. Paths are those of files; each stands for the URLs that
//! static servers give it: `a/index.html` is also `a/` and `a`, `x.html` also `x`. A path that is new is purged too, because its
//! 404 may be stored. The first deploy of a site, and one that changes more than one call may name, takes the whole site.
//!
//! Manifests are a node's own, deploys of one site may not be: what another node was told since is not in this one's manifest, and
//! a file that was changed there and is changed back here would differ in nothing. The purges of that deploy are in the log,
//! though, on every node; so what others have purged of the site since is purged again, and where that is not a list of URLs, or
//! not known any more, the whole site ([`Others`]).
//!
//! Invariant: the manifest is replaced only after its purge has been applied. When that fails, or the node ends in between, the
//! next deploy compares with the older one and takes at least as much.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::call::{self, Call};
use crate::error::{Mistake, Refusal};
use crate::limits::{
    DEPLOY_FILES_MAX, DEPLOY_PATHS_TOLD_MAX, ENTRIES_MAX, FILE_HASH_BYTES_MAX, FILE_PATH_BYTES_MAX,
    MISTAKES_MAX,
};
use crate::log::PURGES_MAX;
use crate::order::{HostName, Order, Scope, Selector};
use crate::request::{Members, Normalise, PurgeRequest, Wait, flag, pointer};
use crate::url::ResourceUrl;
use crate::{Purger, Receipt};

/// What was built: paths of files without leading slash, each with a hash of its bytes.
pub type Manifest = BTreeMap<String, String>;

/// A deploy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeployRequest {
    /// Where the files lie: a host, and a path that ends with a slash.
    pub site: ResourceUrl,
    /// What lies there now.
    pub files: Manifest,
    /// Make stale rather than forget; what a deploy wants unless it says otherwise.
    pub soft: bool,
    /// Only tell what would be purged.
    pub dry_run: bool,
    /// How long the caller wants to wait.
    pub wait: Wait,
}

/// What is different from the deploy before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// There was none.
    pub first: bool,
    /// Not there before.
    pub added: Vec<String>,
    /// There before with another hash.
    pub changed: Vec<String>,
    /// Not there any more.
    pub removed: Vec<String>,
    /// The same as before.
    pub unchanged: usize,
    /// What other nodes have purged of the site since.
    pub others: Others,
}

/// What other nodes have purged of a site since its last deploy at this one: what lies there now may be another build's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Others {
    /// These URLs; mostly none.
    Urls(Vec<ResourceUrl>),
    /// More than URLs, or it is not known any more.
    Site,
}

/// What is remembered of a deploy.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The last purge that was known then.
    sequence: u64,
    files: Manifest,
}

impl Default for Others {
    fn default() -> Self {
        Self::Urls(Vec::new())
    }
}

impl DeployRequest {
    /// The deploy in this JSON text.
    ///
    /// # Errors
    /// [`Refusal`], the caller's fault.
    pub fn parse(body: &[u8], normalise: Normalise<'_>) -> Result<Self, Refusal> {
        let Members(members) =
            serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let (mut site, mut files, mut mistakes) = (None, None, Vec::new());
        let (mut soft, mut dry_run, mut wait) = (true, false, Wait::Node);
        for (name, value) in members {
            let at = pointer(&[&name]);
            let known = match (name.as_str(), value) {
                ("site", Value::String(text)) => site_of(&text, normalise).map(|url| site = Some(url)),
                ("site", _) => Err("not a URL: write `\"https://www.example.com/\"`".to_owned()),
                ("files", Value::Object(members)) => {
                    files = Some(manifest(members, &mut mistakes));
                    Ok(())
                }
                ("files", _) => Err("not an object: write `{\"index.html\": \"9f86d0…\"}`".to_owned()),
                ("soft", value) => flag(&value, &mut soft).map_err(str::to_owned),
                ("dry_run", value) => flag(&value, &mut dry_run).map_err(str::to_owned),
                ("wait", value) => match Wait::of(&value) {
                    Some(meant) => {
                        wait = meant;
                        Ok(())
                    }
                    None => Err("not `\"node\"` or `\"fleet\"`".to_owned()),
                },
                _ => Err("not known; known are site, files, soft, dry_run and wait".to_owned()),
            };
            if let Err(detail) = known {
                mistakes.push(Mistake { pointer: at, detail });
            }
        }
        for (name, missing) in [("site", site.is_none()), ("files", files.is_none())] {
            if missing && mistakes.is_empty() {
                let detail = format!("missing: a deploy names `{name}`");
                mistakes.push(Mistake { pointer: pointer(&[name]), detail });
            }
        }
        mistakes.truncate(MISTAKES_MAX);
        let (Some(site), Some(files), true) = (site, files, mistakes.is_empty()) else {
            return Err(Refusal::Members(mistakes));
        };
        if files.is_empty() {
            // A build that failed, more likely than a site without a page.
            return Err(Refusal::Empty);
        }
        if files.len() > DEPLOY_FILES_MAX {
            return Err(Refusal::TooMany { count: files.len(), max: DEPLOY_FILES_MAX });
        }
        Ok(Self { site, files, soft, dry_run, wait })
    }

    /// The site as a selector: what a caller must be allowed to purge to deploy to it.
    pub fn whole(&self) -> Selector {
        match HostName::parse(self.site.host()) {
            Ok(host) if self.site.target() == "/" => Selector::Host(host),
            _ => Selector::Prefix(self.site.clone()),
        }
    }

    /// Whether a purge takes something of the site. Deploys name no tags.
    fn is_met_by(&self, selector: &Selector) -> bool {
        let of_site = |url: &ResourceUrl| url.authority() == self.site.authority();
        match selector {
            Selector::Url(url) => of_site(url) && url.target().starts_with(&*self.site.target()),
            Selector::Prefix(url) => {
                let (site, prefix) = (self.site.target(), url.target());
                of_site(url) && (prefix.starts_with(&*site) || site.starts_with(&*prefix))
            }
            Selector::Host(host) => host.as_str() == self.site.host(),
            Selector::Tag(_) => false,
            Selector::Everything => true,
        }
    }

    /// The URLs that a file stands for.
    fn urls_of(&self, path: &str) -> Vec<ResourceUrl> {
        let scheme = if self.site.is_https() { "https" } else { "http" };
        let base = format!("{scheme}://{}{}", self.site.authority(), self.site.target());
        let mut paths = vec![path];
        if let Some(directory) = path.strip_suffix("index.html")
            && (directory.is_empty() || directory.ends_with('/'))
        {
            paths.extend([directory, directory.trim_end_matches('/')]);
        } else if let Some(clean) = path.strip_suffix(".html") {
            paths.push(clean);
        }
        paths.dedup();
        paths.iter().filter_map(|path| ResourceUrl::parse(&(base.clone() + &encoded(path))).ok()).collect()
    }

    fn note_name(&self) -> String {
        format!("deploy:{}{}", self.site.authority(), self.site.target())
    }
}

impl Difference {
    /// What differs between two builds; the first of a site has none before it.
    pub fn between(before: Option<&Manifest>, now: &Manifest) -> Self {
        let mut difference = Self { first: before.is_none(), ..Self::default() };
        for (path, hash) in now {
            match before.and_then(|before| before.get(path)) {
                None => difference.added.push(path.clone()),
                Some(known) if known == hash => difference.unchanged += 1,
                Some(_) => difference.changed.push(path.clone()),
            }
        }
        let gone = before.into_iter().flatten().map(|(path, _)| path).filter(|path| !now.contains_key(*path));
        difference.removed = gone.cloned().collect();
        difference
    }

    /// What must be purged: nothing, the URLs of what differs, or the whole site.
    fn selectors(&self, deploy: &DeployRequest) -> Vec<Selector> {
        let Others::Urls(others) = &self.others else { return vec![deploy.whole()] };
        let paths = self.added.iter().chain(&self.changed).chain(&self.removed);
        let mut urls: Vec<_> = paths.flat_map(|path| deploy.urls_of(path)).take(ENTRIES_MAX + 1).collect();
        let mut known: HashSet<_> = urls.iter().cloned().collect();
        urls.extend(others.iter().filter(|url| known.insert((*url).clone())).cloned());
        if self.first || urls.len() > ENTRIES_MAX {
            return vec![deploy.whole()];
        }
        urls.into_iter().map(Selector::Url).collect()
    }
}

/// A deploy that has been carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deployed {
    /// What was different.
    pub difference: Difference,
    /// What was purged, also for the log; `None` where nothing differs.
    pub order: Option<Order>,
    /// Of the purge; without a number where nothing was purged.
    pub receipt: Receipt,
}

/// Compares, purges, and remembers. Waits for the disk. One deploy of a site at a time: that is up to the caller.
///
/// # Errors
/// [`Refusal`]; where that is [`Refusal::Failed`] the purge may have been applied, and the next deploy repeats it.
pub fn carry_out(purger: &dyn Purger, call: Call<'_>, deploy: &DeployRequest) -> Result<Deployed, Refusal> {
    // Also where nothing differs: who may not purge a site may not say what lies on it.
    let whole = deploy.whole();
    if !call.bearer.grant().allows(&whole) {
        return Err(Refusal::OutOfScope { token: call.bearer.name().into(), what: whole.told() });
    }
    let name = deploy.note_name();
    // What comes from now on is looked at by the next deploy.
    let sequence = purger.sequence();
    let before = purger.note(&name)?.and_then(|bytes| Note::read(&bytes));
    let mut difference = Difference::between(before.as_ref().map(|note| &note.files), &deploy.files);
    if let Some(Note { sequence: since, .. }) = &before {
        difference.others = Others::since(purger, deploy, *since, sequence)?;
    }
    let order = Order { selectors: difference.selectors(deploy), soft: deploy.soft };
    if order.selectors.is_empty() {
        let receipt = Receipt { dry_run: deploy.dry_run, ..Receipt::of(&order, call.id) };
        return Ok(Deployed { difference, order: None, receipt });
    }
    let request = PurgeRequest { order, dry_run: deploy.dry_run, wait: deploy.wait };
    let receipt = call::carry_out(purger, call, &request)?;
    if !deploy.dry_run {
        // Text keys and values always serialise.
        let note = Note { sequence, files: deploy.files.clone() };
        let note = serde_json::to_vec(&note).unwrap_or_default();
        purger.write_note(&name, &note)?;
    }
    Ok(Deployed { difference, order: Some(request.order), receipt })
}

impl Note {
    /// Also as it was written before it knew of others: then all of the log is looked at.
    fn read(bytes: &[u8]) -> Option<Self> {
        let bare = || serde_json::from_slice(bytes).ok().map(|files| Self { sequence: 0, files });
        serde_json::from_slice(bytes).ok().or_else(bare)
    }
}

impl Others {
    /// What the log says from `since` up to `sequence`.
    fn since(
        purger: &dyn Purger,
        deploy: &DeployRequest,
        since: u64,
        sequence: u64,
    ) -> Result<Self, Refusal> {
        let mut urls = Vec::new();
        let mut at = since;
        while at < sequence {
            let entries = purger.purges(at, PURGES_MAX)?;
            if entries.is_empty() {
                return Ok(Self::Site);
            }
            for entry in entries {
                at += 1;
                if entry.sequence != at {
                    // The log does not go back so far, or has a hole.
                    return Ok(Self::Site);
                }
                let selectors = entry.order.selectors.into_iter().filter(|_| entry.elsewhere);
                for selector in selectors {
                    if !deploy.is_met_by(&selector) {
                        continue;
                    }
                    let Selector::Url(url) = selector else { return Ok(Self::Site) };
                    urls.push(url);
                    if urls.len() > ENTRIES_MAX {
                        return Ok(Self::Site);
                    }
                }
            }
        }
        Ok(Self::Urls(urls))
    }
}

impl Deployed {
    /// The receipt, with what differs beside it; lists end at [`DEPLOY_PATHS_TOLD_MAX`].
    pub fn answer(&self, deploy: &DeployRequest) -> Value {
        let Difference { first, added, changed, removed, unchanged, others } = &self.difference;
        let elsewhere = match others {
            Others::Urls(urls) => urls.len(),
            Others::Site => 0,
        };
        let told = |paths: &[String]| paths.iter().take(DEPLOY_PATHS_TOLD_MAX).cloned().collect::<Vec<_>>();
        let whole = self.order.as_ref().is_some_and(|order| order.selectors == [deploy.whole()]);
        let mut answer = serde_json::to_value(&self.receipt).unwrap_or_default();
        if let Value::Object(members) = &mut answer {
            members.extend(Map::from_iter([
                ("site".to_owned(), json!(deploy.site.to_string())),
                ("first".to_owned(), json!(first)),
                ("whole_site".to_owned(), json!(whole)),
                ("elsewhere".to_owned(), json!(*others == Others::Site)),
                (
                    "counts".to_owned(),
                    json!({
                        "added": added.len(), "changed": changed.len(), "removed": removed.len(), "unchanged": unchanged,
                        "elsewhere": elsewhere,
                    }),
                ),
                ("added".to_owned(), json!(told(added))),
                ("changed".to_owned(), json!(told(changed))),
                ("removed".to_owned(), json!(told(removed))),
            ]));
        }
        answer
    }
}

/// The hash of a file's bytes as manifests have it.
///
/// # Errors
/// The file cannot be read.
pub fn hash_of(mut file: impl Read) -> io::Result<String> {
    let mut sum = Context::new(&SHA256);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
            return Ok(sum.finish().as_ref().iter().flat_map(digits).flatten().collect());
        }
        sum.update(piece.get(..read).unwrap_or_default());
    }
}

/// A file's path as it stands in a URL. Everything that is not plainly itself is encoded, `%` too.
pub fn encoded(path: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn site_of(text: &str, normalise: Normalise<'_>) -> Result<ResourceUrl, String> {
    let ended = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    match Selector::parse(Scope::Prefix, &ended) {
        Ok(Selector::Prefix(url)) => normalise(&url).map_err(|error| error.to_string()),
        Ok(_) => Err("not a URL".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn manifest(members: Map<String, Value>, mistakes: &mut Vec<Mistake>) -> Manifest {
    let mut files = Manifest::new();
    for (path, hash) in members {
        let plain = path.trim_start_matches('/');
        let segments = || plain.split('/');
        let wrong = match hash.as_str() {
            None => Some("not a string: write the file's hash"),
            Some(hash) if hash.is_empty() || hash.len() > FILE_HASH_BYTES_MAX => {
                Some("a hash without or with too many bytes")
            }
            Some(_) if plain.is_empty() || plain.len() > FILE_PATH_BYTES_MAX => {
                Some("a path without or with too many bytes")
            }
            Some(_) if segments().any(|segment| segment == "." || segment == "..") => {
                Some("a path that leads elsewhere")
            }
            Some(_) => None,
        };
        match (wrong, hash) {
            (None, Value::String(hash)) => drop(files.insert(plain.to_owned(), hash)),
            (wrong, _) => {
                if mistakes.len() < MISTAKES_MAX {
                    let detail = wrong.unwrap_or("not a string").to_owned();
                    mistakes.push(Mistake { pointer: pointer(&["files", &path]), detail });
                }
            }
        }
    }
    files
}

#[cfg(test)]
mod tests;
