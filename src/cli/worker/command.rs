//! The words of a command line, without a shell: nothing is expanded, so what a task holds cannot become a command.

use std::path::Path;

/// Why a text is no command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    #[error("--exec is empty")]
    Empty,
    #[error("--exec has a quote that is not closed")]
    OpenQuote,
    #[error("--exec ends with a backslash")]
    LoneBackslash,
    #[error("--exec names {program}, and there is no such program")]
    NotFound { program: String },
}

/// Splits at white space. Quotes keep words together: single ones everything, double ones everything but a backslash
/// before a double quote or a backslash. Outside of quotes a backslash keeps the next character.
///
/// # Errors
/// `Empty`, `OpenQuote`, `LoneBackslash`.
pub(super) fn split(line: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(CommandError::OpenQuote)? {
                        '\'' => break,
                        char => word.push(char),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(CommandError::OpenQuote)? {
                        '"' => break,
                        '\\' => match chars.next().ok_or(CommandError::OpenQuote)? {
                            char @ ('"' | '\\') => word.push(char),
                            char => word.extend(['\\', char]),
                        },
                        char => word.push(char),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or(CommandError::LoneBackslash)?),
            char if char.is_whitespace() => words.extend(word.take()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    if words.is_empty() { Err(CommandError::Empty) } else { Ok(words) }
}

/// Looks for the program where the system will: a worker that can run nothing would use up the attempts of all tasks.
///
/// # Errors
/// `NotFound`.
pub(super) fn must_exist(program: &str) -> Result<(), CommandError> {
    let found = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    };
    if found { Ok(()) } else { Err(CommandError::NotFound { program: program.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, words: &[&str]) {
        assert_eq!(split(line).unwrap(), words, "{line}");
    }

    #[test]
    fn words_are_split_at_white_space_and_kept_together_by_quotes() {
        check("python3 run.py", &["python3", "run.py"]);
        check("  a\t b\n", &["a", "b"]);
        check("sh -c 'jq .task | tee \"log\"'", &["sh", "-c", "jq .task | tee \"log\""]);
        check(r#"a "b \"c\" \\ \d" e\ f"#, &["a", r#"b "c" \ \d"#, "e f"]);
        check("a '' b", &["a", "", "b"]);
        check("a'b c'd", &["ab cd"]);
    }

    #[test]
    fn nothing_is_expanded() {
        check("echo $HOME `id` ~ * ; rm", &["echo", "$HOME", "`id`", "~", "*", ";", "rm"]);
    }

    #[test]
    fn what_is_no_command_line_is_refused() {
        for (line, error) in [
            (" ", CommandError::Empty),
            ("a 'b", CommandError::OpenQuote),
            ("a \"b\\", CommandError::OpenQuote),
            ("a \\", CommandError::LoneBackslash),
        ] {
            assert_eq!(split(line), Err(error), "{line}");
        }
        assert!(must_exist("sh").is_ok() && must_exist("/bin/sh").is_ok());
        assert!(must_exist("no-such-program-anywhere").is_err() && must_exist("/no/such").is_err());
    }
}
