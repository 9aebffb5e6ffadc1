//! `gesta prove`: that a record is in the signed log, checked here and not believed.

use std::io::Write as _;

use gesta_log_format::checkpoint::Checkpoint;
use gesta_log_format::note::{Note, PublicKey};
use gesta_log_format::tree::{Hash, Position, leaf_hash, verify_inclusion};
use serde_json::json;

use super::checkpoint::{self, Trust, keys};
use super::{Exit, Failure, args, output, remote};
use crate::client::{Answer, Caller};
use crate::proofs::{InclusionProof, decode_hash};

/// What was found to hold.
struct Proven {
    proof: InclusionProof,
    checkpoint: Checkpoint,
    trust: Trust,
    /// The record itself was read and is the leaf.
    is_record: bool,
}

/// # Errors
/// A server that cannot be reached or refuses; a proof that does not hold.
pub fn run(arguments: args::Prove) -> Result<(), Failure> {
    let known = keys(&arguments.keys)?;
    let mut caller = Caller::new(remote::server(&arguments.target)?);
    let proven = remote::runtime()?.block_on(prove(&mut caller, arguments.index, &known))?;
    if !arguments.json {
        return output::write(|out| print(out, &proven));
    }
    let Proven { proof, trust, is_record, .. } = &proven;
    let body = json!({
        "index": proof.index, "size": proof.size, "leaf": proof.leaf, "root": proof.root, "hashes": proof.hashes,
        "checkpoint": proof.checkpoint, "record_read": is_record, "signed_by": trust.signers(),
    });
    output::write(|out| writeln!(out, "{body:#}"))
}

async fn prove(caller: &mut Caller, index: u64, known: &[PublicKey]) -> Result<Proven, Failure> {
    let answer = remote::get(caller, &format!("/events/{index}/proof")).await?;
    let proof: InclusionProof = serde_json::from_slice(&accepted(&answer)?.body)
        .map_err(|error| wrong(format!("the answer is no proof: {error}")))?;
    let record = remote::get(caller, &format!("/events/{index}")).await?;
    let is_record = record.status.is_success();
    let data = is_record.then_some(&record.body[..]);
    let (checkpoint, trust) = check(&proof, index, data, known)?;
    Ok(Proven { proof, checkpoint, trust, is_record })
}

fn accepted(answer: &Answer) -> Result<&Answer, Failure> {
    if answer.status.is_success() { Ok(answer) } else { Err(remote::refusal(answer)) }
}

/// Follows the proof from the record, where it is there, to a checkpoint.
fn check(
    proof: &InclusionProof,
    index: u64,
    data: Option<&[u8]>,
    known: &[PublicKey],
) -> Result<(Checkpoint, Trust), Failure> {
    let note = proof.checkpoint.as_deref().ok_or_else(|| wrong("there is no checkpoint with it"))?;
    let note = Note::parse(note.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| wrong(error.to_string()))?;
    let trust = checkpoint::trust(&note, &checkpoint, known)?;
    let hash = |text: &str| decode_hash(text).ok_or_else(|| wrong("a hash is not base64 of 32 bytes"));
    let (leaf, root) = (hash(&proof.leaf)?, hash(&proof.root)?);
    let path = proof.hashes.iter().map(|text| hash(text)).collect::<Result<Vec<Hash>, _>>()?;
    if proof.index != index {
        return Err(wrong("it is about another record"));
    }
    if (proof.size, root) != (checkpoint.size, checkpoint.root) {
        return Err(wrong("its tree is not that of its checkpoint"));
    }
    if data.is_some_and(|data| leaf_hash(data) != leaf) {
        return Err(wrong("the record is not the leaf that is proven"));
    }
    if !verify_inclusion(Position { index, size: proof.size }, leaf, &path, root) {
        return Err(wrong("its path does not lead to the root"));
    }
    Ok((checkpoint, trust))
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(Exit::Failed, format!("the proof does not hold: {}", what.into()))
        .hint("keep the answer: a log that gives a wrong proof is broken, or lies")
}

fn print(out: &mut impl std::io::Write, proven: &Proven) -> std::io::Result<()> {
    let Proven { proof, checkpoint, trust, is_record } = proven;
    writeln!(out, "index       {}", proof.index)?;
    writeln!(out, "origin      {}", checkpoint.origin)?;
    writeln!(out, "size        {}", proof.size)?;
    writeln!(out, "leaf        {}", proof.leaf)?;
    writeln!(out, "root        {}", proof.root)?;
    writeln!(out, "path        {} hashes, followed to the root", proof.hashes.len())?;
    let record = if *is_record { "read, and is the leaf" } else { "not readable with this token" };
    writeln!(out, "record      {record}")?;
    writeln!(out, "signature   {trust}")
}

#[cfg(test)]
mod tests {
    use gesta_log_format::note::SecretKey;

    use super::*;
    use crate::proofs::encode_hash;

    fn proof(signer: &SecretKey) -> InclusionProof {
        let leaf = leaf_hash(b"record");
        let checkpoint =
            Checkpoint { origin: "log.test/1".to_owned(), size: 1, root: leaf, extensions: Vec::new() };
        InclusionProof {
            index: 0,
            size: 1,
            leaf: encode_hash(&leaf),
            root: encode_hash(&leaf),
            hashes: Vec::new(),
            checkpoint: Some(checkpoint.sign(&[signer]).unwrap().encode()),
        }
    }

    #[test]
    fn a_proof_holds_only_for_its_record_its_checkpoint_and_its_key() {
        let key = SecretKey::new("log.test/1", [1; 32]).unwrap();
        let other = SecretKey::new("log.test/1", [2; 32]).unwrap();
        let known = std::slice::from_ref(key.public());
        assert!(check(&proof(&key), 0, Some(b"record"), known).is_ok());
        assert!(check(&proof(&key), 0, None, &[]).is_ok());
        assert!(check(&proof(&key), 0, Some(b"other"), known).is_err());
        assert!(check(&proof(&key), 1, Some(b"record"), known).is_err());
        assert!(check(&proof(&other), 0, Some(b"record"), known).is_err());
        let changes: [fn(&mut InclusionProof); 5] = [
            |proof| proof.size = 2,
            |proof| proof.root = encode_hash(&leaf_hash(b"x")),
            |proof| proof.hashes.push(encode_hash(&leaf_hash(b"x"))),
            |proof| proof.checkpoint = None,
            |proof| proof.checkpoint = proof.checkpoint.as_ref().map(|note| note.replace("\n1\n", "\n2\n")),
        ];
        for change in changes {
            let mut changed = proof(&key);
            change(&mut changed);
            assert!(check(&changed, 0, Some(b"record"), known).is_err());
        }
    }
}
