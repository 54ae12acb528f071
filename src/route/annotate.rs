//! Which comments does a stream need so that every point in it has its bucket?
//!
//! Context passes as it comes. The bucket is said once the context is complete: behind all comments that belong to
//! it, before whatever comes next; and again before each point that goes to another one. The stream's own bucket
//! comments make room for ours, and its periods where a bucket may get another one.

use std::rc::Rc;

use bstr::BString;

use super::Router;
use super::template::Unnamed;
use crate::lp::{Change, Context};

/// Follows one stream and adds what it lacks.
#[derive(Debug)]
pub struct Annotator {
    router: Router,
    /// Where points go, as far as it is known.
    target: Option<Rc<Context>>,
    /// Why they cannot go where they should, if the context alone says so.
    refused: Option<Unnamed>,
    /// The bucket that holds at this place of the output.
    said: Option<BString>,
    /// The period that does, where we have to say it.
    said_period: Option<u64>,
}

impl Annotator {
    /// Annotate with what `router` says.
    pub fn new(router: Router) -> Self {
        Self {
            router,
            target: None,
            refused: None,
            said: None,
            said_period: None,
        }
    }

    /// What decides.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Append what becomes of the comment `entry`, which has led to `context`.
    pub fn context(
        &mut self,
        change: &Change,
        entry: &[u8],
        context: &Context,
        out: &mut Vec<u8>,
    ) -> Result<(), Unnamed> {
        match change {
            Change::Database(_) | Change::Policy(_) => {
                self.say(out)?;
                self.said = None;
                self.said_period = None;
                out.extend_from_slice(entry);
            }
            Change::Period(_) if self.router.sets_periods() => {}
            Change::Period(_) | Change::Shard(_) => out.extend_from_slice(entry),
            Change::Bucket(_) => {}
        }
        self.router.enter();
        self.target = None;
        self.refused = None;
        if !self.router.is_per_point() {
            match self.router.next(context, b"") {
                Ok(target) => self.target = target,
                Err(err @ Unnamed::Given(_)) => self.refused = Some(err),
                // It may be named after the next comment.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Append what has to stand before a point of `context`, which is mostly nothing.
    pub fn point(
        &mut self,
        record: &[u8],
        context: &Context,
        out: &mut Vec<u8>,
    ) -> Result<(), Unnamed> {
        if let Some(target) = self.router.next(context, record)? {
            self.target = Some(target);
        }
        let Some(target) = &self.target else {
            return Ok(());
        };
        let is_new = self.said != target.bucket;
        if is_new && context.database.is_none() && target.database.is_some() {
            // Someone else's context stands in: what follows has to see it too.
            self.restate(out);
            return Ok(());
        }
        self.say(out)
    }

    /// Append a comment that is no context; it `ends_context` where a stream begins or ends.
    pub fn other(
        &mut self,
        text: &[u8],
        ends_context: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Unnamed> {
        self.say(out)?;
        out.extend_from_slice(text);
        if ends_context {
            self.said = None;
            self.said_period = None;
            self.target = None;
            self.router.enter();
        }
        Ok(())
    }

    /// Append the bucket if it is known and not said, and its period if that is ours to say.
    fn say(&mut self, out: &mut Vec<u8>) -> Result<(), Unnamed> {
        if let Some(err) = self.refused.take() {
            return Err(err);
        }
        let Some(target) = &self.target else {
            return Ok(());
        };
        let is_other = self.router.sets_periods() && self.said_period != target.period;
        if self.said == target.bucket && !is_other {
            return Ok(());
        }
        if is_other {
            let Some(period) = target.period else {
                return self.unsay(out);
            };
            Change::Period(period).print(out);
            self.said_period = Some(period);
        }
        if let Some(bucket) = &target.bucket {
            Change::Bucket(bucket.clone()).print(out);
        }
        self.said.clone_from(&target.bucket);
        Ok(())
    }

    /// Say everything again, because only that takes back the period of another bucket.
    fn unsay(&mut self, out: &mut Vec<u8>) -> Result<(), Unnamed> {
        match &self.target {
            Some(target) if target.database.is_none() => {
                Err(Unnamed::Period(target.bucket.clone().unwrap_or_default()))
            }
            _ => {
                self.restate(out);
                Ok(())
            }
        }
    }

    fn restate(&mut self, out: &mut Vec<u8>) {
        if let Some(target) = &self.target {
            target.print(out);
            self.said.clone_from(&target.bucket);
            self.said_period = target.period;
        }
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::*;
    use crate::lp::{Event, Stream};

    /// The stream with its annotations, or why a point has no bucket.
    fn annotated(router: Router, text: &str) -> Result<String, Unnamed> {
        let mut annotator = Annotator::new(router);
        let mut stream = Stream::default();
        let mut out = Vec::new();
        for line in text.lines() {
            let entry = format!("{line}\n").into_bytes();
            match stream.read(&entry).unwrap() {
                Event::Point => {
                    annotator.point(&entry, stream.context(), &mut out)?;
                    out.extend_from_slice(&entry);
                }
                Event::Context(change) => {
                    annotator.context(&change, &entry, stream.context(), &mut out)?;
                }
                event => {
                    let ends = matches!(event, Event::Begin { .. } | Event::End { .. });
                    annotator.other(&entry, ends, &mut out)?;
                }
            }
        }
        Ok(out.to_str_lossy().into_owned())
    }

    #[test]
    fn the_bucket_is_said_behind_the_context_it_belongs_to() {
        let text = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:a\n\
             # CONTEXT-RETENTION-PERIOD:0s\n# CONTEXT-SHARD:1\nm v=1 1\n# CONTEXT-SHARD:2\nm v=2 2\n\
             # CONTEXT-RETENTION-POLICY:b\nm v=3 3\n# STREAM-END points:3 left-out:0\n";
        let expected = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:a\n\
             # CONTEXT-RETENTION-PERIOD:0s\n# CONTEXT-SHARD:1\n# CONTEXT-BUCKET:db/a\nm v=1 1\n\
             # CONTEXT-SHARD:2\nm v=2 2\n# CONTEXT-RETENTION-POLICY:b\n# CONTEXT-BUCKET:db/b\nm v=3 3\n\
             # STREAM-END points:3 left-out:0\n";
        assert_eq!(Ok(expected.to_owned()), annotated(Router::default(), text));
        assert_eq!(
            Ok(expected.to_owned()),
            annotated(Router::default(), expected),
            "a second pass changes nothing"
        );
    }

    #[test]
    fn contexts_without_points_are_annotated_too() {
        let text = "# STREAM-BEGIN\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:a\n\
             # CONTEXT-DATABASE:db2\n# CONTEXT-RETENTION-POLICY:b\n# STREAM-END points:0 left-out:0\n";
        let expected = "# STREAM-BEGIN\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:a\n\
             # CONTEXT-BUCKET:db/a\n# CONTEXT-DATABASE:db2\n# CONTEXT-RETENTION-POLICY:b\n\
             # CONTEXT-BUCKET:db2/b\n# STREAM-END points:0 left-out:0\n";
        assert_eq!(Ok(expected.to_owned()), annotated(Router::default(), text));
    }

    #[test]
    fn a_bucket_in_the_stream_is_replaced_by_its_new_name() {
        let mut router = Router::default();
        router.rename("old".into(), "new".into()).unwrap();
        let text = "# CONTEXT-BUCKET:old\nm v=1 1\n# CONTEXT-BUCKET:kept\nm v=2 2\n";
        let expected = "# CONTEXT-BUCKET:new\nm v=1 1\n# CONTEXT-BUCKET:kept\nm v=2 2\n";
        assert_eq!(Ok(expected.to_owned()), annotated(router, text));
    }

    #[test]
    fn a_context_that_stands_in_is_said_as_well_and_again_in_every_stream() {
        let given = Context {
            database: Some("db".into()),
            policy: Some("rp".into()),
            ..Context::default()
        };
        let router = || Router::default().with_context(given.clone());
        let said = "# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n# CONTEXT-BUCKET:db/rp\n";
        let text = "m v=1 1\n# note\nm v=2 2\n# STREAM-BEGIN\nm v=3 3\n";
        let expected = format!("{said}m v=1 1\n# note\nm v=2 2\n# STREAM-BEGIN\n{said}m v=3 3\n");
        assert_eq!(Ok(expected), annotated(router(), text));
    }

    #[test]
    fn a_point_without_context_has_no_bucket() {
        let nowhere = annotated(Router::default(), "m v=1 1\n");
        assert_eq!(Err(Unnamed::Database), nowhere);
        let text = "# STREAM-BEGIN\n# CONTEXT-BUCKET:b\nm v=1 1\n# STREAM-END points:1 left-out:0\nm v=1 1\n";
        assert_eq!(Err(Unnamed::Database), annotated(Router::default(), text));
    }

    #[test]
    fn a_bucket_of_the_point_is_said_before_each_that_goes_elsewhere() {
        let template: super::super::template::Template = "{measurement}".parse().unwrap();
        let router = Router::default().with_template(template);
        let text = "# STREAM-BEGIN\n# CONTEXT-DATABASE:d\na v=1 1\na v=2 2\nb v=3 3\na v=4 4\n# CONTEXT-SHARD:2\n\
             a v=5 5\n# CONTEXT-DATABASE:e\na v=6 6\n# STREAM-END points:6 left-out:0\n";
        let expected = "# STREAM-BEGIN\n# CONTEXT-DATABASE:d\n# CONTEXT-BUCKET:a\na v=1 1\na v=2 2\n\
             # CONTEXT-BUCKET:b\nb v=3 3\n# CONTEXT-BUCKET:a\na v=4 4\n# CONTEXT-SHARD:2\na v=5 5\n\
             # CONTEXT-DATABASE:e\n# CONTEXT-BUCKET:a\na v=6 6\n# STREAM-END points:6 left-out:0\n";
        assert_eq!(Ok(expected.to_owned()), annotated(router, text));
    }

    fn with_period(bucket: &str, period: u64) -> Router {
        let mut router = Router::default();
        let rename = super::super::Rename {
            to: None,
            period: Some(period),
        };
        router.rename(bucket.into(), rename).unwrap();
        router
    }

    #[test]
    fn a_period_that_is_given_stands_in_place_of_that_of_the_stream() {
        let text = "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:a\n# CONTEXT-RETENTION-PERIOD:7s\n\
             # CONTEXT-SHARD:1\nm v=1 1\n# CONTEXT-RETENTION-POLICY:b\n# CONTEXT-RETENTION-PERIOD:8s\nm v=2 2\n\
             # CONTEXT-RETENTION-POLICY:c\nm v=3 3\n";
        let expected = "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:a\n# CONTEXT-SHARD:1\n\
             # CONTEXT-RETENTION-PERIOD:60s\n# CONTEXT-BUCKET:d/a\nm v=1 1\n# CONTEXT-RETENTION-POLICY:b\n\
             # CONTEXT-RETENTION-PERIOD:8s\n# CONTEXT-BUCKET:d/b\nm v=2 2\n# CONTEXT-RETENTION-POLICY:c\n\
             # CONTEXT-BUCKET:d/c\nm v=3 3\n";
        assert_eq!(
            Ok(expected.to_owned()),
            annotated(with_period("d/a", 60), text)
        );
    }

    #[test]
    fn a_period_never_reaches_a_bucket_that_it_is_not_for() {
        let template = || {
            "{measurement}"
                .parse::<super::super::template::Template>()
                .unwrap()
        };
        let text = "# CONTEXT-DATABASE:d\na v=1 1\nb v=2 2\n";
        let expected = "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-PERIOD:60s\n# CONTEXT-BUCKET:a\na v=1 1\n\
             # CONTEXT-DATABASE:d\n# CONTEXT-BUCKET:b\nb v=2 2\n";
        let router = with_period("a", 60).with_template(template());
        assert_eq!(Ok(expected.to_owned()), annotated(router, text));
        let router = with_period("a", 60).with_template(template());
        let refused = annotated(router, "a v=1 1\nb v=2 2\n");
        assert_eq!(Err(Unnamed::Period("b".into())), refused);
    }

    #[test]
    fn a_name_that_the_target_refuses_is_noticed_before_its_first_point_is_written() {
        let text = "# CONTEXT-DATABASE:_d\n# CONTEXT-RETENTION-POLICY:p\nm v=1 1\n";
        assert!(matches!(
            annotated(Router::default(), text),
            Err(Unnamed::Given(_))
        ));
        // A stream may still name a better one itself.
        let empty = text.replace("m v=1 1\n", "# CONTEXT-DATABASE:d\n");
        assert!(matches!(
            annotated(Router::default(), &empty),
            Err(Unnamed::Given(_))
        ));
        let better = text.replace("m v", "# CONTEXT-BUCKET:b\nm v");
        assert!(annotated(Router::default(), &better).is_ok());
    }
}
