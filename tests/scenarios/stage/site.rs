//! A site as an operator writes it, through the checks of the settings.

use std::path::Path;

use tidegate::config::Site;
use tidegate::config::check::{Surroundings, check};

use super::settings::HOST;

/// The site of `text`, checked as a file is.
pub(crate) fn site(text: &str, pools: &[&str]) -> Site {
    let pools = ["main"].iter().chain(pools);
    let pools: Vec<_> =
        pools.map(|name| format!("[pool.{name}]\norigins = \"http://127.0.0.1:1\"\n")).collect();
    let said = text.lines().take_while(|line| !line.starts_with('['));
    let says_where = said.into_iter().any(|line| line.starts_with("pool =") || line.starts_with("steer ="));
    let pool = if says_where { "" } else { "pool = \"main\"\n" };
    let listener = "[[listener]]\naddress = \":80\"\n";
    let whole = format!("{listener}{}[[site]]\nhosts = \"{HOST}\"\n{pool}{text}\n", pools.concat());
    let config = check("stage", &whole, &Surroundings::here(Path::new("/")))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    config.sites.into_iter().next().expect("one site is written")
}
