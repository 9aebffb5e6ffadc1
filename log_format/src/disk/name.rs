//! The names that a disk accepts: relative, below its root, in one spelling.
//!
//! Both disks refuse the same names, so that what a test shows in memory holds on the operating system.

use std::io;

/// Accepts the name of a file: parts between single slashes, none of them empty, `.` or `..`.
///
/// # Errors
/// `InvalidInput` for anything else: absolute names, names that leave the root, and second spellings of a name.
pub(super) fn file(name: &str) -> io::Result<&str> {
    let sound = name.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    if sound { Ok(name) } else { Err(refused(name)) }
}

/// Accepts the name of a directory: as for a file, and the empty name or `.` for the root, which is returned as the
/// empty name.
///
/// # Errors
/// As [`file`].
pub(super) fn directory(name: &str) -> io::Result<&str> {
    if matches!(name, "" | ".") { Ok("") } else { file(name) }
}

fn refused(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a name below the root of this disk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_root_or_has_a_second_spelling_is_refused() {
        for name in ["/etc/passwd", "..", "a/../b", "../a", "a//b", "a/", "./a", "a/.", "a\0b"] {
            assert!(file(name).is_err(), "{name:?}");
            assert!(directory(name).is_err(), "{name:?}");
        }
        assert!(file("").is_err() && file(".").is_err());
    }

    #[test]
    fn a_plain_name_is_kept_and_the_root_has_the_empty_name() {
        assert_eq!(file("log/00000000000000000000.log").unwrap(), "log/00000000000000000000.log");
        assert_eq!(directory("log").unwrap(), "log");
        assert_eq!(directory(".").unwrap(), "");
        assert_eq!(directory("").unwrap(), "");
    }
}
