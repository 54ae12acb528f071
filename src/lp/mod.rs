//! Line protocol: the text that flows between the programs.

pub mod escape;
pub mod number;
