//! Which comments does a stream need so that every point in it has its bucket?
//!
//! Context passes as it comes. The bucket is said once the context is complete: behind all comments that belong to
//! it, before whatever comes next. The stream's own bucket comments make room for ours.

use bstr::BString;

use super::Router;
use super::template::Unnamed;
use crate::lp::{Change, Context};

/// Follows one stream and adds what it lacks.
#[derive(Debug)]
pub struct Annotator {
    router: Router,
    /// Where points go; `None` until it is asked for after a change.
    target: Option<Result<Context, Unnamed>>,
    /// The bucket that holds at this place of the output.
    said: Option<BString>,
}

impl Annotator {
    /// Annotate with what `router` says.
    pub fn new(router: Router) -> Self {
        Self {
            router,
            target: None,
            said: None,
        }
    }

    /// What decides.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Append what becomes of the comment `entry`, which has led to `context`.
    pub fn context(&mut self, change: &Change, entry: &[u8], context: &Context, out: &mut Vec<u8>) {
        match change {
            Change::Database(_) | Change::Policy(_) => {
                self.say(out);
                self.said = None;
                out.extend_from_slice(entry);
            }
            Change::Period(_) | Change::Shard(_) => out.extend_from_slice(entry),
            Change::Bucket(_) => {}
        }
        self.target = Some(self.router.route(context));
    }

    /// Append what has to stand before a point of `context`, which is mostly nothing.
    pub fn point(&mut self, context: &Context, out: &mut Vec<u8>) -> Result<(), Unnamed> {
        let router = &mut self.router;
        let target = self.target.get_or_insert_with(|| router.route(context));
        let target = target.as_ref().map_err(|unnamed| *unnamed)?;
        if self.said != target.bucket {
            if context.database.is_none() && target.database.is_some() {
                // Someone else's context stands in: what follows has to see it too.
                target.print(out);
                self.said = target.bucket.clone();
            } else {
                self.say(out);
            }
        }
        Ok(())
    }

    /// Append a comment that is no context; it `ends_context` where a stream begins or ends.
    pub fn other(&mut self, text: &[u8], ends_context: bool, out: &mut Vec<u8>) {
        self.say(out);
        out.extend_from_slice(text);
        if ends_context {
            self.said = None;
            self.target = None;
        }
    }

    /// Append the bucket if it is known and not said.
    fn say(&mut self, out: &mut Vec<u8>) {
        let Some(Ok(target)) = &self.target else {
            return;
        };
        if let Some(bucket) = target
            .bucket
            .as_ref()
            .filter(|_| self.said != target.bucket)
        {
            Change::Bucket(bucket.clone()).print(out);
            self.said = target.bucket.clone();
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
                    annotator.point(stream.context(), &mut out)?;
                    out.extend_from_slice(&entry);
                }
                Event::Context(change) => {
                    annotator.context(&change, &entry, stream.context(), &mut out);
                }
                event => {
                    let ends = matches!(event, Event::Begin { .. } | Event::End { .. });
                    annotator.other(&entry, ends, &mut out);
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
}
