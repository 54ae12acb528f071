//! How large are the files of a shard, and when did they last change? What the system says without opening one.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Files;

/// Sizes and times of the files of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of TSM files.
    pub data: u64,
    /// Bytes of log segments.
    pub log: u64,
    /// When a file was last written to, or a folder last gained or lost one; in nanoseconds, `None` if nothing says.
    pub changed: Option<i64>,
}

impl Files {
    /// What the system says of the files. What it does not say, as of a file that has just gone, is left out.
    pub fn extent(&self) -> Extent {
        let mut extent = Extent::default();
        for folder in [&self.data, &self.wal].into_iter().flatten() {
            // Files that come and go leave their time here, even if they bring an old one along.
            extent.change(folder);
            files(folder).for_each(|path| extent.add(&path));
        }
        for path in &self.named {
            extent.add(path);
            extent.change(&path.with_extension("tombstone"));
        }
        for (path, source) in &self.opened {
            match path.extension().and_then(OsStr::to_str) {
                Some("wal") => extent.log += source.len(),
                _ => extent.data += source.len(),
            }
        }
        if let Some(packed) = &self.packed {
            extent.data += packed.bytes();
            if packed.source.is_none() {
                extent.change(&packed.path);
            }
        }
        extent
    }
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

impl Extent {
    fn add(&mut self, path: &Path) {
        let extension = path.extension().and_then(OsStr::to_str);
        match extension {
            Some("tsm") => self.data += self.change(path),
            Some("wal") => self.log += self.change(path),
            Some("tombstone") => {
                self.change(path);
            }
            _ => {}
        }
    }

    /// Note when a file or folder last changed; gives its size.
    fn change(&mut self, path: &Path) -> u64 {
        let Ok(meta) = fs::metadata(path) else {
            return 0;
        };
        let seconds = meta.mtime().checked_mul(1_000_000_000);
        let time = seconds.and_then(|time| time.checked_add(meta.mtime_nsec()));
        self.changed = self.changed.max(time);
        meta.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn stamp(path: &Path, seconds: u64) {
        let file = fs::File::open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn sizes_are_those_of_data_and_log_and_the_latest_change_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (data, wal) = (dir.path().join("data"), dir.path().join("wal"));
        let names = [
            ("data/1-1.tsm", 30),
            ("data/1-1.tombstone", 7),
            ("data/2-1.tsm.tmp", 9),
            ("wal/_00001.wal", 5),
        ];
        fs::create_dir(&data).unwrap();
        fs::create_dir(&wal).unwrap();
        for (name, size) in names {
            fs::write(dir.path().join(name), vec![0; size]).unwrap();
        }
        let files = Files {
            data: Some(data.clone()),
            wal: Some(wal.clone()),
            ..Files::default()
        };
        let set = |path: &str, seconds| stamp(&dir.path().join(path), seconds);
        for name in ["data", "wal"].into_iter().chain(names.map(|name| name.0)) {
            set(name, 100);
        }
        let changed = |seconds: i64| Extent {
            data: 30,
            log: 5,
            changed: Some(seconds * 1_000_000_000),
        };
        assert_eq!(changed(100), files.extent());
        for (i, name) in [
            "data/1-1.tsm",
            "data/1-1.tombstone",
            "wal/_00001.wal",
            "data",
            "wal",
        ]
        .into_iter()
        .enumerate()
        {
            set(name, 200 + i as u64);
            assert_eq!(changed(200 + i as i64), files.extent(), "{name}");
        }
        set("data/2-1.tsm.tmp", 900);
        assert_eq!(changed(204), files.extent());
        let named = Files {
            named: vec![data.join("1-1.tsm")],
            ..Files::default()
        };
        let expected = Extent {
            data: 30,
            log: 0,
            changed: Some(201_000_000_000),
        };
        assert_eq!(expected, named.extent());
        assert_eq!(Extent::default(), Files::default().extent());
    }
}
