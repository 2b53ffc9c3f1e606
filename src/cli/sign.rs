//! `tidegate sign`: a URL that a route with `signed` takes, until it expires. Needs no node.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Ended;
use super::talk::Talk;
use crate::clock::Clock;
use crate::config::access::SignedQuery;
use crate::config::units;
use crate::route::access::signed;

/// Sign a URL for a route whose access rules ask for a signature.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate sign https://www.example.com/video.mp4 --key-file 2026.key --for 1h\n  tidegate sign 'https://www.example.com/?id=7' --key-file 2026.key --key-id 2026 --until 4102444800\n\nThe signature is base64url(HMAC-SHA256(key, text)) without padding; the text is host, path, signed parameters and `expires`, with a line feed between them."
)]
pub(crate) struct Sign {
    /// The URL, as clients ask for it.
    url: String,
    /// The file that holds the key.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The key's name in the settings.
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// For how long it is good, like 1h or 30d.
    #[arg(long = "for", value_name = "TIME", required_unless_present = "until", conflicts_with = "until")]
    lasting: Option<String>,
    /// From when on it is no longer good, in seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    until: Option<u64>,
    /// A parameter of the query that is signed, where the settings name some; may be repeated. Default: all.
    #[arg(long, value_name = "NAME", conflicts_with = "no_query")]
    parameter: Vec<String>,
    /// Sign no parameter, where the settings say query = "none".
    #[arg(long)]
    no_query: bool,
}

impl Sign {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let expires = match (self.until, self.lasting.as_deref().map(units::duration)) {
            (Some(until), _) => until,
            (None, Some(Ok(lasting))) => now_secs(lasting),
            (None, Some(Err(complaint))) => {
                talk.complain(&complaint.message, &complaint.help);
                return Ended::Usage;
            }
            (None, None) => return Ended::Usage,
        };
        if let Some(id) = self.key_id.as_deref().filter(|id| !signed::is_key_id(id)) {
            let what = format!("`{}` cannot name a key", id.escape_debug());
            talk.complain(&what, "write the id that the settings give it");
            return Ended::Usage;
        }
        let key = match signed::key(&self.key_file) {
            Ok(key) => key,
            Err(error) => {
                talk.complain(&error.to_string(), "write what `openssl rand -hex 32` prints into it");
                return Ended::Usage;
            }
        };
        let covered = if self.parameter.is_empty() && !self.no_query {
            SignedQuery::All
        } else {
            SignedQuery::Only(self.parameter.iter().map(|name| name.as_str().into()).collect())
        };
        match signed::sign(&self.url, &key, self.key_id.as_deref(), &covered, expires) {
            Ok(url) => talk.result(&format!("{url}\n")),
            Err(why) => {
                let what = format!("`{}` cannot be signed: {why}", self.url.escape_debug());
                talk.complain(
                    &what,
                    "write a URL as clients ask for it, like https://www.example.com/video.mp4",
                );
                Ended::Usage
            }
        }
    }
}

/// So long from now, rounded up.
fn now_secs(lasting: Duration) -> u64 {
    Clock::system().wall().plus(lasting).as_millis().div_ceil(1000)
}
