//! Runs every entry of every input past a program; what all filters do with begin, context and end.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

use super::exit::{self, Failure};
use super::input::{self, Input};
use super::out::Out;
use super::report::Progress;
use crate::lp::{self, Change, Context, Entry, Event, Reader, Stream, stream};

/// Where an entry stands and what holds there. Prints as `file:line: offset n`.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The context of the entry.
    pub context: &'a Context,
    /// How messages call the input.
    pub input: &'a str,
    /// The first physical line, from 1.
    pub line: u64,
    /// The offset in the decompressed input, where it is known.
    pub offset: Option<u64>,
    /// Whether each point is in the stream at most once.
    pub is_once: bool,
    /// Whether this input has named any context so far.
    pub had_context: bool,
    /// Whether this input has been begun as a stream so far: then a program of ours has written it.
    pub is_begun: bool,
}

impl fmt::Display for Scene<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.input, self.line)?;
        self.offset
            .map_or(Ok(()), |offset| write!(f, ": offset {offset}"))
    }
}

/// What takes the entries of a stream.
pub trait Program {
    /// A point: one whole record, line feed included unless it is the very last of standard input.
    fn point(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<()>;

    /// Any other entry that is to be passed on, in its place.
    fn other(&mut self, event: &Event, entry: &[u8], scene: &Scene<'_>) -> anyhow::Result<()>;

    /// All that was read has been handed over; the next entry may take its time.
    fn idle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// An input is at its end, and with it all context; `more` inputs follow or not.
    fn input_end(&mut self, scene: &Scene<'_>, more: bool) -> anyhow::Result<()> {
        let _ = (scene, more);
        Ok(())
    }
}

/// What went through.
#[derive(Clone, Debug, Default)]
pub struct Fed {
    /// Points read.
    pub points: u64,
    /// Bytes read, decompressed.
    pub bytes: u64,
    /// Points that earlier programs say they left out.
    pub left_out: u64,
    /// Shows it meanwhile.
    pub progress: Progress,
}

/// Run all inputs past `program`. `fed` counts even if the result is an error.
pub fn run(
    args: &input::Args,
    example: &str,
    program: &mut impl Program,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let paths = args.paths();
    if let Some(bytes) = input::sizes(&paths) {
        fed.progress.whole(bytes);
    }
    for (i, path) in paths.iter().enumerate() {
        run_one(path, args, example, i + 1 < paths.len(), program, fed)?;
    }
    Ok(())
}

fn run_one(
    path: &Path,
    args: &input::Args,
    example: &str,
    more: bool,
    program: &mut impl Program,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let Input {
        name,
        is_stdin,
        source,
        ..
    } = input::open_as(path, example, args.compression, &fed.progress)?;
    let max_record = usize::try_from(args.max_record).unwrap_or(usize::MAX);
    let mut reader = Reader::new(source, max_record);
    let mut stream = Stream::default();
    loop {
        while let Some(entry) = reader.next_entry() {
            take(entry, &name, &mut stream, program, fed)?;
        }
        program.idle()?;
        fed.progress.count(fed.bytes, fed.points);
        let (line, offset) = reader.place();
        match reader.fill() {
            Ok(true) => {}
            Ok(false) => break,
            // Nothing has come for a while, which is no end.
            Err(lp::Error::Io(err)) if err.kind() == ErrorKind::WouldBlock => {}
            Err(err) => return Err(at(err, &name, line, offset)),
        }
    }
    finish(reader, &name, is_stdin && !more, &mut stream, program, fed)?;
    let scene = scene_of(&stream, &name, 0, 0);
    program.input_end(&scene, more)?;
    Ok(())
}

/// The end of one input: its last record, if it lacks a line feed, and the check that no stream is open.
fn finish(
    mut reader: Reader<Box<dyn std::io::Read + Send>>,
    name: &str,
    as_it_is: bool,
    stream: &mut Stream,
    program: &mut impl Program,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let (line, offset) = reader.place();
    // In a begun stream the rest is a fragment: a number cut short would still be a number.
    let tail = if stream.is_open() {
        Err(lp::Error::Cut)
    } else {
        reader.tail()
    };
    let Some(tail) = tail.map_err(|err| at(err, name, line, offset))? else {
        return Ok(());
    };
    if stream::is_torn_mark(tail.bytes) {
        return Err(at(lp::Error::Cut, name, line, offset));
    }
    if as_it_is {
        return take(tail, name, stream, program, fed);
    }
    let whole = [tail.bytes, b"\n"].concat();
    take(
        Entry {
            bytes: &whole,
            ..tail
        },
        name,
        stream,
        program,
        fed,
    )
}

fn take(
    entry: Entry<'_>,
    name: &str,
    stream: &mut Stream,
    program: &mut impl Program,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    fed.bytes += entry.bytes.len() as u64;
    let event = stream
        .read(entry.bytes)
        .map_err(|err| at(err, name, entry.line, entry.offset))?;
    let scene = scene_of(stream, name, entry.line, entry.offset);
    match event {
        Event::Point => {
            fed.points += 1;
            return program.point(entry.bytes, &scene);
        }
        Event::Dropped => return Ok(()),
        Event::End { left_out } => fed.left_out += left_out,
        Event::Comment => fed.progress.comment(entry.bytes),
        _ => {}
    }
    program.other(&event, entry.bytes, &scene)?;
    match event {
        Event::Failed { status } => {
            Err(Failure::Upstream(status)).with_context(|| scene.to_string())
        }
        _ => Ok(()),
    }
}

fn scene_of<'a>(stream: &'a Stream, input: &'a str, line: u64, offset: u64) -> Scene<'a> {
    let (is_once, had_context) = (stream.is_once(), stream.had_context());
    Scene {
        context: stream.context(),
        input,
        line,
        offset: Some(offset),
        is_once,
        had_context,
        is_begun: stream.was_begun(),
    }
}

fn at(err: lp::Error, name: &str, line: u64, offset: u64) -> anyhow::Error {
    match err {
        lp::Error::Io(_) => anyhow::Error::new(err).context(name.to_owned()),
        _ => anyhow::Error::new(err).context(format!("{name}:{line}: offset {offset}")),
    }
}

/// What a filter has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Points written.
    pub written: u64,
    /// Points rejected: neither written nor deselected.
    pub left_out: u64,
}

/// A program whose output is a stream again.
pub trait Filter {
    /// Write what becomes of a point.
    fn point(&mut self, record: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()>;

    /// Write what becomes of a context comment.
    fn context(
        &mut self,
        change: &Change,
        entry: &[u8],
        scene: &Scene<'_>,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        let _ = (change, scene);
        out.write(entry)
    }

    /// The context has changed: by a comment, a begin, an end, or a new input.
    fn entered(&mut self, scene: &Scene<'_>) {
        let _ = scene;
    }

    /// Write any other comment, or the begin or end that stands in its place.
    fn other(&mut self, event: &Event, text: &[u8], out: &mut Out) -> anyhow::Result<()> {
        let _ = event;
        out.write(text)
    }

    /// Write what becomes of a comment that carries no context.
    fn comment(&mut self, text: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()> {
        let _ = scene;
        self.other(&Event::Comment, text, out)
    }

    /// All that was read has been handled; the next entry may take its time, so everything has to go out.
    fn idle(&mut self, out: &mut Out) -> anyhow::Result<()> {
        out.flush()
    }

    /// What has been done so far.
    fn tally(&self) -> Tally;

    /// Whether what was once in the input is once in the output.
    fn keeps_once(&self) -> bool {
        true
    }
}

/// Carries a stream through a filter to standard output: comments in place, a begin for a begin, an end for an end.
struct Relay<'a, F> {
    filter: &'a mut F,
    out: Out,
    /// The tally at the begin of the open stream.
    begun: Tally,
}

/// Run all inputs through `filter`. A failure is told to the next program before it is returned.
pub fn relay(
    args: &input::Args,
    example: &str,
    filter: &mut impl Filter,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let mut relay = Relay {
        filter,
        out: Out::stdout()?.beside(&fed.progress),
        begun: Tally::default(),
    };
    let result = run(args, example, &mut relay, fed);
    let Err(err) = result else {
        return relay.out.finish();
    };
    let status = exit::status(&err);
    if status != exit::CLOSED {
        // The first failure is the one to report.
        let _ = relay.out.print(|buf| stream::print_failed(status, buf));
        let _ = relay.out.finish();
    }
    Err(err)
}

impl<F: Filter> Relay<'_, F> {
    fn begin(&mut self, once: bool) -> anyhow::Result<()> {
        let mut text = Vec::new();
        stream::print_begin(once, &mut text);
        self.filter
            .other(&Event::Begin { once }, &text, &mut self.out)
    }

    fn end(&mut self, points: u64, left_out: u64) -> anyhow::Result<()> {
        let mut text = Vec::new();
        stream::print_end(points, left_out, &mut text);
        self.filter
            .other(&Event::End { left_out }, &text, &mut self.out)
    }
}

impl<F: Filter> Program for Relay<'_, F> {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        self.filter.point(record, scene, &mut self.out)
    }

    fn other(&mut self, event: &Event, entry: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        match event {
            Event::Context(change) => self.filter.context(change, entry, scene, &mut self.out),
            Event::Begin { once } => {
                self.begun = self.filter.tally();
                self.begin(*once && self.filter.keeps_once())
            }
            Event::End { left_out } => {
                let tally = self.filter.tally();
                let points = tally.written - self.begun.written;
                self.end(points, left_out + tally.left_out - self.begun.left_out)
            }
            Event::Comment => self.filter.comment(entry, scene, &mut self.out),
            // Told by `relay`, with the status this program ends with.
            Event::Failed { .. } => Ok(()),
            _ => self.filter.other(event, entry, &mut self.out),
        }?;
        if !matches!(event, Event::Comment | Event::Blank) {
            self.filter.entered(scene);
        }
        Ok(())
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        self.filter.idle(&mut self.out)
    }

    fn input_end(&mut self, scene: &Scene<'_>, more: bool) -> anyhow::Result<()> {
        if !more || scene.context.is_empty() {
            return Ok(());
        }
        self.filter.entered(&Scene {
            context: &Context::default(),
            ..*scene
        });
        // The context of this file must not reach the next one: an empty pair is what ends it.
        self.begin(false)?;
        self.end(0, 0)
    }
}
