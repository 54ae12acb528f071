//! Which bucket does a point go to, and where do the points of a bucket go?
//!
//! A bucket is what the stream says (`# CONTEXT-BUCKET:`), else what a template makes of context and point; then it is
//! renamed. `sink` keeps one file per bucket, `exec` one process, `plan` only counts.

pub mod annotate;
pub mod exec;

pub mod outgoing;
pub mod path;
pub mod plan;

pub mod sink;
pub mod template;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::rc::Rc;

use bstr::{BStr, BString, ByteSlice};

use crate::http::name::{Refused, Rules};
use crate::lp::Context;
use template::{Template, Unnamed};

/// Two lines for one name that say different things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} is renamed both to {first} and to {second}")]
pub struct Ambiguous {
    /// The name that has two new ones.
    pub from: BString,
    /// The one that was given first.
    pub first: Rename,
    /// The one that was given later.
    pub second: Rename,
}

/// What becomes of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Its name from now on; `None` to keep it.
    pub to: Option<BString>,
    /// How long it keeps points, in seconds (0 is for ever); `None` for what the stream says.
    pub period: Option<u64>,
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Some(to) => to.fmt(f)?,
            None => f.write_str("itself")?,
        }
        match self.period {
            Some(period) => write!(f, " with a period of {period}s"),
            None => Ok(()),
        }
    }
}

impl From<&str> for Rename {
    fn from(to: &str) -> Self {
        Self {
            to: Some(to.into()),
            period: None,
        }
    }
}

/// Takes the points of all buckets and keeps those of each together.
pub trait Outlets {
    /// What can go wrong.
    type Error;

    /// The next points go to the bucket that `context` names, and belong to that context.
    ///
    /// `once` and `left_out` are what the begin and the end of a stream say, where one has to be written.
    fn select(&mut self, context: &Context, once: bool, left_out: u64) -> Result<(), Self::Error>;

    /// Take one point where `select` said; `false` if the bucket takes none any more.
    fn point(&mut self, record: &[u8]) -> Result<bool, Self::Error>;

    /// The stream that is read has ended, or a new one begins: so do those of the buckets.
    fn end_streams(&mut self, left_out: u64);
}

/// How many buckets of one context are remembered with what becomes of them.
const REMEMBERED: usize = 10_000;

#[derive(Debug)]
struct Known {
    rename: Rename,
    used: bool,
}

/// Names the bucket of each point.
#[derive(Debug, Default)]
pub struct Router {
    /// Asked for in so many words: the stream's own bucket does not count then.
    template: Option<Template>,
    /// What stands for a context that the stream lacks.
    stand_in: Option<Context>,
    renames: HashMap<BString, Known>,
    /// The bucket of points that have no other.
    default: Option<BString>,
    rules: Rules,
    /// What was said last, since the context changed.
    last: Option<Result<BString, Unnamed>>,
    /// Where the names lead that have come up since the context changed.
    routes: HashMap<BString, Rc<Context>>,
    name: Vec<u8>,
    /// The context, where another one stands in for it; kept until it changes.
    stood_in: Option<Context>,
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

    /// Take this bucket for points that have no other.
    pub fn with_default(mut self, bucket: BString) -> Self {
        self.default = Some(bucket);
        self
    }

    /// Refuse names by these rules.
    pub fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Let this become of the bucket that would be called `from`.
    pub fn rename(&mut self, from: BString, rename: Rename) -> Result<(), Ambiguous> {
        match self.renames.entry(from) {
            Entry::Vacant(free) => {
                let used = false;
                free.insert(Known { rename, used });
            }
            Entry::Occupied(taken) if taken.get().rename == rename => {}
            Entry::Occupied(taken) => {
                return Err(Ambiguous {
                    from: taken.key().clone(),
                    first: taken.get().rename.clone(),
                    second: rename,
                });
            }
        }
        Ok(())
    }

    /// Check the names that are known before anything is read.
    pub fn check(&self) -> Result<(), Refused> {
        let new = self
            .renames
            .values()
            .filter_map(|known| known.rename.to.as_deref());
        let known = new.chain(self.default.as_deref());
        let mut names: Vec<&[u8]> = known.map(Vec::as_slice).collect();
        names.sort();
        if let Some(fixed) = self.template.as_ref().and_then(Template::fixed)
            && !self.renames.contains_key(BStr::new(fixed))
        {
            names.push(fixed.as_bytes());
        }
        names
            .into_iter()
            .try_for_each(|name| self.rules.check(name))
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

    /// Whether points of one context can go to different buckets.
    pub fn is_per_point(&self) -> bool {
        self.template.as_ref().is_some_and(Template::is_per_point)
    }

    /// Whether a bucket may get another period than the stream says.
    pub fn sets_periods(&self) -> bool {
        let sets = |known: &Known| known.rename.period.is_some();
        self.renames.values().any(sets)
    }

    /// The context has changed.
    pub fn enter(&mut self) {
        self.last = None;
        self.routes.clear();
        self.stood_in = None;
    }

    /// The context of the point `record`, with the bucket it goes to; `None` if that is where the last one went.
    pub fn next(
        &mut self,
        context: &Context,
        record: &[u8],
    ) -> Result<Option<Rc<Context>>, Unnamed> {
        if !self.is_per_point()
            && let Some(last) = &self.last
        {
            return last.as_ref().map(|_| None).map_err(Clone::clone);
        }
        let named = self.name(context, record);
        if let (Ok(()), Some(Ok(last))) = (&named, &self.last)
            && last == &self.name
        {
            return Ok(None);
        }
        let routed = named.and_then(|()| self.route(context));
        match &routed {
            Ok(_) => self.last = Some(Ok(self.name.as_slice().into())),
            // The next point may have a name again, and has to be told where it leads.
            Err(_) if self.is_per_point() => self.last = None,
            Err(err) => self.last = Some(Err(err.clone())),
        }
        routed.map(Some)
    }

    /// Put the name for a point into `name`, before it is renamed.
    fn name(&mut self, context: &Context, record: &[u8]) -> Result<(), Unnamed> {
        self.name.clear();
        if self.stand_in.is_some() && self.stood_in.is_none() {
            self.stood_in = Some(self.complete(context).into_owned());
        }
        let full = self.stood_in.as_ref().unwrap_or(context);
        let named = match (&mut self.template, &full.bucket) {
            (None, Some(bucket)) => {
                self.name.extend_from_slice(bucket);
                Ok(())
            }
            (None, None) => Template::default().name(full, record, &mut self.name),
            (Some(template), _) => template.name(full, record, &mut self.name),
        };
        match (named, &self.default) {
            (Err(_), Some(default)) => {
                self.name.clear();
                self.name.extend_from_slice(default);
                Ok(())
            }
            (named, _) => named,
        }
    }

    /// What becomes of the bucket in `name`.
    fn route(&mut self, context: &Context) -> Result<Rc<Context>, Unnamed> {
        if let Some(known) = self.routes.get(BStr::new(&self.name)) {
            return Ok(Rc::clone(known));
        }
        let mut routed = self.complete(context).into_owned();
        let mut bucket = BString::from(self.name.as_slice());
        if let Some(known) = self.renames.get_mut(&bucket) {
            known.used = true;
            bucket = known.rename.to.clone().unwrap_or(bucket);
            routed.period = known.rename.period.or(routed.period);
        }
        self.rules
            .check(&bucket)
            .map_err(|refused| match self.is_per_point() {
                true => Unnamed::Point(refused),
                false => Unnamed::Given(refused),
            })?;
        routed.bucket = Some(bucket);
        let routed = Rc::new(routed);
        if self.routes.len() >= REMEMBERED {
            self.routes.clear();
        }
        self.routes
            .insert(self.name.as_slice().into(), Rc::clone(&routed));
        Ok(routed)
    }

    /// Whether equal points of different contexts always go to different buckets, as far as can be said before
    /// reading.
    pub fn keeps_apart(&self) -> bool {
        let renames = self.renames.values().all(|known| known.rename.to.is_none());
        let template = self.template.as_ref();
        renames && self.default.is_none() && template.is_none_or(Template::keeps_apart)
    }

    /// The names that something was to become of and that never came, sorted.
    pub fn unused(&self) -> Vec<&BStr> {
        let unused = self.renames.iter().filter(|(_, known)| !known.used);
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

    fn route(router: &mut Router, context: &Context) -> Result<Rc<Context>, Unnamed> {
        router.enter();
        Ok(router.next(context, b"m,t=a v=1 0")?.unwrap())
    }

    fn bucket(router: &mut Router, context: &Context) -> Result<BString, Unnamed> {
        Ok(route(router, context)?.bucket.clone().unwrap())
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
        let kept = Rename {
            to: None,
            period: Some(5),
        };
        let err = router.rename("a".into(), kept).unwrap_err();
        assert!(
            err.to_string()
                .ends_with("to b and to itself with a period of 5s")
        );
    }

    #[test]
    fn renames_that_never_came_are_known() {
        let mut router = Router::default();
        for from in ["z", "a", "m"] {
            router.rename(from.into(), "to".into()).unwrap();
        }
        route(&mut router, &context("", "", "m")).unwrap();
        assert_eq!(vec!["a", "z"], router.unused());
    }

    #[test]
    fn a_given_context_stands_in_only_where_the_stream_has_none() {
        let mut router = Router::default().with_context(context("db", "rp", ""));
        let none = Context {
            shard: Some(7),
            ..Context::default()
        };
        let routed = route(&mut router, &none).unwrap();
        assert_eq!(Some("db/rp".into()), routed.bucket);
        assert_eq!(Some(7), routed.shard);
        assert_eq!(
            Ok("x/y".into()),
            bucket(&mut router, &context("x", "y", ""))
        );
        assert_eq!(Ok("b".into()), bucket(&mut router, &context("", "", "b")));
        assert_eq!(
            Err(Unnamed::Policy),
            route(&mut router, &context("x", "", ""))
        );
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
        assert_eq!(
            Err(Unnamed::Database),
            route(&mut router, &Context::default())
        );
        assert_eq!(
            Err(Unnamed::Policy),
            route(&mut router, &context("x", "", ""))
        );
    }

    #[test]
    fn a_bucket_of_the_point_is_looked_up_only_when_it_is_another_one() {
        let template: Template = "{measurement}".parse().unwrap();
        let mut router = Router::default().with_template(template);
        router.rename("b".into(), "c".into()).unwrap();
        let context = Context::default();
        let mut next = |record: &str| {
            let next = router.next(&context, record.as_bytes());
            next.map(|found| found.map(|context| context.bucket.clone().unwrap().to_string()))
        };
        assert_eq!(Ok(Some("a".into())), next("a v=1"));
        assert_eq!(Ok(None), next("a v=2"));
        assert_eq!(Ok(Some("c".into())), next("b v=1"));
        assert_eq!(Ok(None), next("b v=1"));
        assert!(matches!(next("_x v=1"), Err(Unnamed::Point(_))));
        assert_eq!(Ok(Some("c".into())), next("b v=1"));
        assert_eq!(Ok(Some("a".into())), next("a v=1"));
    }

    #[test]
    fn points_without_a_name_go_to_the_default_bucket() {
        let template: Template = "{tag:team}".parse().unwrap();
        let mut router = Router::default()
            .with_template(template)
            .with_default("rest".into());
        router.rename("rest".into(), "rest2".into()).unwrap();
        let none = Context::default();
        let mut bucket = |record: &[u8]| {
            router.enter();
            router
                .next(&none, record)
                .unwrap()
                .unwrap()
                .bucket
                .clone()
                .unwrap()
        };
        assert_eq!("sre", bucket(b"m,team=sre v=1"));
        assert_eq!("rest2", bucket(b"m v=1"));
        assert!(!router.keeps_apart());
    }

    #[test]
    fn a_period_that_is_given_replaces_that_of_the_stream() {
        let mut router = Router::default();
        assert!(!router.sets_periods());
        let rename = Rename {
            to: None,
            period: Some(60),
        };
        router.rename("d/p".into(), rename).unwrap();
        let mut from = context("d", "p", "");
        from.period = Some(7);
        let routed = route(&mut router, &from).unwrap();
        assert_eq!(
            (Some(60), Some("d/p".into())),
            (routed.period, routed.bucket.clone())
        );
        assert!(router.sets_periods() && router.keeps_apart());
    }

    #[test]
    fn names_that_are_known_are_checked_before_anything_is_read() {
        let check = |router: Router| router.check().map_err(|refused| refused.name.to_string());
        let with = |text: &str| Router::default().with_template(text.parse().unwrap());
        assert_eq!(Ok(()), check(with("x")));
        assert_eq!(Err("_x".into()), check(with("_x")));
        assert_eq!(Ok(()), check(with("_{policy}")));
        assert_eq!(Err("_d".into()), check(with("x").with_default("_d".into())));
        let mut router = with("_x");
        router.rename("_x".into(), "y".into()).unwrap();
        assert_eq!(Ok(()), check(router));
        let mut router = Router::default();
        router.rename("x".into(), "_y".into()).unwrap();
        assert_eq!(Err("_y".into()), check(router));
        let mut router = Router::default();
        let context = context("_d", "p", "");
        assert!(matches!(
            route(&mut router, &context),
            Err(Unnamed::Given(_))
        ));
    }
}
