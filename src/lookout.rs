//! Where helper threads get their work from: they look out for the next call for a moment before they sleep.
//!
//! A thread that sleeps takes 50 microseconds and more to wake up, as long as a small call takes. In a loop that calls every
//! now and then, helpers therefore stay awake between two calls, for at most [`PATIENCE`], and give way to whoever else wants
//! the processor. Where the last pause was longer, none looks out: whoever calls now and then burns no time.

use crate::scope::Helper;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// The longest pause between two calls in which a helper stays awake.
const PATIENCE: Duration = Duration::from_micros(200);

/// The helpers that are wanted, and the threads that look out for them.
pub(crate) struct Lookout {
    state: Mutex<State>,
    /// Number of helpers that are wanted, for those who look without taking the lock.
    wanted: AtomicUsize,
}

struct State {
    helpers: Vec<Helper>,
    /// Threads that look out.
    awake: usize,
}

thread_local! {
    /// When this thread was last of use.
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Lookout {
    pub(crate) const fn new() -> Self {
        let state = Mutex::new(State { helpers: Vec::new(), awake: 0 });
        Lookout { state, wanted: AtomicUsize::new(0) }
    }

    /// Asks for a helper. Returns whether a thread has to be woken that calls [`serve`](Self::serve).
    pub(crate) fn post(&self, helper: Helper) -> bool {
        self.with(|state| {
            // Those of calls that are over, which nobody came for in time.
            state.helpers.retain(Helper::is_wanted);
            state.helpers.push(helper);
            state.helpers.len() > state.awake
        })
    }

    /// Runs the helpers that are wanted, and those that come soon.
    pub(crate) fn serve(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::with_helpers;
    use std::thread;

    /// What `Lookout::post` says of one more helper.
    fn must_wake(lookout: &Lookout) -> bool {
        let answer = Cell::new(false);
        with_helpers(&|| {}, 1, |helper| answer.set(lookout.post(helper)));
        answer.get()
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
            with_helpers(&work, 1, |helper| assert!(!lookout.post(helper)));
        });
        assert_eq!(runs.into_inner(), 2);
        assert!(must_wake(&lookout), "it has gone");
    }

    #[test]
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
}
