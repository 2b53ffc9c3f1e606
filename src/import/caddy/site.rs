//! A site block: what it says of all requests, and routes of what has a matcher.
//!
//! Of routes the first that fits decides, where Caddy lets several directives act on one request. So each route is made whole: what
//! the site says, and what every directive with that very matcher says. Directives whose matchers overlap otherwise are told of.

use super::super::Place;
use super::super::draft::{self, Block, Draft, Route, Site};
use super::directives::directive;
use super::matcher::{self, Matcher, Named};
use super::syntax::Line;

/// A group of directives with one matcher.
struct Group {
    matcher: Matcher,
    block: Block,
    place: Place,
    /// What decides the order: redirects first, then `handle`, then the rest.
    rank: u8,
    /// It ends the walk: it says where requests go.
    ends: bool,
}

/// The site of a block; its hosts are the caller's.
pub(super) fn site(line: &Line, draft: &mut Draft) -> Site {
    let named = matcher::named(line.inside());
    let mut block = Block::default();
    let mut groups: Vec<Group> = Vec::new();
    read(line.inside(), &named, &mut block, &mut groups, draft);
    if block.keys.get("respond").is_none() && block.keys.get("redirect").is_none() {
        block.keys.set_with(
            "cache",
            "\"off\"",
            "Caddy stores nothing; without this line Tidegate stores what the origin allows",
        );
    }
    // More said of a path comes first; those of one kind as Caddy sorts them.
    groups.sort_by_key(|group| (group.rank, usize::MAX.saturating_sub(group.matcher.weight)));
    if groups.iter().filter(|group| !group.ends).count() > 1 {
        draft.note(
            &line.place,
            "several directives have matchers and do not say where requests go",
            "a request that fits several of them gets the first route alone: write what belongs together into one",
        );
    }
    let mut routes = Vec::new();
    for group in groups {
        let mut whole = group.block;
        if !group.ends {
            // Where requests go is the site's to say.
            for key in ["pool", "upgrade", "respond", "redirect"] {
                if let (None, Some(value)) = (whole.keys.get(key), block.keys.get(key).map(str::to_owned)) {
                    whole.keys.set(key, value);
                }
            }
        }
        laid_over(&block, &mut whole);
        if whole.keys.get("respond").is_some() || whole.keys.get("redirect").is_some() {
            for key in ["cache", "pool", "upgrade", "rewrite", "encode"] {
                whole.keys.unset(key);
            }
        } else if block.keys.get("cache").is_some() {
            whole.keys.set("cache", "\"off\"");
        } else {
            whole.keys.set_with("cache", "\"off\"", "Caddy stores nothing");
        }
        let (mut own, left) = whole.beside(&without_answer(&block, &whole));
        if !left.is_empty() {
            draft.note(&group.place, format!("the site's {} holds in this route too", left.join(", ")), "");
        }
        for (key, value) in
            [("methods", group.matcher.keys.get("methods")), ("match", group.matcher.keys.get("match"))]
        {
            if let Some(value) = value {
                own.keys.set(key, value);
            }
        }
        for path in &group.matcher.paths {
            routes.push(Route { path: path.clone(), block: own.clone(), place: group.place.clone() });
        }
    }
    Site { hosts: Vec::new(), block, redirects: Vec::new(), routes, place: line.place.clone() }
}

/// The site's block as a route sees it that answers by itself: a route needs not take back where requests would have gone.
fn without_answer(site: &Block, route: &Block) -> Block {
    let mut site = site.clone();
    if route.keys.get("respond").is_some() || route.keys.get("redirect").is_some() {
        for key in ["cache", "pool", "upgrade", "rewrite", "encode"] {
            site.keys.unset(key);
        }
        // One of the two replaces the other.
        if route.keys.get("respond").is_none() {
            site.keys.unset("respond");
        }
        if route.keys.get("redirect").is_none() {
            site.keys.unset("redirect");
        }
    }
    site
}

/// Fields, access and encodings of the site hold in its routes too.
fn laid_over(site: &Block, route: &mut Block) {
    for (site, route) in [(&site.request, &mut route.request), (&site.response, &mut route.response)] {
        let written = |name: &String, route: &draft::Headers| {
            route.set.iter().chain(&route.add).any(|(known, _)| known == name) || route.remove.contains(name)
        };
        let set: Vec<_> = site.set.iter().filter(|(name, _)| !written(name, route)).cloned().collect();
        let add: Vec<_> = site.add.iter().filter(|one| !route.add.contains(one)).cloned().collect();
        let remove: Vec<_> = site.remove.iter().filter(|name| !written(name, route)).cloned().collect();
        route.set.extend(set);
        route.add.extend(add);
        route.remove.extend(remove);
    }
    for key in ["basic"] {
        if let (None, Some(value)) = (route.access.get(key), site.access.get(key).map(str::to_owned)) {
            route.access.set(key, value);
        }
    }
    if let (None, Some(value)) = (route.keys.get("encode"), site.keys.get("encode").map(str::to_owned)) {
        route.keys.set("encode", value);
    }
}

/// Reads the directives of a block; those with a matcher go into groups.
fn read(lines: &[Line], named: &Named<'_>, block: &mut Block, groups: &mut Vec<Group>, draft: &mut Draft) {
    let shadowed = lines.iter().any(answers_all);
    for line in lines {
        let name = line.name();
        if name.starts_with('@') {
            continue;
        }
        if shadowed && AFTER_HANDLE.contains(&name) {
            draft.note(
                &line.place,
                format!("`{}` is never reached: Caddy asks the `{HANDLE}` beside it first, which answers everything", line.shown()),
                format!("if it is to count, write it into a `{HANDLE}` with its matcher; here it is left out"),
            );
            continue;
        }
        let (word, has) = if TAKES_MATCHER.contains(&name) && matcher::is_one(line.word(1)) {
            (line.word(1), 1)
        } else {
            ("", 0)
        };
        let words: Vec<String> = line.words.iter().skip(1_usize.saturating_add(has)).cloned().collect();
        // `redir /old /new`: a path alone is a matcher only where something follows it; `rewrite` and `redir` of all have none.
        let (word, words) = match name {
            "redir" | "rewrite" | "respond"
                if has == 1 && words.is_empty() && line.block.is_none() && !word.starts_with('@') =>
            {
                ("", vec![word.to_owned()])
            }
            _ => (word, words),
        };
        let Ok(matcher) = matcher::read(word, named, line, draft) else { continue };
        match name {
            "handle" | "handle_path" | "route" => {
                let mut matcher = matcher;
                if name == "handle_path"
                    && let Some(matcher) = &mut matcher
                {
                    let prefix = word.trim_end_matches('*').trim_end_matches('/');
                    matcher.prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
                }
                let inner = matcher::named(line.inside());
                let mut all = named.clone();
                all.extend(inner);
                match matcher {
                    None => read(line.inside(), &all, block, groups, draft),
                    Some(matcher) => {
                        let mut own = Block::default();
                        let mut inner_groups = Vec::new();
                        read(line.inside(), &all, &mut own, &mut inner_groups, draft);
                        if !inner_groups.is_empty() {
                            draft.note(
                                &line.place,
                                format!("`{}` has matchers inside", line.shown()),
                                "they stand as routes of their own; see that their paths lie within it",
                            );
                        }
                        for group in &mut inner_groups {
                            group.rank = 1;
                        }
                        groups.extend(inner_groups);
                        if let Some(prefix) = &matcher.prefix
                            && own.keys.get("rewrite").is_none()
                        {
                            own.keys.set("rewrite", format!("{{ strip_prefix = {} }}", draft::text(prefix)));
                        }
                        let ends = ends(&own);
                        groups.push(Group { matcher, block: own, place: line.place.clone(), rank: 1, ends });
                    }
                }
            }
            _ => {
                let target = match matcher {
                    None => &mut *block,
                    Some(matcher) => {
                        let at = groups
                            .iter()
                            .position(|group| group.matcher == matcher && group.rank == rank(name))
                            .unwrap_or_else(|| {
                                groups.push(Group {
                                    matcher,
                                    block: Block::default(),
                                    place: line.place.clone(),
                                    rank: rank(name),
                                    ends: false,
                                });
                                groups.len().saturating_sub(1)
                            });
                        match groups.get_mut(at) {
                            Some(group) => &mut group.block,
                            None => continue,
                        }
                    }
                };
                directive(line, &words, target, draft);
                for group in groups.iter_mut() {
                    group.ends = group.ends || ends(&group.block);
                }
            }
        }
    }
}

/// A `handle` or `route` without a matcher in which somebody answers whatever comes: what Caddy sorts behind it is not reached.
fn answers_all(line: &Line) -> bool {
    let of_all = |line: &Line| !matcher::is_one(line.word(1)) || line.word(1) == "*";
    let answers = |inside: &Line| {
        answers_all(inside)
            || (of_all(inside) && (inside.name() == "redir" || AFTER_HANDLE.contains(&inside.name())))
    };
    matches!(line.name(), HANDLE | "route") && of_all(line) && line.inside().iter().any(answers)
}

fn ends(block: &Block) -> bool {
    ["pool", "respond", "redirect"].iter().any(|key| block.keys.get(key).is_some())
}

fn rank(directive: &str) -> u8 {
    match directive {
        "redir" => 0,
        "respond" | "abort" | "error" => 2,
        _ => 3,
    }
}

const HANDLE: &str = "handle";

/// What answers by itself and comes behind `handle` in Caddy's order of directives, wherever it is written.
const AFTER_HANDLE: [&str; 6] = ["abort", "error", "respond", "reverse_proxy", "php_fastcgi", "file_server"];

const TAKES_MATCHER: [&str; 28] = [
    "abort",
    "basic_auth",
    "basicauth",
    "encode",
    "error",
    "file_server",
    "forward_auth",
    "handle",
    "handle_path",
    "header",
    "map",
    "php_fastcgi",
    "push",
    "redir",
    "request_body",
    "request_header",
    "respond",
    "reverse_proxy",
    "rewrite",
    "root",
    "route",
    "templates",
    "try_files",
    "uri",
    "vars",
    "log_skip",
    "skip_log",
    "cache",
];
