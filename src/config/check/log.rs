//! `[log]` and `[trace]`.

use std::path::Path;
use std::sync::Arc;

use super::super::file::{Item, Section, list, nearest};
use super::super::limits::LOG_VARIABLES_MAX;
use super::super::log::{
    LINE_FIELDS, LinePiece, LineTemplate, Log, LogFormat, LogTarget, Mask, Rotation, Sample, SyslogAt,
};
use super::super::mistake::Complaint;
use super::super::trace::Trace;
use super::Surroundings;

pub(super) fn log(section: Section<'_>, around: &Surroundings) -> Log {
    let mut log = Log::default();
    let access = section.item("access");
    if let Some(item) = &access
        && let Some(target) = item.parsed(LOG_EXAMPLE, |text| log_target(text, &around.base))
    {
        log.target = target;
    }
    if let Some(format) = section.item("format").and_then(|item| format(&item)) {
        log.format = format;
    }
    if let Some(item) = section.item("mask_client") {
        log.mask = mask(&item);
    }
    if let Some(item) = section.item("rotate") {
        log.rotation = rotation(&item);
        if access.is_none_or(|access| access.as_text().is_some())
            && log.rotation.is_some()
            && !matches!(log.target, LogTarget::File(_))
        {
            let message = "`rotate` is for a log that is written to a file";
            let help = "write access = \"/var/log/tidegate/access.log\", or leave rotate out";
            item.tell(Complaint::new("log-rotate", message, "no file", help));
        }
    }
    if let Some(sample) = section.item("sample").and_then(|item| sample(&item)) {
        log.sample = sample;
    }
    section.close();
    log
}

pub(super) fn trace(section: Section<'_>) -> Trace {
    let mut trace = Trace::default();
    if let Some(on) = section.item("on").and_then(|item| item.flag()) {
        trace.on = on;
    }
    if let Some(sample) = section.item("sample").and_then(|item| sample(&item)) {
        trace.sample = sample;
    }
    if let Some(item) = section.item("export") {
        trace.export = item.parsed(EXPORT_EXAMPLE, receiver);
        if !cfg!(feature = "otlp") {
            let message = "this binary cannot send spans";
            let help = "build it with its feature `otlp`, which is there by default, or leave export out: log lines name their trace";
            item.tell(Complaint::new("trace-export", message, "not built in", help));
        } else if !trace.on {
            let message = "`export` stands in a [trace] that is not on";
            item.tell(Complaint::new("trace-export", message, "nothing to send", "add on = true"));
        }
    }
    section.close();
    trace
}

/// `off`, `stdout`, `journald`, a syslog receiver, or a path relative to `base`.
fn log_target(text: &str, base: &Path) -> Result<LogTarget, Complaint> {
    let complaint = |label: &str, help: &str| {
        Err(Complaint::new("log", format!("`{}` is no place for a log", text.escape_debug()), label, help))
    };
    Ok(match text {
        "" => return complaint("empty", LOG_EXAMPLE),
        "off" => LogTarget::Off,
        "stdout" | "-" => LogTarget::Stdout,
        "journald" | "journal" => LogTarget::Journal,
        "syslog" => LogTarget::Syslog(SyslogAt::Unix(DEV_LOG.into())),
        _ => match text.split_once(':') {
            Some(("syslog", path)) if path.starts_with('/') => LogTarget::Syslog(SyslogAt::Unix(path.into())),
            Some((scheme @ ("syslog+udp" | "syslog+tcp"), rest)) => {
                let host = rest.strip_prefix("//").unwrap_or_default();
                let port = if scheme == "syslog+udp" { 514 } else { 601 };
                let Some(at) = host_and_port(host, port) else {
                    let help = "write host and port, like \"syslog+udp://10.0.0.5:514\" or \"syslog+tcp://[fd00::5]:601\"";
                    return complaint("not a receiver", help);
                };
                let at = at.into();
                LogTarget::Syslog(if port == 514 { SyslogAt::Udp(at) } else { SyslogAt::Tcp(at) })
            }
            Some((scheme, _)) if scheme.starts_with("syslog") || scheme.starts_with("udp") => {
                return complaint("not a receiver", SYSLOG_EXAMPLE);
            }
            _ => LogTarget::File(base.join(text)),
        },
    })
}

/// `host:port` with this port where none is written; `None` where it is neither.
fn host_and_port(text: &str, port: u16) -> Option<String> {
    let is_host = |host: &str| {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            }
        }
    };
    if is_host(text) {
        return Some(format!("{text}:{port}"));
    }
    let (host, written) = text.rsplit_once(':')?;
    (is_host(host) && written.parse::<u16>().is_ok_and(|port| port > 0)).then(|| text.to_owned())
}

/// `http://host:port` of a receiver of spans.
fn receiver(text: &str) -> Result<Box<str>, Complaint> {
    let rest = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let at = rest.and_then(|rest| host_and_port(rest, OTLP_PORT));
    at.map(Into::into).ok_or_else(|| {
        let message = format!("`{}` is no receiver of spans", text.escape_debug());
        Complaint::new("trace-export", message, "not a receiver", EXPORT_EXAMPLE)
    })
}

fn format(item: &Item<'_>) -> Option<LogFormat> {
    match item.as_text() {
        Some(text) if text.contains('$') => {
            let template = item.parsed(FORMAT_EXAMPLE, line_template)?;
            Some(LogFormat::Template(Arc::new(template)))
        }
        _ => item.word_or(&[("json", LogFormat::Json), ("combined", LogFormat::Combined)], FORMAT_OTHER),
    }
}

/// A line in words of one's own: `$host`, `${host}`, and `$$` for a dollar.
fn line_template(text: &str) -> Result<LineTemplate, Complaint> {
    let names = || LINE_FIELDS.iter().map(|(name, _)| *name);
    let all = || list(&names().collect::<Vec<_>>());
    if text.chars().any(char::is_control) {
        let message = "a log line has a control character in it";
        return Err(Complaint::new(
            "log-format",
            message,
            "a control",
            "a line ends by itself; write it in one",
        ));
    }
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, behind)) = rest.split_once('$') {
        plain.push_str(before);
        if let Some(behind) = behind.strip_prefix('$') {
            plain.push('$');
            rest = behind;
            continue;
        }
        let (name, behind) = match behind.strip_prefix('{').map(|inner| inner.split_once('}')) {
            Some(Some(parts)) => parts,
            Some(None) => ("", behind),
            None => behind.split_at(
                behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len()),
            ),
        };
        let Some((_, field)) = LINE_FIELDS.iter().find(|(known, _)| *known == name) else {
            let message = format!("`${}` is no field of a log line", name.escape_debug());
            let near = NGINX.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
            let help = near.or_else(|| nearest(name, names())).map_or_else(
                || format!("known are {}; `$$` is a dollar", all()),
                |near| format!("did you mean ${near}? known are {}", all()),
            );
            return Err(Complaint::new("log-format", message, "unknown", help));
        };
        if !plain.is_empty() {
            pieces.push(LinePiece::Text(std::mem::take(&mut plain).into()));
        }
        pieces.push(LinePiece::Field(*field));
        rest = behind;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(LinePiece::Text(plain.into()));
    }
    if pieces.len() > LOG_VARIABLES_MAX {
        let message = format!("a log line has {} parts", pieces.len());
        let help = format!("write at most {LOG_VARIABLES_MAX} fields and texts between them");
        return Err(Complaint::new("log-format", message, "too many", help));
    }
    Ok(LineTemplate { text: text.into(), pieces })
}

/// `true`, `false`, or how many bits stay.
fn mask(item: &Item<'_>) -> Option<Mask> {
    if !item.is_table() {
        return item.flag()?.then(Mask::default);
    }
    let section = item.section("`mask_client`".to_owned())?;
    let usual = Mask::default();
    let bits = |key, most, usual: u8| {
        let written = section.item(key).and_then(|item| item.count(0..=most));
        written.and_then(|bits| u8::try_from(bits).ok()).unwrap_or(usual)
    };
    let mask =
        Mask { ipv4_bits: bits("ipv4", 32, usual.ipv4_bits), ipv6_bits: bits("ipv6", 128, usual.ipv6_bits) };
    section.close();
    Some(mask)
}

fn rotation(item: &Item<'_>) -> Option<Rotation> {
    let section = item.section("`rotate`".to_owned())?;
    let bytes = section.required("size", ROTATE_EXAMPLE).and_then(|item| item.size(ROTATE_RANGE));
    let keep = section.item("keep").and_then(|item| item.count(KEEP_RANGE));
    section.close();
    Some(Rotation { bytes: bytes?, keep: keep.and_then(|keep| u16::try_from(keep).ok()).unwrap_or(KEEP) })
}

/// A part of one, or a percentage.
fn sample(item: &Item<'_>) -> Option<Sample> {
    item.share(SAMPLE_EXAMPLE).map(|ppm| Sample { ppm })
}

/// What coming from nginx's `log_format` one writes first.
const NGINX: [(&str, &str); 12] = [
    ("remote_addr", "client"),
    ("request_uri", "path"),
    ("uri", "path"),
    ("request", "method $path $protocol"),
    ("request_method", "method"),
    ("body_bytes_sent", "bytes"),
    ("bytes_sent", "bytes"),
    ("http_user_agent", "user_agent"),
    ("http_referer", "referer"),
    ("time_local", "time"),
    ("time_iso8601", "time"),
    ("upstream_cache_status", "cache"),
];
const LOG_EXAMPLE: &str =
    "write \"stdout\", \"off\", \"journald\", \"syslog\", \"syslog+udp://HOST:514\" or the path of a file";
const SYSLOG_EXAMPLE: &str =
    "write \"syslog\", \"syslog:/dev/log\", \"syslog+udp://10.0.0.5:514\" or \"syslog+tcp://10.0.0.5:601\"";
const EXPORT_EXAMPLE: &str = "write host and port of an OTLP/HTTP receiver, like \"http://127.0.0.1:4318\"";
const FORMAT_OTHER: &str =
    "a line with fields in it, like \"$time $client $method $host$path $status $cache\"";
const FORMAT_EXAMPLE: &str = "write \"json\", \"combined\" or a line with fields in it";
const ROTATE_EXAMPLE: &str = "write rotate = { size = \"100MiB\", keep = 10 }";
const SAMPLE_EXAMPLE: &str = "write a part of one, like 0.1 for every tenth request";
const DEV_LOG: &str = "/dev/log";
const OTLP_PORT: u16 = 4318;
/// From one block of lines to what a file system may not take.
const ROTATE_RANGE: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 40);
const KEEP_RANGE: std::ops::RangeInclusive<u64> = 1..=1000;
const KEEP: u16 = 10;
