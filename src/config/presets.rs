//! Named starting points: what a preset decides before any key of a site or route is looked at.
//!
//! `check/policy.rs` begins here and lays the written keys over it; `route/` and tests that need a policy without a
//! file do the same. The caching rules' part stands in `cache_store::rules::Policy`; this file adds what happens to
//! query, cookies and request fields.

use std::sync::Arc;

use cache_store::rules::Policy;

use super::encode::{Encode, shared_usual};
use super::{
    Conditions, Cookies, ErrorPages, Forward, HeaderRules, KeyParts, Preset, Query, Rewrite, RoutePolicy,
    Steer,
};

impl Preset {
    /// The preset called `name` in settings.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Default, Self::Static, Self::News, Self::Rfc]
            .into_iter()
            .find(|preset| preset.as_str() == name)
    }

    /// The caching rules it starts from.
    pub fn rules(self) -> Policy {
        match self {
            Self::Default => Policy::default(),
            Self::Static => Policy::static_site(),
            Self::News => Policy::news(),
            Self::Rfc => Policy::rfc(),
        }
    }

    /// What happens to the query: the sites' presets sort it and drop what only trackers read.
    pub fn query(self) -> Query {
        match self {
            Self::Default | Self::Rfc => Query::default(),
            Self::Static | Self::News => Query { sort: true, remove: boxed(TRACKING_PARAMETERS), keep: None },
        }
    }

    /// Which request cookies reach the origin.
    pub fn cookies(self) -> Cookies {
        match self {
            Self::Default | Self::Rfc => Cookies::Forward,
            Self::Static => Cookies::PassOn(Vec::new()),
            Self::News => Cookies::PassOn(boxed(SESSION_COOKIES)),
        }
    }

    /// Which request fields reach the origin.
    pub fn forward(self) -> Forward {
        match self {
            Self::Default | Self::Rfc => Forward::Safe,
            Self::Static | Self::News => Forward::Only(boxed(FORWARDED_FIELDS)),
        }
    }

    /// In which codings stored responses are kept: the sites' presets have what is text in all of them.
    pub fn encode(self) -> Option<Arc<Encode>> {
        match self {
            Self::Default | Self::Rfc => None,
            Self::Static | Self::News => Some(shared_usual()),
        }
    }

    /// Everything it decides, for a site whose misses go to `steer`.
    pub fn policy(self, steer: Steer) -> RoutePolicy {
        RoutePolicy {
            preset: self,
            cache: true,
            rules: self.rules(),
            steer,
            vary_by_country: false,
            query: self.query(),
            forward: self.forward(),
            cookies: self.cookies(),
            encode: self.encode(),
            x_cache: false,
            rewrite: Rewrite::default(),
            bypass: Conditions::default(),
            key: KeyParts::default(),
            request_headers: HeaderRules::default(),
            response_headers: HeaderRules::default(),
            https_only: false,
            allow_methods: Vec::new(),
            maintenance: None,
            answer: None,
            error_pages: ErrorPages::default(),
            upgrade: Arc::from([Box::from(UPGRADES)]),
            mirror: None,
            access: None,
        }
    }
}

fn boxed(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| Box::from(*name)).collect()
}

/// What a client may go over to where nothing is said.
const UPGRADES: &str = "websocket";
/// Parameters that campaigns and analytics add and no origin answers by.
const TRACKING_PARAMETERS: &[&str] = &[
    "utm_*",
    "fbclid",
    "gclid",
    "gclsrc",
    "gbraid",
    "wbraid",
    "dclid",
    "msclkid",
    "yclid",
    "ttclid",
    "twclid",
    "li_fat_id",
    "igshid",
    "igsh",
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "oly_anon_id",
    "oly_enc_id",
    "vero_id",
    "wickedid",
    "mtm_*",
    "pk_*",
];

/// Cookies that mean that someone is logged in, has a cart or a password-protected page open: `WordPress`,
/// Drupal, Django, Rails, PHP, Java, Express, Laravel.
const SESSION_COOKIES: &[&str] = &[
    "wordpress_logged_in_*",
    "wordpress_sec_*",
    "wp-postpass_*",
    "comment_author_*",
    "woocommerce_*",
    "wp_woocommerce_session_*",
    "SESS*",
    "SSESS*",
    "sessionid",
    "session",
    "session_id",
    "_session_id",
    "PHPSESSID",
    "JSESSIONID",
    "connect.sid",
    "laravel_session",
    "remember_*",
    "auth*",
    "token",
    "jwt",
];

/// What negotiation and authentication need. `Origin` and `User-Agent` are left out: origins answer by them without
/// saying so in `Vary`, and then one reader's answer is everyone's.
const FORWARDED_FIELDS: &[&str] =
    &["accept", "accept-encoding", "accept-language", "authorization", "traceparent", "tracestate"];
