//! Annotated line protocol: points, one per record, and the comments that say what they belong to.
//!
//! A record ends where the servers' splitter says it ends (`frame`), not at the next line feed. What a comment
//! means is in `context`; what a whole stream must look like is in `stream`.

pub mod cell;
pub mod context;
pub mod dialect;
pub mod escape;
pub mod frame;
pub mod glob;
pub mod misfit;
pub mod number;
pub mod reader;
pub mod record;
pub mod speller;
pub mod stream;
pub mod validate;

pub use context::{Change, Context};
pub use reader::{Entry, Reader};
pub use stream::{Event, Stream};

/// Text that cannot be read as annotated line protocol, and how far it could.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source could not be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// One record is longer than a program may hold.
    #[error(
        "a record is longer than {max} bytes (is a quote left open? --max-record allows longer ones)"
    )]
    TooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// The input ends in the middle of a record.
    #[error(
        "the input ends inside a record: a quote is left open, or a backslash is its last byte"
    )]
    Unfinished,
    /// The stream was begun and just stops.
    #[error("the stream is cut: it has a begin and no end (run the command that wrote it again)")]
    Cut,
    /// Two begins, or an end without begin.
    #[error("{0}")]
    Order(&'static str),
    /// A comment that carries context or a stream mark and cannot be read.
    #[error("the comment cannot be read: {0}")]
    Comment(bstr::BString),
}
