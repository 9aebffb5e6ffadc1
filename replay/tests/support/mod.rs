//! Makes logs: INTENTs, their DECISIONs as their inputs demand, and what becomes of them; on disk as a server writes
//! them, or record by record as an attacker would. For the tests of this crate, of the server, and for the fixtures.

#![allow(clippy::unwrap_used, reason = "what makes test data and fails says where")]
#![allow(dead_code, unreachable_pub, reason = "each user needs a part of it")]

pub mod fixtures;
pub mod large;
#[path = "../decisions/log.rs"]
pub mod prefix;
pub mod tasks;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gesta_log_format::blob::spill;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{self, Draft, Expectation, Prepared, View};
use gesta_log_format::log::{self, Batch, Options};
use gesta_log_format::segment::{Fill, Header};
use gesta_log_format::{Digest, Index, Kind, Timestamp, json, record};
use gesta_replay::context::Config;
use gesta_replay::event::ExecutionId;
use gesta_replay::policy::{self, Bundle, Files};

use prefix::{Log, Said, said};

pub const ORIGIN: &str = "gesta.test/made";

/// 2026-11-02T04:10:33Z, in microseconds.
const BEGINNING: u64 = 1_793_592_633_000_000;

/// A log that grows as a server would let it grow.
#[derive(Clone)]
pub struct Maker {
    /// The records so far, and the blobs.
    pub log: Log,
    prepared: Vec<Prepared>,
    subjects: BTreeMap<(String, String), u64>,
    /// What each INTENT said.
    said: BTreeMap<u64, Said>,
    bundles: Vec<(u64, Bundle)>,
    configs: Vec<(u64, Config)>,
}

impl Maker {
    /// An empty log.
    pub fn empty() -> Self {
        Self {
            log: Log::default(),
            prepared: Vec::new(),
            subjects: BTreeMap::new(),
            said: BTreeMap::new(),
            bundles: Vec::new(),
            configs: Vec::new(),
        }
    }

    /// A log whose first records activate this bundle and the default configuration.
    pub fn new(files: &Files) -> Self {
        let mut maker = Self::empty();
        maker.activate(files);
        maker.configure("{}");
        maker
    }

    pub fn len(&self) -> u64 {
        self.log.records.len() as u64
    }

    /// Appends a record; its index.
    pub fn append(
        &mut self,
        said: &Said,
        kind: (Kind, &'static str),
        subject: &str,
        cause: Option<u64>,
        payload: &str,
    ) -> u64 {
        self.append_on(said, kind, &[subject], cause, payload)
    }

    /// Appends a record of several subjects; its index.
    pub fn append_on(
        &mut self,
        said: &Said,
        kind: (Kind, &'static str),
        subjects: &[&str],
        cause: Option<u64>,
        payload: &str,
    ) -> u64 {
        let index = self.len();
        let mut expect = |subject: &&str| {
            let subject = (*subject).to_owned();
            let expected = self.subjects.insert((said.stream.clone(), subject.clone()), index).map(Index);
            Expectation { subject, expected }
        };
        let subjects: Vec<_> = subjects.iter().map(&mut expect).collect();
        let payload = json::canonicalize(payload.as_bytes()).expect("strict JSON");
        let prepared = Prepared::new(&Draft {
            kind: kind.0,
            type_name: kind.1,
            stream_id: &said.stream,
            lane: &said.lane,
            actor: &said.actor,
            intent_type: &said.intent_type,
            thread_id: &said.thread,
            turn_id: &said.turn,
            parent_turn_id: said.parent.as_deref(),
            correlation_id: &said.correlation,
            cause: cause.map(Index),
            subjects: &subjects,
            payload: &payload,
        });
        let (prepared, mut out) = (prepared.expect("it fits a record"), Vec::new());
        record::encode(&mut out, &prepared, Index(index), Index(index), time_of(index));
        self.log.records.push(record::decode(&out).expect("a record").data.to_vec());
        self.prepared.push(prepared);
        index
    }

    /// Appends a CONTROL record; its index.
    pub fn control(&mut self, type_name: &'static str, subject: &str, payload: &str) -> u64 {
        let index = self.len();
        let mut system = said(0);
        system.stream = "_system".into();
        system.lane = "system".into();
        system.actor = "gesta".into();
        system.intent_type = "system".into();
        system.thread = "system".into();
        system.turn = ulid(index);
        system.correlation = ulid(index);
        self.append(&system, (Kind::Control, type_name), subject, None, payload)
    }

    /// Activates a bundle, which stands in the record; its index.
    pub fn activate(&mut self, files: &Files) -> u64 {
        let text = bundle_text(files);
        self.activate_as(files, &text)
    }

    /// Activates a bundle, which is put into a blob; its index.
    pub fn activate_by_blob(&mut self, files: &Files) -> u64 {
        let text = bundle_text(files);
        let reference = self.log.blob(&text, "application/json");
        self.activate_as(files, &reference)
    }

    fn activate_as(&mut self, files: &Files, member: &str) -> u64 {
        let bundle = Bundle::read(files).expect("a sound bundle");
        let (id, version, digest) = (bundle.policy_id(), bundle.policy_version(), bundle.digest());
        let payload = format!(
            r#"{{"policy_id":"{id}","policy_version":"{version}","policy_digest":"{digest}","bundle":{member}}}"#
        );
        let index = self.control("policy_activated", "policy", &payload);
        self.bundles.push((index, bundle));
        index
    }

    /// Activates a configuration of the context; its index.
    pub fn configure(&mut self, text: &str) -> u64 {
        let config = Config::parse(text.as_bytes()).expect("a sound configuration");
        let canonical = std::str::from_utf8(config.canonical()).expect("text");
        let payload = format!(r#"{{"context_config_digest":"{}","config":{canonical}}}"#, config.digest());
        let index = self.control("context_activated", "context", &payload);
        self.configs.push((index, config));
        index
    }

    /// Submits an intent; its index.
    pub fn intent(&mut self, said: &Said) -> u64 {
        let roles: Vec<_> = said.roles.iter().map(|role| format!("\"{role}\"")).collect();
        let request = format!(
            r#"{{"actor":"{}","correlation_id":"{}","declared_refs":{},"intent_type":"{}","interface_version":2,
            "lane":"{}","parent_turn_id":{},"payload":{},"stream_id":"{}","thread_id":"{}","turn_id":"{}"}}"#,
            said.actor,
            said.correlation,
            said.refs,
            said.intent_type,
            said.lane,
            said.parent.as_ref().map_or("null".to_owned(), |parent| format!("\"{parent}\"")),
            said.payload,
            said.stream,
            said.thread,
            said.turn
        );
        let request_digest = Digest::of(&json::canonicalize(request.as_bytes()).expect("strict JSON"));
        let index = self.len();
        let payload = format!(
            r#"{{"_obs":{{"x_correlation_id":"x-{index}"}},"declared_refs":{},"execution_id":"{}","payload":{},
            "principal":{{"name":"local","roles":[{}]}},"request_digest":"{request_digest}","surface":"{}"}}"#,
            said.refs,
            ulid(index),
            said.payload,
            roles.join(","),
            said.surface,
        );
        let subject = format!("intent/{}", said.correlation);
        self.said.insert(index, said.clone());
        self.append(said, (Kind::Intent, "submitted"), &subject, None, &payload)
    }

    /// The payload of the DECISION that the intent at `intent` demands.
    pub fn decision(&self, intent: u64) -> String {
        let (default, none) = (Config::default(), Bundle::none());
        let bundle = self.bundles.iter().rfind(|(index, _)| *index < intent).map_or(&none, |(_, one)| one);
        let config = self.configs.iter().rfind(|(index, _)| *index < intent).map_or(&default, |(_, one)| one);
        let decision = self.log.decide(intent, config, bundle);
        String::from_utf8(decision.payload).expect("text")
    }

    /// Decides an intent; the DECISION's index.
    pub fn decide(&mut self, intent: u64) -> u64 {
        let payload = self.decision(intent);
        self.decide_as(intent, &payload)
    }

    /// Decides an intent, whatever its inputs demand; the DECISION's index.
    pub fn decide_as(&mut self, intent: u64, payload: &str) -> u64 {
        let mut said = self.said[&intent].clone();
        said.actor = "gesta".into();
        let payload = payload.as_bytes().to_vec();
        let fitted = spill::members(&payload, 60_000).expect("a payload");
        for spill in &fitted.spills {
            self.log.blobs.insert(spill.digest, spill.bytes.to_vec());
        }
        let text = std::str::from_utf8(&fitted.payload).expect("text");
        let subject = format!("decision/{intent}");
        self.append(&said, (Kind::Decision, "decided"), &subject, Some(intent), text)
    }

    /// Appends an EXECUTION of an intent; its index.
    pub fn execution(&mut self, intent: u64, type_name: &'static str, payload: &str) -> u64 {
        let mut said = self.said[&intent].clone();
        said.actor = "gesta".into();
        let subject = format!("execution/{}", ulid(intent));
        self.append(&said, (Kind::Execution, type_name), &subject, Some(intent), payload)
    }

    /// Appends a TASK of an intent, which publishes versions of datasets if their subjects are given; its index. Its
    /// cause is the task's previous record, or the DECISION.
    pub fn task(&mut self, intent: u64, type_name: &'static str, payload: &str, datasets: &[&str]) -> u64 {
        let mut said = self.said[&intent].clone();
        said.actor = "gesta".into();
        let task = format!("task/{}", ulid(intent));
        let last = |subject: String| self.subjects.get(&(said.stream.clone(), subject)).copied();
        let cause = last(task.clone()).or_else(|| last(format!("decision/{intent}")));
        let subjects = [&[task.as_str()], datasets].concat();
        self.append_on(&said, (Kind::Task, type_name), &subjects, cause, payload)
    }

    /// Submits an intent, decides it, and runs it to its end if it is allowed; its index.
    pub fn round(&mut self, said: &Said) -> u64 {
        let intent = self.intent(said);
        let decision = self.decide(intent);
        let data = &self.log.records[usize::try_from(decision).expect("few records")];
        if View::parse(data).expect("an envelope").payload_member("result") == Some(b"\"ALLOW\"") {
            self.execution(intent, "running", r#"{"delivery":1}"#);
            let output = format!(r#"{{"delivery":1,"output":{{"message":"re: {}"}}}}"#, said.turn);
            self.execution(intent, "completed", &output);
        }
        intent
    }

    /// Writes the log as a server does, in batches of `batch` records, with segments of about `segment_bytes`, and the
    /// blobs.
    pub fn write(&self, dir: &Path, batch: usize, segment_bytes: u64) {
        fs::create_dir_all(dir).expect("a directory");
        let options = Options {
            segment_bytes,
            fill: Fill::None,
            fill_ahead_bytes_max: 0,
            fill_piece_bytes_max: 512,
            batch_bytes_max: 1024,
            origin: None,
            new_origin: ORIGIN.to_owned(),
        };
        let opened = log::open(RealDisk::new(dir), &options, &[], &mut |_, _| {}).expect("a new log");
        let mut writer = opened.writer;
        let mut index = 0;
        for records in self.prepared.chunks(batch) {
            let bytes = records.iter().map(Prepared::record_bytes_max).sum();
            (writer, _) = writer.roll(bytes).expect("a working disk");
            let mut batch = Batch::new(writer.next());
            for record in records {
                batch.push(record, time_of(index));
                index += 1;
            }
            writer = writer.append(&batch).expect("a working disk");
            writer.absorb(&batch);
        }
        drop((writer, opened.lock));
        for name in [log::LOCK, log::FRONTIER] {
            let _absent = fs::remove_file(dir.join(name));
        }
        self.write_blobs(dir);
    }

    /// Writes the blobs below `blobs/` of a directory.
    pub fn write_blobs(&self, dir: &Path) {
        for (digest, content) in &self.log.blobs {
            let hex = digest.hex();
            let shard = dir.join("blobs/sha256").join(&hex[..2]);
            fs::create_dir_all(&shard).expect("a directory");
            fs::write(shard.join(hex), content).expect("written");
        }
    }
}

fn time_of(index: u64) -> Timestamp {
    Timestamp::from_micros(BEGINNING + index * 1_001)
}

/// The nth ULID of a log.
pub fn ulid(nth: u64) -> String {
    ExecutionId(0x0193_0000_0000_0000_0000_0000_0000_0000 + u128::from(nth)).to_string()
}

/// A bundle as a record holds it.
pub fn bundle_text(files: &Files) -> String {
    let mut text = b"{".to_vec();
    for (nth, (path, content)) in files.iter().enumerate() {
        if nth > 0 {
            text.push(b',');
        }
        json::write_string(&mut text, path);
        text.push(b':');
        json::write_string(&mut text, std::str::from_utf8(content).expect("text"));
    }
    text.push(b'}');
    String::from_utf8(json::canonicalize(&text).expect("strict JSON")).expect("text")
}

/// The files of a bundle directory.
pub fn bundle_files(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut add = |name: String, path: &Path| files.insert(name, fs::read(path).expect("a file"));
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
        if entry.is_dir() {
            for inner in
                fs::read_dir(&entry).expect("a directory").map(|entry| entry.expect("an entry").path())
            {
                let inner_name = inner.file_name().expect("a name").to_string_lossy().into_owned();
                add(format!("{name}/{inner_name}"), &inner);
            }
        } else {
            add(name, &entry);
        }
    }
    files
}

/// The example bundle.
pub fn example() -> Files {
    bundle_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/example"))
}

/// The bundle that allows everything.
pub fn default_bundle() -> Files {
    policy::default_files()
}

/// Writes envelopes, whatever they say, as one segment whose frames and checksums hold.
pub fn write_segment(dir: &Path, envelopes: &[Vec<u8>]) {
    let header =
        Header { origin: ORIGIN.into(), generation: 1, first: Index(0), fill: Fill::None, previous: None };
    let mut bytes = header.encode();
    for (index, data) in envelopes.iter().enumerate() {
        bytes.extend_from_slice(&framed(index as u64, data));
    }
    fs::create_dir_all(dir.join("log")).expect("a directory");
    fs::write(dir.join("log/00000000000000000000.log"), bytes).expect("written");
}

/// An envelope as the record at `index`, in a batch of its own.
pub fn framed(index: u64, data: &[u8]) -> Vec<u8> {
    let lines = [format!("id: {index}\nevent: envelope\ndata: ").as_bytes(), data, b"\n\n"].concat();
    record::framed_lines(Index(index), &lines)
}

/// The envelope with the digest that it should carry.
pub fn redigested(data: &[u8]) -> Vec<u8> {
    let digest = envelope::digest_of(data).expect("an envelope").to_string();
    let view = View::parse(data).expect("an envelope");
    let at = view.digest.as_ptr() as usize - data.as_ptr() as usize;
    let mut out = data.to_vec();
    out[at..at + digest.len()].copy_from_slice(digest.as_bytes());
    out
}

/// The INTENT with the request digest that it should carry, and its own.
pub fn rerequested(data: &[u8]) -> Vec<u8> {
    let intent: serde_json::Value = serde_json::from_slice(data).expect("an envelope");
    let mut request = serde_json::Map::new();
    request.insert("interface_version".into(), 2.into());
    let anchors = [
        "actor",
        "correlation_id",
        "intent_type",
        "lane",
        "parent_turn_id",
        "stream_id",
        "thread_id",
        "turn_id",
    ];
    request.extend(anchors.map(|name| (name.to_owned(), intent[name].clone())));
    request
        .extend(["payload", "declared_refs"].map(|name| (name.to_owned(), intent["payload"][name].clone())));
    let request = serde_json::Value::Object(request).to_string();
    let digest = Digest::of(&json::canonicalize(request.as_bytes()).expect("strict JSON")).to_string();
    let wrong = intent["payload"]["request_digest"].as_str().expect("a digest");
    changed(data, wrong, &digest)
}

/// The envelope with `from` replaced by `to`, which it has to hold, and its digest made right.
#[track_caller]
pub fn changed(data: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(data).expect("text");
    assert!(text.contains(from), "{text} does not hold {from}");
    redigested(text.replacen(from, to, 1).as_bytes())
}
