//! Work done by several threads, with results in the order of the work.
//!
//! One thread feeds, some work, and results are taken one at a time. What has been fed and not yet been taken is
//! bounded, in number and in cost, so memory is bounded however unequal the work is. A result that is ready before its
//! turn waits for it; of one that is long in the making parts can be taken before the rest is there.
//!
//! The thread that feeds is one of those that work: while there is no room it does what it has fed, so that with few
//! processors none is kept from working by a thread that feeds beside. Only where a single worker is asked for, feeding
//! and working are two threads.
//!
//! A worker whose result is the next one takes it itself, and what else is ready by then, unless somebody is taking:
//! no thread has to be woken for it, and it is still in the cache of its processor. Where there is a single worker the
//! caller's own thread takes, so that what is made and what is taken go on side by side.

use std::cell::RefCell;
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
    /// Twice as many pieces as threads: there is something to do while the thread that feeds works, and what is done
    /// waits for its turn.
    pub fn new(jobs: NonZeroUsize, cost: usize) -> Self {
        let window = jobs.saturating_mul(NonZeroUsize::MIN.saturating_add(1));
        Self { jobs, window, cost }
    }

    /// Whether the thread that feeds is one of those that work: not if it is asked for a single one.
    fn feeder_works(self) -> bool {
        self.jobs > NonZeroUsize::MIN
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
    /// Somebody takes.
    is_taking: bool,
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

/// Who gets the results; says whether any more are wanted.
type Taker<'a, R> = Mutex<dyn FnMut(R) -> bool + Send + 'a>;

impl<W, R> State<W, R> {
    /// Whether nothing will be taken any more.
    fn is_over(&self) -> bool {
        self.is_stopped || (self.is_closed && self.line.is_empty() && !self.is_taking)
    }
}

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
                is_taking: false,
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

    /// Add a place, for which there is room.
    fn put(&self, place: Place<W, R>, cost: usize, mut state: Guard<'_, W, R>) {
        let is_work = matches!(place, Place::Todo(_));
        state.line.push_back((place, cost));
        state.cost += cost;
        let bell = match is_work {
            true => self.call(&mut state),
            false => self.bell(Who::Taker, &state),
        };
        ring(bell, state);
    }

    fn has_room(&self, state: &State<W, R>, cost: usize) -> bool {
        let is_cheap = state.cost + cost <= self.bounds.cost;
        state.line.is_empty() || (state.line.len() < self.bounds.window.get() && is_cheap)
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

    /// The next piece of work that nobody has begun with, and its number, for the worker that asks; `None` when there
    /// will be none.
    fn begin(&self, worker: usize) -> Option<(usize, W)> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            if let Some(piece) = self.claim(&mut state, worker) {
                return Some(piece);
            }
            if state.is_closed && state.begun - state.taken >= state.line.len() {
                return None;
            }
            state = self.rest(worker, state);
        }
    }

    /// A piece of work that nobody has begun with, if there is one for this worker now.
    fn claim(&self, state: &mut Guard<'_, W, R>, worker: usize) -> Option<(usize, W)> {
        state.begun = state.begun.max(state.taken);
        loop {
            let at = state.begun - state.taken;
            let (place, cost) = state.line.get_mut(at)?;
            if !matches!(place, Place::Todo(_)) {
                state.begun += 1;
                continue;
            }
            let is_heavy = self.is_heavy(*cost);
            if worker > 0 && is_heavy {
                return None;
            }
            let place = std::mem::replace(place, Place::Doing(None));
            state.begun += 1;
            if is_heavy {
                // Others have seen it, and gone to sleep before what follows.
                let following = state.line.len() - (at + 1);
                let calls = (0..following).filter_map(|_| self.call(state));
                calls.for_each(Condvar::notify_one);
                let feeder = self.bell(Who::Feeder, state);
                feeder.into_iter().for_each(Condvar::notify_one);
            }
            if let Place::Todo(work) = place {
                return Some((state.begun - 1, work));
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
    }

    /// The next result, or part of one, if it is ready, and what to ring.
    fn ready(&self, state: &mut Guard<'_, W, R>) -> Option<(R, Option<&Condvar>)> {
        if let Some((Place::Doing(part) | Place::Done(part, _), _)) = state.line.front_mut()
            && let Some(part) = part.take()
        {
            return Some((part, self.bell(Who::Worker, state)));
        }
        if let Some((Place::Done(..), _)) = state.line.front()
            && let Some((Place::Done(_, result), cost)) = state.line.pop_front()
        {
            state.taken += 1;
            state.cost -= cost;
            // Half the window at once: each time costs two calls of the system.
            let is_half = state.line.len() * 2 <= self.bounds.window.get();
            return Some((result, self.bell(Who::Feeder, state).filter(|_| is_half)));
        }
        None
    }

    /// Take what is ready, unless somebody does so. Then somebody takes, nothing is ready, or nothing more is wanted.
    fn clear(&self, taker: &Taker<'_, R>) -> Guard<'_, W, R> {
        let mut state = self.lock();
        while !state.is_stopped
            && !state.is_taking
            && let Some((result, bell)) = self.ready(&mut state)
        {
            state.is_taking = true;
            ring(bell, state);
            let is_more_wanted = taker.lock().unwrap_or_else(PoisonError::into_inner)(result);
            state = self.lock();
            state.is_taking = false;
            if !is_more_wanted {
                state.is_stopped = true;
                self.wake_all();
            }
        }
        state
    }

    /// See to it that what a worker has put into its place is taken.
    fn offer(&self, number: usize, taker: &Taker<'_, R>) {
        let is_alone = self.bounds.jobs == NonZeroUsize::MIN;
        let state = match is_alone {
            true => self.lock(),
            false => self.clear(taker),
        };
        let is_due = state.is_over() || (is_alone && number == state.taken);
        ring(self.bell(Who::Taker, &state).filter(|_| is_due), state);
    }

    /// Take what nobody else does, until all is over.
    fn take(&self, taker: &Taker<'_, R>) {
        loop {
            let state = self.clear(taker);
            if state.is_over() {
                return;
            }
            drop(self.sleep(Who::Taker, state));
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

/// What a thread that works has.
struct Hand<'a, W, R> {
    line: &'a Line<W, R>,
    taker: &'a Taker<'a, R>,
    /// Its number among the workers.
    worker: usize,
    work: Box<Work<'a, W, R>>,
}

/// What turns a piece of work into its result.
type Work<'a, W, R> = dyn FnMut(W, &Parts<'_, W, R>) -> R + 'a;

impl<W, R> Hand<'_, W, R> {
    fn work_at(&mut self, (number, piece): (usize, W)) {
        let parts = Parts {
            line: self.line,
            taker: self.taker,
            number,
        };
        let result = (self.work)(piece, &parts);
        self.line.end(number, result);
        self.line.offer(number, self.taker);
    }

    /// Work until there is nothing left to do.
    fn work_at_all(&mut self) {
        while let Some(piece) = self.line.begin(self.worker) {
            self.work_at(piece);
        }
    }
}

/// Where work is fed.
pub struct Feed<'a, W, R> {
    line: &'a Line<W, R>,
    /// What the thread that feeds works with; `None` if it does not work.
    hand: Option<RefCell<Hand<'a, W, R>>>,
}

impl<W, R> Feed<'_, W, R> {
    /// Add a piece of work, once there is room; `false` if nobody wants it any more.
    pub fn put(&self, work: W, cost: usize) -> bool {
        self.add(Place::Todo(work), cost)
    }

    /// Add a result that needs no work, in its turn; `false` if nobody wants it any more.
    pub fn done(&self, result: R) -> bool {
        self.add(Place::Done(None, result), 0)
    }

    /// Wait until all that was fed has been taken; `false` if nobody wants anything any more.
    pub fn wait(&self) -> bool {
        self.until(|state| state.line.is_empty()).is_some()
    }

    fn add(&self, place: Place<W, R>, cost: usize) -> bool {
        let room = self.until(|state| self.line.has_room(state, cost));
        room.map(|state| self.line.put(place, cost, state))
            .is_some()
    }

    /// Wait, or work meanwhile. The line as it is then, still locked; `None` if nobody wants anything any more.
    fn until(&self, is_time: impl Fn(&State<W, R>) -> bool) -> Option<Guard<'_, W, R>> {
        let mut hand = self.hand.as_ref().map(RefCell::borrow_mut);
        let mut state = self.line.lock();
        while !state.is_stopped && !is_time(&state) {
            let worker = hand.as_ref().map(|hand| hand.worker);
            let piece = worker.and_then(|worker| self.line.claim(&mut state, worker));
            state = match (hand.as_mut(), piece) {
                (Some(hand), Some(piece)) => {
                    drop(state);
                    hand.work_at(piece);
                    self.line.lock()
                }
                _ => self.line.sleep(Who::Feeder, state),
            };
        }
        (!state.is_stopped).then_some(state)
    }
}

/// Where parts of a result go, while it is made.
pub struct Parts<'a, W, R> {
    line: &'a Line<W, R>,
    taker: &'a Taker<'a, R>,
    number: usize,
}

impl<W, R> Parts<'_, W, R> {
    /// Hand over the next part, once the one before it has been taken; `false` if nobody wants it any more.
    pub fn put(&self, part: R) -> bool {
        let is_wanted = self.line.part(self.number, part);
        self.line.offer(self.number, self.taker);
        is_wanted
    }
}

/// Feed work, have it done, take the results in order.
///
/// `worker` is asked once in each thread for what does the work. `take` is called by any of the threads, by one at a
/// time. An error of it ends everything; work that is under way then is finished and forgotten. `feed` is told by the
/// answers of [`Feed`], and should return. While it waits for one of these, its thread may work and take: it must not
/// hold what these need.
pub fn run<W: Send, R: Send, D: FnMut(W, &Parts<'_, W, R>) -> R, E: Send>(
    bounds: Bounds,
    feed: impl FnOnce(&Feed<'_, W, R>) + Send,
    worker: impl Fn() -> D + Sync,
    mut take: impl FnMut(R) -> Result<(), E> + Send,
) -> Result<(), E> {
    let line = Line::new(bounds);
    let mut done = Ok(());
    let taker = Mutex::new(|result| {
        done = take(result);
        done.is_ok()
    });
    thread::scope(|scope| {
        let (line, make) = (&line, &worker);
        let taker: &Taker<'_, R> = &taker;
        let _stop = Stop(line);
        let hand = move |worker, work| Hand {
            line,
            taker,
            worker,
            work,
        };
        let others = bounds.jobs.get() - usize::from(bounds.feeder_works());
        scope.spawn(move || {
            let _alarm = Alarm(line);
            let own = bounds
                .feeder_works()
                .then(|| hand(others, Box::new(make())));
            let feeding = Feed {
                line,
                hand: own.map(RefCell::new),
            };
            feed(&feeding);
            line.close();
            let own = feeding.hand.map(RefCell::into_inner);
            own.into_iter().for_each(|mut hand| hand.work_at_all());
        });
        for other in 0..others {
            scope.spawn(move || {
                let _alarm = Alarm(line);
                hand(other, Box::new(make())).work_at_all();
            });
        }
        line.take(taker);
    });
    done
}

#[cfg(test)]
mod tests;
