//! The views: boxes of the overview, and a table for each of the others.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::draw::{BAD, BOLD, DIM, GOOD, SEA, WARM, is_out};
use super::model::{Counted, Model, Tab, list, number, word};
use super::words;

/// Draws the view that is chosen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    match model.tab {
        Tab::Overview => overview(frame, model, area),
        Tab::Urls => names(frame, model, "URLs", "Nothing was asked for yet.", &urls(model), area),
        Tab::Tags => names(frame, model, "Tags", "Nothing with tags was asked for.", &model.tags(), area),
        Tab::Pools => pools(frame, model, area),
        Tab::Reasons => {
            let [left, right] = halves(area);
            let none = "Everything came from the cache, or nothing was asked for.";
            counted(frame, "Why not from the cache", none, &model.counted("reasons"), model.scroll, left);
            counted(frame, "Status codes", "No answers yet.", &model.counted("codes"), model.scroll, right);
        }
        Tab::Errors => errors(frame, model, area),
    }
}

fn urls(model: &Model) -> Vec<&Value> {
    list(&model.top, &format!("/urls/{}", model.sorted_by())).collect()
}

fn overview(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let (top, middle) = if area.height >= 26 { (6, 8) } else { (5, 6) };
    let [tiles, store, rest] =
        Layout::vertical([Constraint::Length(top), Constraint::Length(middle), Constraint::Fill(1)])
            .areas(area);
    let [requests, hits, sent, time] = Layout::horizontal([Constraint::Fill(1); 4]).areas(tiles);
    let lately = |name: &str| model.lately(name).unwrap_or_default();
    let rate = |name: &str| format!("{}/s", words::rate(lately(name)));
    let bad = if lately("errors") > 0.0 { format!("{} 5xx", rate("errors")) } else { "no 5xx".to_owned() };
    tile(frame, model, "Requests", &rate("requests"), &bad, ("requests", None, SEA), requests);
    let origins = format!("{} to origins", rate("origin_requests"));
    tile(
        frame,
        model,
        "Hit ratio",
        &words::share(model.lately("hit_ratio")),
        &origins,
        ("hit_ratio", Some(1.0), GOOD),
        hits,
    );
    let spared =
        Some(lately("bytes")).filter(|bytes| *bytes > 0.0).map(|bytes| lately("bytes_from_cache") / bytes);
    let saved = format!("{} saved", words::share(spared));
    tile(
        frame,
        model,
        "Sent",
        &format!("{}/s", words::bytes(lately("bytes"))),
        &saved,
        ("bytes", None, SEA),
        sent,
    );
    let p99 = format!("99 % {}", words::time(model.lately("p99")));
    tile(frame, model, "Half within", &words::time(model.lately("p50")), &p99, ("p50", None, WARM), time);

    // On a narrow screen the longest words need a third each.
    let parts = if area.width < NARROW { [34, 33, 33] } else { [38, 28, 34] };
    let [tiers, outcomes, reasons] = Layout::horizontal(parts.map(Constraint::Percentage)).areas(store);
    draw_tiers(frame, model, tiers);
    draw_outcomes(frame, model, outcomes);
    let none = "Everything came from the cache.";
    counted(frame, "Misses by reason", none, &model.counted("reasons"), 0, reasons);

    let origins = model.origins().len();
    #[allow(clippy::cast_possible_truncation)] // a screen has no more lines
    let pool_lines = (origins as u16 + 3).min(rest.height / 2).max(4);
    let [pools_area, names_area] =
        Layout::vertical([Constraint::Length(pool_lines), Constraint::Fill(1)]).areas(rest);
    pools(frame, model, pools_area);
    names(frame, model, "URLs", "Nothing was asked for yet.", &urls(model), names_area);
}

fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1); 2]).areas(area)
}

fn boxed(title: &str) -> Block<'static> {
    Block::bordered().border_style(DIM).title(Span::styled(format!(" {title} "), BOLD))
}

/// A number, what it was in the last minutes, and what goes with it. `of`: which one, what counts as all, its colour.
fn tile(
    frame: &mut Frame<'_>,
    model: &Model,
    title: &str,
    value: &str,
    beside: &str,
    of: (&str, Option<f64>, Color),
    area: Rect,
) {
    let block = boxed(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(inner);
    frame.render_widget(Paragraph::new(Line::styled(value.to_owned(), BOLD.fg(of.2))), top);
    frame.render_widget(Paragraph::new(Line::styled(beside.to_owned(), DIM)), bottom);
    let seconds: Vec<f64> = model.seconds(of.0).rev().take(usize::from(middle.width)).collect();
    let most =
        of.1.unwrap_or_else(|| seconds.iter().copied().filter(|one| one.is_finite()).fold(0.0, f64::max));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a part of a thousand
    let bars: Vec<Option<u64>> = seconds
        .iter()
        .rev()
        .map(|one| (one.is_finite() && most > 0.0).then(|| (one / most * 1000.0) as u64))
        .collect();
    let line =
        Sparkline::default().data(bars).max(1000).style(Style::new().fg(of.2)).absent_value_symbol(" ");
    // Now is at the right, also before there is much.
    let shown = u16::try_from(seconds.len()).unwrap_or(u16::MAX).min(middle.width);
    let place = Rect { x: middle.x + middle.width - shown, width: shown, ..middle };
    frame.render_widget(line, place);
}

fn draw_tiers(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let block = boxed("Tiers");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut lines = Vec::new();
    for tier in list(&model.stat, "/tiers") {
        let (held, most) = (number(tier, "/bytes"), number(tier, "/bytes_max"));
        let used = if most > 0.0 { held / most } else { 0.0 };
        let width = usize::from(inner.width).saturating_sub(15).min(24);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        // a part of a line
        let full = (used * width as f64).round() as usize;
        lines.push(Line::from(vec![
            Span::raw(format!("{:<7}", word(tier, "/tier"))),
            Span::styled("━".repeat(full.min(width)), Style::new().fg(SEA)),
            Span::styled("─".repeat(width - full.min(width)), DIM),
            Span::raw(format!(" {:>5.1}%", used * 100.0)),
        ]));
        let filled = format!("{} of {}", words::bytes(held), words::bytes(most));
        let objects = words::count(number(tier, "/objects"));
        // As much as fits: a narrow box would cut it within a number.
        let told = [format!("       {filled}, {objects} objects"), format!("{filled}, {objects} objects")];
        let told = told.into_iter().find(|told| told.chars().count() <= usize::from(inner.width));
        lines.push(Line::styled(told.unwrap_or(filled), DIM));
    }
    let evicted: f64 = list(&model.stat, "/tiers").map(|tier| number(tier, "/evictions")).sum();
    let lately = words::rate(model.lately("evictions").unwrap_or_default());
    lines.push(Line::from(format!("evicted {lately}/s, {} in all", words::count(evicted))));
    frame.render_widget(Paragraph::new(lines), inner);
}

fn draw_outcomes(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let mut all: Vec<(String, f64)> = model
        .stat
        .pointer("/cache")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, count)| Some((name.clone(), count.as_f64().filter(|count| *count > 0.0)?)))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum: f64 = all.iter().map(|(_, count)| count).sum();
    let rows = all.iter().map(|(name, count)| {
        let colour = match &**name {
            "hit" | "stale" | "collapsed" => GOOD,
            "miss" | "pass" => WARM,
            _ => Color::Reset,
        };
        Row::new([
            Cell::new(name.clone()).style(Style::new().fg(colour)),
            right(words::count(*count)),
            right(words::share(Some(count / sum.max(1.0)))),
        ])
    });
    let widths = [Constraint::Fill(1), Constraint::Length(6), Constraint::Length(7)];
    frame.render_widget(Table::new(rows, widths).block(boxed("What the cache did")), area);
}

fn counted(frame: &mut Frame<'_>, title: &str, none: &str, all: &[Counted], scroll: usize, area: Rect) {
    if all.is_empty() {
        nothing(frame, title, none, area);
        return;
    }
    let rows = all.iter().skip(scroll.min(all.len() - 1)).map(|one| {
        let colour = if one.name.starts_with('5') { BAD } else { Color::Reset };
        Row::new([
            Cell::new(words::plain(&one.name)).style(Style::new().fg(colour)),
            right(one.rate.map_or_else(|| "–".to_owned(), |rate| format!("{}/s", words::rate(rate)))),
            right(words::count(one.count)),
        ])
    });
    // Where there is little room, the name and how often now.
    let total = if area.width < NARROW / 3 { 0 } else { 8 };
    let widths = [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(total)];
    frame.render_widget(Table::new(rows, widths).block(boxed(title)), area);
}

fn names(frame: &mut Frame<'_>, model: &Model, title: &str, none: &str, all: &[&Value], area: Rect) {
    let title = format!("{title} by {}", model.sorted_by());
    if all.is_empty() {
        nothing(frame, &title, none, area);
        return;
    }
    let width = usize::from(area.width).saturating_sub(2 + 11 + 12 + 9 + 9 + 4);
    let rows = all.iter().skip(model.scroll.min(all.len() - 1)).map(|one| {
        let errors = number(one, "/errors");
        let ratio = one.pointer("/hit_ratio").and_then(Value::as_f64);
        let colour = if ratio.is_some_and(|ratio| ratio < 0.5) { WARM } else { Color::Reset };
        Row::new([
            Cell::new(cut(&words::plain(word(one, "/name")), width)),
            right(format!("{}/s", words::rate(number(one, "/requests")))),
            right(format!("{}/s", words::bytes(number(one, "/bytes")))),
            right(words::share(ratio)).style(Style::new().fg(colour)),
            right(if errors > 0.0 { words::share(Some(errors)) } else { String::new() })
                .style(Style::new().fg(BAD)),
        ])
    });
    let looked = number(&model.top, "/looked_at");
    let block = boxed(&title);
    let block = if looked > 0.0 && looked < 0.999 {
        block.title_bottom(Line::styled(format!(" estimated from {} ", words::share(Some(looked))), DIM))
    } else {
        block
    };
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(11),
        Constraint::Length(12),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let head = Row::new([
        Cell::new(""),
        right("requests".into()),
        right("sent".into()),
        right("hits".into()),
        right("5xx".into()),
    ])
    .style(DIM);
    frame.render_widget(Table::new(rows, widths).header(head).block(block), area);
}

fn pools(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let all = model.origins();
    if all.is_empty() {
        nothing(frame, "Pools", "No pools are configured.", area);
        return;
    }
    // Only the view of its own scrolls.
    let scroll = if model.tab == Tab::Pools { model.scroll.min(all.len() - 1) } else { 0 };
    // The median and what every origin begins with give way to its name.
    let (median, begins) = if area.width < NARROW { (0, "http://") } else { (8, "") };
    let room = usize::from(area.width.saturating_sub(2 + 12 + 10 + 9 + 8 + median + 8 + 6));
    let rows = all.iter().skip(scroll).map(|one| {
        let state = word(one, "/state");
        let colour = match state {
            "healthy" => GOOD,
            out if is_out(out) => BAD,
            _ => WARM,
        };
        let time = |at: &str| words::time(one.pointer(at).and_then(Value::as_f64));
        Row::new([
            Cell::new(Line::from(vec![
                Span::styled("● ", Style::new().fg(colour)),
                Span::raw(words::plain(word(one, "/pool"))),
            ])),
            Cell::new(cut(words::plain(word(one, "/origin")).trim_start_matches(begins), room)),
            Cell::new(words::plain(state)).style(Style::new().fg(colour)),
            right(words::count(number(one, "/requests"))),
            right(words::count(number(one, "/failed"))),
            right(time("/duration_us/p50")),
            right(time("/duration_us/p99")),
        ])
    });
    let widths = [
        Constraint::Length(12),
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(median),
        Constraint::Length(8),
    ];
    let head = Row::new([
        Cell::new("pool"),
        Cell::new("origin"),
        Cell::new("state"),
        right("requests".into()),
        right("failed".into()),
        right("50 %".into()),
        right("99 %".into()),
    ])
    .style(DIM);
    frame.render_widget(Table::new(rows, widths).header(head).block(boxed("Pools")), area);
}

fn errors(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    if model.errors.is_empty() {
        nothing(frame, "Recent errors", "None. Nothing has failed since the start.", area);
        return;
    }
    let mut all: Vec<&Value> = model.errors.iter().collect();
    if model.sorted_by() == "oldest" {
        all.reverse();
    }
    let rows = all.iter().skip(model.scroll.min(all.len() - 1)).map(|one| {
        let url = format!("{}://{}{}", word(one, "/scheme"), word(one, "/host"), word(one, "/path"));
        Row::new([
            Cell::new(words::plain(word(one, "/time").get(11..19).unwrap_or_default())),
            Cell::new(format!("{:.0}", number(one, "/status"))).style(Style::new().fg(BAD)),
            Cell::new(words::plain(&url)),
            Cell::new(words::plain(word(one, "/reason"))),
            Cell::new(words::plain(word(one, "/origin"))),
            right(words::time(Some(number(one, "/duration_us")))),
        ])
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(4),
        Constraint::Fill(3),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(8),
    ];
    let head = Row::new(
        ["UTC", "", "URL", "why", "origin"].map(Cell::new).into_iter().chain([right("after".into())]),
    )
    .style(DIM);
    frame.render_widget(Table::new(rows, widths).header(head).block(boxed("Recent errors")), area);
}

fn nothing(frame: &mut Frame<'_>, title: &str, text: &str, area: Rect) {
    frame.render_widget(Paragraph::new(Line::styled(text.to_owned(), DIM)).block(boxed(title)), area);
}

fn right(text: String) -> Cell<'static> {
    Cell::new(Line::from(text).right_aligned())
}

/// The end of a name that is too long tells more than its beginning, which all of a site share.
fn cut(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let kept = name.chars().skip(length - width.saturating_sub(1));
    std::iter::once('…').chain(kept).collect()
}

/// Columns below which tables leave something out.
const NARROW: u16 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(cut("https://a/news/1", 16), "https://a/news/1");
        assert_eq!(cut("https://a/news/1", 8), "…/news/1");
        assert_eq!(cut("äöü", 2), "…ü");
        assert_eq!(cut("abc", 0), "…");
    }
}
