//! What an entry of the log holds once it is unpacked.
//!
//! ```text
//! 01  write         { type u8, key length u16, key, count u32, count x { time i64, value } }
//! 02  delete        keys joined by line feeds
//! 03  delete range  first time i64, last time i64, { key length u32, key }
//! value             float, integer, unsigned 8 bytes; boolean 1 byte; string length u32, bytes
//! ```

use crate::rows::Kind;
use crate::tsm::{Bytes, Error, ErrorKind};

/// An entry, all of it known to be readable.
pub enum Body<'a> {
    /// Values of some keys, which are listed.
    Write,
    /// Keys to delete for all time.
    Delete(&'a [u8]),
    /// The first and the last time to delete, and of which keys.
    DeleteRange(i64, i64, Keys<'a>),
}

/// The entry of type `code`; where the groups of a write are takes the place of what is in `groups`. Offsets within
/// unpacked data mean nothing in the file: the caller knows where it stands.
pub fn parse<'a>(code: u8, body: &'a [u8], groups: &mut Vec<Place>) -> Result<Body<'a>, ErrorKind> {
    let whole = match code {
        1 => write(Bytes::new(body, 0), groups),
        2 => Ok(Body::Delete(body)),
        3 => delete_range(Bytes::new(body, 0)),
        code => return Err(ErrorKind::EntryType(code)),
    };
    whole.map_err(|e| e.kind)
}

/// Whether `code` is the type of an entry.
pub fn is_type(code: u8) -> bool {
    (1..=3).contains(&code)
}

fn write<'a>(mut body: Bytes<'a>, groups: &mut Vec<Place>) -> Result<Body<'a>, Error> {
    groups.clear();
    while !body.is_empty() {
        groups.push(group(&mut body)?);
    }
    Ok(Body::Write)
}

fn delete_range(mut body: Bytes<'_>) -> Result<Body<'_>, Error> {
    let (min, max) = (body.i64()?, body.i64()?);
    let mut rest = body;
    while !rest.is_empty() {
        key(&mut rest)?;
    }
    Ok(Body::DeleteRange(min, max, Keys(body)))
}

/// Goes through the keys of a deletion, which have been checked.
pub struct Keys<'a>(Bytes<'a>);

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        key(&mut self.0).ok()
    }
}

fn key<'a>(rest: &mut Bytes<'a>) -> Result<&'a [u8], Error> {
    let n = rest.u32()?;
    rest.take(n as usize)
}

/// The values of one key in one write, in the order they came.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Series and field.
    pub key: &'a [u8],
    /// The type of the values.
    pub kind: Kind,
    /// Times and values, packed.
    pub points: &'a [u8],
}

/// Where a group is in the body of its entry, which has less than 4 GiB: its key, its points, and its end.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    kind: Kind,
    key: u32,
    count: u32,
    points: u32,
    end: u32,
}

impl Place {
    /// The group that is there.
    pub fn of(self, body: &[u8]) -> Group<'_> {
        let [key, count, points, end] =
            [self.key, self.count, self.points, self.end].map(|at| at as usize);
        Group {
            key: body.get(key..count).unwrap_or_default(),
            kind: self.kind,
            points: body.get(points..end).unwrap_or_default(),
        }
    }
}

fn group(rest: &mut Bytes<'_>) -> Result<Place, Error> {
    let code = rest.u8()?;
    let kind = kind(code).ok_or_else(|| rest.error(ErrorKind::ValueType(code)))?;
    let n = rest.u16()?;
    let at = |rest: &Bytes<'_>| rest.at() as u32;
    let key = at(rest);
    rest.take(usize::from(n))?;
    let end_of_key = at(rest);
    let count = rest.u32()?;
    let (size, left) = (size(kind), rest.rest().len());
    if u64::from(count) * size as u64 > left as u64 {
        return Err(rest.error(ErrorKind::ValueCount { count, left }));
    }
    let points = at(rest);
    match kind {
        Kind::String => (0..count).try_for_each(|_| string(rest).map(drop))?,
        _ => drop(rest.take(count as usize * size)?),
    }
    Ok(Place {
        kind,
        key,
        count: end_of_key,
        points,
        end: at(rest),
    })
}

/// The numbers are not those of blocks.
fn kind(code: u8) -> Option<Kind> {
    Some(match code {
        1 => Kind::Float,
        2 => Kind::Integer,
        3 => Kind::Boolean,
        4 => Kind::String,
        5 => Kind::Unsigned,
        _ => return None,
    })
}

/// Bytes of a point, of a string without its text.
pub fn size(kind: Kind) -> usize {
    match kind {
        Kind::Boolean => 9,
        Kind::String => 12,
        _ => 16,
    }
}

/// The next time and string.
pub fn string<'a>(points: &mut Bytes<'a>) -> Result<(i64, &'a [u8]), Error> {
    let time = points.i64()?;
    let n = points.u32()?;
    Ok((time, points.take(n as usize)?))
}
