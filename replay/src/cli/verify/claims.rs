//! What others claim of the log: signed checkpoints, and digests of projections.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gesta_log_format::checkpoint::{self, Checkpoint};
use gesta_log_format::note::{Note, PublicKey};
use gesta_log_format::tree::Hash;
use gesta_log_format::{Digest, Index, hex};
use gesta_replay::verify::{Claim, Class, Finding, SnapshotClaim};
use serde::Deserialize;

use super::{Failure, Source, args};

/// All claims, and what is wrong with them before the log is read.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) roots: Vec<Claim>,
    pub(super) snapshots: Vec<SnapshotClaim>,
    /// Which log each checkpoint is of.
    pub(super) origins: Vec<(String, String)>,
    pub(super) findings: Vec<Finding>,
    pub(super) not_checked: Vec<String>,
}

impl Claims {
    pub(super) fn read(arguments: &args::Verify, source: &Source) -> Result<Self, Failure> {
        let keys = arguments.key.iter().map(|key| read_key(key)).collect::<Result<Vec<_>, _>>()?;
        let mut claims = Self::default();
        for path in &arguments.checkpoint {
            claims.checkpoint(&name_of(path), &read(path)?, &keys);
        }
        let own = source.data_directory().map(|dir| dir.join(checkpoint::FILE)).filter(|path| path.exists());
        if let Some(path) = own.filter(|_| arguments.checkpoint.is_empty()) {
            let bytes = read(&path)?;
            if keys.is_empty() {
                claims.unsigned(&bytes);
            } else {
                claims.checkpoint(checkpoint::FILE, &bytes, &keys);
            }
        }
        for path in &arguments.snapshot {
            claims.snapshot(path)?;
        }
        Ok(claims)
    }

    fn checkpoint(&mut self, by: &str, bytes: &[u8], keys: &[PublicKey]) {
        match Checkpoint::open(bytes, keys) {
            Ok(found) => self.claim(by, found),
            Err(error) => self.unusable(by, &error),
        }
    }

    /// A checkpoint that lies beside the log, when nobody gave a key.
    fn unsigned(&mut self, bytes: &[u8]) {
        let by = checkpoint::FILE;
        let note = match Note::parse(bytes) {
            Ok(note) => note,
            Err(error) => return self.unusable(by, &error),
        };
        match Checkpoint::parse(note.text()) {
            Ok(found) => self.claim(by, found),
            Err(error) => return self.unusable(by, &error),
        }
        self.not_checked.push(format!("the signature of the file {by} beside the log: give --key"));
    }

    fn unusable(&mut self, by: &str, error: &dyn std::error::Error) {
        let mut message = format!("{by}: {error}");
        let mut cause = error.source();
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        self.findings.push(Finding::whole(Class::Tampered, "CHECKPOINT_UNTRUSTED", message));
    }

    fn claim(&mut self, by: &str, found: Checkpoint) {
        self.origins.push((by.to_owned(), found.origin));
        let by = by.to_owned();
        self.roots.push(Claim { by, rule: Claim::CHECKPOINT, size: found.size, root: found.root });
    }

    fn snapshot(&mut self, path: &Path) -> Result<(), Failure> {
        let by = name_of(path);
        let failed =
            |what: &str| Failure::new(format!("{by}: {what}")).hint("give what GET /snapshot answered");
        let text = read(path)?;
        let found: Snapshot = serde_json::from_slice(&text).map_err(|error| failed(&error.to_string()))?;
        if let Some(root) = &found.root {
            let root = hash(root).ok_or_else(|| failed("its root is neither base64 nor hexadecimal"))?;
            self.roots.push(Claim { by: by.clone(), rule: "SNAPSHOT_ROOT", size: found.length, root });
        }
        let mut projections = BTreeMap::new();
        for (name, text) in found.projections {
            let digest =
                Digest::parse(&text).ok_or_else(|| failed("a digest is not sha256: and 64 digits"))?;
            projections.insert(name, digest);
        }
        self.snapshots.push(SnapshotClaim { by, length: Index(found.length), projections });
        Ok(())
    }
}

#[derive(Deserialize)]
struct Snapshot {
    length: u64,
    root: Option<String>,
    projections: BTreeMap<String, String>,
}

/// A hash in hexadecimal, or as checkpoints write it.
fn hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix(Digest::PREFIX).unwrap_or(text);
    if let Some(bytes) = hex::read(digits.as_bytes()) {
        return Some(Hash(bytes));
    }
    Checkpoint::parse(&format!("-\n0\n{text}\n")).ok().map(|found| found.root)
}

fn read_key(text: &str) -> Result<PublicKey, Failure> {
    PublicKey::parse(text.trim()).or_else(|error| {
        let from_file = fs::read_to_string(text).ok().and_then(|text| PublicKey::parse(text.trim()).ok());
        from_file.ok_or_else(|| {
            Failure::new(error).hint("give the line that `gesta keys show` prints, or a file with it")
        })
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|cause| Failure::cannot("read", path, cause))
}

/// The file's own name: a report does not say where it lay.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()).into_owned()
}
