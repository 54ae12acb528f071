//! Work done by several threads, with results in the order of the work.
//!
//! One thread feeds, some work, and the caller's own thread takes the results. What has been fed and not yet been
//! taken is bounded, in number and in cost, so memory is bounded however unequal the work is. A result that is ready
//! before its turn waits for it; of one that is long in the making parts can be taken before the rest is there.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How much may be under way.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Threads that work.
    pub jobs: NonZeroUsize,
    /// Pieces of work fed and not yet taken.
    pub window: NonZeroUsize,
    /// What these may cost together, unless it is a single one.
    pub cost: usize,
}

impl Bounds {
    /// Twice as many pieces as threads: while one half is worked at, the other one is fed and taken.
    pub fn new(jobs: NonZeroUsize, cost: usize) -> Self {
        let window = jobs.saturating_mul(NonZeroUsize::MIN.saturating_add(1));
        Self { jobs, window, cost }
    }
}

/// What a place in the line holds.
enum Place<W, R> {
    Todo(W),
    /// Perhaps a part of the result, which has not been taken.
    Doing(Option<R>),
    /// The last part, and perhaps the one before it.
    Done(Option<R>, R),
}

struct State<W, R> {
    /// In the order of feeding, with what each may cost.
    line: VecDeque<(Place<W, R>, usize)>,
    /// How many places have left the line at its front.
    taken: usize,
    /// How many pieces workers have begun with, or found done; counted from the first place ever.
    begun: usize,
    cost: usize,
    /// Nothing more will be fed.
    is_closed: bool,
    /// Nobody wants anything any more.
    is_stopped: bool,
    /// Threads that sleep: feeding, taking, working at something of which a part has to be taken first.
    sleeping: [usize; 3],
    /// By number, whether a worker sleeps.
    idle: Vec<bool>,
}

/// Who can sleep, idle workers aside.
#[derive(Clone, Copy)]
enum Who {
    Feeder,
    Taker,
    Worker,
}

/// The line between the threads.
struct Line<W, R> {
    bounds: Bounds,
    state: Mutex<State<W, R>>,
    bells: [Condvar; 3],
    /// One for each worker.
    calls: Vec<Condvar>,
}

type Guard<'a, W, R> = MutexGuard<'a, State<W, R>>;

impl<W, R> Line<W, R> {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::new(State {
                line: VecDeque::new(),
                taken: 0,
                begun: 0,
                cost: 0,
                is_closed: false,
                is_stopped: false,
                sleeping: [0; 3],
                idle: vec![false; bounds.jobs.get()],
            }),
            bells: Default::default(),
            calls: (0..bounds.jobs.get()).map(|_| Condvar::new()).collect(),
        }
    }

    fn lock(&self) -> Guard<'_, W, R> {
        // No invariant is broken half way: a thread that panics inside leaves a line that can be stopped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(&self, who: Who, mut state: Guard<'a, W, R>) -> Guard<'a, W, R> {
        state.sleeping[who as usize] += 1;
        let woken = self.bells[who as usize].wait(state);
        let mut state = woken.unwrap_or_else(PoisonError::into_inner);
        state.sleeping[who as usize] -= 1;
        state
    }

    /// What to ring to wake those who sleep; a bell that nobody hears is not rung, as it costs a call of the system.
    fn bell(&self, who: Who, state: &Guard<'_, W, R>) -> Option<&Condvar> {
        let sleeps = state.sleeping[who as usize] > 0;
        self.bells.get(who as usize).filter(|_| sleeps)
    }

    fn rest<'a>(&self, worker: usize, mut state: Guard<'a, W, R>) -> Guard<'a, W, R> {
        let (Some(idle), Some(call)) = (state.idle.get_mut(worker), self.calls.get(worker)) else {
            return state;
        };
        *idle = true;
        let woken = call.wait(state);
        let mut state = woken.unwrap_or_else(PoisonError::into_inner);
        // Whatever woke it: it is awake.
        if let Some(idle) = state.idle.get_mut(worker) {
            *idle = false;
        }
        state
    }

    /// What to ring to wake the first worker that sleeps. Where there is work for few only few ever work, and memory
    /// that one has given back is there for the next piece: the allocator keeps some for each thread.
    fn call(&self, state: &mut Guard<'_, W, R>) -> Option<&Condvar> {
        let first = state.idle.iter().position(|idle| *idle)?;
        *state.idle.get_mut(first)? = false;
        self.calls.get(first)
    }

    fn wake_all(&self) {
        let all = self.bells.iter().chain(&self.calls);
        all.for_each(Condvar::notify_all);
    }

    fn stop(&self) {
        self.lock().is_stopped = true;
        self.wake_all();
    }

    fn put(&self, place: Place<W, R>, cost: usize) -> bool {
        let mut state = self.lock();
        while !state.is_stopped && !self.has_room(&state, cost) {
            state = self.sleep(Who::Feeder, state);
        }
        if state.is_stopped {
            return false;
        }
        let is_work = matches!(place, Place::Todo(_));
        state.line.push_back((place, cost));
        state.cost += cost;
        let bell = match is_work {
            true => self.call(&mut state),
            false => self.bell(Who::Taker, &state),
        };
        ring(bell, state);
        true
    }

    fn has_room(&self, state: &State<W, R>, cost: usize) -> bool {
        let is_cheap = state.cost + cost <= self.bounds.cost;
        state.line.is_empty() || (state.line.len() < self.bounds.window.get() && is_cheap)
    }

    fn wait_empty(&self) -> bool {
        let mut state = self.lock();
        while !state.is_stopped && !state.line.is_empty() {
            state = self.sleep(Who::Feeder, state);
        }
        !state.is_stopped
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.wake_all();
    }

    /// Whether a piece costs more than half of all that may be under way: then there is no second one at the same time,
    /// the first worker does all of them, and memory that the allocator keeps for its thread is used again.
    fn is_heavy(&self, cost: usize) -> bool {
        cost > self.bounds.cost / 2
    }

    /// The next piece of work that nobody has begun with, and its number, for the worker that asks.
    fn begin(&self, worker: usize) -> Option<(usize, W)> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            state.begun = state.begun.max(state.taken);
            let (at, is_closed) = (state.begun - state.taken, state.is_closed);
            match state.line.get_mut(at) {
                Some((Place::Todo(_), cost)) if worker > 0 && self.is_heavy(*cost) => {
                    state = self.rest(worker, state);
                }
                Some((place @ Place::Todo(_), cost)) => {
                    let place = std::mem::replace(place, Place::Doing(None));
                    let is_heavy = self.is_heavy(*cost);
                    state.begun += 1;
                    let (begun, following) = (state.begun, state.line.len() - (at + 1));
                    if is_heavy {
                        // Others have seen it, and gone to sleep before what follows.
                        let calls = (0..following).filter_map(|_| self.call(&mut state));
                        calls.for_each(Condvar::notify_one);
                    }
                    if let Place::Todo(work) = place {
                        return Some((begun - 1, work));
                    }
                }
                Some(_) => state.begun += 1,
                None if is_closed => return None,
                None => state = self.rest(worker, state),
            }
        }
    }

    /// Put a part of a result in its place, once the one before it has been taken; `false` if nobody wants it any more.
    fn part(&self, number: usize, part: R) -> bool {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return false;
            }
            let at = number - state.taken;
            match state.line.get_mut(at) {
                Some((Place::Doing(place @ None), _)) => {
                    *place = Some(part);
                    let bell = self.bell(Who::Taker, &state);
                    ring(bell.filter(|_| at == 0), state);
                    return true;
                }
                _ => state = self.sleep(Who::Worker, state),
            }
        }
    }

    fn end(&self, number: usize, result: R) {
        let mut state = self.lock();
        let at = number - state.taken;
        if let Some((place, _)) = state.line.get_mut(at) {
            let part = match place {
                Place::Doing(part) => part.take(),
                _ => None,
            };
            *place = Place::Done(part, result);
        }
        let bell = self.bell(Who::Taker, &state);
        ring(bell.filter(|_| at == 0), state);
    }

    /// The next result, or part of one; nothing if there is none left.
    fn take(&self) -> Option<R> {
        let mut state = self.lock();
        loop {
            if let Some((Place::Doing(part) | Place::Done(part, _), _)) = state.line.front_mut()
                && let Some(part) = part.take()
            {
                ring(self.bell(Who::Worker, &state), state);
                return Some(part);
            }
            if let Some((Place::Done(..), _)) = state.line.front()
                && let Some((Place::Done(_, result), cost)) = state.line.pop_front()
            {
                state.taken += 1;
                state.cost -= cost;
                // Half the window at once: each time costs two calls of the system.
                let is_half = state.line.len() * 2 <= self.bounds.window.get();
                let bell = self.bell(Who::Feeder, &state);
                ring(bell.filter(|_| is_half), state);
                return Some(result);
            }
            if state.is_stopped || (state.is_closed && state.line.is_empty()) {
                return None;
            }
            state = self.sleep(Who::Taker, state);
        }
    }
}

/// Ring a bell once nobody holds what those who wake want to look at.
fn ring<W, R>(bell: Option<&Condvar>, state: Guard<'_, W, R>) {
    drop(state);
    bell.into_iter().for_each(Condvar::notify_all);
}

/// Stops the line when it is dropped: nobody is to wait for a thread that has panicked or gone.
struct Stop<'a, W, R>(&'a Line<W, R>);

impl<W, R> Drop for Stop<'_, W, R> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Stops the line if its thread panics.
struct Alarm<'a, W, R>(&'a Line<W, R>);

impl<W, R> Drop for Alarm<'_, W, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// Where work is fed.
pub struct Feed<'a, W, R>(&'a Line<W, R>);

impl<W, R> Feed<'_, W, R> {
    /// Add a piece of work, once there is room; `false` if nobody wants it any more.
    pub fn put(&self, work: W, cost: usize) -> bool {
        self.0.put(Place::Todo(work), cost)
    }

    /// Add a result that needs no work, in its turn; `false` if nobody wants it any more.
    pub fn done(&self, result: R) -> bool {
        self.0.put(Place::Done(None, result), 0)
    }

    /// Wait until all that was fed has been taken; `false` if nobody wants anything any more.
    pub fn wait(&self) -> bool {
        self.0.wait_empty()
    }
}

/// Where parts of a result go, while it is made.
pub struct Parts<'a, W, R> {
    line: &'a Line<W, R>,
    number: usize,
}

impl<W, R> Parts<'_, W, R> {
    /// Hand over the next part, once the one before it has been taken; `false` if nobody wants it any more.
    pub fn put(&self, part: R) -> bool {
        self.line.part(self.number, part)
    }
}

/// Feed work, have it done, take the results in order.
///
/// `worker` is asked once in each thread for what does the work. An error of `take` ends everything; work that is
/// under way then is finished and forgotten. `feed` is told by the answers of [`Feed`], and should return.
pub fn run<W: Send, R: Send, D: FnMut(W, &Parts<'_, W, R>) -> R, E>(
    bounds: Bounds,
    feed: impl FnOnce(&Feed<'_, W, R>) + Send,
    worker: impl Fn() -> D + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let line = Line::new(bounds);
    thread::scope(|scope| {
        let (line, worker) = (&line, &worker);
        let _stop = Stop(line);
        scope.spawn(move || {
            let _alarm = Alarm(line);
            feed(&Feed(line));
            line.close();
        });
        for own in 0..bounds.jobs.get() {
            scope.spawn(move || {
                let _alarm = Alarm(line);
                let mut work = worker();
                while let Some((number, piece)) = line.begin(own) {
                    line.end(number, work(piece, &Parts { line, number }));
                }
            });
        }
        while let Some(result) = line.take() {
            take(result)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use proptest::prelude::*;

    fn bounds(jobs: usize, window: usize, cost: usize) -> Bounds {
        Bounds {
            jobs: NonZeroUsize::new(jobs).unwrap(),
            window: NonZeroUsize::new(window).unwrap(),
            cost,
        }
    }

    /// Takes longer for some pieces than for others.
    fn spin(n: u64) -> u64 {
        let rounds = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        (0..rounds).fold(n, |n, _| std::hint::black_box(n))
    }

    /// The same, with the number in some parts before.
    fn spin_in_parts(n: u64, parts: &Parts<'_, u64, u64>) -> u64 {
        (0..n % 4).for_each(|_| assert!(parts.put(spin(n))));
        spin(n)
    }

    #[test]
    fn what_is_under_way_stays_within_bounds() {
        let (fed, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let most = AtomicUsize::new(0);
        let feed = |feed: &Feed<'_, usize, usize>| {
            for n in 0..2000 {
                assert!(feed.put(n, 3));
                fed.fetch_add(1, Ordering::SeqCst);
                let under_way = n + 1 - taken.load(Ordering::SeqCst);
                most.fetch_max(under_way, Ordering::SeqCst);
            }
        };
        let take = |n: usize| {
            assert_eq!(n, taken.fetch_add(1, Ordering::SeqCst));
            Ok::<_, Infallible>(())
        };
        // Three cost nine, a fourth one would cost too much.
        run(bounds(4, 8, 11), feed, || |n, _| n, take).unwrap();
        let most = most.load(Ordering::SeqCst);
        // The taker has counted a moment after it took.
        assert!((1..=4).contains(&most), "{most}");
    }

    #[test]
    fn a_piece_that_costs_more_than_all_may_goes_alone() {
        let mut all = Vec::new();
        let feed = |feed: &Feed<'_, u64, u64>| {
            (0..9).for_each(|n| assert!(feed.put(n, 100 * (n as usize % 2))));
        };
        let take = |n| {
            all.push(n);
            Ok::<_, Infallible>(())
        };
        run(bounds(2, 4, 10), feed, || |n, _| n, take).unwrap();
        assert_eq!((0..9).collect::<Vec<u64>>(), all);
    }

    #[test]
    fn an_error_of_the_taker_ends_the_feeding() {
        let feed = |feed: &Feed<'_, u64, u64>| {
            assert!((0..).any(|n| !feed.put(n, 1)));
            assert!(!feed.done(7) && !feed.wait());
        };
        let take = |n| if n == 100 { Err(n) } else { Ok(()) };
        assert_eq!(Err(100), run(bounds(3, 6, 99), feed, || |n, _| n, take));
    }

    #[test]
    fn no_more_than_two_parts_are_made_before_the_first_is_taken() {
        let (made, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let most = AtomicUsize::new(0);
        let feed = |feed: &Feed<'_, u64, u64>| assert!(feed.put(0, 1) && feed.put(1, 1));
        let work = |n, parts: &Parts<'_, _, _>| {
            for _ in 0..500 * (1 - n) {
                let ahead = made.fetch_add(1, Ordering::SeqCst) + 1 - taken.load(Ordering::SeqCst);
                most.fetch_max(ahead, Ordering::SeqCst);
                assert!(parts.put(n));
            }
            n
        };
        let take = |_| {
            spin(7);
            taken.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(())
        };
        run(bounds(2, 4, 99), feed, || work, take).unwrap();
        let most = most.load(Ordering::SeqCst);
        // The taker has counted a moment after it took: one more is with it.
        assert!((1..=3).contains(&most), "{most}");
        assert_eq!(502, taken.into_inner());
    }

    #[test]
    fn who_makes_parts_is_told_that_nobody_wants_them() {
        let feed = |feed: &Feed<'_, u64, u64>| {
            feed.put(7, 1);
        };
        let work = |n, parts: &Parts<'_, _, _>| {
            while parts.put(n) {}
            n
        };
        assert_eq!(Err(7), run(bounds(2, 4, 9), feed, || work, Err));
    }

    #[test]
    fn all_is_taken_before_a_wait_is_over() {
        let taken = AtomicUsize::new(0);
        let feed = |feed: &Feed<'_, usize, usize>| {
            for n in 0..50 {
                assert!(feed.put(n, 1));
                if n % 7 == 0 {
                    assert!(feed.wait());
                    // The last one is being looked at.
                    assert!(taken.load(Ordering::SeqCst) >= n);
                }
            }
        };
        let take = |_| {
            taken.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(())
        };
        run(bounds(2, 4, 99), feed, || |n, _| n, take).unwrap();
        assert_eq!(50, taken.into_inner());
    }

    #[test]
    #[should_panic]
    fn a_panic_of_a_worker_is_a_panic_of_the_whole_and_no_hang() {
        let feed = |feed: &Feed<'_, u64, u64>| {
            (0..1000).for_each(|n| {
                feed.put(n, 1);
            })
        };
        let work = |n, _: &Parts<'_, _, _>| if n == 500 { panic!("on purpose") } else { n };
        let _ = run(bounds(3, 6, 99), feed, || work, |_| Ok::<_, Infallible>(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn results_come_in_the_order_of_the_work(
            works in proptest::collection::vec((any::<u64>(), any::<bool>(), 0..9usize), 0..200),
            jobs in 1..6usize, window in 1..9usize, cost in 0..30usize,
        ) {
            let mut all = Vec::new();
            let feed = |feed: &Feed<'_, u64, u64>| {
                for (n, is_work, cost) in &works {
                    assert!(if *is_work { feed.put(*n, *cost) } else { feed.done(*n) });
                }
            };
            let take = |n| {
                all.push(n);
                Ok::<_, Infallible>(())
            };
            run(bounds(jobs, window, cost), feed, || spin_in_parts, take).unwrap();
            let times = |work: &(u64, bool, usize)| if work.1 { work.0 % 4 + 1 } else { 1 };
            let expected = works.iter().flat_map(|work| (0..times(work)).map(|_| work.0));
            prop_assert_eq!(expected.collect::<Vec<_>>(), all);
        }
    }
}
