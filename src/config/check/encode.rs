//! `encode`, in `[cache]`, a site or a route.

use cache_store::rules::Coding;

use super::super::encode::{Encode, TypePattern, Unstored};
use super::super::file::Item;
use super::super::limits::{ENCODE_BODY_BYTES_MAX, ENCODE_LEVELS};
use super::super::mistake::Complaint;

/// Off (`Some(None)`), on as usual, a list of codings, or a table that says more; `None` where it is wrong.
#[allow(clippy::option_option)] // wrong, off, or so
pub(super) fn encode(item: &Item<'_>) -> Option<Option<Encode>> {
    if item.as_text().is_some() {
        let alone = |coding| Some(Encode { codings: vec![coding], ..Encode::usual() });
        let words = CODINGS.map(|(name, coding)| (name, alone(coding)));
        let words = [("on", Some(Encode::usual())), ("off", None)].into_iter().chain(words);
        return item.word_or(&words.collect::<Vec<_>>(), EXAMPLE);
    }
    if !item.is_table() {
        return codings(item).map(|codings| Some(Encode { codings, ..Encode::usual() }));
    }
    let section = item.section("`encode`".to_owned())?;
    let mut encode = Encode::usual();
    if let Some(codings) = section.item("codings").and_then(|item| codings(&item)) {
        encode.codings = codings;
    }
    if let Some(types) = section.item("types").and_then(|item| item.list_of(TYPES_HELP, media_type)) {
        encode.types = types;
    }
    if let Some(bytes) = section.item("min").and_then(|item| item.size(1..=ENCODE_BODY_BYTES_MAX)) {
        encode.bytes_min = bytes;
    }
    let level = |key| section.item(key).and_then(|item| item.count(ENCODE_LEVELS));
    let level = |key| level(key).and_then(|level| u8::try_from(level).ok());
    let (fast, best) = (level("level_fast"), level("level_best"));
    encode.level_fast = fast.unwrap_or_else(|| encode.level_fast.min(best.unwrap_or(u8::MAX)));
    encode.level_best = best.unwrap_or_else(|| encode.level_best.max(encode.level_fast));
    if encode.level_best < encode.level_fast {
        item.tell(Complaint::new(
            "levels",
            "`level_best` is below `level_fast`",
            "the other way round",
            "what is compressed a second time is compressed harder: write level_fast = 4, level_best = 11",
        ));
    }
    if let Some(unstored) = section.item("unstored").and_then(|item| item.word(&UNSTORED)) {
        encode.unstored = unstored;
    }
    section.close();
    Some(Some(encode))
}

fn codings(item: &Item<'_>) -> Option<Vec<Coding>> {
    let list = item.list("write \"on\", \"off\" or a list of codings, like [\"br\", \"zstd\", \"gzip\"]")?;
    if list.is_empty() {
        item.tell(Complaint::new("empty", "no coding is named", "empty", "write encode = \"off\""));
    }
    let mut codings: Vec<Coding> = Vec::new();
    for item in list {
        let Some(coding) = item.word(&CODINGS) else { continue };
        if codings.contains(&coding) {
            let message = format!("`{}` is named twice", coding.as_str());
            item.tell(Complaint::new("twice", message, "again", "remove one: the order is the preference"));
            continue;
        }
        codings.push(coding);
    }
    Some(codings)
}

fn media_type(text: &str) -> Result<TypePattern, Complaint> {
    TypePattern::parse(text).ok_or_else(|| {
        let message = format!("`{}` is not a media type", text.escape_debug());
        Complaint::new("media-type", message, "not a media type", TYPES_HELP)
    })
}

const CODINGS: [(&str, Coding); Coding::COUNT] =
    [("br", Coding::Brotli), ("zstd", Coding::Zstd), ("gzip", Coding::Gzip)];
const UNSTORED: [(&str, Unstored); 3] =
    [("off", Unstored::Off), ("anonymous", Unstored::Anonymous), ("all", Unstored::All)];
const EXAMPLE: &str = "a list of codings, like [\"br\", \"zstd\", \"gzip\"]";
const TYPES_HELP: &str =
    "write a list of media types, like [\"text/*\", \"application/json\", \"application/*+xml\"]";
