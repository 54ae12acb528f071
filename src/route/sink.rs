//! One file per bucket in a folder, each a complete stream, none under its final name before all are complete.
//!
//! ```text
//! out/INDEX.tsv                bucket, file and points of each file below
//! out/example-db/autogen.lp    the points of bucket example-db/autogen
//! ```
//!
//! A bucket may be called anything: what could leave the folder or trouble a file system is percent-encoded.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use tempfile::TempPath;

use super::path::stem;
use crate::lp::{Context, context, stream};

/// Files held open at once, however many buckets there are.
const MAX_OPEN: usize = 32;

/// A file is written to when so much waits for it.
const PIECE: usize = 64 << 10;

/// All files are written to when so much waits for them together.
const MAX_WAITING: usize = 4 << 20;

const INDEX: &str = "INDEX.tsv";

/// A folder that cannot be written as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of an earlier run would be overwritten or mixed with ours.
    #[error("{} exists (give a new folder)", .0.display())]
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
    /// Where the file goes in the folder when it is complete.
    name: String,
    temp: TempPath,
    waiting: Vec<u8>,
    /// What the comments in the file say at its end; `None` outside a stream.
    said: Option<Context>,
    /// In the open stream.
    points: u64,
    all_points: u64,
}

impl Sink {
    /// Say what the next points belong to, in a stream that is begun if there is none.
    fn say(&mut self, context: &Context, once: bool, left_out: u64) {
        if self.said.as_ref() == Some(context) {
            return;
        }
        if context.database.is_none() {
            // Only a database clears what was said before, so a new stream has to.
            self.end(left_out);
        }
        if self.said.is_none() {
            stream::print_begin(once, &mut self.waiting);
        }
        context.print(&mut self.waiting);
        self.said = Some(context.clone());
    }

    fn end(&mut self, left_out: u64) {
        if self.said.take().is_some() {
            stream::print_end(self.points, left_out, &mut self.waiting);
            self.points = 0;
        }
    }
}

/// A folder with one file per bucket.
///
/// Dropped before `finish`, it leaves nothing behind but what was there before.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
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
}

impl Folder {
    /// The folder at `path`, which is made unless it exists; no file that this one could write may be in it.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let mut folder = Self {
            path: path.to_owned(),
            sinks: Vec::new(),
            by_bucket: HashMap::new(),
            names: HashSet::new(),
            open: Vec::new(),
            made: Vec::new(),
            current: None,
            waiting: 0,
        };
        if path.exists() {
            refuse_earlier_output(path)?;
        } else {
            folder.make(path)?;
        }
        Ok(folder)
    }

    /// The next points go to the bucket that `context` names, and belong to that context.
    ///
    /// `once` and `left_out` are what the begin and the end of a stream say, where one has to be written.
    pub fn select(&mut self, context: &Context, once: bool, left_out: u64) -> Result<(), Error> {
        let bucket = context
            .bucket
            .as_ref()
            .map_or(BStr::new(b""), |name| name.as_bstr());
        let i = match self.by_bucket.get(bucket) {
            Some(i) => *i,
            None => self.add(bucket)?,
        };
        self.current = Some(i);
        if let Some(sink) = self.sinks.get_mut(i) {
            let before = sink.waiting.len();
            sink.say(context, once, left_out);
            self.waiting += sink.waiting.len() - before;
        }
        Ok(())
    }

    /// Write one point where `select` said; the line feed that it may lack is added.
    pub fn point(&mut self, record: &[u8]) -> Result<(), Error> {
        let Some((i, sink)) = self.current.and_then(|i| Some((i, self.sinks.get_mut(i)?))) else {
            return Ok(());
        };
        let before = sink.waiting.len();
        sink.waiting.extend_from_slice(record);
        if !record.ends_with(b"\n") {
            sink.waiting.push(b'\n');
        }
        sink.points += 1;
        sink.all_points += 1;
        let waiting = sink.waiting.len();
        self.waiting += waiting - before;
        if waiting >= PIECE {
            self.write(i)?;
        }
        if self.waiting >= MAX_WAITING {
            self.write_all()?;
        }
        Ok(())
    }

    /// The stream that is read has ended, or a new one begins: so do those in the files.
    pub fn end_streams(&mut self, left_out: u64) {
        self.current = None;
        for sink in &mut self.sinks {
            let before = sink.waiting.len();
            sink.end(left_out);
            self.waiting += sink.waiting.len() - before;
        }
    }

    /// Complete all files and give them their names; the index comes last.
    pub fn finish(mut self, left_out: u64) -> Result<(), Error> {
        self.end_streams(left_out);
        self.write_all()?;
        self.open.clear();
        let index = self.index()?;
        for sink in std::mem::take(&mut self.sinks) {
            persist(sink.temp, &self.path.join(&sink.name))?;
        }
        persist(index, &self.path.join(INDEX))
    }

    fn index(&self) -> Result<TempPath, Error> {
        let mut text = b"bucket\tfile\tpoints\n".to_vec();
        for sink in &self.sinks {
            context::encode(&sink.bucket, &mut text);
            text.extend_from_slice(format!("\t{}\t{}\n", sink.name, sink.all_points).as_bytes());
        }
        let (mut file, temp) = temporary(&self.path)?;
        file.write_all(&text).map_err(at(&self.path.join(INDEX)))?;
        Ok(temp)
    }

    fn add(&mut self, bucket: &BStr) -> Result<usize, Error> {
        let name = self.free_name(bucket);
        let path = self.path.join(&name);
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists(path));
        }
        let parent = path.parent().unwrap_or(&self.path).to_owned();
        if !parent.exists() {
            self.make(&parent)?;
        }
        let (file, temp) = temporary(&parent)?;
        let i = self.sinks.len();
        self.hold(i, file);
        self.by_bucket.insert(bucket.to_owned(), i);
        self.sinks.push(Sink {
            bucket: bucket.to_owned(),
            name,
            temp,
            waiting: Vec::new(),
            said: None,
            points: 0,
            all_points: 0,
        });
        Ok(i)
    }

    /// The name for a bucket's file, with a number if another bucket has it already.
    fn free_name(&mut self, bucket: &BStr) -> String {
        let stem = stem(bucket);
        let numbered = (2_u64..).map(|n| format!("{stem}~{n}"));
        let free = std::iter::once(stem.clone())
            .chain(numbered)
            .find(|stem| self.names.insert(stem.to_lowercase()));
        format!("{}.lp", free.unwrap_or(stem))
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
        let path = self.path.join(&sink.name);
        self.file(i)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(at(&path))
    }

    /// The file of a sink, opened again if it was closed meanwhile.
    fn file(&mut self, i: usize) -> io::Result<&File> {
        let held = self.open.iter().position(|(sink, _)| *sink == i);
        let file = match (held, self.sinks.get(i)) {
            (Some(held), _) => self.open.remove(held).1,
            (None, Some(sink)) => OpenOptions::new().append(true).open(&sink.temp)?,
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

impl Drop for Folder {
    fn drop(&mut self) {
        self.sinks.clear();
        for made in self.made.iter().rev() {
            // A folder with something in it stays, which is what we want.
            let _ = fs::remove_dir(made);
        }
    }
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

fn persist(temp: TempPath, path: &Path) -> Result<(), Error> {
    temp.persist_noclobber(path)
        .map_err(|err| match err.error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
            _ => at(path)(err.error),
        })
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
    path.extension().is_some_and(|extension| extension == "lp")
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
mod tests {
    use super::*;

    fn context(bucket: &[u8]) -> Context {
        Context {
            database: Some("db".into()),
            policy: Some("rp".into()),
            bucket: Some(bucket.into()),
            ..Context::default()
        }
    }

    fn read(path: PathBuf) -> String {
        String::from_utf8(fs::read(path).unwrap()).unwrap()
    }

    /// All files below a folder, as paths within it.
    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in entries(folder).unwrap() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                found.extend(files(&path).iter().map(|below| format!("{name}/{below}")));
            } else {
                found.push(name);
            }
        }
        found
    }

    #[test]
    fn each_bucket_gets_one_complete_stream() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("new/out");
        let mut folder = Folder::new(&out).unwrap();
        for (bucket, record) in [
            (b"a/b", "m v=1 1\n"),
            (b"c/d", "m v=2 2"),
            (b"a/b", "m v=3 3\n"),
        ] {
            folder.select(&context(bucket), true, 0).unwrap();
            folder.point(record.as_bytes()).unwrap();
        }
        assert!(files(&out).iter().all(|name| name.ends_with(".tmp")));
        folder.finish(4).unwrap();
        assert_eq!(vec!["INDEX.tsv", "a/b.lp", "c/d.lp"], files(&out));
        let expected = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n\
             # CONTEXT-BUCKET:a/b\nm v=1 1\nm v=3 3\n# STREAM-END points:2 left-out:4\n";
        assert_eq!(expected, read(out.join("a/b.lp")));
        let expected = "bucket\tfile\tpoints\na/b\ta/b.lp\t2\nc/d\tc/d.lp\t1\n";
        assert_eq!(expected, read(out.join(INDEX)));
    }

    #[test]
    fn a_stream_that_ends_ends_in_every_file() {
        let scratch = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(scratch.path()).unwrap();
        for once in [true, false] {
            folder.select(&context(b"b"), once, 0).unwrap();
            folder.point(b"m v=1\n").unwrap();
            folder.end_streams(1);
        }
        folder.finish(0).unwrap();
        let comments = "# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n# CONTEXT-BUCKET:b\nm v=1\n\
             # STREAM-END points:1 left-out:1\n";
        let expected = format!("# STREAM-BEGIN once\n{comments}# STREAM-BEGIN\n{comments}");
        assert_eq!(expected, read(scratch.path().join("b.lp")));
    }

    #[test]
    fn context_that_ends_without_a_new_database_ends_with_its_stream() {
        let scratch = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(scratch.path()).unwrap();
        for period in [Some(5), None] {
            let context = Context {
                period,
                bucket: Some("b".into()),
                ..Context::default()
            };
            folder.select(&context, false, 0).unwrap();
            folder.point(b"m v=1\n").unwrap();
        }
        folder.finish(0).unwrap();
        let end = "# CONTEXT-BUCKET:b\nm v=1\n# STREAM-END points:1 left-out:0\n";
        let expected =
            format!("# STREAM-BEGIN\n# CONTEXT-RETENTION-PERIOD:5s\n{end}# STREAM-BEGIN\n{end}");
        assert_eq!(expected, read(scratch.path().join("b.lp")));
    }

    #[test]
    fn a_run_that_does_not_finish_leaves_nothing_behind() {
        let scratch = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(&scratch.path().join("x/y")).unwrap();
        folder.select(&context(b"a/b"), true, 0).unwrap();
        folder.point(b"m v=1 1\n").unwrap();
        drop(folder);
        assert_eq!(0, fs::read_dir(scratch.path()).unwrap().count());
    }

    #[test]
    fn output_of_an_earlier_run_is_never_touched() {
        for name in ["INDEX.tsv", "b.lp", "a/b.lp"] {
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "old").unwrap();
            let found = Folder::new(scratch.path()).unwrap_err();
            assert!(matches!(found, Error::Exists(at) if at == path), "{name}");
        }
    }

    #[test]
    fn a_file_that_comes_up_meanwhile_is_never_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(scratch.path()).unwrap();
        folder.select(&context(b"b"), true, 0).unwrap();
        folder.point(b"m v=1 1\n").unwrap();
        fs::write(scratch.path().join("b.lp"), "other").unwrap();
        assert!(matches!(folder.finish(0), Err(Error::Exists(_))));
        assert_eq!("other", read(scratch.path().join("b.lp")));
    }

    #[test]
    fn hundreds_of_buckets_in_turn_need_few_open_files() {
        let scratch = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(scratch.path()).unwrap();
        let record = format!("m s=\"{}\" 1\n", "x".repeat(PIECE / 2));
        for round in 0..3 {
            for i in 0..100 {
                let bucket = format!("b{i}");
                folder.select(&context(bucket.as_bytes()), true, 0).unwrap();
                folder.point(record.as_bytes()).unwrap();
                assert!(folder.open.len() <= MAX_OPEN, "{round}");
                assert!(folder.waiting < MAX_WAITING);
            }
        }
        folder.finish(0).unwrap();
        for i in 0..100 {
            let text = read(scratch.path().join(format!("b{i}.lp")));
            assert_eq!(3, text.matches(&record).count());
            assert!(text.ends_with("# STREAM-END points:3 left-out:0\n"));
        }
    }

    #[test]
    fn names_that_differ_only_in_case_get_files_of_their_own() {
        let scratch = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(scratch.path()).unwrap();
        for bucket in ["Ab", "aB", "ab~2"] {
            folder.select(&context(bucket.as_bytes()), true, 0).unwrap();
            folder.point(b"m v=1\n").unwrap();
        }
        folder.finish(0).unwrap();
        assert_eq!(
            vec!["Ab.lp", "INDEX.tsv", "aB~2.lp", "ab~2~2.lp"],
            files(scratch.path())
        );
    }
}
