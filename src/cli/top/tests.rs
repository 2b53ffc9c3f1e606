//! Screens of all sizes, drawn without a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::draw::draw;
use super::model::Model;

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it draws to memory");
    terminal.draw(|frame| draw(frame, model, "127.0.0.1:9180")).expect("it draws to memory");
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().chunks(usize::from(width));
    cells.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n").collect()
}

fn stat(at: u32) -> Value {
    json!({
        "node": "fra-1", "version": "0.1.0", "uptime_seconds": 3_600 + at, "ready": true, "requests": 120_000 + at,
        "cache": { "hit": 110_000, "miss": 9_000, "stale": 1_000 },
        "reasons": { "uri-miss": 9_000 + at * 5, "set-cookie": 12 },
        "codes": { "200": 119_000 + at, "404": 900, "502": 100 },
        "tiers": [
            { "tier": "memory", "bytes": 536_870_912, "bytes_max": 1_073_741_824, "objects": 51_234, "evictions": 77 },
            { "tier": "disk", "bytes": 10_737_418_240_u64, "bytes_max": 53_687_091_200_u64, "objects": 901_234, "evictions": 0 },
        ],
        "origins": [
            { "pool": "eu", "origin": "http://10.0.0.1:3000", "state": "healthy", "requests": 9_000, "failed": 0,
              "duration_us": { "p50": 25_000, "p99": 250_000 } },
            { "pool": "eu", "origin": "http://10.0.0.2:3000", "state": "ejected", "requests": 120, "failed": 100,
              "duration_us": { "p50": null, "p99": null } },
        ],
        "now": { "time": u64::from(at) * 1000, "requests": 1234.0 + f64::from(at), "hit_ratio": 0.93, "bytes": 15_000_000.0,
                 "bytes_from_cache": 14_000_000.0, "origin_requests": 86.4, "errors": 0.4, "evictions": 1.2,
                 "p50": 42, "p90": 900, "p99": 31_000 },
    })
}

fn busy() -> Model {
    let mut model = Model::default();
    for at in 0..30 {
        model.take("stat", &stat(at).to_string());
    }
    let one = |name: &str, requests: f64| json!({ "name": name, "requests": requests, "bytes": requests * 9_000.0, "hit_ratio": 0.98, "errors": 0.0 });
    let urls: Vec<_> =
        (1..40).map(|at| one(&format!("https://www.example.com/news/{at}"), 400.0 / f64::from(at))).collect();
    let top = json!({ "looked_at": 0.05, "urls": { "requests": urls, "bytes": urls, "fetches": [] }, "tags": [one("front", 300.0)] });
    model.take("top", &top.to_string());
    let error = json!({ "time": "2026-11-26T04:05:06.789Z", "scheme": "https", "host": "www.example.com", "path": "/cart\u{1b}[2J", "status": 502,
        "duration_us": 12_345, "reason": "connect", "origin": "http://10.0.0.2:3000" });
    model.take("errors", &json!([error]).to_string());
    model
}

fn press(model: &mut Model, keys: &str) {
    for key in keys.chars() {
        model.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
    }
}

fn shows(screen: &str, words: &[&str]) {
    for word in words {
        assert!(screen.contains(word), "`{word}` is missing in\n{screen}");
    }
}

#[test]
fn the_overview_has_all_that_matters() {
    let screen = screen(&busy(), 120, 40);
    shows(
        &screen,
        &[
            "fra-1",
            "up 1 h",
            "an origin is out",
            "1 Overview",
            "6 Errors",
            "1.2",
            "/s",
            "93.0 %",
            "42 µs",
            "99 % 31.0 ms",
        ],
    );
    shows(&screen, &["memory", "50.0%", "51234 objects", "10.0 GiB of 50.0 GiB", "evicted 1.2/s, 77 in all"]);
    shows(
        &screen,
        &["uri-miss", "10.0.0.2:3000", "ejected", "https://www.example.com/news/1", "estimated from 5.0 %"],
    );
    shows(&screen, &[" q ", "quit", "sort: requests", "pause", "? ", "help"]);
}

#[test]
fn every_view_is_drawn_in_every_size() {
    for keys in ["1", "2", "3", "4", "5", "6", "1s", "2ss", "3ss", "4sss", "5s", "6s", "p", "?"] {
        for model in [Model::default(), busy()] {
            let mut model = model;
            press(&mut model, keys);
            model.scroll = 1_000;
            for (width, height) in
                [(1, 1), (5, 2), (20, 5), (40, 12), (63, 40), (64, 16), (80, 24), (200, 60), (300, 4)]
            {
                let screen = screen(&model, width, height);
                assert!(!screen.contains('\u{1b}'), "{keys} {width}x{height}");
            }
        }
    }
}

#[test]
fn views_show_what_they_say() {
    let mut model = busy();
    for (keys, words) in [
        ("2", &["URLs by requests", "/news/1 ", "98.0 %"][..]),
        ("2s", &["URLs by bytes"]),
        ("2s", &["URLs by fetches", "Nothing was asked for yet."]),
        ("3", &["Tags by requests", "front"]),
        ("4", &["http://10.0.0.1:3000", "healthy", "25.0 ms", "sort: as written"]),
        ("5", &["Why not from the cache", "uri-miss", "5.0/s", "Status codes", "502"]),
        ("6", &["Recent errors", "04:05:06", "502", "connect", "12.3 ms", "/cart·[2J"]),
        ("?", &["Keys", "suspend, as elsewhere"]),
    ] {
        press(&mut model, keys);
        shows(&screen(&model, 120, 30), words);
    }
}

#[test]
fn a_small_terminal_has_the_first_numbers() {
    shows(&screen(&busy(), 40, 12), &["fra-1", "requests", "hits", "93.0 %", "42 µs / 31.0 ms", "memory"]);
    shows(&screen(&busy(), 20, 3), &["requests"]);
}

#[test]
fn what_a_tier_holds_is_whole_in_a_narrow_box() {
    for (width, told) in [(80, "512 MiB of 1.00 GiB "), (120, "512 MiB of 1.00 GiB, 51234 objects ")] {
        shows(&screen(&busy(), width, 24), &[told]);
    }
}

#[test]
fn silence_is_told() {
    let mut model = busy();
    model.trouble = Some("the node has ended".into());
    shows(&screen(&model, 100, 30), &["the node has ended", "fra-1"]);
    model.take("stat", &stat(31).to_string());
    assert!(!screen(&model, 100, 30).contains("has ended"));
    shows(&screen(&Model::default(), 100, 30), &["127.0.0.1:9180", "waiting", "No pools are configured."]);
}
