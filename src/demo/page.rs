//! The pages as HTML: one frame, and what stands in it.

use std::fmt::Write as _;

use super::articles::{ARTICLES, Article, SECTIONS};

/// What every page of one printing shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Path of the stylesheet.
    pub(super) style: &'a str,
    /// The day, for the masthead.
    pub(super) day: &'a str,
}

impl Frame<'_> {
    /// The front page.
    pub(super) fn front(&self) -> String {
        let [lead, rest @ ..] = &ARTICLES;
        let mut body = format!(
            r#"<h1 class="skip">Today in The Harbour Post</h1><section class="lead"><a href="{path}" tabindex="-1" aria-hidden="true"><img src="/assets/harbour.png" width="1200" height="630" alt=""></a><div><p class="tag">{section}</p><h2><a href="{path}">{title}</a></h2><p>{standfirst}</p><p class="meta">By {author}</p></div></section><div class="grid">"#,
            path = path(lead),
            section = section_name(lead.section),
            title = lead.title,
            standfirst = lead.standfirst,
            author = lead.author,
        );
        for article in rest {
            card(&mut body, article);
        }
        body.push_str("</div>");
        self.around("The Harbour Post", "/", &body)
    }

    /// The page of a section.
    pub(super) fn section(&self, slug: &str, name: &str, about: &str) -> String {
        let mut body = format!(
            r#"<div class="head"><h1>{name}</h1><p class="meta">{about}</p></div><div class="grid">"#
        );
        ARTICLES
            .iter()
            .filter(|article| article.section == slug)
            .for_each(|article| card(&mut body, article));
        body.push_str("</div>");
        self.around(&format!("{name} · The Harbour Post"), &format!("/{slug}"), &body)
    }

    /// An article; `written` is its date.
    pub(super) fn article(&self, article: &Article, written: &str) -> String {
        let mut body = format!(
            r#"<article class="story"><p class="tag"><a href="/{slug}">{section}</a></p><h1>{title}</h1><p class="standfirst">{standfirst}</p><p class="meta">By {author} · {written}</p><figure><img src="/pictures/{picture}.svg" width="1200" height="630" alt="{alt}"><figcaption>{alt}. Drawing: The Harbour Post</figcaption></figure><div class="body">"#,
            slug = article.section,
            section = section_name(article.section),
            title = article.title,
            standfirst = article.standfirst,
            author = article.author,
            picture = article.slug,
            alt = article.picture,
        );
        for (at, paragraph) in article.text.iter().enumerate() {
            if at == 2 {
                let _ = write!(body, "<blockquote>{}</blockquote>", article.quote);
            }
            let _ = write!(body, "<p>{paragraph}</p>");
        }
        body.push_str("</div></article><div class=\"grid\">");
        let here = ARTICLES.iter().position(|other| other.slug == article.slug).unwrap_or(0);
        ARTICLES.iter().cycle().skip(here + 1).take(3).for_each(|other| card(&mut body, other));
        body.push_str("</div>");
        self.around(&format!("{} · The Harbour Post", article.title), &format!("/{}", article.section), &body)
    }

    /// The live page, printed at `time` (`10:47:02`) as the answer to request number `asked`.
    pub(super) fn live(&self, time: &str, asked: u64, events: &[(String, &str)]) -> String {
        let mut body = format!(
            r#"<article class="story"><p class="tag live">Live</p><h1>From the quay</h1><p class="clock"><time>{time}</time></p><div class="note"><p>This page was printed at {time} UTC; the press has been asked {asked} times since it was started. It is fresh for five seconds. For thirty more the node may hand out this copy at once, while one fetch brings the next. <a href="/live">Look again</a> and see how seldom the press is asked.</p></div><ol class="events">"#
        );
        for (at, event) in events {
            let _ = write!(body, "<li><time>{at}</time><span>{event}</span></li>");
        }
        body.push_str("</ol></article>");
        self.around("Live from the quay · The Harbour Post", "/live", &body)
    }

    /// A page of one heading and one paragraph.
    pub(super) fn notice(&self, title: &str, text: &str) -> String {
        let body =
            format!(r#"<article class="story"><h1>{title}</h1><p class="standfirst">{text}</p></article>"#);
        self.around(&format!("{title} · The Harbour Post"), "", &body)
    }

    fn around(&self, title: &str, current: &str, body: &str) -> String {
        let mut nav = String::new();
        let pages = [("/", "Front page")].into_iter();
        let sections = SECTIONS.iter().map(|(slug, name, _)| (*slug, *name));
        for (slug, name) in pages.chain(sections).chain([("live", "Live"), ("welcome", "Welcome")]) {
            let href = format!("/{}", slug.trim_start_matches('/'));
            let mark = if href == current { " aria-current=\"true\"" } else { "" };
            let class = if slug == "live" { " class=\"live\"" } else { "" };
            let _ = write!(nav, "<a href=\"{href}\"{class}{mark}>{name}</a>");
        }
        format!(
            r##"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><link rel="icon" href="/assets/icon.svg"><link rel="stylesheet" href="{style}"></head>
<body><a class="skip" href="#content">To the content</a><div class="wrap"><header class="mast"><p class="name"><a href="/">The Harbour Post</a></p><p>{day} · Printed where the tide turns</p></header><nav aria-label="Sections">{nav}</nav><main id="content">{body}</main><footer>The Harbour Post is the demo site of Tidegate; its news is made up. More doors: <a href="/slow">a slow page</a>, <a href="/flaky">a flaky one</a>, <a href="/account">a private one</a>.</footer></div></body></html>
"##,
            style = self.style,
            day = self.day,
        )
    }
}

/// The path of an article.
pub(super) fn path(article: &Article) -> String {
    format!("/{}/{}", article.section, article.slug)
}

fn card(out: &mut String, article: &Article) {
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        r#"<article class="card"><a href="{path}" tabindex="-1" aria-hidden="true"><img src="/pictures/{slug}.svg" width="1200" height="630" loading="lazy" alt=""></a><h3><a href="{path}">{title}</a></h3><p>{standfirst}</p></article>"#,
        path = path(article),
        slug = article.slug,
        title = article.title,
        standfirst = article.standfirst,
    );
}

fn section_name(slug: &str) -> &'static str {
    SECTIONS.iter().find(|(known, ..)| *known == slug).map_or("News", |(_, name, _)| name)
}
