//! One allowance for all processes on a host that name the same file.
//!
//! The file holds a `ledger`; each process locks it for the moment of one look and one change, which is one write of
//! less than a page and so is never seen half done, even if the process is killed. Nobody holds the lock while it
//! waits or writes elsewhere. Times are those of the boot clock, which all processes share; after a reboot the ledger
//! of before means nothing, and all begin with an empty bucket.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ledger::{Ledger, MAX_LEN, Who};
use super::pacer::nanos;
use super::{Limit, TooLarge, Turn};

/// What is booked at once where there is plenty, in bytes: each booking costs a few system calls.
///
/// As long as nobody waits for its output, so much is always written without waiting once a pipe takes anything.
pub const PIECE: u64 = 4096;

/// The largest part of the burst that one process books ahead.
const PART: u64 = 8;

/// A budget that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read, written or locked.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no budget file (name one that does not exist yet)", .0.display())]
    Foreign(PathBuf),
    /// Others keep to another limit there.
    #[error("{} is shared at {theirs} by others (say the same rate, or name another file)", path.display())]
    OtherLimit {
        /// The file.
        path: PathBuf,
        /// What they keep to.
        theirs: Limit,
    },
}

/// A share in the allowance of a file.
#[derive(Debug)]
pub struct Budget {
    path: PathBuf,
    file: File,
    limit: Limit,
    boot: String,
    who: Who,
    /// Booked in the file and not yet by our user.
    granted: u64,
    full_in: Duration,
}

impl Budget {
    /// Take part; the file is made if it does not exist.
    pub fn open(path: &Path, limit: Limit, now: Duration) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        let budget = Self {
            path: path.to_owned(),
            file,
            limit,
            boot: boot_id(),
            who: me(),
            granted: 0,
            full_in: Duration::ZERO,
        };
        budget.with(now, |_| ())?;
        Ok(budget)
    }

    /// The limit that is kept.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Ask to pass `n` bytes in one piece.
    pub fn book(&mut self, now: Duration, n: u64) -> Result<Result<Turn, TooLarge>, Error> {
        if let Some(rest) = self.granted.checked_sub(n) {
            self.granted = rest;
            return Ok(Ok(Turn::Go));
        }
        let (who, need) = (self.who, n - self.granted);
        let alive = |other: &Who| is_alive(other, who.space);
        let want = PIECE.min(self.limit.amount() / 100 / PART).max(need);
        let booked = self.with(now, |ledger| {
            let turn = ledger.book(nanos(now), who, need, want, &alive);
            (turn, ledger.full_in())
        })?;
        let (turn, full_in) = booked;
        self.full_in = full_in;
        Ok(turn.map(|turn| match turn {
            Ok(got) => {
                self.granted = self.granted + got - n;
                Turn::Go
            }
            Err(turn) => turn,
        }))
    }

    /// Charge `n` of the booked bytes, which have passed by now; what is booked ahead goes back.
    pub fn passed(&mut self, now: Duration, n: u64) -> Result<(), Error> {
        let (who, unspent) = (self.who, std::mem::take(&mut self.granted));
        if n == 0 && unspent == 0 {
            return Ok(());
        }
        self.with(now, |ledger| ledger.passed(nanos(now), who, n, unspent))
    }

    /// Nobody who names the file books anything for this time: the server has had more than it takes.
    pub fn pause(&self, now: Duration, time: Duration) -> Result<(), Error> {
        self.with(now, |ledger| ledger.pause(nanos(now), time))
    }

    /// How long from the last question until the bucket is full.
    pub fn full_in(&self) -> Duration {
        self.full_in
    }

    /// Look at the ledger and change it, alone.
    fn with<T>(&self, now: Duration, change: impl FnOnce(&mut Ledger) -> T) -> Result<T, Error> {
        let io = |source| Error::Io {
            path: self.path.clone(),
            source,
        };
        lock(&self.file).map_err(io)?;
        let result = self.locked(nanos(now), change);
        let unlocked = self.file.unlock().map_err(io);
        result.and_then(|value| unlocked.map(|()| value))
    }

    fn locked<T>(&self, now: u64, change: impl FnOnce(&mut Ledger) -> T) -> Result<T, Error> {
        let io = |source| Error::Io {
            path: self.path.clone(),
            source,
        };
        let mut buf = [0; MAX_LEN];
        let len = read(&self.file, &mut buf).map_err(io)?;
        let text = buf.get(..len).unwrap_or_default();
        let found = Ledger::read(text).map_err(|_| Error::Foreign(self.path.clone()))?;
        let found = found.filter(|ledger| ledger.is_current(&self.boot, now));
        let mut ledger = match found {
            None => Ledger::new(&self.boot, self.limit, now),
            Some(ledger) if ledger.limit() == self.limit => ledger,
            Some(ledger) => self.anew(ledger, now)?,
        };
        let value = change(&mut ledger);
        self.file
            .write_all_at(ledger.print().as_bytes(), 0)
            .map_err(io)?;
        Ok(value)
    }

    /// A ledger at our limit, if nobody uses the other one any more.
    fn anew(&self, mut theirs: Ledger, now: u64) -> Result<Ledger, Error> {
        if theirs.is_idle(now, &|other| is_alive(other, self.who.space)) {
            return Ok(Ledger::new(&self.boot, self.limit, now));
        }
        Err(Error::OtherLimit {
            path: self.path.clone(),
            theirs: theirs.limit(),
        })
    }
}

fn lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn read(file: &File, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(len)
}

/// The time since the host was started, the same for all its processes.
pub fn boot_clock() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// What tells this run of the host from the one before; where the system does not say, the clock has to.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = id.trim();
    if id.is_empty() { "unknown" } else { id }.to_owned()
}

fn me() -> Who {
    let pid = std::process::id();
    Who {
        pid,
        start: start_of(pid).unwrap_or_default(),
        space: space(),
    }
}

/// The space of process numbers that we live in.
fn space() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |data| data.ino())
}

/// When a process was started, in ticks since boot (`/proc/PID/stat`, field 22; the second one may hold anything).
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    // A zombie writes nothing any more.
    fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    fields.nth(18)?.parse().ok()
}

/// Whether a process is still there; one in another space than ours cannot be looked at.
fn is_alive(who: &Who, space: u64) -> Option<bool> {
    if who.space != space {
        return None;
    }
    if who.start > 0 {
        return Some(start_of(who.pid) == Some(who.start));
    }
    let pid = i32::try_from(who.pid).ok();
    let found = rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid?)?);
    Some(found != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(amount: u64) -> Limit {
        Limit::new(NonZeroU64::new(amount).unwrap(), SECOND)
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("budget");
        (dir, path)
    }

    /// A full bucket of 800 bytes in a file.
    fn full(path: &Path) -> Budget {
        let mut budget = Budget::open(path, limit(80_000), 100 * SECOND).unwrap();
        assert_eq!(Ok(Turn::Go), budget.book(200 * SECOND, 1).unwrap());
        budget.passed(200 * SECOND, 1).unwrap();
        budget
    }

    #[test]
    fn all_who_name_a_file_spend_one_allowance() {
        let (_dir, path) = file();
        let mut one = full(&path);
        let mut two = Budget::open(&path, limit(80_000), 200 * SECOND).unwrap();
        assert_eq!(Ok(Turn::Go), one.book(200 * SECOND, 400).unwrap());
        one.passed(200 * SECOND, 400).unwrap();
        // 399 bytes are left, and 79200 come in every second.
        let Ok(Turn::Wait(wait)) = two.book(200 * SECOND, 400).unwrap() else {
            panic!("more than there is");
        };
        assert_eq!(Duration::from_nanos(12_627), wait);
        assert_eq!(Ok(Turn::Go), two.book(201 * SECOND, 400).unwrap());
    }

    #[test]
    fn what_is_booked_ahead_is_spent_without_a_look_and_given_back() {
        let (_dir, path) = file();
        let mut one = full(&path);
        assert_eq!(Ok(Turn::Go), one.book(200 * SECOND, 1).unwrap());
        assert_eq!(99, one.granted);
        assert_eq!(Ok(Turn::Go), one.book(200 * SECOND, 98).unwrap());
        assert_eq!(1, one.granted);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(" 100 0 0 0\nend "), "{text}");
        one.passed(200 * SECOND, 99).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("\nseat 1"), "{text}");
    }

    #[test]
    fn a_pause_of_one_holds_up_all() {
        let (_dir, path) = file();
        let one = full(&path);
        let mut two = Budget::open(&path, limit(80_000), 200 * SECOND).unwrap();
        one.pause(200 * SECOND, 60 * SECOND).unwrap();
        let wait = Turn::Wait(59 * SECOND);
        assert_eq!(Ok(wait), two.book(201 * SECOND, 1).unwrap());
        assert_eq!(Ok(Turn::Go), two.book(260 * SECOND, 1).unwrap());
    }

    #[test]
    fn a_reboot_begins_with_an_empty_bucket() {
        let (_dir, path) = file();
        drop(full(&path));
        let text = std::fs::read(&path).unwrap();
        let old = Ledger::read(&text).unwrap().unwrap();
        let of_before = Ledger::new("before", old.limit(), 999_999_999_999);
        std::fs::write(&path, of_before.print()).unwrap();
        let mut budget = Budget::open(&path, limit(80_000), SECOND).unwrap();
        let expected = Turn::Wait(Duration::from_nanos(12_627));
        assert_eq!(Ok(expected), budget.book(SECOND, 1).unwrap());
        // Another rate is as good after a reboot.
        std::fs::write(&path, of_before.print()).unwrap();
        assert!(Budget::open(&path, limit(7), SECOND).is_ok());
    }

    #[test]
    fn a_file_that_is_no_budget_is_left_alone() {
        let (_dir, path) = file();
        std::fs::write(&path, "cpu v=1 1\n").unwrap();
        let err = Budget::open(&path, limit(1), SECOND).unwrap_err();
        assert!(matches!(err, Error::Foreign(_)), "{err}");
        assert_eq!("cpu v=1 1\n", std::fs::read_to_string(&path).unwrap());
    }

    #[test]
    fn another_limit_is_refused_while_the_first_is_in_use() {
        let (_dir, path) = file();
        drop(full(&path));
        let other = |now| Budget::open(&path, limit(7), now);
        let err = other(200 * SECOND).unwrap_err().to_string();
        assert!(
            err.ends_with(
                "is shared at 80kB/s by others (say the same rate, or name another file)"
            )
        );
        assert!(other(202 * SECOND).is_ok());
    }

    #[test]
    fn we_are_alive_and_a_child_that_ended_is_not() {
        assert_eq!(Some(true), is_alive(&me(), space()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let (pid, start) = (child.id(), start_of(child.id()));
        child.wait().unwrap();
        let who = Who {
            pid,
            start: start.unwrap_or(1),
            space: space(),
        };
        assert_eq!(Some(false), is_alive(&who, space()));
        let of_another_start = Who {
            start: me().start + 1,
            ..me()
        };
        assert_eq!(Some(false), is_alive(&of_another_start, space()));
        assert_eq!(None, is_alive(&Who { space: 1, ..me() }, space()));
    }
}
