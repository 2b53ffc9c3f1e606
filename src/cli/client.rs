//! Asks a running node's admin listener: one call, one connection, JSON back.
//!
//! Blocking, because a client command does one thing. The admin listener frames every answer with `Content-Length`;
//! an answer that ends early is a failure, never a result.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::Ended;
use super::talk::Talk;
use crate::config::limits::{ADMIN_ADDRESS, ADMIN_CLIENT_BYTES_MAX, ADMIN_CLIENT_TIMEOUT};

/// Where the node is.
#[derive(Args, Debug, Default)]
pub(crate) struct Node {
    /// The node's admin listener.
    #[arg(
        long,
        value_name = "ADDR",
        help = "The node's admin listener [env: TIDEGATE_ADMIN] [default: 127.0.0.1:9180]"
    )]
    pub(super) admin: Option<String>,
    /// A file with the token.
    #[arg(long, value_name = "FILE", help = "A file with the token [env: TIDEGATE_TOKEN, the token itself]")]
    pub(super) token_file: Option<PathBuf>,
    /// Print the node's answer as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// The node's answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// Its body.
    pub(super) body: Value,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot read the token file {path}: {source}")]
    Token { path: PathBuf, source: io::Error },
    #[error("`{0}` is not an admin address")]
    Address(String),
    #[error("no node answers at {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("the call to {address} failed: {source}")]
    Call { address: String, source: io::Error },
    #[error("what answers at {address} is not a node's admin listener")]
    NotANode { address: String },
}

impl Node {
    /// Calls, and shows whatever goes wrong; `None` then, with how the command ended.
    pub(super) fn call(
        &self,
        talk: Talk,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Ended> {
        self.call_within(ADMIN_CLIENT_TIMEOUT, talk, method, path, body)
    }

    /// The same where the answer may take longer.
    pub(super) fn call_within(
        &self,
        wait: Duration,
        talk: Talk,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Ended> {
        let answer = self.ask(wait, method, path, body).map_err(|error| failed(talk, &error))?;
        if answer.status < 300 {
            return Ok(answer.body);
        }
        Err(self.refused(talk, &answer))
    }

    /// Shows why the node did not do it.
    fn refused(&self, talk: Talk, answer: &Answer) -> Ended {
        if self.json {
            talk.json(&answer.body);
        }
        let text = |name| answer.body.get(name).and_then(Value::as_str);
        let what = text("detail")
            .or_else(|| text("title"))
            .map_or_else(|| format!("the node answered with status {}", answer.status), str::to_owned);
        let help = match answer.status {
            401 => "give the token: TIDEGATE_TOKEN=… or --token-file FILE",
            403 => "the token may not do this, or the call did not come from the node's machine",
            _ => "",
        };
        // Mistakes are shown as `check` shows them.
        if let Some(mistakes) = text("text").filter(|_| !self.json) {
            talk.say(mistakes);
        }
        talk.complain(&what, help);
        if matches!(answer.status, 400 | 422) { Ended::Usage } else { Ended::Failed }
    }

    /// Asks for events, and shows what goes wrong; how the command ended, then.
    pub(super) fn events(&self, talk: Talk, path: &str) -> Result<Events, Ended> {
        match self.begin_events(path) {
            Ok(Ok(events)) => Ok(events),
            Ok(Err(answer)) => Err(self.refused(talk, &answer)),
            Err(error) => Err(failed(talk, &error)),
        }
    }

    /// Asks for events; why there are none, in a line.
    pub(super) fn try_events(&self, path: &str) -> Result<Events, String> {
        match self.begin_events(path) {
            Ok(Ok(events)) => Ok(events),
            Ok(Err(answer)) => {
                let told = answer.body.get("detail").and_then(Value::as_str);
                Err(told.map_or_else(
                    || format!("the node answered with status {}", answer.status),
                    str::to_owned,
                ))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn begin_events(&self, path: &str) -> Result<Result<Events, Answer>, CallError> {
        let address = self.address();
        let mut socket = connect(&address, ADMIN_CLIENT_TIMEOUT)?;
        let call = |source| CallError::Call { address: address.clone(), source };
        // Of HTTP/1.0: what has no end ends with the connection, and is not cut into chunks.
        let request = self.head(&address, "GET", path, "1.0")? + "\r\n";
        socket.write_all(request.as_bytes()).map_err(call)?;
        let mut lines = BufReader::new(socket);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = lines
                .by_ref()
                .take(ADMIN_CLIENT_BYTES_MAX as u64)
                .read_until(b'\n', &mut head)
                .map_err(call)?;
            if read == 0 || head.len() > ADMIN_CLIENT_BYTES_MAX {
                return Err(CallError::NotANode { address });
            }
        }
        if is_event_stream(&head) {
            return Ok(Ok(Events { lines }));
        }
        let read = lines.take(ADMIN_CLIENT_BYTES_MAX as u64).read_to_end(&mut head);
        read.map_err(call)?;
        parse(&head).map(Err).ok_or(CallError::NotANode { address })
    }

    /// The head of a call but for the empty line.
    fn head(&self, address: &str, method: &str, path: &str, version: &str) -> Result<String, CallError> {
        let host = address.strip_prefix("unix:").map_or(address, |_| "localhost");
        let mut request = format!(
            "{method} {path} HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\nAccept: application/json\r\n"
        );
        if let Some(token) = self.token()? {
            let _ = write!(request, "Authorization: Bearer {token}\r\n");
        }
        Ok(request)
    }

    fn ask(
        &self,
        wait: Duration,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let address = self.address();
        let mut request = self.head(&address, method, path, "1.1")?;
        let mut socket = connect(&address, wait)?;
        let call = |source| CallError::Call { address: address.clone(), source };
        if let Some(body) = body {
            let body = body.to_string();
            let length = body.len();
            let _ =
                write!(request, "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        } else if method == "POST" {
            request += "Content-Length: 0\r\n\r\n";
        } else {
            request += "\r\n";
        }
        socket.write_all(request.as_bytes()).map_err(call)?;
        let mut bytes = Vec::new();
        let read = socket.take(ADMIN_CLIENT_BYTES_MAX as u64).read_to_end(&mut bytes);
        // A node that stops may reset the connection behind its answer; whether the answer is whole, its length says.
        if bytes.is_empty() {
            read.map_err(call)?;
        }
        parse(&bytes).ok_or(CallError::NotANode { address })
    }

    /// The flag, the environment, the default; as `host:port` or `unix:path`.
    pub(super) fn address(&self) -> String {
        let named = self
            .admin
            .clone()
            .or_else(|| std::env::var("TIDEGATE_ADMIN").ok().filter(|text| !text.is_empty()));
        let named = named.unwrap_or_else(|| ADMIN_ADDRESS.to_string());
        let bare = named.strip_prefix("http://").unwrap_or(&named).trim_end_matches('/');
        match bare.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("127.0.0.1:{bare}")
            }
            None => bare.to_owned(),
        }
    }

    fn token(&self) -> Result<Option<String>, CallError> {
        let written = match &self.token_file {
            Some(path) => Some(
                fs::read_to_string(path).map_err(|source| CallError::Token { path: path.clone(), source })?,
            ),
            None => std::env::var("TIDEGATE_TOKEN").ok(),
        };
        Ok(written
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())))
    }
}

impl CallError {
    fn help(&self) -> &'static str {
        match self {
            Self::Token { .. } => "check the path and who may read it",
            Self::Address(_) => "write it like 127.0.0.1:9180 or unix:/run/tidegate/admin.sock",
            Self::Connect { .. } => "is it running? name its admin listener with --admin or TIDEGATE_ADMIN",
            Self::Call { .. } => "is it overloaded, or ending?",
            Self::NotANode { .. } => "name the node's admin listener, not a listener for clients",
        }
    }
}

/// Events as the node sends them.
pub(super) struct Events {
    lines: BufReader<Box<dyn Socket>>,
}

impl Iterator for Events {
    type Item = (String, String);

    /// The next one's name and data; none when the node has ended, or says nothing for long.
    fn next(&mut self) -> Option<Self::Item> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            let read = self.lines.by_ref().take(ADMIN_CLIENT_BYTES_MAX as u64).read_line(&mut line);
            if read.is_err() || !line.ends_with('\n') {
                return None;
            }
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                text.clone_into(&mut data);
            } else if line.is_empty() && !name.is_empty() {
                return Some((name, data));
            }
        }
    }
}

/// Shows why there is no answer.
fn failed(talk: Talk, error: &CallError) -> Ended {
    talk.complain(&error.to_string(), error.help());
    match error {
        CallError::Address(_) | CallError::Token { .. } => Ended::Usage,
        _ => Ended::Failed,
    }
}

/// Whether a head begins events.
fn is_event_stream(head: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = response.parse(head) else { return false };
    let is_type = |field: &httparse::Header<'_>| field.name.eq_ignore_ascii_case("content-type");
    response.code == Some(200)
        && response.headers.iter().any(|field| is_type(field) && field.value == b"text/event-stream")
}

trait Socket: Read + Write + Send {}
impl<S: Read + Write + Send> Socket for S {}

/// Connects to the node; `wait` is for what is read.
fn connect(address: &str, wait: Duration) -> Result<Box<dyn Socket>, CallError> {
    let failed = |source| CallError::Connect { address: address.to_owned(), source };
    if let Some(path) = address.strip_prefix("unix:") {
        let socket = UnixStream::connect(path).map_err(failed)?;
        socket.set_read_timeout(Some(wait)).map_err(failed)?;
        socket.set_write_timeout(Some(ADMIN_CLIENT_TIMEOUT)).map_err(failed)?;
        return Ok(Box::new(socket));
    }
    let addresses = address.to_socket_addrs().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => CallError::Address(address.to_owned()),
        _ => failed(error),
    })?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for one in addresses {
        match TcpStream::connect_timeout(&one, ADMIN_CLIENT_TIMEOUT) {
            Ok(socket) => {
                socket.set_read_timeout(Some(wait)).map_err(failed)?;
                socket.set_write_timeout(Some(ADMIN_CLIENT_TIMEOUT)).map_err(failed)?;
                return Ok(Box::new(socket));
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// A whole answer with JSON in it.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(end) = head.parse(bytes).ok()? else { return None };
    let named = |name: &str| head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let length: usize = std::str::from_utf8(named("content-length")?.value).ok()?.trim().parse().ok()?;
    let body = bytes.get(end..)?.get(..length)?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).ok()? };
    Some(Answer { status: head.code?, body })
}

/// `text` as the value of a query parameter.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (claim, bytes, expected) in [
            (
                "a whole answer is read",
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue",
                Some((200, "true")),
            ),
            ("an empty one too", "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", Some((202, "null"))),
            ("a cut body is no answer", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntrue", None),
            ("a cut head is no answer", "HTTP/1.1 200 OK\r\nContent-Le", None),
            ("an answer without length could be cut", "HTTP/1.1 200 OK\r\n\r\ntrue", None),
            ("a page is not JSON", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", None),
            ("another protocol is not ours", "220 mail.example.com ESMTP", None),
        ] {
            let answer = parse(bytes.as_bytes()).map(|answer| (answer.status, answer.body.to_string()));
            assert_eq!(answer, expected.map(|(status, body)| (status, body.to_owned())), "{claim}");
        }
    }

    #[test]
    fn addresses() {
        for (claim, written, expected) in [
            ("an address is taken as it is", "10.0.0.1:9180", "10.0.0.1:9180"),
            ("a URL is understood", "http://10.0.0.1:9180/", "10.0.0.1:9180"),
            ("a port is on this machine", ":9181", "127.0.0.1:9181"),
            ("also without colon", "9181", "127.0.0.1:9181"),
            ("a socket has a path", "unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            let node = Node { admin: Some(written.to_owned()), ..Node::default() };
            assert_eq!(node.address(), expected, "{claim}");
        }
    }
}
