//! Exit statuses, and which error stands for which. Nobody else knows the numbers.

use std::io;

use crate::{lp, tsm};

/// All input was read; some records were left out, counted and explained.
pub const PARTIAL: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// The data is damaged or ends early.
pub const DATA: u8 = 65;
/// The input is missing.
pub const NO_INPUT: u8 = 66;
/// The server refused for good.
pub const REFUSED: u8 = 69;
/// An output file exists.
pub const EXISTS: u8 = 73;
/// An I/O error.
pub const IO: u8 = 74;
/// Gave up for now: run the same command again.
pub const TEMPORARY: u8 = 75;
/// Permission or authorisation.
pub const NO_PERMISSION: u8 = 77;
/// Configuration.
pub const CONFIG: u8 = 78;
/// The reader of standard output went away; what a shell shows for SIGPIPE.
pub const CLOSED: u8 = 141;

/// Something that went wrong for a reason that has an exit status of its own.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong usage that only shows after the arguments are parsed.
    #[error("{0}")]
    Usage(String),
    /// The data is damaged or ends early.
    #[error("{0}")]
    Data(String),
    /// The input is missing.
    #[error("{0}")]
    NoInput(String),
    /// The server refused for good.
    #[error("{0}")]
    Refused(String),
    /// An output file exists.
    #[error("{0}")]
    Exists(String),
    /// Gave up for now.
    #[error("{0}")]
    Temporary(String),
    /// Permission or authorisation.
    #[error("{0}")]
    NoPermission(String),
    /// Configuration.
    #[error("{0}")]
    Config(String),
    /// A command that we ran for somebody ended with this status, which becomes ours.
    #[error("{1}")]
    Command(u8, String),
    /// The program before failed and said so in the stream.
    #[error("the program before failed with status {0}")]
    Upstream(u8),
}

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Data(_) => DATA,
            Self::NoInput(_) => NO_INPUT,
            Self::Refused(_) => REFUSED,
            Self::Exists(_) => EXISTS,
            Self::Temporary(_) => TEMPORARY,
            Self::NoPermission(_) => NO_PERMISSION,
            Self::Config(_) => CONFIG,
            Self::Upstream(status) | Self::Command(status, _) => (*status).max(PARTIAL),
        }
    }
}

/// The reader of standard output went away. Its own type: a server that hangs up is something else.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output went away")]
pub struct Closed;

/// The status of the first cause in the chain that has one.
pub fn status(err: &anyhow::Error) -> u8 {
    err.chain().find_map(known).unwrap_or(IO)
}

fn known(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<Closed>() {
        return Some(CLOSED);
    }
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.status());
    }
    if let Some(stopped) = cause.downcast_ref::<super::signal::Stopped>() {
        return Some(stopped.status());
    }
    if cause.is::<tsm::Error>() {
        return Some(DATA);
    }
    match cause.downcast_ref::<lp::Error>() {
        None => {}
        Some(lp::Error::Io(err)) => return Some(io_status(err)),
        Some(_) => return Some(DATA),
    }
    cause.downcast_ref::<io::Error>().map(io_status)
}

fn io_status(err: &io::Error) -> u8 {
    if let Some(status) = err.get_ref().and_then(|cause| known(cause)) {
        return status;
    }
    match err.kind() {
        io::ErrorKind::NotFound => NO_INPUT,
        io::ErrorKind::PermissionDenied => NO_PERMISSION,
        _ => IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_first_cause_that_has_a_status_decides() {
        let err = Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))
            .context("a.lp")
            .unwrap_err();
        assert_eq!(NO_INPUT, status(&err));
        assert_eq!(CLOSED, status(&anyhow::Error::new(Closed).context("x")));
        assert_eq!(DATA, status(&lp::Error::Cut.into()));
        assert_eq!(IO, status(&io::Error::other("x").into()));
        assert_eq!(65, status(&Failure::Upstream(65).into()));
        assert_eq!(1, status(&Failure::Upstream(0).into()));
    }

    #[test]
    fn a_cause_inside_an_io_error_counts() {
        let inner = io::Error::other(Failure::Data("gzip".into()));
        assert_eq!(DATA, status(&lp::Error::from(inner).into()));
    }
}
