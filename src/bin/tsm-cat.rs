//! Prints the points of storage files.

use std::process::ExitCode;

use lineflow::cli::{self, tsm_cat};

fn main() -> ExitCode {
    cli::main(tsm_cat::run::run)
}
