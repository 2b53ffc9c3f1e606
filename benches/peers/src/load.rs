//! The load generators, run on their own core, and what they print as one [`Sample`].
//!
//! wrk and h2load are closed loops: right for CPU per request and for saturation, wrong for latency, so their
//! percentiles stand in the tables as closed-loop ones. Latency is `peers open`'s.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::process::{LOAD_CORE, SERVER_CORE, pinned};
use crate::reply::{Progress, Reply, find};
use crate::servers::Stage;

/// What one run of a generator saw. Latencies are µs.
#[derive(Clone, Default)]
pub(crate) struct Sample {
    pub(crate) requests: f64,
    pub(crate) rate: f64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    pub(crate) errors: f64,
    /// What of the latencies can be the generator's own, at its 99.9th percentile: late to send, late to read.
    pub(crate) own: Option<f64>,
    /// The share of the answers that stalls of the machine touched.
    pub(crate) left_out: Option<f64>,
    /// Server CPU, µs a request.
    pub(crate) cpu: f64,
    /// Requests that came through to the origin.
    pub(crate) through: u64,
    /// Shares of the time that the server's core and the generator's had work.
    pub(crate) busy: (f64, f64),
}

impl Sample {
    /// Whether the generator kept its own schedule, and the machine let it.
    pub(crate) fn kept_time(&self) -> bool {
        self.own.is_none_or(|own| own <= OWN_MICROS_MAX)
            && self.left_out.is_none_or(|share| share <= LEFT_OUT_MAX)
    }
}

/// wrk for `secs`; each request its own path under `unique` where that is given: `{n}` in it becomes the number of the request,
/// `{of:N}` a random number below N.
pub(crate) fn wrk(
    stage: &Stage,
    url: &str,
    connections: u32,
    secs: u32,
    close: bool,
    unique: Option<&str>,
) -> io::Result<Sample> {
    wrk_taking(stage, url, connections, secs, close, unique, "")
}

/// The same with this `Accept-Encoding`, if it is not empty.
pub(crate) fn wrk_taking(
    stage: &Stage,
    url: &str,
    connections: u32,
    secs: u32,
    close: bool,
    unique: Option<&str>,
    accept: &str,
) -> io::Result<Sample> {
    let mut command = pinned(LOAD_CORE, None, "wrk");
    command.args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{secs}s")]);
    if !accept.is_empty() {
        command.args(["-H", &format!("Accept-Encoding: {accept}")]);
    }
    if close {
        command.args(["-H", "Connection: close"]);
    }
    if let Some(path) = unique {
        let script = stage.folder.join("unique.lua");
        let count = "local n = 0\nrequest = function()\n  n = n + 1\n";
        let mut path = path.replace("{n}", "\" .. n .. \"");
        if let Some((before, rest)) = path.split_once("{of:")
            && let Some((count, after)) = rest.split_once('}')
        {
            path = format!("{before}\" .. math.random(0, {count} - 1) .. \"{after}");
        }
        fs::write(&script, format!("{count}  return wrk.format(\"GET\", \"{path}\")\nend\n"))?;
        command.arg("-s").arg(script);
    }
    let text = output(command.arg(url))?;
    let line = |name: &str| text.lines().find_map(|line| line.split_once(name));
    let words = |text: &str| text.split([' ', ',']).filter_map(|word| word.parse::<f64>().ok()).sum::<f64>();
    let percentile = |name: &str| {
        let mark = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
        micros(mark.trim())
    };
    let requests = line(" requests in ").and_then(|(count, _)| count.trim().parse().ok());
    let rate = line("Requests/sec:").and_then(|(_, rate)| rate.trim().parse().ok());
    let (Some(requests), Some(rate)) = (requests, rate) else {
        return Err(io::Error::other(format!("wrk said:\n{text}")));
    };
    // A connection closed as asked shows as no error in wrk; one cut short does.
    let errors = line("Socket errors:").map_or(0.0, |(_, counts)| words(counts))
        + line("Non-2xx or 3xx responses:").map_or(0.0, |(_, count)| words(count));
    Ok(Sample { requests, rate, p50: percentile("50%"), p99: percentile("99%"), errors, ..Sample::default() })
}

/// h2load over TLS for `secs`.
pub(crate) fn h2load(url: &str, connections: u32, streams: u32, secs: u32) -> io::Result<Sample> {
    let mut command = pinned(LOAD_CORE, None, "h2load");
    command.args(["-t1", &format!("-c{connections}"), &format!("-m{streams}"), &format!("-D{secs}"), url]);
    let text = output(&mut command)?;
    let number = |line: &str, name: &str| {
        let line = text.lines().find(|text| text.starts_with(line))?;
        let before = line.split(',').find_map(|part| part.trim().strip_suffix(name))?;
        before.rsplit(' ').find(|word| !word.is_empty())?.parse::<f64>().ok()
    };
    let (Some(requests), Some(rate)) = (number("requests:", " succeeded"), number("finished in", " req/s"))
    else {
        return Err(io::Error::other(format!("h2load said:\n{text}")));
    };
    if !text.contains("Application protocol: h2\n") {
        return Err(io::Error::other("the server did not agree to HTTP/2"));
    }
    Ok(Sample { requests, rate, errors: number("requests:", " failed").unwrap_or(0.0), ..Sample::default() })
}

/// Our own open loop, as a process of its own on the load core.
pub(crate) fn open(
    server: SocketAddr,
    path: &str,
    rate: u32,
    requests: u64,
    watched: bool,
) -> io::Result<Sample> {
    let mut command = Stage::own(LOAD_CORE, "open")?;
    command.args([&server.to_string(), path, "--rate", &rate.to_string()]);
    if watched {
        command.args(["--watch", SERVER_CORE]);
    }
    let line = output(command.args(["--requests", &requests.to_string()]))?;
    let value = |name: &str| value(&line, name);
    Ok(Sample {
        requests: requests as f64 - value("errors"),
        rate: value("rps"),
        p50: Some(value("p50")),
        p99: Some(value("p99")),
        p999: Some(value("p999")),
        errors: value("errors"),
        own: Some(value("lag_p999") + value("turn_p999")),
        left_out: Some(value("left_out")),
        ..Sample::default()
    })
}

/// The figure called `name` in a line of `name=value`; zero where it is not.
pub(crate) fn value(line: &str, name: &str) -> f64 {
    let pair = line.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    pair.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// Runs a generator to its end.
pub(crate) fn output(command: &mut std::process::Command) -> io::Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?} failed:\n{text}{said}")))
}

/// One plain request; its body.
pub(crate) fn get(server: SocketAddr, path: &str) -> io::Result<String> {
    let text = whole(server, path, "")?;
    let body = find(&text, b"\r\n\r\n").map_or(0, |end| end + 4);
    Ok(String::from_utf8_lossy(&text[body..]).into_owned())
}

/// One plain request with this `Accept-Encoding`, if it is not empty; the whole answer's bytes, and whether they are encoded.
pub(crate) fn get_taking(server: SocketAddr, path: &str, accept: &str) -> io::Result<(usize, bool)> {
    let field = if accept.is_empty() { String::new() } else { format!("Accept-Encoding: {accept}\r\n") };
    let text = whole(server, path, &field)?;
    let head = find(&text, b"\r\n\r\n").unwrap_or(text.len());
    let head = String::from_utf8_lossy(&text[..head]).to_ascii_lowercase();
    Ok((text.len(), head.contains("\r\ncontent-encoding: ")))
}

fn whole(server: SocketAddr, path: &str, fields: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    // In one write: the floor takes every read for a request.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n{fields}\r\n").as_bytes())?;
    let (mut reply, mut buffer, mut text) = (Reply::default(), vec![0; 64 * 1024], Vec::new());
    loop {
        let length = stream.read(&mut buffer)?;
        text.extend_from_slice(&buffer[..length]);
        match reply.take(&buffer[..length]) {
            Progress::More if length > 0 => {}
            Progress::Done => break,
            _ => {
                let text: String = String::from_utf8_lossy(&text).chars().take(600).collect();
                return Err(io::Error::other(format!("{server}{path} answered:\n{text}")));
            }
        }
    }
    Ok(text)
}

/// Whether `program` can be found.
pub(crate) fn installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

/// wrk's `12.3us`, `1.2ms`, `1.0s`, in µs.
fn micros(text: &str) -> Option<f64> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(
        number
            * match unit {
                "us" => 1.0,
                "ms" => 1e3,
                "s" => 1e6,
                "m" => 6e7,
                _ => return None,
            },
    )
}

/// A generator that is later than this at its 99.9th percentile has measured itself. `turn` is an upper bound: a busy
/// one that takes 128 answers at once tells 250 µs and means half.
const OWN_MICROS_MAX: f64 = 350.0;
/// A machine that stalls through more than this part of a run is too disturbed to measure on.
const LEFT_OUT_MAX: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_times_are_read_by_their_unit() {
        for (text, wanted) in
            [("12.50us", Some(12.5)), ("1.50ms", Some(1500.0)), ("2.00s", Some(2e6)), ("x", None)]
        {
            assert_eq!(micros(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        assert!((value("p99=1 p999=2", "p999") - 2.0).abs() < f64::EPSILON);
        assert!(value("p999=2", "p99").abs() < f64::EPSILON);
    }
}
