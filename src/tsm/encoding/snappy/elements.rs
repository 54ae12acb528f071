//! The elements of a snappy block, one behind the other: each says to append either bytes that follow, or bytes that
//! came out before.
//!
//! ```text
//! literal  n - 1 << 2 | 0                       n bytes, 1 to 60
//!          59 + w << 2 | 0, n - 1 in w bytes    n bytes, w 1 to 4
//! copy     offset >> 8 << 5 | n - 4 << 2 | 1, lowest byte of the offset
//!          n - 1 << 2 | 2, offset u16
//!          n - 1 << 2 | 3, offset u32
//! ```
//!
//! Numbers are little-endian. A copy may reach into what it appends itself: then it repeats.
//!
//! What packs well comes in steps of a few bytes, and nobody can guess whether the next one is a literal or a copy. So
//! both take the same way, by tables and arithmetic, and copy a fixed number of bytes: too many, the next step writes
//! over them.

use std::hint::select_unpredictable;

use super::Fault;

/// Bytes that a usual step copies: few elements are longer. It has to be less than 61: longer literals have their length
/// behind the tag.
const STEP: usize = 32;
/// How far a usual step looks: where the next tag would be, were the length of any literal in its tag.
const AHEAD: usize = 66;
/// Bytes of the longest copy.
const LONGEST: usize = 64;
/// An offset beyond all that stand in two bytes.
const NEVER: u32 = 1 << 16;

/// What a tag says.
#[derive(Clone, Copy)]
struct Tag {
    /// How many bytes come out; of no meaning where that stands behind the tag.
    len: u32,
    /// The offset: the bits that are in the tag, and which ones of those behind it count.
    high: u32,
    mask: u32,
    /// A usual step does it if the offset is no less; that of literals is 0.
    least: u32,
}

static TAGS: [Tag; 256] = {
    let mut tags = [tag(0); 256];
    let mut i = 0;
    while i < tags.len() {
        tags[i] = tag(i as u32);
        i += 1;
    }
    tags
};

const fn tag(byte: u32) -> Tag {
    let (kind, high) = (byte & 3, byte >> 2);
    let len = if kind == 1 { (high & 7) + 4 } else { high + 1 };
    let is_short = len as usize <= STEP;
    Tag {
        len,
        high: if kind == 1 { byte >> 5 << 8 } else { 0 },
        mask: match kind {
            1 => 0xff,
            2 => 0xffff,
            _ => 0,
        },
        least: match kind {
            0 if is_short => 0,
            1 | 2 if is_short => len,
            _ => NEVER,
        },
    }
}

/// How far it has come.
#[derive(Clone, Copy)]
struct Place {
    read: usize,
    written: usize,
}

/// Fill `out` with what the elements say.
pub fn unpack(packed: &[u8], out: &mut [u8]) -> Result<(), Fault> {
    let mut place = Place {
        read: 0,
        written: 0,
    };
    loop {
        steps(packed, out, &mut place);
        if place.read >= packed.len() {
            break;
        }
        element(packed, out, &mut place)?;
    }
    match place.written == out.len() {
        true => Ok(()),
        false => Err(Fault::Short {
            claimed: out.len(),
            found: place.written,
        }),
    }
}

/// Do elements up to one that takes more thought, or is near one of the ends.
fn steps(packed: &[u8], out: &mut [u8], place: &mut Place) {
    let mut rest = packed.get(place.read..).unwrap_or_default();
    let (Some(&first), Some(last)) = (rest.first(), out.len().checked_sub(STEP)) else {
        return;
    };
    let (mut byte, mut written) = (usize::from(first), place.written);
    while let Some(window) = rest.first_chunk::<AHEAD>() {
        let word = u64::from_le_bytes(*window.first_chunk().unwrap_or(&[0; 8]));
        let (kind, tag) = (byte & 3, &TAGS[byte & 0xff]);
        let offset = tag.high | (word >> 8) as u32 & tag.mask;
        // Where the next tag is, behind a copy.
        let mut ahead = kind + 1;
        let mut next = (word >> (8 * ahead)) as u8;
        if offset < tag.least {
            let (offset, len) = (offset as usize, tag.len as usize);
            if !matches!(kind, 1 | 2) || copy(out, written, offset, len).is_none() {
                break;
            }
        } else {
            let from = written.wrapping_sub(offset as usize);
            if from > last || written > last {
                break;
            }
            let is_literal = kind == 0;
            let (literal, copied) = (chunk(window, 1), chunk(out, from));
            let (Some(literal), Some(copied)) = (literal, copied) else {
                break;
            };
            let bytes: &[u8; STEP] = select_unpredictable(is_literal, literal, copied);
            let bytes = *bytes;
            if put(out, written, bytes).is_none() {
                break;
            }
            let behind = byte >> 2 & 0x3f;
            ahead = select_unpredictable(is_literal, behind + 2, ahead);
            next = select_unpredictable(is_literal, window[behind + 2], next);
        }
        written += tag.len as usize;
        byte = usize::from(next);
        rest = rest.get(ahead..).unwrap_or_default();
    }
    place.read = packed.len() - rest.len();
    place.written = written;
}

#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

#[inline(always)]
fn put<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) -> Option<()> {
    *out.get_mut(at..)?.first_chunk_mut()? = bytes;
    Some(())
}

/// A copy that is longer than a step, or overlaps itself. Not done near the end: it needs more room than it takes.
#[inline(always)]
fn copy(out: &mut [u8], written: usize, offset: usize, len: usize) -> Option<()> {
    const WIDE: usize = 2 * STEP;
    let from = written.checked_sub(offset).filter(|_| offset > 0)?;
    if offset == 1 {
        return put(out, written, [*out.get(from)?; LONGEST]);
    }
    if offset >= LONGEST {
        let bytes: &[u8; LONGEST] = chunk(out, from)?;
        let bytes = *bytes;
        return put(out, written, bytes);
    }
    // What is there once more behind itself can be copied from twice as far back.
    let (mut at, mut back) = (written, offset);
    loop {
        let bytes: &[u8; WIDE] = chunk(out, at - back)?;
        let bytes = *bytes;
        put(out, at, bytes)?;
        at += back.min(WIDE);
        if at >= written + len {
            return Some(());
        }
        if back < WIDE {
            back *= 2;
        }
    }
}

/// Do any element, by the rule.
fn element(packed: &[u8], out: &mut [u8], place: &mut Place) -> Result<(), Fault> {
    let rest = packed.get(place.read..).unwrap_or_default();
    let (tag, rest) = rest.split_first().ok_or(Fault::Cut)?;
    let (kind, high) = (tag & 3, usize::from(tag >> 2));
    let (len, width) = match kind {
        0 => (high + 1, high.saturating_sub(59)),
        1 => ((high & 7) + 4, 1),
        2 => (high + 1, 2),
        _ => (high + 1, 4),
    };
    let (trailer, rest) = rest.split_at_checked(width).ok_or(Fault::Cut)?;
    let number = trailer.iter().rfold(0, |n, c| n << 8 | usize::from(*c));
    place.read += 1 + width;
    if kind == 0 {
        let len = if width > 0 {
            number.saturating_add(1)
        } else {
            len
        };
        let literal = rest.get(..len).ok_or(Fault::Cut)?;
        room(out, place.written, len)?.copy_from_slice(literal);
        place.read += len;
        place.written += len;
        return Ok(());
    }
    let high = if kind == 1 { high >> 3 << 8 } else { 0 };
    repeat(out, place, high | number, len)
}

/// Append bytes of those before, one by one as far as can be seen.
fn repeat(out: &mut [u8], place: &mut Place, offset: usize, len: usize) -> Result<(), Fault> {
    let written = place.written;
    if offset == 0 || offset > written {
        return Err(Fault::Offset { offset, written });
    }
    room(out, written, len)?;
    let from = written - offset;
    while place.written < written + len {
        let there = place.written - from;
        let n = there.min(written + len - place.written);
        out.copy_within(from..from + n, place.written);
        place.written += n;
    }
    Ok(())
}

/// The place for so many bytes behind what has been written.
fn room(out: &mut [u8], written: usize, len: usize) -> Result<&mut [u8], Fault> {
    let claimed = out.len();
    let rest = out.get_mut(written..).unwrap_or_default();
    rest.get_mut(..len).ok_or(Fault::Long { claimed })
}
