//! The text of a ledger.
//!
//! ```text
//! lineflow-budget 1
//! boot 0f9c...                              times count from this boot of the host
//! limit 300000000 300000000000              bytes, nanoseconds
//! level 0 3000000 1200 1100 7 0             level, burst, at, last passed at, next ticket, resume at
//! seat 4711 52345 4026531836 900 4096 0 0 0   pid, start, space, seen, booked, ticket, need, until
//! end 8f1c2a...                             checksum of all lines before
//! ```

use std::fmt::Write;
use std::num::NonZeroU64;
use std::time::Duration;

use super::{Ledger, Seat, Who};
use crate::rate::Limit;
use crate::rate::pacer::Level;

const MAGIC: &str = "lineflow-budget 1\n";

/// A text that no ledger ever wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign;

impl Ledger {
    /// What a file holds; `None` for nothing that can be gone on with.
    pub fn read(text: &[u8]) -> Result<Option<Self>, Foreign> {
        if !text.is_empty() && !text.starts_with(MAGIC.as_bytes()) {
            return Err(Foreign);
        }
        Ok(parse(text))
    }

    /// The text of this state.
    pub fn print(&self) -> String {
        let mut text = String::from(MAGIC);
        let Level {
            burst,
            level,
            at,
            passed_at,
        } = self.level;
        let (amount, window) = (self.limit.amount(), self.window());
        let (ticket, resume_at) = (self.next_ticket, self.resume_at);
        let _ = writeln!(text, "boot {}", self.boot);
        let _ = writeln!(text, "limit {amount} {window}");
        let _ = writeln!(
            text,
            "level {level} {burst} {at} {passed_at} {ticket} {resume_at}"
        );
        for seat in &self.seats {
            let Who { pid, start, space } = seat.who;
            let Seat {
                seen,
                booked,
                ticket,
                need,
                until,
                ..
            } = seat;
            let _ = writeln!(
                text,
                "seat {pid} {start} {space} {seen} {booked} {ticket} {need} {until}"
            );
        }
        let sum = checksum(text.as_bytes());
        let _ = writeln!(text, "end {sum:016x}");
        text
    }
}

/// What follows the end is left over from a longer text.
fn parse(text: &[u8]) -> Option<Ledger> {
    let text = std::str::from_utf8(text.get(..text.len().min(MAX_LEN))?).ok()?;
    let (body, end) = text.split_once("\nend ")?;
    let body = text.get(..body.len() + 1)?;
    if end.lines().next()? != format!("{:016x}", checksum(body.as_bytes())) {
        return None;
    }
    let mut lines = body.strip_prefix(MAGIC)?.lines();
    let boot = lines.next()?.strip_prefix("boot ")?.to_owned();
    let [amount, window] = numbers(lines.next()?.strip_prefix("limit ")?)?;
    let limit = Limit::new(
        NonZeroU64::new(u64::try_from(amount).ok()?)?,
        Duration::from_nanos(u64::try_from(window).ok()?),
    );
    let [level, burst, at, passed_at, next_ticket, resume_at] =
        numbers(lines.next()?.strip_prefix("level ")?)?;
    let level = Level {
        burst: u64::try_from(burst).ok()?,
        level,
        at: u64::try_from(at).ok()?,
        passed_at: u64::try_from(passed_at).ok()?,
    };
    let seats = lines.map(seat).collect::<Option<Vec<_>>>()?;
    Some(Ledger {
        boot,
        limit,
        level,
        next_ticket: u64::try_from(next_ticket).ok()?,
        resume_at: u64::try_from(resume_at).ok()?,
        seats,
    })
}

/// No text is longer: it fits one page, so that one write replaces it whole.
pub const MAX_LEN: usize = 4096;

fn seat(line: &str) -> Option<Seat> {
    let figures: [u128; 8] = numbers(line.strip_prefix("seat ")?)?;
    let mut figures = figures.into_iter().map(|n| u64::try_from(n).ok());
    let mut next = || figures.next().flatten();
    Some(Seat {
        who: Who {
            pid: u32::try_from(next()?).ok()?,
            start: next()?,
            space: next()?,
        },
        seen: next()?,
        booked: next()?,
        ticket: next()?,
        need: next()?,
        until: next()?,
    })
}

fn numbers<const N: usize>(text: &str) -> Option<[u128; N]> {
    let numbers: Option<Vec<u128>> = text.split(' ').map(|word| word.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, c| {
        (hash ^ u64::from(*c)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::super::SEATS;
    use super::*;

    fn limit(amount: u64, window: u64) -> Limit {
        Limit::new(
            NonZeroU64::new(amount).unwrap(),
            Duration::from_nanos(window),
        )
    }

    fn all(_: &Who) -> Option<bool> {
        Some(true)
    }

    #[test]
    fn a_ledger_reads_back_as_it_was_printed_and_not_if_a_byte_is_another() {
        let mut ledger = Ledger::new("boot", limit(1_000, 1_000_000_000), 0);
        for pid in [1, 2] {
            let who = Who {
                pid,
                start: 7,
                space: 1,
            };
            let turn = ledger.book(500_000_000, who, 6, 6, &all).unwrap();
            assert_eq!(pid == 1, turn.is_ok());
        }
        ledger.pause(500_000_000, Duration::from_secs(1));
        let text = ledger.print();
        assert_eq!(Ok(Some(ledger.clone())), Ledger::read(text.as_bytes()));
        let longer = format!("{text}seat left over");
        assert_eq!(Ok(Some(ledger)), Ledger::read(longer.as_bytes()));
        for at in MAGIC.len()..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(Ok(None), Ledger::read(&bytes), "{at}");
            assert_eq!(Ok(None), Ledger::read(&text.as_bytes()[..at]), "{at}");
        }
        assert_eq!(Ok(None), Ledger::read(b""));
        assert_eq!(Err(Foreign), Ledger::read(b"cpu v=1 1\n"));
    }

    #[test]
    fn the_longest_text_fits_one_page() {
        let mut ledger = Ledger::new(
            "0f9c1d7e-0000-4000-8000-000000000000",
            limit(u64::MAX, u64::MAX),
            0,
        );
        for pid in 0..100 {
            let far = u64::MAX / 10;
            let who = Who {
                pid: u32::MAX - pid,
                start: far,
                space: 4_026_531_836,
            };
            assert!(ledger.book(far, who, far, far, &all).is_ok());
        }
        ledger.pause(u64::MAX, Duration::MAX);
        assert_eq!(SEATS, ledger.seats.len());
        assert!(ledger.print().len() <= MAX_LEN);
    }
}
