//! Writes the golden log and its saved tail, through the writer and the real disk.

use std::fs;
use std::path::Path;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::log::{self, Batch, Frontier, Opened, Options, Room};
use gesta_log_format::{Digest, Index, Kind, Timestamp, json};

const NUMBERS: &str = "[0,-1,0.1,1e-7,123456789.125,9007199254740991,-9007199254740991,5e-324]";

struct Sample<'a> {
    kind: Kind,
    type_name: &'static str,
    stream_id: &'a str,
    correlation_id: &'a str,
    cause: Option<u64>,
    subjects: &'a [(&'a str, Option<u64>)],
    payload: &'a str,
}

fn prepare(sample: &Sample<'_>) -> Prepared {
    let expectation = |(subject, expected): &(&str, Option<u64>)| Expectation {
        subject: (*subject).to_owned(),
        expected: expected.map(Index),
    };
    let subjects: Vec<_> = sample.subjects.iter().map(expectation).collect();
    let system = sample.stream_id == "_system";
    let draft = Draft {
        kind: sample.kind,
        type_name: sample.type_name,
        stream_id: sample.stream_id,
        lane: if system { "system" } else { "user" },
        actor: if system { "gesta" } else { "añn \u{1F600}" },
        intent_type: if system { "system" } else { "chat.message" },
        thread_id: if system { "system" } else { "thread \"1\"" },
        turn_id: "turn-1",
        parent_turn_id: sample.cause.map(|_| "turn-0"),
        correlation_id: sample.correlation_id,
        cause: sample.cause.map(Index),
        subjects: &subjects,
        payload: &json::canonicalize(sample.payload.as_bytes()).expect("strict JSON"),
    };
    Prepared::new(&draft).expect("a small envelope")
}

/// An INTENT `submitted` whose correlation id is `c-` and `nth`.
pub(crate) fn intent(nth: u64, payload: &str) -> Prepared {
    let correlation_id = format!("c-{nth}");
    let request = format!(
        r#"{{"actor":"añn 😀","correlation_id":"{correlation_id}","declared_refs":[],"intent_type":"chat.message",
        "interface_version":2,"lane":"user","parent_turn_id":null,"payload":{payload},"stream_id":"default",
        "thread_id":"thread \"1\"","turn_id":"turn-1"}}"#
    );
    let request_digest = Digest::of(&json::canonicalize(request.as_bytes()).expect("strict JSON"));
    let payload = format!(
        r#"{{"surface":"wire","execution_id":"01JD000000000000000000{nth:04}","declared_refs":[],
        "principal":{{"name":"local","roles":["intent.write"]}},"payload":{payload},
        "request_digest":"{request_digest}","_obs":{{"x_correlation_id":"x-{nth}"}}}}"#
    );
    prepare(&Sample {
        kind: Kind::Intent,
        type_name: "submitted",
        stream_id: "default",
        correlation_id: &correlation_id,
        cause: None,
        subjects: &[(&format!("intent/{correlation_id}"), None)],
        payload: &payload,
    })
}

fn follows(
    kind: Kind,
    type_name: &'static str,
    cause: u64,
    subjects: &[(&str, Option<u64>)],
    payload: &str,
) -> Prepared {
    let (stream_id, correlation_id) = ("default", "c-0");
    prepare(&Sample { kind, type_name, stream_id, correlation_id, cause: Some(cause), subjects, payload })
}

fn system(type_name: &'static str, payload: &str) -> Prepared {
    let (kind, stream_id, correlation_id) = (Kind::Control, "_system", "system");
    prepare(&Sample {
        kind,
        type_name,
        stream_id,
        correlation_id,
        cause: None,
        subjects: &[("log", None)],
        payload,
    })
}

/// Thirteen records in seven batches.
fn batches() -> Vec<Vec<Prepared>> {
    let message = format!(r#"{{"message":"first \u2028 \"quoted\" \\ \u0007 é 😀","numbers":{NUMBERS}}}"#);
    let decision =
        r#"{"intent_index":0,"result":"ALLOW","reasons":[{"code":"default","params":{}}],"transforms":[]}"#;
    let blob = r#"{"output":{"$blob":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "size_bytes":3,"media_type":"text/plain"},"delivery":1}"#;
    let keys = r#"{"\uD83D\uDE00":1,"\uFB33":2,"é":3,"":4,"_obs":{"seen":[true,false,null]}}"#;
    let dataset = r#"{"dataset_uuid":"d-1","dataset_version":"1","storage_ref":"blob://b/d-1/"}"#;
    let execution = "execution/01JD0000000000000000000000";
    let cancel = prepare(&Sample {
        kind: Kind::Intent,
        type_name: "cancel_requested",
        stream_id: "default",
        correlation_id: "c-4",
        cause: Some(4),
        subjects: &[("intent/c-4", Some(4))],
        payload: r#"{"by":"local","reason":"no longer wanted"}"#,
    });
    let datasets: [(&str, Option<u64>); 2] = [("artifact/a-1", None), ("dataset/d-1/1", None)];
    vec![
        vec![intent(0, &message)],
        vec![
            follows(Kind::Decision, "decided", 0, &[("decision/0", None)], decision),
            follows(Kind::Execution, "running", 1, &[(execution, None)], r#"{"delivery":1}"#),
        ],
        vec![follows(Kind::Execution, "completed", 2, &[(execution, Some(2))], blob)],
        vec![intent(4, "{}"), intent(5, keys), intent(6, r#"{"message":""}"#)],
        vec![system("clock_behind", r#"{"behind_us":1500000}"#)],
        vec![follows(Kind::Artifact, "dataset_registered", 3, &datasets, dataset), cancel],
        vec![
            intent(10, "{}"),
            intent(11, r#"{"message":"last but one"}"#),
            intent(12, r#"{"message":"last"}"#),
        ],
    ]
}

fn append(mut log: Opened<RealDisk>, records: &[Prepared], at: Timestamp) -> Opened<RealDisk> {
    let bytes = records.iter().map(Prepared::record_bytes_max).sum();
    (log.writer, _) = log.writer.roll(bytes).expect("a working disk");
    while log.writer.room(bytes) != Room::Ready {
        log.filler.as_mut().expect("a filled log").step().expect("a working disk");
    }
    let mut batch = Batch::new(log.writer.next());
    for record in records {
        batch.push(record, at);
    }
    log.writer = log.writer.append(&batch).expect("a working disk");
    log.writer.absorb(&batch);
    log
}

/// Makes the log and the saved tail below `root`.
pub(crate) fn make(root: &Path, options: &Options) {
    fs::create_dir_all(root).expect("a directory");
    let mut log = log::open(RealDisk::new(root), options, &[], &mut |_, _| {}).expect("a new log");
    for (nth, records) in (0u64..).zip(batches()) {
        log = append(log, &records, Timestamp::from_micros(1_793_592_633_000_000 + nth / 2 * 1_000_001));
    }
    let (index, segment, byte) = log.reader.durable_end().expect("an end");
    log.frontier.write(Frontier { index, segment, byte }).expect("a working disk");
    let mut records = Vec::new();
    let mut buffer = Vec::new();
    while let Some(record) =
        log.reader.record(Index(records.len().try_into().expect("few")), &mut buffer).expect("read")
    {
        records.push(record.bytes.to_vec());
    }
    fs::write(root.join("tail.sse"), tail(&records)).expect("written");
    drop(log);
    fs::remove_file(root.join(log::LOCK)).expect("removed");
}

/// What a client that was cut off within record 4 and came back has in its file.
fn tail(records: &[Vec<u8>]) -> Vec<u8> {
    let hello = |first: u64, head: u64| {
        format!(
            "retry: 1000\nevent: log\ndata: {{\"first\":{first},\"generation\":1,\"head\":{head},\"origin\":\"gesta.local/golden\"}}\n\n"
        )
    };
    let mut out = hello(0, 7).into_bytes();
    let (before, after) = records.split_at(4);
    before.iter().for_each(|record| out.extend_from_slice(record));
    out.extend_from_slice(&after[0][..after[0].len() / 2]);
    out.extend_from_slice(hello(0, 13).as_bytes());
    after.iter().for_each(|record| out.extend_from_slice(record));
    out.extend_from_slice(b"event: caught-up\ndata: {\"head\":13}\n\n: heartbeat\n: heartbeat\n");
    out.extend_from_slice(b"id: 12\nevent: cursor\ndata: 12\n\n");
    out.extend_from_slice(b"id: -1\nevent: reset\ndata: {\"first\":0,\"head\":13,\"reason\":\"ahead\"}\n\n");
    out
}
