//! What a whole stream looks like: begin, points in their contexts, end; and the sections that are dropped.
//!
//! ```text
//! # STREAM-BEGIN once
//! cpu,host=a usage_user=1.5 1577836800000000000
//! # STREAM-END points:1 left-out:0          or  # STREAM-FAILED status:65
//! ```

use bstr::ByteSlice;

use super::{Change, Context, Error};

/// What an entry is and what it did to the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A point.
    Point,
    /// A context comment; the context has been changed.
    Context(Change),
    /// A stream begins; `once` says that each point is in it at most once.
    Begin {
        /// Each point is in the stream at most once.
        once: bool,
    },
    /// A stream ends in good order.
    End {
        /// Points and rejects that this and earlier programs left out.
        left_out: u64,
    },
    /// The writer failed with this exit status.
    Failed {
        /// What the writer ended with.
        status: u8,
    },
    /// Any other comment.
    Comment,
    /// Nothing but blanks.
    Blank,
    /// Part of the `# DDL` section of an export by the stock tool, which is not passed on.
    Dropped,
}

/// Follows one input from entry to entry.
#[derive(Debug, Default)]
pub struct Stream {
    context: Context,
    /// `Some(once)` between begin and end.
    open: Option<bool>,
    ddl: bool,
    contexts: u64,
    begun: bool,
}

impl Stream {
    /// What the entry is. Changes context and state.
    pub fn read(&mut self, entry: &[u8]) -> Result<Event, Error> {
        match entry.first() {
            Some(b'#') => return self.comment(entry),
            Some(b' ' | b'\t' | 0 | b'\n') => {}
            _ if !self.ddl => return Ok(Event::Point),
            _ => {}
        }
        self.unusual(entry)
    }

    /// What holds for the point just read.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether a begun stream is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether each point is in the open stream at most once.
    pub fn is_once(&self) -> bool {
        self.open == Some(true)
    }

    /// Whether this input has named any context so far.
    pub fn had_context(&self) -> bool {
        self.contexts > 0
    }

    /// Whether this input has been begun as a stream so far, as only our programs do.
    pub fn was_begun(&self) -> bool {
        self.begun
    }

    #[cold]
    fn unusual(&mut self, entry: &[u8]) -> Result<Event, Error> {
        let text = entry.trim_start_with(|c| matches!(c, ' ' | '\t' | '\0' | '\n'));
        if self.ddl && entry.starts_with(b"CREATE ") {
            return Ok(Event::Dropped);
        }
        self.ddl &= text.is_empty();
        Ok(match text.first() {
            None => Event::Blank,
            Some(b'#') => Event::Comment,
            Some(_) => Event::Point,
        })
    }

    #[cold]
    fn comment(&mut self, entry: &[u8]) -> Result<Event, Error> {
        let line = entry.strip_suffix(b"\n").unwrap_or(entry);
        let ddl = std::mem::replace(&mut self.ddl, line == b"# DDL");
        if self.ddl || (ddl && line == b"# DML") {
            return Ok(Event::Dropped);
        }
        if let Some(change) = Change::parse(entry)? {
            self.contexts += 1;
            self.context.apply(change.clone());
            return Ok(Event::Context(change));
        }
        let Some(mark) = line.strip_prefix(b"# STREAM-") else {
            return Ok(Event::Comment);
        };
        let bad = || Error::Comment(line.into());
        let mark = mark.to_str().map_err(|_| bad())?;
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("BEGIN", words) => self.begin(words.split(' ').any(|word| word == "once")),
            ("END", figures) => self.end(figure(figures, "left-out").ok_or_else(bad)?),
            ("FAILED", figures) => self.failed(
                figure(figures, "status")
                    .ok_or_else(bad)?
                    .try_into()
                    .map_err(|_| bad())?,
            ),
            _ => Ok(Event::Comment),
        }
    }

    fn begin(&mut self, once: bool) -> Result<Event, Error> {
        if self.open.is_some() {
            return Err(Error::Order(
                "a stream begins inside another one: the first is cut (run the command that wrote it again)",
            ));
        }
        self.open = Some(once);
        self.begun = true;
        self.context = Context::default();
        Ok(Event::Begin { once })
    }

    fn end(&mut self, left_out: u64) -> Result<Event, Error> {
        if self.open.take().is_none() {
            return Err(Error::Order(
                "a stream ends that never began: its first part is missing",
            ));
        }
        self.context = Context::default();
        Ok(Event::End { left_out })
    }

    fn failed(&mut self, status: u8) -> Result<Event, Error> {
        self.open = None;
        self.context = Context::default();
        Ok(Event::Failed { status })
    }
}

/// The number behind `name:` in a list of figures.
fn figure(figures: &str, name: &str) -> Option<u64> {
    let mut figures = figures.split(' ').filter_map(|word| word.split_once(':'));
    figures.find(|(word, _)| *word == name)?.1.parse().ok()
}

/// Whether bytes at the end of an input, without line feed, may be the start of a stream mark.
pub fn is_torn_mark(tail: &[u8]) -> bool {
    const MARK: &[u8] = b"# STREAM-";
    tail.starts_with(MARK) || (tail.len() > 1 && MARK.starts_with(tail))
}

/// Append the comment that begins a stream.
pub fn print_begin(once: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if once {
        b"# STREAM-BEGIN once\n"
    } else {
        b"# STREAM-BEGIN\n"
    });
}

/// Append the comment that says how far the export is: the shard's place among all, and thousandths of the whole.
pub fn print_at(shard: usize, shards: usize, done: u64, out: &mut Vec<u8>) {
    let (percent, tenths) = (done / 10, done % 10);
    let text = format!("# STREAM-AT shard:{shard}/{shards} done:{percent}.{tenths}%\n");
    out.extend_from_slice(text.as_bytes());
}

/// Append the comment that ends a stream in good order.
pub fn print_end(points: u64, left_out: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("# STREAM-END points:{points} left-out:{left_out}\n").as_bytes());
}

/// Append the comment that ends a stream whose writer failed.
pub fn print_failed(status: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("# STREAM-FAILED status:{status}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(lines: &[&str]) -> Vec<Event> {
        let mut stream = Stream::default();
        lines
            .iter()
            .map(|line| stream.read(format!("{line}\n").as_bytes()).unwrap())
            .collect()
    }

    #[test]
    fn a_stream_begins_and_ends() {
        let lines = [
            "# STREAM-BEGIN once",
            "m v=1 1",
            "# note",
            "",
            "# STREAM-END points:1 left-out:2",
        ];
        let expected = vec![
            Event::Begin { once: true },
            Event::Point,
            Event::Comment,
            Event::Blank,
            Event::End { left_out: 2 },
        ];
        assert_eq!(expected, events(&lines));
    }

    #[test]
    fn all_context_ends_with_the_stream() {
        let mut stream = Stream::default();
        for line in [
            "# STREAM-BEGIN",
            "# CONTEXT-DATABASE:d",
            "# STREAM-END points:0 left-out:0",
        ] {
            stream.read(line.as_bytes()).unwrap();
        }
        assert!(stream.context().is_empty());
        assert!(stream.had_context());
    }

    #[test]
    fn the_ddl_section_ends_at_dml_or_at_the_first_other_line() {
        let lines = [
            "# INFLUXDB EXPORT: x",
            "# DDL",
            "CREATE DATABASE a WITH NAME b",
            "# DML",
            "CREATE v=1 1",
        ];
        let expected = vec![
            Event::Comment,
            Event::Dropped,
            Event::Dropped,
            Event::Dropped,
            Event::Point,
        ];
        assert_eq!(expected, events(&lines));
        let lines = [
            "# DDL",
            "CREATE DATABASE a",
            "m v=1 1",
            "CREATE v=1 1",
            "# DML",
        ];
        let expected = vec![
            Event::Dropped,
            Event::Dropped,
            Event::Point,
            Event::Point,
            Event::Comment,
        ];
        assert_eq!(expected, events(&lines));
    }

    #[test]
    fn a_stream_that_stops_is_cut_and_marks_out_of_order_are_errors() {
        let mut stream = Stream::default();
        stream.read(b"# STREAM-BEGIN\n").unwrap();
        assert!(matches!(
            stream.read(b"# STREAM-BEGIN\n"),
            Err(Error::Order(_))
        ));
        assert!(stream.is_open());
        stream.read(b"# STREAM-FAILED status:65\n").unwrap();
        assert!(matches!(
            stream.read(b"# STREAM-END points:0 left-out:0\n"),
            Err(Error::Order(_))
        ));
        assert!(stream.read(b"# STREAM-FAILED status:x\n").is_err());
    }

    #[test]
    fn a_torn_begin_is_recognised() {
        assert!(is_torn_mark(b"# STR") && is_torn_mark(b"# STREAM-BEGIN onc"));
        assert!(!is_torn_mark(b"#") && !is_torn_mark(b"# note") && !is_torn_mark(b""));
    }
}
