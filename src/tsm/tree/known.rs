//! Which policies does the server know below a path? Those without shards leave no trace in the folders.

use std::fs;

use super::{Level, Names, Place, Walker};
use crate::tsm::meta::Meta;

impl Walker<'_> {
    /// Note the policies that `meta.db` lists and that are wanted. One that cannot be read lists none.
    pub(super) fn know(&mut self, place: &Place) {
        if !self.wanted.empty || place.level == Level::Shard {
            return;
        }
        let path = place.meta.as_deref();
        let bytes = path.and_then(|path| fs::read(path).ok());
        let meta = bytes.and_then(|bytes| Meta::parse(&bytes).ok());
        for names in meta.iter().flat_map(policies) {
            let fits = |here: &Option<_>, there: &Option<_>| here.is_none() || here == there;
            let is_below = fits(&place.names.database, &names.database)
                && fits(&place.names.policy, &names.policy);
            if is_below && self.is_led_to(place, &names) {
                self.tree.known.push(names);
            }
        }
    }

    /// Whether a policy is wanted; remembers that it is there.
    fn is_led_to(&mut self, place: &Place, names: &Names) -> bool {
        // What the path itself names need not be named by an option.
        [Level::Database, Level::Policy]
            .into_iter()
            .all(|level| level >= place.level || self.is_wanted(level, names))
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
