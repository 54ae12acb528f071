//! Tables and columns as rows, or what a target refuses of them and which options of lp-filter mend it.

use bstr::{BString, ByteSlice};

use crate::export::judge::{Mend, Problem};
use crate::export::schema::{Column, Role, Table};
use crate::filter::rule::{typed_name, typed_pattern, typed_place};
use crate::lp::context;
use crate::route::plan::quoted;
use crate::tsm::place::Names;

/// The names of the columns of a schema.
pub const HEADER: &[u8] =
    b"database\tpolicy\tmeasurement\tcolumn\trole\ttype\tthere\tshards\tfirst\tlast\n";

/// The names of the columns where a target is asked.
pub const PROBLEMS: &[u8] = b"database\tpolicy\tmeasurement\tcolumn\tproblem\tmend\n";

/// Append a row for each column of a table.
pub fn rows(names: &Names, table: &Table, out: &mut Vec<u8>) {
    for column in &table.columns {
        place(names, [Some(&table.name), Some(&column.name)], out);
        out.extend_from_slice(facts(column).as_bytes());
        out.push(b'\n');
    }
}

fn facts(column: &Column) -> String {
    let (role, kind) = match column.role {
        Role::Tag => ("tag", "string".to_owned()),
        Role::Field(Some(kind)) => ("field", kind.to_string()),
        Role::Field(None) => ("field", "unknown".to_owned()),
    };
    let seen = column.seen;
    let there = if seen.is_sure { "yes" } else { "perhaps" };
    let id = |id: Option<u64>| id.map_or_else(String::new, |id| id.to_string());
    let (shards, first, last) = (seen.shards, id(seen.first), id(seen.last));
    format!("{role}\t{kind}\t{there}\t{shards}\t{first}\t{last}")
}

/// Append the row of a problem.
pub fn problem(names: &Names, problem: &Problem, out: &mut Vec<u8>) {
    place(
        names,
        [problem.table.as_ref(), problem.column.as_ref()],
        out,
    );
    let mend = mend(problem).unwrap_or_default();
    out.extend_from_slice(format!("{}\t{mend}\n", problem.what).as_bytes());
}

/// Database, policy, table and column, each with its tab.
fn place(names: &Names, rest: [Option<&BString>; 2], out: &mut Vec<u8>) {
    let known = [names.database.as_ref(), names.policy.as_ref()];
    for name in known.into_iter().chain(rest) {
        context::encode(name.map_or(&[][..], |name| name), out);
        out.push(b'\t');
    }
}

/// The options of lp-filter, quoted for the shell; `None` where no option can spell the name.
fn mend(problem: &Problem) -> Option<String> {
    let name = |name: &Option<BString>| name.clone().unwrap_or_default();
    let (table, column) = (name(&problem.table), name(&problem.column));
    let renamed = |option: &str, new: &BString| {
        let new = new.to_str().ok()?;
        Some(vec![
            option.to_owned(),
            format!("{}={new}", typed_place(&table, &column)?),
        ])
    };
    let each = |option: &str, names: &[BString]| {
        let words = names
            .iter()
            .map(|name| Some([option.to_owned(), typed_pattern(name)?]));
        Some(words.collect::<Option<Vec<_>>>()?.concat())
    };
    let words = match &problem.mend {
        Mend::Cast(kind) => renamed("--cast", &kind.to_string().into())?,
        Mend::RenameTag(new) => renamed("--rename-tag", new)?,
        Mend::RenameField(new) => renamed("--rename-field", new)?,
        Mend::Tables(tables) => each("-m", tables)?,
        Mend::DropTags(tags) => {
            let words = tags
                .iter()
                .map(|tag| Some(["--drop-tag".to_owned(), typed_place(&table, tag)?]));
            let words = words.collect::<Option<Vec<_>>>()?.concat();
            [words, vec!["--allow-collisions".to_owned()]].concat()
        }
        Mend::Fields(fields, new) => {
            let mut words = [
                each("-m", std::slice::from_ref(&table))?,
                each("--field", fields)?,
            ]
            .concat();
            if let Some(new) = new {
                words.push("--rename-measurement".to_owned());
                words.push(format!("{}={}", typed_name(&table)?, new.to_str().ok()?));
            }
            words
        }
    };
    let words = words.iter().map(|word| quoted(word.as_bytes()));
    let words: Vec<_> = words.map(|word| word.to_str_lossy().into_owned()).collect();
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Kind;

    fn mended(mend_with: Mend) -> Option<String> {
        mend(&Problem {
            table: Some("a.b*".into()),
            column: Some("it's".into()),
            what: String::new(),
            mend: mend_with,
        })
    }

    #[test]
    fn mends_are_options_that_a_shell_hands_on() {
        for (mend, expected) in [
            (Mend::Cast(Kind::Float), r"--cast 'a\.b\*.it'\''s=float'"),
            (
                Mend::RenameField("x".into()),
                r"--rename-field 'a\.b\*.it'\''s=x'",
            ),
            (
                Mend::Tables(vec!["a".into(), "b?".into()]),
                r"-m a -m 'b\?'",
            ),
            (
                Mend::Fields(vec!["f".into()], Some("c".into())),
                r"-m 'a.b\*' --field f --rename-measurement 'a\.b*=c'",
            ),
            (
                Mend::DropTags(vec!["t".into()]),
                r"--drop-tag 'a\.b\*.t' --allow-collisions",
            ),
        ] {
            assert_eq!(Some(expected.to_owned()), mended(mend));
        }
        assert_eq!(None, mended(Mend::Tables(vec!["a\tb".into()])));
    }
}
