//! What do the processes know of each other that spend one allowance?
//!
//! One pacer for all of them, and for each process what it has booked and whether it waits.
//!
//! Bytes are booked before a process writes them and charged when they are out, as in a pacer. What a process had
//! booked when it died is charged when somebody finds it dead: it may have been written until then. Who has to wait
//! takes a ticket, and nobody with a later one gets what it needs; a ticket that is not renewed in time is void, so a
//! process that died or was stopped while it waited holds nobody up.

mod text;

use std::time::Duration;

use super::Limit;
use super::pacer::{Level, Pacer, TooLarge, Turn};

pub use text::MAX_LEN;

/// Processes that have something booked or wait at one time; more of them take turns.
const SEATS: usize = 24;

/// How long a ticket stays valid after its holder should have come back, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// The longest wait while others have something booked, which they may give back any time.
const POLL: Duration = Duration::from_millis(50);

/// What a time may be ahead of ours, in nanoseconds: more means that it comes from another clock.
const AHEAD: u64 = 10_000_000_000;

/// A process, told from every other one since the host was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its number.
    pub pid: u32,
    /// When it was started, in a unit of the system's; 0 where that is not known.
    pub start: u64,
    /// The space that its number belongs to (containers have their own); 0 where that is not known.
    pub space: u64,
}

/// Whether a process is still there; `None` where that cannot be known.
pub type Alive<'a> = &'a dyn Fn(&Who) -> Option<bool>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seat {
    who: Who,
    /// When it was last here, in nanoseconds.
    seen: u64,
    booked: u64,
    /// The place in the queue; 0 for none.
    ticket: u64,
    /// What it waits for, in bytes.
    need: u64,
    /// Until when the ticket is valid, in nanoseconds.
    until: u64,
}

/// The state of a shared allowance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    boot: String,
    limit: Limit,
    level: Level,
    next_ticket: u64,
    /// Until when nobody books anything, in nanoseconds: the server has had more than it takes.
    resume_at: u64,
    seats: Vec<Seat>,
}

impl Ledger {
    /// Nothing has passed and nobody is there.
    pub fn new(boot: &str, limit: Limit, now: u64) -> Self {
        Self {
            boot: boot.to_owned(),
            limit,
            level: Level::empty(limit, now),
            next_ticket: 1,
            resume_at: 0,
            seats: Vec::new(),
        }
    }

    /// The limit that all share.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether this goes on: same boot of the host, a clock that runs on.
    pub fn is_current(&self, boot: &str, now: u64) -> bool {
        self.boot == boot && self.level.at <= now.saturating_add(AHEAD)
    }

    /// Whether nothing has passed for a window and nobody is there who could: all may begin anew.
    pub fn is_idle(&mut self, now: u64, alive: Alive<'_>) -> bool {
        self.bury(now, alive);
        let quiet_at = self.level.passed_at.saturating_add(self.window());
        self.seats.is_empty() && quiet_at < now
    }

    /// Book `want` bytes for a process; as few as `need` if that is all there is and nobody else is there.
    ///
    /// Where several take turns each waits for as much as is worth the turn.
    pub fn book(
        &mut self,
        now: u64,
        who: Who,
        need: u64,
        want: u64,
        alive: Alive<'_>,
    ) -> Result<Result<u64, Turn>, TooLarge> {
        let pause = self.resume_at.saturating_sub(now);
        if pause > 0 {
            return Ok(Err(Turn::Wait(Duration::from_nanos(pause))));
        }
        let mut turn = self.try_book(now, who, need, want)?;
        if turn.is_err() && self.bury(now, alive) {
            turn = self.try_book(now, who, need, want)?;
        }
        let Err(Turn::Wait(wait)) = turn else {
            return Ok(turn);
        };
        let alone = self.seats.iter().all(|seat| seat.who == who);
        let (wait, need) = match alone {
            true => (wait, need),
            false => (wait.min(POLL), want.min(self.level.burst).max(need)),
        };
        self.queue(now, who, need, wait);
        Ok(Err(Turn::Wait(wait)))
    }

    fn try_book(
        &mut self,
        now: u64,
        who: Who,
        need: u64,
        want: u64,
    ) -> Result<Result<u64, Turn>, TooLarge> {
        if self.seat(who).is_none() && self.seats.len() >= SEATS {
            return Ok(Err(Turn::Wait(POLL)));
        }
        let booked: u64 = self.seats.iter().map(|seat| seat.booked).sum();
        // Those in front are served from what there is before we are.
        let held = booked.saturating_add(self.in_front(now, who));
        let mut pacer = Pacer::resume(self.limit, self.level, held);
        let time = Duration::from_nanos(now);
        let want = want.min(pacer.level().burst).max(need);
        let is_alone = self.seats.iter().all(|seat| seat.who == who);
        let mut turn = pacer.book(time, want)?;
        let mut got = want;
        if turn != Turn::Go && want > need && is_alone {
            turn = pacer.book(time, need)?;
            got = need;
        }
        self.level = pacer.level();
        if turn != Turn::Go {
            return Ok(Err(turn));
        }
        let seat = self.seat_of(now, who);
        seat.booked += got;
        seat.ticket = 0;
        Ok(Ok(got))
    }

    /// Nobody books anything for this time.
    pub fn pause(&mut self, now: u64, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.resume_at = self.resume_at.max(now.saturating_add(time));
    }

    /// Charge `passed` bytes of a process, which are out, and take back `unspent` ones.
    pub fn passed(&mut self, now: u64, who: Who, passed: u64, unspent: u64) {
        self.charge(now, passed);
        if let Some(seat) = self.seat(who) {
            seat.booked = seat.booked.saturating_sub(passed.saturating_add(unspent));
        }
        self.seats.retain(|seat| seat.booked > 0 || seat.ticket > 0);
    }

    fn charge(&mut self, now: u64, bytes: u64) {
        let mut pacer = Pacer::resume(self.limit, self.level, bytes);
        pacer.passed(Duration::from_nanos(now), bytes);
        self.level = pacer.level();
    }

    /// What those wait for who stand in front of a process, in bytes.
    fn in_front(&mut self, now: u64, who: Who) -> u64 {
        let own = self.seat(who).map_or(0, |seat| seat.ticket);
        let before = |seat: &&Seat| own == 0 || seat.ticket < own;
        let queue = self
            .seats
            .iter()
            .filter(|seat| seat.ticket > 0 && seat.until >= now);
        queue
            .filter(before)
            .map(|seat| seat.need)
            .fold(0, u64::saturating_add)
    }

    /// Note that a process waits, and for what.
    fn queue(&mut self, now: u64, who: Who, need: u64, wait: Duration) {
        if self.seat(who).is_none() && self.seats.len() >= SEATS {
            return;
        }
        let next = self.next_ticket;
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let seat = self.seat_of(now, who);
        let expired = seat.until < now;
        if seat.ticket == 0 || expired {
            seat.ticket = next;
        }
        seat.need = need;
        seat.until = now.saturating_add(wait).saturating_add(PATIENCE);
        if seat.ticket == next {
            self.next_ticket += 1;
        }
    }

    /// Charge what dead processes had booked and remove them; whether there were any.
    fn bury(&mut self, now: u64, alive: Alive<'_>) -> bool {
        let before = self.seats.len();
        // Who cannot be asked has to come by once a window.
        let heard = now.saturating_sub(self.window());
        let is_dead = |seat: &&Seat| !alive(&seat.who).unwrap_or(seat.seen >= heard);
        let dead: Vec<Seat> = self.seats.iter().filter(is_dead).copied().collect();
        self.seats.retain(|seat| !dead.contains(seat));
        for seat in dead {
            self.charge(now, seat.booked);
        }
        self.seats.len() < before
    }

    /// How long a full bucket takes to fill, half of it is worth drawing waits together for.
    pub fn full_in(&self) -> Duration {
        Pacer::resume(self.limit, self.level, 0).full_in()
    }

    fn seat(&mut self, who: Who) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.who == who)
    }

    fn seat_of(&mut self, now: u64, who: Who) -> &mut Seat {
        let i = self.seats.iter().position(|seat| seat.who == who);
        let i = i.unwrap_or_else(|| {
            self.seats.push(Seat {
                who,
                seen: now,
                booked: 0,
                ticket: 0,
                need: 0,
                until: 0,
            });
            self.seats.len() - 1
        });
        let seat = &mut self.seats[i];
        seat.seen = now;
        seat
    }

    fn window(&self) -> u64 {
        self.limit.window.get()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn limit(amount: u64, window: u64) -> Limit {
        Limit::new(
            NonZeroU64::new(amount).unwrap(),
            Duration::from_nanos(window),
        )
    }

    fn who(pid: u32) -> Who {
        Who {
            pid,
            start: 7,
            space: 1,
        }
    }

    fn all(_: &Who) -> Option<bool> {
        Some(true)
    }

    fn book(ledger: &mut Ledger, now: u64, pid: u32, n: u64) -> Result<u64, Duration> {
        match ledger.book(now, who(pid), n, n, &all).unwrap() {
            Ok(got) => Ok(got),
            Err(Turn::Wait(wait)) => Err(wait),
            Err(Turn::Go) => unreachable!(),
        }
    }

    /// 1,000 bytes a second: a burst of 10, and 990 bytes a second come in.
    fn full() -> Ledger {
        let mut ledger = Ledger::new("boot", limit(1_000, 1_000 * MS), 0);
        ledger.charge(1_000 * MS, 0);
        ledger.level.at = 0;
        ledger.level.level = 10 * 1_000 * u128::from(MS);
        ledger
    }

    #[test]
    fn what_one_has_booked_the_others_cannot_have() {
        let mut ledger = full();
        assert_eq!(Ok(6), book(&mut ledger, 0, 1, 6));
        assert!(book(&mut ledger, 0, 2, 6).is_err());
        ledger.passed(0, who(1), 2, 4);
        assert_eq!(Ok(6), book(&mut ledger, 0, 2, 6));
    }

    #[test]
    fn a_pause_is_for_all_and_the_longest_one_counts() {
        let mut ledger = full();
        ledger.pause(0, Duration::from_millis(30));
        ledger.pause(0, Duration::from_millis(20));
        for pid in [1, 2] {
            assert_eq!(Err(Duration::from_millis(30)), book(&mut ledger, 0, pid, 1));
            let late = Err(Duration::from_nanos(1));
            assert_eq!(late, book(&mut ledger, 30 * MS - 1, pid, 1));
        }
        assert_eq!(Ok(1), book(&mut ledger, 30 * MS, 2, 1));
    }

    #[test]
    fn plenty_is_booked_ahead_and_less_where_it_is_scarce_and_nobody_takes_turns() {
        let mut ledger = full();
        assert_eq!(Ok(Ok(8)), ledger.book(0, who(1), 2, 8, &all));
        assert!(ledger.book(0, who(2), 2, 8, &all).unwrap().is_err());
        let mut ledger = full();
        assert_eq!(Ok(Ok(8)), ledger.book(0, who(1), 2, 8, &all));
        assert_eq!(Ok(Ok(2)), ledger.book(0, who(1), 2, 8, &all));
    }

    #[test]
    fn the_dead_are_charged_for_what_they_may_have_written() {
        let mut ledger = full();
        assert_eq!(Ok(10), book(&mut ledger, 0, 1, 10));
        let alive = |other: &Who| Some(other.pid != 1);
        let Ok(Err(Turn::Wait(wait))) = ledger.book(MS, who(2), 10, 10, &alive) else {
            panic!("nothing is left");
        };
        // 10 bytes at 990 a second, from the moment when the death was noticed.
        assert_eq!(Duration::from_nanos(10_101_011), wait);
        assert!(ledger.seats.iter().all(|seat| seat.who != who(1)));
    }

    #[test]
    fn who_cannot_be_asked_has_to_come_by_once_a_window() {
        let mut ledger = full();
        assert_eq!(Ok(10), book(&mut ledger, 0, 1, 10));
        let unknown = |other: &Who| (other.pid == 2).then_some(true);
        let late = 1_000 * MS;
        assert!(ledger.book(late, who(2), 1, 1, &unknown).unwrap().is_err());
        assert!(ledger.seats.iter().any(|seat| seat.who == who(1)));
        assert!(ledger.book(late + 1, who(2), 1, 1, &unknown).is_ok());
        assert!(ledger.seats.iter().all(|seat| seat.who != who(1)));
    }

    #[test]
    fn a_large_need_is_not_overtaken_by_small_ones() {
        let mut ledger = full();
        assert!(book(&mut ledger, 0, 1, 500).is_err());
        // There are 10 bytes, but they are waited for.
        assert!(book(&mut ledger, MS, 2, 1).is_err());
        let now = 1_000 * MS;
        assert_eq!(Ok(500), book(&mut ledger, now, 1, 500));
    }

    #[test]
    fn a_ticket_that_is_not_renewed_is_void() {
        let mut ledger = full();
        let wait = book(&mut ledger, 0, 1, 500).unwrap_err();
        let until = u64::try_from(wait.as_nanos()).unwrap() + PATIENCE;
        assert!(book(&mut ledger, until, 2, 1).is_err());
        assert_eq!(Ok(1), book(&mut ledger, until + 1, 2, 1));
    }

    #[test]
    fn another_boot_and_another_clock_are_told_from_ours() {
        let ledger = Ledger::new("a", limit(1, 1), 100 * AHEAD);
        assert!(ledger.is_current("a", 200 * AHEAD));
        assert!(ledger.is_current("a", 99 * AHEAD));
        assert!(!ledger.is_current("a", 98 * AHEAD));
        assert!(!ledger.is_current("b", 200 * AHEAD));
    }

    #[test]
    fn all_is_idle_a_window_after_the_last_byte_when_nobody_is_left() {
        let mut ledger = full();
        assert_eq!(Ok(6), book(&mut ledger, 0, 1, 6));
        ledger.passed(10, who(1), 6, 0);
        assert!(!ledger.is_idle(1_000 * MS + 10, &all));
        assert!(ledger.is_idle(1_000 * MS + 11, &all));
        assert_eq!(Ok(6), book(&mut ledger, 1_000 * MS, 1, 6));
        assert!(!ledger.is_idle(9_000 * MS, &all));
    }

    /// What one of the processes does: how large its records are, how long its writes take, when it is killed.
    #[derive(Clone, Debug)]
    struct Plan {
        record: u64,
        takes: u64,
        killed: Option<u64>,
    }

    #[derive(Clone, Debug)]
    struct Process {
        plan: Plan,
        /// When it does its next step.
        next: u64,
        /// Since when it has a record booked, and how many bytes with what is booked ahead.
        holds: Option<(u64, u64)>,
        asked: Option<u64>,
        passed: u64,
    }

    /// Processes that have records without end share `limit` for some windows; gives who passed what from when to when.
    fn share(limit: Limit, plans: Vec<Plan>, until: u64) -> (Vec<(u64, u64, u64)>, Vec<Process>) {
        let mut ledger = Ledger::new("boot", limit, 0);
        let mut log = Vec::new();
        let begin = |plan| Process {
            plan,
            next: 0,
            holds: None,
            asked: None,
            passed: 0,
        };
        let mut processes: Vec<Process> = plans.into_iter().map(begin).collect();
        loop {
            let kills: Vec<u64> = processes
                .iter()
                .map(|p| p.plan.killed.unwrap_or(u64::MAX))
                .collect();
            let acting = processes.iter_mut().enumerate();
            let acting = acting.filter(|(i, process)| process.next < kills[*i]);
            let Some((i, process)) = acting.min_by_key(|(_, process)| process.next) else {
                break;
            };
            let now = process.next;
            if now >= until {
                break;
            }
            let me = who(u32::try_from(i).unwrap());
            let alive = |who: &Who| Some(kills[who.pid as usize] > now);
            let record = process.plan.record;
            if let Some((since, got)) = process.holds.take() {
                ledger.passed(now, me, record, got - record);
                log.push((since, now, record));
                process.passed += record;
            } else {
                match ledger.book(now, me, record, record * 3, &alive).unwrap() {
                    Ok(got) => {
                        process.holds = Some((now, got));
                        process.asked = None;
                        process.next = now + process.plan.takes;
                    }
                    Err(Turn::Wait(wait)) => {
                        process.asked.get_or_insert(now);
                        process.next = now + u64::try_from(wait.as_nanos()).unwrap().max(1);
                    }
                    Err(Turn::Go) => unreachable!(),
                }
            }
        }
        // Killed in the middle of a write: it may be out, at the moment of the death.
        for process in &processes {
            if let (Some((since, _)), Some(killed)) = (process.holds, process.plan.killed) {
                log.push((since, killed, process.plan.record));
            }
        }
        (log, processes)
    }

    fn plans() -> impl Strategy<Value = Vec<Plan>> {
        let record = prop_oneof![4 => 1_u64..20, 1 => 20_u64..300];
        let takes = prop_oneof![4 => 0_u64..MS, 1 => 0..200 * MS];
        let killed = prop_oneof![2 => Just(None), 1 => (0..2_000 * MS).prop_map(Some)];
        let plan = (record, takes, killed);
        let plan = plan.prop_map(|(record, takes, killed)| Plan {
            record,
            takes,
            killed,
        });
        proptest::collection::vec(plan, 1..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn together_they_keep_the_limit_whoever_is_killed(plans in plans()) {
            let window = 1_000 * MS;
            let (log, _) = share(limit(1_000, window), plans, 4 * window);
            let held = |start: u64, end: u64| -> u64 {
                let inside = log.iter().filter(|(from, to, _)| *to >= start && *from <= end);
                inside.map(|(_, _, bytes)| bytes).sum()
            };
            for (from, to, _) in &log {
                prop_assert!(held(*to, to + window) <= 1_000);
                prop_assert!(held(from.saturating_sub(window), *from) <= 1_000);
            }
        }

        #[test]
        fn whoever_lives_gets_its_turn(plans in plans()) {
            let window = 1_000 * MS;
            let (_, processes) = share(limit(1_000, window), plans, 8 * window);
            for process in processes.iter().filter(|process| process.plan.killed.is_none()) {
                // Four windows are enough for everybody's largest record, one after the other.
                prop_assert!(process.passed > 0, "{processes:?}");
                let waits = process.asked.map_or(0, |since| process.next.min(8 * window) - since);
                prop_assert!(waits < 5 * window, "{processes:?}");
            }
        }
    }
}
