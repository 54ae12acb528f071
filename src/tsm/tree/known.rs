//! Which policies does the server know? Those without shards leave no trace in the folders.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use bstr::{BStr, BString, ByteSlice};

use super::{Level, Names, Place, Walker};
use crate::tsm::meta::Meta;
use crate::tsm::place::Error;

impl Walker<'_> {
    /// Note the policies that `meta.db` lists and that are wanted. One that cannot be used lists none.
    pub(super) fn know(&mut self, place: &Place) -> Result<(), Error> {
        let Some(path) = place.meta.as_ref().filter(|_| self.wanted.empty) else {
            return Ok(());
        };
        let bytes = match fs::read(path) {
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Error::denied(path));
            }
            bytes => bytes.ok().filter(|_| place.level != Level::Shard),
        };
        let meta = bytes.and_then(|bytes| Meta::parse(&bytes).ok());
        for names in meta.iter().flat_map(policies) {
            let fits = |here: &Option<_>, there: &Option<_>| here.is_none() || here == there;
            let is_below = fits(&place.names.database, &names.database)
                && fits(&place.names.policy, &names.policy);
            if is_below && self.is_led_to(place.level, &names) {
                self.tree.known.push(names);
            }
        }
        Ok(())
    }

    /// Note the policies that the metadata in an archive list and that are wanted, once all shards have been met.
    ///
    /// The metadata are of the whole server: of a database that has shards there, and none here, nothing was packed.
    pub(super) fn know_packed(&mut self, meta: &Meta) {
        let packed = self.here.databases.clone();
        let shards = meta.shards().into_iter().filter_map(|id| meta.shard(id));
        let shards = shards.filter(|shard| !shard.deleted);
        let there: BTreeSet<&BStr> = shards.map(|shard| shard.database.as_bstr()).collect();
        let is_elsewhere =
            |name: &BString| there.contains(name.as_bstr()) && !packed.contains(name);
        for names in policies(meta) {
            let is_here = !names.database.as_ref().is_some_and(is_elsewhere);
            if is_here && self.is_led_to(Level::Data, &names) {
                self.tree.known.push(names);
            }
        }
    }

    /// Whether a policy is wanted; remembers that it is there.
    fn is_led_to(&mut self, level: Level, names: &Names) -> bool {
        // What the path itself names, down to this level, need not be named by an option.
        [Level::Database, Level::Policy]
            .into_iter()
            .all(|below| below >= level || self.is_wanted(below, names))
    }
}

fn policies(meta: &Meta) -> impl Iterator<Item = Names> {
    meta.databases().iter().flat_map(|database| {
        database.policies.iter().map(|policy| Names {
            database: Some(database.name.clone().into()),
            policy: Some(policy.name.clone().into()),
            shard: None,
        })
    })
}
