//! Values of the log as they are held in memory: packed, in a few large pieces that never move.
//!
//! ```text
//! listed  { time i64, value } as in the log
//! even    { value } numbers or truth values; the times follow from the first one and the step. Big-endian as in the log,
//!         of integers and of floats with few decimals only as many bytes as those of the chunk need: 2, 4 or 8
//! ```

mod narrow;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::entry::{Group, size, string};
use crate::rows::{Kind, Values};
use crate::tsm::Bytes;
use crate::tsm::merge::Column;
use narrow::Form;

/// Values of a chunk at most.
const MOST: usize = 1000;
/// Bytes of a chunk at most, unless a single value is longer.
const WIDE: usize = 16 * MOST;
/// So many values make it worth to begin a chunk that does not list their times.
const WORTH: usize = 8;
/// So many chunks of a key are looked at to see how much of it there is.
const LATELY: usize = 32;
/// Bytes of the first slab, and of the largest ones.
const SLABS: (usize, usize) = (16 << 10, 256 << 10);

/// Some values of one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chunk {
    /// Their type.
    pub kind: Kind,
    /// How many.
    pub len: u32,
    /// The first time; they ascend.
    pub first: i64,
    /// The last time.
    pub last: i64,
    /// From each time to the next; 0 if they are listed.
    step: i64,
    /// How values are held whose times are not listed.
    form: Form,
    /// Where the bytes are, how many are in use, and how many can be. A body of the log has less than 4 GiB.
    slab: u32,
    at: u32,
    used: u32,
    room: u32,
}

/// The bytes of all chunks.
#[derive(Debug, Default)]
pub struct Store {
    slabs: Vec<Slab>,
    /// Where chunks are begun: there is no room in the slabs before.
    open: usize,
    /// How much of what is to be held has come, and how much is still to come; nothing where nobody knows.
    come: (u64, u64),
}

/// Bytes that never move.
#[derive(Debug)]
struct Slab {
    /// Zero at first: the system need not give what is not used.
    bytes: Vec<u8>,
    used: usize,
}

/// What can be said of ascending times.
#[derive(Clone, Copy)]
struct Times {
    first: i64,
    last: i64,
    /// From each to the next, if that is always the same; 0 if not, or if there is but one.
    step: i64,
}

impl Chunk {
    /// Whether these times follow without being listed.
    fn goes_on(&self, times: Times) -> bool {
        let next = self.last.checked_add(self.step);
        let is_alone = times.first == times.last;
        self.step > 0 && next == Some(times.first) && (is_alone || times.step == self.step)
    }

    fn has_room(&self, bytes: usize, values: usize) -> bool {
        self.free().0 >= bytes && self.free().1 >= values
    }

    /// How many more bytes and values it can have.
    fn free(&self) -> (usize, usize) {
        let left = MOST.saturating_sub(self.len as usize);
        ((self.room - self.used) as usize, left)
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
    /// Append a group to the chunks of its key; `false`, and nothing is appended, unless it has the type of the last one
    /// and its times ascend from there on.
    pub fn append(&mut self, chunks: &mut Vec<Chunk>, group: &Group<'_>) -> bool {
        let Some(times) = ascending(group) else {
            return group.points.is_empty();
        };
        let follows = |last: &Chunk| last.kind == group.kind && last.last < times.first;
        if !chunks.last().is_none_or(follows) {
            return false;
        }
        let step = chunks.last().filter(|last| last.goes_on(times));
        let step = step.map_or(times.step, |last| last.step);
        let values = group.points.len() / size(group.kind);
        let is_worth = match chunks.last() {
            Some(last) if last.goes_on(times) => true,
            // Where times are even now and then only, chunks would stay short.
            Some(last) if last.step == 0 && last.has_room(group.points.len(), values) => false,
            _ => values >= WORTH,
        };
        match step > 0 && is_worth && group.kind != Kind::String {
            true => self.append_even(chunks, group, Times { step, ..times }),
            false => self.append_listed(chunks, group),
        }
        true
    }

    fn append_even(&mut self, chunks: &mut Vec<Chunk>, group: &Group<'_>, mut times: Times) {
        let size = size(group.kind);
        let before = chunks.last().map_or(Form::default(), |last| last.form);
        let form = before.after(group);
        let wide = usize::from(form.width);
        let mut points = group.points;
        while points.len() >= size {
            let wanted = (points.len() / size).min(MOST);
            let open = chunks.last();
            let open = open.filter(|last| last.goes_on(times) && last.form == form);
            let mut n = open.map_or(0, |last| (last.free().0 / wide).min(last.free().1));
            if n == 0 {
                n = wanted;
                let room = (wanted * wide, MOST * wide);
                self.begin(chunks, (group.kind, form), times.step, room);
            }
            let n = n.min(wanted);
            let (now, later) = points.split_at(n * size);
            let last = time(now, now.len() - size);
            let place = self.take(chunks, n, n * wide, (times.first, last));
            form.put(group.kind, now, place);
            points = later;
            times.first = time(later, 0);
        }
    }

    fn append_listed(&mut self, chunks: &mut Vec<Chunk>, group: &Group<'_>) {
        let mut points = group.points;
        while !points.is_empty() {
            let open = chunks.last().filter(|last| last.step == 0);
            let (room, left) = open.map_or((0, 0), Chunk::free);
            let mut head = Head::of(group.kind, points, room, left);
            if head.values == 0 {
                head = Head::of(group.kind, points, WIDE, MOST);
                if head.values == 0 {
                    head = Head::of(group.kind, points, usize::MAX, 1);
                }
                if head.values == 0 {
                    return;
                }
                let form = chunks.last().map_or(Form::default(), |last| last.form);
                self.begin(chunks, (group.kind, form), 0, (head.bytes, WIDE));
            }
            let (now, later) = points.split_at(head.bytes);
            let ends = (time(now, 0), time(now, head.last));
            let place = self.take(chunks, head.values, now.len(), ends);
            place.copy_from_slice(now);
            points = later;
        }
    }

    /// Of all that is to be held so much has come, what is appended next included, and so much is still to come; in any
    /// unit. It says no more than how much room is worth to be kept.
    pub fn foresee(&mut self, come: u64, still: u64) {
        self.come = (come, still);
    }

    /// Begin a chunk with room for as many bytes as are wanted, or twice as many as the one before uses, if that is no
    /// more than the most there can be, and no more than are to come if the key goes on as it did. Where that one is of
    /// another form, or was not filled, nobody knows what follows: then it gets no more than it needs.
    fn begin(
        &mut self,
        chunks: &mut Vec<Chunk>,
        (kind, form): (Kind, Form),
        step: i64,
        room: (usize, usize),
    ) {
        let (wanted, most) = room;
        let is_full = |chunk: &&Chunk| chunk.step == step && (step == 0 || chunk.free().0 < 8);
        let before = chunks.last().filter(is_full);
        let before = before.map_or(0, |chunk| chunk.used as usize);
        let room = (2 * before).min(most).min(self.to_come(chunks, wanted));
        let room = wanted.max(room);
        let (slab, at) = self.reserve(room);
        // Many keys have one chunk for ever.
        chunks.reserve_exact(usize::from(chunks.is_empty()));
        chunks.push(Chunk {
            kind,
            len: 0,
            first: 0,
            last: 0,
            step,
            form,
            slab,
            at,
            used: 0,
            room: room as u32,
        });
    }

    /// Bytes of a key that are still to come, if it goes on as it did: these chunks are held, and so many bytes come now.
    fn to_come(&self, chunks: &[Chunk], now: usize) -> usize {
        let (come, still) = self.come;
        // Of many chunks all before the last ones are taken for as long as those.
        let lately: usize = chunks
            .iter()
            .rev()
            .take(LATELY)
            .map(|it| it.used as usize)
            .sum();
        let held = lately as u128 * chunks.len() as u128 / chunks.len().clamp(1, LATELY) as u128;
        let later = ((held + now as u128) * u128::from(still)).checked_div(u128::from(come));
        let later = later.and_then(|later| usize::try_from(later).ok());
        later.map_or(usize::MAX, |later| now.saturating_add(later))
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

    /// The place for that many more values in so many bytes, which are free, at the end of the last chunk.
    fn take(
        &mut self,
        chunks: &mut [Chunk],
        values: usize,
        bytes: usize,
        (first, last): (i64, i64),
    ) -> &mut [u8] {
        let Some(chunk) = chunks.last_mut() else {
            return &mut [];
        };
        if chunk.len == 0 {
            chunk.first = first;
        }
        chunk.last = last;
        chunk.len += values as u32;
        let at = chunk.at as usize + chunk.used as usize;
        chunk.used += bytes as u32;
        self.place(chunk.slab, at..at + bytes)
    }

    fn place(&mut self, slab: u32, bytes: Range<usize>) -> &mut [u8] {
        let slab = self.slabs.get_mut(slab as usize);
        slab.and_then(|slab| slab.bytes.get_mut(bytes))
            .unwrap_or_default()
    }

    /// The bytes of a chunk.
    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        let (at, used) = (chunk.at as usize, chunk.used as usize);
        let slab = self.slabs.get(chunk.slab as usize);
        slab.and_then(|slab| slab.bytes.get(at..at + used))
            .unwrap_or_default()
    }

    /// Append the values of a chunk to a column of its type.
    pub fn unpack(&self, chunk: &Chunk, out: &mut Column) {
        let bytes = self.bytes(chunk);
        if chunk.step == 0 {
            return unpack(bytes, out);
        }
        let mut next = chunk.first;
        out.times.extend((0..chunk.len).map(|_| {
            let time = next;
            // Nobody asks for the one behind the last.
            next = next.wrapping_add(chunk.step);
            time
        }));
        chunk.form.unpack(bytes, &mut out.values);
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
                let (key, kind) = (&[][..], column.kind());
                let points_of = Group {
                    key,
                    kind,
                    points: &points,
                };
                self.append(&mut chunks, &points_of);
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
    /// Find the chunks in the other store from now on.
    pub fn apply(self, chunks: &mut [Chunk]) {
        chunks.iter_mut().for_each(|chunk| chunk.slab += self.0);
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

/// The time of the point at this place.
fn time(points: &[u8], at: usize) -> i64 {
    let time = points.get(at..).and_then(|rest| rest.first_chunk());
    time.copied().map_or(0, i64::from_be_bytes)
}

/// The first points of some.
struct Head {
    values: usize,
    bytes: usize,
    /// Where the last one of them stands.
    last: usize,
}

impl Head {
    /// As many as fit into so many bytes, and no more than so many values.
    fn of(kind: Kind, points: &[u8], room: usize, most: usize) -> Self {
        let size = size(kind);
        if kind != Kind::String {
            let values = most.min(room.min(points.len()) / size);
            let bytes = values * size;
            let last = bytes.saturating_sub(size);
            return Self {
                values,
                bytes,
                last,
            };
        }
        let mut head = Self {
            values: 0,
            bytes: 0,
            last: 0,
        };
        let mut rest = Bytes::new(points, 0);
        while head.values < most && string(&mut rest).is_ok() && rest.at() as usize <= room {
            head.values += 1;
            (head.last, head.bytes) = (head.bytes, rest.at() as usize);
        }
        head
    }
}

/// The times of a group, if they ascend.
fn ascending(group: &Group<'_>) -> Option<Times> {
    match group.kind {
        Kind::Boolean => fixed(group.points.as_chunks::<9>().0),
        Kind::String => {
            let mut points = Bytes::new(group.points, 0);
            let times = std::iter::from_fn(|| string(&mut points).ok());
            steps(times.map(|(time, _)| time))
        }
        _ => fixed(group.points.as_chunks::<16>().0),
    }
}

/// The times of points of the same size, if they ascend.
fn fixed<const N: usize>(points: &[[u8; N]]) -> Option<Times> {
    let of = |point: &[u8; N]| time(point, 0);
    let (first, last) = (of(points.first()?), of(points.last()?));
    let step = points
        .get(1)
        .map_or(0, |point| of(point).wrapping_sub(first));
    // Nearly always they are even, which is seen without a branch.
    let mut expected = first;
    let other = points.iter().fold(0, |other, point| {
        let other = other | (of(point) ^ expected);
        expected = expected.wrapping_add(step);
        other
    });
    let span = i64::try_from(points.len() - 1).ok();
    let span = span.and_then(|n| first.checked_add(step.checked_mul(n)?));
    match other == 0 && (step > 0 || points.len() == 1) && span == Some(last) {
        true => Some(Times { first, last, step }),
        false => steps(points.iter().map(of)),
    }
}

fn steps(mut times: impl Iterator<Item = i64>) -> Option<Times> {
    let first = times.next()?;
    let (mut last, mut step, mut ascend) = (first, None, true);
    let mut is_even = true;
    for time in times {
        // What is too far apart is not even.
        let this = time.wrapping_sub(last);
        ascend &= time > last;
        is_even &= this > 0 && *step.get_or_insert(this) == this;
        last = time;
    }
    let step = step.filter(|_| is_even).unwrap_or(0);
    ascend.then_some(Times { first, last, step })
}
