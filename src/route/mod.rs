//! Which bucket does a point go to, and where do the points of a bucket go?
//!
//! A bucket is what the stream says (`# CONTEXT-BUCKET:`), else what a template makes of the context; then it is
//! renamed. `sink` keeps one file per bucket.

pub mod annotate;
pub mod path;
pub mod sink;
pub mod template;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bstr::{BStr, BString, ByteSlice};

use crate::lp::Context;
use template::{Template, Unnamed};

/// Two renames of one name that lead to different buckets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} is renamed both to {first} and to {second}")]
pub struct Ambiguous {
    /// The name that has two new ones.
    pub from: BString,
    /// The one that was given first.
    pub first: BString,
    /// The one that was given later.
    pub second: BString,
}

#[derive(Debug)]
struct Rename {
    to: BString,
    used: bool,
}

/// Names the bucket of a context.
#[derive(Debug, Default)]
pub struct Router {
    /// Asked for in so many words: the stream's own bucket does not count then.
    template: Option<Template>,
    /// What stands for a context that the stream lacks.
    stand_in: Option<Context>,
    renames: HashMap<BString, Rename>,
}

impl Router {
    /// Name buckets by `template` only, whatever the stream says.
    pub fn with_template(mut self, template: Template) -> Self {
        self.template = Some(template);
        self
    }

    /// Take `given` for points of which the stream says neither database nor bucket.
    pub fn with_context(mut self, given: Context) -> Self {
        self.stand_in = Some(given);
        self
    }

    /// Call the bucket `to` that would be called `from`.
    pub fn rename(&mut self, from: BString, to: BString) -> Result<(), Ambiguous> {
        match self.renames.entry(from) {
            Entry::Vacant(free) => {
                free.insert(Rename { to, used: false });
            }
            Entry::Occupied(taken) if taken.get().to == to => {}
            Entry::Occupied(taken) => {
                return Err(Ambiguous {
                    from: taken.key().clone(),
                    first: taken.get().to.clone(),
                    second: to,
                });
            }
        }
        Ok(())
    }

    /// The context with what stands in for it where it says neither database nor bucket.
    pub fn complete<'a>(&self, context: &'a Context) -> Cow<'a, Context> {
        match &self.stand_in {
            Some(given) if context.database.is_none() && context.bucket.is_none() => {
                Cow::Owned(Context {
                    period: context.period,
                    shard: context.shard,
                    ..given.clone()
                })
            }
            _ => Cow::Borrowed(context),
        }
    }

    /// The context of points for which the stream says `context`, with the bucket they go to.
    pub fn route(&mut self, context: &Context) -> Result<Context, Unnamed> {
        let mut context = self.complete(context).into_owned();
        let named = match (&self.template, context.bucket.take()) {
            (None, Some(bucket)) => bucket,
            (None, None) => Template::default().name(&context)?,
            (Some(template), _) => template.name(&context)?,
        };
        context.bucket = Some(match self.renames.get_mut(&named) {
            Some(rename) => {
                rename.used = true;
                rename.to.clone()
            }
            None => named,
        });
        Ok(context)
    }

    /// Whether points of different contexts always go to different buckets, as far as can be said before reading.
    pub fn keeps_apart(&self) -> bool {
        let template = self.template.as_ref();
        self.renames.is_empty() && template.is_none_or(Template::keeps_apart)
    }

    /// The names that were to be renamed and never came, sorted.
    pub fn unused(&self) -> Vec<&BStr> {
        let unused = self.renames.iter().filter(|(_, rename)| !rename.used);
        let mut names: Vec<_> = unused.map(|(from, _)| from.as_bstr()).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(database: &str, policy: &str, bucket: &str) -> Context {
        let some = |name: &str| Some(BString::from(name)).filter(|name| !name.is_empty());
        Context {
            database: some(database),
            policy: some(policy),
            bucket: some(bucket),
            ..Context::default()
        }
    }

    fn bucket(router: &mut Router, context: &Context) -> Result<BString, Unnamed> {
        Ok(router.route(context)?.bucket.unwrap())
    }

    #[test]
    fn a_bucket_is_called_after_database_and_policy() {
        let named = bucket(&mut Router::default(), &context("db", "autogen", ""));
        assert_eq!(Ok("db/autogen".into()), named);
    }

    #[test]
    fn the_bucket_that_the_stream_names_stands_unless_a_template_is_asked_for() {
        let both = context("db", "rp", "other");
        assert_eq!(Ok("other".into()), bucket(&mut Router::default(), &both));
        let template: Template = "all".parse().unwrap();
        let mut router = Router::default().with_template(template);
        assert_eq!(Ok("all".into()), bucket(&mut router, &both));
    }

    #[test]
    fn renames_apply_to_the_finished_name_and_only_once() {
        let mut router = Router::default();
        router.rename("a/b".into(), "c".into()).unwrap();
        router.rename("c".into(), "d".into()).unwrap();
        assert_eq!(Ok("c".into()), bucket(&mut router, &context("a", "b", "")));
        assert_eq!(Ok("d".into()), bucket(&mut router, &context("", "", "c")));
        assert_eq!(
            Ok("x/y".into()),
            bucket(&mut router, &context("x", "y", ""))
        );
    }

    #[test]
    fn a_name_with_two_new_names_is_refused() {
        let mut router = Router::default();
        router.rename("a".into(), "b".into()).unwrap();
        router.rename("a".into(), "b".into()).unwrap();
        let err = router.rename("a".into(), "c".into()).unwrap_err();
        assert_eq!("a is renamed both to b and to c", err.to_string());
    }

    #[test]
    fn renames_that_never_came_are_known() {
        let mut router = Router::default();
        for from in ["z", "a", "m"] {
            router.rename(from.into(), "to".into()).unwrap();
        }
        router.route(&context("", "", "m")).unwrap();
        assert_eq!(vec!["a", "z"], router.unused());
    }

    #[test]
    fn a_given_context_stands_in_only_where_the_stream_has_none() {
        let mut router = Router::default().with_context(context("db", "rp", ""));
        let none = Context {
            shard: Some(7),
            ..Context::default()
        };
        let routed = router.route(&none).unwrap();
        assert_eq!(
            (Some("db/rp".into()), Some(7)),
            (routed.bucket, routed.shard)
        );
        assert_eq!(
            Ok("x/y".into()),
            bucket(&mut router, &context("x", "y", ""))
        );
        assert_eq!(Ok("b".into()), bucket(&mut router, &context("", "", "b")));
        assert_eq!(Err(Unnamed::Policy), router.route(&context("x", "", "")));
    }

    #[test]
    fn a_rename_or_a_short_template_may_put_two_contexts_into_one_bucket() {
        let with = |text: &str| Router::default().with_template(text.parse().unwrap());
        assert!(Router::default().keeps_apart());
        assert!(with("x-{database}/{policy}").keeps_apart());
        assert!(!with("{database}").keeps_apart());
        assert!(!with("{database}{policy}").keeps_apart());
        let mut renamed = Router::default();
        renamed.rename("a".into(), "b".into()).unwrap();
        assert!(!renamed.keeps_apart());
    }

    #[test]
    fn a_context_without_names_has_no_bucket() {
        let mut router = Router::default();
        assert_eq!(Err(Unnamed::Database), router.route(&Context::default()));
        assert_eq!(Err(Unnamed::Policy), router.route(&context("x", "", "")));
    }
}
