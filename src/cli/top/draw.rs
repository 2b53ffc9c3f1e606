//! The screen: a head, the view that is chosen, and the keys.
//!
//! ```text
//! Tidegate fra-1 · 0.1.0 · up 3 h                                    ● serving
//! [1 Overview] 2 URLs  3 Tags  4 Pools  5 Reasons  6 Errors
//! … the view (`views.rs`) …
//! q quit  Tab view  s sort: requests  p pause  ↑↓ scroll  ? help
//! ```
//!
//! A terminal that is too small for that is told the numbers that matter most, a line each, and as many as it has lines for.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::model::{Model, Tab, list, number, word};
use super::{views, words};

pub(super) const SEA: Color = Color::Cyan;
pub(super) const WARM: Color = Color::Yellow;
pub(super) const GOOD: Color = Color::Green;
pub(super) const BAD: Color = Color::Red;
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws everything; `address` is where the node is.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, address: &str) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        frame.render_widget(Paragraph::new(small(model, address)), area);
        return;
    }
    let [head, tabs, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, model, address, head);
    frame.render_widget(Paragraph::new(titles(model.tab)), tabs);
    views::draw(frame, model, body);
    frame.render_widget(Paragraph::new(key_line(model)), keys);
    if model.help {
        draw_help(frame, body);
    }
}

fn draw_head(frame: &mut Frame<'_>, model: &Model, address: &str, area: Rect) {
    let state = state(model);
    #[allow(clippy::cast_possible_truncation)] // cut by the screen anyway
    let width = state.width() as u16;
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
    let node = words::plain(word(&model.stat, "/node"));
    let about = if node.is_empty() {
        format!(" {address}")
    } else {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole seconds
        let up = words::span(number(&model.stat, "/uptime_seconds") as u64);
        format!(" · {} · up {up}", words::plain(word(&model.stat, "/version")))
    };
    let title = Line::from(vec![
        Span::styled("Tidegate ", BOLD.fg(SEA)),
        Span::styled(node, BOLD),
        Span::styled(about, DIM),
    ]);
    frame.render_widget(Paragraph::new(title), left);
    frame.render_widget(Paragraph::new(state), right);
}

/// How it stands with the node, in a word or two.
fn state(model: &Model) -> Line<'static> {
    let (colour, text) = if let Some(trouble) = &model.trouble {
        (BAD, words::plain(trouble))
    } else if model.paused {
        (WARM, "paused".to_owned())
    } else if model.stat.is_null() {
        (WARM, "waiting".to_owned())
    } else if model.stat.pointer("/ready").and_then(serde_json::Value::as_bool) == Some(false) {
        (BAD, "not ready".to_owned())
    } else {
        match list(&model.stat, "/origins").filter(|one| is_out(word(one, "/state"))).count() {
            0 => (GOOD, "serving".to_owned()),
            1 => (WARM, "serving, an origin is out".to_owned()),
            out => (WARM, format!("serving, {out} origins are out")),
        }
    };
    Line::from(vec![Span::styled("● ", Style::new().fg(colour)), Span::raw(text), Span::raw(" ")])
}

/// Whether an origin in this state is left out though nobody said so.
pub(super) fn is_out(state: &str) -> bool {
    matches!(state, "ejected" | "unhealthy")
}

fn titles(chosen: Tab) -> Line<'static> {
    let mut spans = Vec::new();
    for (at, tab) in Tab::ALL.into_iter().enumerate() {
        let style = if tab == chosen { BOLD.add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(format!(" {} {} ", at + 1, tab.title()), style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn key_line(model: &Model) -> Line<'static> {
    let sort = format!("sort: {}", model.sorted_by());
    let pause = if model.paused { "go on" } else { "pause" };
    let keys = [("q", "quit"), ("Tab", "view"), ("s", &*sort), ("p", pause), ("↑↓", "scroll"), ("?", "help")];
    let mut spans = Vec::new();
    for (key, does) in keys {
        spans.push(Span::styled(format!(" {key} "), BOLD.add_modifier(Modifier::REVERSED)));
        spans.push(Span::raw(format!(" {does}  ")));
    }
    Line::from(spans)
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, does)| {
            Line::from(vec![Span::styled(format!(" {keys:<16}"), BOLD.fg(SEA)), Span::raw(*does)])
        })
        .collect();
    #[allow(clippy::cast_possible_truncation)] // some lines
    let height = (lines.len() as u16 + 2).min(area.height);
    let width = 62.min(area.width);
    let box_ =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, box_);
    let block = Block::bordered().title(" Keys ").border_style(Style::new().fg(SEA));
    frame.render_widget(Paragraph::new(lines).block(block), box_);
}

/// What a small terminal is told, most important first.
fn small(model: &Model, address: &str) -> Vec<Line<'static>> {
    let line = |name: &str, value: String| {
        Line::from(vec![Span::styled(format!("{name:<9}"), DIM), Span::styled(value, BOLD)])
    };
    if model.help {
        let keys = HELP.iter().map(|(keys, does)| Line::from(format!("{keys}: {does}")));
        return keys.collect();
    }
    let lately = |name: &str| model.lately(name).unwrap_or_default();
    let mut lines = vec![
        line("requests", format!("{}/s", words::rate(lately("requests")))),
        line("hits", words::share(model.lately("hit_ratio"))),
        line("5xx", format!("{}/s", words::rate(lately("errors")))),
        line("time", format!("{} / {}", words::time(model.lately("p50")), words::time(model.lately("p99")))),
        line("origins", format!("{}/s", words::rate(lately("origin_requests")))),
        line("sent", format!("{}/s", words::bytes(lately("bytes")))),
    ];
    let name = words::plain(word(&model.stat, "/node"));
    let mut first = state(model);
    first.spans.push(Span::styled(if name.is_empty() { address.to_owned() } else { name }, BOLD));
    lines.insert(0, first);
    lines.extend(list(&model.stat, "/tiers").map(|tier| {
        let used = format!(
            "{} of {}",
            words::bytes(number(tier, "/bytes")),
            words::bytes(number(tier, "/bytes_max"))
        );
        line(word(tier, "/tier"), used)
    }));
    lines.extend(list(&model.stat, "/origins").map(|origin| {
        Line::from(format!(
            "{} {}",
            words::plain(word(origin, "/state")),
            words::plain(word(origin, "/origin"))
        ))
    }));
    lines.push(Line::styled("q quit  p pause  ? help", DIM));
    lines
}

/// What each key does.
const HELP: &[(&str, &str)] = &[
    ("q, Esc, Ctrl-C", "quit"),
    ("Tab → ← 1…6", "another view"),
    ("s, S", "sort by the next measure, or the one before"),
    ("p, Space", "hold what is shown, and go on"),
    ("↑ ↓ PgUp PgDn", "scroll; Home goes back to the top"),
    ("Ctrl-Z", "suspend, as elsewhere"),
    ("?, h", "this"),
    ("", ""),
    ("requests, hits", "of the last five seconds"),
    ("URLs and tags", "of the last minutes, fading by half in one"),
    ("fetches", "requests that went on to an origin"),
];
/// Below it only some numbers are shown.
const WIDTH_MIN: u16 = 64;
const HEIGHT_MIN: u16 = 16;
