//! Whose are files that stand outside of a tree? Options say so.

use std::path::Path;

use bstr::BString;

use super::{Found, Wanted};
use crate::tsm::place::{Error, Level, Names, Place};

/// The names of a single file: those of the layout, which must be among those asked for, or those that options give.
pub fn names_for(path: &Path, names: Names, wanted: &Wanted) -> Result<Names, Error> {
    if names == Names::default() {
        let mut place = Place {
            data: path.to_path_buf(),
            level: Level::Shard,
            names,
            wal: None,
            meta: None,
        };
        name(&mut place, wanted)?;
        if let Some(id) = wanted.shards.first() {
            let path = path.display();
            return Err(Error::Missing(format!(
                "{path}: nothing says that it is of shard {id}"
            )));
        }
        return Ok(place.names);
    }
    let allows = |list: &[BString], name: &Option<BString>| {
        list.is_empty() || name.as_ref().is_some_and(|name| list.contains(name))
    };
    let is_wanted = allows(&wanted.databases, &names.database)
        && allows(&wanted.policies, &names.policy)
        && (wanted.shards.is_empty() || names.shard.is_some_and(|id| wanted.shards.contains(&id)));
    if is_wanted {
        return Ok(names);
    }
    let found = Found {
        names,
        data: path.to_path_buf(),
        wal: None,
        held: None,
    };
    let (path, label) = (path.display(), found.label());
    Err(Error::Missing(format!(
        "{path}: is of {label}, which is not asked for"
    )))
}

/// Outside of a tree the options say whose the files are.
pub(super) fn name(place: &mut Place, wanted: &Wanted) -> Result<(), Error> {
    let only = |names: &[BString], option: &str| match names {
        [] => Ok(None),
        [name] => Ok(Some(name.clone())),
        _ => Err(Error::Usage(format!(
            "{}: stands outside of a data directory, so {option} is its name and can be given once",
            place.data.display()
        ))),
    };
    if let Some(name) = only(&wanted.databases, "--database")? {
        place.names.database = Some(name);
    }
    if place.level <= Level::Policy
        && let Some(name) = only(&wanted.policies, "--retention-policy")?
    {
        place.names.policy = Some(name);
    }
    Ok(())
}
