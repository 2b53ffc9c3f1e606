//! What a site or route answers itself: `redirect`, `redirects`, `respond`, `maintenance`, `error_pages`.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::super::file::{Item, Section};
use super::super::limits::{PAGE_BYTES_MAX, REDIRECTS_MAX, TARGET_TEMPLATE_BYTES_MAX};
use super::super::mistake::Complaint;
use super::super::template::{Piece, Template, Variable};
use super::super::{Answer, ErrorStatus, Fixed, Maintenance, Page, PathPattern, Redirect, value};
use super::headers::{Side, fields};
use super::{NETWORKS_EXAMPLE, Surroundings};

/// `redirect` or `respond`; `Some(None)` where one is written and off.
#[allow(clippy::option_option)] // not written, off, or an answer
pub(super) fn answer(
    section: &Section<'_>,
    captures: &[Option<Box<str>>],
    around: &Surroundings,
) -> Option<Option<Answer>> {
    let (redirect, respond) = (section.item("redirect"), section.item("respond"));
    if let (Some(one), Some(other)) = (&redirect, &respond) {
        let message = "both `redirect` and `respond` are written";
        let complaint = Complaint::new("both", message, "this one", "keep one of them");
        other.tell_beside(complaint, one.span.clone(), "and this one");
    }
    if let Some(item) = redirect {
        if item.as_text() == Some("off") {
            return Some(None);
        }
        return self::redirect(&item, captures).map(|redirect| Some(Answer::Redirect(redirect)));
    }
    let item = respond?;
    if item.as_text() == Some("off") {
        return Some(None);
    }
    fixed(&item, around).map(|fixed| Some(Answer::Fixed(fixed)))
}

fn redirect(item: &Item<'_>, captures: &[Option<Box<str>>]) -> Option<Redirect> {
    if item.as_text().is_some() {
        let to = item.parsed(REDIRECT_EXAMPLE, |text| target(text, captures))?;
        return Some(Redirect { to, status: StatusCode::FOUND, keep_query: false });
    }
    let section = item.section("`redirect`".to_owned())?;
    let redirect = redirect_of(&section, captures);
    section.close();
    redirect
}

fn redirect_of(section: &Section<'_>, captures: &[Option<Box<str>>]) -> Option<Redirect> {
    let to = section.required("to", REDIRECT_EXAMPLE);
    let to = to.and_then(|item| item.parsed(REDIRECT_EXAMPLE, |text| target(text, captures)));
    let status = section.item("status").and_then(|item| {
        let status = item.count(301..=308).and_then(redirect_status);
        if status.is_none() && item.as_text().is_none() {
            let help = "write 301 or 308 for good, 302 or 307 for now, 303 to have the answer fetched by GET";
            item.tell(Complaint::new("status", "a redirect has no such status", "not one of them", help));
        }
        status
    });
    let query = section.item("query").and_then(|item| item.word(&[("keep", true), ("drop", false)]));
    Some(Redirect {
        to: to?,
        status: status.unwrap_or(StatusCode::FOUND),
        keep_query: query.unwrap_or_default(),
    })
}

fn redirect_status(code: u64) -> Option<StatusCode> {
    let known = [301, 302, 303, 307, 308].contains(&code);
    u16::try_from(code).ok().filter(|_| known).and_then(|code| StatusCode::from_u16(code).ok())
}

/// `redirects` of a site: a table each, or `"/from /to 301"`.
pub(super) fn redirects(section: &Section<'_>) -> Vec<(PathPattern, Redirect)> {
    let Some(item) = section.item("redirects") else { return Vec::new() };
    let Some(list) = item.list(REDIRECTS_EXAMPLE) else { return Vec::new() };
    if list.len() > REDIRECTS_MAX {
        let message = format!("there are {} redirects", list.len());
        item.tell(Complaint::new("range", message, "too many", format!("write at most {REDIRECTS_MAX}")));
    }
    list.iter().filter_map(one_of_redirects).collect()
}

fn one_of_redirects(item: &Item<'_>) -> Option<(PathPattern, Redirect)> {
    if item.is_table() {
        let section = item.section("this redirect".to_owned())?;
        let from = section.required("from", REDIRECTS_EXAMPLE).and_then(|item| super::site::path(&item));
        let captures = from.as_ref().map(PathPattern::captures).unwrap_or_default();
        let redirect = redirect_of(&section, &captures);
        section.close();
        return Some((from?, redirect?));
    }
    item.parsed(REDIRECTS_EXAMPLE, |text| {
        let mut words = text.split_whitespace();
        let (from, to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let from = value::path_pattern(from)?;
        let to = target(to, &from.captures())?;
        let status =
            words.next().map_or(Some(StatusCode::FOUND), |word| word.parse().ok().and_then(redirect_status));
        let (Some(status), None) = (status, words.next()) else {
            let message = format!("`{}` is not a redirect", text.escape_debug());
            return Err(Complaint::new("redirect", message, "behind the target", REDIRECTS_EXAMPLE));
        };
        Ok((from, Redirect { to, status, keep_query: false }))
    })
}

/// Where a redirect leads: its host is written, or the request's own.
fn target(text: &str, captures: &[Option<Box<str>>]) -> Result<Template, Complaint> {
    let complaint = |label: &str, help: &str| {
        Complaint::new(
            "redirect",
            format!("`{}` is nowhere to redirect to", text.escape_debug()),
            label,
            help,
        )
    };
    if text.len() > TARGET_TEMPLATE_BYTES_MAX {
        return Err(complaint("too long", "write less"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`|".contains(&byte)) {
        return Err(complaint("a byte that no URL has", "write it percent-encoded, as it is on the wire"));
    }
    let template = Template::parse(text, &LOCATION_VARIABLES, captures)?;
    // What is filled in behind a host begins its path; in front of anything else of it, it would choose the host.
    let outline: String = template.pieces().iter().map(outline).collect();
    let absolute = ["http://", "https://"].iter().find_map(|start| outline.strip_prefix(start));
    let Some(rest) = absolute else {
        let is_path = outline.starts_with('/') && !outline.starts_with("//");
        return if is_path {
            Ok(template)
        } else {
            Err(complaint("neither a URL nor a path", REDIRECT_EXAMPLE))
        };
    };
    let host = rest.split(['/', '?', '#', FILLED]).next().unwrap_or_default();
    let behind = rest.strip_prefix(host).unwrap_or_default().trim_start_matches(FILLED);
    if host.is_empty() || behind.starts_with('.') {
        return Err(complaint(
            "a variable in the host",
            "write the host, or $host; variables stand behind it",
        ));
    }
    match value::host_field(host) {
        Ok(_) => Ok(template),
        Err(_) => Err(complaint("no host", REDIRECT_EXAMPLE)),
    }
}

/// A piece of a target as far as its host is concerned.
fn outline(piece: &Piece) -> String {
    match piece {
        Piece::Text(text) => text.to_string(),
        Piece::Variable(Variable::Host) => "h".to_owned(),
        Piece::Variable(Variable::Scheme) => "http".to_owned(),
        Piece::Variable(Variable::Path | Variable::Uri) => "/".to_owned(),
        Piece::Variable(_) => FILLED.to_string(),
    }
}

/// Stands for what is filled in.
const FILLED: char = '\0';

fn fixed(item: &Item<'_>, around: &Surroundings) -> Option<Fixed> {
    let section = item.section("`respond`".to_owned())?;
    let status = section.item("status").and_then(|item| item.count(200..=599));
    let page = page(&section, around);
    let headers = fields(&section, "headers", Side::Response);
    section.close();
    let status = status.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    let status = status.unwrap_or(StatusCode::OK);
    let page = page.unwrap_or_else(|| Page { file: None, content_type: TEXT.into(), bytes: Bytes::new() });
    if matches!(status.as_u16(), 204 | 205 | 304) && !page.bytes.is_empty() {
        let message = format!("an answer with status {} has no body", status.as_u16());
        item.tell(Complaint::new(
            "status",
            message,
            "with a body",
            "remove the body, or write another status",
        ));
    }
    Some(Fixed { status, page, headers })
}

/// `body` or `file`, with `content_type`.
fn page(section: &Section<'_>, around: &Surroundings) -> Option<Page> {
    let (body, file) = (section.item("body"), section.item("file"));
    let content_type = section.item("content_type").and_then(|item| item.parsed(TYPE_EXAMPLE, content_type));
    if let (Some(body), Some(file)) = (&body, &file) {
        let complaint =
            Complaint::new("both", "both `body` and `file` are written", "this one", "keep one of them");
        file.tell_beside(complaint, body.span.clone(), "and this one");
    }
    if let Some(item) = file {
        return read(&item, content_type, around);
    }
    let text = body?.text("write a text, like body = \"gone\"")?;
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Some(Page { file: None, content_type: content_type.unwrap_or_else(|| TEXT.into()), bytes })
}

/// The page in a file.
fn read(item: &Item<'_>, content_type: Option<Box<str>>, around: &Surroundings) -> Option<Page> {
    let path = around.base.join(item.text("write the path of a file, like \"/etc/tidegate/503.html\"")?);
    match (around.page)(&path) {
        Ok(bytes) => {
            let content_type = content_type.unwrap_or_else(|| type_of(&path).into());
            Some(Page { file: Some(path), content_type, bytes: bytes.into() })
        }
        Err(why) => {
            let message = format!("`{}` {why}", path.display());
            let help =
                "check the path, its size and who may read it; relative paths start at the settings file";
            item.tell(Complaint::new("file", message, why, help));
            None
        }
    }
}

/// `maintenance`; `Some(None)` where it is written and off.
#[allow(clippy::option_option)] // not written, off, or closed
pub(super) fn maintenance(section: &Section<'_>, around: &Surroundings) -> Option<Option<Maintenance>> {
    let item = section.item("maintenance")?;
    if item.as_text().is_some() {
        return item.word_or(&[("off", None)], MAINTENANCE_EXAMPLE);
    }
    let section = item.section("`maintenance`".to_owned())?;
    let status = section.item("status").and_then(|item| item.count(400..=599));
    let retry_after = section.item("retry_after").and_then(|item| item.duration(RETRY_RANGE));
    let page = page(&section, around);
    let allow = section.item("allow").and_then(|item| item.list_of(NETWORKS_EXAMPLE, value::network));
    section.close();
    let status = status.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    Some(Some(Maintenance {
        status: status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        page,
        retry_after,
        allow: allow.unwrap_or_default(),
    }))
}

/// What `error_pages` says.
pub(super) struct WrittenPages {
    pub(super) pages: Vec<(ErrorStatus, Page)>,
    pub(super) intercept: Option<bool>,
}

/// `error_pages = { 404 = "404.html", 5xx = "50x.html", intercept = true }`.
pub(super) fn error_pages(section: &Section<'_>, around: &Surroundings) -> Option<WrittenPages> {
    let section = section.item("error_pages")?.section("`error_pages`".to_owned())?;
    let mut written = WrittenPages { pages: Vec::new(), intercept: None };
    for (key, item) in section.named() {
        let text = key.get_ref().as_str();
        if text == "intercept" {
            written.intercept = item.flag();
            continue;
        }
        let page = if item.is_table() {
            item.section(format!("the page for {text}")).and_then(|section| {
                let page = page(&section, around);
                if page.is_none() && section.item("file").is_none() && section.item("body").is_none() {
                    let message = format!("{} has neither `file` nor `body`", section.name);
                    section.tell(Complaint::new("missing-key", message, "no page", PAGES_EXAMPLE));
                }
                section.close();
                page
            })
        } else {
            read(&item, None, around)
        };
        if let Some(status) = error_status(text) {
            written.pages.extend(page.map(|page| (status, page)));
        } else {
            let message = format!("`{}` is no status of an error", text.escape_debug());
            item.found().tell(Complaint::new("status", message, "no status", PAGES_EXAMPLE).at(key.span()));
        }
    }
    Some(written)
}

fn error_status(text: &str) -> Option<ErrorStatus> {
    match text {
        "4xx" => return Some(ErrorStatus::Class(4)),
        "5xx" => return Some(ErrorStatus::Class(5)),
        _ => {}
    }
    let code = text.parse::<u16>().ok().filter(|code| (400..=599).contains(code) && text.len() == 3)?;
    Some(ErrorStatus::One(code))
}

fn content_type(text: &str) -> Result<Box<str>, Complaint> {
    let (kind, rest) = text.split_once('/').unwrap_or_default();
    let is_bare = text.trim() == text && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if kind.is_empty() || rest.is_empty() || !is_bare {
        let message = format!("`{}` is no media type", text.escape_debug());
        return Err(Complaint::new("content-type", message, "no media type", TYPE_EXAMPLE));
    }
    Ok(text.into())
}

/// By how a file's name ends.
fn type_of(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    TYPES.iter().find(|(known, _)| *known == ending).map_or("application/octet-stream", |(_, kind)| kind)
}

/// The bytes of a page, for [`Surroundings::here`].
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| super::why_unreadable(&error))?;
    let is_file = file.metadata().is_ok_and(|about| about.is_file());
    if !is_file {
        return Err("is no file".to_owned());
    }
    let read = file.take(PAGE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| super::why_unreadable(&error))?;
    if bytes.len() as u64 > PAGE_BYTES_MAX {
        return Err(format!("is longer than {PAGE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

const TYPES: [(&str, &str); 14] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("txt", TEXT),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("ico", "image/x-icon"),
    ("pdf", "application/pdf"),
];
const TEXT: &str = "text/plain; charset=utf-8";
const LOCATION_VARIABLES: [Variable; 5] =
    [Variable::Host, Variable::Path, Variable::Query, Variable::Uri, Variable::Scheme];
const RETRY_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 365);
const REDIRECT_EXAMPLE: &str =
    "write redirect = { to = \"https://www.example.com$uri\", status = 301 }, or a path, like \"/new/$1\"";
const REDIRECTS_EXAMPLE: &str =
    "write redirects = [ { from = \"/old/*\", to = \"/new/$1\", status = 301 }, \"/a /b 301\" ]";
const MAINTENANCE_EXAMPLE: &str = "{ file = \"503.html\", retry_after = \"10m\", allow = [\"10.0.0.0/8\"] }";
const PAGES_EXAMPLE: &str = "write error_pages = { 404 = \"404.html\", 5xx = \"50x.html\" }";
const TYPE_EXAMPLE: &str = "write a media type, like content_type = \"text/html; charset=utf-8\"";
