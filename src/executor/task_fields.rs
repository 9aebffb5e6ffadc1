//! The fields of a registration that not every kind of handler has.

use std::collections::BTreeMap;

use gesta_log_format::json::{self, Kind, Reader};
use gesta_replay::event::{HandlerKind, Publish};
use serde::{Deserialize, Serialize};

use crate::capability::prefix::{Prefix, Scheme};
use crate::capability::{Dataset, Prefixes};
use crate::ingress::request::{Secrets, read_name, rejected};
use crate::{limits, objects};

/// What was given, canonical, by name.
pub(super) type Fields = BTreeMap<&'static str, Vec<u8>>;

/// Longest URL of a handler, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// What a handler's tasks may touch. Nothing where nothing is said.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Grants {
    datasets: Vec<Dataset>,
    s3: Granted,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Granted {
    read_prefixes: Vec<String>,
    write_prefixes: Vec<String>,
}

/// Who may have a field of this name: those whose executions this server makes something of.
const KINDS: [(&str, &[HandlerKind]); 3] = [
    ("params_schema", &[HandlerKind::Builtin, HandlerKind::Worker, HandlerKind::Push]),
    ("publish", &[HandlerKind::Builtin, HandlerKind::External, HandlerKind::Worker, HandlerKind::Push]),
    ("url", &[HandlerKind::Builtin, HandlerKind::External, HandlerKind::Worker, HandlerKind::Push]),
];

/// Everything else is of tasks.
const OF_TASKS: &[HandlerKind] = &[HandlerKind::Worker, HandlerKind::Push];

/// Whether the executions of a handler of this kind are tasks.
pub(super) fn is_of_tasks(kind: HandlerKind) -> bool {
    OF_TASKS.contains(&kind)
}

fn kinds(name: &str) -> &'static [HandlerKind] {
    KINDS.iter().find(|(known, _)| *known == name).map_or(OF_TASKS, |(_, kinds)| kinds)
}

/// Whether a handler of this kind may have a field.
pub(super) fn goes_with(name: &str, kind: HandlerKind) -> bool {
    // A stream's are not offered at all, which is said of its kind.
    kind == HandlerKind::Stream || kinds(name).contains(&kind)
}

/// Which kinds may have a field, for a person.
pub(super) fn kinds_of(name: &str) -> String {
    let names: Vec<_> = kinds(name).iter().map(|kind| kind.text()).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some(_) | None => names.concat(),
    }
}

/// Takes a field; says whether there is one of this name.
pub(super) fn read(
    key: &str,
    reader: &mut Reader<'_>,
    secrets: &mut Secrets,
    fields: &mut Fields,
) -> Result<bool, json::Error> {
    let seconds = (1, limits::TASK_SECONDS_MAX);
    let (name, value) = match key {
        "pool" => ("pool", text(&read_name(reader)?)),
        "url" => ("url", url(reader)?),
        "bundle_sha256" => ("bundle_sha256", sha256(reader)?),
        "job" => ("job", job(reader)?),
        "operator" => ("operator", any(reader, secrets)?),
        "config" => ("config", object(reader, secrets)?),
        "lease_seconds" => ("lease_seconds", number(reader, seconds)?),
        "heartbeat_seconds" => ("heartbeat_seconds", number(reader, seconds)?),
        "max_attempts" => ("max_attempts", number(reader, (1, limits::TASK_ATTEMPTS_REGISTERED_MAX))?),
        "priority" => ("priority", number(reader, (0, u64::from(gesta_replay::event::PRIORITY_MAX)))?),
        "grants" => ("grants", grants(reader, secrets)?),
        "params_schema" => ("params_schema", schema(reader)?),
        "result_schema" => ("result_schema", schema(reader)?),
        "publish" => ("publish", publish(reader)?),
        "subscribe" => ("subscribe", subscribe(reader)?),
        _ => return Ok(false),
    };
    fields.insert(name, value);
    Ok(true)
}

fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    json::write_string(&mut out, text);
    out
}

fn any(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Vec<u8>, json::Error> {
    let mut out = Vec::new();
    reader.canonical_value(&mut out, secrets)?;
    Ok(out)
}

fn object(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Vec<u8>, json::Error> {
    if reader.peek()? != Kind::Object {
        reader.begin_object()?;
    }
    any(reader, secrets)
}

fn number(reader: &mut Reader<'_>, (min, max): (u64, u64)) -> Result<Vec<u8>, json::Error> {
    let number = u64::try_from(reader.integer()?).ok().filter(|number| (min..=max).contains(number));
    let number =
        number.ok_or_else(|| reader.fail(rejected(format!("give a whole number from {min} to {max}"))))?;
    Ok(number.to_string().into_bytes())
}

/// TLS, but for what runs on this machine. Whether the host may be called is asked when it is.
fn url(reader: &mut Reader<'_>) -> Result<Vec<u8>, json::Error> {
    let found = reader.string()?;
    let parsed = found.parse::<axum::http::Uri>().ok();
    let is_fit = parsed.is_some_and(|uri| {
        let host = uri.host().unwrap_or_default();
        let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match uri.scheme_str() {
            Some("https") => !host.is_empty(),
            Some("http") => is_here,
            Some(_) | None => false,
        }
    });
    match is_fit && found.len() <= URL_BYTES_MAX {
        true => Ok(text(&found)),
        false => Err(reader.fail(rejected("give an https URL; http is for loopback hosts alone"))),
    }
}

fn sha256(reader: &mut Reader<'_>) -> Result<Vec<u8>, json::Error> {
    let digits = reader.string()?;
    match gesta_log_format::hex::read::<32>(digits.as_bytes()) {
        Some(_) => Ok(text(&digits)),
        None => Err(reader.fail(rejected("give the 64 lower-case hex digits of a SHA-256"))),
    }
}

fn job(reader: &mut Reader<'_>) -> Result<Vec<u8>, json::Error> {
    let (mut dag_name, mut name) = (None, None);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "dag_name" => dag_name = Some(read_name(reader)?),
            "name" => name = Some(read_name(reader)?),
            _ => return Err(reader.fail(json::ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, json::ErrorKind::MissingField { field });
    let (dag_name, name) =
        (dag_name.ok_or_else(|| missing("dag_name"))?, name.ok_or_else(|| missing("name"))?);
    let (dag_name, name) = (text(&dag_name), text(&name));
    Ok([b"{\"dag_name\":", &dag_name[..], b",\"name\":", &name, b"}"].concat())
}

/// With all members filled in, so that whoever reads them later finds them.
fn grants(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Vec<u8>, json::Error> {
    let given = object(reader, secrets)?;
    let grants = serde_json::from_slice::<Grants>(&given).map_err(|error| error.to_string());
    let filled = grants.and_then(|grants| serde_json::to_vec(&grants).map_err(|error| error.to_string()));
    let checked = filled.and_then(|filled| {
        #[derive(Deserialize)]
        struct Checked {
            s3: Prefixes,
        }
        let Checked { s3 } = serde_json::from_slice(&filled).map_err(|error| error.to_string())?;
        if let Some(prefix) =
            s3.read_prefixes.iter().chain(&s3.write_prefixes).find(|prefix| is_reserved(prefix))
        {
            return Err(format!("{prefix} lies below blob://sha256/, which is no bucket of objects"));
        }
        if filled.len() > limits::GRANTS_BYTES_MAX {
            let bytes_max = limits::GRANTS_BYTES_MAX;
            return Err(format!("are at most {bytes_max} bytes, which every capability token carries"));
        }
        json::canonicalize(&filled).map_err(|error| error.kind.to_string())
    });
    checked.map_err(|fault| reader.fail(rejected(fault)))
}

/// Whether nothing can ever lie below: the routes of blobs by their digest have that name.
fn is_reserved(prefix: &Prefix) -> bool {
    prefix.scheme() == Scheme::Blob && prefix.bucket() == objects::BY_DIGEST
}

fn schema(reader: &mut Reader<'_>) -> Result<Vec<u8>, json::Error> {
    // A schema may name members that would be secrets: it holds none itself.
    let mut out = Vec::new();
    reader.canonical_value(&mut out, &mut ())?;
    match super::schema::compile(&out) {
        Ok(_) => Ok(out),
        Err(fault) => Err(reader.fail(rejected(format!("it is no JSON Schema: {fault}")))),
    }
}

fn publish(reader: &mut Reader<'_>) -> Result<Vec<u8>, json::Error> {
    let name = reader.string()?;
    match Publish::parse(&name) {
        Some(publish) => Ok(text(publish.text())),
        None => Err(reader.fail(rejected("give none, log or webhook"))),
    }
}

fn subscribe(reader: &mut Reader<'_>) -> Result<Vec<u8>, json::Error> {
    let mut out = vec![b'['];
    reader.begin_array()?;
    for nth in 0.. {
        if !reader.next_element()? {
            break;
        }
        if nth == limits::SUBSCRIPTIONS_MAX {
            return Err(reader.fail(rejected(format!("give at most {} datasets", limits::SUBSCRIPTIONS_MAX))));
        }
        let name = read_name(reader)?;
        if out.len() > 1 {
            out.push(b',');
        }
        json::write_string(&mut out, &name);
    }
    out.push(b']');
    Ok(out)
}
