//! Tests of signed notes: published ones, and each that is made against the crate `signed_note`.

use proptest::prelude::*;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};

use super::*;

const PUBLISHED_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const PUBLISHED: &str = "This is an example message.\n\n— example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn key(name: &str, seed: u8) -> SecretKey {
    SecretKey::new(name, [seed; 32]).unwrap()
}

fn they_verify(note: &str, key: &PublicKey) -> bool {
    let verifier = StandardVerifier::new(&key.to_string()).unwrap();
    let list = VerifierList::new(vec![Box::new(verifier)]);
    signed_note::Note::from_bytes(note.as_bytes()).is_ok_and(|note| note.verify(&list).is_ok())
}

#[test]
fn the_published_note_is_read_and_verified() {
    let key = PublicKey::parse(PUBLISHED_KEY).unwrap();
    let note = Note::parse(PUBLISHED.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.signatures()[0].id().to_string(), "530d903a");
    assert_eq!(note.encode(), PUBLISHED);
    assert_eq!(note.verify(std::slice::from_ref(&key)), Ok(vec![&key]));
    assert_eq!(key.to_string(), PUBLISHED_KEY);
    assert!(they_verify(PUBLISHED, &key));
}

#[test]
fn keys_read_back_as_written_and_are_theirs_too() {
    let ours = key("example.com/log", 7);
    let (secret, public) = (ours.secret_text(), ours.public().to_string());
    assert_eq!(SecretKey::parse(&secret).unwrap().secret_text(), secret);
    assert_eq!(PublicKey::parse(&public).as_ref(), Ok(ours.public()));
    let theirs = StandardSigner::new(&secret).unwrap();
    assert_eq!(signed_note::Signer::name(&theirs), "example.com/log");
    assert_eq!(signed_note::Signer::key_id(&theirs).to_be_bytes(), ours.public().id().0);
    assert!(StandardVerifier::new(&public).is_ok());
    assert_eq!(format!("{ours:?}"), format!("SecretKey({public})"));
}

#[test]
fn what_is_no_key_is_refused() {
    check_key("", public_form());
    check_key("example.com/foo+530d903a", public_form());
    check_key("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", public_form());
    check_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2", public_form());
    check_key("+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Name);
    check_key("a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Name);
    check_key("foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Kind(4));
    let id = PublicKey::parse("example.com/fou+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
    assert!(matches!(id, Err(KeyError::Id { written: KeyId([0x53, 0x0d, 0x90, 0x3a]), .. })), "{id:?}");
    // The neutral element: under it a signature of zeroes verifies for anything.
    let weak = STANDARD.encode([&[1_u8, 1], &[0; 31][..]].concat());
    check_key(&format!("example.com/foo+00000000+{weak}"), KeyError::Unusable);
    assert!(SecretKey::parse(PUBLISHED_KEY).is_err());
    assert_eq!(SecretKey::new("two words", [1; 32]).unwrap_err(), KeyError::Name);
}

fn public_form() -> KeyError {
    PublicKey::parse("+").unwrap_err()
}

#[track_caller]
fn check_key(text: &str, expected: KeyError) {
    assert_eq!(PublicKey::parse(text), Err(expected), "{text}");
}

#[test]
fn what_is_no_note_is_refused() {
    let line = PUBLISHED.split_once("\n\n").unwrap().1;
    check_note("", NoteError::NoSignatures);
    check_note("text\n", NoteError::NoSignatures);
    check_note("text\n\n", NoteError::NoSignatures);
    check_note(&format!("\n{line}"), NoteError::NoSignatures);
    check_note(&format!("te\txt\n\n{line}"), NoteError::NotText);
    check_note(&format!("text\r\n\r\n{line}"), NoteError::NoSignatures);
    check_note(&format!("text\n\n{}", line.trim_end()), NoteError::NoText);
    check_note(&format!("text\n\n{line}more\n"), NoteError::Signature { line: 2 });
    check_note(&format!("text\n\n{}", line.replace('—', "-")), NoteError::Signature { line: 1 });
    check_note(&format!("text\n\n{}", line.replace("aQM=", "aQN=")), NoteError::Signature { line: 1 });
    check_note(&format!("text\n\n{}", line.replace("aQM=", "aQM")), NoteError::Signature { line: 1 });
    check_note("text\n\n— a AAAAAA==\n", NoteError::Signature { line: 1 });
    check_note("text\n\n— a+b AAAAAAA=\n", NoteError::Signature { line: 1 });
    check_note(&format!("text\n\n{}", line.repeat(101)), NoteError::TooManySignatures);
    check_note(&format!("{}\n\n{line}", "x".repeat(NOTE_BYTES_MAX)), NoteError::TooLong);
    assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::NotText));
    assert_eq!(Note::sign("text".to_owned(), &[&key("a", 1)]), Err(NoteError::NoText));
    assert_eq!(Note::sign("text\n".to_owned(), &[]), Err(NoteError::NoSignatures));
}

#[track_caller]
fn check_note(text: &str, expected: NoteError) {
    assert_eq!(Note::parse(text.as_bytes()), Err(expected), "{text}");
}

#[test]
fn unknown_signatures_are_passed_over_and_one_wrong_one_of_a_known_key_is_enough() {
    let (old, new, foreign) = (key("log", 1), key("log", 2), key("other", 1));
    let note = Note::sign("a\n\nb\n".to_owned(), &[&foreign, &old, &new]).unwrap();
    let known = [new.public().clone(), old.public().clone()];
    assert_eq!(note.verify(&known), Ok(vec![old.public(), new.public()]));
    assert_eq!(note.verify(&known[..1]), Ok(vec![new.public()]));
    let stranger = key("log", 3);
    let error = note.verify(std::slice::from_ref(stranger.public()));
    assert!(matches!(error, Err(VerifyError::Unknown { .. })), "{error:?}");

    let forged = Note::parse(note.encode().replace("a\n", "A\n").as_bytes()).unwrap();
    let wrong = VerifyError::Wrong { name: "log".to_owned(), id: old.public().id() };
    assert_eq!(forged.verify(&known[1..]), Err(wrong));
}

proptest! {
    #[test]
    fn notes_are_theirs_and_changed_ones_nobodys(
        text in "[a-zé\n]{0,40}\n", seed: u8, byte: prop::sample::Index, bit in 0..8_u8,
    ) {
        let key = key("example.com/log", seed);
        let note = Note::sign(text, &[&key]).unwrap().encode();
        let known = std::slice::from_ref(key.public());
        prop_assert_eq!(Note::parse(note.as_bytes()).unwrap().encode(), note.clone());
        prop_assert!(Note::parse(note.as_bytes()).unwrap().verify(known).is_ok());
        prop_assert!(they_verify(&note, key.public()));
        let mut changed = note.into_bytes();
        let at = byte.index(changed.len());
        changed[at] ^= 1 << bit;
        let verified = Note::parse(&changed).is_ok_and(|note| note.verify(known).is_ok());
        prop_assert!(!verified, "{at} {bit}");
    }
}
