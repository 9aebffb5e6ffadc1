use std::fs;

use crate::run::run;
use crate::support::fixtures::decided;
use crate::support::prefix::said;
use crate::support::{Maker, changed, example, framed, write_segment};

#[test]
fn the_report_has_the_same_bytes_in_every_run_and_with_any_number_of_threads() {
    let mut maker = Maker::new(&example());
    for nth in 0..900 {
        let refs = format!("c-{}", nth / 2);
        let said = said(nth).thread(&format!("t-{}", nth % 7));
        maker.round(&if nth > 0 && (nth / 2) % 7 == nth % 7 { said.refs(&[&refs]) } else { said });
    }
    let mut records = maker.log.records.clone();
    // More findings than a report lists.
    for data in records.iter_mut().skip(2) {
        let text = String::from_utf8(data.clone()).unwrap();
        if text.contains("\"kind\":\"DECISION\"") {
            *data = changed(data, "\"role\":\"user\"", "\"role\":\"usex\"");
        } else {
            *data = text.replacen("\"actor\":\"", "\"actor\":\"x", 1).into_bytes();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    write_segment(dir.path(), &records);
    let path = dir.path().to_str().unwrap();
    for form in ["--json", "--junit=-", "--sarif=-"] {
        let reports: Vec<_> =
            ["1", "1", "2", "3", "8"].map(|jobs| run(&["verify", path, form, "--jobs", jobs])).into();
        for report in &reports {
            assert_eq!(report.code, 2, "{}", report.stderr);
            assert!(report.stdout == reports[0].stdout, "{form}");
        }
    }
}

#[test]
fn a_log_that_is_rebuilt_from_its_saved_tail_has_the_same_report() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), decided());
    maker.write(&dir.path().join("one"), 1, 1 << 24);
    write_segment(&dir.path().join("two"), &maker.log.records);
    let report = |name: &str| run(&["verify", dir.path().join(name).to_str().unwrap(), "--json"]).stdout;
    assert_eq!(report("one"), report("two"));
    let tail: Vec<u8> = (0..).zip(&maker.log.records).flat_map(|(index, data)| framed(index, data)).collect();
    fs::write(dir.path().join("tail.sse"), tail).unwrap();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (one, tail) = (value(&report("one")), value(&report("tail.sse")));
    for member in ["verdict", "decisions", "findings", "absent", "engine"] {
        assert_eq!(one[member], tail[member], "{member}");
    }
    assert_eq!(one["log"]["root"], tail["log"]["root"]);
}
