//! Reads the body of `POST /ingress/intent`: one pass, no tree; the client's own payload goes straight to its
//! canonical text.

use std::borrow::Cow;

use gesta_log_format::json::{self, ErrorKind, Inspect, Reader};

use crate::limits;
use crate::problem::{Problem, ReasonCode};

/// The interface version that this server speaks.
pub const INTERFACE_VERSION: i64 = 2;

/// The stream of requests that name none.
pub const DEFAULT_STREAM: &str = "default";

/// Correlation ids that only this server gives.
const RESERVED_PREFIXES: [&str; 4] = ["rt:", "task:", "run:", "dataset:"];

/// A request whose shape is right.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Intent<'a> {
    pub correlation_id: Cow<'a, str>,
    pub stream_id: Cow<'a, str>,
    pub lane: Cow<'a, str>,
    pub actor: Cow<'a, str>,
    pub intent_type: Cow<'a, str>,
    pub thread_id: Cow<'a, str>,
    pub turn_id: Cow<'a, str>,
    pub parent_turn_id: Option<Cow<'a, str>>,
    /// The client's own object, canonical.
    pub payload: Vec<u8>,
    /// A list, canonical; `[]` where the request has none.
    pub declared_refs: Vec<u8>,
}

/// Reads a request.
///
/// # Errors
/// `INVALID_JSON`, `INVALID_INPUT`, `UNSUPPORTED_INTERFACE_VERSION`, `SECRETS_PRESENT`, `MAX_REFS_EXCEEDED`, each with
/// the pointer of the first thing that is wrong.
pub fn parse(body: &[u8]) -> Result<Intent<'_>, Problem> {
    let mut secrets = Secrets::default();
    parse_strictly(body, &mut secrets).map_err(|error| {
        if secrets.found {
            return Problem::new(ReasonCode::SecretsPresent).pointer(error.pointer);
        }
        // A wrong shape is found before the rest is read, which may not even be JSON.
        if let Err(error) = read_strictly(body) {
            return problem(ReasonCode::InvalidJson, &error);
        }
        match error.kind {
            // A body of another version has another shape: that it is another version is what helps.
            _ if version(body) != Some(INTERFACE_VERSION) => unsupported_version(),
            ErrorKind::Rejected { .. } if error.pointer == "/interface_version" => unsupported_version(),
            ErrorKind::Rejected { ref reason } if reason == TOO_MANY_REFS => {
                problem(ReasonCode::MaxRefsExceeded, &error)
            }
            _ => problem(ReasonCode::InvalidInput, &error),
        }
    })
}

/// What a client is told whose body is refused, where nothing but shape and secrets is judged.
pub(crate) fn refused(body: &[u8], secrets: &Secrets, error: &json::Error) -> Problem {
    if secrets.found {
        return Problem::new(ReasonCode::SecretsPresent).pointer(error.pointer.clone());
    }
    match read_strictly(body) {
        Err(error) => problem(ReasonCode::InvalidJson, &error),
        Ok(()) => problem(ReasonCode::InvalidInput, error),
    }
}

fn problem(code: ReasonCode, error: &json::Error) -> Problem {
    let place = if error.pointer.is_empty() { "the body" } else { &error.pointer };
    Problem::new(code).detail(format!("{place}: {}.", error.kind)).pointer(error.pointer.clone())
}

fn unsupported_version() -> Problem {
    Problem::new(ReasonCode::UnsupportedInterfaceVersion).pointer("/interface_version")
}

/// Whether the text is JSON as this server reads it, whatever its shape.
fn read_strictly(body: &[u8]) -> Result<(), json::Error> {
    let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
    reader.skip()?;
    reader.finish()
}

/// The interface version of a body whatever else it holds.
fn version(body: &[u8]) -> Option<i64> {
    let mut reader = Reader::new(body).ok()?;
    reader.begin_object().ok()?;
    while let Some(key) = reader.next_member().ok()? {
        if key == "interface_version" {
            return reader.integer().ok();
        }
        reader.skip().ok()?;
    }
    None
}

pub(crate) fn rejected(reason: impl Into<Cow<'static, str>>) -> ErrorKind {
    ErrorKind::Rejected { reason: reason.into() }
}

fn parse_strictly<'a>(body: &'a [u8], secrets: &mut Secrets) -> Result<Intent<'a>, json::Error> {
    let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
    let mut intent = Intent::default();
    let (mut version, mut correlation_id, mut payload) = (false, None, false);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "interface_version" => {
                if reader.integer()? != INTERFACE_VERSION {
                    return Err(reader.fail(rejected("another version")));
                }
                version = true;
            }
            "correlation_id" => correlation_id = Some(read_correlation_id(&mut reader)?),
            "payload" => {
                read_envelope(&mut reader, &mut intent, secrets)?;
                payload = true;
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    if !version {
        return Err(missing("interface_version"));
    }
    intent.correlation_id = correlation_id.ok_or_else(|| missing("correlation_id"))?;
    if !payload {
        return Err(missing("payload"));
    }
    reader.finish()?;
    Ok(intent)
}

fn read_correlation_id<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, json::Error> {
    let id = reader.string()?;
    let length = 1..=limits::CORRELATION_ID_BYTES_MAX;
    if !length.contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(reader.fail(rejected("give 1 to 128 visible ASCII characters")));
    }
    if let Some(prefix) = RESERVED_PREFIXES.iter().find(|prefix| id.starts_with(**prefix)) {
        return Err(reader.fail(rejected(format!("the prefix {prefix} is reserved: choose another id"))));
    }
    Ok(id)
}

fn read_envelope<'a>(
    reader: &mut Reader<'a>,
    intent: &mut Intent<'a>,
    secrets: &mut Secrets,
) -> Result<(), json::Error> {
    const REQUIRED: [&str; 6] = ["lane", "actor", "intent_type", "thread_id", "turn_id", "payload"];
    let mut given = [false; REQUIRED.len()];
    intent.stream_id = Cow::Borrowed(DEFAULT_STREAM);
    intent.declared_refs.extend_from_slice(b"[]");
    reader.begin_object()?;
    let whole = reader.mark();
    let mut payload_at = whole;
    while let Some(key) = reader.next_member()? {
        if let Some(given) = REQUIRED.iter().position(|name| *name == key).and_then(|at| given.get_mut(at)) {
            *given = true;
        }
        match &*key {
            "stream_id" => intent.stream_id = read_stream_id(reader)?,
            "lane" => intent.lane = read_name(reader)?,
            "actor" => intent.actor = read_text_id(reader)?,
            "intent_type" => intent.intent_type = read_name(reader)?,
            "thread_id" => intent.thread_id = read_text_id(reader)?,
            "turn_id" => intent.turn_id = read_text_id(reader)?,
            "parent_turn_id" => {
                intent.parent_turn_id = match reader.peek()? {
                    json::Kind::Null => reader.null().map(|()| None)?,
                    _ => Some(read_text_id(reader)?),
                }
            }
            "payload" => {
                if reader.peek()? != json::Kind::Object {
                    reader.begin_object()?;
                }
                reader.canonical_value(&mut intent.payload, secrets)?;
                payload_at = reader.mark();
            }
            "declared_refs" => {
                intent.declared_refs.clear();
                read_declared_refs(reader, &mut intent.declared_refs)?;
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    if let Some((field, _)) = REQUIRED.iter().zip(given).find(|(_, given)| !given) {
        return Err(reader.fail_at(whole, ErrorKind::MissingField { field }));
    }
    check_repeated(intent).map_err(|reason| reader.fail_at(payload_at, rejected(reason)))
}

/// Where the client's payload repeats an anchor, both must agree.
fn check_repeated(intent: &Intent<'_>) -> Result<(), String> {
    for (key, value) in json::canonical::Members::new(&intent.payload).flatten() {
        let anchor = match key {
            b"thread_id" => &intent.thread_id,
            b"turn_id" => &intent.turn_id,
            _ => continue,
        };
        if json::canonical::string(value).as_deref() != Some(&**anchor) {
            let key = String::from_utf8_lossy(key);
            return Err(format!("its {key} differs from the envelope's: make them equal or leave it out"));
        }
    }
    Ok(())
}

pub(crate) fn read_stream_id<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, json::Error> {
    let id = reader.string()?;
    if is_name(&id, b"._-", 64) {
        return Ok(id);
    }
    Err(reader.fail(rejected(
        "give a letter or digit, then up to 63 letters, digits, dots, underscores or hyphens",
    )))
}

pub(crate) fn read_name<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, json::Error> {
    let name = reader.string()?;
    if is_name(&name, b"._:-", 128) {
        return Ok(name);
    }
    Err(reader.fail(rejected(
        "give a letter or digit, then up to 127 letters, digits, dots, underscores, colons or hyphens",
    )))
}

pub(crate) fn is_name(name: &str, others: &[u8], len_max: usize) -> bool {
    let mut bytes = name.bytes();
    name.len() <= len_max
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

pub(crate) fn read_text_id<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, json::Error> {
    let id = reader.string()?;
    if is_text_id(&id) {
        return Ok(id);
    }
    Err(reader.fail(rejected("give 1 to 256 bytes of UTF-8 without control characters")))
}

fn is_text_id(id: &str) -> bool {
    (1..=limits::TEXT_ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control)
}

const TOO_MANY_REFS: &str = "more references than a request may declare: send fewer";

/// Checks the shape of the references and writes them canonically. What they name is looked up later.
fn read_declared_refs(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), json::Error> {
    reader.begin_array()?;
    let whole = reader.mark();
    out.push(b'[');
    let mut count = 0;
    while reader.next_element()? {
        count += 1;
        if count > limits::DECLARED_REFS_MAX {
            return Err(reader.fail_at(whole, rejected(TOO_MANY_REFS)));
        }
        if count > 1 {
            out.push(b',');
        }
        read_declared_ref(reader, out)?;
    }
    out.push(b']');
    Ok(())
}

fn read_declared_ref(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), json::Error> {
    let (mut ref_type, mut ref_id, mut version) = (None, None, None);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "ref_type" => {
                let value = reader.string()?;
                if !matches!(&*value, "event" | "document" | "external") {
                    return Err(reader.fail(rejected("give event, document or external")));
                }
                ref_type = Some(value);
            }
            "ref_id" => ref_id = Some(read_text_id(reader)?),
            "version" => version = Some(read_text_id(reader)?),
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let ref_id = ref_id.ok_or_else(|| missing("ref_id"))?;
    let ref_type = ref_type.ok_or_else(|| missing("ref_type"))?;
    out.extend_from_slice(b"{\"ref_id\":");
    json::write_string(out, &ref_id);
    out.extend_from_slice(b",\"ref_type\":");
    json::write_string(out, &ref_type);
    if let Some(version) = version {
        out.extend_from_slice(b",\"version\":");
        json::write_string(out, &version);
    }
    out.push(b'}');
    Ok(())
}

/// Refuses members that look like a secret: what is in the log stays in it.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    pub(crate) found: bool,
}

impl Inspect for Secrets {
    fn string_member(&mut self, key: &str) -> Result<(), ErrorKind> {
        if is_secret(key) {
            self.found = true;
            return Err(rejected("it looks like a secret"));
        }
        Ok(())
    }
}

/// Whether a key, in lower case and without hyphens and underscores, is one of those that name secrets.
pub fn is_secret(key: &str) -> bool {
    // The last four are those that this server gives out itself.
    const NAMES: [&str; 13] = [
        "apikey",
        "authorization",
        "token",
        "accesstoken",
        "refreshtoken",
        "secret",
        "clientsecret",
        "bearer",
        "password",
        "leasetoken",
        "capabilitytoken",
        "secretaccesskey",
        "sessiontoken",
    ];
    NAMES.iter().any(|name| {
        let mut letters =
            key.bytes().filter(|byte| !matches!(byte, b'-' | b'_')).map(|byte| byte.to_ascii_lowercase());
        name.bytes().all(|wanted| letters.next() == Some(wanted)) && letters.next().is_none()
    })
}

#[cfg(test)]
mod tests;
