//! Reads tombstone files of every version.

use std::io::{self, BufRead, Read};

use bstr::ByteSlice;
use flate2::bufread::GzDecoder;

use super::sort::Deletions;
use super::{ALWAYS, Range, Space, Tombstones};
use crate::tsm::stream::{Stream, fill};
use crate::tsm::{Error, ErrorKind, Note, NoteKind, ReadError};

/// The longest key an index can hold.
const MAX_KEY: usize = 65_535;

/// What stands between series and field in every key.
const SEPARATOR: &[u8] = b"#!~#";

/// Read a tombstone file of any version to its end. An empty one deletes nothing.
pub fn read(
    mut source: impl Read,
    space: &mut Space<'_>,
) -> Result<(Tombstones, Vec<Note>), ReadError> {
    let mut head = [0; 4];
    let n = fill(&mut source, &mut head)?;
    let mut reader = Reader {
        deletions: Deletions::new(space),
        notes: Vec::new(),
        key: Vec::new(),
    };
    let head = &head[..n];
    let body = |skip: usize| Stream::new(head[skip..].chain(source), skip as u64);
    match *head {
        [0, 0, 0x15, 2] => reader.plain(&mut body(4))?,
        [0, 0, 0x15, 3 | 4] => reader.members(&mut body(4))?,
        [0, 0, 0x15, version] => {
            return Err(Error::new(3, ErrorKind::TombstoneVersion(version)).into());
        }
        [0x1f, 0x8b, ..] => {
            reader.note(0, NoteKind::NoHeader);
            reader.members(&mut body(0))?;
        }
        _ => reader.lines(&mut body(0))?,
    }
    Ok((reader.deletions.sorted(space)?, reader.notes))
}

/// Why a record cannot be read, before it is known where and who is to blame.
pub(super) enum Fault {
    Io(io::Error),
    /// What was read cannot be kept.
    Space(io::Error),
    Damage(ErrorKind),
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl Fault {
    pub(super) fn at(self, at: u64) -> ReadError {
        match self {
            Self::Io(e) | Self::Space(e) => e.into(),
            Self::Damage(kind) => Error::new(at, kind).into(),
        }
    }
}

struct Reader<'a> {
    deletions: Deletions<'a>,
    notes: Vec<Note>,
    /// Reused for each record.
    key: Vec<u8>,
}

impl Reader<'_> {
    fn note(&mut self, at: u64, kind: NoteKind) {
        self.notes.push(Note::new(at, kind));
    }

    /// Version 2. Where the records end, the file ends.
    fn plain(&mut self, source: &mut Stream<impl Read>) -> Result<(), ReadError> {
        let done = self.records(source);
        done.map_err(|fault| fault.at(source.at()))?;
        if !self.deletions.is_empty() {
            self.note(0, NoteKind::Version2);
        }
        Ok(())
    }

    /// Versions 3 and 4: any number of gzip members.
    fn members(&mut self, source: &mut Stream<impl Read>) -> Result<(), ReadError> {
        let mut first = true;
        loop {
            let at = source.at();
            match source.peek()? {
                Some(0x1f) => {}
                None => return Ok(()),
                Some(_) if first => {
                    let kind = ErrorKind::Gzip("no gzip data behind the header".into());
                    return Err(Error::new(at, kind).into());
                }
                Some(_) => {
                    self.note(at, NoteKind::Garbage);
                    return Ok(());
                }
            }
            if !self.member(source)? {
                return Ok(());
            }
            first = false;
        }
    }

    /// One gzip member; whether it is whole.
    fn member(&mut self, source: &mut Stream<impl Read>) -> Result<bool, ReadError> {
        let before = self.deletions.read;
        let mut member = Member::new(source);
        let done = self.records(&mut member);
        let cut = member.cut;
        match done {
            Err(Fault::Io(e)) if !source.failed() => {
                let kind = ErrorKind::Gzip(e.to_string());
                Err(Error::new(source.at(), kind).into())
            }
            Err(fault) => Err(fault.at(source.at())),
            Ok(()) if !cut => Ok(true),
            // Each member holds the records of a deletion: here all of them are lost.
            Ok(()) if self.deletions.read == before => {
                Err(Error::new(source.at(), ErrorKind::CutMember).into())
            }
            Ok(()) => {
                self.note(source.at(), NoteKind::CutBehindRecord);
                Ok(false)
            }
        }
    }

    fn records(&mut self, source: &mut impl Read) -> Result<(), Fault> {
        while let Some(range) = record(source, &mut self.key)? {
            let kept = self.deletions.push(&self.key, range);
            kept.map_err(Fault::Space)?;
        }
        Ok(())
    }

    /// Version 1.
    fn lines(&mut self, source: &mut Stream<impl Read>) -> Result<(), ReadError> {
        loop {
            let at = source.at();
            self.key.clear();
            let mut line = source.take(MAX_KEY as u64 + 1);
            if line.read_until(b'\n', &mut self.key)? == 0 {
                return Ok(());
            }
            let whole = self.key.pop_if(|byte| *byte == b'\n').is_some();
            if whole && self.key.is_empty() {
                continue;
            }
            if self.key.find(SEPARATOR).is_none() {
                return Err(Error::new(at, ErrorKind::NoKey).into());
            }
            if whole {
                self.deletions.push(&self.key, ALWAYS)?;
                continue;
            }
            if self.key.len() <= MAX_KEY || !skip_line(source)? {
                return Err(Error::new(source.at(), ErrorKind::CutRecord).into());
            }
            self.note(at, NoteKind::LongKey);
        }
    }
}

/// The next record, its key in `key`; nothing where the source ends before it.
pub(super) fn record(source: &mut impl Read, key: &mut Vec<u8>) -> Result<Option<Range>, Fault> {
    let mut len = [0; 4];
    match fill(source, &mut len)? {
        0 => return Ok(None),
        4 => {}
        _ => return Err(Fault::Damage(ErrorKind::CutRecord)),
    }
    let len = u32::from_be_bytes(len);
    if len == 0 || len > MAX_KEY as u32 {
        return Err(Fault::Damage(ErrorKind::KeyLength(len)));
    }
    key.resize(len as usize, 0);
    let mut range = [0; 16];
    if fill(source, key)? < key.len() || fill(source, &mut range)? < 16 {
        return Err(Fault::Damage(ErrorKind::CutRecord));
    }
    let range = u128::from_be_bytes(range);
    Ok(Some(((range >> 64) as i64, range as i64)))
}

/// Skip the rest of a line; whether it has an end.
fn skip_line(source: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = source.fill_buf()?;
        let (end, n) = match bytes.find_byte(b'\n') {
            Some(i) => (true, i + 1),
            None => (bytes.is_empty(), bytes.len()),
        };
        source.consume(n);
        if end {
            return Ok(n > 0);
        }
    }
}

/// One gzip member, which reads as if it ended where it is cut.
struct Member<'a, R: Read> {
    decoder: GzDecoder<&'a mut Stream<R>>,
    cut: bool,
}

impl<'a, R: Read> Member<'a, R> {
    fn new(source: &'a mut Stream<R>) -> Self {
        Self {
            decoder: GzDecoder::new(source),
            cut: false,
        }
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(out) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                if self.decoder.get_ref().failed() {
                    return Err(e);
                }
                self.cut = true;
                Ok(0)
            }
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::MEMORY;
    use super::super::testing::space;
    use super::*;
    use crate::tsm::encoding::testing::{T, hex};

    fn read(source: impl Read) -> Result<(Tombstones, Vec<Note>), ReadError> {
        super::read(source, &mut space(MEMORY))
    }

    /// As written by a server: two members with a record each.
    const V4: &str = concat!(
        "000015041f8b08000000000000ff626060104a2e28d5c9c82f2eb14d5456ac53ce4cc9491533099fab28f68241",
        "cc247c4b66ef050640000000ffff36728772260000001f8b08000000000000ff626060e0aeaaaa5256ac534ecf",
        "cf4b6d608080faff1000080000ffff999ad9501f000000"
    );

    const V2: &str = "00001502000000086f6c6423217e2376fffffffffffff830fffffffffffff830";

    fn read_all(file: &[u8]) -> (Tombstones, Vec<NoteKind>) {
        let (tombstones, notes) = read(file).unwrap();
        (tombstones, notes.into_iter().map(|n| n.kind).collect())
    }

    fn damage(file: &[u8]) -> Error {
        match read(file) {
            Err(ReadError::Damage(e)) => e,
            other => panic!("{other:?}"),
        }
    }

    fn records(records: &[(&[u8], Range)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, range) in records {
            bytes.extend((key.len() as u32).to_be_bytes());
            bytes.extend(*key);
            bytes.extend(range.0.to_be_bytes());
            bytes.extend(range.1.to_be_bytes());
        }
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn v4(members: &[&[u8]]) -> Vec<u8> {
        let members = members.iter().flat_map(|member| gzip(member));
        [0, 0, 0x15, 4].into_iter().chain(members).collect()
    }

    #[test]
    fn version_4_of_a_server_is_read() {
        let (tombstones, notes) = read_all(&hex(V4));
        assert_eq!((2, 0), (tombstones.count(), notes.len()));
        let second = 1_000_000_000;
        let range = (T + 100 * second, T + 200 * second);
        assert_eq!([range], *tombstones.ranges(b"cpu,host=a#!~#idle"));
        assert_eq!([ALWAYS], *tombstones.ranges(b"zzz#!~#gone"));
    }

    #[test]
    fn a_key_matches_as_a_whole() {
        let (tombstones, _) = read_all(&hex(V4));
        for key in [
            "",
            "a",
            "cpu,host=a#!~#idl",
            "cpu,host=a#!~#idle2",
            "zzz#!~#gone ",
            "~",
        ] {
            assert!(tombstones.ranges(key.as_bytes()).is_empty(), "{key}");
        }
    }

    #[test]
    fn version_2_is_applied_and_mentioned_because_no_server_does() {
        let (tombstones, notes) = read_all(&hex(V2));
        assert_eq!([(-2000, -2000)], *tombstones.ranges(b"old#!~#v"));
        assert_eq!(vec![NoteKind::Version2], notes);
    }

    #[test]
    fn version_2_that_is_cut_is_an_error_that_says_so() {
        let file = hex(V2);
        for n in 5..file.len() {
            assert_eq!(ErrorKind::CutRecord, damage(&file[..n]).kind, "{n}");
        }
        assert_eq!(0, read_all(&file[..4]).0.count());
    }

    #[test]
    fn version_3_is_one_or_more_members() {
        let a = records(&[(b"a#!~#v", (1, 2))]);
        let b = records(&[(b"b#!~#v", (3, 4))]);
        let mut file = v4(&[&a, &b]);
        file[3] = 3;
        let (tombstones, notes) = read_all(&file);
        assert_eq!((2, 0), (tombstones.count(), notes.len()));
        assert_eq!([(3, 4)], *tombstones.ranges(b"b#!~#v"));
    }

    #[test]
    fn version_1_deletes_whole_keys() {
        let (tombstones, notes) = read_all(b"b#!~#v\n\n\na,t=\xff#!~#v\n");
        assert_eq!((2, 0), (tombstones.count(), notes.len()));
        assert_eq!([ALWAYS], *tombstones.ranges(b"a,t=\xff#!~#v"));
        assert_eq!([ALWAYS], *tombstones.ranges(b"b#!~#v"));
    }

    #[test]
    fn version_1_that_is_cut_is_an_error() {
        assert_eq!(
            Error::new(13, ErrorKind::CutRecord),
            damage(b"b#!~#v\nb#!~#w")
        );
        assert_eq!(Error::new(7, ErrorKind::NoKey), damage(b"b#!~#v\nb#!"));
    }

    #[test]
    fn a_key_too_long_for_any_index_matches_nothing() {
        for (n, kept) in [(65_535, 2), (65_536, 1), (65_537, 1), (200_000, 1)] {
            let mut file = b"a#!~#".to_vec();
            file.resize(n, b'x');
            let cut = file.clone();
            file.extend(b"\nb#!~#v\n");
            let (tombstones, notes) = read_all(&file);
            assert_eq!((kept, 2 - kept), (tombstones.count(), notes.len()), "{n}");
            assert_eq!([ALWAYS], *tombstones.ranges(b"b#!~#v"));
            assert_eq!(Error::new(n as u64, ErrorKind::CutRecord), damage(&cut));
        }
    }

    #[test]
    fn a_header_that_was_overwritten_is_an_error_and_no_text() {
        let mut file = hex(V4);
        file[..4].fill(0);
        assert_eq!(ErrorKind::NoKey, damage(&file).kind);
        assert_eq!(ErrorKind::NoKey, damage(&[0; 100]).kind);
        for n in 1..4 {
            assert_eq!(ErrorKind::NoKey, damage(&hex(V4)[..n]).kind);
        }
    }

    #[test]
    fn an_unknown_version_is_an_error() {
        for version in (0..=1).chain(5..=255) {
            let error = damage(&[0, 0, 0x15, version, 1, 2, 3]);
            assert_eq!(Error::new(3, ErrorKind::TombstoneVersion(version)), error);
        }
    }

    #[test]
    fn files_without_records_are_empty() {
        for file in [vec![], v4(&[]), v4(&[b""]), v4(&[b"", b""])] {
            assert_eq!((Tombstones::default(), vec![]), read_all(&file));
        }
    }

    #[test]
    fn a_missing_header_is_noted() {
        let (tombstones, notes) = read_all(&hex(V4)[4..]);
        assert_eq!((2, vec![NoteKind::NoHeader]), (tombstones.count(), notes));
    }

    #[test]
    fn garbage_behind_the_last_member_is_noted() {
        for garbage in [&[0][..], &[0; 4096], b"garbage"] {
            let mut file = hex(V4);
            let at = file.len() as u64;
            file.extend(garbage);
            let (tombstones, notes) = read(file.as_slice()).unwrap();
            assert_eq!(2, tombstones.count());
            assert_eq!(vec![Note::new(at, NoteKind::Garbage)], notes);
        }
        assert!(matches!(
            damage(&[0, 0, 0x15, 4, 0]).kind,
            ErrorKind::Gzip(_)
        ));
    }

    #[test]
    fn a_truncated_file_loses_no_record_silently() {
        let file = hex(V4);
        for n in 5..file.len() {
            match read(&file[..n]) {
                // The second member starts at byte 67.
                Ok((tombstones, notes)) if n == 67 => {
                    assert_eq!((1, 0), (tombstones.count(), notes.len()));
                }
                Ok((tombstones, notes)) => {
                    assert_eq!(if n < 67 { 1 } else { 2 }, tombstones.count());
                    assert_eq!(vec![Note::new(n as u64, NoteKind::CutBehindRecord)], notes);
                }
                Err(ReadError::Damage(e)) => {
                    let cut = [ErrorKind::CutRecord, ErrorKind::CutMember];
                    assert!(cut.contains(&e.kind), "{n}: {e}");
                }
                Err(ReadError::Io(e)) => panic!("{e}"),
            }
        }
        assert_eq!(ErrorKind::CutMember, damage(&file[..10]).kind);
        assert_eq!(ErrorKind::CutRecord, damage(&file[..40]).kind);
        assert!(read(&file[..file.len() - 1]).is_ok());
    }

    #[test]
    fn a_flipped_bit_in_packed_records_is_noticed() {
        let file = hex(V4);
        let (whole, mut harmless) = (read_all(&file).0, 0);
        // Behind the ten bytes of the first member's header, up to its length.
        for bit in 8 * 14..8 * 67 {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            // The bits that fill up the last byte mean nothing.
            if let Ok((tombstones, _)) = read(file.as_slice()) {
                assert_eq!(whole, tombstones, "bit {bit}");
                harmless += 1;
            }
        }
        assert!(harmless < 8, "{harmless}");
    }

    #[test]
    fn a_record_does_not_go_on_in_the_next_member() {
        let whole = records(&[(b"a#!~#v", (1, 2))]);
        let (a, b) = whole.split_at(9);
        assert_eq!(ErrorKind::CutRecord, damage(&v4(&[a, b])).kind);
    }

    #[test]
    fn a_key_length_that_cannot_be_is_refused_before_there_is_memory_for_it() {
        for len in [0, 65_536, u32::MAX] {
            let mut record = len.to_be_bytes().to_vec();
            record.resize(100_000, b'x');
            assert_eq!(ErrorKind::KeyLength(len), damage(&v4(&[&record])).kind);
        }
    }

    #[test]
    fn a_failing_disk_is_not_taken_for_damage() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let file = hex(V4);
        for n in 0..file.len() {
            assert!(
                matches!(read(file[..n].chain(Broken)), Err(ReadError::Io(_))),
                "{n}"
            );
        }
    }

    fn fixture(path: &str) -> Vec<u8> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");
        std::fs::read(format!("{root}{path}")).unwrap()
    }

    #[test]
    fn files_of_a_server_are_read() {
        for n in 1..=3 {
            let path =
                format!("influxdb-1.6/data/deletes/autogen/3/00000000{n}-000000001.tombstone");
            let (tombstones, notes) = read_all(&fixture(&path));
            assert!(tombstones.count() > 0 && notes.is_empty());
        }
    }

    #[test]
    fn damaged_files_of_a_server_are_errors() {
        let file = |path| {
            fixture(&format!(
                "influxdb-1.6-broken/data/{path}-000000001.tombstone"
            ))
        };
        let cut = damage(&file("tomb-cut/autogen/7/000000001")).kind;
        assert_eq!(ErrorKind::CutMember, cut);
        assert_eq!(
            ErrorKind::NoKey,
            damage(&file("tomb-magic/autogen/8/000000001")).kind
        );
        read_all(&file("tomb-cut/autogen/7/000000002"));
        read_all(&file("tomb-magic/autogen/8/000000002"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_are_an_error(mut file: Vec<u8>, version in 0..6u8) {
            file.splice(0..0, [0, 0, 0x15, version]);
            let _ = read(file.as_slice());
            let _ = read(&file[4..]);
        }
    }
}
