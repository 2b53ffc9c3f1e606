//! Whether what an origin sent can be what the ending of the path promises (FAULTS C6).
//!
//! A route that is chosen by an ending (`*.css`) is written for files of that kind. An origin that reads `/account/x.css` as
//! `/account` answers with somebody's page, and a lifetime that was meant for style sheets would make it everybody's. So what
//! such a route stores must be of the kind that it was chosen for, whatever else is said of it; a page or data above all.

/// Whether `content_type` fits the ending of `path`, which is in normal form. Nothing does that is not said; to an ending that is not
/// known everything does.
pub(crate) fn fits(path: &[u8], content_type: Option<&[u8]>) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return true };
    let ending = name.get(dot + 1..).unwrap_or_default().to_ascii_lowercase();
    let known = ENDINGS.iter().find(|(endings, _)| endings.iter().any(|one| one.as_bytes() == ending));
    let Some((_, types)) = known else { return true };
    let given = content_type.unwrap_or_default().split(|byte| *byte == b';').next().unwrap_or_default();
    let given = given.trim_ascii().to_ascii_lowercase();
    types.iter().any(|one| match (one.strip_suffix('*'), one.strip_prefix('*')) {
        (Some(start), _) => given.starts_with(start.as_bytes()),
        (_, Some(end)) => given.ends_with(end.as_bytes()),
        (None, None) => given == one.as_bytes(),
    })
}

/// Endings, and the types that they are sent with; `*` stands for the rest at either end.
const ENDINGS: [(&[&str], &[&str]); 13] = [
    (&["css"], &["text/css"]),
    (&["js", "mjs", "cjs"], &["*/javascript", "*/x-javascript", "*/ecmascript"]),
    (
        &["png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "bmp", "tif", "tiff", "svg", "heic"],
        &["image/*", "application/octet-stream"],
    ),
    (
        &["woff", "woff2", "ttf", "otf", "eot"],
        &["font/*", "application/font-*", "application/x-font-*", "*/vnd.ms-fontobject", "*/octet-stream"],
    ),
    (&["mp4", "m4v", "webm", "mov", "ogv", "ts", "m4s"], &["video/*", "audio/*", "*/mp4", "*/octet-stream"]),
    (
        &["mp3", "m4a", "ogg", "oga", "opus", "wav", "flac", "aac"],
        &["audio/*", "video/*", "*/ogg", "*/octet-stream"],
    ),
    (&["txt", "md", "csv", "vtt"], &["text/plain", "text/markdown", "text/csv", "text/vtt"]),
    (&["pdf"], &["application/pdf", "application/octet-stream"]),
    (&["json", "map", "geojson", "webmanifest"], &["*json", "*/javascript", "*/octet-stream"]),
    (&["xml", "rss", "atom", "xsl", "xslt"], &["*xml"]),
    (&["wasm"], &["application/wasm"]),
    (
        &[
            "zip", "gz", "tgz", "bz2", "xz", "zst", "tar", "7z", "rar", "exe", "msi", "dmg", "deb", "rpm",
            "iso", "apk",
        ],
        &["application/zip", "application/gzip", "application/x-*", "application/vnd.*", "*/octet-stream"],
    ),
    (
        &["doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "odp", "epub"],
        &["application/msword", "application/vnd.*", "application/epub+zip", "*/octet-stream"],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_no_style_sheet() {
        for (claim, path, given, is_fit) in [
            ("a style sheet", "/a/x.css", Some("text/css; charset=utf-8"), true),
            ("in capitals", "/a/X.CSS", Some("Text/CSS"), true),
            ("a page", "/account/x.css", Some("text/html"), false),
            ("data", "/account/x.css", Some("application/json"), false),
            ("nothing said", "/account/x.css", None, false),
            ("a script", "/x.js", Some("text/javascript"), true),
            ("a script, as it was called once", "/x.js", Some("application/x-javascript"), true),
            ("a picture of another kind", "/x.png", Some("image/webp"), true),
            ("a font", "/x.woff2", Some("font/woff2"), true),
            ("a font, as it was called once", "/x.woff", Some("application/font-woff"), true),
            ("text", "/robots.txt", Some("text/plain"), true),
            ("a page for text", "/account/robots.txt", Some("text/html"), false),
            ("a page that says so", "/a.html", Some("text/html"), true),
            ("data that says so", "/a.json", Some("application/problem+json"), true),
            ("an archive", "/a.zip", Some("application/zip"), true),
            ("a page for an archive", "/a.tar.gz", Some("text/html"), false),
            ("an ending that is not known", "/v1.2", Some("application/json"), true),
            ("no ending", "/v1/page", Some("text/html"), true),
            ("no ending, in a directory with one", "/x.css/page", Some("text/html"), true),
        ] {
            assert_eq!(fits(path.as_bytes(), given.map(str::as_bytes)), is_fit, "{claim}");
        }
    }
}
