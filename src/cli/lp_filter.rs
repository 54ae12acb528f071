//! The arguments of lp-filter, and what its manual says beyond them.

use bstr::BString;

use super::{input, rejects, report, value};
use crate::filter::rule::{self, NameRule, TagTest};
use crate::filter::{NoTime, Rewrite, Selection};
use crate::lp::escape::Place;
use crate::lp::glob::Glob;
use crate::lp::validate::Target;
use crate::rows::Kind;

const SELECTION: &str = "Selection";
const REWRITING: &str = "Rewriting";

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "lp-filter --start 2020-01-01 --stop 2021-01-01 <export.lp >2020.lp";

/// Keep the records of a line protocol stream that match
///
/// Reads line protocol, plain or gzip, and writes the points that match, byte for byte and in order. Everything that
/// is asked for must hold. Comments, and with them the context of the points, stay in their places.
#[derive(clap::Parser, Debug)]
#[command(name = "lp-filter", version)]
#[command(group = clap::ArgGroup::new("selection").multiple(true)
    .args(["start", "stop", "measurement", "tag", "database", "retention_policy"]))]
pub struct Args {
    /// Keep points of this time and later
    ///
    /// RFC 3339, a date (midnight UTC), an epoch with unit (1577836800s; plain integers are nanoseconds), "now", or a
    /// span back from now (-30d).
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = value::time, help_heading = SELECTION)]
    pub start: Option<i64>,

    /// Keep points before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = value::time, help_heading = SELECTION)]
    pub stop: Option<i64>,

    /// What a point without timestamp is where a time is asked for; a reject unless this says otherwise
    #[arg(long, value_name = "WHAT", value_enum, help_heading = SELECTION)]
    pub no_timestamp: Option<NoTimestamp>,

    /// Keep points of this measurement, a pattern as the shell knows them; may be repeated
    #[arg(short, long, value_name = "GLOB", help_heading = SELECTION)]
    pub measurement: Vec<String>,

    /// Keep points with this tag: key=value, key!=value, key=~regex, key!~regex; may be repeated
    ///
    /// Tests of one key with = and =~ are alternatives; everything else must hold. A missing tag is the empty string.
    #[arg(short, long, value_name = "TEST", value_parser = TagTest::parse, help_heading = SELECTION)]
    pub tag: Vec<TagTest>,

    /// Keep points whose context names this database; may be repeated
    #[arg(short, long, value_name = "NAME", help_heading = SELECTION)]
    pub database: Vec<String>,

    /// Keep points whose context names this retention policy; may be repeated
    #[arg(short, long, value_name = "NAME", help_heading = SELECTION)]
    pub retention_policy: Vec<String>,

    /// Keep what does not match instead
    #[arg(short = 'v', long, help_heading = SELECTION, requires = "selection")]
    pub invert_match: bool,

    /// Keep only these fields of the selected points, a pattern; a point left without field is dropped
    #[arg(short, long, value_name = "GLOB", help_heading = SELECTION)]
    pub field: Vec<String>,

    /// Drop these fields of the selected points, a pattern; a point left without field is dropped
    #[arg(long, value_name = "GLOB", help_heading = SELECTION)]
    pub drop_field: Vec<String>,

    /// Rename a measurement
    #[arg(long, value_name = "OLD=NEW", value_parser = rule::rename, help_heading = REWRITING)]
    pub rename_measurement: Vec<(BString, BString)>,

    /// Rename a tag; the measurement may be a pattern, and a dot in it is spelled \.
    #[arg(long, value_name = "M.OLD=NEW", value_parser = NameRule::parse, help_heading = REWRITING)]
    pub rename_tag: Vec<NameRule>,

    /// Rename a field
    #[arg(long, value_name = "M.OLD=NEW", value_parser = NameRule::parse, help_heading = REWRITING)]
    pub rename_field: Vec<NameRule>,

    /// Drop a tag, which can make two series one
    #[arg(long, value_name = "M.TAG", value_parser = NameRule::parse_name, requires = "allow_collisions", help_heading = REWRITING)]
    pub drop_tag: Vec<NameRule>,

    /// Let the renamed name win where a rename makes two equal names in one point; let --drop-tag make series equal
    #[arg(long, help_heading = REWRITING)]
    pub allow_collisions: bool,

    /// Give a field another type: float, integer, unsigned, string or boolean
    ///
    /// A value that the new type cannot hold exactly (1.5 as integer, 2^63 as float) makes the point a reject.
    #[arg(long, value_name = "M.FIELD=TYPE", value_parser = typed, help_heading = REWRITING)]
    pub cast: Vec<(NameRule, Kind)>,

    /// Let casts round
    #[arg(long, help_heading = REWRITING)]
    pub allow_loss: bool,

    /// Unit of the timestamps that come in; they go out in nanoseconds
    #[arg(short, long, value_name = "UNIT", value_enum, default_value = "ns", help_heading = REWRITING)]
    pub precision: Precision,

    /// Check every record by the rules of a target, as lp-post names it; what breaks them is a reject
    ///
    /// One of serverless, cloud, oss2, v1, core, enterprise, clustered, dedicated. Refused is what the target would refuse, and what it would take and store as something else. Records are
    /// checked as they go out, after all rewriting; those that are not selected, as they came. Names are in the
    /// spelling of InfluxDB 1.x, from which lp-post spells them for its target.
    #[arg(long, value_name = "TARGET", value_parser = value::rules)]
    pub validate: Option<Target>,

    /// Stop at the first reject, with status 65
    #[arg(long)]
    pub strict: bool,

    /// What comes in.
    #[command(flatten)]
    pub input: input::Args,

    /// What cannot be judged.
    #[command(flatten)]
    pub rejects: rejects::Args,

    /// What is told of the run.
    #[command(flatten)]
    pub report: report::Args,
}

/// What a point without timestamp is where a time is asked for.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum NoTimestamp {
    /// It matches every time.
    Keep,
    /// It matches no time.
    Drop,
}

/// A unit of timestamps.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum Precision {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

impl Precision {
    /// Nanoseconds in one unit.
    pub fn nanoseconds(self) -> i64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
            Self::S => 1_000_000_000,
        }
    }
}

fn typed(text: &str) -> Result<(NameRule, Kind), String> {
    let rule = NameRule::parse(text)?;
    let kind = match &rule.new[..] {
        b"float" => Kind::Float,
        b"integer" => Kind::Integer,
        b"unsigned" => Kind::Unsigned,
        b"string" => Kind::String,
        b"boolean" => Kind::Boolean,
        _ => return Err("names no type (float, integer, unsigned, string, boolean)".into()),
    };
    Ok((rule, kind))
}

impl Args {
    /// What to keep.
    pub fn selection(&self) -> Selection {
        Selection {
            measurements: globs(&self.measurement),
            tags: self.tag.clone(),
            databases: names(&self.database),
            policies: names(&self.retention_policy),
            start: self.start,
            stop: self.stop,
            no_time: self.no_timestamp.map(|what| match what {
                NoTimestamp::Keep => NoTime::Keep,
                NoTimestamp::Drop => NoTime::Drop,
            }),
            unit: self.precision.nanoseconds(),
            invert: self.invert_match,
        }
    }

    /// What to change. New names that line protocol cannot spell are wrong usage.
    pub fn rewrite(&self) -> Result<Rewrite, String> {
        check_spelling(&self.rename_tag, Place::Tag)?;
        check_spelling(&self.rename_field, Place::Field)?;
        Ok(Rewrite {
            measurements: self.rename_measurement.clone(),
            tags: self.rename_tag.clone(),
            drop_tags: self.drop_tag.clone(),
            fields: self.rename_field.clone(),
            casts: self.cast.clone(),
            keep_fields: globs(&self.field),
            drop_fields: globs(&self.drop_field),
            unit: self.precision.nanoseconds(),
            allow_collisions: self.allow_collisions,
            allow_loss: self.allow_loss,
        })
    }
}

fn check_spelling(rules: &[NameRule], place: Place) -> Result<(), String> {
    rules.iter().try_for_each(|rule| {
        rule::spelled(place, &rule.new).map_err(|why| format!("the new name {:?}: {why}", rule.new))
    })
}

fn globs(texts: &[String]) -> Vec<Glob> {
    texts
        .iter()
        .map(|text| Glob::new(text.as_bytes()))
        .collect()
}

fn names(texts: &[String]) -> Vec<BString> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "REJECTS",
        "Only what an option has to read and cannot is a reject: a record without timestamp where a time is asked \
         for, one without context where a database is, a rename that would make two equal names in one point, a cast \
         that would change the value. All other records are passed on or left out as they are, well-formed or not.",
    ),
    (
        "REWRITING",
        "Measurements in options are those of the input, whatever they are renamed to. Names are meant as queries \
         show them, without the backslashes of line protocol; in options a backslash before a dot or an equals sign \
         makes it part of the name.\n\nA point that no option changes passes byte for byte. A stream that says of \
         itself that it holds each point once (STREAM-BEGIN once) does not say so any more after a rename, a cast or \
         --drop-tag.",
    ),
    (
        "EXAMPLES",
        "One year of an export:\n\n    lp-filter --start 2020-01-01 --stop 2021-01-01 export.lp >2020.lp\n\n\
         Two measurements, straight from the storage files:\n\n    tsm-cat /var/lib/influxdb | lp-filter -m cpu -m \
         'disk*' >some.lp\n\n\
         The hosts of one team in two data centres:\n\n    lp-filter -t team=sre -t dc=eu-1 -t dc=eu-2 \
         export.lp\n\n\
         A field that InfluxDB 3 would refuse for its type, and a name that is tag and field:\n\n    lp-filter \
         --cast cpu.count=float --rename-field disk.path=path_name export.lp\n\n\
         What InfluxDB Cloud Serverless would refuse, with the reasons, and nothing else:\n\n    lp-filter \
         --validate serverless --rejects bad.lp export.lp >/dev/null\n\n\
         Everything but the last 30 days:\n\n    lp-filter --stop -30d export.lp.gz | gzip >old.lp.gz",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some records were rejected here or left out by an \
         earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is damaged or was \
         cut: write it again.\n\n66  an input is missing: mend the command.\n\n74  an I/O error: look at disk and \
         network.\n\n77  permission: run as somebody who may read the input.\n\n130  stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP: run it again.\n\n141  the reader of standard output went \
         away, as with head.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-split-by-bucket(1), lp-rate(1), lp-post(1), lineflow(7)",
    ),
];
