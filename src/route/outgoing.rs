//! What stands around the points of one bucket: begin, contexts and end of a stream of its own.

use crate::lp::{Context, stream};

/// What has been said in a stream that is being written.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// What the comments say at its end; `None` outside a stream.
    said: Option<Context>,
    once: bool,
    /// In the open stream.
    points: u64,
}

impl Outgoing {
    /// Append what the next points belong to, in a stream that is begun if there is none.
    ///
    /// `left_out` is for the end of a stream, where one has to end: only a database clears what was said before.
    pub fn say(&mut self, context: &Context, once: bool, left_out: u64, out: &mut Vec<u8>) {
        if self.said.as_ref() == Some(context) {
            return;
        }
        if context.database.is_none() {
            self.end(left_out, out);
        }
        if self.said.is_none() {
            stream::print_begin(once, out);
            self.once = once;
        }
        context.print(out);
        self.said = Some(context.clone());
    }

    /// Count a point that is written behind what was said.
    pub fn point(&mut self) {
        self.points += 1;
    }

    /// Append the end, if a stream is open.
    pub fn end(&mut self, left_out: u64, out: &mut Vec<u8>) {
        if self.said.take().is_some() {
            stream::print_end(self.points, left_out, out);
            self.points = 0;
        }
    }

    /// Append what says that the writer failed, if a stream is open.
    pub fn fail(&mut self, status: u8, out: &mut Vec<u8>) {
        if self.said.take().is_some() {
            stream::print_failed(status, out);
            self.points = 0;
        }
    }

    /// Append an end, and put the beginning of a stream with the same context into `next`.
    pub fn cut(&mut self, left_out: u64, out: &mut Vec<u8>, next: &mut Vec<u8>) {
        if let Some(context) = self.said.clone() {
            self.end(left_out, out);
            self.say(&context, self.once, left_out, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::*;

    fn context(database: Option<&str>, bucket: &str) -> Context {
        Context {
            database: database.map(Into::into),
            bucket: Some(bucket.into()),
            ..Context::default()
        }
    }

    #[test]
    fn a_stream_is_begun_once_and_says_only_what_is_new() {
        let (mut outgoing, mut out) = (Outgoing::default(), Vec::new());
        for database in ["a", "a", "b"] {
            outgoing.say(&context(Some(database), "x"), true, 0, &mut out);
            outgoing.point();
        }
        outgoing.end(2, &mut out);
        outgoing.end(2, &mut out);
        let expected = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:a\n# CONTEXT-BUCKET:x\n# CONTEXT-DATABASE:b\n\
             # CONTEXT-BUCKET:x\n# STREAM-END points:3 left-out:2\n";
        assert_eq!(expected, out.as_bstr());
    }

    #[test]
    fn context_without_a_database_needs_a_stream_of_its_own() {
        let (mut outgoing, mut out) = (Outgoing::default(), Vec::new());
        outgoing.say(&context(None, "x"), false, 0, &mut out);
        outgoing.point();
        outgoing.say(&context(None, "y"), false, 1, &mut out);
        outgoing.fail(65, &mut out);
        let expected = "# STREAM-BEGIN\n# CONTEXT-BUCKET:x\n# STREAM-END points:1 left-out:1\n\
             # STREAM-BEGIN\n# CONTEXT-BUCKET:y\n# STREAM-FAILED status:65\n";
        assert_eq!(expected, out.as_bstr());
    }

    #[test]
    fn a_cut_makes_two_complete_streams() {
        let (mut outgoing, mut out, mut next) = (Outgoing::default(), Vec::new(), Vec::new());
        outgoing.say(&context(Some("a"), "x"), true, 0, &mut out);
        outgoing.point();
        outgoing.cut(0, &mut out, &mut next);
        outgoing.end(3, &mut next);
        let begin = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:a\n# CONTEXT-BUCKET:x\n";
        assert_eq!(
            format!("{begin}# STREAM-END points:1 left-out:0\n"),
            out.to_str_lossy()
        );
        assert_eq!(
            format!("{begin}# STREAM-END points:0 left-out:3\n"),
            next.to_str_lossy()
        );
    }
}
