//! Tests of checkpoints: a published one, and each that is made against the crate `tlog_tiles`.

use proptest::prelude::*;

use super::*;
use crate::tree::leaf_hash;

/// Made by another implementation and accepted by Go's: the seed bytes are 00 to 1f.
const TEXT: &str = "decisionlog.test/log1\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n";
const VKEY: &str = "decisionlog.test/log1+12b12908+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const LINE: &str = "— decisionlog.test/log1 \
    ErEpCHZdDii6qQ2SYJ8vEXO8J2JwmBftSiLVSZGgKAfGi0ViUqXiqZRyh+KTUE6yyhpUNxBTQR9116nWZrS68epx2Ao=\n";

#[test]
fn the_published_checkpoint_is_made_byte_for_byte() {
    let seed: Vec<u8> = (0..32).collect();
    let key = SecretKey::new("decisionlog.test/log1", seed.try_into().unwrap()).unwrap();
    assert_eq!(key.public().to_string(), VKEY);
    let checkpoint = Checkpoint::parse(TEXT).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("decisionlog.test/log1", 8));
    let root = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
    assert_eq!(checkpoint.root.to_string(), root);
    let note = checkpoint.sign(&[&key]).unwrap().encode();
    assert_eq!(note, format!("{TEXT}\n{LINE}"));
    assert_eq!(Checkpoint::open(note.as_bytes(), &[PublicKey::parse(VKEY).unwrap()]), Ok(checkpoint));
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    check("", CheckpointError::Lines);
    check("log\n8\n", CheckpointError::Lines);
    check(TEXT.trim_end(), CheckpointError::Lines);
    check(&TEXT.replace("decisionlog.test/log1", ""), CheckpointError::Empty { line: 1 });
    check(&format!("{TEXT}\n"), CheckpointError::Empty { line: 4 });
    for size in ["08", "+8", "-8", "8 ", "x", "18446744073709551616"] {
        check(&TEXT.replace("\n8\n", &format!("\n{size}\n")), CheckpointError::Size);
    }
    for root in ["", "Xcna", "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyh="] {
        let text = TEXT.replace("XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=", root);
        let error = if root.is_empty() { CheckpointError::Empty { line: 3 } } else { CheckpointError::Root };
        check(&text, error);
    }
}

#[track_caller]
fn check(text: &str, expected: CheckpointError) {
    assert_eq!(Checkpoint::parse(text), Err(expected), "{text}");
}

#[test]
fn extension_lines_are_kept() {
    let text = format!("{TEXT}more\n");
    let checkpoint = Checkpoint::parse(&text).unwrap();
    assert_eq!(checkpoint.extensions, ["more"]);
    assert_eq!(checkpoint.text(), text);
}

proptest! {
    #[test]
    fn checkpoints_are_theirs_too(size: u64, data: Vec<u8>) {
        let root = leaf_hash(&data);
        let ours = Checkpoint { origin: "example.com/log".to_owned(), size, root, extensions: Vec::new() };
        let theirs = tlog_tiles::Checkpoint::from_bytes(ours.text().as_bytes()).unwrap();
        prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), ("example.com/log", size, root.0));
        prop_assert_eq!(theirs.to_bytes(), ours.text().into_bytes());
        prop_assert_eq!(Checkpoint::parse(&ours.text()), Ok(ours));
    }

    #[test]
    fn any_text_is_refused_or_written_again_the_same(text in "(a|log)\n(0|8|08|1x)\n.{0,50}\n(x|\n){0,3}") {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.text(), text);
        }
    }
}
