//! Whether somebody looks, and who stands behind us. The only use of atty, which is sound on Unix alone.

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

/// Whether the stream is a pipe: another program stands there.
pub fn is_pipe(stream: Stream) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let file = match stream {
        Stream::Stdin => super::input::duplicate(std::io::stdin()),
        Stream::Stdout => super::input::duplicate(std::io::stdout()),
        Stream::Stderr => super::input::duplicate(std::io::stderr()),
    };
    let kind = file.and_then(|file| file.metadata());
    kind.is_ok_and(|data| data.file_type().is_fifo())
}
