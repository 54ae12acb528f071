//! Values of the log as they are held in memory: packed, in a few large pieces that never move.
//!
//! ```text
//! strings  { time i64, length u32, bytes } as in the log
//! even     { value } numbers or truth values; the times follow from the first and the last one
//! listed   { time }, { value }
//! value    big-endian as in the log; integers, and floats with few decimals, in as few bytes as the chunk needs: 2, 4, 8
//! ```

mod narrow;
#[cfg(test)]
mod tests;
mod times;

use super::entry::string;
use crate::rows::{Kind, Values};
use crate::tsm::Bytes;
use crate::tsm::merge::Column;
use narrow::Form;

/// Values of a chunk at most.
const MOST: usize = 1000;
/// Bytes of a chunk at most, unless a single value is longer.
const WIDE: usize = 16 * MOST;
/// So many values make it worth to begin a chunk that does not list their times.
const LONG: usize = 16;
/// Bytes of the first slab, and of the largest ones.
const SLABS: (usize, usize) = (16 << 10, 256 << 10);

/// Some values of one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chunk {
    /// Their type.
    pub kind: Kind,
    /// How the values are held.
    form: Form,
    /// How many.
    pub len: u16,
    /// Where the bytes are, and how many. A body of the log has less than 4 GiB.
    slab: u32,
    at: u32,
    size: u32,
    /// The first time; they ascend.
    pub first: i64,
    /// The last time. If they are not listed, they are even.
    pub last: i64,
}

/// The bytes of all chunks.
#[derive(Debug, Default)]
pub struct Store {
    slabs: Vec<Slab>,
    /// Where chunks are begun: there is no room in the slabs before.
    open: usize,
}

/// Bytes that never move.
#[derive(Debug)]
struct Slab {
    /// Zero at first: the system need not give what is not used.
    bytes: Vec<u8>,
    used: usize,
}

impl Chunk {
    /// Of strings how many bytes they take, their times too; of others how many there are.
    pub fn extent(&self) -> u32 {
        match self.kind {
            Kind::String => self.size,
            _ => self.len.into(),
        }
    }
}

impl Slab {
    fn new(size: usize) -> Self {
        let bytes = vec![0; size];
        Self { bytes, used: 0 }
    }

    /// Where so many more bytes are, which are in use now, if there are as many.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let at = self.used;
        let is_free = self.bytes.len() - at >= bytes;
        self.used += if is_free { bytes } else { 0 };
        is_free.then_some(at)
    }
}

impl Store {
    /// Hold points of a key, in chunks behind those that are there; `false`, and nothing is held, unless their times
    /// ascend.
    pub fn hold(&mut self, kind: Kind, points: &[u8], chunks: &mut Vec<Chunk>) -> bool {
        match kind {
            Kind::String => {
                let mut rest = Bytes::new(points, 0);
                let times = std::iter::from_fn(|| string(&mut rest).ok());
                let ascends = times.map(|(time, _)| time).is_sorted_by(|a, b| a < b);
                if ascends {
                    self.texts(points, chunks);
                }
                ascends
            }
            Kind::Boolean => self.fixed::<9>(kind, points.as_chunks().0, chunks),
            _ => self.fixed::<16>(kind, points.as_chunks().0, chunks),
        }
    }

    fn fixed<const N: usize>(
        &mut self,
        kind: Kind,
        points: &[[u8; N]],
        chunks: &mut Vec<Chunk>,
    ) -> bool {
        if is_even(points) {
            self.even(kind, points, chunks);
            return true;
        }
        if !points.is_sorted_by(|a, b| time(a) < time(b)) {
            return false;
        }
        // Where the times are even for long, and where they are not.
        let (mut listed, mut at) = (0, 0);
        while let Some(rest) = points.get(at..).filter(|rest| rest.len() >= LONG) {
            let n = run(rest);
            if n < LONG {
                at += n - 1;
                continue;
            }
            self.listed(kind, &points[listed..at], chunks);
            self.even(kind, &rest[..n], chunks);
            at += n;
            listed = at;
        }
        self.listed(kind, &points[listed..], chunks);
        true
    }

    fn even<const N: usize>(&mut self, kind: Kind, points: &[[u8; N]], chunks: &mut Vec<Chunk>) {
        for points in points.chunks(MOST) {
            let bytes = points.as_flattened();
            let form = Form::of(kind, bytes);
            let ends = (time(&points[0]), time(&points[points.len() - 1]));
            let size = points.len() * form.width();
            let place = self.begin(chunks, (kind, form), points.len(), ends, size);
            form.put(kind, bytes, place);
        }
    }

    fn listed<const N: usize>(&mut self, kind: Kind, points: &[[u8; N]], chunks: &mut Vec<Chunk>) {
        for points in points.chunks(MOST) {
            let bytes = points.as_flattened();
            let ends = (time(&points[0]), time(&points[points.len() - 1]));
            let form = Form::of(kind, bytes).listed();
            let width = times::width(ends.0, ends.1);
            let size = points.len() * (width + form.width());
            let place = self.begin(chunks, (kind, form), points.len(), ends, size);
            let (stamps, values) = place.split_at_mut(points.len() * width);
            times::put(ends.0, points, width, stamps);
            form.put(kind, bytes, values);
        }
    }

    /// Hold strings, as many in a chunk as fit, or one that is longer.
    fn texts(&mut self, points: &[u8], chunks: &mut Vec<Chunk>) {
        let mut rest = Bytes::new(points, 0);
        let (mut from, mut len, mut ends) = (0, 0, (0, 0));
        let mut next = string(&mut rest).ok();
        let mut to = rest.at() as usize;
        while let Some((time, _)) = next {
            if len == 0 {
                ends.0 = time;
            }
            ends.1 = time;
            len += 1;
            next = string(&mut rest).ok();
            let end = rest.at() as usize;
            if next.is_none() || len == MOST || end - from > WIDE {
                let form = (Kind::String, Form::default());
                let place = self.begin(chunks, form, len, ends, to - from);
                place.copy_from_slice(&points[from..to]);
                (from, len) = (to, 0);
            }
            to = end;
        }
    }

    /// Begin a chunk of so many values in so many bytes, from the first time to the last one; where its bytes are.
    fn begin(
        &mut self,
        chunks: &mut Vec<Chunk>,
        (kind, form): (Kind, Form),
        len: usize,
        (first, last): (i64, i64),
        size: usize,
    ) -> &mut [u8] {
        let (slab, at) = self.reserve(size);
        chunks.push(Chunk {
            kind,
            form,
            len: len as u16,
            slab,
            at,
            size: size as u32,
            first,
            last,
        });
        let at = at as usize;
        let slab = self.slabs.get_mut(slab as usize);
        slab.and_then(|slab| slab.bytes.get_mut(at..at + size))
            .unwrap_or_default()
    }

    /// The slab with so many bytes that nobody uses, and where in it; they are in use now.
    fn reserve(&mut self, bytes: usize) -> (u32, u32) {
        loop {
            match self.slabs.get_mut(self.open).map(|slab| slab.take(bytes)) {
                Some(Some(at)) => return (self.open as u32, at as u32),
                Some(None) => self.open += 1,
                None => {
                    let size = SLABS.1.min(SLABS.0 << self.slabs.len().min(8));
                    self.slabs.push(Slab::new(size.max(bytes)));
                }
            }
        }
    }

    /// The bytes of a chunk.
    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        let (at, size) = (chunk.at as usize, chunk.size as usize);
        let slab = self.slabs.get(chunk.slab as usize);
        slab.and_then(|slab| slab.bytes.get(at..at + size))
            .unwrap_or_default()
    }

    /// Append the values of a chunk to a column of its type.
    pub fn unpack(&self, chunk: &Chunk, out: &mut Column) {
        let bytes = self.bytes(chunk);
        if chunk.kind == Kind::String {
            return unpack(bytes, out);
        }
        let (first, last, len) = (chunk.first, chunk.last, usize::from(chunk.len));
        let mut values = bytes;
        if chunk.form.is_listed() {
            let width = times::width(first, last);
            let (stamps, rest) = bytes.split_at(len * width);
            times::unpack(first, stamps, width, &mut out.times);
            values = rest;
        } else {
            // Each step is a time; all together may be more.
            let steps = u64::from(chunk.len).saturating_sub(1).max(1);
            let step = (last.wrapping_sub(first) as u64 / steps) as i64;
            let mut next = first;
            out.times.extend((0..len).map(|_| {
                let time = next;
                // Nobody asks for the one behind the last.
                next = next.wrapping_add(step);
                time
            }));
        }
        chunk.form.unpack(values, &mut out.values);
    }

    /// Take over what another store holds; by how much the numbers of its slabs grow.
    pub fn absorb(&mut self, mut other: Self) -> Shift {
        let shift = Shift(self.slabs.len() as u32);
        self.slabs.append(&mut other.slabs);
        shift
    }

    /// Hold a column whose times ascend.
    pub fn pack(&mut self, column: &Column) -> Vec<Chunk> {
        let (mut chunks, mut points) = (Vec::new(), Vec::new());
        for i in 0..column.len() {
            column_point(column, i, &mut points);
            if points.len() >= WIDE || i + 1 == column.len() {
                self.hold(column.kind(), &points, &mut chunks);
                points.clear();
            }
        }
        chunks
    }
}

/// What becomes of chunks whose store was taken over by another one.
#[derive(Clone, Copy, Debug)]
pub struct Shift(u32);

impl Shift {
    /// Let the chunk be found in the other store.
    pub fn apply(self, chunk: &mut Chunk) {
        chunk.slab += self.0;
    }
}

/// Append a value as the log has it.
fn column_point(column: &Column, i: usize, out: &mut Vec<u8>) {
    let Some(time) = column.times.get(i) else {
        return;
    };
    out.extend_from_slice(&time.to_be_bytes());
    match &column.values {
        Values::Float(v) => out.extend(v.get(i).map_or([0; 8], |v| v.to_bits().to_be_bytes())),
        Values::Integer(v) => out.extend(v.get(i).map_or([0; 8], |v| v.to_be_bytes())),
        Values::Unsigned(v) => out.extend(v.get(i).map_or([0; 8], |v| v.to_be_bytes())),
        Values::Boolean(v) => out.push(v.get(i).copied().map_or(0, u8::from)),
        Values::String(v) => {
            let value = v.get(i);
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value);
        }
    }
}

/// Append packed points to a column of their type.
pub fn unpack(points: &[u8], out: &mut Column) {
    let times = &mut out.times;
    match &mut out.values {
        Values::Float(out) => pairs(points, times, out, f64::from_bits),
        Values::Integer(out) => pairs(points, times, out, |bits| bits as i64),
        Values::Unsigned(out) => pairs(points, times, out, |bits| bits),
        Values::Boolean(out) => {
            for [time @ .., value] in points.as_chunks::<9>().0 {
                times.push(i64::from_be_bytes(*time));
                out.push(*value == 1);
            }
        }
        Values::String(out) => {
            let mut points = Bytes::new(points, 0);
            while let Ok((time, value)) = string(&mut points) {
                times.push(time);
                out.push(value);
            }
        }
    }
}

fn pairs<T>(points: &[u8], times: &mut Vec<i64>, out: &mut Vec<T>, value: impl Fn(u64) -> T) {
    let points = points.as_chunks::<16>().0.iter();
    let points = points.map(|point| u128::from_be_bytes(*point));
    times.extend(points.clone().map(|point| (point >> 64) as i64));
    out.extend(points.map(|point| value(point as u64)));
}

/// The time of a point.
fn time<const N: usize>(point: &[u8; N]) -> i64 {
    point.first_chunk().copied().map_or(0, i64::from_be_bytes)
}

/// Whether the times of points ascend by the same step, as those of a single one do.
fn is_even<const N: usize>(points: &[[u8; N]]) -> bool {
    let ([first, .., last], [_, second, ..]) = (points, points) else {
        return true;
    };
    let (first, last) = (time(first), time(last));
    let Some(step) = time(second).checked_sub(first).filter(|step| *step > 0) else {
        return false;
    };
    let span = i64::try_from(points.len() - 1).ok();
    let span = span.and_then(|steps| steps.checked_mul(step));
    // Nearly always they are even, which is seen without a branch.
    let mut expected = first;
    let other = points.iter().fold(0, |other, point| {
        let other = other | (time(point) ^ expected);
        expected = expected.wrapping_add(step);
        other
    });
    other == 0 && span.and_then(|span| first.checked_add(span)) == Some(last)
}

/// How many of these points, which ascend, are even from the first one on. Two always are, unless they are too far apart.
fn run<const N: usize>(points: &[[u8; N]]) -> usize {
    let steps = points
        .windows(2)
        .map(|pair| time(&pair[1]).checked_sub(time(&pair[0])));
    let mut steps = steps.peekable();
    let first = steps.peek().copied().flatten();
    match first {
        Some(step) => 1 + steps.take_while(|next| *next == Some(step)).count(),
        None => 2,
    }
}
