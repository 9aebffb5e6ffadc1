//! Writes the first corpus of each target: `cargo run --bin seeds` in this directory.

use std::fs;
use std::io;
use std::path::Path;

use gesta_log_format::json::canonicalize;
use gesta_log_format::record;
use gesta_log_format_fuzz::sample::{CONNECTED, RECORDS, SEGMENTS, batch};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    records(&corpus.join("record"))?;
    json(&corpus.join("json"))?;
    recovery(&corpus.join("recovery"))?;
    saved_tail(&corpus.join("saved_tail"))
}

fn write(dir: &Path, seeds: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (nth, seed) in seeds.into_iter().enumerate() {
        fs::write(dir.join(format!("seed-{nth:03}")), seed)?;
    }
    Ok(())
}

/// Whole records, their bodies, envelopes, headers and seals.
fn records(dir: &Path) -> io::Result<()> {
    let mut seeds = Vec::new();
    for nth in 0..RECORDS {
        let bytes = batch(nth, nth + 1).bytes().to_vec();
        let data = record::decode(&bytes).map(|record| record.data.to_vec()).unwrap_or_default();
        seeds.extend([bytes[64..].to_vec(), data, bytes]);
    }
    for sample in SEGMENTS.iter() {
        let header = memchr_of(&sample.bytes, b": g1 ").unwrap_or_default();
        seeds.extend([sample.bytes[..header].to_vec(), sample.bytes[64..header].to_vec()]);
        if let Some(seal) = memchr_of(&sample.bytes, b": s1 ") {
            seeds.extend([sample.bytes[seal..].to_vec(), sample.bytes[seal + 64..].to_vec()]);
        }
    }
    write(dir, seeds)
}

fn memchr_of(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn json(dir: &Path) -> io::Result<()> {
    let texts: [&[u8]; 14] = [
        b"null",
        b"[true,false,null]",
        b"-0.0",
        b"[1e21,1e-7,333333333.33333329,4.50,2e-3,9007199254740991,5e-324]",
        b"{\"b\":1,\"a\":{\"\\u00e9\":[],\"\\ud83d\\ude00\":\"\\ud83d\\ude00\"}}",
        b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u007f\\u2028\"",
        b"{\"a\":1,\"a\":2}",
        b"\"\\ud800\"",
        b"[[[[[[[[]]]]]]]]",
        b" { \"x\" : [ 1 , 2 ] } ",
        b"1e400",
        b"0.12345678901234567890",
        b"{\"\":\"\"}",
        "{\"\u{20ac}\":1,\"\r\":2,\"\u{fb33}\":3,\"1\":4,\"\u{1f600}\":5,\"\u{80}\":6}".as_bytes(),
    ];
    let envelopes = (0..RECORDS).filter_map(|nth| {
        let bytes = batch(nth, nth + 1).bytes().to_vec();
        record::decode(&bytes).ok().and_then(|record| canonicalize(record.data).ok())
    });
    write(dir, texts.iter().map(|text| text.to_vec()).chain(envelopes))
}

/// Each sample raw, behind a header, and as scripts of one to three changes.
fn recovery(dir: &Path) -> io::Result<()> {
    let mut seeds = Vec::new();
    for (nth, sample) in (0u8..).zip(SEGMENTS.iter()) {
        let end = sample.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        seeds.push([&[nth], &sample.bytes[..end]].concat());
        seeds.push([&[nth + 64], batch(0, 3).bytes()].concat());
        for op in 0..8u8 {
            for place in [0u8, 8, 15] {
                let change = [op + 8 * place, place, 77, 2, 9, 5];
                seeds.push([&[nth + 128], &change[..], b"id: 3\nevent: envelope\ndata: {}\n\n"].concat());
                seeds.push([&[nth + 128], &change[..], &[5, place, 0, 0, 9], &[2, 20, 0, 0, 0]].concat());
            }
        }
    }
    write(dir, seeds)
}

fn saved_tail(dir: &Path) -> io::Result<()> {
    let tail =
        [CONNECTED.as_bytes(), batch(0, RECORDS).bytes(), b"event: caught-up\ndata: {\"head\":12}\n\n"]
            .concat();
    let mut seeds = vec![[&[0][..], &tail].concat(), [&[0][..], &tail[..1500], &tail].concat()];
    for op in 0..=255u8 {
        if op % 7 == 0 {
            seeds.push([1, 0, 0, 1, 0, op, op / 16, 1, 200, 0, 9, 0, 1, 3, 1, 6].to_vec());
        }
    }
    write(dir, seeds)
}
