//! Bytes put aside: one file without a name, in which each part has its place.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::source::Source;

/// A temporary file that has no name any more: it is gone with whoever holds it, even after a kill.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    len: u64,
}

impl Spool {
    /// An empty one in this folder, or where the system keeps such files.
    pub fn new(folder: Option<&Path>) -> io::Result<Self> {
        let file = match folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        };
        Ok(Self {
            file: Arc::new(file?),
            len: 0,
        })
    }

    /// Put everything that `from` gives behind what is there.
    pub fn add(&mut self, from: &mut impl Read) -> io::Result<Source> {
        let start = self.len;
        let n = io::copy(from, &mut Put(&self.file))?;
        self.len += n;
        Ok(Source::region(Arc::clone(&self.file), start, n))
    }
}

/// Tells whose fault it is where nothing can be written: the file has no name that could.
struct Put<'a>(&'a File);

impl Write for Put<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|err| match err.kind() {
            io::ErrorKind::Interrupted => err,
            kind => io::Error::new(kind, format!("temporary file: {err}")),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_one_behind_the_other_in_a_file_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(Some(dir.path())).unwrap();
        let parts = [&b"abc"[..], b"", b"defg"].map(|part| spool.add(&mut &part[..]).unwrap());
        assert_eq!(0, std::fs::read_dir(dir.path()).unwrap().count());
        drop(spool);
        let read = parts.map(|part| {
            let mut text = String::new();
            part.reader().read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(["abc", "", "defg"], read.each_ref().map(String::as_str));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let err = Spool::new(Some(Path::new("/nowhere/at/all"))).unwrap_err();
        assert_eq!(io::ErrorKind::NotFound, err.kind());
    }
}
