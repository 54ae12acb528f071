//! The values of one key, gathered from all parts of the log.

use std::mem;

use super::store::{self, Chunk, Store};
use crate::rows::Kind;
use crate::tsm::merge::Column;

/// Values in the order they were written.
#[derive(Debug, Default)]
pub struct Series {
    /// Nearly always of one type.
    chunks: Vec<Chunk>,
    /// The values themselves, in a new column wherever the type changes; there are no chunks then.
    loose: Option<Vec<Column>>,
}

impl Series {
    /// Points in the order they were written, in any order of time and of any types.
    pub fn of<'a>(groups: impl Iterator<Item = (Kind, &'a [u8])>) -> Self {
        let mut columns = Vec::new();
        groups.for_each(|(kind, points)| store::unpack(points, end(&mut columns, kind)));
        Self {
            chunks: Vec::new(),
            loose: Some(columns),
        }
    }

    /// Append what was written later, and is in this store.
    pub fn push(&mut self, newer: Chunk, store: &Store) {
        match &mut self.loose {
            None => self.chunks.push(newer),
            Some(columns) => store.unpack(&newer, end(columns, newer.kind)),
        }
    }

    /// Remove the values in these ranges, which ascend and do not touch; both ends of each are included.
    pub fn delete(&mut self, ranges: &[(i64, i64)], store: &Store) {
        // The only range that can hold a time, or all times of a chunk.
        let near = |time: i64| ranges.get(ranges.partition_point(|(_, max)| *max < time));
        let stays = |chunk: &Chunk| near(chunk.first).is_none_or(|(min, _)| chunk.last < *min);
        let goes = |chunk: &Chunk| {
            near(chunk.first).is_some_and(|(min, max)| *min <= chunk.first && chunk.last <= *max)
        };
        if self.loose.is_none() && self.chunks.iter().all(|it| stays(it) || goes(it)) {
            return self.chunks.retain(stays);
        }
        let stays = |time: i64| near(time).is_none_or(|(min, _)| time < *min);
        let columns = self.loosen(store);
        for Column { times, values } in &mut *columns {
            if times.iter().all(|&time| stays(time)) {
                continue;
            }
            values.retain(|i| stays(times[i]));
            times.retain(|&time| stays(time));
        }
        columns.retain(|column| !column.is_empty());
    }

    /// All values, packed. Where there is more than one type, those of one stand behind those of the other, by time, and
    /// share no time with them; of a single one it is left to who reads them that later ones may stand for older ones.
    pub fn settle(mut self, store: &mut Store) -> Vec<Chunk> {
        let is_one_type = |a: &Chunk, b: &Chunk| a.kind == b.kind;
        if self.loose.is_none() && self.chunks.is_sorted_by(is_one_type) {
            return self.chunks;
        }
        let mut columns = mem::take(self.loosen(store));
        let ascends = |column: &Column| column.times.is_sorted_by(|a, b| a < b);
        if columns.len() > 1 || !columns.iter().all(ascends) {
            columns = sorted(&columns);
        }
        let packed = columns.iter().flat_map(|column| store.pack(column));
        packed.collect()
    }

    /// Unpack everything.
    #[cold]
    fn loosen(&mut self, store: &Store) -> &mut Vec<Column> {
        let columns = self.loose.get_or_insert_default();
        unpack(&mem::take(&mut self.chunks), store, columns);
        columns
    }
}

fn unpack(chunks: &[Chunk], store: &Store, columns: &mut Vec<Column>) {
    for chunk in chunks {
        store.unpack(chunk, end(columns, chunk.kind));
    }
}

/// The column that the next values of this type go to.
fn end(columns: &mut Vec<Column>, kind: Kind) -> &mut Column {
    if columns.last().is_none_or(|column| column.kind() != kind) {
        columns.push(Column::new(kind));
    }
    let last = columns.len() - 1;
    &mut columns[last]
}

#[cold]
fn sorted(written: &[Column]) -> Vec<Column> {
    let places = |(c, column): (usize, &Column)| {
        let place = move |(i, &time): (usize, &i64)| (time, c, i);
        column
            .times
            .iter()
            .enumerate()
            .map(place)
            .collect::<Vec<_>>()
    };
    // Later columns and later places were written later.
    let mut order: Vec<_> = written.iter().enumerate().flat_map(places).collect();
    order.sort_unstable();
    let mut columns: Vec<Column> = Vec::new();
    let next = order.iter().skip(1).map(|place| Some(place.0));
    for (&(time, c, i), next) in order.iter().zip(next.chain([None])) {
        if next == Some(time) {
            continue;
        }
        let column = of_kind(&mut columns, written[c].kind());
        column.times.push(time);
        column.values.push_from(&written[c].values, i);
    }
    columns
}

fn of_kind(columns: &mut Vec<Column>, kind: Kind) -> &mut Column {
    let i = columns.iter().position(|column| column.kind() == kind);
    let i = i.unwrap_or_else(|| {
        columns.push(Column::new(kind));
        columns.len() - 1
    });
    &mut columns[i]
}
