//! A second reader of HTTP/1.1 requests, written from RFC 9112 alone, that judges what reached an origin.
//!
//! It shares no code with the node and repairs nothing: every "MUST NOT generate" of the standard is a complaint. Given
//! all bytes of one connection it tells the requests on it, or what is wrong and where.

/// A request as an origin would understand it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case, values without surrounding white space, in order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// What is wrong with the bytes, and at which of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Complaint {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// Reads all requests of a connection; the bytes must end with one.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Request>, Complaint> {
    let mut reader = Reader { bytes, at: 0 };
    let mut requests = Vec::new();
    while reader.at < bytes.len() {
        requests.push(reader.request()?);
    }
    Ok(requests)
}

/// Reads the whole requests of a connection that may have been cut: the requests, and at which byte the unfinished rest
/// begins (the end of the bytes if there is none).
pub(crate) fn read_cut(bytes: &[u8]) -> Result<(Vec<Request>, usize), Complaint> {
    let mut reader = Reader { bytes, at: 0 };
    let mut requests = Vec::new();
    loop {
        let from = reader.at;
        if from == bytes.len() {
            return Ok((requests, from));
        }
        match reader.request() {
            Ok(request) => requests.push(request),
            Err(complaint) if complaint.is_cut() => return Ok((requests, from)),
            Err(complaint) => return Err(complaint),
        }
    }
}

impl Complaint {
    /// Whether more bytes could still make it right.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self.what, ENDS_EARLY | BODY_SHORT)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn complain<T>(&self, what: &'static str) -> Result<T, Complaint> {
        Err(Complaint { at: self.at, what })
    }

    fn next(&mut self) -> Result<u8, Complaint> {
        let Some(byte) = self.bytes.get(self.at) else { return self.complain(ENDS_EARLY) };
        self.at += 1;
        Ok(*byte)
    }

    /// Everything up to CR LF, which is taken too. A CR or LF alone is a complaint.
    fn line(&mut self) -> Result<&'a [u8], Complaint> {
        let from = self.at;
        loop {
            match self.next()? {
                b'\n' => return self.complain("LF without CR"),
                b'\r' if self.next()? != b'\n' => return self.complain("CR without LF"),
                b'\r' => return Ok(&self.bytes[from..self.at - 2]),
                0 => return self.complain("NUL"),
                _ => {}
            }
        }
    }

    fn request(&mut self) -> Result<Request, Complaint> {
        let line = self.line()?;
        let Ok(line) = std::str::from_utf8(line) else { return self.complain("request line above ASCII") };
        let parts: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = parts[..] else {
            return self.complain("request line of other than three parts");
        };
        if method.is_empty() || !method.bytes().all(token) {
            return self.complain("method is not a token");
        }
        if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\\".contains(&byte))
        {
            return self.complain("byte in the target that does not belong there");
        }
        let origin_form = target.starts_with('/');
        let absolute_form = target.split_once("://").is_some_and(|(scheme, rest)| {
            matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") && !rest.is_empty()
        });
        if !(origin_form || absolute_form || target == "*" && method == "OPTIONS") {
            return self.complain("target in no known form");
        }
        if version != "HTTP/1.1" && version != "HTTP/1.0" {
            return self.complain("neither HTTP/1.1 nor HTTP/1.0");
        }
        let fields = self.fields()?;
        let all = |wanted: &str| -> Vec<&[u8]> {
            fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &value[..]).collect()
        };
        match all("host")[..] {
            [host] if !host.is_empty() && !host.iter().any(|byte| b" ,/@\\?#\t".contains(byte)) => {}
            [] if version == "HTTP/1.0" => {}
            _ => return self.complain("not exactly one good Host"),
        }
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        let body = match (&lengths[..], &codings[..]) {
            ([], []) => Vec::new(),
            ([length], []) => {
                let digits = std::str::from_utf8(length).unwrap_or("");
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
                    && (digits == "0" || !digits.starts_with('0'));
                match digits.parse::<usize>() {
                    Ok(length) if plain => self.exactly(length)?,
                    _ => return self.complain("Content-Length is not a plain number"),
                }
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && version == "HTTP/1.1" => {
                self.chunked()?
            }
            _ => return self.complain("framing is not told once"),
        };
        Ok(Request { method: method.to_owned(), target: target.to_owned(), fields, body })
    }

    fn fields(&mut self) -> Result<Vec<(String, Vec<u8>)>, Complaint> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                return self.complain("no colon");
            };
            let name = &line[..colon];
            if name.is_empty() || !name.iter().copied().all(token) {
                return self.complain("name is not a token");
            }
            let value = line[colon + 1..].trim_ascii();
            if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 127) {
                return self.complain("control byte in a value");
            }
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Complaint> {
        let Some(body) = self.at.checked_add(length).and_then(|end| self.bytes.get(self.at..end)) else {
            return self.complain(BODY_SHORT);
        };
        self.at += length;
        Ok(body.to_vec())
    }

    fn chunked(&mut self) -> Result<Vec<u8>, Complaint> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            if size.is_empty() || size.len() > 16 || !size.iter().all(u8::is_ascii_hexdigit) {
                return self.complain("chunk size is not hexadecimal");
            }
            let size = std::str::from_utf8(size).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
            let Some(size) = size else { return self.complain("chunk size too large") };
            if size == 0 {
                self.fields()?;
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            if !self.line()?.is_empty() {
                return self.complain("chunk without line end");
            }
        }
    }
}

fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const ENDS_EARLY: &str = "the bytes end too early";
const BODY_SHORT: &str = "body too short";
