//! Who acts for a task, and what with.

pub mod prefix;
