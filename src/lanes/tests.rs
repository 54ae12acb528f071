use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
fn a_single_worker_does_not_take_what_it_makes() {
    let caller = thread::current().id();
    let feed = |feed: &Feed<'_, u64, u64>| {
        (0..99).for_each(|n| assert!(feed.put(n, 1)));
    };
    let take = |_| match thread::current().id() == caller {
        true => Ok(()),
        false => Err("somebody else takes"),
    };
    assert_eq!(Ok(()), run(bounds(1, 4, 99), feed, || spin_in_parts, take));
}

#[test]
fn who_feeds_works_at_what_nobody_has_begun_while_it_has_to_wait() {
    // All that is fed has to be worked at at the same time, and one of the two threads is the one that feeds.
    let for_room = |feed: &Feed<'_, u64, u64>| (0..3).all(|n| feed.put(n, 1));
    let for_the_end = |feed: &Feed<'_, u64, u64>| (0..2).all(|n| feed.put(n, 1)) && feed.wait();
    for feeding in [for_room, for_the_end] {
        let (tell, told) = std::sync::mpsc::channel();
        let told = Mutex::new(told);
        let work = |n, _: &Parts<'_, _, _>| {
            match n {
                0 => told
                    .lock()
                    .unwrap()
                    .recv_timeout(Duration::from_secs(60))
                    .unwrap(),
                _ => tell.send(()).unwrap(),
            }
            n
        };
        let feed = |feed: &Feed<'_, u64, u64>| assert!(feeding(feed));
        run(bounds(2, 2, 9), feed, || work, |_| Ok::<_, Infallible>(())).unwrap();
    }
}

#[test]
fn who_feeds_is_woken_to_work_beside_a_heavy_piece() {
    let line = Line::<u64, u64>::new(bounds(2, 3, 10));
    let sleeps = || line.lock().sleeping[Who::Feeder as usize] > 0;
    let until = |is_time: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_time() && Instant::now() < end {
            thread::yield_now();
        }
        is_time()
    };
    let woken = thread::scope(|scope| {
        let _stop = Stop(&line);
        scope.spawn(|| drop(line.sleep(Who::Feeder, line.lock())));
        assert!(until(&sleeps));
        line.put(Place::Todo(0), 6, line.lock());
        line.put(Place::Todo(1), 1, line.lock());
        assert!(line.claim(&mut line.lock(), 1).is_none());
        assert_eq!(Some((0, 0)), line.claim(&mut line.lock(), 0));
        until(&|| !sleeps())
    });
    assert!(woken);
}

#[test]
fn a_single_worker_is_not_the_one_that_feeds() {
    let feeder = Mutex::new(None);
    let feed = |feed: &Feed<'_, u64, u64>| {
        *feeder.lock().unwrap() = Some(thread::current().id());
        (0..99).for_each(|n| assert!(feed.put(n, 1)));
    };
    let work = |n, _: &Parts<'_, _, _>| {
        assert_ne!(Some(thread::current().id()), *feeder.lock().unwrap());
        n
    };
    run(bounds(1, 2, 9), feed, || work, |_| Ok::<_, Infallible>(())).unwrap();
}

#[test]
fn nothing_is_taken_behind_an_error() {
    for _ in 0..200 {
        let taken = AtomicUsize::new(0);
        let feed = |feed: &Feed<'_, u64, u64>| while feed.put(3, 1) {};
        let take = |n| {
            taken.fetch_add(1, Ordering::SeqCst);
            Err::<(), u64>(n)
        };
        let done = run(
            bounds(4, 8, 99),
            feed,
            || |n, _: &Parts<'_, _, _>| spin(n),
            take,
        );
        assert_eq!((Err(3), 1), (done, taken.into_inner()));
    }
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

#[test]
#[should_panic]
fn a_panic_of_who_takes_is_a_panic_of_the_whole_and_no_hang() {
    let feed = |feed: &Feed<'_, u64, u64>| while feed.put(3, 1) {};
    let mut taken = 0;
    let take = |_| {
        taken += 1;
        assert!(taken < 100, "on purpose");
        Ok::<_, Infallible>(())
    };
    let _ = run(bounds(3, 6, 99), feed, || |n, _: &Parts<'_, _, _>| n, take);
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
