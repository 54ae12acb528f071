//! What will a target refuse that many records together show, and what mends it?
//!
//! A type that changes, a name that is tag and field, reserved names, too many columns, too many tables. What a single
//! record breaks besides is for a validator of records.

use std::collections::BTreeSet;

use bstr::BString;

use super::schema::{Column, Role, Table};
use crate::lp::validate::{TableLimit, Target};
use crate::rows::Kind;

/// Something that a target refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The table; `None` if it is about all of a bucket.
    pub table: Option<BString>,
    /// The column; `None` if it is about all of a table.
    pub column: Option<BString>,
    /// What is wrong.
    pub what: String,
    /// What helps.
    pub mend: Mend,
}

/// What to do about a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Give the field this type.
    Cast(Kind),
    /// Give the tag this name.
    RenameTag(BString),
    /// Give the field this name.
    RenameField(BString),
    /// Do without these tags.
    DropTags(Vec<BString>),
    /// Export these fields of the table by themselves, into a table of this name if it is another one.
    Fields(Vec<BString>, Option<BString>),
    /// Export these tables by themselves, into a bucket of their own.
    Tables(Vec<BString>),
}

/// Goes through the policies of an export.
#[derive(Clone, Debug)]
pub struct Judge {
    target: Target,
    /// Tables of the policies so far.
    tables: usize,
}

impl Judge {
    /// By the rules of a target.
    pub fn new(target: Target) -> Self {
        Self { target, tables: 0 }
    }

    /// All that is wrong with the tables of one policy.
    pub fn policy(&mut self, tables: &[Table]) -> Vec<Problem> {
        let mut problems = self.too_many_tables(tables);
        let names: BTreeSet<_> = tables.iter().map(|table| &table.name).collect();
        for table in tables {
            self.columns(table, &mut problems);
            self.too_many_columns(table, &names, &mut problems);
        }
        problems
    }

    fn too_many_tables(&mut self, tables: &[Table]) -> Vec<Problem> {
        let (most, room, of) = match self.target.table_limit() {
            None => return Vec::new(),
            Some(TableLimit::Bucket(most)) => (most, most, "a bucket"),
            Some(TableLimit::Server(most)) => (
                most,
                most.saturating_sub(self.tables),
                "in all databases together",
            ),
        };
        self.tables += tables.len();
        if tables.len() <= room {
            return Vec::new();
        }
        let (all, target) = (tables.len() + most - room, self.target.name());
        let what = format!("{all} tables, and {target} allows {most} {of}");
        let names: Vec<_> = tables.iter().map(|table| table.name.clone()).collect();
        let problem = |(part, names): (String, Vec<BString>)| Problem {
            table: None,
            column: None,
            what: format!("{what}: {part}"),
            mend: Mend::Tables(names),
        };
        parts(&names, room, most).into_iter().map(problem).collect()
    }

    fn columns(&self, table: &Table, problems: &mut Vec<Problem>) {
        // Columns of one name stand side by side, first among tags and then among fields.
        let names = Names::of(table);
        let mut taken = names.all.clone();
        let fields = table
            .columns
            .iter()
            .filter(|column| column.role != Role::Tag);
        let fields: Vec<_> = fields.collect();
        let tags = table
            .columns
            .iter()
            .filter(|column| column.role == Role::Tag);
        let mut add = |column: &Column, what: String, mend: Mend| {
            problems.push(Problem {
                table: Some(table.name.clone()),
                column: Some(column.name.clone()),
                what,
                mend,
            });
        };
        for tag in tags {
            if let Some(why) = self.target.reserves(&tag.name, true) {
                let new = fresh(&tag.name, "tag", &mut taken);
                add(tag, why.to_owned(), Mend::RenameTag(new));
            }
        }
        for same in fields.chunk_by(|a, b| a.name == b.name) {
            let Some(field) = same.first() else { continue };
            let is_tag = names.tags.contains(&field.name);
            if let Some(why) = self.target.reserves(&field.name, false) {
                let new = fresh(&field.name, "field", &mut taken);
                add(field, why.to_owned(), Mend::RenameField(new));
            } else if is_tag {
                let new = fresh(&field.name, "field", &mut taken);
                add(field, "is tag and field".to_owned(), Mend::RenameField(new));
            }
            if let Some(kind) = common(same) {
                add(field, types(same), Mend::Cast(kind));
            }
        }
    }

    fn too_many_columns(
        &self,
        table: &Table,
        tables: &BTreeSet<&BString>,
        problems: &mut Vec<Problem>,
    ) {
        let limit = self.target.column_limit();
        let Names { tags, fields, .. } = Names::of(table);
        if tags.len() + fields.len() <= limit {
            return;
        }
        let (all, most, target) = (tags.len() + fields.len() + 1, limit + 1, self.target.name());
        let what = format!("{all} columns with time, and {target} allows {most}");
        let mut add = |what: String, mend: Mend| {
            problems.push(Problem {
                table: Some(table.name.clone()),
                column: None,
                what,
                mend,
            });
        };
        let room = limit
            .saturating_sub(tags.len())
            .max(fields.len().min(limit / 2));
        if tags.len() > limit - room {
            let excess = tags.iter().skip(limit - room).cloned().collect();
            add(
                format!("{what}: {} tags", tags.len()),
                Mend::DropTags(excess),
            );
        }
        let mut taken: BTreeSet<BString> = tables.iter().map(|name| (*name).clone()).collect();
        let fields: Vec<_> = fields.into_iter().collect();
        for (i, (part, fields)) in parts(&fields, room, room).into_iter().enumerate() {
            let new = (i > 0).then(|| fresh(&table.name, &(i + 1).to_string(), &mut taken));
            add(format!("{what}: {part}"), Mend::Fields(fields, new));
        }
    }
}

/// The names of the columns of a table.
struct Names {
    tags: BTreeSet<BString>,
    fields: BTreeSet<BString>,
    all: BTreeSet<BString>,
}

impl Names {
    fn of(table: &Table) -> Self {
        let of = |is_tag: bool| {
            let columns = table.columns.iter();
            let columns = columns.filter(move |column| (column.role == Role::Tag) == is_tag);
            columns.map(|column| column.name.clone())
        };
        Self {
            tags: of(true).collect(),
            fields: of(false).collect(),
            all: of(true).chain(of(false)).collect(),
        }
    }
}

/// Pieces of a list, the first one of another length, each with the words that tell which one it is.
fn parts(names: &[BString], first: usize, most: usize) -> Vec<(String, Vec<BString>)> {
    let (head, tail) = names.split_at(first.min(names.len()));
    let pieces = std::iter::once(head).chain(tail.chunks(most.max(1)));
    let pieces: Vec<_> = pieces.filter(|piece| !piece.is_empty()).collect();
    let all = pieces.len();
    let part =
        |(i, names): (usize, &&[BString])| (format!("part {} of {all}", i + 1), names.to_vec());
    pieces.iter().enumerate().map(part).collect()
}

/// A name like another one that no column has; it is taken then.
fn fresh(name: &BString, suffix: &str, taken: &mut BTreeSet<BString>) -> BString {
    let mut new = BString::from([name, &b"_"[..], suffix.as_bytes()].concat());
    while !taken.insert(new.clone()) {
        new.push(b'_');
    }
    new
}

/// The type that all values of a field can have, if they have not one already.
fn common(field: &[&Column]) -> Option<Kind> {
    let kinds: BTreeSet<Kind> = field
        .iter()
        .filter_map(|column| match column.role {
            Role::Field(kind) => kind,
            Role::Tag => None,
        })
        .collect();
    if kinds.len() < 2 {
        return None;
    }
    let order = [Kind::String, Kind::Float, Kind::Integer, Kind::Unsigned];
    order.into_iter().find(|kind| kinds.contains(kind))
}

fn types(field: &[&Column]) -> String {
    let mut words = Vec::new();
    for column in field {
        let Role::Field(Some(kind)) = column.role else {
            continue;
        };
        let (n, plural) = match column.seen.shards {
            1 => (1, ""),
            n => (n, "s"),
        };
        let perhaps = if column.seen.is_sure { "" } else { "perhaps " };
        words.push(format!("{perhaps}{kind} in {n} shard{plural}"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::schema::Seen;
    use super::*;

    fn table(name: &str, columns: &[(&str, Role)]) -> Table {
        let column = |(name, role): &(&str, Role)| Column {
            name: (*name).into(),
            role: *role,
            seen: Seen {
                shards: 1,
                is_sure: true,
                ..Seen::default()
            },
        };
        Table {
            name: name.into(),
            columns: columns.iter().map(column).collect(),
            ..Table::default()
        }
    }

    fn judged(target: Target, tables: &[Table]) -> Vec<(String, Mend)> {
        let problems = Judge::new(target).policy(tables);
        problems
            .into_iter()
            .map(|problem| (problem.what, problem.mend))
            .collect()
    }

    const FLOAT: Role = Role::Field(Some(Kind::Float));
    const INTEGER: Role = Role::Field(Some(Kind::Integer));
    const STRING: Role = Role::Field(Some(Kind::String));
    const BOOLEAN: Role = Role::Field(Some(Kind::Boolean));

    #[test]
    fn a_table_that_fits_has_no_problems() {
        let columns = [("t", Role::Tag), ("a", FLOAT), ("b", INTEGER)];
        assert!(judged(Target::Serverless, &[table("m", &columns)]).is_empty());
    }

    #[test]
    fn types_are_cast_to_one_that_holds_them_all() {
        let cast = |roles: &[Role]| {
            let columns: Vec<_> = roles.iter().map(|role| ("v", *role)).collect();
            judged(Target::Core, &[table("m", &columns)])
        };
        let expected = "float in 1 shard, integer in 1 shard".to_owned();
        assert_eq!(
            vec![(expected, Mend::Cast(Kind::Float))],
            cast(&[FLOAT, INTEGER])
        );
        assert_eq!(
            Mend::Cast(Kind::String),
            cast(&[FLOAT, BOOLEAN, STRING])[0].1
        );
        assert_eq!(Mend::Cast(Kind::Integer), cast(&[INTEGER, BOOLEAN])[0].1);
        assert!(cast(&[FLOAT, Role::Field(None)]).is_empty());
    }

    #[test]
    fn new_names_are_new() {
        let columns = [
            ("v", Role::Tag),
            ("v_field", Role::Tag),
            ("time", Role::Tag),
            ("time", FLOAT),
            ("v", FLOAT),
        ];
        let mends: Vec<_> = judged(Target::Serverless, &[table("m", &columns)])
            .into_iter()
            .map(|problem| problem.1)
            .collect();
        let expected = [
            Mend::RenameTag("time_tag".into()),
            Mend::RenameField("time_field".into()),
            Mend::RenameField("v_field_".into()),
        ];
        assert_eq!(expected[..], mends);
    }

    #[test]
    fn a_wide_table_is_parted_so_that_each_part_fits_and_no_field_is_lost() {
        for (tags, fields, limit) in [
            (0, 200, 199),
            (10, 190, 199),
            (10, 900, 199),
            (300, 1, 199),
            (250, 250, 199),
        ] {
            let names: Vec<_> = (0..tags + fields).map(|i| format!("c{i:03}")).collect();
            let role = |i| if i < tags { Role::Tag } else { FLOAT };
            let columns: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(i, name)| (&**name, role(i)))
                .collect();
            let problems = judged(
                Target::Serverless,
                &[table("m", &columns), table("m_2", &[])],
            );
            let (mut left, mut all, mut tables) = (tags, BTreeSet::new(), BTreeSet::new());
            for (_, mend) in &problems {
                match mend {
                    Mend::DropTags(dropped) => left -= dropped.len(),
                    Mend::Fields(fields, new) => {
                        assert!(left + fields.len() <= limit, "{tags} {fields:?}");
                        all.extend(fields.clone());
                        assert!(tables.insert(new.clone()) && *new != Some("m_2".into()));
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(fields, all.len());
            assert!(
                problems[0]
                    .0
                    .contains("columns with time, and serverless allows 200")
            );
        }
        let columns: Vec<_> = (0..199).map(|i| (format!("c{i}"), FLOAT)).collect();
        let columns: Vec<_> = columns
            .iter()
            .map(|(name, role)| (&**name, *role))
            .collect();
        assert!(judged(Target::Serverless, &[table("m", &columns)]).is_empty());
    }

    #[test]
    fn tables_are_counted_for_the_bucket_or_for_all() {
        let tables = |n: usize| {
            (0..n)
                .map(|i| table(&format!("m{i}"), &[("v", FLOAT)]))
                .collect::<Vec<_>>()
        };
        let mut judge = Judge::new(Target::Serverless);
        assert!(judge.policy(&tables(500)).is_empty() && judge.policy(&tables(500)).is_empty());
        let sizes = |problems: Vec<Problem>| {
            let size = |problem: Problem| match problem.mend {
                Mend::Tables(names) => names.len(),
                other => panic!("{other:?}"),
            };
            problems.into_iter().map(size).collect::<Vec<_>>()
        };
        assert_eq!(vec![500, 500, 1], sizes(judge.policy(&tables(1001))));
        let mut judge = Judge::new(Target::Core);
        assert!(judge.policy(&tables(1999)).is_empty());
        let problems = judge.policy(&tables(3));
        assert!(
            problems[0]
                .what
                .starts_with("2002 tables, and core allows 2000 in all")
        );
        assert_eq!(vec![1, 2], sizes(problems));
        assert_eq!(vec![2], sizes(judge.policy(&tables(2))));
    }
}
