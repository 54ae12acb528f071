//! Writes line protocol to a server with the InfluxDB write API.

use std::process::ExitCode;

use lineflow::cli::{self, lp_post};

fn main() -> ExitCode {
    cli::main(lp_post::run::run)
}
