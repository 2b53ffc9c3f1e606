//! `tidegate proxy`: a cache in front of a site, no settings file.
//!
//! The flags are written down as settings and go through the same check as a file, so they mean the same and are
//! refused in the same words; a mistake is then shown at its flag.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use clap::Args;

use super::Ended;
use super::run::{Before, refusal_of, serve};
use super::talk::Talk;
use crate::config::check::{Surroundings, check};
use crate::config::effective::quoted;
use crate::config::load::LoadError;
use crate::config::mistake::{Mistake, Mistakes};
use crate::config::{Config, value};

/// Put a cache in front of a site, without a settings file.
#[derive(Args, Debug, Default)]
#[command(
    after_help = "Examples:\n  tidegate proxy --to http://127.0.0.1:3000\n  tidegate proxy --to http://10.0.0.1:3000 --to http://10.0.0.2:3000 --from :80 --memory 1GiB\n  tidegate proxy --to https://www.example.com --preset news --log off\n\nThen: curl -i http://127.0.0.1:8080/ twice, and look at Cache-Status."
)]
pub(crate) struct Proxy {
    /// An origin; may be repeated, then they take turns.
    #[arg(long, value_name = "URL", required = true)]
    pub(super) to: Vec<String>,
    /// Where to listen: ADDRESS:PORT, :PORT or PORT.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(super) from: String,
    /// Memory for the cache [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// A starting point for the caching rules: static, news or rfc [default: safe for anything]
    #[arg(long, value_name = "NAME")]
    pub(super) preset: Option<String>,
    /// The Host sent to the origins [default: as the client named it; for one https:// origin, its own]
    #[arg(long, value_name = "HOST")]
    pub(super) host: Option<String>,
    /// Where the admin listener is, or off.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180")]
    pub(super) admin: String,
    /// The access log: stdout, off or a file.
    #[arg(long, value_name = "TARGET", default_value = "stdout")]
    pub(super) log: String,
    /// A directory for what memory cannot hold, and for the next start [default: none, memory only]
    #[arg(long, value_name = "DIR", requires = "disk_size")]
    pub(super) disk: Option<String>,
    /// How much may lie in it.
    #[arg(long, value_name = "SIZE", requires = "disk")]
    pub(super) disk_size: Option<String>,
}

impl Proxy {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let before = match Before::meet(talk) {
            Ok(before) => before,
            Err(ended) => return ended,
        };
        match self.config() {
            Ok(config) => serve(None, config, before, talk),
            Err(mistakes) => {
                let wrong = LoadError::Mistakes(mistakes);
                before.refuse(refusal_of(&wrong));
                talk.unloaded(&wrong)
            }
        }
    }

    /// The flags as settings.
    pub(super) fn config(&self) -> Result<Config, Mistakes> {
        let mut pages = Pages::new();
        pages.toml("[[listener]]\naddress = ").flag("from", &self.from);
        pages.toml("[admin]\naddress = ").flag("admin", &self.admin);
        pages.toml("[log]\naccess = ").flag("log", &self.log);
        pages.toml("[cache]\n");
        if let Some(memory) = &self.memory {
            pages.toml("memory = ").flag("memory", memory);
        }
        if let (Some(disk), Some(size)) = (&self.disk, &self.disk_size) {
            pages.toml("[cache.disk]\npath = ").flag("disk", disk).toml("size = ").flag("disk-size", size);
        }
        pages.toml("[pool.main]\norigins = [\n");
        for to in &self.to {
            pages.flag("to", to).toml(",\n");
        }
        pages.toml("]\n");
        match (&self.host, self.own_host()) {
            (Some(host), _) => drop(pages.toml("host = ").flag("host", host)),
            (None, Some(host)) => drop(pages.toml(&format!("host = {}\n", quoted(&host)))),
            (None, None) => {}
        }
        pages.toml("[[site]]\nhosts = [\"*\"]\n");
        if let Some(preset) = &self.preset {
            pages.toml("preset = ").flag("preset", preset);
        }
        pages.check()
    }

    /// The host in the origins' URLs, where they are https and agree: a server picks its certificate by it.
    fn own_host(&self) -> Option<String> {
        let host = |to: &String| {
            let origin = value::origin(to).ok().filter(|origin| origin.tls)?;
            Some(origin.name.strip_prefix("https://")?.to_owned())
        };
        let first = host(self.to.first()?)?;
        self.to.iter().all(|to| host(to).as_ref() == Some(&first)).then_some(first)
    }
}

/// The same said twice: as settings, and as the command line that people typed.
struct Pages {
    toml: String,
    line: String,
    /// A value's place in the settings and on the line.
    places: Vec<(Range<usize>, Range<usize>)>,
}

impl Pages {
    fn new() -> Self {
        Self { toml: String::new(), line: "tidegate proxy".to_owned(), places: Vec::new() }
    }

    /// Adds settings that nobody typed.
    fn toml(&mut self, text: &str) -> &mut Self {
        self.toml += text;
        self
    }

    /// Adds a flag's value to both.
    fn flag(&mut self, flag: &str, value: &str) -> &mut Self {
        let start = self.toml.len();
        self.toml += &quoted(value);
        let place = start..self.toml.len();
        self.toml.push('\n');
        let typed = self.typed(flag, value);
        self.places.push((place, typed));
        self
    }

    fn typed(&mut self, flag: &str, value: &str) -> Range<usize> {
        let _ = write!(self.line, " --{flag} ");
        let start = self.line.len();
        self.line += &value.escape_debug().to_string();
        start..self.line.len()
    }

    fn check(self) -> Result<Config, Mistakes> {
        let checked = check("the settings", &self.toml, &Surroundings::here(Path::new("")));
        checked.map_err(|mistakes| {
            let moved = mistakes.list().iter().map(|mistake| self.moved(mistake)).collect();
            Mistakes::new("the command line", &self.line, moved)
        })
    }

    fn moved(&self, mistake: &Mistake) -> Mistake {
        let place = |span: &Range<usize>| {
            let found = self.places.iter().find(|(toml, _)| toml.start <= span.start && span.end <= toml.end);
            found.map_or(0..0, |(_, line)| line.clone())
        };
        let mut moved = mistake.clone();
        moved.span = place(&mistake.span);
        moved.other = mistake.other.as_ref().map(|(span, why)| (place(span), why.clone()));
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdminAddress, LogTarget, Preset};

    fn proxy(to: &[&str]) -> Proxy {
        Proxy {
            to: to.iter().map(|to| (*to).to_owned()).collect(),
            from: "127.0.0.1:8080".to_owned(),
            admin: "127.0.0.1:9180".to_owned(),
            log: "stdout".to_owned(),
            ..Proxy::default()
        }
    }

    #[test]
    fn flags_mean_what_the_settings_mean() {
        let config = Proxy {
            from: ":80".to_owned(),
            memory: Some("1GiB".to_owned()),
            disk: Some("cache".to_owned()),
            disk_size: Some("2GiB".to_owned()),
            preset: Some("news".to_owned()),
            log: "off".to_owned(),
            admin: "off".to_owned(),
            ..proxy(&["http://10.0.0.1:3000", "http://10.0.0.2:3000"])
        }
        .config()
        .expect("the flags are right");
        assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:80");
        assert_eq!(config.cache.memory_bytes, 1 << 30);
        let disk = config.cache.disk.expect("a disk");
        assert_eq!((disk.path.to_str(), disk.bytes), (Some("cache"), 2 << 30));
        assert_eq!(config.sites[0].defaults.preset, Preset::News);
        assert_eq!(config.log.target, LogTarget::Off);
        assert!(config.admin.address.is_none());
        assert_eq!(config.pools["main"].origins.len(), 2);
    }

    #[test]
    fn the_defaults_are_on_this_machine() {
        let config = proxy(&["http://10.0.0.1:3000"]).config().expect("the flags are right");
        assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8080");
        assert!(
            matches!(config.admin.address, Some(AdminAddress::Tcp(tcp)) if tcp.to_string() == "127.0.0.1:9180")
        );
    }

    #[test]
    fn hosts() {
        for (claim, to, host, expected) in [
            ("an http origin sees the client's host", &["http://www.example.com"][..], None, None),
            ("an https origin sees its own", &["https://www.example.com"], None, Some("www.example.com")),
            ("with its port", &["https://a.net:8443"], None, Some("a.net:8443")),
            ("origins of two names agree on none", &["https://a.net", "https://b.net"], None, None),
            ("what is said counts", &["https://a.net"], Some("b.net"), Some("b.net")),
        ] {
            let flags = Proxy { host: host.map(str::to_owned), ..proxy(to) };
            let config = flags.config().expect("the flags are right");
            assert_eq!(config.pools["main"].host.as_deref(), expected, "{claim}");
        }
    }

    #[test]
    fn every_wrong_flag_is_shown_at_its_place() {
        let flags = Proxy {
            from: "example.com:80".to_owned(),
            memory: Some("512".to_owned()),
            disk: Some("/var/cache".to_owned()),
            disk_size: Some("many".to_owned()),
            ..proxy(&["10.0.0.1:3000"])
        };
        let mistakes = flags.config().expect_err("four flags are wrong");
        let places: Vec<_> =
            mistakes.list().iter().map(|mistake| &mistakes.text()[mistake.span.clone()]).collect();
        assert_eq!(places, ["example.com:80", "512", "many", "10.0.0.1:3000"]);
    }
}
