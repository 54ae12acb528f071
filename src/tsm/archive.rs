//! A tar archive, member by member: which files are in it, and where do they end?
//!
//! ```text
//! member   header 512 | contents, filled up with zeros to whole blocks of 512
//! header   name 100 | mode 8 | owner 8 | group 8 | size 12 | time 12 | sum 8 | type 1 | link 100
//!          | "ustar" 6 | version 2 | names 64 | device 16 | prefix 155
//! end      two blocks of zeros, and nothing but zeros behind them
//! ```
//!
//! Names longer than their place stand in a member of their own before: types `x` and `g` of POSIX, `L` and `K` of
//! GNU. A name is never made a path: nothing is written where an archive says.

use std::io::{self, Read};

use bstr::{BString, ByteSlice};

use super::stream::{Stream, fill};
use super::{Error, ErrorKind, ReadError};

const BLOCK: usize = 512;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// No name and no list of attributes is longer.
const MAX_NAME: u64 = 1 << 20;

/// What can be wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header whose bytes do not add up.
    #[error("tar header does not match its sum")]
    Sum,
    /// A header with a size that is no number.
    #[error("size in the tar header is no number")]
    Size,
    /// A file of which only parts are there.
    #[error("{name:?} is a sparse file (pack it without --sparse)")]
    Sparse {
        /// Its name.
        name: BString,
    },
    /// A name that leads out of the archive.
    #[error("name {name:?} leads out of the archive")]
    Outside {
        /// The name.
        name: BString,
    },
    /// A name that no file can have, or attributes that cannot be read.
    #[error("attributes of {0} bytes before a member cannot be read")]
    Attributes(u64),
    /// A member that stands for another one, which is not there.
    #[error("{name:?} is a link to {target:?}, which does not stand before it")]
    Link {
        /// Its name.
        name: BString,
        /// What it leads to.
        target: BString,
    },
    /// A compressed archive that does not unpack.
    #[error("archive: {0}")]
    Gzip(String),
    /// The archive just stops.
    #[error("tar archive ends without its end mark")]
    NoEnd,
    /// There is more than an archive holds.
    #[error("tar archive goes on behind its end mark")]
    Surplus,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A file, its contents follow.
    File,
    /// Another name for the file of this name, which stands before it.
    Twin(BString),
    /// A symbolic link.
    Link,
    /// A folder.
    Folder,
    /// A device or a pipe.
    Other,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: parts between single slashes, none of them `.` or `..`; empty for the top.
    pub name: BString,
    /// What it is.
    pub what: What,
    /// Bytes of its contents.
    pub len: u64,
    /// Where its header stands.
    pub at: u64,
}

/// Names and sizes that attributes give to the next member.
#[derive(Clone, Debug, Default)]
struct Attributes {
    name: Option<BString>,
    link: Option<BString>,
    len: Option<u64>,
    is_sparse: bool,
}

/// Reads an archive from its first byte to its last.
pub struct Archive<R> {
    source: Stream<R>,
    /// Contents of the member at hand that have not been read, and the zeros behind them.
    left: u64,
    fill: u64,
    /// What holds for all members that follow.
    common: Attributes,
}

/// Whether bytes are the start of an archive.
pub fn is_tar(head: &[u8]) -> bool {
    let header = head.first_chunk::<BLOCK>();
    header.is_some_and(|header| *header != ZEROS && sum_is_right(header))
}

impl<R: Read> Archive<R> {
    /// An archive that starts with the next byte of `source`.
    pub fn new(source: R) -> Self {
        Self {
            source: Stream::new(source, 0),
            left: 0,
            fill: 0,
            common: Attributes::default(),
        }
    }

    /// The next member; `None` behind the last one, once the end mark was found and nothing behind it.
    pub fn advance(&mut self) -> Result<Option<Member>, ReadError> {
        let mut own = self.common.clone();
        loop {
            self.skip()?;
            let at = self.source.at();
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let fault = |fault| Error::new(at, ErrorKind::Archive(fault));
            let code = header[156];
            let size = number(&header[124..136]).ok_or_else(|| fault(Fault::Size))?;
            let is_about_next = matches!(code, b'x' | b'g' | b'L' | b'K');
            let len = match code {
                _ if is_about_next => size,
                // Links and folders have no contents, whatever size they claim.
                b'1'..=b'6' => 0,
                _ => own.len.unwrap_or(size),
            };
            self.left = len;
            self.fill = len.wrapping_neg() % BLOCK as u64;
            if is_about_next {
                self.attributes(code, at, &mut own)?;
                continue;
            }
            let raw = own.name.take().unwrap_or_else(|| name(&header));
            if code == b'S' || own.is_sparse {
                return Err(fault(Fault::Sparse { name: raw }).into());
            }
            let target = || {
                own.link
                    .clone()
                    .unwrap_or_else(|| until_nul(&header[157..257]))
            };
            let is_folder = raw.ends_with(b"/");
            let what = match code {
                b'1' => What::Twin(plain(target()).map_err(fault)?),
                b'2' => What::Link,
                b'3' | b'4' | b'6' => What::Other,
                b'5' => What::Folder,
                0 | b'0' | b'7' if is_folder => What::Folder,
                _ => What::File,
            };
            let name = plain(raw).map_err(fault)?;
            return Ok(Some(Member {
                name,
                what,
                len,
                at,
            }));
        }
    }

    /// The next header; `None` for the end mark.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let at = self.source.at();
        let fault = |fault| ReadError::from(Error::new(at, ErrorKind::Archive(fault)));
        let mut header = ZEROS;
        if fill(&mut self.source, &mut header)? < BLOCK {
            return Err(fault(Fault::NoEnd));
        }
        if header != ZEROS {
            return match sum_is_right(&header) {
                true => Ok(Some(header)),
                false => Err(fault(Fault::Sum)),
            };
        }
        if fill(&mut self.source, &mut header)? < BLOCK || header != ZEROS {
            return Err(fault(Fault::NoEnd));
        }
        loop {
            match fill(&mut self.source, &mut header)? {
                0 => return Ok(None),
                n if header.iter().take(n).all(|byte| *byte == 0) => {}
                _ => return Err(fault(Fault::Surplus)),
            }
        }
    }

    /// Go behind the contents of the member at hand.
    fn skip(&mut self) -> Result<(), ReadError> {
        let n = self.left.saturating_add(self.fill);
        let at = self.source.at();
        let skipped = io::copy(&mut self.source.by_ref().take(n), &mut io::sink())?;
        (self.left, self.fill) = (0, 0);
        match skipped == n {
            true => Ok(()),
            false => Err(truncated(at, n - skipped)),
        }
    }

    /// Read what a member says of the one behind it.
    fn attributes(&mut self, code: u8, at: u64, own: &mut Attributes) -> Result<(), ReadError> {
        let len = self.left;
        let bad = || ReadError::from(Error::new(at, ErrorKind::Archive(Fault::Attributes(len))));
        if len > MAX_NAME {
            return Err(bad());
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        match code {
            b'L' => own.name = Some(until_nul(&bytes)),
            b'K' => own.link = Some(until_nul(&bytes)),
            b'g' => {
                records(&bytes, &mut self.common).ok_or_else(bad)?;
                records(&bytes, own).ok_or_else(bad)?;
            }
            _ => records(&bytes, own).ok_or_else(bad)?,
        }
        Ok(())
    }
}

/// The contents of the member at hand; an end before theirs is an error.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let n = self.source.read(out.get_mut(..most).unwrap_or_default())?;
        if n == 0 && most > 0 {
            let missing = usize::try_from(self.left).unwrap_or(usize::MAX);
            let error = Error::new(self.source.at(), ErrorKind::Truncated { missing });
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

fn truncated(at: u64, missing: u64) -> ReadError {
    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
    Error::new(at, ErrorKind::Truncated { missing }).into()
}

/// The sum of all bytes, those of the sum itself taken for blanks. Some old writers added signed bytes.
fn sum_is_right(header: &[u8; BLOCK]) -> bool {
    let bytes = header.iter().enumerate();
    let bytes = bytes.map(|(i, byte)| if (148..156).contains(&i) { b' ' } else { *byte });
    let unsigned: u64 = bytes.clone().map(u64::from).sum();
    let signed: i64 = bytes.map(|byte| i64::from(byte as i8)).sum();
    let said = number(&header[148..156]);
    said.is_some_and(|said| said == unsigned || u64::try_from(signed) == Ok(said))
}

/// A number in octal digits, or, with the highest bit set, in base 256.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        let (high, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        let is_small = high.iter().all(|byte| *byte == 0);
        return is_small.then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let digits = field.trim_with(|c| matches!(c, ' ' | '\0'));
    let is_octal = digits.iter().all(|c| (b'0'..=b'7').contains(c));
    is_octal.then(|| {
        digits
            .iter()
            .fold(0, |sum, c| sum << 3 | u64::from(c - b'0'))
    })
}

fn until_nul(field: &[u8]) -> BString {
    field
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .into()
}

/// The name in a header. Only POSIX headers have a prefix; GNU keeps times in its place.
fn name(header: &[u8; BLOCK]) -> BString {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    match &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        true => [&prefix[..], b"/", &name[..]].concat().into(),
        false => name,
    }
}

/// A name without what means nothing in it: an absolute one counts from the top of the archive.
fn plain(name: BString) -> Result<BString, Fault> {
    let mut plain = BString::default();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Fault::Outside { name }),
            _ => {
                if !plain.is_empty() {
                    plain.push(b'/');
                }
                plain.extend_from_slice(part);
            }
        }
    }
    Ok(plain)
}

/// Records `LENGTH KEY=VALUE\n`, their length that of all of it.
fn records(mut bytes: &[u8], attributes: &mut Attributes) -> Option<()> {
    while !bytes.is_empty() {
        let (digits, _) = bytes.split_once_str(" ")?;
        let len: usize = digits.to_str().ok()?.parse().ok()?;
        let (record, rest) = bytes.split_at_checked(len)?;
        let record = record.strip_suffix(b"\n")?.get(digits.len() + 1..)?;
        let (key, value) = record.split_once_str("=")?;
        match key {
            b"path" => attributes.name = Some(value.into()),
            b"linkpath" => attributes.link = Some(value.into()),
            b"size" => attributes.len = Some(value.to_str().ok()?.parse().ok()?),
            _ => attributes.is_sparse |= key.starts_with(b"GNU.sparse."),
        }
        bytes = rest;
    }
    Some(())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A header of the kind that GNU tar writes.
    pub(crate) fn header(name: &[u8], code: u8, len: u64, link: &[u8]) -> [u8; BLOCK] {
        let mut header = ZEROS;
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{len:011o}\0").as_bytes());
        header[156] = code;
        header[157..157 + link.len()].copy_from_slice(link);
        header[257..265].copy_from_slice(b"ustar  \0");
        signed(header)
    }

    /// With the sum that fits.
    pub(crate) fn signed(mut header: [u8; BLOCK]) -> [u8; BLOCK] {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    /// A header with its contents.
    pub(crate) fn member(name: &str, code: u8, bytes: &[u8]) -> Vec<u8> {
        let mut all = header(name.as_bytes(), code, bytes.len() as u64, b"").to_vec();
        all.extend(bytes);
        all.resize(all.len().next_multiple_of(BLOCK), 0);
        all
    }

    pub(crate) fn link(name: &str, code: u8, target: &str) -> Vec<u8> {
        header(name.as_bytes(), code, 0, target.as_bytes()).to_vec()
    }

    pub(crate) fn archive(members: &[Vec<u8>]) -> Vec<u8> {
        [members.concat(), vec![0; 2 * BLOCK]].concat()
    }
}

#[cfg(test)]
mod tests;
