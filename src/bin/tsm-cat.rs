//! Prints the points of storage files.

use std::process::ExitCode;

use lineflow::cli::{self, tsm_cat};

fn main() -> ExitCode {
    cli::main_with(tsm_cat::known::parse, tsm_cat::run::run)
}
