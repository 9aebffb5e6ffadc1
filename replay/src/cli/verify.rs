//! `gesta-replay verify`

mod claims;

use gesta_replay::verify::{Class, Finding, Verifier};

use super::report::{Whole, json, junit, sarif, text};
use super::source::{Files, Source, Step};
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
    let facts = source.walk(jobs, &mut |step| take(&mut verifier, step, &bar))?;
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

fn take(verifier: &mut Verifier<&Files>, step: Step, bar: &progress::Bar) -> Result<bool, Failure> {
    match step {
        Step::Records(chunk) => {
            verifier.records(&chunk.records()).map_err(Failure::new)?;
            bar.advance(chunk.file_bytes());
        }
        Step::Seal(file, seal) => verifier.seal(&file, &seal),
        Step::Skip(to) => verifier.skip(to),
        Step::Found(finding) => verifier.find(finding),
        Step::NotChecked(what) => verifier.not_checked(what),
        Step::EndsEarly => verifier.ends_early = true,
    }
    Ok(true)
}
