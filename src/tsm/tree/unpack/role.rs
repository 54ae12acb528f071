//! What is a member of an archive, by its name?

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bstr::ByteSlice;

use super::{Level, Member, Names, What};
use crate::tsm::place;

/// What a member is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A TSM file of a shard, or its tombstones.
    Data(Names),
    /// A segment of the log of a shard.
    Log(Names),
    /// A folder in which logs would be.
    Logs,
    /// `meta.db`.
    Meta,
    /// A copy that a backup makes beside the files of a shard; a file of the shard can be a link to it.
    Copy,
    /// A part of a portable backup.
    Backup,
    /// Something that does not belong there; whether it may be data.
    Stray(&'static str, bool),
    /// Nothing that matters.
    Nothing,
}

/// What a member is.
pub(super) fn role(member: &Member) -> Role {
    let name = &member.name[..];
    match member.what {
        What::Folder if name.rsplit_str("/").next() == Some(b"wal") => return Role::Logs,
        What::Folder | What::Other => return Role::Nothing,
        What::Link => {
            return Role::Stray(
                "a link, and what it leads to is not in the archive (pack with --dereference)",
                true,
            );
        }
        What::File | What::Twin(_) => {}
    }
    let file = name.rsplit_str("/").next().unwrap_or_default();
    let is = |end: &str| file.ends_with(end.as_bytes());
    let folders = folder(name);
    if is(".tsm") || is(".tombstone") {
        return owned(folders, Role::Data);
    }
    if is_segment(file) {
        return owned(folders, Role::Log);
    }
    if is(".tsm.bad") {
        return Role::Stray("a file that the server refused to load", false);
    }
    let last = folders.rsplit_str("/").next().unwrap_or_default();
    if file == b"meta.db" && matches!(last, b"meta" | b"") {
        return Role::Meta;
    }
    // Three digits more than a stamp: what a server writes into a shard has no such name.
    let is_backup = is(".manifest") || is(".meta") || is(".tar.gz");
    match is_backup && file.first().is_some_and(u8::is_ascii_digit) {
        true => Role::Backup,
        false => Role::Nothing,
    }
}

/// The folders of a name.
pub(super) fn folder(name: &[u8]) -> &[u8] {
    name.rsplit_once_str("/").map_or(b"", |(folder, _)| folder)
}

/// Whether a file of a shard stands four levels below a folder of this name.
pub(super) fn is_below(member: &Member, top: &[u8]) -> bool {
    member.name.rsplit_str("/").nth(4) == Some(top)
}

fn is_segment(file: &[u8]) -> bool {
    place::segment_id(OsStr::from_bytes(file).as_ref()).is_some()
}

/// The role of a file in these folders, if they are those of a shard.
fn owned(folders: &[u8], role: impl FnOnce(Names) -> Role) -> Role {
    let mut up = folders.rsplit_str("/").filter(|name| !name.is_empty());
    let Some(shard) = up.next() else {
        return role(Names::default());
    };
    let shard = OsStr::from_bytes(shard);
    if shard.as_bytes().ends_with(b".tmp") {
        return Role::Copy;
    }
    if place::shard_id(shard).is_none() {
        return Role::Stray("its folder has a name that is no shard id", true);
    }
    let mut names = Names::default().and(Level::Shard, shard);
    let [policy, database, above] = [up.next(), up.next(), up.next()];
    let is_top = |name: &&[u8]| matches!(*name, b"data" | b"wal");
    // A database can be called so as well.
    let database = database.filter(|name| !is_top(name) || above.is_some_and(|name| is_top(&name)));
    for (level, name) in [(Level::Policy, policy), (Level::Database, database)] {
        if let Some(name) = name {
            names = names.and(level, OsStr::from_bytes(name));
        }
    }
    role(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, what: What) -> Role {
        role(&Member {
            name: name.into(),
            what,
            len: 0,
            at: 0,
        })
    }

    fn names(database: Option<&str>, policy: Option<&str>, shard: Option<u64>) -> Names {
        Names {
            database: database.map(Into::into),
            policy: policy.map(Into::into),
            shard,
        }
    }

    #[test]
    fn the_last_folders_say_whose_a_file_is() {
        for (name, expected) in [
            (
                "var/lib/influxdb/data/d b/rp/12/1-1.tsm",
                names(Some("d b"), Some("rp"), Some(12)),
            ),
            (
                "d/rp/12/1-1.tombstone",
                names(Some("d"), Some("rp"), Some(12)),
            ),
            ("rp/12/1-1.tsm", names(None, Some("rp"), Some(12))),
            ("12/1-1.tsm", names(None, None, Some(12))),
            ("1-1.tsm", names(None, None, None)),
            ("data/rp/12/1-1.tsm", names(None, Some("rp"), Some(12))),
            (
                "data/data/rp/12/1-1.tsm",
                names(Some("data"), Some("rp"), Some(12)),
            ),
        ] {
            assert_eq!(Role::Data(expected), of(name, What::File), "{name}");
        }
        let expected = Role::Log(names(Some("d"), Some("rp"), Some(1)));
        assert_eq!(
            expected,
            of("wal/d/rp/1/_00001.wal", What::Twin("x".into()))
        );
    }

    #[test]
    fn what_is_no_data_is_known() {
        for (name, expected) in [
            ("x/meta/meta.db", Role::Meta),
            ("data/d/rp/1/meta.db", Role::Nothing),
            ("b/20180401T120000Z.manifest", Role::Backup),
            ("20180401T120000Z.s1.tar.gz", Role::Backup),
            ("data/d/rp/1/fields.idx", Role::Nothing),
            ("data/d/_series/00/0000", Role::Nothing),
        ] {
            assert_eq!(expected, of(name, What::File), "{name}");
        }
        assert_eq!(Role::Logs, of("influxdb/wal", What::Folder));
        let is_data = |role: Role| match role {
            Role::Stray(_, is_data) => is_data,
            other => panic!("{other:?}"),
        };
        assert_eq!(Role::Copy, of("data/d/rp/1/5.tmp/1-1.tsm", What::File));
        assert!(is_data(of("data/d/rp/copy/1-1.tsm", What::File)));
        assert!(is_data(of("data/d", What::Link)));
    }
}
