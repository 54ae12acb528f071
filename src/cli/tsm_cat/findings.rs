//! What tsm-cat tells of files and values: the first of a kind one by one, then counts.

use std::io::{self, Write};

use crate::cli::rejects::Rejects;
use crate::cli::report::Progress;
use crate::export::catalog::Note;
use crate::export::{Finding, Report, Unprintable};
use crate::lp::Context;
use crate::rows::Strings;
use crate::tsm::shard::{Remark, Trouble, shortened};

/// How many of a kind are explained.
const SHOWN: u64 = 10;

/// Counts, and the voice on standard error.
#[derive(Debug, Default)]
pub struct Findings {
    /// Lines written.
    pub points: u64,
    /// Values written.
    pub values: u64,
    /// Damaged parts that were left out.
    pub damaged: u64,
    /// Values that line protocol cannot carry, and files that nobody can read.
    pub left_out: u64,
    /// Things that are odd and cost nothing.
    pub warnings: u64,
    /// How many explanations there were of values left out: one can stand for many values.
    explained: u64,
    /// The key of the latest warning: one for each key is enough.
    latest: Vec<u8>,
    /// Blocks read.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Drawn on the terminal where all is told.
    progress: Progress,
    /// Where values go that line protocol cannot carry.
    rejects: Option<Rejects>,
    /// The shard they are from, as messages call it, and its context.
    place: (String, Context),
}

impl Findings {
    /// Without any, and clear of what is drawn.
    pub fn beside(progress: &Progress) -> Self {
        Self {
            progress: progress.clone(),
            ..Self::default()
        }
    }

    /// Hand what line protocol cannot carry to a file, if one is named.
    pub fn reject_to(&mut self, rejects: Rejects) {
        self.rejects = Some(rejects).filter(Rejects::has_file);
    }

    /// Whether somebody wants the text of what line protocol cannot carry.
    pub fn keeps_rejects(&self) -> bool {
        self.rejects.is_some()
    }

    /// What follows is of this shard.
    pub fn enter(&mut self, label: &str, context: Context) {
        self.place = (label.to_owned(), context);
    }

    /// Write out what was rejected.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.rejects.as_mut().map_or(Ok(()), Rejects::finish)
    }

    /// How much is not in the output that should be.
    pub fn lost(&self) -> u64 {
        self.damaged + self.left_out
    }

    /// Count and tell what a stretch of work came to; `report` is empty afterwards.
    pub fn take(&mut self, report: &mut Report) -> anyhow::Result<()> {
        self.points += report.points;
        self.values += report.values;
        self.blocks += report.blocks;
        self.bytes += report.bytes;
        for finding in report.findings.drain(..) {
            self.finding(finding)?;
        }
        *report = Report::default();
        Ok(())
    }

    fn finding(&mut self, finding: Finding) -> anyhow::Result<()> {
        match finding {
            Finding::Damage(trouble) => self.damage(&trouble),
            Finding::LeftOut {
                series,
                field,
                why,
                count,
                records,
            } => {
                let (series, field) = (shortened(&series), shortened(&field));
                let (place, _) = &self.place;
                self.left_out += count;
                if self.rejects.is_some() {
                    let reason = format!("{place}: series {series}, field {field}: {why}");
                    return self.reject(&records, why, &reason);
                }
                self.explain(&format!(
                    "{place}: left out {count} values of series {series}, field {field}: {why}"
                ));
            }
            Finding::Odd { path, key, what } => {
                if key == self.latest {
                    return Ok(());
                }
                let place = path
                    .map(|path| format!("{}: ", path.display()))
                    .unwrap_or_default();
                self.warn(&format!("{place}key {}: {what}", shortened(&key)));
                self.latest = key;
            }
        }
        Ok(())
    }

    fn reject(&mut self, records: &Strings, why: Unprintable, reason: &str) -> anyhow::Result<()> {
        let Some(rejects) = &mut self.rejects else {
            return Ok(());
        };
        let context = &self.place.1;
        for i in 0..records.len() {
            let record = records.get(i);
            match why {
                // A record as any other, only that no server takes it.
                Unprintable::Time => rejects.add_late(record, context, reason)?,
                _ => rejects.add_bytes(record, context, reason)?,
            }
        }
        Ok(())
    }

    /// Tell of damage that is left out.
    pub fn damage(&mut self, trouble: &Trouble) {
        self.tell(
            self.damaged,
            &format!("{trouble}: {} (left out)", trouble.cause),
        );
        self.damaged += 1;
    }

    /// Tell what was seen when a shard was opened.
    pub fn remark(&mut self, remark: &Remark) {
        let text = match remark {
            Remark::Odd(path, note) => format!("{}: {note}", path.display()),
            Remark::Strays(folder, strays) => {
                let names = strays.iter().filter_map(|path| path.file_name());
                let names: Vec<_> = names.map(|name| name.display().to_string()).collect();
                format!("{}: not read: {}", folder.display(), names.join(", "))
            }
            Remark::Restless(path) => format!(
                "{}: the server kept moving files about while they were opened; values overwritten or deleted just now may be the old ones",
                path.display()
            ),
        };
        self.warn(&text);
    }

    /// Tell what was seen when the shards were looked for.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Stray(stray) if stray.is_data => {
                self.left_out += 1;
                self.explain(&format!("{}: left out: {}", stray.path.display(), stray.what));
            }
            Note::Stray(stray) => self.warn(&format!("{}: not read: {}", stray.path.display(), stray.what)),
            Note::Meta(path, trouble) => self.warn(&format!(
                "{}: {trouble} (exported without periods and group times)",
                path.display()
            )),
            Note::Unknown(labels) => {
                let shown: Vec<_> = labels.iter().take(SHOWN as usize).map(String::as_str).collect();
                let n = labels.len();
                self.warn(&format!("{n} shards are unknown to meta.db, exported all the same: {}", shown.join(", ")));
            }
            Note::WithoutLog(path) => self.warn(&format!(
                "{}: stands outside of a data directory, no log is read (--wal-dir says where it is, --no-wal that there is none)",
                path.display()
            )),
        }
    }

    fn explain(&mut self, text: &str) {
        self.tell(self.explained, text);
        self.explained += 1;
    }

    /// Tell of something that costs nothing.
    pub fn warn(&mut self, text: &str) {
        self.tell(self.warnings, &format!("warning: {text}"));
        self.warnings += 1;
    }

    /// Say something, unless `before` of its kind have been said.
    fn tell(&self, before: u64, text: &str) {
        let name = super::NAME;
        self.progress.suspend(|| {
            // If standard error is gone there is nobody left to tell.
            let _ = match before {
                n if n < SHOWN => writeln!(io::stderr(), "{name}: {text}"),
                SHOWN => writeln!(
                    io::stderr(),
                    "{name}: and more of this kind, which are counted only"
                ),
                _ => Ok(()),
            };
        });
    }
}
