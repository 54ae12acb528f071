//! Standard input: a TSM file, a segment of a log, or an archive of anything that can be a PATH.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Args, EXAMPLE};
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::tsm::archive;
use crate::tsm::file::File;
use crate::tsm::source::Source;
use crate::tsm::spool::Spool;
use crate::tsm::tree::{How, Unpacker, Wanted};

/// How messages call it.
pub const STDIN: &str = "standard input";

/// Bytes by which the kinds of input are told apart.
const HEAD: u64 = 512;

/// What standard input is.
pub enum Intake {
    /// A single file, put aside because its parts are needed in another order.
    File(Source),
    /// A tar archive, not read yet.
    Archive(Box<Unpacker<Box<dyn Read + Send>>>),
}

impl Intake {
    /// Find out what it is.
    pub fn open(args: &Args, wanted: &Wanted) -> anyhow::Result<Self> {
        let mut source = input::open(Path::new("-"), EXAMPLE)?.source;
        let mut head = Vec::new();
        let read = source.by_ref().take(HEAD).read_to_end(&mut head);
        read.context(STDIN)?;
        // An archive of nothing is its end mark.
        let is_tar = archive::is_tar(&head) || head == [0; HEAD as usize];
        let kind = head.first().copied();
        let is_tsm = File::is_tsm(&head);
        let all: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(source));
        match kind {
            None => {
                let text = "standard input is empty: the program before wrote nothing";
                Err(Failure::NoInput(text.into()).into())
            }
            Some(_) if is_tar => archived(all, args, wanted),
            // A segment starts with the type of an entry, or with a gap.
            Some(0..=3) => single(all, args),
            Some(_) if is_tsm => single(all, args),
            Some(_) => {
                let text = "standard input is no .tsm or .wal file and no tar archive (plain or gzip; others have to be unpacked in the pipe: zstd -dc x.tar.zst | tsm-cat)";
                Err(Failure::Data(text.into()).into())
            }
        }
    }
}

fn single(mut from: impl Read, args: &Args) -> anyhow::Result<Intake> {
    let folder = args.tmp_dir.as_deref();
    let mut spool = Spool::new(folder).with_context(|| place(folder))?;
    let source = spool.add(&mut from).context(STDIN)?;
    Ok(Intake::File(source))
}

fn archived(from: Box<dyn Read + Send>, args: &Args, wanted: &Wanted) -> anyhow::Result<Intake> {
    if args.wal_dir.is_some() {
        let text =
            "--wal-dir cannot go with a tar archive on standard input (pack the log with the data)";
        return Err(Failure::Usage(text.into()).into());
    }
    if args.inputs()?.len() > 1 {
        let text = "a tar archive on standard input cannot go with another PATH";
        return Err(Failure::Usage(text.into()).into());
    }
    let folder = args.tmp_dir.as_deref();
    let how = How {
        name: PathBuf::from(STDIN),
        spool: args.tmp_dir.clone(),
        without_logs: args.no_wal,
        in_parts: true,
    };
    let unpacker = Unpacker::new(from, wanted.clone(), how).with_context(|| place(folder))?;
    Ok(Intake::Archive(Box::new(unpacker)))
}

/// Look whether the folder for temporary files takes any, before one is needed in the middle of the output.
pub fn check_folder(folder: Option<&Path>) -> anyhow::Result<()> {
    if folder.is_some() {
        Spool::new(folder).with_context(|| place(folder))?;
    }
    Ok(())
}

/// How messages call the folder for temporary files.
fn place(folder: Option<&Path>) -> String {
    match folder {
        Some(folder) => format!("temporary file in {}", folder.display()),
        None => "temporary file".into(),
    }
}
