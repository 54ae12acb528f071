//! How far is it, for whoever looks on? One line that is drawn again and again, or plain lines for a log.
//!
//! A thread of its own draws, from counters that the program sets: so a program that waits shows it, and one that is
//! busy loses no time.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::cli::tty::{self, Stream};

/// How often the line is drawn.
const DRAWN: Duration = Duration::from_millis(200);

/// Whether to draw.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub struct Args {
    /// Draw progress even where nobody seems to look
    ///
    /// Without it one program of a pipe draws: where standard error is a terminal and standard output is no pipe.
    #[arg(long)]
    pub progress: bool,

    /// Never draw progress
    #[arg(long, conflicts_with = "progress")]
    pub quiet: bool,
}

impl Args {
    fn wants(self, looks: bool, is_last: bool) -> bool {
        self.progress || (!self.quiet && looks && is_last)
    }
}

/// What a program has done so far; clones count together. By default nobody looks.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<Arc<Watched>>);

/// Dropped with the last clone, which ends the thread and wipes the line.
#[derive(Debug)]
struct Watched {
    counts: Arc<Counts>,
    bar: Option<ProgressBar>,
    watch: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    points: AtomicU64,
    /// In tenths of a percent, as the stream says; 0 before it says anything.
    done: AtomicU64,
    shard: AtomicU64,
    shards: AtomicU64,
    held_up: AtomicBool,
    retries: AtomicU64,
    /// Bytes of named files, as they lie on disk; 0 where their number is not known.
    size: AtomicU64,
    /// How many of them have been read.
    read: AtomicU64,
}

impl Progress {
    /// Begin to draw if somebody looks, and to write a line to standard error `every` so often.
    pub fn start(program: &'static str, args: Args, every: Option<Duration>) -> Self {
        let looks = tty::is_terminal(Stream::Stderr);
        let bar = args
            .wants(looks, !tty::is_pipe(Stream::Stdout))
            .then(|| bar(program, looks));
        if bar.is_none() && every.is_none() {
            return Self::default();
        }
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = mpsc::channel();
        let watch = Watch {
            program,
            counts: Arc::clone(&counts),
            bar: bar.clone(),
            every,
            start: Instant::now(),
        };
        watch.draw(&mut Speed::default());
        let thread = std::thread::spawn(move || watch.run(&stopped));
        Self(Some(Arc::new(Watched {
            counts,
            bar,
            watch: Mutex::new(Some((stop, thread))),
        })))
    }

    /// So much has been done in all.
    pub fn count(&self, bytes: u64, points: u64) {
        if let Some(watched) = &self.0 {
            watched.counts.bytes.fetch_max(bytes, Relaxed);
            watched.counts.points.fetch_max(points, Relaxed);
        }
    }

    /// Whether the program waits for another limit than its rate.
    pub fn held_up(&self, is: bool) {
        if let Some(watched) = &self.0 {
            watched.counts.held_up.store(is, Relaxed);
        }
    }

    /// A request has to be sent again.
    pub fn retried(&self) {
        if let Some(watched) = &self.0 {
            watched.counts.retries.fetch_add(1, Relaxed);
        }
    }

    /// All inputs together have so many bytes on disk.
    pub fn whole(&self, bytes: u64) {
        if let Some(watched) = &self.0 {
            watched.counts.size.store(bytes, Relaxed);
        }
    }

    /// So many more of these have been read.
    pub fn read(&self, bytes: u64) {
        if let Some(watched) = &self.0 {
            watched.counts.read.fetch_add(bytes, Relaxed);
        }
    }

    /// Take in what a comment of the stream says of the whole: `# STREAM-AT shard:17/312 done:5.4%`.
    pub fn comment(&self, entry: &[u8]) {
        let Some(watched) = &self.0 else { return };
        let Some(place) = place(entry) else { return };
        watched.counts.done.store(place.done, Relaxed);
        watched.counts.shard.store(place.shard, Relaxed);
        watched.counts.shards.store(place.shards, Relaxed);
    }

    /// Whether a line stands on the terminal that other text must not run into.
    pub fn is_drawn(&self) -> bool {
        self.0.as_ref().is_some_and(|watched| watched.bar.is_some())
    }

    /// Write something else to the terminal, with the line out of the way.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.0.as_ref().and_then(|watched| watched.bar.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Draw no more, and wipe what is drawn.
    pub fn finish(&self) {
        if let Some(watched) = &self.0 {
            watched.finish();
        }
    }
}

impl Watched {
    fn finish(&self) {
        let watch = self
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, thread)) = watch {
            drop(stop);
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The thread that looks at the counters.
struct Watch {
    program: &'static str,
    counts: Arc<Counts>,
    bar: Option<ProgressBar>,
    every: Option<Duration>,
    start: Instant,
}

impl Watch {
    fn run(self, stopped: &mpsc::Receiver<()>) {
        let (mut recent, mut logged) = (Speed::default(), Speed::default());
        let mut next = self.every;
        loop {
            let wait = match (&self.bar, next) {
                (None, Some(next)) => next.saturating_sub(self.start.elapsed()),
                _ => DRAWN,
            };
            if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            self.draw(&mut recent);
            if let (Some(at), Some(every)) = (next, self.every)
                && self.start.elapsed() >= at
            {
                self.log(&mut logged);
                next = Some(at + every);
            }
        }
    }

    fn state(&self) -> State {
        let get = |n: &AtomicU64| n.load(Relaxed);
        let shards = get(&self.counts.shards);
        State {
            time: self.start.elapsed(),
            bytes: get(&self.counts.bytes),
            points: get(&self.counts.points),
            done: match shards {
                0 => part(get(&self.counts.read), get(&self.counts.size)),
                _ => Some(get(&self.counts.done)),
            },
            shard: (get(&self.counts.shard), shards),
            held_up: self.counts.held_up.load(Relaxed),
            retries: get(&self.counts.retries),
        }
    }

    fn draw(&self, speed: &mut Speed) {
        let Some(bar) = &self.bar else { return };
        let state = self.state();
        if let Some(done) = state.done
            && bar.length().is_none()
        {
            bar.set_style(style("{prefix}: [{bar:16}] {wide_msg}"));
            bar.set_length(1_000);
            bar.set_position(done);
        }
        bar.set_position(state.done.unwrap_or_default());
        bar.set_message(state.line(speed.over(&state, Duration::from_secs(10))));
        bar.tick();
    }

    fn log(&self, speed: &mut Speed) {
        let state = self.state();
        let line = state.line(speed.over(&state, Duration::ZERO));
        let write = || {
            // If standard error is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{}: {line}", self.program);
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Since the start.
    time: Duration,
    bytes: u64,
    points: u64,
    done: Option<u64>,
    shard: (u64, u64),
    held_up: bool,
    retries: u64,
}

/// A part of a whole in tenths of a percent.
fn part(part: u64, whole: u64) -> Option<u64> {
    let tenths = u128::from(part) * 1_000;
    let tenths = tenths.checked_div(u128::from(whole))?;
    u64::try_from(tenths.min(1_000)).ok()
}

impl State {
    /// What there is to say, at so many bytes a second.
    fn line(&self, speed: Option<f64>) -> String {
        let mut words = Vec::new();
        if let Some(done) = self.done {
            words.push(format!("{}.{}%", done / 10, done % 10));
            words.extend(self.left().map(|left| format!("{} left", span(left))));
            if self.shard.1 > 0 {
                words.push(format!("shard {}/{}", self.shard.0, self.shard.1));
            }
        }
        words.push(bytes(self.bytes as f64));
        words.push(format!("{} points", self.points));
        words.extend(speed.map(|speed| format!("{}/s", bytes(speed))));
        match self.retries {
            0 => {}
            1 => words.push("1 retry".to_owned()),
            n => words.push(format!("{n} retries")),
        }
        if self.held_up {
            words.push("waits for partitions".to_owned());
        }
        words.join(", ")
    }

    /// How long the rest takes if it goes on as it went.
    fn left(&self) -> Option<Duration> {
        let done = self.done.filter(|done| (1..1_000).contains(done))?;
        let rest = u32::try_from(1_000 - done).ok()?;
        self.time
            .checked_mul(rest)?
            .checked_div(u32::try_from(done).ok()?)
    }
}

/// Bytes a second since some time ago.
#[derive(Debug, Default)]
struct Speed(Vec<(Duration, u64)>);

impl Speed {
    /// Over `span`, or since the last question where that is nothing; `None` at first.
    fn over(&mut self, state: &State, span: Duration) -> Option<f64> {
        let old = self
            .0
            .iter()
            .rposition(|(time, _)| *time + span <= state.time);
        self.0.drain(..old.unwrap_or_default());
        let first = self.0.first().copied().unwrap_or_default();
        self.0.push((state.time, state.bytes));
        let time = state
            .time
            .checked_sub(first.0)
            .filter(|time| !time.is_zero())?;
        Some(state.bytes.saturating_sub(first.1) as f64 / time.as_secs_f64())
    }
}

/// An amount for people, in the decimal units of quotas.
fn bytes(n: f64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, unit)| n >= *unit) {
        Some((name, unit)) => format!("{:.2} {name}", n / unit),
        None => format!("{n:.0} B"),
    }
}

/// A length of time for people: its two largest units, rounded up.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (minutes, hours) = (seconds.div_ceil(60), seconds.div_ceil(3_600));
    match (seconds, minutes) {
        (0..60, _) => format!("{seconds}s"),
        (60..3_600, _) => format!("{}min {}s", seconds / 60, seconds % 60),
        (_, 0..1_440) => format!("{}h {}min", minutes / 60, minutes % 60),
        _ => format!("{}d {}h", hours / 24, hours % 24),
    }
}

/// Where the stream is in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    shard: u64,
    shards: u64,
    /// In tenths of a percent.
    done: u64,
}

fn place(entry: &[u8]) -> Option<Place> {
    let text = std::str::from_utf8(entry).ok()?.trim_end();
    let words = text.strip_prefix("# STREAM-AT ")?.split(' ');
    let value = |name: &str| {
        let found = words.clone().find_map(|word| word.strip_prefix(name));
        found.and_then(|word| word.strip_prefix(':'))
    };
    let (shard, shards) = value("shard")?.split_once('/')?;
    let done: f64 = value("done")?.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&done).then_some(())?;
    Some(Place {
        shard: shard.parse().ok()?,
        shards: shards.parse().ok()?,
        done: (done * 10.0).round() as u64,
    })
}

fn bar(program: &'static str, is_terminal: bool) -> ProgressBar {
    let target = match is_terminal {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::term_like(Box::new(Plain)),
    };
    let bar = ProgressBar::no_length().with_prefix(program);
    bar.set_draw_target(target);
    bar.set_style(style("{prefix}: {spinner} {wide_msg}"));
    bar
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours, and tested.
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").tick_chars("-\\|/ ")
}

/// Standard error that is asked to show progress although it is no terminal.
#[derive(Debug)]
struct Plain;

impl Plain {
    fn write(text: &str) -> io::Result<()> {
        io::stderr().write_all(text.as_bytes())
    }
}

impl TermLike for Plain {
    fn width(&self) -> u16 {
        120
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        match n {
            0 => Ok(()),
            n => Self::write(&format!("\x1b[{n}A")),
        }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        Self::write(&"\n".repeat(n))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        match n {
            0 => Ok(()),
            n => Self::write(&format!("\x1b[{n}C")),
        }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        match n {
            0 => Ok(()),
            n => Self::write(&format!("\x1b[{n}D")),
        }
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        Self::write(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        Self::write(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        Self::write("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_of_a_pipe_draws_unless_it_is_told_otherwise() {
        let args = |progress, quiet| Args { progress, quiet };
        assert!(args(false, false).wants(true, true));
        assert!(!args(false, false).wants(true, false));
        assert!(!args(false, false).wants(false, true));
        assert!(args(true, false).wants(false, false));
        assert!(!args(false, true).wants(true, true));
    }

    #[test]
    fn the_stream_says_where_it_is() {
        let expected = Place {
            shard: 17,
            shards: 312,
            done: 54,
        };
        let entry = b"# STREAM-AT shard:17/312 done:5.4%\n";
        assert_eq!(Some(expected), place(entry));
        let entry = b"# STREAM-AT new:1 done:100.0% shard:1/1\n";
        assert_eq!(Some(1_000), place(entry).map(|place| place.done));
        for other in [
            "# STREAM-AT",
            "# note",
            "# STREAM-AT shard:1/2 done:x%",
            "# STREAM-AT shard:1/2 done:101%",
        ] {
            assert_eq!(None, place(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_line_says_the_whole_and_the_time_left_where_they_are_known() {
        let mut state = State {
            time: Duration::from_secs(60),
            bytes: 61_000_000,
            points: 12,
            done: None,
            shard: (0, 0),
            held_up: false,
            retries: 0,
        };
        assert_eq!("61.00 MB, 12 points", state.line(None));
        state.done = Some(54);
        state.shard = (17, 312);
        state.held_up = true;
        assert_eq!(
            "5.4%, 17min 32s left, shard 17/312, 61.00 MB, 12 points, 1.02 kB/s, waits for partitions",
            state.line(Some(1_016.0))
        );
        state.done = Some(0);
        assert!(!state.line(None).contains("left"));
        // Files say how far they are, and no shard.
        (state.shard, state.held_up) = ((0, 0), false);
        (state.done, state.retries) = (part(1, 4), 1);
        assert_eq!(
            "25.0%, 3min 0s left, 61.00 MB, 12 points, 1 retry",
            state.line(None)
        );
        state.retries = 2;
        assert!(state.line(None).ends_with("2 retries"));
    }

    #[test]
    fn a_part_is_at_most_the_whole() {
        assert_eq!(None, part(1, 0));
        assert_eq!(Some(1_000), part(9, 8));
        assert_eq!(Some(999), part(u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn speed_is_that_of_the_last_seconds() {
        let state = |seconds, bytes| State {
            time: Duration::from_secs(seconds),
            bytes,
            points: 0,
            done: None,
            shard: (0, 0),
            held_up: false,
            retries: 0,
        };
        let mut speed = Speed::default();
        let ten = Duration::from_secs(10);
        assert_eq!(None, speed.over(&state(0, 0), ten));
        assert_eq!(Some(100.0), speed.over(&state(1, 100), ten));
        assert_eq!(Some(10.0), speed.over(&state(11, 200), ten));
        let mut speed = Speed::default();
        assert_eq!(Some(50.0), speed.over(&state(2, 100), Duration::ZERO));
        assert_eq!(Some(0.0), speed.over(&state(4, 100), Duration::ZERO));
        assert_eq!(Some(300.0), speed.over(&state(5, 400), Duration::ZERO));
    }

    #[test]
    fn spans_are_short_and_never_too_short() {
        for (millis, expected) in [
            (0, "0s"),
            (1, "1s"),
            (59_000, "59s"),
            (59_001, "1min 0s"),
            (3_599_000, "59min 59s"),
            (3_601_000, "1h 1min"),
            (86_399_000, "1d 0h"),
            (90_000_000, "1d 1h"),
            (4_233_600_000, "49d 0h"),
        ] {
            assert_eq!(expected, span(Duration::from_millis(millis)), "{millis}");
        }
    }

    #[test]
    fn the_templates_can_be_read() {
        for template in [
            "{prefix}: {spinner} {wide_msg}",
            "{prefix}: [{bar:16}] {wide_msg}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
