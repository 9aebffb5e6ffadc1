//! The operating system below one directory.
