//! Deletions that do not fit into memory, in temporary files: as records of version 2, in order of keys and times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::mem;
use std::sync::Arc;

use super::read::record;
use super::{Range, Sorted, join};
use crate::tsm::ReadError;
use crate::tsm::source::{Reader, Source};

/// Bytes read at a time. Many runs are read at once, each with one buffer.
const CHUNK: usize = 32 << 10;

fn explained(err: io::Error) -> io::Error {
    let text = format!("temporary file: {err} (name a folder with room: --tmp-dir, or TMPDIR)");
    io::Error::new(err.kind(), text)
}

/// Writes records in order; ranges that touch become one.
struct Writer {
    file: BufWriter<File>,
    written: u64,
    key: Vec<u8>,
    range: Option<Range>,
}

impl Writer {
    fn new(file: File) -> Self {
        Self {
            file: BufWriter::with_capacity(CHUNK, file),
            written: 0,
            key: Vec::new(),
            range: None,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some((min, max)) = self.range.take() else {
            return Ok(());
        };
        let parts: [&[u8]; 4] = [
            &(self.key.len() as u32).to_be_bytes(),
            &self.key,
            &min.to_be_bytes(),
            &max.to_be_bytes(),
        ];
        for part in parts {
            self.file.write_all(part).map_err(explained)?;
            self.written += part.len() as u64;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<File> {
        self.flush()?;
        let file = self.file.into_inner();
        file.map_err(|err| explained(err.into_error()))
    }
}

impl Sorted for Writer {
    fn put(&mut self, key: &[u8], range: Range) -> io::Result<()> {
        if let Some(before) = self.range.as_mut().filter(|_| self.key == key)
            && join(before, range)
        {
            return Ok(());
        }
        self.flush()?;
        if self.key != key {
            self.key.clear();
            self.key.extend_from_slice(key);
        }
        self.range = Some(range);
        Ok(())
    }
}

/// Runs of deletions, one behind the other in one file.
pub struct Runs {
    writer: Writer,
    /// Where each run ends.
    ends: Vec<u64>,
}

impl Runs {
    /// None yet, in a file from `scratch`.
    pub fn new(scratch: &dyn Fn() -> io::Result<File>) -> io::Result<Self> {
        let writer = Writer::new(scratch().map_err(explained)?);
        Ok(Self {
            writer,
            ends: Vec::new(),
        })
    }

    /// Close the run that was put here.
    pub fn end_run(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.ends.push(self.writer.written);
        Ok(())
    }

    /// All runs as one, in a file from `scratch`.
    pub fn merge(self, scratch: &dyn Fn() -> io::Result<File>) -> io::Result<Spilled> {
        let file = Arc::new(self.writer.finish()?);
        let mut start = 0;
        let mut heads = BinaryHeap::new();
        for end in self.ends {
            let run = Source::region(Arc::clone(&file), start, end - start);
            start = end;
            heads.extend(Head::next(Records::new(run))?.map(Reverse));
        }
        let mut merged = Writer::new(scratch().map_err(explained)?);
        while let Some(Reverse(head)) = heads.pop() {
            merged.put(&head.key, head.range)?;
            heads.extend(Head::next(head.rest)?.map(Reverse));
        }
        Ok(Spilled(Source::whole(merged.finish()?)?))
    }
}

impl Sorted for Runs {
    fn put(&mut self, key: &[u8], range: Range) -> io::Result<()> {
        self.writer.put(key, range)
    }
}

/// The first record of what is left of a run.
struct Head {
    key: Vec<u8>,
    range: Range,
    rest: Records,
}

impl Head {
    fn next(mut rest: Records) -> io::Result<Option<Self>> {
        let Some(range) = rest.record().map_err(unexpected)? else {
            return Ok(None);
        };
        let key = mem::take(&mut rest.read);
        Ok(Some(Self { key, range, rest }))
    }
}

fn unexpected(fault: ReadError) -> io::Error {
    match fault {
        ReadError::Io(err) => explained(err),
        ReadError::Damage(err) => explained(io::Error::other(err)),
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.key, self.range).cmp(&(&other.key, other.range))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// All deletions of a TSM file, in order.
#[derive(Debug)]
pub struct Spilled(Source);

impl Spilled {
    /// From the first one on.
    pub fn records(&self) -> Records {
        Records::new(self.0.clone())
    }
}

/// Goes through records that are in order.
#[derive(Debug)]
pub struct Records {
    source: io::BufReader<Reader>,
    /// The key at hand and its ranges; before the first one both are empty.
    key: Vec<u8>,
    ranges: Vec<Range>,
    /// The record read last, which belongs to the key behind that at hand.
    read: Vec<u8>,
    next: Option<Range>,
    is_begun: bool,
}

impl Records {
    fn new(source: Source) -> Self {
        Self {
            source: io::BufReader::with_capacity(CHUNK, source.reader()),
            key: Vec::new(),
            ranges: Vec::new(),
            read: Vec::new(),
            next: None,
            is_begun: false,
        }
    }

    /// Read a record, its key into `read`.
    fn record(&mut self) -> Result<Option<Range>, ReadError> {
        record(&mut self.source, &mut self.read).map_err(|fault| fault.at(0))
    }

    /// The ranges of `key`, which is not less than any asked for before.
    pub fn ranges(&mut self, key: &[u8]) -> Result<&[Range], ReadError> {
        if !self.is_begun {
            self.is_begun = true;
            self.next = self.record()?;
        }
        while self.key.as_slice() < key && self.next.is_some() {
            self.advance()?;
        }
        let known = if self.key == key {
            self.ranges.len()
        } else {
            0
        };
        Ok(self.ranges.get(..known).unwrap_or_default())
    }

    /// Go to the next key.
    fn advance(&mut self) -> Result<(), ReadError> {
        self.ranges.clear();
        mem::swap(&mut self.key, &mut self.read);
        while let Some(range) = self.next.take() {
            self.ranges.push(range);
            self.next = self.record()?;
            if self.read != self.key {
                break;
            }
        }
        Ok(())
    }
}
