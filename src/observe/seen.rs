//! A line of the log as those who watch read it: what is chosen by, and what is counted.

use std::borrow::Cow;

use serde::Deserialize;

/// The fields of a JSON line that matter here; what is not there is empty.
#[derive(Deserialize, Debug)]
pub(crate) struct Seen<'l> {
    #[serde(borrow, default)]
    pub(crate) client: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) method: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) scheme: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) host: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) path: Cow<'l, str>,
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) duration_us: u64,
    #[serde(borrow, default)]
    pub(crate) cache: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) reason: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) pool: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) origin: Cow<'l, str>,
    #[serde(borrow, default)]
    pub(crate) country: Cow<'l, str>,
    /// How many requests it stands for.
    #[serde(default = "one")]
    pub(crate) one_of: u32,
}

impl<'l> Seen<'l> {
    /// What a line says; `None` where it is no JSON object.
    pub(crate) fn of(line: &'l [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

fn one() -> u32 {
    1
}
