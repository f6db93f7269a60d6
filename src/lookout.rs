//! Where helper threads get their work from: they look out for the next call for a moment before they sleep.
//!
//! A thread that sleeps takes 50 microseconds and more to wake up, as long as a small call takes. In a loop that calls every
//! now and then, helpers therefore stay awake between two calls, for at most [`PATIENCE`], and give way to whoever else wants
//! the processor. Where the last pause was longer, none looks out: whoever calls now and then burns no time.

use crate::scope::Helper;
use crate::sleeper::Sleeper;
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, current, park, yield_now};
use std::time::{Duration, Instant};

/// The longest pause between two calls in which a helper stays awake.
pub(crate) const PATIENCE: Duration = Duration::from_micros(200);

/// The helpers that are wanted, and the threads that look out for them.
pub(crate) struct Lookout {
    state: Mutex<State>,
    /// Number of helpers that are wanted, for those who look without taking the lock.
    wanted: AtomicUsize,
    /// Number of threads that have been started, or `REFUSED`.
    threads: AtomicUsize,
    /// Number of threads that run.
    running: AtomicUsize,
}

/// For the number of threads: the system has refused one, and is not asked again.
const REFUSED: usize = usize::MAX;

/// Bytes of address space in which a thread finds place for its stack, and for what it asks for before it runs: where that is
/// refused, the C library ends the process. So large a block glibc maps, and unmaps when it is freed; a smaller one would stay in
/// the heap, where a new thread cannot have it.
const THREAD_BYTES: usize = 1 << 26;

struct State {
    helpers: Vec<Helper>,
    /// Threads that look out.
    awake: usize,
    /// Threads that sleep. The one that fell asleep last is woken first, so that where few are wanted, the same few work.
    asleep: Vec<Sleeper>,
}

thread_local! {
    /// When this thread was last of use.
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Lookout {
    pub(crate) const fn new() -> Self {
        let state = Mutex::new(State { helpers: Vec::new(), awake: 0, asleep: Vec::new() });
        Lookout { state, wanted: AtomicUsize::new(0), threads: AtomicUsize::new(0), running: AtomicUsize::new(0) }
    }

    /// Starts threads until there are so many, unless the system refuses one or the memory that it needs.
    pub(crate) fn grow(&'static self, count: usize) {
        let one_more = |threads| (threads < count).then(|| threads + 1);
        while let Ok(threads) = self.threads.fetch_update(Relaxed, Relaxed, one_more) {
            if !self.start(threads) {
                self.threads.store(REFUSED, Relaxed);
            }
        }
    }

    /// Starts a thread where there is room for it, and waits until it runs, as the next one could take that room.
    fn start(&'static self, number: usize) -> bool {
        if !has_room() {
            return false;
        }
        let running = self.running.load(Relaxed);
        let work = move || {
            // Memory of a thread's own is taken at its first use.
            let _ = current();
            self.running.fetch_add(1, Relaxed);
            loop {
                self.sleep();
                self.serve();
            }
        };
        let is_started = Builder::new().name(format!("xentrs-{number}")).spawn(work).is_ok();
        while is_started && self.running.load(Relaxed) == running {
            yield_now();
        }
        is_started
    }

    /// Asks for a helper, and wakes a thread unless enough look out.
    pub(crate) fn post(&self, helper: Helper) {
        let woken = self.with(|state| {
            // Those of calls that are over, which nobody came for in time.
            state.helpers.retain(Helper::is_wanted);
            state.helpers.push(helper);
            if state.helpers.len() > state.awake { state.asleep.pop() } else { None }
        });
        if let Some(sleeper) = woken {
            sleeper.wake();
        }
    }

    /// Returns when a helper is wanted.
    fn sleep(&self) {
        let this = current().id();
        let is_wanted = self.with(|state| {
            if state.helpers.is_empty() {
                state.asleep.push(Sleeper::this());
            }
            !state.helpers.is_empty()
        });
        // Whoever wakes a thread takes it off the list; others may unpark it for reasons of their own.
        while !is_wanted && self.with(|state| state.asleep.iter().any(|sleeper| sleeper.thread.id() == this)) {
            park();
        }
    }

    /// Runs the helpers that are wanted, and those that come soon.
    fn serve(&self) {
        // A pause as short as the last one may come again.
        let is_patient = LAST.replace(Some(Instant::now())).is_some_and(|last| last.elapsed() < PATIENCE);
        while let Some(helper) = self.take().or_else(|| if is_patient { self.look_out() } else { None }) {
            helper.run();
            LAST.set(Some(Instant::now()));
        }
    }

    fn take(&self) -> Option<Helper> {
        self.with(|state| state.helpers.pop())
    }

    /// The next helper, if one is wanted soon.
    fn look_out(&self) -> Option<Helper> {
        let begin = Instant::now();
        self.with(|state| state.awake += 1);
        while self.wanted.load(Relaxed) == 0 && begin.elapsed() < PATIENCE {
            yield_now();
        }
        self.with(|state| {
            state.awake -= 1;
            state.helpers.pop()
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        self.wanted.store(state.helpers.len(), Relaxed);
        result
    }
}

/// Whether memory for a thread is to be had. It is given back before the thread starts, which needs it.
fn has_room() -> bool {
    let mut room = Vec::<u8>::new();
    let is_given = room.try_reserve_exact(THREAD_BYTES).is_ok();
    // A compiler may leave out memory that nobody looks at.
    black_box(&room);
    is_given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::with_helpers;
    use std::thread;

    /// Whether one more helper wakes a thread that sleeps.
    fn must_wake(lookout: &Lookout) -> bool {
        lookout.with(|state| state.asleep = vec![Sleeper::this()]);
        with_helpers(&|| {}, 1, |helper| lookout.post(helper));
        lookout.with(|state| state.asleep.is_empty())
    }

    #[test]
    fn helpers_of_calls_that_are_over_are_forgotten() {
        let lookout = Lookout::new();
        for _ in 0..3 {
            assert!(must_wake(&lookout));
        }
        assert_eq!(lookout.with(|state| state.helpers.len()), 1);
    }

    #[test]
    fn a_thread_that_looks_out_need_not_be_woken() {
        let lookout = Lookout::new();
        let (runs, both) = (AtomicUsize::new(0), std::sync::Barrier::new(2));
        thread::scope(|s| {
            lookout.with(|state| state.awake += 1);
            // As one who looks out, but longer.
            s.spawn(|| {
                while lookout.wanted.load(Relaxed) == 0 {
                    yield_now();
                }
                lookout.with(|state| state.awake -= 1);
                lookout.serve();
            });
            let work = || {
                both.wait();
                runs.fetch_add(1, Relaxed);
            };
            lookout.with(|state| state.asleep = vec![Sleeper::this()]);
            with_helpers(&work, 1, |helper| lookout.post(helper));
            assert_eq!(lookout.with(|state| state.asleep.len()), 1);
        });
        assert_eq!(runs.into_inner(), 2);
        assert!(must_wake(&lookout), "it has gone");
    }

    #[test]
    #[cfg_attr(miri, ignore = "its clock goes by what it interprets")]
    fn only_short_pauses_are_waited_for() {
        let lookout = Lookout::new();
        // How long a thread waits for more, that served another call before the pause.
        let waits = |pause: Duration| {
            let serves = || {
                lookout.serve();
                thread::sleep(pause);
                let begin = Instant::now();
                lookout.serve();
                begin.elapsed()
            };
            thread::scope(|s| s.spawn(serves).join().unwrap())
        };
        // A busy machine may make any of the pauses longer, or take the processor from one that waits for nothing.
        assert!((0..20).any(|_| waits(Duration::ZERO) >= PATIENCE));
        assert!((0..20).any(|_| waits(3 * PATIENCE) < PATIENCE / 4));
    }

    #[test]
    fn a_thread_sleeps_until_it_is_wanted_and_the_last_to_fall_asleep_wakes_first() {
        static LOOKOUT: Lookout = Lookout::new();
        let sleepers = || LOOKOUT.with(|state| state.asleep.clone());
        let wait = |count: usize| {
            while sleepers().len() != count {
                yield_now();
            }
        };
        LOOKOUT.grow(3);
        LOOKOUT.grow(2);
        assert_eq!(LOOKOUT.threads.load(Relaxed), 3);
        wait(3);
        // Somebody else's unpark wakes nobody.
        sleepers().iter().for_each(|sleeper| sleeper.thread.unpark());
        thread::sleep(Duration::from_millis(5));
        let before = sleepers();
        assert_eq!(before.len(), 3);
        let (helped, caller, both) = (Mutex::new(Vec::new()), current().id(), std::sync::Barrier::new(2));
        let work = || {
            both.wait();
            if current().id() != caller {
                helped.lock().unwrap().push(current().id());
            }
        };
        with_helpers(&work, 1, |helper| LOOKOUT.post(helper));
        assert_eq!(helped.into_inner().unwrap(), [before[2].thread.id()]);
        wait(3);
    }

    #[test]
    fn where_the_system_refuses_a_thread_it_is_not_asked_again() {
        static LOOKOUT: Lookout = Lookout::new();
        LOOKOUT.threads.store(REFUSED, Relaxed);
        LOOKOUT.grow(5);
        assert_eq!(LOOKOUT.threads.load(Relaxed), REFUSED);
    }
}
