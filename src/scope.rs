//! Runs a closure on this thread and on helper threads. Helpers that wake up after the work is done are cancelled.
//!
//! The scopes of the standard library wait for every thread they have called, also for one that is still waking
//! up when the work has been done. Here the scope closes when the calling thread is done: helpers that have entered it by
//! then are waited for, the others never run the closure.

use crate::simd::float_mode;
use std::any::Any;
use std::hint::spin_loop;
use std::mem::transmute;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Thread, current, park};

/// Spin iterations before the calling thread parks: some 50 microseconds.
const SPINS: usize = 1 << 11;

/// Bit of a closed scope; the bits above count the helpers inside.
const CLOSED: usize = 1;
const HELPER: usize = 2;

/// Runs `work` on this thread, and on the threads that run one of the `helpers` given to `spawn` in time. Returns when all
/// that have begun are done; a panic of any of them is resumed here.
pub(crate) fn with_helpers(work: &(dyn Fn() + Sync), helpers: usize, spawn: impl Fn(Helper)) {
    let scope = Arc::new(Scope { state: AtomicUsize::new(0), caller: current(), panic: Mutex::new(None) });
    // SAFETY: both types are a pointer to a closure and one to its functions.
    let work_of_helpers = unsafe { transmute::<&(dyn Fn() + Sync), *const (dyn Fn() + Sync)>(work) };
    {
        let _close = Close(&scope);
        for _ in 0..helpers {
            spawn(Helper { scope: Arc::clone(&scope), work: work_of_helpers });
        }
        work();
    }
    if let Some(panic) = scope.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
        resume_unwind(panic);
    }
}

/// What a helper thread runs.
pub(crate) struct Helper {
    scope: Arc<Scope>,
    /// No reference, which must not outlive the closure even where nobody follows it: a helper may come later.
    work: *const (dyn Fn() + Sync),
}

// SAFETY: a scope may be shared, and the closure may be called from any thread.
unsafe impl Send for Helper {}

impl Helper {
    /// Whether the scope is open.
    pub(crate) fn is_wanted(&self) -> bool {
        self.scope.state.load(Ordering::Relaxed) & CLOSED == 0
    }

    /// Runs the closure, unless the scope has been closed.
    pub(crate) fn run(self) {
        if self.scope.enter() {
            // SAFETY: `Close` is dropped before the closure is, on a panic too. From then on no helper can enter, and it waits
            // until all that have entered have left.
            let work = unsafe { &*self.work };
            let result = catch_unwind(AssertUnwindSafe(|| float_mode::standard(work)));
            self.scope.leave(result.err());
        }
    }
}

struct Scope {
    state: AtomicUsize,
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Scope {
    fn enter(&self) -> bool {
        let one_more = |state| (state & CLOSED == 0).then_some(state + HELPER);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).is_ok()
    }

    fn leave(&self, panic: Option<Box<dyn Any + Send>>) {
        if panic.is_some() {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = panic;
        }
        // The last helper wakes the caller, which may be parked.
        if self.state.fetch_sub(HELPER, Ordering::Release) == HELPER | CLOSED {
            self.caller.unpark();
        }
    }
}

/// Closes the scope when it is dropped, and waits for the helpers inside.
struct Close<'s>(&'s Scope);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_or(CLOSED, Ordering::Relaxed);
        let is_empty = || self.0.state.load(Ordering::Acquire) == CLOSED;
        // Waking up takes longer than what is left of most work.
        for _ in 0..SPINS {
            if is_empty() {
                return;
            }
            spin_loop();
        }
        while !is_empty() {
            park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_late_helper_does_not_run() {
        let (runs, helpers) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        {
            // The closure is gone when the helpers come.
            let work = || {
                runs.fetch_add(1, Relaxed);
            };
            with_helpers(&work, 3, |helper| helpers.lock().unwrap().push(helper));
        }
        assert_eq!(runs.load(Relaxed), 1);
        helpers.into_inner().unwrap().into_iter().for_each(Helper::run);
        assert_eq!(runs.load(Relaxed), 1);
    }

    #[test]
    fn a_helper_that_has_begun_is_waited_for() {
        let (runs, (begun, has_begun)) = (AtomicUsize::new(0), channel());
        let (begun, has_begun, caller) = (Mutex::new(begun), Mutex::new(has_begun), current().id());
        let work = || {
            if current().id() == caller {
                has_begun.lock().unwrap().recv().unwrap();
            } else {
                begun.lock().unwrap().send(()).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            runs.fetch_add(1, Relaxed);
        };
        with_helpers(&work, 1, |helper| drop(thread::spawn(|| helper.run())));
        assert_eq!(runs.load(Relaxed), 2);
    }

    /// A thread begins with the modes of the one that starts it.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_helper_that_has_begun_in_other_modes_sets_the_standard_ones() {
        use float_mode::tests::{half_of_tiny, others};

        let (halves, both) = (Mutex::new(Vec::new()), std::sync::Barrier::new(2));
        let work = || {
            both.wait();
            halves.lock().unwrap().push(half_of_tiny());
        };
        with_helpers(&work, 1, |helper| drop(thread::spawn(|| others(|| helper.run()))));
        assert_eq!(halves.into_inner().unwrap(), [f64::MIN_POSITIVE / 2.0; 2]);
    }

    #[test]
    fn a_panic_of_either_side_arrives_when_all_are_done() {
        for caller_panics in [false, true] {
            let (ended, caller) = (AtomicUsize::new(0), current().id());
            let (both, thread) = (std::sync::Barrier::new(2), Mutex::new(None));
            let work = || {
                both.wait();
                if (current().id() == caller) == caller_panics {
                    panic!("on purpose");
                }
                thread::sleep(Duration::from_millis(20));
                ended.fetch_add(1, Relaxed);
            };
            let spawn = |helper: Helper| *thread.lock().unwrap() = Some(thread::spawn(|| helper.run()));
            let result = catch_unwind(AssertUnwindSafe(|| with_helpers(&work, 1, spawn)));
            assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
            assert_eq!(ended.load(Relaxed), 1, "the other one was not waited for");
            thread.into_inner().unwrap().unwrap().join().unwrap();
        }
    }
}
