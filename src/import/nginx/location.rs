//! Routes of `location` blocks, in the order in which nginx would choose them, and where each of them leads.

use super::super::Place;
use super::super::draft::{self, Block, Draft, Origin, Pool, Route};
use super::syntax::Directive;
use super::{Levels, World, policy, text, upstream};
use crate::config::value;

/// How a location is chosen; in the order in which nginx decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// `= /path`
    Exact,
    /// `^~ /path`
    Firm,
    /// `~ expression`, `~* expression`
    Regex,
    /// `/path`
    Prefix,
}

/// A location, with the levels that it stands on.
#[derive(Clone)]
pub(super) struct Location<'c> {
    pub(super) kind: Kind,
    /// The path, or the expression with `(?i)` where case does not matter.
    pub(super) pattern: String,
    pub(super) levels: Levels<'c>,
    pub(super) place: Place,
}

/// All locations of a server, nested ones too, in the order of routes; named ones apart.
pub(super) fn locations<'c>(
    levels: &Levels<'c>,
    block: &'c [Directive],
) -> (Vec<Location<'c>>, Vec<(&'c str, Levels<'c>)>) {
    let (mut all, mut named) = (Vec::new(), Vec::new());
    collect(levels, block, &mut all, &mut named);
    // Stable: expressions stay in the order written; among paths the longest goes first.
    all.sort_by_key(|location| {
        let length =
            if location.kind == Kind::Regex { 0 } else { usize::MAX.saturating_sub(location.pattern.len()) };
        (location.kind, length)
    });
    (all, named)
}

fn collect<'c>(
    levels: &Levels<'c>,
    block: &'c [Directive],
    all: &mut Vec<Location<'c>>,
    named: &mut Vec<(&'c str, Levels<'c>)>,
) {
    for directive in block.iter().filter(|directive| directive.name == "location") {
        let Some(inside) = &directive.block else { continue };
        let levels = levels.within(inside);
        let (kind, pattern) = match (directive.argument(0), directive.argument(1)) {
            ("=", path) => (Kind::Exact, path.to_owned()),
            ("^~", path) => (Kind::Firm, path.to_owned()),
            ("~", expression) => (Kind::Regex, expression.to_owned()),
            ("~*", expression) => (Kind::Regex, format!("(?i){expression}")),
            (name, _) if name.starts_with('@') => {
                named.push((name, levels));
                continue;
            }
            // The signs may stick to the pattern.
            (word, _) => match (
                word.strip_prefix("~*"),
                word.strip_prefix('~'),
                word.strip_prefix("^~"),
                word.strip_prefix('='),
            ) {
                (Some(expression), ..) => (Kind::Regex, format!("(?i){expression}")),
                (_, Some(expression), ..) => (Kind::Regex, expression.to_owned()),
                (_, _, Some(path), _) => (Kind::Firm, path.to_owned()),
                (_, _, _, Some(path)) => (Kind::Exact, path.to_owned()),
                _ => (Kind::Prefix, word.to_owned()),
            },
        };
        collect(&levels, inside, all, named);
        all.push(Location { kind, pattern, levels, place: directive.place.clone() });
    }
}

/// What a site's locations share.
pub(super) struct Ground<'g, 'c> {
    pub(super) world: &'g World<'c>,
    pub(super) server_name: &'g str,
    pub(super) named: &'g [(&'c str, Levels<'c>)],
    pub(super) all: &'g [Location<'c>],
    /// Redirects that the site makes before it looks for a route.
    pub(super) redirects: Vec<String>,
}

impl<'c> Ground<'_, 'c> {
    /// What the route of a location says, whole.
    pub(super) fn block(&mut self, location: &Location<'c>, draft: &mut Draft) -> Block {
        let mut block = Block::default();
        policy::policy(self.world, &location.levels, self.server_name, &mut block, draft);
        Self::conditions(&location.levels, &mut block, draft);
        let redirects = self.rewrites(location, &mut block, draft);
        if redirects && location.levels.here("proxy_pass").is_empty() {
            // What the redirect does not take is not there.
            block.keys.set("respond", "{ status = 404, body = \"\" }");
        } else if block.keys.get("respond").is_none() {
            self.leads(location, &mut block, draft);
        }
        if let Some(methods) = location.levels.here("limit_except").first() {
            let mut methods = methods.arguments.clone();
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".to_owned());
            }
            block.keys.set_with("allow_methods", draft::texts(&methods), "limit_except");
        }
        if block.keys.get("respond").is_some() || block.keys.get("redirect").is_some() {
            // Nothing of it is fetched.
            for key in ["cache", "rewrite", "upgrade"] {
                block.keys.unset(key);
            }
        }
        block
    }

    /// `return`, `proxy_pass`, or files and scripts that nginx goes on serving.
    fn leads(&mut self, location: &Location<'c>, block: &mut Block, draft: &mut Draft) {
        let levels = &location.levels;
        // `return` of the server comes before any location.
        if let Some(answer) =
            levels.0.iter().rev().take(2).find_map(|level| level.iter().find(|one| one.name == "return"))
        {
            return self.returns(answer, location.kind == Kind::Regex, block, draft);
        }
        if let Some(pass) = levels.here("proxy_pass").pop() {
            return self.passes(pass, location, block, draft);
        }
        let script = ["fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass"];
        if let Some(pass) = script.iter().find_map(|name| levels.here(name).pop()) {
            let pool = stays(&pass.place, draft);
            draft.note(
                &pass.place,
                format!("`{}`: scripts are not run here", pass.shown()),
                format!("keep nginx for them: let it listen on the address of [pool.{pool}], on this machine alone"),
            );
            return block.keys.set("pool", draft::text(&pool));
        }
        if let Some(fallback) =
            levels.one("try_files").and_then(|files| Some((files, files.arguments.last()?.as_str())))
            && let Some((_, named)) = self.named.iter().find(|(name, _)| *name == fallback.1)
        {
            draft.note(
                &fallback.0.place,
                format!("`{}`: files are not served here, so everything goes to {}", fallback.0.shown(), fallback.1),
                "let the application serve its files too, or keep nginx for them as an origin with a route of its own",
            );
            let named = Location { levels: named.clone(), ..location.clone() };
            let mut own = Block::default();
            policy::policy(self.world, &named.levels, self.server_name, &mut own, draft);
            if let Some(pass) = named.levels.here("proxy_pass").pop() {
                self.passes(pass, &named, &mut own, draft);
            }
            *block = own;
            return;
        }
        if let Some(found) = self.falls_back(location) {
            if let Some(files) = levels.one("try_files") {
                draft.note(
                    &files.place,
                    format!(
                        "`{}`: files are not served here; all of it is treated as what it falls back to",
                        files.shown()
                    ),
                    "nginx stays as the origin and goes on choosing between file and script",
                );
            }
            *block = self.block(&found, draft);
            return;
        }
        if let Some(code) =
            levels.one("try_files").and_then(|files| files.arguments.last()?.strip_prefix('='))
            && levels.here("root").is_empty()
            && levels.one("root").is_none()
            && let Ok(status @ 400..=599) = code.parse::<u16>()
        {
            return block.keys.set("respond", format!("{{ status = {status}, body = \"\" }}"));
        }
        let pool = stays(&location.place, draft);
        draft.note(
            &location.place,
            "files are served here, which Tidegate does not do",
            format!(
                "keep nginx for them: let it listen on the address of [pool.{pool}], on this machine alone"
            ),
        );
        block.keys.set("pool", draft::text(&pool));
    }

    /// The location of the path that `try_files` ends with, as `/index.php?$args`.
    fn falls_back(&self, location: &Location<'c>) -> Option<Location<'c>> {
        let last = location.levels.here("try_files").pop()?.arguments.last()?;
        let path = last.split('?').next().filter(|path| path.starts_with('/') && text::is_plain(path))?;
        let found = self.all.iter().find(|other| match other.kind {
            Kind::Exact => other.pattern == path,
            Kind::Regex => {
                regex::Regex::new(&other.pattern).is_ok_and(|expression| expression.is_match(path))
            }
            Kind::Prefix | Kind::Firm => false,
        })?;
        // It does not fall back itself, or there would be no end.
        found.levels.here("try_files").is_empty().then(|| found.clone())
    }

    fn passes(&mut self, pass: &Directive, location: &Location<'c>, block: &mut Block, draft: &mut Draft) {
        let Some(target) = upstream::target(pass.argument(0)) else {
            let pool = stays(&pass.place, draft);
            draft.note(
                &pass.place,
                format!("`{}`: where requests go cannot depend on a variable", pass.shown()),
                "write a pool for each of the places, and routes or `steer` that choose among them",
            );
            return block.keys.set("pool", draft::text(&pool));
        };
        let pool = upstream::pool(self.world, &location.levels, &target, &pass.place, draft);
        block.keys.set("pool", draft::text(&pool));
        let Some(path) = target.path.filter(|_| block.keys.get("rewrite").is_none()) else { return };
        if path.contains('?') {
            return draft.note(
                &pass.place,
                "a query in proxy_pass",
                "write rewrite = { path = \"…\", query = \"…\" } in the route",
            );
        }
        match location.kind {
            Kind::Exact if value::is_target_text(path) => {
                block.keys.set("rewrite", format!("{{ path = {} }}", draft::text(&dollars(path))));
            }
            Kind::Prefix | Kind::Firm if location.pattern == path => {}
            Kind::Prefix | Kind::Firm => {
                let (from, to) = (location.pattern.trim_end_matches('/'), path.trim_end_matches('/'));
                let whole = location.pattern.ends_with('/') == path.ends_with('/');
                if whole
                    && (location.pattern.ends_with('/') || !from.is_empty())
                    && location.pattern.ends_with('/')
                {
                    let mut parts = Vec::new();
                    if !from.is_empty() {
                        parts.push(format!("strip_prefix = {}", draft::text(from)));
                    }
                    if !to.is_empty() {
                        parts.push(format!("add_prefix = {}", draft::text(to)));
                    }
                    block.keys.set("rewrite", format!("{{ {} }}", parts.join(", ")));
                } else {
                    // The star's part comes behind what is written, slash or not, as in nginx.
                    block.keys.set(
                        "rewrite",
                        format!("{{ path = {} }}", draft::text(&format!("{}${{1}}", dollars(path)))),
                    );
                }
            }
            Kind::Regex | Kind::Exact => {}
        }
    }

    fn returns(&mut self, answer: &Directive, captures: bool, block: &mut Block, draft: &mut Draft) {
        let (code, rest) = match answer.argument(0).parse::<u16>() {
            Ok(code) => (code, answer.argument(1)),
            Err(_) => (302, answer.argument(0)),
        };
        let template = match text::template(rest, self.server_name, captures) {
            Ok(template) => template,
            Err(variable) => {
                draft.note(
                    &answer.place,
                    format!("`{}`: `${variable}` has no counterpart", answer.shown()),
                    "write redirect = { to = \"https://www.example.com$uri\" }, or respond = { status = …, body = \"…\" }",
                );
                return block.keys.set("respond", "{ status = 404, body = \"\" }");
            }
        };
        match code {
            301 | 302 | 303 | 307 | 308 if !rest.is_empty() => {
                block.keys.set("redirect", format!("{{ to = {}, status = {code} }}", draft::text(&template)));
            }
            444 => {
                draft.note(
                    &answer.place,
                    "444 closes the connection in nginx; here it is answered with 403",
                    "",
                );
                block.keys.set("respond", "{ status = 403, body = \"\" }");
            }
            200..=599 => {
                if !text::is_plain(rest) {
                    draft.note(
                        &answer.place,
                        "a body with variables in it",
                        "write respond = { status = 200, body = \"…\" } with a fixed text",
                    );
                }
                let body = if text::is_plain(rest) { rest } else { "" };
                block.keys.set("respond", format!("{{ status = {code}, body = {} }}", draft::text(body)));
            }
            _ => draft.note(&answer.place, format!("`{}` is no answer", answer.shown()), ""),
        }
    }

    /// `rewrite expression replacement flag;` of a location; whether one of them redirects.
    fn rewrites(&mut self, location: &Location<'c>, block: &mut Block, draft: &mut Draft) -> bool {
        let mut redirects = false;
        for rewrite in location.levels.here("rewrite") {
            let (expression, replacement) = (rewrite.argument(0), rewrite.argument(1));
            if self.redirects(rewrite, draft) {
                redirects = true;
                continue;
            }
            // What the route's own pattern takes must be what the expression takes: prefixes that are cut off are.
            let prefix = location.pattern.trim_end_matches('/');
            let cuts = [
                format!("^{prefix}/(.*)$"),
                format!("^{prefix}/?(.*)$"),
                format!("^{prefix}(/.*)$"),
                format!("^{prefix}/(.*)"),
            ];
            let to = replacement.trim_end_matches("$1").trim_end_matches('/');
            if location.kind != Kind::Regex
                && replacement.ends_with("$1")
                && text::is_plain(to)
                && cuts.iter().any(|cut| cut == expression)
            {
                let add =
                    if to.is_empty() { String::new() } else { format!(", add_prefix = {}", draft::text(to)) };
                if prefix.is_empty() {
                    if !to.is_empty() {
                        block.keys.set("rewrite", format!("{{ add_prefix = {} }}", draft::text(to)));
                    }
                } else {
                    block.keys.set("rewrite", format!("{{ strip_prefix = {}{add} }}", draft::text(prefix)));
                }
            } else {
                draft.note(
                    &rewrite.place,
                    format!("`{}` changes what the origin is asked for by an expression", rewrite.shown()),
                    format!(
                        "write a route with path = {{ regex = {} }} and rewrite = {{ path = \"…$1\" }}",
                        draft::text(expression)
                    ),
                );
            }
        }
        redirects
    }

    /// A `rewrite` that redirects; whether it is one.
    pub(super) fn redirects(&mut self, rewrite: &Directive, draft: &mut Draft) -> bool {
        let (expression, replacement, flag) = (rewrite.argument(0), rewrite.argument(1), rewrite.argument(2));
        let absolute = replacement.starts_with("http://")
            || replacement.starts_with("https://")
            || replacement.starts_with("$scheme");
        let status = match flag {
            "permanent" => 301,
            "redirect" => 302,
            _ if absolute => 302,
            _ => return false,
        };
        // A question mark at the end keeps the query away.
        let (replacement, keep) = match replacement.strip_suffix('?') {
            Some(bare) => (bare, false),
            None => (replacement, !replacement.contains("$request_uri")),
        };
        let to = text::template(replacement, self.server_name, true);
        match (to, value::path_regex(expression)) {
            (Ok(to), Ok(_)) => {
                let query = if keep { ", query = \"keep\"" } else { "" };
                self.redirects.push(format!(
                    "{{ from = {{ regex = {} }}, to = {}, status = {status}{query} }}",
                    draft::text(expression),
                    draft::text(&to)
                ));
            }
            (Err(variable), _) => draft.note(
                &rewrite.place,
                format!("`{}`: `${variable}` has no counterpart", rewrite.shown()),
                "write redirects = [ { from = { regex = \"…\" }, to = \"/new/$1\", status = 301 } ] in the site",
            ),
            (_, Err(complaint)) => draft.note(
                &rewrite.place,
                format!("`{}`: {}", rewrite.shown(), complaint.message),
                "look-around and back-references are not known here; write it without them",
            ),
        }
        true
    }

    /// The few uses of `if` that can be said otherwise.
    pub(super) fn conditions(levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
        for condition in
            levels.0.iter().rev().take(2).flat_map(|level| level.iter()).filter(|one| one.name == "if")
        {
            let inside = condition.block.as_deref().unwrap_or_default();
            let words = condition.arguments.join(" ");
            let test = words.trim_start_matches('(').trim_end_matches(')').trim();
            let only = match inside {
                [one] => Some(one),
                _ => None,
            };
            let answer = only.filter(|one| one.name == "return");
            let to_https = answer.is_some_and(|answer| {
                matches!(answer.argument(0), "301" | "302" | "307" | "308")
                    && answer.argument(1).starts_with("https://")
                    && answer.argument(1).ends_with("$request_uri")
            });
            let is_plain = test.starts_with("$scheme")
                || test.starts_with("$https")
                || test.starts_with("$http_x_forwarded_proto");
            // certbot writes `if ($host = www.example.com) { return 301 https://$host$request_uri; }` into the server of port 80.
            let is_host = test.starts_with("$host =");
            if to_https && (is_plain || is_host) {
                block.keys.set("https_only", "true");
                continue;
            }
            if test.starts_with("$request_method !~")
                && answer.is_some_and(|answer| matches!(answer.argument(0), "405" | "403" | "444"))
            {
                let methods: Vec<String> = test
                    .split(|c: char| !c.is_ascii_uppercase())
                    .filter(|word| !word.is_empty() && word.len() < 20)
                    .map(str::to_owned)
                    .collect();
                block.keys.set("allow_methods", draft::texts(&methods));
                continue;
            }
            draft.note(
                &condition.place,
                format!("`if {words}` has no counterpart"),
                "write a route of its own with match = { header = { … }, query = { … }, cookie = { … }, client = [ … ] } above this one",
            );
        }
    }
}

/// The routes of a location: its pattern, and what it says beside its site. Mostly one; none where it cannot be said.
pub(super) fn route(location: &Location<'_>, block: &Block, ground: &Block, draft: &mut Draft) -> Vec<Route> {
    // What hides files that begin with a dot, all but `.well-known`: said by two routes instead of by looking ahead.
    let well_known = location.kind == Kind::Regex
        && location.pattern.trim_start_matches("(?i)").starts_with(r"/\.(?!well-known");
    let location = &Location {
        pattern: if well_known { r"/\.".to_owned() } else { location.pattern.clone() },
        ..location.clone()
    };
    let path = match location.kind {
        Kind::Exact => draft::text(&location.pattern),
        Kind::Prefix | Kind::Firm => draft::text(&format!("{}*", location.pattern)),
        Kind::Regex => {
            if let Err(complaint) = value::path_regex(&location.pattern) {
                draft.note(
                    &location.place,
                    format!("{}; this location is missing from the result", complaint.message),
                    "look-around and back-references are not known here; write it without them",
                );
                return Vec::new();
            }
            format!("{{ regex = {} }}", draft::text(&location.pattern))
        }
    };
    let plain = location.kind == Kind::Regex || value::path_pattern(&location.pattern).is_ok();
    if !plain || (location.kind != Kind::Regex && location.pattern.contains('*')) {
        draft.note(
            &location.place,
            format!("`{}` is no path as it is on the wire", location.pattern),
            "write it percent-encoded; this location is missing from the result",
        );
        return Vec::new();
    }
    let (own, left) = block.beside(ground);
    if !left.is_empty() {
        draft.note(
            &location.place,
            format!("the site's {} holds here too", left.join(", ")),
            "write it in the routes that need it instead of in the site",
        );
    }
    let mut routes = Vec::new();
    if well_known {
        let path = format!("{{ regex = {} }}", draft::text(r"^/\.well-known(?:/[^./][^/]*)*/?$"));
        routes.push(Route { path, block: Block::default(), place: location.place.clone() });
    }
    routes.push(Route { path, block: own, place: location.place.clone() });
    routes
}

/// The pool that stands for nginx itself, where it goes on serving files or scripts.
fn stays(place: &Place, draft: &mut Draft) -> String {
    let name = "nginx";
    if !draft.pools.iter().any(|pool| pool.name == name) {
        let origins = vec![Origin { url: "http://127.0.0.1:8000".to_owned(), weight: 1, backup: false }];
        draft.pools.push(Pool {
            name: name.to_owned(),
            origins,
            keys: draft::Keys::default(),
            place: place.clone(),
        });
    }
    name.to_owned()
}

fn dollars(text: &str) -> String {
    text.replace('$', "$$")
}
