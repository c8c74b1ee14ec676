//! The atomics that limits, the retry budget and outlier detection stand on. Loom tries their interleavings:
//! `RUSTFLAGS="--cfg mesh_loom" cargo test --lib loom`.

use std::cmp;
#[cfg(not(all(test, mesh_loom)))]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(test, mesh_loom))]
use loom::sync::atomic::{AtomicU64, Ordering};

/// How many there are of something that may have a limit.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    /// Counts one more unless there are `limit` already.
    pub(super) fn try_add(&self, limit: u64) -> bool {
        let more = |count: u64| (count < limit).then(|| count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts one more, whatever the limit.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less: one that was added before.
    pub(super) fn sub(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many failures came in a row.
///
/// One word: how many came at all, above how many of them came before the run. Numbers begin again at 2^32.
#[derive(Debug, Default)]
pub(super) struct Streak(AtomicU64);

impl Streak {
    /// Counts a failure, and says how its number stands to `threshold`: equal once in a run, however many threads count.
    pub(super) fn add(&self, threshold: u32) -> cmp::Ordering {
        Self::run(self.0.fetch_add(1 << 32, Ordering::Relaxed).wrapping_add(1 << 32)).cmp(&threshold)
    }

    /// How many failures came so far, in a row or not.
    pub(super) fn so_far(&self) -> u32 {
        (self.0.load(Ordering::Relaxed) >> 32) as u32
    }

    /// Ends the run. Where there is none, as after most answers, nothing is written.
    pub(super) fn clear(&self) {
        self.end(self.so_far());
    }

    /// Ends the run as it was when there were so many failures: those that came later are a run still.
    pub(super) fn end(&self, failures: u32) {
        let ended = |word: u64| {
            let over = failures.wrapping_sub(word as u32);
            // Else it ended later.
            (over != 0 && over <= Self::run(word)).then_some(word >> 32 << 32 | u64::from(failures))
        };
        // Refused where there is nothing to end.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, ended);
    }

    fn run(word: u64) -> u32 {
        ((word >> 32) as u32).wrapping_sub(word as u32)
    }
}

/// When somebody must look after something, in ticks of a clock that its users agree on.
///
/// Whoever looks takes the alarm first, so that what is set in the meantime rings again. What was written before the
/// alarm was set is seen by whoever takes it.
#[derive(Debug)]
pub(super) struct Alarm(AtomicU64);

impl Alarm {
    /// It does not ring.
    pub(super) const NEVER: u64 = u64::MAX;

    pub(super) fn new() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    /// Rings at `tick`, or before if it was to ring before.
    pub(super) fn set(&self, tick: u64) {
        self.0.fetch_min(tick, Ordering::AcqRel);
    }

    /// When it rings.
    pub(super) fn at(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Silences it, and is called before looking.
    pub(super) fn take(&self) {
        self.0.swap(Self::NEVER, Ordering::AcqRel);
    }
}

/// How many there were lately: a ring of slots, each for one stretch of time.
///
/// A slot is one word, the stretch above its count, so that a new stretch takes a slot over in one step.
#[derive(Debug)]
pub(super) struct Window<const SLOTS: usize>([AtomicU64; SLOTS]);

impl<const SLOTS: usize> Window<SLOTS> {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Counts one more in `stretch`, a number that grows with time.
    pub(super) fn add(&self, stretch: u32) {
        let more = |word: u64| {
            let count = if (word >> 32) as u32 == stretch { (word as u32).saturating_add(1) } else { 1 };
            Some(u64::from(stretch) << 32 | u64::from(count))
        };
        let slot = &self.0[stretch as usize % SLOTS];
        // Never refused: there is always a next word.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// How many there were in the last `SLOTS` stretches, `stretch` being the last.
    pub(super) fn count(&self, stretch: u32) -> u64 {
        let words = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        let recent = words.filter(|word| stretch.wrapping_sub((word >> 32) as u32) < SLOTS as u32);
        recent.map(|word| u64::from(word as u32)).sum()
    }
}

#[cfg(all(test, not(mesh_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_stops_at_its_limit() {
        let gauge = Gauge::default();
        assert!(gauge.try_add(2) && gauge.try_add(2) && !gauge.try_add(2));
        gauge.add();
        assert_eq!(gauge.count(), 3);
        gauge.sub();
        gauge.sub();
        assert!(gauge.try_add(2) && !gauge.try_add(0));
    }

    #[test]
    fn a_streak_comes_to_its_threshold_once() {
        let streak = Streak::default();
        let run: Vec<bool> = (0..5).map(|_| streak.add(3).is_eq()).collect();
        assert_eq!(run, [false, false, true, false, false]);
        assert!(streak.add(3).is_gt());
        streak.clear();
        assert!(streak.add(1).is_eq());
    }

    #[test]
    fn a_streak_ends_as_it_was_at_some_time() {
        let streak = Streak(AtomicU64::new(u64::from(u32::MAX) << 32 | u64::from(u32::MAX)));
        streak.add(9);
        let early = streak.so_far();
        streak.add(9);
        let late = streak.so_far();
        streak.add(9);
        assert!(streak.add(4).is_eq(), "also where the numbers begin again");
        streak.end(late);
        assert!(streak.add(3).is_eq(), "the later two go on");
        streak.end(early);
        assert!(streak.add(4).is_eq(), "it had ended later than that");
        streak.clear();
        assert!(streak.add(1).is_eq());
    }

    #[test]
    fn an_alarm_rings_at_the_earliest_time_set() {
        let alarm = Alarm::new();
        assert_eq!(alarm.at(), Alarm::NEVER);
        alarm.set(7);
        alarm.set(9);
        assert_eq!(alarm.at(), 7);
        alarm.take();
        assert_eq!(alarm.at(), Alarm::NEVER);
    }

    #[test]
    fn a_window_forgets_old_stretches() {
        let window = Window::<3>::new();
        assert_eq!(window.count(0), 0);
        window.add(0);
        window.add(1);
        window.add(1);
        assert_eq!([window.count(1), window.count(2), window.count(3), window.count(4)], [3, 3, 2, 0]);
        window.add(3);
        assert_eq!([window.count(3), window.count(900)], [3, 0]);
    }
}

#[cfg(all(test, mesh_loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    use super::*;

    #[test]
    fn a_limit_holds_and_the_count_returns_to_zero() {
        loom::model(|| {
            let gauge = Arc::new(Gauge::default());
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let gauge = gauge.clone();
                    thread::spawn(move || {
                        let admitted = gauge.try_add(1);
                        if admitted {
                            assert_eq!(gauge.count(), 1);
                            gauge.sub();
                        }
                        admitted
                    })
                })
                .collect();
            let admitted = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|admitted| *admitted);
            assert!(admitted.count() >= 1, "the place is not lost between two who want it");
            assert_eq!(gauge.count(), 0);
        });
    }

    #[test]
    fn one_of_those_who_count_a_run_finds_the_threshold() {
        loom::model(|| {
            let streak = Arc::new(Streak::default());
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let streak = streak.clone();
                    thread::spawn(move || streak.add(2).is_eq())
                })
                .collect();
            let found = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|found| *found).count();
            assert_eq!(found, 1);
        });
    }

    #[test]
    fn what_is_reported_while_somebody_looks_is_seen_or_rings_again() {
        loom::model(|| {
            let alarm = Arc::new(Alarm::new());
            let news = Arc::new(AtomicBool::new(false));
            let reporter = {
                let (alarm, news) = (alarm.clone(), news.clone());
                thread::spawn(move || {
                    news.store(true, Ordering::Relaxed);
                    alarm.set(0);
                })
            };
            alarm.take();
            let seen = news.load(Ordering::Relaxed);
            alarm.set(9);
            reporter.join().unwrap();
            assert!(seen || alarm.at() == 0);
            if alarm.at() == 0 {
                alarm.take();
                assert!(news.load(Ordering::Relaxed));
            }
        });
    }

    #[test]
    fn a_window_loses_nobody_when_a_stretch_begins() {
        loom::model(|| {
            let window = Arc::new(Window::<2>::new());
            window.add(1);
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let window = window.clone();
                    thread::spawn(move || window.add(3))
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(window.count(3), 2);
        });
    }
}
