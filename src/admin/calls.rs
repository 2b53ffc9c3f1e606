//! Which calls there are: path, method, and what a caller needs.
//!
//! `{name}` in a path stands for one segment that is not empty; what it was goes with the [`Call`]. The table is also what
//! `openapi.json` is held against.

use http::{Method, StatusCode};
use purge_api::auth::Permission;
use purge_api::compat::{service, zones};
use purge_api::{Problem, Reply};
use serde_json::json;

/// One of the calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Purge,
    Deploy,
    ZonePurge,
    KeyPurge,
    KeysPurge,
    ServicePurge,
    Receipt,
    Purges,
    Explain,
    Stat,
    Stream,
    Pools,
    Drain,
    Resume,
    Steerings,
    Steer,
    Stop,
    Reload,
    Upgrade,
    Plan,
    OpenApi,
    Live,
    Ready,
    Metrics,
    Dashboard,
    DashboardStyle,
    DashboardScript,
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Call {
    /// Its path, with places for what varies.
    pub(super) path: &'static str,
    /// Its method; HEAD goes with GET.
    pub(super) method: &'static str,
    pub(super) route: Route,
    /// A caller needs one of these; none where nothing is told that needs a token.
    pub(super) needs: &'static [Permission],
    /// Fields in which its callers put their token, beside `Authorization`.
    pub(super) keys: &'static [&'static str],
}

/// A problem in the shape that callers of this path know.
pub(super) fn refused(path: &[u8], problem: Problem) -> Reply {
    let begins = |start: &str| path.starts_with(start.as_bytes());
    if begins("/zones/") || begins("/client/") {
        zones::answer(Err(problem))
    } else if begins("/service/") {
        service::refused(problem)
    } else {
        problem.into()
    }
}

/// The call of this path and what stands for the last `{name}` in it, as written.
///
/// # Errors
/// 404 with all calls, 405 with the right method.
pub(super) fn find<'p>(method: &Method, path: &'p [u8]) -> Result<(&'static Call, &'p [u8]), Problem> {
    let found = CALLS.iter().find_map(|call| Some((call, captured(call.path.as_bytes(), path)?)));
    let Some((call, varied)) = found else {
        let calls: Vec<_> = CALLS.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-call", "there is no such call")
            .with("calls", json!(calls)));
    };
    if method.as_str() != call.method && !(*method == Method::HEAD && call.method == "GET") {
        let allow = if call.method == "GET" { "GET, HEAD" } else { call.method };
        let detail = format!("this call is a {}", call.method);
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail).field("allow", allow));
    }
    Ok((call, varied))
}

/// What stands for the last `{name}`, empty where there is none; `None` where the path is another.
fn captured<'p>(pattern: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let mut last = &b""[..];
    let mut segments = path.split(|byte| *byte == b'/');
    for wanted in pattern.split(|byte| *byte == b'/') {
        let segment = segments.next()?;
        if wanted.first() == Some(&b'{') {
            if segment.is_empty() {
                return None;
            }
            last = segment;
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(last)
}

const NOBODY_ASKED: &[Permission] = &[];
const READ: &[Permission] = &[Permission::Read];
pub(super) const PURGE: &[Permission] = &[Permission::Purge];
const CONTROL: &[Permission] = &[Permission::Control];
/// Who may purge may see what became of it; `history.rs` shows those no more than that.
const PURGE_OR_READ: &[Permission] = &[Permission::Read, Permission::Purge];

const fn call(path: &'static str, method: &'static str, route: Route, needs: &'static [Permission]) -> Call {
    let keys: &[&str] = match route {
        Route::ZonePurge => &["x-auth-key"],
        Route::KeyPurge | Route::KeysPurge | Route::ServicePurge => &["fastly-key"],
        _ => &[],
    };
    Call { path, method, route, needs, keys }
}

/// All of them.
#[rustfmt::skip]
pub(super) const CALLS: &[Call] = &[
    call("/v1/purge", "POST", Route::Purge, PURGE),
    call("/v1/purge/{sequence}", "GET", Route::Receipt, PURGE_OR_READ),
    call("/v1/purges", "GET", Route::Purges, READ),
    call("/zones/{zone}/purge_cache", "POST", Route::ZonePurge, PURGE),
    call("/client/v4/zones/{zone}/purge_cache", "POST", Route::ZonePurge, PURGE),
    call("/service/{service}/purge", "POST", Route::KeysPurge, PURGE),
    call("/service/{service}/purge_all", "POST", Route::ServicePurge, PURGE),
    call("/service/{service}/purge/{key}", "POST", Route::KeyPurge, PURGE),
    call("/v1/deploy", "POST", Route::Deploy, PURGE),
    call("/v1/explain", "GET", Route::Explain, READ),
    call("/v1/stat", "GET", Route::Stat, READ),
    call("/v1/stream", "GET", Route::Stream, READ),
    call("/v1/pools", "GET", Route::Pools, READ),
    call("/v1/pools/{pool}/{origin}/drain", "POST", Route::Drain, CONTROL),
    call("/v1/pools/{pool}/{origin}/resume", "POST", Route::Resume, CONTROL),
    call("/v1/steer", "GET", Route::Steerings, READ),
    call("/v1/steer/{site}", "POST", Route::Steer, CONTROL),
    call("/v1/stop", "POST", Route::Stop, CONTROL),
    call("/v1/reload", "POST", Route::Reload, CONTROL),
    call("/v1/upgrade", "POST", Route::Upgrade, CONTROL),
    call("/v1/plan", "POST", Route::Plan, CONTROL),
    call("/v1/openapi.json", "GET", Route::OpenApi, NOBODY_ASKED),
    call("/live", "GET", Route::Live, NOBODY_ASKED),
    call("/ready", "GET", Route::Ready, NOBODY_ASKED),
    call("/metrics", "GET", Route::Metrics, READ),
    call("/", "GET", Route::Dashboard, NOBODY_ASKED),
    call("/dashboard.css", "GET", Route::DashboardStyle, NOBODY_ASKED),
    call("/dashboard.js", "GET", Route::DashboardScript, NOBODY_ASKED),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (claim, pattern, path, expected) in [
            ("a path is itself", "/v1/purge", "/v1/purge", Some("")),
            ("not a longer one", "/v1/purge", "/v1/purge/", None),
            ("not a shorter one", "/v1/purge", "/v1", None),
            ("a place takes a segment", "/v1/purge/{sequence}", "/v1/purge/7", Some("7")),
            ("never an empty one", "/v1/purge/{sequence}", "/v1/purge/", None),
            ("never two", "/v1/purge/{sequence}", "/v1/purge/7/8", None),
            ("the last place is told", "/s/{any}/p/{tag}", "/s/x/p/a%2Fb", Some("a%2Fb")),
            ("a slash more is another path", "/live", "//live", None),
            ("no path is none", "/", "", None),
        ] {
            let got = captured(pattern.as_bytes(), path.as_bytes());
            assert_eq!(got, expected.map(str::as_bytes), "{claim}");
        }
    }

    #[test]
    fn no_call_hides_another() {
        for (at, call) in CALLS.iter().enumerate() {
            let first = CALLS
                .iter()
                .position(|other| captured(other.path.as_bytes(), call.path.as_bytes()).is_some());
            assert_eq!(first, Some(at), "{}", call.path);
        }
    }
}
