//! A policy bundle: its files, its digest, and its policies ready to be asked.
//!
//! Everything that a decision needs of a bundle is made once, when the bundle is read.

use std::collections::BTreeMap;

use cedar_policy::{Entities, PolicyId, PolicySet, Template};
use gesta_log_format::Digest;
use gesta_log_format::json::{self, ErrorKind, Reader};

use super::annotation;
use super::fault::Fault;
use crate::context::{Reason, Transform};

/// The file that names the bundle.
pub const NAME_FILE: &str = "bundle.json";
/// The schema that `check` holds policies, entities and cases to.
pub const SCHEMA_FILE: &str = "schema.cedarschema";
/// What the policies know of actors and streams besides their ids.
pub const ENTITIES_FILE: &str = "entities.json";
/// What the bundle's author expects of it.
pub const CASES_FILE: &str = "cases.json";
/// Where policies are: `policies/NAME.cedar`.
pub const POLICIES_DIR: &str = "policies/";

/// The files of a bundle by their paths, which use `/` and are relative to its directory.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A bundle that can be asked.
#[derive(Clone, Debug)]
pub struct Bundle {
    policy_id: String,
    policy_version: String,
    digest: Digest,
    /// `{"policy_digest":…,"policy_id":…,"policy_version":…}`.
    pin: Box<[u8]>,
    /// None where the files cannot be read: such a bundle denies.
    pub(super) compiled: Option<Compiled>,
}

/// The policies of a bundle, and what is known besides.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) policies: PolicySet,
    pub(super) entities: Entities,
    pub(super) rules: BTreeMap<PolicyId, PolicyRule>,
}

/// One policy of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// `FILE#N`, N being its place in the file, from 0.
    pub id: String,
    /// The path of its file.
    pub file: String,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// The byte of the file at which it begins.
    pub(super) offset: usize,
    /// What a decision that it determines says of it.
    pub reason: Reason,
    /// What a decision that it determines demands.
    pub obligations: Vec<Transform>,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// Everything that is wrong with it, in order of files and places.
    pub fn read(files: &Files) -> Result<Self, Vec<Fault>> {
        let mut faults: Vec<Fault> = unknown_files(files).collect();
        let name = read_name(files).unwrap_or_else(|fault| {
            faults.push(fault);
            Name::default()
        });
        let entities = read_entities(files).unwrap_or_else(|fault| {
            faults.push(fault);
            Entities::empty()
        });
        let (mut policies, mut rules) = (PolicySet::new(), BTreeMap::new());
        for (path, text) in files.iter().filter(|(path, _)| is_policy_file(path)) {
            faults.extend(read_policies(path, text, &mut policies, &mut rules));
        }
        if rules.is_empty() && faults.is_empty() {
            let message = "the bundle has no policy: put at least one into policies/NAME.cedar";
            faults.push(Fault::file("", message));
        }
        if faults.is_empty() {
            let compiled = Some(Compiled { policies, entities, rules });
            Ok(Self::of(name.policy_id, name.policy_version, digest(files), compiled))
        } else {
            faults.sort();
            Err(faults)
        }
    }

    /// What is in force where a prefix has activated no policy: id `none`, version `0`, no files. It permits nothing.
    #[must_use]
    pub fn none() -> Self {
        let policies = PolicySet::new();
        let compiled = Compiled { policies, entities: Entities::empty(), rules: BTreeMap::new() };
        Self::of("none".to_owned(), "0".to_owned(), digest(&Files::new()), Some(compiled))
    }

    /// A bundle that was activated and cannot be read, by what its activation says of it. It denies everything with
    /// `EVALUATION_ERROR`.
    #[must_use]
    pub fn unreadable(policy_id: &str, policy_version: &str, digest: Digest) -> Self {
        Self::of(policy_id.to_owned(), policy_version.to_owned(), digest, None)
    }

    fn of(policy_id: String, policy_version: String, digest: Digest, compiled: Option<Compiled>) -> Self {
        let mut pin = b"{\"policy_digest\":\"".to_vec();
        digest.push(&mut pin);
        pin.extend_from_slice(b"\",\"policy_id\":");
        json::write_string(&mut pin, &policy_id);
        pin.extend_from_slice(b",\"policy_version\":");
        json::write_string(&mut pin, &policy_version);
        pin.push(b'}');
        Self { policy_id, policy_version, digest, pin: pin.into_boxed_slice(), compiled }
    }

    /// Its name.
    #[must_use]
    pub fn policy_id(&self) -> &str {
        &self.policy_id
    }

    /// Its version.
    #[must_use]
    pub fn policy_version(&self) -> &str {
        &self.policy_version
    }

    /// SHA-256 over the canonical object of each path and the digest of its file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The member `policy` of a DECISION, canonical.
    #[must_use]
    pub fn pin(&self) -> &[u8] {
        &self.pin
    }

    /// Its policies, by id.
    pub fn rules(&self) -> impl Iterator<Item = &PolicyRule> {
        self.compiled.iter().flat_map(|compiled| compiled.rules.values())
    }
}

/// The digest of a bundle's files: SHA-256 over canonical `{PATH: "sha256:…"}`.
#[must_use]
pub fn digest(files: &Files) -> Digest {
    let mut members: Vec<String> = Vec::with_capacity(files.len());
    for (path, content) in files {
        let mut member = Vec::with_capacity(path.len() + Digest::TEXT_LEN + 8);
        json::write_string(&mut member, path);
        member.extend_from_slice(b":\"");
        Digest::of(content).push(&mut member);
        member.push(b'"');
        members.push(String::from_utf8_lossy(&member).into_owned());
    }
    let text = format!("{{{}}}", members.join(","));
    // Paths that sort otherwise as UTF-16 than as UTF-8 are put in order by the one function that knows how.
    let canonical = json::canonicalize(text.as_bytes()).unwrap_or_else(|_| text.into_bytes());
    Digest::of(&canonical)
}

fn is_policy_file(path: &str) -> bool {
    let name = path.strip_prefix(POLICIES_DIR).and_then(|name| name.strip_suffix(".cedar"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn unknown_files(files: &Files) -> impl Iterator<Item = Fault> {
    let known = [NAME_FILE, SCHEMA_FILE, ENTITIES_FILE, CASES_FILE];
    let unknown = files.keys().filter(move |path| !known.contains(&path.as_str()) && !is_policy_file(path));
    unknown.map(move |path| {
        let known = known.join(", ");
        Fault::file(path, format!("a bundle has no such file: it may have {known} and policies/NAME.cedar"))
    })
}

#[derive(Default)]
struct Name {
    policy_id: String,
    policy_version: String,
}

/// Longest policy id and version, in bytes.
const NAME_BYTES_MAX: usize = 128;

fn read_name(files: &Files) -> Result<Name, Fault> {
    let missing = "is missing: write {\"policy_id\": \"…\", \"policy_version\": \"…\"}";
    let text = files.get(NAME_FILE).ok_or_else(|| Fault::file(NAME_FILE, missing))?;
    parse_name(text).map_err(|error| Fault::json(NAME_FILE, text, &error))
}

fn parse_name(text: &[u8]) -> Result<Name, json::Error> {
    let mut reader = Reader::new(text)?;
    let (mut policy_id, mut policy_version) = (None, None);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        let place = match &*key {
            "policy_id" => &mut policy_id,
            "policy_version" => &mut policy_version,
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        };
        let value = reader.string()?;
        if value.is_empty() || value.len() > NAME_BYTES_MAX || value.chars().any(char::is_control) {
            let reason = "give 1 to 128 bytes without control characters".into();
            return Err(reader.fail(ErrorKind::Rejected { reason }));
        }
        *place = Some(value.into_owned());
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let policy_id = policy_id.ok_or_else(|| missing("policy_id"))?;
    let policy_version = policy_version.ok_or_else(|| missing("policy_version"))?;
    reader.finish()?;
    Ok(Name { policy_id, policy_version })
}

/// The entities, read as a decision reads them: without the schema.
fn read_entities(files: &Files) -> Result<Entities, Fault> {
    let Some(text) = files.get(ENTITIES_FILE) else { return Ok(Entities::empty()) };
    // Cedar's own reader keeps the last of two equal keys.
    let canonical = json::canonicalize(text).map_err(|error| Fault::json(ENTITIES_FILE, text, &error))?;
    Entities::from_json_str(&String::from_utf8_lossy(&canonical), None)
        .map_err(|error| Fault::file(ENTITIES_FILE, chain(&error)))
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text.replace('\n', " ")
}

/// Adds the policies of one file.
fn read_policies(
    path: &str,
    text: &[u8],
    policies: &mut PolicySet,
    rules: &mut BTreeMap<PolicyId, PolicyRule>,
) -> Vec<Fault> {
    let Ok(text) = std::str::from_utf8(text) else {
        return vec![Fault::file(path, "is not UTF-8")];
    };
    let parsed: PolicySet = match text.parse() {
        Ok(parsed) => parsed,
        Err(errors) => {
            let errors: cedar_policy::ParseErrors = errors;
            return errors.iter().map(|error| Fault::cedar(path, text, error)).collect();
        }
    };
    let mut faults: Vec<Fault> = parsed.templates().map(|found| template(path, found)).collect();
    let mut numbered: Vec<_> = parsed.policies().map(|found| (place_of(found.id()), found)).collect();
    numbered.sort_by_key(|(place, _)| *place);
    let mut from = 0;
    for (place, policy) in numbered {
        let source = policy.to_cedar().unwrap_or_default();
        let offset = text.get(from..).and_then(|rest| rest.find(&source)).map_or(from, |at| from + at);
        from = offset + source.len();
        let id = format!("{path}#{place}");
        let line = text.get(..offset).map_or(0, |before| before.matches('\n').count()) + 1;
        match annotations(policy) {
            Ok((reason, obligations)) => {
                let rule =
                    PolicyRule { id: id.clone(), file: path.to_owned(), line, offset, reason, obligations };
                let id = PolicyId::new(id);
                match policies.add(policy.new_id(id.clone())) {
                    Ok(()) => drop(rules.insert(id, rule)),
                    Err(error) => faults.push(Fault::at(path, text, offset, chain(&error))),
                }
            }
            Err(message) => faults.push(Fault::at(path, text, offset, message)),
        }
    }
    faults
}

fn template(path: &str, template: &Template) -> Fault {
    let message = format!("{}: a bundle has no templates: write the policy without ?slots", template.id());
    Fault::file(path, message)
}

/// The parser names the policies of one text `policy0`, `policy1` and so on.
fn place_of(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

fn annotations(policy: &cedar_policy::Policy) -> Result<(Reason, Vec<Transform>), String> {
    if let Some((key, _)) =
        policy.annotations().find(|(key, _)| !["reason", "obligation", "id"].contains(key))
    {
        return Err(format!("the annotation @{key} is unknown: a policy has @reason, @obligation and @id"));
    }
    let reason = policy.annotation("reason");
    let reason = reason.ok_or("the policy has no @reason: write @reason(\"CODE\") above it")?;
    let reason = annotation::reason(reason).map_err(|clause| format!("@reason {clause}"))?;
    let obligations = match policy.annotation("obligation") {
        Some(text) => annotation::obligations(text).map_err(|clause| format!("@obligation {clause}"))?,
        None => Vec::new(),
    };
    Ok((reason, obligations))
}
