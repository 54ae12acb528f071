//! Whether somebody looks. The only use of atty, which is sound on Unix alone.

/// One of the three streams every program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Whether the stream is a terminal.
#[cfg(unix)]
pub fn is_terminal(stream: Stream) -> bool {
    atty::is(match stream {
        Stream::Stdin => atty::Stream::Stdin,
        Stream::Stdout => atty::Stream::Stdout,
        Stream::Stderr => atty::Stream::Stderr,
    })
}

/// Whether the stream is a terminal.
#[cfg(not(unix))]
pub fn is_terminal(stream: Stream) -> bool {
    use std::io::IsTerminal;
    match stream {
        Stream::Stdin => std::io::stdin().is_terminal(),
        Stream::Stdout => std::io::stdout().is_terminal(),
        Stream::Stderr => std::io::stderr().is_terminal(),
    }
}
