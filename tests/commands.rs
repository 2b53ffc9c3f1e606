//! The `tidegate` command as people and scripts meet it: what goes where, exit codes, what is refused and how.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Exit code, standard output, standard error.
fn tidegate(arguments: &[&str]) -> (i32, String, String) {
    ended(command(arguments).output().expect("the command starts"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_remove("TIDEGATE_ADMIN").env_remove("TIDEGATE_TOKEN").stdin(Stdio::null());
    command
}

fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    (output.status.code().expect("it exits by itself"), text(output.stdout), text(output.stderr))
}

fn settings(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name).display().to_string()
}

#[test]
fn commands_end_with_their_codes_and_talk_on_standard_error() {
    let good = settings("good/least.toml");
    let bad = settings("bad/site_none.toml");
    for (claim, arguments, code, said) in [
        ("no argument is a usage error", &[][..], 2, "Usage:"),
        ("an unknown command is a usage error", &["porxy"], 2, "unrecognized subcommand"),
        ("a good file passes", &["check", &good], 0, "no mistakes; 1 site, 1 pool"),
        ("-t checks too", &["-t", &good], 0, "no mistakes"),
        ("a bad file is told", &["check", &bad], 2, "there is no site"),
        ("a node does not start on a bad file", &["run", "--config", &bad], 2, "there is no site"),
        ("a file that is not there is told", &["check", "/no/such.toml"], 2, "cannot read /no/such.toml"),
        ("no effective form of a bad file", &["config", "--effective", &bad], 2, "there is no site"),
        ("proxy needs an origin", &["proxy"], 2, "--to <URL>"),
        (
            "a wrong origin is told at its flag",
            &["proxy", "--to", "localhost:3000"],
            2,
            "write \"http://localhost:3000\"",
        ),
        (
            "a wrong address is told",
            &["proxy", "--to", "http://a", "--from", "here"],
            2,
            "`here` is not an address",
        ),
        ("a wrong size is told", &["proxy", "--to", "http://a", "--memory", "1"], 2, "write \"1MiB\""),
        (
            "a wrong preset is told",
            &["proxy", "--to", "http://a", "--preset", "new"],
            2,
            "did you mean \"news\"?",
        ),
        (
            "a disk without a size is told",
            &["proxy", "--to", "http://a", "--disk", "cache"],
            2,
            "--disk-size <SIZE>",
        ),
        ("a purge of nothing is refused", &["purge"], 2, "nothing to purge"),
        ("a purge of a path is refused", &["purge", "/news"], 2, "`/news` cannot be purged"),
        ("a purge of two tags in one is refused", &["purge", "--tag", "a b"], 2, "`a b` cannot be purged"),
        ("a host has no port", &["purge", "--host", "a:80"], 2, "purged on all its ports: write `a`"),
        ("a prefix has no query", &["purge", "--prefix", "http://a/?x"], 2, "a prefix ends with its path"),
        ("all mistakes are told at once", &["purge", "/x", "--tag", ""], 2, "an empty tag"),
        ("everything stands by itself", &["purge", "--everything", "http://a/"], 2, "stands by itself"),
        ("a deploy has a site", &["purge", "--directory", "."], 2, "a deploy needs its site"),
        (
            "a deploy has a manifest",
            &["purge", "--site", "http://a/", "http://a/"],
            2,
            "--site belongs to a deploy",
        ),
        (
            "a manifest that is not there is told",
            &["purge", "--manifest", "/no/build.json", "--site", "http://a"],
            2,
            "cannot read the manifest /no/build.json",
        ),
        (
            "a deploy purges nothing else",
            &["purge", "--directory", ".", "--site", "http://a", "--tag", "a"],
            2,
            "without anything else to purge",
        ),
        ("an explanation of a path is refused", &["explain", "/news"], 2, "`/news` cannot be explained"),
        ("no node, no counters", &["stat", "--admin", "127.0.0.1:1"], 1, "no node answers at 127.0.0.1:1"),
        ("no node, no purge", &["purge", "--admin", ":1", "http://a/"], 1, "is it running?"),
        ("top needs a terminal", &["top"], 2, "tidegate stat --watch"),
        ("no node to stop", &["stop", "--admin", "127.0.0.1:1"], 1, "no node answers"),
        ("no address is told", &["stat", "--admin", "nowhere"], 2, "`nowhere` is not an admin address"),
        ("no token file is told", &["stat", "--token-file", "/no/token"], 2, "cannot read the token file"),
    ] {
        let (got, out, err) = tidegate(arguments);
        assert_eq!(got, code, "{claim}: {err}");
        assert!(err.contains(said), "{claim}: {err}");
        assert!(out.is_empty(), "{claim}: {out}");
        assert!(!err.contains('\u{1b}'), "{claim}: colour without a terminal");
    }
}

#[test]
fn without_a_file_the_places_that_were_looked_at_are_named() {
    let empty = tempfile("empty");
    let output = command(&["run"]).current_dir(&empty).output().expect("the command starts");
    let (code, _, err) = ended(output);
    assert_eq!(code, 2);
    assert!(err.contains("tried tidegate.toml and /etc/tidegate/tidegate.toml"), "{err}");
    assert!(err.contains("tidegate proxy --to"), "{err}");
}

#[test]
fn help_shows_examples_and_only_what_works() {
    let (code, out, _) = tidegate(&["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("tidegate proxy --to http://127.0.0.1:3000"), "{out}");
    assert!(out.contains("  top ") && out.contains("  upgrade "), "{out}");
    let (_, out, _) = tidegate(&["proxy", "--help"]);
    assert!(out.contains("--memory <SIZE>") && out.contains("--disk <DIR>"), "{out}");
}

#[test]
fn the_effective_settings_can_be_checked_and_say_the_same_again() {
    let (code, first, _) = tidegate(&["config", "--effective", &settings("good/least.toml")]);
    assert_eq!(code, 0);
    let path = tempfile("effective").join("tidegate.toml");
    std::fs::write(&path, &first).expect("it can be written");
    let (code, second, _) = tidegate(&["config", "--effective", path.to_str().expect("a plain path")]);
    assert_eq!((code, second), (0, first));
}

#[test]
fn a_signed_url_says_until_when_and_what_cannot_be_signed_is_told() {
    let directory = tempfile("sign");
    let key = directory.join("key");
    std::fs::write(&key, "0123456789abcdef\n").expect("it is written");
    let key = key.to_str().expect("a plain path");
    let url = "http://www.example.com/video.mp4?a=1&b=2";
    let (code, out, _) =
        tidegate(&["sign", url, "--key-file", key, "--key-id", "2026", "--until", "1793611200"]);
    // What openssl makes of the documented text.
    let signature = "5D3oWLIwnG9r8MdPYRbbEgLnoTtY56GPoSoKDNSlGrc";
    assert_eq!((code, out), (0, format!("{url}&expires=1793611200&signature={signature}&key_id=2026\n")));
    let (code, out, _) = tidegate(&["sign", url, "--key-file", key, "--for", "1h"]);
    assert!(code == 0 && out.contains("&expires=") && out.contains("&signature="), "{out}");
    for (claim, arguments, said) in [
        ("no end", &["sign", url, "--key-file", key][..], "--for"),
        ("an end that is none", &["sign", url, "--key-file", key, "--for", "soon"], "soon"),
        ("no key", &["sign", url, "--key-file", "/no/such/key", "--for", "1h"], "/no/such/key"),
        ("no URL", &["sign", "www.example.com/x", "--key-file", key, "--for", "1h"], "http://"),
        (
            "signed already",
            &["sign", "http://a/?signature=x", "--key-file", key, "--for", "1h"],
            "`signature` already",
        ),
        (
            "a key's name that no URL holds",
            &["sign", url, "--key-file", key, "--for", "1h", "--key-id", "a b"],
            "a b",
        ),
    ] {
        let (code, out, told) = tidegate(arguments);
        assert!(code == 2 && out.is_empty() && told.contains(said), "{claim}: {code}, {out}, {told}");
    }
}

#[test]
fn mistakes_can_be_had_as_json() {
    let (code, out, err) = tidegate(&["check", "--json", &settings("bad/pool_unknown.toml")]);
    let list: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((code, err.as_str()), (2, ""));
    assert_eq!(list[0]["code"], "unknown-pool");
    assert_eq!((&list[0]["line"], &list[0]["column"]), (&12.into(), &8.into()));
    let (code, out, _) = tidegate(&["check", "--json", &settings("good/least.toml")]);
    assert_eq!((code, out.trim()), (0, "[]"));
}

#[test]
fn a_port_in_use_is_told_with_its_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, out, err) =
        tidegate(&["proxy", "--to", "http://127.0.0.1:1", "--from", &address, "--admin", "off"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("is in use already"), "{err}");
    assert!(err.contains("--from"), "{err}");
}

#[test]
fn a_node_serves_answers_its_clients_commands_and_ends_when_told() {
    let (origin, answering) = origin();
    let mut node = Node::start(&[
        "proxy",
        "--to",
        &format!("http://{origin}"),
        "--from",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    let url = format!("http://{}/page", node.address);
    assert!(node.get("/page").contains("fwd=uri-miss"));
    assert!(node.get("/page").contains("; hit"));
    let ask = |arguments: &[&str]| {
        let output =
            command(arguments).env("TIDEGATE_ADMIN", &node.admin).output().expect("the command starts");
        ended(output)
    };
    let (code, out, err) = ask(&["explain", &url]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("decision"), "{out}");
    assert!(out.contains("hit: answered from the cache"), "{out}");
    let (code, out, err) = ask(&["purge", &url]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("forgot 1 stored response under 1 URL"), "{out}");
    let (code, out, err) = ask(&["stat", "--json"]);
    let stat: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((code, &stat["requests"]), (0, &2.into()), "{err}{out}");
    let (code, out, _) = ask(&["stat"]);
    assert!(code == 0 && out.contains("hit 1, miss 1"), "{out}");
    let (code, _, err) = ask(&["stop"]);
    assert_eq!(code, 0, "{err}");
    assert!(node.child.wait().expect("it ends").success());
    drop(answering);
}

#[test]
fn settings_are_planned_reloaded_and_refused() {
    let file = tempfile("reload").join("tidegate.toml");
    let path = file.to_str().expect("a plain path").to_owned();
    let write = |site: &str| {
        let text = format!(
            "node = \"n1\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
             [pool.main]\norigins = [\"http://127.0.0.1:1\"]\n[[site]]\nhosts = [\"*\"]\n{site}"
        );
        std::fs::write(&file, text).expect("it can be written");
    };
    write("");
    let node = Node::start(&["run", "--config", &path]);
    let at_node = |words: &[&str]| tidegate(&[words, &["--admin", &node.admin]].concat());
    assert_eq!(at_node(&["reload"]), (0, "reloaded: nothing has changed\n".to_owned(), String::new()));
    write("x_cache = true\n");
    let (code, out, err) = at_node(&["plan", &path]);
    assert_eq!((code, out.as_str()), (0, "site *: x_cache: false → true\n"), "{err}");
    assert!(!node.get("/x").contains("x-cache"), "a plan changes nothing");
    let (code, out, _) = at_node(&["reload", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((code, &told["restart"], &told["changes"][0]["place"]), (0, &false.into(), &"site *".into()));
    // Two mistakes, both told, wherever it is asked for.
    write("x_cach = true\nstale_if_error = 1\n");
    let (code, _, err) = at_node(&["reload"]);
    assert_eq!(code, 2, "{err}");
    for said in ["did you mean `x_cache`?", "like \"1s\"", "2 mistakes in the settings; those in force stay"]
    {
        assert!(err.contains(said), "{said} is not in {err}");
    }
    assert_eq!(at_node(&["plan", &path]).0, 2);
    node.signal("HUP");
    let said = node.says("nothing was reloaded");
    assert!(said.contains("the settings in force stay"), "{said}");
    write("x_cache = true\n[cache]\nmemory = \"32MiB\"\n");
    node.signal("HUP");
    assert!(node.says("HUP: reloaded").contains("1 need a restart"));
    let (_, out, _) = at_node(&["plan", &path]);
    assert_eq!(
        out,
        "[cache]: memory: 256MiB → 32MiB  (needs a restart)\n`tidegate upgrade` takes up what needs a restart as well, and loses no request\n"
    );
}

#[test]
fn requests_are_watched_as_they_end_also_where_no_log_is_written() {
    let file = tempfile("watched").join("tidegate.toml");
    let text = "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
                [pool.main]\norigins = [\"http://127.0.0.1:1\"]\n[[site]]\nhosts = [\"*\"]\n";
    std::fs::write(&file, text).expect("it can be written");
    let node = Node::start(&["run", "--config", file.to_str().expect("a plain path")]);
    let watch = |words: &[&str], until: &str| {
        let mut watching = command(&[words, &["--admin", &node.admin]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        let lines = BufReader::new(watching.stdout.take().expect("it is a pipe")).lines();
        let (says, said) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(says.send(line))));
        let mut seen = Vec::new();
        // Whoever watches sees what ends from then on.
        for _ in 0..300 {
            node.get("/news/1");
            node.get("/other");
            while let Ok(line) = said.recv_timeout(Duration::from_millis(100)) {
                seen.push(line);
            }
            if seen.iter().any(|line| line.contains(until)) {
                break;
            }
        }
        let _ = watching.kill();
        let _ = watching.wait();
        assert!(seen.iter().any(|line| line.contains(until)), "{until} is not in {seen:?}");
        seen
    };
    let lines = watch(&["log", "--path", "/news/*", "--status", "5xx"], "/news/1 (connect)");
    assert!(lines.iter().all(|line| line.contains("/news/1") && line.contains(" 502 ")), "{lines:?}");
    watch(&["log", "--cache", "!hit,stale", "--status", "404,502", "--host", "*"], "/other (connect)");
    let lines = watch(&["log", "--json", "--path", "/other"], "\"path\":\"/other\"");
    assert!(lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines:?}");
    watch(&["stat", "--watch"], "requests/s");
    let (code, _, err) = tidegate(&["log", "--status", "6xx", "--admin", &node.admin]);
    assert!(code == 2 && err.contains("404 or 5xx"), "{code} {err}");
    let (code, _, err) = tidegate(&["log", "--cache", "hits", "--admin", &node.admin]);
    assert!(code == 2 && err.contains("hit, stale"), "{code} {err}");
}

#[test]
fn a_purge_names_what_it_takes_and_a_deploy_finds_it() {
    let (origin, answering) = origin();
    let node = Node::start(&[
        "proxy",
        "--to",
        &format!("http://{origin}"),
        "--from",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    let ask = |arguments: &[&str]| {
        let output =
            command(arguments).env("TIDEGATE_ADMIN", &node.admin).output().expect("the command starts");
        ended(output)
    };
    let site = format!("http://{}", node.address);
    for (claim, arguments, told) in [
        ("a prefix", &["purge", "--prefix", &site][..], "forgot what is stored under 1 prefix; purge 1\n"),
        (
            "a host",
            &["purge", "--soft", "--host", "127.0.0.1"],
            "made stale what is stored under 1 host; purge 2\n",
        ),
        ("tags", &["purge", "--tag", "a", "--tag", "b"], "forgot what is stored under 2 tags; purge 3\n"),
        (
            "kinds mixed",
            &["purge", &site, "--tag", "a"],
            "forgot what is stored under 1 URL, 1 tag; purge 4\n",
        ),
        (
            "everything",
            &["purge", "--everything", "--wait", "fleet"],
            "forgot what is stored under everything; purge 5\n",
        ),
        (
            "a dry run",
            &["purge", "--everything", "--dry-run"],
            "would forget 0 stored responses (0 B) under everything\n",
        ),
    ] {
        let (code, out, err) = ask(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{claim}");
        // A broad purge counts what it takes, one such purge a second; here it is nothing.
        let uncounted = out.replace("forgot 0 stored responses", "forgot what is stored");
        let uncounted = uncounted.replace("made stale 0 stored responses", "made stale what is stored");
        assert!(uncounted.starts_with(told), "{claim}: {out}");
        assert_eq!(out.contains("applied after"), !arguments.contains(&"--dry-run"), "{claim}: {out}");
    }
    let told = "audit: purged";
    let line = std::iter::from_fn(|| node.said.recv_timeout(Duration::from_secs(10)).ok())
        .find(|line| line.contains(told));
    let line = line.expect("each purge is told in the operator's log");
    for part in ["at=\"20", "by=\"loopback\"", "client=127.0.0.1", "sequence=1", "what=\"the prefix `http://"]
    {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    let (code, out, _) = ask(&["purge", "--json", "--tag", "a"]);
    let receipt: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((code, &receipt["scope"], &receipt["sequence"]), (0, &"tag".into(), &6.into()));
    let (code, _, err) =
        ask(&["purge", "--host", "127.0.0.1", "--prefix", "http://a/", "--token-file", "/no"]);
    assert_eq!(code, 2, "{err}");

    let public = tempfile("public");
    let page = |text: &str| std::fs::write(public.join("index.html"), text).expect("it can be written");
    let deploy = |more: &[&str]| {
        let directory = public.to_str().expect("a plain path");
        ask(&[&["purge", "--directory", directory, "--site", &site], more].concat())
    };
    page("one");
    let (code, out, err) = deploy(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("1 new, 0 changed") && out.contains("the first deploy that this node has seen"),
        "{out}"
    );
    assert_eq!(deploy(&[]).1, "nothing to purge: 1 file unchanged\n");
    assert!(node.get("/").contains("fwd=uri-miss") && node.get("/").contains("; hit"));
    page("two");
    let (code, out, _) = deploy(&["--dry-run"]);
    assert!(
        code == 0 && out.contains("would make stale 1 stored response") && out.contains("~ index.html"),
        "{out}"
    );
    assert!(node.get("/").contains("; hit"));
    let (code, out, err) = deploy(&["--hard", "--warm", "--through", &site]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("forgot 1 stored response"), "{out}");
    assert_eq!(err, "warmed 1 of 1\n");
    assert!(node.get("/").contains("; hit"), "it was asked for before the first visitor came");
    drop(answering);
}

/// A node in a process of its own; killed if the test leaves it.
struct Node {
    child: Child,
    address: String,
    admin: String,
    /// What it says after its start.
    said: mpsc::Receiver<String>,
}

impl Node {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the node starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        let mut told = |word: &str| {
            let line = lines
                .by_ref()
                .map_while(Result::ok)
                .find(|line| line.contains(word))
                .expect("it tells where it is");
            line.rsplit("//").next().expect("a URL").trim_end_matches('/').to_owned()
        };
        let (address, admin) = (told("serving on"), told("admin on"));
        // What it says later is read, so that it never waits for us.
        let (says, said) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(says.send(line))));
        Self { child, address, admin, said }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// The line with these words that it says next.
    fn says(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(30)).expect("it says so");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).expect("the node listens");
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)
            .expect("the node reads");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("the node answers");
        text
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An origin that answers everything alike.
fn origin() -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let answering = std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(socket.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let answer = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            if socket.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (address, answering)
}

/// A directory of the test's own.
fn tempfile(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).expect("it can be made");
    path
}
