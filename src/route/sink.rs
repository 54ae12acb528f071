//! One file per bucket in a folder, or several, each a complete stream, none under its final name before all are
//! complete.
//!
//! ```text
//! out/INDEX.tsv                      bucket, file and points of each file below
//! out/example-db/autogen.lp          the points of bucket example-db/autogen
//! out/example-db/autogen.00001.lp    its first part, where parts are asked for; .lp.gz where compression is
//! ```
//!
//! A bucket may be called anything: what could leave the folder or trouble a file system is percent-encoded.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempPath;

use super::Outlets;
use super::outgoing::Outgoing;
use super::path::stem;
use crate::lp::{Context, context};

/// Files held open at once, however many buckets there are.
const MAX_OPEN: usize = 32;

/// A file is written to when so much waits for it.
const PIECE: usize = 64 << 10;

/// The same where it becomes a gzip member of its own, which has to be worth it.
const MEMBER: usize = 256 << 10;

/// All files are written to when so much waits for them together.
const MAX_WAITING: usize = 4 << 20;

/// What the end of a stream takes at most.
const END: u64 = 80;

const INDEX: &str = "INDEX.tsv";

/// How files are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// With gzip.
    pub compress: bool,
    /// In parts of at most so many bytes before compression; a larger record has a part to itself.
    pub max_bytes: Option<u64>,
    /// In parts of at most so many points.
    pub max_points: Option<u64>,
    /// In place of those of an earlier run.
    pub force: bool,
}

/// A folder that cannot be written as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of an earlier run would be overwritten or mixed with ours.
    #[error("{} exists (give a new folder, or --force to replace)", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("{}", path.display())]
    Io {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// What belongs to one bucket.
#[derive(Debug)]
struct Sink {
    bucket: BString,
    /// The path of its files in the folder, without number and suffix.
    stem: String,
    parts: Vec<Part>,
    waiting: Vec<u8>,
    stream: Outgoing,
}

/// One file, and what has gone into it.
#[derive(Debug)]
struct Part {
    temp: TempPath,
    points: u64,
    bytes: u64,
}

impl Sink {
    fn part(&mut self) -> Option<&mut Part> {
        self.parts.last_mut()
    }

    /// Whether a record of `len` bytes has to begin a new part.
    fn is_full(&self, len: usize, options: &Options) -> bool {
        let Some(part) = self.parts.last().filter(|part| part.points > 0) else {
            return false;
        };
        let bytes = part.bytes + len as u64 + END;
        options.max_points.is_some_and(|max| part.points >= max)
            || options.max_bytes.is_some_and(|max| bytes > max)
    }

    /// Append to what waits; gives how much more that is.
    fn append(&mut self, append: impl FnOnce(&mut Outgoing, &mut Vec<u8>)) -> usize {
        let before = self.waiting.len();
        append(&mut self.stream, &mut self.waiting);
        let more = self.waiting.len() - before;
        if let Some(part) = self.part() {
            part.bytes += more as u64;
        }
        more
    }

    /// The paths of the files in the folder, in order: numbers are as wide as they have to be to sort.
    fn names(&self, options: &Options) -> Vec<String> {
        let suffix = if options.compress { ".lp.gz" } else { ".lp" };
        if options.max_bytes.is_none() && options.max_points.is_none() {
            return vec![format!("{}{suffix}", self.stem)];
        }
        let width = self.parts.len().to_string().len().max(5);
        let name = |n| format!("{}.{n:0width$}{suffix}", self.stem);
        (1..=self.parts.len()).map(name).collect()
    }
}

/// A folder with one file per bucket, or several.
///
/// Dropped before `finish`, it leaves nothing behind but what was there before.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    options: Options,
    sinks: Vec<Sink>,
    by_bucket: HashMap<BString, usize>,
    /// Names in use, in lower case: some file systems know no other.
    names: HashSet<String>,
    /// Open files with their sinks, the one used last at the end.
    open: Vec<(usize, File)>,
    /// Folders that we made, outer ones first.
    made: Vec<PathBuf>,
    /// Where the next point goes.
    current: Option<usize>,
    /// Bytes in all sinks together.
    waiting: usize,
    /// What the end of a stream says that has to end in the middle of the input.
    left_out: u64,
}

impl Folder {
    /// The folder at `path`, which is made unless it exists; no file that this one could write may be in it, unless
    /// it is to be replaced.
    pub fn new(path: &Path, options: Options) -> Result<Self, Error> {
        let mut folder = Self {
            path: path.to_owned(),
            options,
            sinks: Vec::new(),
            by_bucket: HashMap::new(),
            names: HashSet::new(),
            open: Vec::new(),
            made: Vec::new(),
            current: None,
            waiting: 0,
            left_out: 0,
        };
        if !path.exists() {
            folder.make(path)?;
        } else if !options.force {
            refuse_earlier_output(path)?;
        }
        Ok(folder)
    }

    /// Complete all files and give them their names; the index comes last.
    pub fn finish(mut self, left_out: u64) -> Result<(), Error> {
        self.end_streams(left_out);
        self.write_all()?;
        self.open.clear();
        let (index, names) = self.index()?;
        let earlier = match self.options.force {
            true => self.earlier()?,
            false => HashSet::new(),
        };
        for (sink, names) in std::mem::take(&mut self.sinks).into_iter().zip(&names) {
            for (part, name) in sink.parts.into_iter().zip(names) {
                self.persist(part.temp, name)?;
            }
        }
        let new: HashSet<&String> = names.iter().flatten().collect();
        for name in earlier.iter().filter(|name| !new.contains(name)) {
            remove(&self.path.join(name))?;
        }
        self.persist(index, INDEX)
    }

    fn persist(&self, temp: TempPath, name: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        let result = match self.options.force {
            true => temp.persist(&path),
            false => temp.persist_noclobber(&path),
        };
        result.map_err(|err| match err.error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path),
            _ => at(&path)(err.error),
        })
    }

    /// The index, and the names of the files of each sink.
    fn index(&self) -> Result<(TempPath, Vec<Vec<String>>), Error> {
        let mut text = b"bucket\tfile\tpoints\n".to_vec();
        let mut all = Vec::new();
        for sink in &self.sinks {
            let names = sink.names(&self.options);
            for (part, name) in sink.parts.iter().zip(&names) {
                context::encode(&sink.bucket, &mut text);
                text.extend_from_slice(format!("\t{name}\t{}\n", part.points).as_bytes());
            }
            all.push(names);
        }
        let (mut file, temp) = temporary(&self.path)?;
        file.write_all(&text).map_err(at(&self.path.join(INDEX)))?;
        Ok((temp, all))
    }

    /// The files that the index of an earlier run names; those that replace them are about to get their names.
    fn earlier(&self) -> Result<HashSet<String>, Error> {
        let path = self.path.join(INDEX);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            Err(err) => return Err(at(&path)(err)),
        };
        let name = |line: &[u8]| Some(line.split_str("\t").nth(1)?.to_str().ok()?.to_owned());
        let names = text.lines().skip(1).filter_map(name);
        let names = names.filter(|name| is_ours(name)).collect();
        // Files of two runs must not stand under one index, not even if we are stopped.
        remove(&path)?;
        Ok(names)
    }

    fn add(&mut self, bucket: &BStr) -> Result<usize, Error> {
        let mut sink = Sink {
            bucket: bucket.to_owned(),
            stem: self.free_stem(bucket),
            parts: Vec::new(),
            waiting: Vec::new(),
            stream: Outgoing::default(),
        };
        let i = self.sinks.len();
        let (file, part) = self.begin(&sink.stem)?;
        sink.parts.push(part);
        if let Some(name) = sink.names(&self.options).pop() {
            let path = self.path.join(name);
            if !self.options.force && path.symlink_metadata().is_ok() {
                return Err(Error::Exists(path));
            }
        }
        self.hold(i, file);
        self.by_bucket.insert(bucket.to_owned(), i);
        self.sinks.push(sink);
        Ok(i)
    }

    /// The file for another part.
    fn begin(&mut self, stem: &str) -> Result<(File, Part), Error> {
        let path = self.path.join(stem);
        let parent = path.parent().unwrap_or(&self.path).to_owned();
        if !parent.exists() {
            self.make(&parent)?;
        }
        let (file, temp) = temporary(&parent)?;
        let part = Part {
            temp,
            points: 0,
            bytes: 0,
        };
        Ok((file, part))
    }

    /// The stem for a bucket's files, with a number if another bucket has it already.
    fn free_stem(&mut self, bucket: &BStr) -> String {
        let stem = stem(bucket);
        let numbered = (2_u64..).map(|n| format!("{stem}~{n}"));
        let free = std::iter::once(stem.clone())
            .chain(numbered)
            .find(|stem| self.names.insert(stem.to_lowercase()));
        free.unwrap_or(stem)
    }

    /// Make a folder and those above it, and remember which.
    fn make(&mut self, path: &Path) -> Result<(), Error> {
        let missing = path
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let mut missing: Vec<_> = missing.map(Path::to_owned).collect();
        missing.reverse();
        fs::create_dir_all(path).map_err(at(path))?;
        self.made.append(&mut missing);
        Ok(())
    }

    /// End the part that a sink writes to, and begin the next one with the same context.
    fn cut(&mut self, i: usize) -> Result<(), Error> {
        let left_out = self.left_out;
        let mut next = Vec::new();
        let Some(sink) = self.sinks.get_mut(i) else {
            return Ok(());
        };
        self.waiting += sink.append(|stream, out| stream.cut(left_out, out, &mut next));
        self.write(i)?;
        self.open.retain(|(held, _)| *held != i);
        let Some(sink) = self.sinks.get(i) else {
            return Ok(());
        };
        let stem = sink.stem.clone();
        let (file, part) = self.begin(&stem)?;
        self.hold(i, file);
        if let Some(sink) = self.sinks.get_mut(i) {
            sink.parts.push(part);
            self.waiting += sink.append(|_, out| out.append(&mut next));
        }
        Ok(())
    }

    fn write_all(&mut self) -> Result<(), Error> {
        (0..self.sinks.len()).try_for_each(|i| self.write(i))
    }

    /// Hand what waits for one file to the system.
    fn write(&mut self, i: usize) -> Result<(), Error> {
        let Some(sink) = self.sinks.get_mut(i) else {
            return Ok(());
        };
        if sink.waiting.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut sink.waiting);
        self.waiting -= bytes.len();
        let written = match self.options.compress {
            true => member(&bytes).and_then(|bytes| self.file(i)?.write_all(&bytes)),
            false => self.file(i).and_then(|mut file| file.write_all(&bytes)),
        };
        let Err(source) = written else { return Ok(()) };
        let names = self.sinks.get(i).map(|sink| sink.names(&self.options));
        let name = names.and_then(|mut names| names.pop()).unwrap_or_default();
        Err(at(&self.path.join(name))(source))
    }

    /// The file of a sink, opened again if it was closed meanwhile.
    fn file(&mut self, i: usize) -> io::Result<&File> {
        let held = self.open.iter().position(|(sink, _)| *sink == i);
        let part = self.sinks.get(i).and_then(|sink| sink.parts.last());
        let file = match (held, part) {
            (Some(held), _) => self.open.remove(held).1,
            (None, Some(part)) => OpenOptions::new().append(true).open(&part.temp)?,
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        self.hold(i, file);
        let last = self.open.last().map(|(_, file)| file);
        last.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn hold(&mut self, i: usize, file: File) {
        if self.open.len() >= MAX_OPEN {
            self.open.remove(0);
        }
        self.open.push((i, file));
    }
}

impl Outlets for Folder {
    type Error = Error;

    fn select(&mut self, context: &Context, once: bool, left_out: u64) -> Result<(), Error> {
        let bucket = context
            .bucket
            .as_ref()
            .map_or(BStr::new(b""), |name| name.as_bstr());
        let i = match self.by_bucket.get(bucket) {
            Some(i) => *i,
            None => self.add(bucket)?,
        };
        self.current = Some(i);
        self.left_out = left_out;
        if let Some(sink) = self.sinks.get_mut(i) {
            self.waiting += sink.append(|stream, out| stream.say(context, once, left_out, out));
        }
        Ok(())
    }

    /// The line feed that the record may lack is added.
    fn point(&mut self, record: &[u8]) -> Result<bool, Error> {
        let Some(i) = self.current else {
            return Ok(true);
        };
        let full = |sink: &Sink| sink.is_full(record.len(), &self.options);
        if self.sinks.get(i).is_some_and(full) {
            self.cut(i)?;
        }
        let Some(sink) = self.sinks.get_mut(i) else {
            return Ok(true);
        };
        self.waiting += sink.append(|stream, out| {
            stream.point();
            out.extend_from_slice(record);
            if !record.ends_with(b"\n") {
                out.push(b'\n');
            }
        });
        if let Some(part) = sink.part() {
            part.points += 1;
        }
        let enough = if self.options.compress { MEMBER } else { PIECE };
        if sink.waiting.len() >= enough {
            self.write(i)?;
        }
        if self.waiting >= MAX_WAITING {
            self.write_all()?;
        }
        Ok(true)
    }

    fn end_streams(&mut self, left_out: u64) {
        self.current = None;
        for sink in &mut self.sinks {
            self.waiting += sink.append(|stream, out| stream.end(left_out, out));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.sinks.clear();
        for made in self.made.iter().rev() {
            // A folder with something in it stays, which is what we want.
            let _ = fs::remove_dir(made);
        }
    }
}

/// One gzip member: so a file that was closed meanwhile goes on without anything that has to be remembered.
fn member(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(2));
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A file that vanishes when dropped, in the folder where it is to stay.
fn temporary(folder: &Path) -> Result<(File, TempPath), Error> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".lp-split-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Narrowed by the umask, as for every other file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(at(folder))?;
    Ok(file.into_parts())
}

/// Remove a file of an earlier run, if it is still there.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(at(path)(err)),
        _ => Ok(()),
    }
}

/// Whether a name in an index is one that we could have written there: it stays in the folder.
fn is_ours(name: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b".-_~%".contains(&c);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
    };
    name.split('/').count() <= 2 && name.split('/').all(part) && is_output(Path::new(name))
}

/// Look for files that carry names as we give them, here and one folder down.
fn refuse_earlier_output(folder: &Path) -> Result<(), Error> {
    let index = folder.join(INDEX);
    if index.symlink_metadata().is_ok() {
        return Err(Error::Exists(index));
    }
    for path in entries(folder)? {
        // A folder that cannot be listed is none of ours; if it has to be, writing into it will fail.
        let below = if path.is_dir() {
            entries(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        if let Some(found) = [path].into_iter().chain(below).find(|path| is_output(path)) {
            return Err(Error::Exists(found));
        }
    }
    Ok(())
}

fn is_output(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.ends_with(b".lp") || name.ends_with(b".lp.gz")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(at(folder))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
