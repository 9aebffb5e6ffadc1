mod access;
mod token;
pub use access::*;
pub use token::*;
