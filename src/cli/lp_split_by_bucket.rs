//! The arguments of lp-split-by-bucket, and what its manual says beyond them.

use std::path::PathBuf;

use bstr::BString;

use super::exit::Failure;
use super::{input, rejects, report};
use crate::lp::Context;
use crate::route::Router;
use crate::route::template::Template;

/// The name of the program.
pub const NAME: &str = "lp-split-by-bucket";

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "lp-split-by-bucket --dir out <export.lp";

/// Route the points of a line protocol stream to buckets
///
/// A bucket is called after the database and the retention policy that its points come from, as in
/// example-db/autogen, unless the stream names one itself. The stream goes to standard output with the bucket of the
/// points said in comments, or, with --dir, into one file per bucket. Points pass byte for byte and in order.
#[derive(clap::Parser, Debug)]
#[command(name = NAME, version)]
pub struct Args {
    /// Name buckets like this, with {database} and {policy} in it, whatever the stream says
    ///
    /// Without braces it is the one bucket for all points, which then need no context.
    #[arg(long, value_name = "TEMPLATE", value_parser = template)]
    pub bucket: Option<Template>,

    /// Call the bucket TO that would be called FROM; may be repeated
    ///
    /// FROM is the whole name, such as example-db/autogen. Two buckets may become one.
    #[arg(long, value_name = "FROM=TO", value_parser = rename)]
    pub map: Vec<(BString, BString)>,

    /// Where the stream names no database, take this one
    ///
    /// For files without context, such as those that influx_inspect export -lponly writes.
    #[arg(long, value_name = "DB/RP", value_parser = context)]
    pub context: Option<Context>,

    /// Write one file per bucket into this folder instead of standard output
    ///
    /// Files are named after their buckets (example-db/autogen.lp) and listed in INDEX.tsv. They get their names when
    /// all are complete. A folder that holds such files already is left alone, with status 73.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// What comes in.
    #[command(flatten)]
    pub input: input::Args,

    /// What has no bucket.
    #[command(flatten)]
    pub rejects: rejects::Args,

    /// What is told of the run.
    #[command(flatten)]
    pub report: report::Args,
}

impl Args {
    /// What names the buckets.
    pub fn router(&self) -> anyhow::Result<Router> {
        let mut router = Router::default();
        if let Some(template) = &self.bucket {
            router = router.with_template(template.clone());
        }
        if let Some(context) = &self.context {
            router = router.with_context(context.clone());
        }
        for (from, to) in &self.map {
            let renamed = router.rename(from.clone(), to.clone());
            renamed.map_err(|err| Failure::Usage(format!("--map: {err}")))?;
        }
        Ok(router)
    }
}

fn template(text: &str) -> Result<Template, String> {
    text.parse::<Template>().map_err(|err| err.to_string())
}

fn rename(text: &str) -> Result<(BString, BString), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.into(), to.into())),
        _ => Err("is not FROM=TO, as in example-db/autogen=telegraf".to_owned()),
    }
}

fn context(text: &str) -> Result<Context, String> {
    match text.split_once('/') {
        Some((database, policy))
            if !database.is_empty() && !policy.is_empty() && !policy.contains('/') =>
        {
            Ok(Context {
                database: Some(database.into()),
                policy: Some(policy.into()),
                ..Context::default()
            })
        }
        _ => Err("is not DB/RP, as in example-db/autogen".to_owned()),
    }
}

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "BUCKETS",
        "The bucket of a point is the one that the stream names (# CONTEXT-BUCKET:), else its database and retention \
         policy with a slash between them; --bucket makes it from a template instead. The result may be renamed by \
         --map, once.\n\nA point of which the stream says too little is a reject. If that is the very first one, \
         nothing is routed and the status is 78: say --context or --bucket.\n\nThe stream is no longer marked as \
         holding each point once where --map or --bucket may put the points of two databases or policies into one \
         bucket.",
    ),
    (
        "FILES OF --dir",
        "DB/RP.lp for the bucket DB/RP, else NAME.lp. All but letters, digits and . _ - ~ is percent-encoded, so that \
         no name leaves the folder; very long names are cut and end in a hash. Each file is a complete stream with its \
         context, ready for lp-post; other comments are not copied. INDEX.tsv has one line per file: bucket \
         (percent-encoded where need be), file, points.\n\nA run that fails or is stopped leaves no file behind.",
    ),
    (
        "EXAMPLES",
        "Say which bucket each point goes to, under a new name for one of them:\n\n    tsm-cat /var/lib/influxdb | \
         lp-split-by-bucket --map telegraf/autogen=metrics | lp-post\n\nOne file per database and policy:\n\n    \
         tsm-cat /var/lib/influxdb | lp-split-by-bucket --dir out\n\nA file without context:\n\n    lp-split-by-bucket \
         --context telegraf/autogen export.lp.gz | lp-post",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some points had no bucket here or were left out by an \
         earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is damaged or was \
         cut: write it again.\n\n66  an input is missing: mend the command.\n\n73  the folder holds files of an \
         earlier run: name another one.\n\n74  an I/O error: look at disk and network.\n\n77  permission: run as \
         somebody who may read the input and write the folder.\n\n78  the first point has no bucket: say --context or \
         --bucket.\n\n141  the reader of standard output went away, as with head.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-filter(1), lp-rate(1), lp-post(1), lineflow(7)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_are_cut_at_the_first_equals_sign() {
        assert_eq!(Ok(("a/b".into(), "c=d".into())), rename("a/b=c=d"));
        for text in ["a/b", "=c", "a/b=", ""] {
            assert!(rename(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_context_is_database_and_policy() {
        let found = context("db/rp").unwrap();
        assert_eq!(Some("db/rp".into()), found.path());
        for text in ["db", "/rp", "db/", "a/b/c", ""] {
            assert!(context(text).is_err(), "{text}");
        }
    }
}
