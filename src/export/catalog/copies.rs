//! The same shard below two paths: a mistake, or replicas of a cluster.

use std::collections::HashMap;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use super::{Catalog, Listed};
use crate::tsm::place::{Error, Names};
use crate::tsm::shard::Files;

impl Catalog {
    /// Make one of the copies of a shard, those of later paths on top. It is an error if they are not said to be
    /// `replicas`, and if they are the same folder.
    pub(super) fn join_copies(&mut self, replicas: bool) -> Result<(), Error> {
        let mut joined: Vec<Listed> = Vec::new();
        let (mut shards, mut folders) = (HashMap::new(), HashMap::new());
        for listed in mem::take(&mut self.shards) {
            let name = name(&listed, replicas);
            let known = name.as_ref().and_then(|name| shards.get(name)).copied();
            let at: usize = known.unwrap_or(joined.len());
            let same = real(&listed).and_then(|folder| folders.insert(folder, at));
            if let Some(other) = same.and_then(|at| joined.get(at)) {
                return Err(twice(other, &listed, ""));
            }
            match joined.get_mut(at) {
                Some(other) if replicas => other.add_copy(listed),
                Some(other) => {
                    let advice = " (--replicas merges them, if they are copies of one shard)";
                    return Err(twice(other, &listed, advice));
                }
                None => {
                    shards.extend(name.map(|name| (name, at)));
                    joined.push(listed);
                }
            }
        }
        self.shards = joined;
        Ok(())
    }
}

impl Listed {
    fn add_copy(&mut self, newer: Self) {
        self.copies.extend(newer.copies);
        self.period = newer.period.or(self.period);
        self.start = newer.start.or(self.start);
        self.end = newer.end.or(self.end);
    }
}

/// The names, if they tell the shard from all others. Between copies its number will do.
fn name(listed: &Listed, replicas: bool) -> Option<Names> {
    let Names {
        database,
        policy,
        shard,
    } = &listed.names;
    let is_told = shard.is_some() && (replicas || (database.is_some() && policy.is_some()));
    is_told.then(|| listed.names.clone())
}

/// The folder that the data lies in, whatever links lead there.
fn real(listed: &Listed) -> Option<PathBuf> {
    let Files { data, named, .. } = &listed.copies.first()?.files;
    let parent = |file: &PathBuf| file.parent().map(Path::to_path_buf);
    let folder = data.clone().or_else(|| parent(named.first()?))?;
    fs::canonicalize(folder).ok()
}

fn twice(a: &Listed, b: &Listed, advice: &str) -> Error {
    let place = |listed: &Listed| {
        let files = listed.copies.last().map(|copy| &copy.files);
        let path = files.and_then(|files| files.data.as_ref().or(files.named.first()));
        path.map_or_else(|| listed.label.clone(), |path| path.display().to_string())
    };
    let (label, a, b) = (&a.label, place(a), place(b));
    Error::Twice(format!("shard {label} is there twice: {a} and {b}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::catalog::Located;

    fn listed(id: u64, data: &str, start: Option<i64>) -> Listed {
        let files = Files {
            data: Some(data.into()),
            ..Files::default()
        };
        Listed {
            names: Names {
                database: Some("a".into()),
                policy: Some("p".into()),
                shard: Some(id),
            },
            copies: vec![Located {
                files,
                ..Located::default()
            }],
            start,
            ..Listed::default()
        }
    }

    fn settled(shards: Vec<Listed>, replicas: bool) -> Result<Vec<Listed>, Error> {
        let mut catalog = Catalog {
            shards,
            ..Catalog::default()
        };
        catalog.settle(replicas)?;
        Ok(catalog.shards)
    }

    #[test]
    fn the_same_shard_twice_is_refused_even_if_only_one_path_knows_its_group() {
        let shards = || {
            vec![
                listed(1, "x", None),
                listed(2, "x2", None),
                listed(1, "y", Some(5)),
            ]
        };
        let text = settled(shards(), false).unwrap_err().to_string();
        assert!(text.contains("twice: x and y (--replicas"), "{text}");
        let joined = settled(shards(), true).unwrap();
        let copies = |listed: &Listed| {
            let copies = listed.copies.iter();
            let paths = copies.map(|copy| copy.files.data.clone().unwrap());
            paths.collect::<Vec<_>>()
        };
        assert_eq!(2, joined.len());
        assert_eq!((Some(1), Some(5)), (joined[0].names.shard, joined[0].start));
        assert_eq!(vec![PathBuf::from("x"), "y".into()], copies(&joined[0]));
    }

    #[test]
    fn a_folder_is_no_copy_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let shards = vec![listed(1, path, None), listed(1, &format!("{path}/."), None)];
        assert!(matches!(settled(shards, true), Err(Error::Twice(_))));
    }

    #[test]
    fn copies_that_nothing_names_are_told_by_their_number() {
        let bare = |data: &str| {
            let mut listed = listed(7, data, None);
            listed.names.database = None;
            listed
        };
        assert_eq!(1, settled(vec![bare("x"), bare("y")], true).unwrap().len());
        assert_eq!(2, settled(vec![bare("x"), bare("y")], false).unwrap().len());
    }
}
