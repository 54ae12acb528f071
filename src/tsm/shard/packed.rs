//! The archive of one shard, as a portable backup holds it: unpacked into a file without a name.

use std::fs;
use std::io::{self, Read};

use bstr::ByteSlice;
use flate2::read::MultiGzDecoder;

use super::gather::{Disk, Opened};
use super::{Packed, Trouble};
use crate::tsm::archive::{Archive, Fault, Member, What};
use crate::tsm::spool::Spool;
use crate::tsm::{Error, ErrorKind, ReadError};

impl Packed {
    /// How large it is, packed as it is.
    pub(super) fn bytes(&self) -> u64 {
        match &self.source {
            Some(source) => source.len(),
            None => fs::metadata(&self.path).map_or(0, |meta| meta.len()),
        }
    }

    /// Put the files of the shard behind `files`: all of them, or those before the damage.
    pub(super) fn unpack(&self, disk: &dyn Disk, files: &mut Vec<Opened>) -> Result<(), Trouble> {
        let trouble = |err: io::Error| Trouble::new(&self.path, err);
        let source = match &self.source {
            Some(source) => source.clone(),
            None => disk.open(&self.path).map_err(trouble)?,
        };
        let mut spool = Spool::new(self.spool.as_deref()).map_err(trouble)?;
        let mut head = Vec::new();
        let mut start = source.reader().take(2);
        start.read_to_end(&mut head).map_err(trouble)?;
        let done = match head[..] == [0x1f, 0x8b] {
            true => self.members(MultiGzDecoder::new(source.reader()), &mut spool, files),
            false => self.members(source.reader(), &mut spool, files),
        };
        done.map_err(|cause| Trouble::new(&self.path, cause))
    }

    fn members(
        &self,
        source: impl Read,
        spool: &mut Spool,
        files: &mut Vec<Opened>,
    ) -> Result<(), ReadError> {
        let mut archive = Archive::new(Unpacked(source));
        while let Some(member) = archive.advance().map_err(ReadError::settled)? {
            let name = member.name.rsplit_str("/").next().unwrap_or_default();
            let is_ours = [&b".tsm"[..], b".tombstone"]
                .iter()
                .any(|end| name.ends_with(end));
            if !is_ours {
                continue;
            }
            if member.what != What::File {
                return Err(no_file(member).into());
            }
            // Shown behind the name of the archive, and never opened.
            let path = self.path.join(name.to_path_lossy());
            let source = spool.add(&mut archive);
            let source = source.map_err(|err| ReadError::from(err).settled())?;
            // As when it is extracted: the later one counts.
            files.retain(|(known, _)| *known != path);
            files.push((path, source));
        }
        Ok(())
    }
}

fn no_file(member: Member) -> Error {
    let target = match member.what {
        What::Twin(target) => target,
        _ => "another place".into(),
    };
    let name = member.name;
    Error::new(member.at, ErrorKind::Archive(Fault::Link { name, target }))
}

/// What gzip says is wrong with its data, as damage.
struct Unpacked<R>(R);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        self.0.read(out).map_err(|err| match err.kind() {
            UnexpectedEof | InvalidData | InvalidInput => {
                let kind = ErrorKind::Archive(Fault::Gzip(err.to_string()));
                io::Error::other(Error::new(0, kind))
            }
            _ => err,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::tsm::archive::testing::{archive, link, member};
    use crate::tsm::file::testing::{WORKED, bytes};
    use crate::tsm::shard::Opening;
    use crate::tsm::shard::{Files, System, open};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        member.write_all(bytes).unwrap();
        member.finish().unwrap()
    }

    fn files(dir: &Path, archive: &[u8]) -> Files {
        let path = dir.join("a.s1.tar.gz");
        fs::write(&path, archive).unwrap();
        Files {
            packed: Some(Packed {
                path,
                source: None,
                spool: None,
            }),
            ..Files::default()
        }
    }

    fn opened(archive: &[u8]) -> Result<Vec<PathBuf>, String> {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), archive);
        let shard = open(&System::default(), &files, Opening::alone(false))
            .map_err(|err| format!("{err}: {}", err.cause))?;
        let members = shard.unwrap().members;
        let name = |path: &Path| path.strip_prefix(dir.path()).unwrap().to_path_buf();
        Ok(members.iter().map(|member| name(&member.path)).collect())
    }

    fn good() -> Vec<u8> {
        archive(&[
            member("db/rp/1/000000002-000000001.tsm", b'0', &bytes(WORKED)),
            member("db/rp/1/000000001-000000001.tsm", b'0', &bytes(WORKED)),
            member("db/rp/1/000000001-000000001.tombstone", b'0', b""),
            member("db/rp/1/fields.idx", b'0', b"x"),
        ])
    }

    #[test]
    fn files_of_an_archive_are_ranked_by_their_names() {
        let names = ["000000001-000000001.tsm", "000000002-000000001.tsm"];
        let expected: Vec<_> = names
            .iter()
            .map(|name| Path::new("a.s1.tar.gz").join(name))
            .collect();
        assert_eq!(Ok(expected.clone()), opened(&good()));
        assert_eq!(Ok(expected), opened(&gzip(&good())));
    }

    #[test]
    fn an_archive_cut_anywhere_is_an_error_that_names_it() {
        let packed = gzip(&good());
        for n in 0..packed.len() {
            let said = opened(&packed[..n]).unwrap_err();
            assert!(said.contains("a.s1.tar.gz: offset"), "{n}: {said}");
        }
    }

    #[test]
    fn a_link_to_data_that_is_elsewhere_is_an_error() {
        for code in [b'1', b'2'] {
            let packed = archive(&[link("db/rp/1/000000001-000000001.tsm", code, "x")]);
            assert!(opened(&packed).unwrap_err().contains("is a link"));
        }
    }
}
