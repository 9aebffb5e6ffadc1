//! `gesta-replay verify`

mod claims;

use gesta_replay::verify::{Class, Finding, Verifier};

use super::report::{Whole, json, junit, sarif, text};
use super::source::{Chunk, Files, Source, Step, chunks_at_once};
use super::{Done, Failure, args, output, progress};
use claims::Claims;

pub(super) fn run(arguments: &args::Verify) -> Done {
    let source = Source::open(&arguments.input)?;
    let claims = Claims::read(arguments, &source)?;
    let whole = verify(&source, claims, arguments.input.jobs())?;
    if arguments.json {
        output::print(&json::write(&whole))?;
    } else if !arguments.quiet && !is_stdout(&arguments.junit) && !is_stdout(&arguments.sarif) {
        output::print(&text::write(&whole))?;
    }
    if let Some(path) = &arguments.junit {
        output::write(path, &junit::write(&whole))?;
    }
    if let Some(path) = &arguments.sarif {
        output::write(path, &sarif::write(&whole))?;
    }
    Ok(whole.report.verdict.exit_code())
}

fn is_stdout(path: &Option<std::path::PathBuf>) -> bool {
    path.as_deref() == Some(std::path::Path::new("-"))
}

fn verify(source: &Source, claims: Claims, jobs: usize) -> Result<Whole, Failure> {
    let Claims { roots, snapshots, origins, findings, not_checked } = claims;
    let mut verifier = Verifier::new(source.files(), jobs, roots, snapshots);
    findings.into_iter().for_each(|finding| verifier.find(finding));
    not_checked.into_iter().for_each(|what| verifier.not_checked(what));
    let bar = progress::Bar::new(source.total_bytes());
    let mut taking = Taking { verifier, bar, chunks: Vec::new(), at_once: chunks_at_once(jobs) };
    let facts = source.walk(jobs, &mut |step| taking.take(step))?;
    taking.hand_on()?;
    let Taking { mut verifier, bar, .. } = taking;
    drop(bar);
    for (by, origin) in origins {
        if !facts.origin.is_empty() && facts.origin != origin {
            let message = format!("{by} is of the log {origin}, and this is {}", facts.origin);
            verifier.find(Finding::whole(Class::Tampered, "CHECKPOINT_ORIGIN", message));
        }
    }
    verifier.not_checked("the content of blobs that no decision reads");
    Ok(Whole { facts, report: verifier.finish() })
}

/// Hands the steps of a walk on to the verifier, chunks together.
struct Taking<'s> {
    verifier: Verifier<&'s Files>,
    bar: progress::Bar,
    /// Not handed on yet.
    chunks: Vec<Chunk>,
    at_once: usize,
}

impl Taking<'_> {
    fn take(&mut self, step: Step) -> Result<bool, Failure> {
        match step {
            Step::Records(chunk) => {
                self.chunks.push(chunk);
                if self.chunks.len() >= self.at_once {
                    self.hand_on()?;
                }
                return Ok(true);
            }
            Step::Seal(file, seal) => {
                self.hand_on()?;
                self.verifier.seal(&file, &seal);
            }
            Step::Skip(to) => {
                self.hand_on()?;
                self.verifier.skip(to);
            }
            Step::Found(finding) => self.verifier.find(finding),
            Step::NotChecked(what) => self.verifier.not_checked(what),
            Step::EndsEarly => self.verifier.ends_early = true,
        }
        Ok(true)
    }

    fn hand_on(&mut self) -> Result<(), Failure> {
        let chunks = std::mem::take(&mut self.chunks);
        let pieces: Vec<_> = chunks.iter().map(Chunk::records).collect();
        self.verifier.pieces(&pieces).map_err(Failure::new)?;
        self.bar.advance(chunks.iter().map(Chunk::file_bytes).sum());
        Ok(())
    }
}
