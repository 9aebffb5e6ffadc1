//! The examples of FORMAT.md, made by the code.

use gesta_log_format::envelope::{Draft, Expectation, Prepared};
use gesta_log_format::frame::{self, Letter};
use gesta_log_format::segment::{Fill, Header, Previous, Seal, SegmentId};
use gesta_log_format::{Digest, Index, Kind, Timestamp, hex, json, record, tree};

const ORIGIN: &str = "gesta.local/01JD0000000000000000000000";

const REQUEST: &str = r#"{"interface_version": 2, "correlation_id": "c-1", "stream_id": "default", "lane": "user",
    "actor": "ann", "intent_type": "chat.message", "thread_id": "t-1", "turn_id": "u-1", "parent_turn_id": null,
    "payload": {"message": "hello"}, "declared_refs": []}"#;

fn canonical(text: &str) -> String {
    String::from_utf8(json::canonicalize(text.as_bytes()).expect("strict JSON")).expect("UTF-8")
}

fn draft<'a>(
    type_name: &'static str,
    subjects: &'a [Expectation],
    payload: &'a str,
    cause: Option<Index>,
) -> Draft<'a> {
    Draft {
        kind: Kind::Intent,
        type_name,
        stream_id: "default",
        lane: "user",
        actor: "ann",
        intent_type: "chat.message",
        thread_id: "t-1",
        turn_id: "u-1",
        parent_turn_id: None,
        correlation_id: "c-1",
        cause,
        subjects,
        payload: payload.as_bytes(),
    }
}

fn subject(expected: Option<Index>) -> [Expectation; 1] {
    [Expectation { subject: "intent/c-1".to_owned(), expected }]
}

/// The instant of the record with this index.
fn instant(index: u64) -> Timestamp {
    Timestamp::from_micros(1_793_592_633_123_456 + index * 1_500_000)
}

fn write(draft: &Draft<'_>, index: u64) -> String {
    let mut out = Vec::new();
    let prepared = Prepared::new(draft).expect("a small envelope");
    record::encode(&mut out, &prepared, Index(index), Index(index), instant(index));
    String::from_utf8(out).expect("UTF-8")
}

fn submitted(observational: &str) -> String {
    let request_digest = Digest::of(canonical(REQUEST).as_bytes());
    canonical(&format!(
        r#"{{"surface": "wire", "execution_id": "01JD000000000000000000000A", "payload": {{"message": "hello"}},
        "principal": {{"name": "local", "roles": ["intent.write"]}}, "declared_refs": [],
        "request_digest": "{request_digest}"{observational}}}"#
    ))
}

fn record_0() -> String {
    let payload = submitted(r#", "_obs": {"x_correlation_id": "x-1"}"#);
    write(&draft("submitted", &subject(None), &payload, None), 0)
}

fn record_1() -> String {
    let payload = r#"{"by":"ann","reason":"no longer wanted"}"#;
    write(&draft("cancel_requested", &subject(Some(Index(0))), payload, Some(Index(0))), 1)
}

/// The envelope of record 0 without what its digest does not cover, put together by hand.
fn digest_input() -> String {
    format!(
        "{{\"actor\":\"ann\",\"cause\":null,\"correlation_id\":\"c-1\",\"intent_type\":\"chat.message\",\"kind\":\"INTENT\",\
         \"lane\":\"user\",\"parent_turn_id\":null,\"payload\":{},\"stream_id\":\"default\",\
         \"subjects\":[{{\"expected\":null,\"subject\":\"intent/c-1\"}}],\"thread_id\":\"t-1\",\"turn_id\":\"u-1\",\
         \"type\":\"submitted\"}}\n",
        submitted("")
    )
}

fn canonical_json() -> String {
    let inputs = [
        r#"{"b": 1, "a": {"d": [ ], "c": null}}"#,
        r#"{"\uFB33": 1, "\uD83D\uDE00": 2, "\u00e9": 3}"#,
        r#""\u0041\/\u000a\u001F\u007f\"""#,
        "[1.0, 1e2, -0, 0.10, 1E-7, 0.000001, 123456789.125, 5e-324]",
        "9007199254740991",
        "9007199254740992",
        "1e20",
        "1e-400",
        "0.12345678901234567890",
        "333333333.33333329",
        "01",
        r#"{"a": 1, "\u0061": 2}"#,
        r#""\ud83d""#,
    ];
    let line = |input: &str| match json::canonicalize(input.as_bytes()) {
        Ok(text) => format!("{input}   ->   {}\n", String::from_utf8(text).expect("UTF-8")),
        Err(error) => {
            let kind = format!("{:?}", error.kind);
            format!(
                "{input}   ->   refused: {} at {:?}\n",
                kind.split(' ').next().unwrap_or_default(),
                error.pointer
            )
        }
    };
    inputs.map(line).concat()
}

fn leaf(record: &str) -> tree::Hash {
    tree::leaf_hash(record::decode(record.as_bytes()).expect("a record").data)
}

fn header(first: u64, previous: Option<Previous>) -> String {
    let header = Header {
        origin: ORIGIN.to_owned(),
        generation: 1,
        first: Index(first),
        fill: Fill::Zeroes,
        previous,
    };
    String::from_utf8(header.encode()).expect("UTF-8")
}

fn seal(before: &str, range: &tree::CompactRange) -> String {
    let blake3 = *blake3::hash(before.as_bytes()).as_bytes();
    let seal = Seal { next: Index(2), records: 2, blake3, root: range.root(), peaks: range.peaks().to_vec() };
    String::from_utf8(seal.encode()).expect("UTF-8")
}

fn frontier(byte: usize) -> String {
    let mut out = Vec::new();
    let at = frame::begin(&mut out);
    out.extend_from_slice(format!(": segment {:020}\n: byte {byte}\n", 0).as_bytes());
    frame::finish(&mut out, at, Letter::Frontier, 2);
    String::from_utf8(out).expect("UTF-8")
}

fn tree_roots() -> String {
    let leaves =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let mut range = tree::CompactRange::new();
    let mut lines = format!("0 {}\n", range.root());
    for leaf in leaves {
        let bytes = leaf.as_bytes().chunks(2).map(|pair| hex::read::<1>(pair).expect("hex")[0]);
        range.append(tree::leaf_hash(&bytes.collect::<Vec<_>>()));
        lines += &format!("{} {}\n", range.len(), range.root());
    }
    lines
}

/// The artifact id that a follower makes from record 0.
fn follower_id(cause: &str) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let data = record::decode(cause.as_bytes()).expect("a record").data;
    let digest = gesta_log_format::envelope::digest_of(data).expect("an envelope");
    let hash = Digest::of(&[&digest.0[..], b"registered", &0_u64.to_be_bytes()].concat());
    let ms = instant(0).micros() / 1000;
    let low = hash.0[..10].iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    let bits = u128::from(ms) << 80 | low;
    let digit = |place: u32| DIGITS[usize::try_from(bits >> (5 * place) & 31).expect("five bits")];
    let ulid: String = (0..26).rev().map(|place| char::from(digit(place))).collect();
    format!("cause    {digest}, {}\ntype     registered\nordinal  0\nid       {ulid}\n", instant(0))
}

fn tail(record: &str) -> String {
    let hello = format!(
        "retry: 1000\nid: 0\nevent: log\ndata: {{\"first\":0,\"generation\":1,\"head\":2,\"origin\":\"{ORIGIN}\"}}\n\n"
    );
    let cut = &record[..100];
    format!(
        "{hello}{cut}{hello}{record}id: 1\nevent: caught-up\ndata: {{\"head\":2}}\n\n: heartbeat\nid: 1\nevent: cursor\ndata: 1\n\n"
    )
}

const TAIL_ITEMS: &str = "log\na record that was cut off after 100 bytes\nlog\nrecord 1\ncaught-up\ncursor\n";

/// Each example's name and text.
pub(crate) fn examples() -> Vec<(&'static str, String)> {
    let (zero, one) = (record_0(), record_1());
    let mut range = tree::CompactRange::new();
    range.append(leaf(&zero));
    range.append(leaf(&one));
    let before = header(0, None) + &zero + &one;
    let seal = seal(&before, &range);
    let whole = blake3::hash((before.clone() + &seal).as_bytes());
    let size = |text: &str| u64::try_from(text.len()).expect("small");
    let (seal_at, len) = (size(&before), size(&before) + size(&seal));
    let previous = Previous { id: SegmentId(Index(0)), seal_at, len, blake3: *whole.as_bytes() };
    let hashes = format!(
        "leaf of record 0 {}\nleaf of record 1 {}\nroot of both    {}\n",
        leaf(&zero),
        leaf(&one),
        range.root()
    );
    let blob = format!(r#"{{"$blob":"{}","size_bytes":3,"media_type":"text/plain"}}"#, Digest::of(b"abc"));
    vec![
        ("canonical-json", canonical_json()),
        ("request", canonical(REQUEST) + "\n"),
        ("request-digest", format!("{}\n", Digest::of(canonical(REQUEST).as_bytes()))),
        ("blob", canonical(&blob) + "\n"),
        ("follower-id", follower_id(&zero)),
        ("digest-input", digest_input()),
        ("hashes", hashes),
        ("tree-roots", tree_roots()),
        ("header-0", header(0, None)),
        ("seal-0", seal),
        ("header-2", header(2, Some(previous))),
        ("frontier", frontier(before.len())),
        ("tail", tail(&one)),
        ("tail-items", TAIL_ITEMS.to_owned()),
        ("record-0", zero),
        ("record-1", one),
    ]
}
