//! Renames, casts, dropped names and another precision, each only where a rule names it.

use std::ops::Range;

use bstr::BString;

use super::cast::cast;
use super::{NameRule, Reason, Verdict};
use crate::lp::escape::{self, Place};
use crate::lp::glob::Glob;
use crate::lp::record::{self, Pair, Parts, Time};
use crate::rows::{Kind, Strings};

/// What to change. Measurements in rules are those of the input.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// Old and new measurement, decoded.
    pub measurements: Vec<(BString, BString)>,
    /// Tag keys to rename.
    pub tags: Vec<NameRule>,
    /// Tag keys to drop.
    pub drop_tags: Vec<NameRule>,
    /// Field keys to rename.
    pub fields: Vec<NameRule>,
    /// Fields to cast.
    pub casts: Vec<(NameRule, Kind)>,
    /// Patterns for the fields to keep; all if there is none.
    pub keep_fields: Vec<Glob>,
    /// Patterns for the fields to drop.
    pub drop_fields: Vec<Glob>,
    /// Nanoseconds in one unit of the timestamps; they come out in nanoseconds.
    pub unit: i64,
    /// Of two equal names the renamed one wins.
    pub allow_collisions: bool,
    /// A cast may round.
    pub allow_loss: bool,
}

impl Default for Rewrite {
    fn default() -> Self {
        Self {
            measurements: Vec::new(),
            tags: Vec::new(),
            drop_tags: Vec::new(),
            fields: Vec::new(),
            casts: Vec::new(),
            keep_fields: Vec::new(),
            drop_fields: Vec::new(),
            unit: 1,
            allow_collisions: false,
            allow_loss: false,
        }
    }
}

impl Rewrite {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.keeps_once()
            && self.keep_fields.is_empty()
            && self.drop_fields.is_empty()
            && self.unit == 1
    }

    /// Whether two points that differ before still differ afterwards.
    pub fn keeps_once(&self) -> bool {
        self.measurements.is_empty()
            && self.tags.is_empty()
            && self.drop_tags.is_empty()
            && self.fields.is_empty()
            && self.casts.is_empty()
    }
}

/// What is to be done below one measurement, worked out once.
#[derive(Debug, Default)]
struct Plan {
    /// The measurement it is for, as spelled.
    raw: Vec<u8>,
    /// The new measurement, as spelled.
    measurement: Option<Vec<u8>>,
    tags: Vec<(BString, BString)>,
    drop_tags: Vec<BString>,
    fields: Vec<(BString, BString)>,
    casts: Vec<(BString, Kind)>,
}

/// One tag or field of the record under work.
#[derive(Clone, Debug)]
struct Item {
    place: Place,
    /// Where key and value stand in the record.
    key: Range<usize>,
    value: Range<usize>,
    renamed: bool,
    dropped: bool,
    cast: Option<Kind>,
}

/// Rewrites records one by one.
#[derive(Debug)]
pub struct Rewriter {
    rewrite: Rewrite,
    plan: Option<Plan>,
    items: Vec<Item>,
    /// The decoded names of the items as they will be.
    names: Strings,
    name: Vec<u8>,
}

impl Rewriter {
    /// Change what `rewrite` says.
    pub fn new(rewrite: Rewrite) -> Self {
        Self {
            rewrite,
            plan: None,
            items: Vec::new(),
            names: Strings::default(),
            name: Vec::new(),
        }
    }

    /// Put into `out` what becomes of one whole record.
    pub fn rewrite(&mut self, record: &[u8], out: &mut Vec<u8>) -> Verdict {
        out.clear();
        let plan = match self.plan.take() {
            Some(plan) if plan.raw == record::measurement(record) => plan,
            _ => self.plan_for(record::measurement(record)),
        };
        let verdict = self.apply(&plan, record, out);
        self.plan = Some(plan);
        verdict.unwrap_or_else(Verdict::Reject)
    }

    fn apply(&mut self, plan: &Plan, record: &[u8], out: &mut Vec<u8>) -> Result<Verdict, Reason> {
        if self.leaves(plan) {
            return Ok(Verdict::Keep);
        }
        let parts = record::parts(record);
        if self.touches_items(plan) {
            self.collect(plan, record, &parts)?;
            self.settle_collisions()?;
        } else {
            self.items.clear();
        }
        let is_field = |item: &Item| item.place == Place::Field;
        if self.items.iter().any(is_field)
            && self.items.iter().filter(|i| is_field(i)).all(|i| i.dropped)
        {
            return Ok(Verdict::Drop);
        }
        let changed = self.print(plan, record, &parts, out)?;
        Ok(if changed {
            Verdict::Changed
        } else {
            Verdict::Keep
        })
    }

    /// Whether no rule can concern a record of the plan's measurement.
    fn leaves(&self, plan: &Plan) -> bool {
        self.rewrite.unit == 1 && plan.measurement.is_none() && !self.touches_items(plan)
    }

    fn touches_items(&self, plan: &Plan) -> bool {
        !(plan.tags.is_empty()
            && plan.drop_tags.is_empty()
            && plan.fields.is_empty()
            && plan.casts.is_empty()
            && self.rewrite.keep_fields.is_empty()
            && self.rewrite.drop_fields.is_empty())
    }

    fn plan_for(&mut self, raw: &[u8]) -> Plan {
        self.name.clear();
        escape::decode(Place::Measurement, raw, &mut self.name);
        let name = &self.name;
        let mine = |rule: &&NameRule| rule.measurement.matches(name);
        let pairs = |rules: &[NameRule]| {
            rules
                .iter()
                .filter(mine)
                .map(|rule| (rule.name.clone(), rule.new.clone()))
                .collect()
        };
        let renamed = self
            .rewrite
            .measurements
            .iter()
            .find(|(old, _)| old == name);
        Plan {
            raw: raw.to_vec(),
            measurement: renamed.map(|(_, new)| {
                let mut spelled = Vec::new();
                escape::encode(Place::Measurement, new, &mut spelled);
                spelled
            }),
            tags: pairs(&self.rewrite.tags),
            drop_tags: self
                .rewrite
                .drop_tags
                .iter()
                .filter(mine)
                .map(|rule| rule.name.clone())
                .collect(),
            fields: pairs(&self.rewrite.fields),
            casts: {
                let casts = self.rewrite.casts.iter().filter(|(rule, _)| mine(&rule));
                casts
                    .map(|(rule, kind)| (rule.name.clone(), *kind))
                    .collect()
            },
        }
    }

    /// List the tags and fields of a record, each with what is to be done to it.
    fn collect(&mut self, plan: &Plan, record: &[u8], parts: &Parts<'_>) -> Result<(), Reason> {
        self.items.clear();
        self.names.clear();
        for tag in record::tags(parts.series) {
            let mut item = self.item(Place::Tag, record, tag.map_err(|_| Reason::Malformed)?);
            item.dropped = plan.drop_tags.iter().any(|name| *name == self.name);
            self.add(item, &plan.tags);
        }
        for field in record::fields(parts.fields) {
            let mut item = self.item(Place::Field, record, field.map_err(|_| Reason::Malformed)?);
            let keep = &self.rewrite.keep_fields;
            item.dropped = !(keep.is_empty() || keep.iter().any(|glob| glob.matches(&self.name)))
                || self
                    .rewrite
                    .drop_fields
                    .iter()
                    .any(|glob| glob.matches(&self.name));
            item.cast = plan
                .casts
                .iter()
                .find(|(name, _)| *name == self.name)
                .map(|(_, kind)| *kind);
            self.add(item, &plan.fields);
        }
        Ok(())
    }

    /// An item as it stands; its decoded name is in `self.name`.
    fn item(&mut self, place: Place, record: &[u8], (key, value): Pair<'_>) -> Item {
        self.name.clear();
        escape::decode(place, key, &mut self.name);
        let range = |part: &[u8]| {
            // Both are slices of the record.
            let start = part.as_ptr() as usize - record.as_ptr() as usize;
            start..start + part.len()
        };
        Item {
            place,
            key: range(key),
            value: range(value),
            renamed: false,
            dropped: false,
            cast: None,
        }
    }

    fn add(&mut self, mut item: Item, renames: &[(BString, BString)]) {
        let new = renames
            .iter()
            .find(|(old, _)| *old == self.name)
            .map(|(_, new)| new);
        item.renamed = new.is_some_and(|new| *new != self.name);
        self.names.push(new.map_or(&self.name, |new| new));
        self.items.push(item);
    }

    /// No two names of a point may become equal by a rename; if that is allowed, the last renamed one wins.
    fn settle_collisions(&mut self) -> Result<(), Reason> {
        for i in 0..self.items.len() {
            if self.items[i].renamed {
                self.settle(i)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, i: usize) -> Result<(), Reason> {
        for j in 0..self.items.len() {
            let both = !self.items[i].dropped && !self.items[j].dropped;
            if i == j || !both || self.names.get(i) != self.names.get(j) {
                continue;
            }
            if !self.rewrite.allow_collisions {
                return Err(Reason::Collision);
            }
            let loser = if self.items[j].renamed { i.min(j) } else { j };
            self.items[loser].dropped = true;
        }
        Ok(())
    }

    /// Put the record together again; false if it is the same as before.
    fn print(
        &self,
        plan: &Plan,
        record: &[u8],
        parts: &Parts<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Reason> {
        let measurement = record::measurement(parts.series);
        let mut changed = plan.measurement.is_some();
        out.extend_from_slice(plan.measurement.as_deref().unwrap_or(measurement));
        if self.items.is_empty() {
            out.extend_from_slice(&parts.series[measurement.len()..]);
            out.push(b' ');
            out.extend_from_slice(parts.fields);
        } else {
            changed |= self.print_items(record, out)?;
        }
        changed |= self.print_time(record, parts, out)?;
        out.push(b'\n');
        Ok(changed)
    }

    fn print_items(&self, record: &[u8], out: &mut Vec<u8>) -> Result<bool, Reason> {
        let (mut changed, mut before) = (false, Place::Tag);
        for (i, item) in self.items.iter().enumerate() {
            changed |= item.dropped || item.renamed;
            if item.dropped {
                continue;
            }
            out.push(if item.place == before { b',' } else { b' ' });
            before = item.place;
            if item.renamed {
                escape::encode(item.place, self.names.get(i), out);
            } else {
                out.extend_from_slice(&record[item.key.clone()]);
            }
            out.push(b'=');
            let value = &record[item.value.clone()];
            match item.cast {
                Some(kind) if cast(value, kind, self.rewrite.allow_loss, out)? => changed = true,
                _ => out.extend_from_slice(value),
            }
        }
        Ok(changed)
    }

    fn print_time(
        &self,
        record: &[u8],
        parts: &Parts<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Reason> {
        let Some(text) = parts.time else {
            return Ok(false);
        };
        out.push(b' ');
        if self.rewrite.unit == 1 {
            out.extend_from_slice(text);
            return Ok(false);
        }
        let Time::At(time) = record::time(record) else {
            return Err(Reason::BadTime);
        };
        let time = time.checked_mul(self.rewrite.unit).ok_or(Reason::BadTime)?;
        out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::Loss;
    use super::*;

    fn rules(texts: &[&str]) -> Vec<NameRule> {
        texts
            .iter()
            .map(|text| NameRule::parse(text).unwrap())
            .collect()
    }

    fn after(rewrite: &Rewrite, record: &str) -> String {
        let mut out = Vec::new();
        match Rewriter::new(rewrite.clone()).rewrite(record.as_bytes(), &mut out) {
            Verdict::Keep => "same".into(),
            Verdict::Changed => String::from_utf8(out).unwrap(),
            Verdict::Drop => "dropped".into(),
            Verdict::Reject(reason) => format!("{reason:?}"),
        }
    }

    #[test]
    fn names_are_renamed_where_a_rule_names_them() {
        let rewrite = Rewrite {
            measurements: vec![("cpu".into(), "my cpu".into())],
            tags: rules(&["c*.host=node name"]),
            fields: rules(&["cpu.v=value", "cpu.a b=c"]),
            ..Rewrite::default()
        };
        assert_eq!(
            "my\\ cpu,node\\ name=x,z=y value=1,w=\"v=1\" 5\n",
            after(&rewrite, "cpu,host=x,z=y v=1,w=\"v=1\" 5\n")
        );
        assert_eq!("my\\ cpu c=1i\n", after(&rewrite, "cpu a\\ b=1i\n"));
        assert_eq!(
            "clock,node\\ name=x v=1 5\n",
            after(&rewrite, "clock,host=x v=1 5\n")
        );
        assert_eq!("same", after(&rewrite, "mem,host=x v=1 5\n"));
        assert_eq!("same", after(&rewrite, "clock,z=x  v=1 5\n"));
        assert_eq!("Malformed", after(&rewrite, "cpu,host v=1 5\n"));
    }

    #[test]
    fn two_equal_names_are_a_reject_unless_allowed() {
        let mut rewrite = Rewrite {
            tags: rules(&["*.a=b"]),
            fields: rules(&["*.x=y"]),
            ..Rewrite::default()
        };
        assert_eq!("Collision", after(&rewrite, "m,a=1,b=2 v=1 5\n"));
        assert_eq!("Collision", after(&rewrite, "m x=1,y=2 5\n"));
        assert_eq!("Collision", after(&rewrite, "m,a=1 b=2 5\n"));
        assert_eq!("m,b=1,c=2 y=1 5\n", after(&rewrite, "m,a=1,c=2 x=1 5\n"));
        rewrite.allow_collisions = true;
        assert_eq!("m,b=1 v=1 5\n", after(&rewrite, "m,a=1,b=2 v=1 5\n"));
        assert_eq!("m y=1 5\n", after(&rewrite, "m x=1,y=2 5\n"));
    }

    #[test]
    fn fields_are_kept_dropped_and_cast() {
        let casts = vec![(NameRule::parse_name("m.n").unwrap(), Kind::Integer)];
        let keep_fields = vec![Glob::new(b"n*"), Glob::new(b"k")];
        let rewrite = Rewrite {
            casts,
            keep_fields,
            drop_fields: vec![Glob::new(b"n2")],
            ..Rewrite::default()
        };
        assert_eq!(
            "m,t=a n=3i,k=t 5\n",
            after(&rewrite, "m,t=a n=3,n2=4,v=1,k=t 5\n")
        );
        assert_eq!("dropped", after(&rewrite, "m,t=a v=1,n2=4 5\n"));
        assert_eq!("same", after(&rewrite, "m,t=a k=1,n=4i 5\n"));
        assert_eq!(
            format!("{:?}", Reason::Loss(Loss::Inexact)),
            after(&rewrite, "m,t=a n=1.5 5\n")
        );
    }

    #[test]
    fn times_come_out_in_nanoseconds() {
        let rewrite = Rewrite {
            unit: 1_000_000_000,
            ..Rewrite::default()
        };
        assert_eq!(
            "m,t=a v=\"x y\" -5000000000\n",
            after(&rewrite, "m,t=a v=\"x y\"  -5 \n")
        );
        assert_eq!("same", after(&rewrite, "m v=1\n"));
        assert_eq!("BadTime", after(&rewrite, "m v=1 9223372037\n"));
    }

    #[test]
    fn a_dropped_tag_leaves_the_rest() {
        let drop_tags = vec![NameRule::parse_name("*.a").unwrap()];
        let rewrite = Rewrite {
            drop_tags,
            ..Rewrite::default()
        };
        assert_eq!("m,b=2 v=1 5\n", after(&rewrite, "m,a=1,b=2 v=1 5\n"));
        assert_eq!("m v=1 5\n", after(&rewrite, "m,a=1 v=1 5\n"));
        assert!(!rewrite.keeps_once() && !rewrite.is_empty());
    }
}
