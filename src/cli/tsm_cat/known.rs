//! Command lines of `influx_inspect export`, word for word, in our options.
//!
//! ```text
//! export -lponly -database db -retention=rp -out F     as Go reads them, with one dash or two
//! --lp-only --database=db --retention-policy=rp --out=F
//! ```
//!
//! They are recognised before options are parsed: `-out` would be `-o ut` otherwise.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clap::Parser;

use super::Args;

/// What a word stands for.
#[derive(Clone, Copy)]
enum Meaning {
    /// An option of ours that takes a value.
    Value(&'static str),
    /// An option of ours that takes none; there it may be `=true` or `=false`.
    Switch(&'static str),
    /// The directory to read.
    Directory,
    /// The one file to read.
    File,
}

const KNOWN: [(&str, Meaning); 10] = [
    ("database", Meaning::Value("--database")),
    ("retention", Meaning::Value("--retention-policy")),
    ("datadir", Meaning::Directory),
    ("waldir", Meaning::Value("--wal-dir")),
    ("out", Meaning::Value("--out")),
    ("start", Meaning::Value("--start")),
    ("end", Meaning::Value("--end")),
    ("lponly", Meaning::Switch("--lp-only")),
    ("compress", Meaning::Switch("--compress")),
    ("tsmfile", Meaning::File),
];

/// Those that with two dashes are ours just as well.
const SHARED: [&str; 5] = ["database", "out", "start", "end", "compress"];

/// The arguments of this process.
pub fn parse() -> Args {
    let line = Line::read(env::args_os().collect(), |path| Path::new(path).exists());
    Args {
        is_known: line.is_known,
        ..Args::parse_from(line.words)
    }
}

/// A command line in our options.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    words: Vec<OsString>,
    /// Some word is not one of ours, so what is not said is as influx_inspect has it.
    is_known: bool,
}

impl Line {
    fn read(words: Vec<OsString>, exists: impl Fn(&OsStr) -> bool) -> Self {
        let mut line = Self::default();
        let (mut directory, mut file, mut wal) = (None, None, None);
        let mut words = words.into_iter();
        line.words.extend(words.next());
        let mut words = words.peekable();
        let command = words.next_if(|word| word == "export");
        while let Some(word) = words.next() {
            if word == "--" {
                line.words.push(word);
                line.words.extend(words);
                break;
            }
            let Some((name, meaning, is_ours, value)) = known(&word) else {
                line.words.push(word);
                continue;
            };
            line.is_known |= !is_ours;
            if let Meaning::Switch(ours) = meaning {
                line.switch(ours, word, value);
                continue;
            }
            let Some(value) = value.or_else(|| words.next()) else {
                // The parser knows what to say.
                line.words.push(format!("--{name}").into());
                continue;
            };
            match meaning {
                Meaning::Directory => directory = Some(value),
                Meaning::File => file = Some(value),
                Meaning::Value("--wal-dir") => wal = Some(value),
                Meaning::Value(ours) => line.words.push(assigned(ours, &value)),
                Meaning::Switch(_) => {}
            }
        }
        line.sources(directory, file, wal);
        line.command(command, exists);
        line
    }

    fn switch(&mut self, ours: &str, word: OsString, value: Option<OsString>) {
        match value.as_deref().map(OsStr::as_bytes) {
            None | Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => {
                self.words.push(ours.into());
            }
            Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => {}
            Some(_) => self.words.push(word),
        }
    }

    /// A single file is read without directory and log, as there.
    fn sources(
        &mut self,
        directory: Option<OsString>,
        file: Option<OsString>,
        wal: Option<OsString>,
    ) {
        let wal = wal.filter(|_| file.is_none());
        let sources = wal.map(|wal| assigned("--wal-dir", &wal));
        let sources = sources.into_iter().chain(file.or(directory));
        let end = self.words.iter().position(|word| word == "--");
        let end = end.unwrap_or(self.words.len());
        self.words.splice(end..end, sources);
    }

    /// The word `export` is a path where nothing else is of influx_inspect and there is one.
    fn command(&mut self, command: Option<OsString>, exists: impl Fn(&OsStr) -> bool) {
        let Some(word) = command else {
            return;
        };
        if !self.is_known && exists(&word) {
            self.words.insert(1, word);
        } else {
            self.is_known = true;
        }
    }
}

/// Name and meaning of a word, whether it is one of ours as well, and the value behind its equals sign.
fn known(word: &OsStr) -> Option<(&'static str, Meaning, bool, Option<OsString>)> {
    let bytes = word.as_bytes().strip_prefix(b"-")?;
    let double = bytes.strip_prefix(b"-");
    let bytes = double.unwrap_or(bytes);
    let (name, value) = match bytes.iter().position(|c| *c == b'=') {
        Some(at) => (bytes.get(..at)?, bytes.get(at + 1..)),
        None => (bytes, None),
    };
    let (name, meaning) = KNOWN
        .into_iter()
        .find(|(known, _)| known.as_bytes() == name)?;
    let is_ours = double.is_some() && SHARED.contains(&name);
    let value = value.map(|value| OsString::from_vec(value.to_vec()));
    Some((name, meaning, is_ours, value))
}

fn assigned(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push("=");
    word.push(value);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> (String, bool) {
        let words = std::iter::once("tsm-cat").chain(words.split_whitespace());
        let line = Line::read(words.map(OsString::from).collect(), |path| path == "there");
        let words: Vec<_> = line
            .words
            .iter()
            .skip(1)
            .map(|word| word.to_str().unwrap())
            .collect();
        (words.join(" "), line.is_known)
    }

    #[test]
    fn words_of_influx_inspect_become_ours() {
        for (theirs, ours) in [
            (
                "export -lponly -database a -retention b -out F",
                "--lp-only --database=a --retention-policy=b --out=F",
            ),
            ("-lponly -compress -out F", "--lp-only --compress --out=F"),
            ("--lponly --datadir=D --waldir W", "--lp-only --wal-dir=W D"),
            ("-start 1 -end=2 -out -", "--start=1 --end=2 --out=-"),
            ("-lponly=false -compress=true", "--compress"),
            (
                "-tsmfile F -datadir D -waldir W -database d",
                "--database=d F",
            ),
            ("-database -out", "--database=-out"),
            ("-lponly -- -out", "--lp-only -- -out"),
            ("-datadir D -m x -- y", "-m x D -- y"),
            ("-out", "--out"),
        ] {
            assert_eq!((ours.to_owned(), true), read(theirs), "{theirs}");
        }
    }

    #[test]
    fn words_that_are_ours_are_left_to_the_parser() {
        for (theirs, ours) in [
            ("-d a -o F P", "-d a -o F P"),
            (
                "--database a --end 5 --compress P",
                "--database=a --end=5 --compress P",
            ),
            ("-outx -output", "-outx -output"),
            ("x export -- -lponly", "x export -- -lponly"),
        ] {
            assert_eq!((ours.to_owned(), false), read(theirs), "{theirs}");
        }
    }

    #[test]
    fn export_is_a_path_only_if_there_is_one_and_nothing_else_is_known() {
        let line = |words: &[&str], is_there: bool| {
            let words = words.iter().map(OsString::from).collect();
            let line = Line::read(words, |_| is_there);
            (line.words.len(), line.is_known)
        };
        assert_eq!((2, false), line(&["tsm-cat", "export"], true));
        assert_eq!((1, true), line(&["tsm-cat", "export"], false));
        assert_eq!((2, true), line(&["tsm-cat", "export", "-lponly"], true));
    }
}
