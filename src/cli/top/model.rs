//! What is known of the node and what the screen shows of it; no terminal and no socket.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use crate::config::limits::HISTORY_SECONDS;

/// All that is drawn.
#[derive(Default)]
pub(super) struct Model {
    pub(super) stat: Value,
    pub(super) top: Value,
    pub(super) errors: Vec<Value>,
    /// By member, oldest second first.
    history: Vec<(String, VecDeque<f64>)>,
    /// Reasons and codes of the last minute's counters, oldest first.
    counts: VecDeque<(Value, Value)>,
    pub(super) tab: Tab,
    /// By tab.
    sorts: [usize; Tab::ALL.len()],
    pub(super) scroll: usize,
    pub(super) paused: bool,
    pub(super) help: bool,
    /// Why nothing is heard.
    pub(super) trouble: Option<String>,
}

/// One of the views.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Tab {
    #[default]
    Overview,
    Urls,
    Tags,
    Pools,
    Reasons,
    Errors,
}

/// What a key asks of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Nothing,
    Redraw,
    Quit,
    /// Give the terminal back until the shell says otherwise.
    Suspend,
}

/// A number that was counted, and how fast it rises.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Counted {
    pub(super) name: String,
    pub(super) count: f64,
    pub(super) rate: f64,
}

impl Tab {
    pub(super) const ALL: [Self; 6] =
        [Self::Overview, Self::Urls, Self::Tags, Self::Pools, Self::Reasons, Self::Errors];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Urls => "URLs",
            Self::Tags => "Tags",
            Self::Pools => "Pools",
            Self::Reasons => "Reasons",
            Self::Errors => "Errors",
        }
    }

    /// What it can be sorted by, the usual first.
    pub(super) const fn sorts(self) -> &'static [&'static str] {
        match self {
            Self::Overview | Self::Urls => &["requests", "bytes", "fetches"],
            Self::Tags => &["requests", "bytes", "hit ratio"],
            Self::Pools => &["as written", "requests", "failed", "slowest"],
            Self::Reasons => &["now", "in all"],
            Self::Errors => &["newest", "oldest"],
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl Model {
    /// Takes an event up. Where it is no JSON, nothing changes.
    pub(super) fn take(&mut self, name: &str, data: &str) {
        let Ok(value) = serde_json::from_str::<Value>(data) else { return };
        self.trouble = None;
        if self.paused {
            return;
        }
        match name {
            "stat" => self.take_stat(value),
            "history" => self.take_history(&value),
            "top" => self.top = value,
            "errors" => self.errors = value.as_array().cloned().unwrap_or_default(),
            _ => {}
        }
    }

    fn take_stat(&mut self, stat: Value) {
        if number(&stat, "/uptime_seconds") < number(&self.stat, "/uptime_seconds") {
            self.counts.clear();
        }
        for (name, value) in stat.pointer("/now").and_then(Value::as_object).into_iter().flatten() {
            note(&mut self.history, name, value.as_f64());
        }
        let of = |name: &str| stat.get(name).cloned().unwrap_or_default();
        self.counts.push_back((of("reasons"), of("codes")));
        if self.counts.len() > COUNTS_KEPT {
            self.counts.pop_front();
        }
        self.stat = stat;
    }

    fn take_history(&mut self, told: &Value) {
        self.history.clear();
        for (name, list) in told.as_object().into_iter().flatten() {
            for value in list.as_array().into_iter().flatten() {
                note(&mut self.history, name, value.as_f64());
            }
        }
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Asked {
        if key.kind == KeyEventKind::Release {
            return Asked::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Asked::Quit,
                KeyCode::Char('z') => Asked::Suspend,
                KeyCode::Char('l') => Asked::Redraw,
                _ => Asked::Nothing,
            };
        }
        match key.code {
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Asked::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = !self.help,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort(1),
            KeyCode::Char('S') => self.sort(Tab::ALL.len() * 4 - 1),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Tab::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='9') => {
                let at = digit.to_digit(10).map_or(0, |digit| digit as usize - 1);
                if let Some(tab) = Tab::ALL.get(at) {
                    (self.tab, self.scroll) = (*tab, 0);
                }
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.scroll = 0,
            _ => return Asked::Nothing,
        }
        Asked::Redraw
    }

    fn turn(&mut self, by: usize) {
        let at = (self.tab.index() + by) % Tab::ALL.len();
        (self.tab, self.scroll) = (Tab::ALL.get(at).copied().unwrap_or_default(), 0);
    }

    fn sort(&mut self, by: usize) {
        let of = self.tab.sorts().len();
        if let Some(sort) = self.sorts.get_mut(self.tab.index()) {
            *sort = (*sort + by) % of;
        }
        self.scroll = 0;
    }

    /// What the view is sorted by.
    pub(super) fn sorted_by(&self) -> &'static str {
        let at = self.sorts.get(self.tab.index()).copied().unwrap_or_default();
        self.tab.sorts().get(at).copied().unwrap_or_default()
    }

    /// One number of all seconds that are remembered, oldest first; what there was none of is NaN.
    pub(super) fn seconds(&self, name: &str) -> impl DoubleEndedIterator<Item = f64> + Clone {
        self.history
            .iter()
            .find(|(known, _)| known == name)
            .into_iter()
            .flat_map(|(_, list)| list.iter().copied())
    }

    /// The mean of the last few seconds.
    #[allow(clippy::cast_precision_loss)] // five
    pub(super) fn lately(&self, name: &str) -> Option<f64> {
        let last: Vec<f64> = self.seconds(name).rev().take(LATELY).filter(|one| one.is_finite()).collect();
        (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
    }

    /// Reasons, or status codes: all of them, and how fast they rose in the last minute. By what the view is sorted by.
    pub(super) fn counted(&self, of: &str) -> Vec<Counted> {
        let pick =
            |(reasons, codes): &(Value, Value)| if of == "codes" { codes.clone() } else { reasons.clone() };
        let (Some(first), Some(last)) = (self.counts.front().map(pick), self.counts.back().map(pick)) else {
            return Vec::new();
        };
        #[allow(clippy::cast_precision_loss)] // sixty
        let seconds = self.counts.len().saturating_sub(1).max(1) as f64;
        let mut all: Vec<Counted> = last
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, count)| {
                let count = count.as_f64().unwrap_or_default();
                let before = first.get(name).and_then(Value::as_f64).unwrap_or_default();
                Counted { name: name.clone(), count, rate: (count - before).max(0.0) / seconds }
            })
            .collect();
        let by_count = self.tab == Tab::Reasons && self.sorted_by() == "in all";
        let measure = |one: &Counted| if by_count { (one.count, one.rate) } else { (one.rate, one.count) };
        all.sort_by(|a, b| measure(b).partial_cmp(&measure(a)).unwrap_or(std::cmp::Ordering::Equal));
        all
    }

    /// The origins as told, by what the view is sorted by.
    pub(super) fn origins(&self) -> Vec<&Value> {
        let mut all: Vec<&Value> = list(&self.stat, "/origins").collect();
        let by = match (self.tab, self.sorted_by()) {
            (Tab::Pools, "requests") => "/requests",
            (Tab::Pools, "failed") => "/failed",
            (Tab::Pools, "slowest") => "/duration_us/p99",
            _ => return all,
        };
        all.sort_by(|a, b| number(b, by).total_cmp(&number(a, by)));
        all
    }

    /// The tags as told, by what the view is sorted by.
    pub(super) fn tags(&self) -> Vec<&Value> {
        let mut all: Vec<&Value> = list(&self.top, "/tags").collect();
        match self.sorted_by() {
            "bytes" => all.sort_by(|a, b| number(b, "/bytes").total_cmp(&number(a, "/bytes"))),
            "hit ratio" => all.sort_by(|a, b| number(a, "/hit_ratio").total_cmp(&number(b, "/hit_ratio"))),
            _ => {}
        }
        all
    }
}

fn note(history: &mut Vec<(String, VecDeque<f64>)>, name: &str, value: Option<f64>) {
    let value = value.unwrap_or(f64::NAN);
    if let Some((_, list)) = history.iter_mut().find(|(known, _)| known == name) {
        list.push_back(value);
        if list.len() > HISTORY_SECONDS {
            list.pop_front();
        }
    } else if history.len() < MEMBERS_MAX {
        history.push((name.to_owned(), VecDeque::from([value])));
    }
}

/// A number of what a node told; zero where it told none.
pub(super) fn number(value: &Value, at: &str) -> f64 {
    value.pointer(at).and_then(Value::as_f64).unwrap_or_default()
}

/// A word of what a node told.
pub(super) fn word<'v>(value: &'v Value, at: &str) -> &'v str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// A list of what a node told.
pub(super) fn list<'v>(value: &'v Value, at: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

/// Seconds that are taken together where a number is told.
const LATELY: usize = 5;
const COUNTS_KEPT: usize = 60;
/// Members of a second that are remembered, whatever a node tells.
const MEMBERS_MAX: usize = 32;
/// Lines that a page goes.
const PAGE: usize = 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn press(model: &mut Model, code: KeyCode) -> Asked {
        model.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut model = Model::default();
        assert_eq!(press(&mut model, KeyCode::Tab), Asked::Redraw);
        assert_eq!(model.tab, Tab::Urls);
        press(&mut model, KeyCode::Char('s'));
        assert_eq!(model.sorted_by(), "bytes");
        press(&mut model, KeyCode::Char('S'));
        assert_eq!(model.sorted_by(), "requests", "and back again");
        press(&mut model, KeyCode::Down);
        press(&mut model, KeyCode::BackTab);
        assert_eq!((model.tab, model.scroll), (Tab::Overview, 0));
        press(&mut model, KeyCode::BackTab);
        assert_eq!(model.tab, Tab::Errors, "round and round");
        press(&mut model, KeyCode::Char('4'));
        assert_eq!(model.tab, Tab::Pools);
        press(&mut model, KeyCode::Char('9'));
        assert_eq!(model.tab, Tab::Pools, "there is no ninth");
        press(&mut model, KeyCode::Char('?'));
        assert!(model.help);
        assert_eq!(press(&mut model, KeyCode::Esc), Asked::Redraw, "closes the help first");
        assert_eq!(press(&mut model, KeyCode::Esc), Asked::Quit);
        assert_eq!(press(&mut model, KeyCode::Char('q')), Asked::Quit);
        assert_eq!(press(&mut model, KeyCode::Char('x')), Asked::Nothing);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!((model.key(control('c')), model.key(control('z'))), (Asked::Quit, Asked::Suspend));
    }

    #[test]
    fn who_pauses_keeps_what_is_seen() {
        let mut model = Model::default();
        model.take("stat", r#"{"requests":1}"#);
        press(&mut model, KeyCode::Char('p'));
        model.take("stat", r#"{"requests":2}"#);
        assert_eq!(model.stat["requests"], 1);
        press(&mut model, KeyCode::Char('p'));
        model.take("stat", r#"{"requests":3}"#);
        model.take("stat", "no JSON");
        assert_eq!(model.stat["requests"], 3);
    }

    #[test]
    fn rates_are_of_the_last_minute() {
        let mut model = Model { tab: Tab::Reasons, ..Model::default() };
        for at in 0..=10 {
            let stat = json!({ "reasons": { "fast": at * 5, "old": 1000 }, "codes": { "200": at } });
            model.take("stat", &stat.to_string());
        }
        let reasons = model.counted("reasons");
        assert_eq!(reasons[0], Counted { name: "fast".into(), count: 50.0, rate: 5.0 });
        press(&mut model, KeyCode::Char('s'));
        assert_eq!(model.counted("reasons")[0].name, "old");
        assert_eq!(model.counted("codes")[0], Counted { name: "200".into(), count: 10.0, rate: 1.0 });
    }

    #[test]
    fn seconds_follow_the_history() {
        let mut model = Model::default();
        model.take("history", r#"{"time":[1,2],"requests":[1.0,3.0],"p50":[null,9]}"#);
        model.take("stat", r#"{"now":{"time":3,"requests":5.0,"p50":11}}"#);
        assert_eq!(model.lately("requests"), Some(3.0));
        assert_eq!(model.lately("p50"), Some(10.0), "what there was none of is left out");
        assert_eq!(model.lately("nothing"), None);
    }
}
