//! How a block packs its timestamps and values. Each section starts with a byte whose high half names the encoding.

pub mod boolean;
pub mod float;
pub mod integer;
pub mod simple8b;
pub mod snappy;
pub mod string;
pub mod timestamp;
pub mod varint;

#[cfg(test)]
pub(crate) mod testing;

use crate::tsm::{Bytes, Error, ErrorKind};

/// The most points a block may claim: a hundred times what any server writes, and no danger to memory.
pub const MAX_POINTS: usize = 1 << 20;

/// A 64-bit number, whatever it is taken for.
pub trait Word: Copy + Default {
    /// The number with these bits.
    fn from_bits(bits: u64) -> Self;
    /// The bits of the number.
    fn to_bits(self) -> u64;
}

impl Word for i64 {
    fn from_bits(bits: u64) -> Self {
        bits as i64
    }
    fn to_bits(self) -> u64 {
        self as u64
    }
}

impl Word for u64 {
    fn from_bits(bits: u64) -> Self {
        bits
    }
    fn to_bits(self) -> u64 {
        self
    }
}

/// `n` as a count of points, if a block may hold so many.
fn points(n: u64, at: u64) -> Result<usize, Error> {
    match usize::try_from(n) {
        Ok(n) if n <= MAX_POINTS => Ok(n),
        _ => Err(Error::new(at, ErrorKind::TooManyPoints(n))),
    }
}

/// The rest of the section as whole words of eight bytes.
fn words<'a>(section: &Bytes<'a>) -> Result<&'a [[u8; 8]], Error> {
    let (words, surplus) = section.rest().as_chunks();
    if surplus.is_empty() {
        return Ok(words);
    }
    let at = section.at() + 8 * words.len() as u64;
    Err(Error::new(at, ErrorKind::Surplus(surplus.len())))
}

/// That nothing is left of the section.
fn nothing(section: &Bytes<'_>) -> Result<(), Error> {
    match section.rest().len() {
        0 => Ok(()),
        n => Err(section.error(ErrorKind::Surplus(n))),
    }
}

/// The encoding that the section names, `known` if there is but one.
fn only(known: u8, section: &mut Bytes<'_>, what: &'static str) -> Result<(), Error> {
    let at = section.at();
    match section.u8()? >> 4 {
        codec if codec == known => Ok(()),
        codec => Err(unknown(at, codec, what)),
    }
}

fn unknown(at: u64, codec: u8, section: &'static str) -> Error {
    Error::new(at, ErrorKind::Encoding { section, codec })
}
