//! Several batches on their way at once, and no more in memory than that.
//!
//! A batch of a lane goes to the worker of that lane, any other to whoever is free. So a request that has to be sent
//! again holds up its own worker only, until the batches that wait for it take all the room there is.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::post::Error;
use crate::post::batch::Batch;
use crate::post::journal::Mark;

/// How often whoever waits for the workers looks for a call to stop.
const LOOK: Duration = Duration::from_millis(100);

/// How long requests that are on their way get to end when the run is given up.
const GRACE: Duration = Duration::from_secs(1);

/// What a worker does with a batch.
pub type Work = Box<dyn FnMut(&Batch, Option<Mark>) -> Result<(), Error> + Send>;

/// A batch to be brought to the server.
struct Job {
    batch: Batch,
    mark: Option<Mark>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Bytes in the queue and on their way.
    bytes: usize,
    /// Batches on their way.
    busy: usize,
    /// Why there is no use in going on.
    failed: Option<Error>,
    has_failed: bool,
    /// There will be no more.
    closed: bool,
    /// Whether somebody waits for a batch whose memory serves again.
    wants_spare: bool,
    /// That batch.
    spare: Option<Batch>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch for a worker; `None` when there will be none.
    fn next(&self, worker: usize) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.has_failed {
                return None;
            }
            let mine = |job: &Job| job.batch.lane().is_none_or(|lane| lane == worker);
            if let Some(at) = state.queue.iter().position(mine) {
                state.busy += 1;
                return state.queue.remove(at);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, batch: Batch, result: Result<(), Error>) {
        let mut state = self.lock();
        state.bytes -= batch.size();
        state.busy -= 1;
        if std::mem::take(&mut state.wants_spare) {
            state.spare = Some(batch);
        }
        if let Err(err) = result {
            state.fail(err);
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    /// The first failure is the one to report; those after it follow from it.
    fn fail(&mut self, err: Error) {
        if !self.has_failed {
            self.failed = Some(err);
        }
        self.has_failed = true;
    }
}

/// Dropped by a worker that panics in the middle of a batch: whoever waits for it must not wait for ever.
struct Watched<'a>(&'a Shared, bool);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !self.1 {
            let mut state = self.0.lock();
            state.busy -= 1;
            state.fail(Error::Service("a worker has panicked".to_owned()));
            drop(state);
            self.0.changed.notify_all();
        }
    }
}

/// The workers, and the batches that are theirs.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Bytes that may be in the queue and on their way.
    room: usize,
    /// Whether there is a call to stop.
    stopped: Box<dyn FnMut() -> bool + Send>,
}

impl Pool {
    /// One worker for each piece of `work`; batches of at most `room` bytes in all are theirs at once.
    pub fn start(work: Vec<Work>, room: usize, stopped: Box<dyn FnMut() -> bool + Send>) -> Self {
        let shared = Arc::new(Shared::default());
        let workers = work.into_iter().enumerate().map(|(worker, mut work)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while let Some(Job { batch, mark }) = shared.next(worker) {
                    let mut watched = Watched(&shared, false);
                    let result = work(&batch, mark);
                    watched.1 = true;
                    shared.done(batch, result);
                }
            })
        });
        Self {
            workers: workers.collect(),
            shared,
            room,
            stopped,
        }
    }

    /// How many workers there are.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Hand over a batch, as soon as there is room for it.
    pub fn push(&mut self, batch: Batch, mark: Option<Mark>) -> Result<(), Error> {
        let (len, room) = (batch.size(), self.room);
        let mut state = self.wait_until(|state| state.bytes == 0 || state.bytes + len <= room)?;
        state.bytes += len;
        state.queue.push_back(Job { batch, mark });
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Wait until all batches are done with.
    pub fn drain(&mut self) -> Result<(), Error> {
        self.wait_until(|state| state.queue.is_empty() && state.busy == 0)
            .map(drop)
    }

    /// The failure of a worker, if there was one.
    pub fn check(&mut self) -> Result<(), Error> {
        self.wait_until(|_| true).map(drop)
    }

    /// A batch whose memory serves again. If there is none yet, the next one that is done with is kept for later;
    /// all others give their memory back.
    pub fn spare(&self) -> Option<Batch> {
        let mut state = self.shared.lock();
        let spare = state.spare.take();
        state.wants_spare = spare.is_none();
        spare
    }

    /// Send no more, and give what is on its way a moment to end.
    pub fn give_up(&mut self) {
        let until = Instant::now() + GRACE;
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.clear();
        self.shared.changed.notify_all();
        while state.busy > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_until(
        &mut self,
        ready: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.shared.lock();
        loop {
            if state.has_failed {
                return Err(state.failed.take().unwrap_or(Error::Stopped));
            }
            if ready(&state) {
                return Ok(state);
            }
            if (self.stopped)() {
                return Err(Error::Stopped);
            }
            let waited = self.shared.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::post::batch::{Batches, Limits};

    fn batch(text: &str, lane: Option<usize>) -> Batch {
        let most = NonZeroUsize::MAX;
        let mut batches = Batches::new(Limits {
            lines: most,
            bytes: most,
            total: most,
        });
        batches.switch(&Arc::default());
        batches.push(lane, format!("{text}\n").as_bytes(), 1, None);
        batches.take_all().remove(0)
    }

    fn text(batch: &Batch) -> String {
        String::from_utf8_lossy(batch.body()).trim_end().to_owned()
    }

    /// Workers that tell what they have and wait for a word before they are done.
    struct Slow {
        pool: Pool,
        has: Receiver<(usize, String)>,
        may_end: Vec<Sender<Result<(), Error>>>,
    }

    fn slow(workers: usize, room: usize) -> Slow {
        let (told, has) = channel();
        let (mut work, mut may_end) = (Vec::new(), Vec::new());
        for worker in 0..workers {
            let (word, wait) = channel();
            may_end.push(word);
            let told = told.clone();
            work.push(Box::new(move |batch: &Batch, _| {
                told.send((worker, text(batch))).unwrap();
                wait.recv().unwrap()
            }) as Work);
        }
        Slow {
            pool: Pool::start(work, room, Box::new(|| false)),
            has,
            may_end,
        }
    }

    #[test]
    fn lanes_are_held_up_alone_and_keep_their_order() {
        let mut slow = slow(2, 10_000);
        for (text, lane) in [("a1", 0), ("a2", 0), ("b1", 1), ("b2", 1)] {
            slow.pool.push(batch(text, Some(lane)), None).unwrap();
        }
        let mut first = [slow.has.recv().unwrap(), slow.has.recv().unwrap()];
        first.sort();
        assert_eq!([(0, "a1".to_owned()), (1, "b1".to_owned())], first);
        slow.may_end[1].send(Ok(())).unwrap();
        assert_eq!((1, "b2".to_owned()), slow.has.recv().unwrap());
        slow.may_end[0].send(Ok(())).unwrap();
        assert_eq!((0, "a2".to_owned()), slow.has.recv().unwrap());
        slow.may_end
            .iter()
            .for_each(|end| end.send(Ok(())).unwrap());
        slow.pool.drain().unwrap();
    }

    #[test]
    fn whoever_is_free_takes_what_has_no_lane() {
        let mut slow = slow(2, 10_000);
        for text in ["1", "2", "3"] {
            slow.pool.push(batch(text, None), None).unwrap();
        }
        let (held, _) = slow.has.recv().unwrap();
        let (other, _) = slow.has.recv().unwrap();
        assert_ne!(held, other);
        slow.may_end[other].send(Ok(())).unwrap();
        assert_eq!((other, "3".to_owned()), slow.has.recv().unwrap());
        slow.may_end
            .iter()
            .for_each(|end| end.send(Ok(())).unwrap());
        slow.pool.drain().unwrap();
    }

    #[test]
    fn no_more_is_taken_than_there_is_room_for() {
        // Two batches; the third has to wait until one of them is done.
        let mut slow = slow(1, 2 * batch("1", None).size());
        slow.pool.push(batch("1", None), None).unwrap();
        slow.pool.push(batch("2", None), None).unwrap();
        slow.pool.stopped = Box::new(|| true);
        assert!(matches!(
            slow.pool.push(batch("3", None), None),
            Err(Error::Stopped)
        ));
        slow.pool.stopped = Box::new(|| false);
        slow.may_end[0].send(Ok(())).unwrap();
        slow.pool.push(batch("4", None), None).unwrap();
        (0..2).for_each(|_| slow.may_end[0].send(Ok(())).unwrap());
        slow.pool.drain().unwrap();
        let all: Vec<_> = slow.has.try_iter().map(|(_, text)| text).collect();
        assert_eq!(vec!["1", "2", "4"], all);
    }

    #[test]
    fn a_batch_larger_than_all_room_goes_alone() {
        let mut slow = slow(1, 1);
        slow.pool.push(batch("large", None), None).unwrap();
        slow.may_end[0].send(Ok(())).unwrap();
        slow.pool.drain().unwrap();
    }

    #[test]
    fn the_first_failure_is_reported_and_nothing_more_is_begun() {
        let mut slow = slow(1, 10_000);
        for text in ["1", "2"] {
            slow.pool.push(batch(text, None), None).unwrap();
        }
        let failed = Err(Error::Permission("no".to_owned()));
        slow.may_end[0].send(failed).unwrap();
        assert!(matches!(slow.pool.drain(), Err(Error::Permission(_))));
        assert!(matches!(slow.pool.check(), Err(Error::Stopped)));
        slow.pool.give_up();
        assert_eq!(1, slow.has.try_iter().count());
    }

    #[test]
    fn a_worker_that_panics_is_a_failure() {
        let work: Work = Box::new(|_, _| panic!("on purpose"));
        let mut pool = Pool::start(vec![work], 100, Box::new(|| false));
        pool.push(batch("1", None), None).unwrap();
        assert!(matches!(pool.drain(), Err(Error::Service(_))));
    }
}
