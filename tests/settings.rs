//! What settings mean and how mistakes in them are told.
//!
//! `config/bad/*.toml` stand beside what is said about them, `*.stderr`: without colour. Run with
//! `TIDEGATE_BLESS=1` to write the latter anew, and read the difference. `config/good/*.toml` have no mistake.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tidegate::config::Config;
use tidegate::config::check::{Surroundings, check};
use tidegate::config::effective::effective;
use tidegate::config::mistake::Mistakes;
use tidegate::config::plan::plan;

#[test]
fn every_mistake_is_told_at_its_place() {
    let bless = std::env::var_os("TIDEGATE_BLESS").is_some();
    let files = files("bad");
    assert!(files.len() >= 40, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let Err(mistakes) = read(&path) else { panic!("{} has no mistake", path.display()) };
        let told = mistakes.render(false);
        let expected = path.with_extension("stderr");
        if bless {
            fs::write(&expected, &told).expect("the golden file can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{}:\n{told}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nTIDEGATE_BLESS=1 writes them anew", wrong.join("\n"));
}

#[test]
fn every_mistake_points_at_text_and_says_what_to_write() {
    for path in files("bad") {
        let Err(mistakes) = read(&path) else { panic!("{} has no mistake", path.display()) };
        for mistake in mistakes.list() {
            let complaint = &mistake.complaint;
            let name = format!("{}: {}", path.display(), complaint.message);
            assert!(!complaint.help.is_empty() && !complaint.label.is_empty(), "{name}");
            assert!(!complaint.message.ends_with('.'), "{name}");
            assert!(
                mistakes.text().is_empty()
                    || mistake.absence
                    || complaint.code == "syntax"
                    || !mistake.span.is_empty(),
                "{name}"
            );
        }
    }
}

#[test]
fn the_effective_settings_mean_the_same_and_are_their_own_effective_form() {
    for path in files("good") {
        let config = good(&path);
        let written = effective(&config);
        let again = check("effective", &written, &around())
            .unwrap_or_else(|mistakes| panic!("{}:\n{written}\n{}", path.display(), mistakes.render(false)));
        assert_eq!(format!("{config:#?}"), format!("{again:#?}"), "{}", path.display());
        assert_eq!(written, effective(&again), "{}", path.display());
    }
}

#[test]
fn the_effective_settings_leave_nothing_out() {
    let file = |path: PathBuf| fs::read_to_string(path).expect("the file is there");
    let least = effective(&good(&Path::new(DIRECTORY).join("good/least.toml")));
    let every = file(Path::new(DIRECTORY).join("good/every_key.toml"));
    let sometimes = [
        "tls",
        "host",
        "health",
        "sticky",
        "server_name",
        "client_cert",
        "ca",
        "steer",
        "tokens",
        "disk",
        "bus",
        "parents",
        "key_file",
        "children_from",
        "match",
        "respond",
        "redirects",
        "database",
        "agents",
        "verified",
        "verified_files",
        "concurrency_others",
        "queue_max",
        "queue_timeout",
        "stale",
        "layout",
        "country",
        "continent",
        "region",
        "latitude",
        "longitude",
        "location",
        "proxy_protocol",
        "rotate",
        "streams_max",
        "rules",
        "library",
    ];
    for key in every.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key) {
        assert!(
            sometimes.contains(&key)
                || key == "path"
                || key == "methods"
                || least.contains(&format!("\n{key} = "))
                || least.starts_with(key),
            "`{key}` is missing from\n{least}"
        );
    }
}

/// Of every settings file that is good: there is no difference to itself, and to another one there is.
#[test]
fn what_is_different_is_told_and_what_is_the_same_is_not() {
    let least = good(&Path::new(DIRECTORY).join("good/least.toml"));
    let every = good(&Path::new(DIRECTORY).join("good/every_key.toml"));
    assert_eq!(plan(&least, &least), []);
    assert_eq!(plan(&every, &every), []);
    assert!(plan(&least, &every).len() > 20);
    let text = |change: &str| {
        format!(
            "node = \"n\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:80\"\n[pool.main]\norigins = \"http://a\"\n\
             [[site]]\nhosts = \"a\"\n[[site.route]]\npath = \"/1\"\n[[site.route]]\npath = \"/2\"\n{change}"
        )
    };
    let of = |text: &str| {
        check("t", text, &around()).unwrap_or_else(|wrong| panic!("{text}\n{}", wrong.render(false)))
    };
    for (claim, from, to, expected) in [
        (
            "a key of a pool",
            "origins = \"http://a\"",
            "origins = \"http://a\"\nconnect_timeout = \"9s\"",
            &["[pool.main]: connect_timeout: 3s → 9s"][..],
        ),
        (
            "a route more",
            "[[site.route]]\npath = \"/2\"",
            "[[site.route]]\npath = \"/2\"\n[[site.route]]\npath = \"/3\"",
            &["site a, route /3: added"],
        ),
        ("a route less", "[[site.route]]\npath = \"/2\"\n", "", &["site a, route /2: removed"]),
        (
            "the order of routes",
            "path = \"/1\"\n[[site.route]]\npath = \"/2\"",
            "path = \"/2\"\n[[site.route]]\npath = \"/1\"",
            &["sites: sites or routes stand in another order"],
        ),
        (
            "another host first is another site",
            "hosts = \"a\"",
            "hosts = \"b\"",
            &[
                "site a: removed",
                "site a, route /1: removed",
                "site a, route /2: removed",
                "site b: added",
                "site b, route /1: added",
                "site b, route /2: added",
            ],
        ),
        ("workers need a restart", "workers = 1", "workers = 2", &["the node: workers: 1 → 2 (restart)"]),
        (
            "a listener's address too",
            "127.0.0.1:80",
            "127.0.0.1:81",
            &["listener 127.0.0.1:80: removed (restart)", "listener 127.0.0.1:81: added (restart)"],
        ),
    ] {
        let changes = plan(&of(&text("")), &of(&text("").replace(from, to)));
        let told: Vec<_> = changes
            .iter()
            .map(|one| format!("{}: {}{}", one.place, one.what, if one.restart { " (restart)" } else { "" }))
            .collect();
        assert_eq!(told, expected, "{claim}");
    }
}

#[test]
fn tls_is_switched_by_a_restart_and_other_certificates_are_shown_without() {
    let every = good(&Path::new(DIRECTORY).join("good/every_key.toml"));
    let with = |change: &dyn Fn(&mut tidegate::config::Listener)| {
        let mut config = every.clone();
        config.listeners.iter_mut().filter(|listener| !listener.tls.is_empty()).for_each(change);
        config
    };
    let off = with(&|listener| listener.tls.clear());
    let other = with(&|listener| listener.tls.iter_mut().for_each(|pair| pair.cert = "/other.pem".into()));
    for (claim, from, to, restart) in [
        ("off", &every, &off, true),
        ("on", &off, &every, true),
        ("other certificates", &every, &other, false),
    ] {
        let changes = plan(from, to);
        assert!(!changes.is_empty(), "{claim}");
        assert!(changes.iter().all(|one| one.restart == restart), "{claim}: {changes:?}");
    }
}

/// A reload is told in logs, and to whoever may ask for one.
#[test]
fn what_is_different_does_not_tell_secrets() {
    let with = |secret: &str| {
        let text = format!(
            "[[listener]]\naddress = \":80\"\n[pool.main]\norigins = \"http://a\"\n[purge]\n\
             bus = {{ nats = \"nats://node:{secret}@broker:4222\" }}\n[[site]]\nhosts = \"a\"\n\
             request_headers = {{ set = {{ x-node-key = \"{secret}\" }} }}\n[[site.route]]\npath = \"/*\"\n"
        );
        check("t", &text, &around()).unwrap_or_else(|wrong| panic!("{text}\n{}", wrong.render(false)))
    };
    let changes = plan(&with("opensesame1"), &with("opensesame2"));
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(changes.iter().all(|change| !change.what.contains("opensesame")), "{changes:?}");
}

#[test]
fn the_nearest_that_is_written_decides() {
    let text = |cache: &str, site: &str, route: &str| {
        format!(
            "[[listener]]\naddress = \":80\"\n[pool.main]\norigins = \"http://a\"\n[cache]\n{cache}\n[[site]]\nhosts = \"*\"\n\
             preset = \"news\"\n{site}\n[[site.route]]\npath = \"/*\"\n{route}\n"
        )
    };
    for (claim, cache, site, route, expected) in [
        ("the preset, where nothing is written", "", "", "", 10),
        ("[cache] over the preset", "default_ttl = \"1s\"", "", "", 1),
        ("the site over [cache]", "default_ttl = \"1s\"", "default_ttl = \"2s\"", "", 2),
        (
            "the route over the site",
            "default_ttl = \"1s\"",
            "default_ttl = \"2s\"",
            "default_ttl = \"3s\"",
            3,
        ),
        (
            "what the site wrote stays when the route takes another preset",
            "",
            "default_ttl = \"2s\"",
            "preset = \"static\"",
            2,
        ),
        ("the route's preset, where nothing is written", "", "", "preset = \"static\"", 600),
    ] {
        let config = check("text", &text(cache, site, route), &around())
            .unwrap_or_else(|mistakes| panic!("{claim}: {mistakes}"));
        let ttl = config.sites[0].routes[0].policy.rules.default_ttl.map(|ttl| ttl.as_secs());
        assert_eq!(ttl, Some(expected), "{claim}");
    }
}

#[test]
fn paths_start_at_the_settings_file() {
    let config = good(&Path::new(DIRECTORY).join("good/interface.toml"));
    assert_eq!(config.listeners[0].tls[0].cert, Path::new("/etc/tidegate/www.pem"));
}

#[test]
fn scripts_get_line_and_column() {
    let Err(mistakes) = check("a.toml", "# ü\nnode = \"ü b\"\n", &around()) else {
        panic!("it has mistakes")
    };
    let json = mistakes.to_json();
    let at = json
        .as_array()
        .and_then(|list| list.iter().find(|one| one["code"] == "node-name"))
        .expect("it is told");
    assert_eq!((&at["file"], &at["line"], &at["column"]), (&"a.toml".into(), &2.into(), &8.into()));
}

proptest! {
    #[test]
    fn no_text_panics_the_checker(text in "(\\PC|\n){0,200}") {
        let _ = tell(&text);
    }

    #[test]
    fn no_mangled_settings_panic_the_checker(file in 0usize..100, cut in any::<prop::sample::Index>(), put in "[\\[\\]{}=\"'#.,a0\n-]{0,4}") {
        let files = [files("bad"), files("good")].concat();
        let text = fs::read_to_string(&files[file % files.len()]).expect("the file is there");
        let mut at = cut.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let end = (at..=text.len()).filter(|end| text.is_char_boundary(*end)).nth(put.len() / 2).unwrap_or(text.len());
        let mangled = format!("{}{put}{}", &text[..at], &text[end..]);
        if let Ok(config) = tell(&mangled) {
            let written = effective(&config);
            let again = tell(&written).map_err(|told| TestCaseError::fail(format!("{written}\n{told}")))?;
            prop_assert_eq!(written, effective(&again));
        }
    }
}

fn tell(text: &str) -> Result<Config, String> {
    check("text", text, &around()).map_err(|mistakes| mistakes.render(false))
}

fn good(path: &Path) -> Config {
    read(path).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)))
}

fn read(path: &Path) -> Result<Config, Mistakes> {
    let name = path.file_name().expect("it is a file").to_string_lossy();
    check(&name, &fs::read_to_string(path).expect("the file is there"), &around())
}

/// A machine that is the same everywhere: files are there unless they are called missing, or lie in `no`.
fn around() -> Surroundings {
    Surroundings {
        unfit: |_, key| key.ends_with("other.key").then(|| "the key is another's".to_owned()),
        host_name: "test-host\n".to_owned(),
        cores: 4,
        base: PathBuf::from("/etc/tidegate"),
        no_list: |path, _| {
            let wrong = path.to_string_lossy().contains("wrong");
            wrong.then(|| format!("{}, line 3: something is wrong; write something else", path.display()))
        },
        unreadable: |path| {
            let text = path.to_string_lossy();
            (text.contains("missing") || text.contains("/no/")).then(|| "does not exist".to_owned())
        },
        page: |path| {
            let is_there = !path.to_string_lossy().contains("missing");
            if is_there { Ok(b"a page".to_vec()) } else { Err("does not exist".to_owned()) }
        },
        no_modsecurity: |settings| {
            settings
                .library
                .contains("broken")
                .then(|| "cannot load `libbroken.so`: install the Debian package libmodsecurity3".to_owned())
        },
        no_database: |geo| {
            geo.database.to_string_lossy().contains("broken").then(|| {
                "no record of the geo database (X) has a country at country.iso_code or country_code"
                    .to_owned()
            })
        },
    }
}

fn files(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(DIRECTORY).join(kind)).expect("the directory is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config");
