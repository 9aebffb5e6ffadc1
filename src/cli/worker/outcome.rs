//! What a program's end means for its task. Pure: the rule that the help of `gesta worker` states.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use serde_json::value::RawValue;

use super::program::Kept;
use crate::limits::WORKER_ERROR_BYTES_MAX;

/// What came of a program.
pub(super) enum Outcome<'a> {
    Completed(&'a RawValue),
    Failed(Failed),
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    /// Stable, UPPER_SNAKE.
    pub(super) code: String,
    pub(super) why: String,
    /// Whether another attempt may end otherwise.
    pub(super) retryable: bool,
}

impl Failed {
    pub(super) fn new(code: impl Into<String>, why: impl Into<String>, retryable: bool) -> Self {
        Self { code: code.into(), why: why.into(), retryable }
    }
}

/// Exit codes of sysexits.h that say that the same task would end in the same way: EX_USAGE, EX_DATAERR, EX_CONFIG.
const FOR_GOOD: [i32; 3] = [64, 65, 78];

/// Judges a program that ended by itself.
pub(super) fn judge(status: ExitStatus, stdout: &Kept) -> Outcome<'_> {
    match (status.code(), status.signal()) {
        (Some(0), _) => match result(stdout) {
            Ok(result) => Outcome::Completed(result),
            Err(why) => Outcome::Failed(Failed::new("OUTPUT_INVALID", why, false)),
        },
        (Some(code), _) => {
            let why = format!("the program ended with exit code {code}");
            Outcome::Failed(Failed::new(format!("EXIT_{code}"), why, !FOR_GOOD.contains(&code)))
        }
        (None, Some(signal)) => {
            let why = format!("the program was ended by signal {signal}");
            Outcome::Failed(Failed::new(format!("SIGNAL_{signal}"), why, true))
        }
        (None, None) => Outcome::Failed(Failed::new("ENDED", format!("the program ended: {status}"), true)),
    }
}

/// The one JSON object that a program wrote.
fn result(stdout: &Kept) -> Result<&RawValue, String> {
    if stdout.lost > 0 {
        let bytes = stdout.bytes.len() as u64 + stdout.lost;
        return Err(format!(
            "the program wrote {bytes} bytes to standard output, more than a result may have"
        ));
    }
    match serde_json::from_slice::<&RawValue>(&stdout.bytes) {
        Ok(value) if value.get().starts_with('{') => Ok(value),
        Ok(_) => Err("the program wrote JSON to standard output that is no object".to_owned()),
        Err(error) => Err(format!("the program did not write one JSON object to standard output: {error}")),
    }
}

/// What the log is told of a failure: why, and the end of what the program wrote to standard error, as far as there is
/// room.
pub(super) fn message(why: &str, stderr: &Kept) -> String {
    let mut message = cut_last(why, WORKER_ERROR_BYTES_MAX / 2).to_owned();
    if stderr.bytes.trim_ascii().is_empty() {
        return message;
    }
    message.push_str("; standard error ends: ");
    let text = String::from_utf8_lossy(stderr.bytes.trim_ascii());
    let text: String = text.chars().map(|char| if is_plain(char) { char } else { ' ' }).collect();
    message.push_str(cut_last(&text, WORKER_ERROR_BYTES_MAX.saturating_sub(message.len())));
    message
}

fn is_plain(char: char) -> bool {
    char == '\n' || char == '\t' || !char.is_control()
}

/// The last characters of a text that are no more bytes than this.
fn cut_last(text: &str, bytes_max: usize) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        Kept { bytes: text.as_bytes().to_vec(), lost: 0 }
    }

    /// What a program means that ends with this wait status.
    #[track_caller]
    fn check(wait_status: i32, stdout: &str, expected: Result<&str, (bool, &str)>) {
        let stdout = kept(stdout);
        match (judge(ExitStatus::from_raw(wait_status), &stdout), expected) {
            (Outcome::Completed(result), Ok(expected)) => assert_eq!(result.get(), expected),
            (Outcome::Failed(failed), Err((retryable, why))) => {
                assert!(failed.why.contains(why), "{failed:?}");
                assert_eq!(failed.retryable, retryable, "{failed:?}");
            }
            (Outcome::Completed(result), Err(_)) => panic!("completed with {result}"),
            (Outcome::Failed(failed), Ok(_)) => panic!("{failed:?}"),
        }
    }

    #[test]
    fn exactly_one_object_and_exit_code_0_is_a_result() {
        check(0, " {\"a\": 1e0}\n", Ok("{\"a\": 1e0}"));
        for wrong in ["", "[]", "1", "{} {}", "{", "{}\nlog"] {
            check(0, wrong, Err((false, "standard output")));
        }
        let long = Kept { bytes: b"{}".to_vec(), lost: 9 };
        assert!(matches!(judge(ExitStatus::from_raw(0), &long), Outcome::Failed(_)));
    }

    #[test]
    fn an_exit_code_says_whether_another_attempt_may_help() {
        for (code, retryable) in [(1, true), (75, true), (127, true), (64, false), (65, false), (78, false)] {
            check(code << 8, "{}", Err((retryable, &format!("exit code {code}"))));
        }
        check(9, "{}", Err((true, "signal 9")));
    }

    #[test]
    fn a_message_has_the_end_of_standard_error_and_never_more_bytes_than_there_is_room_for() {
        assert_eq!(message("why", &kept(" \n")), "why");
        assert_eq!(message("why", &kept("a\u{1b}[1mb\n")), "why; standard error ends: a [1mb");
        let long = kept(&"ä".repeat(WORKER_ERROR_BYTES_MAX));
        for message in [message("why", &long), message(&"y".repeat(9000), &long)] {
            assert!(message.len() <= WORKER_ERROR_BYTES_MAX && message.ends_with('ä'));
        }
    }
}
