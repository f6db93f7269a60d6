//! A closure lent to other threads, of whom some may come too late to run it.
//!
//! The scopes of the standard library and of rayon wait for every thread they have called, also for one that is still waking
//! up when the work has been done. Here the lender takes the closure back: who has not begun by then finds nothing to do.

use std::any::Any;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Thread, current, park};

/// Looks at the borrowers before the lender goes to sleep: some 50 microseconds.
const PATIENCE: usize = 1 << 11;

/// Set as soon as the closure is taken back; the bits above count who runs it.
const CLOSED: usize = 1;
const BORROWER: usize = 2;

/// Runs `work` on this thread, and on those that take one of the `helpers` errands from `spawn` in time. Returns when all
/// who have begun are done; a panic of any of them goes on here.
pub(crate) fn with_helpers(work: &(dyn Fn() + Sync), helpers: usize, spawn: impl Fn(Errand)) {
    let loan = Arc::new(Loan { state: AtomicUsize::new(0), lender: current(), panic: Mutex::new(None) });
    // SAFETY: the reference is used by `Errand::run` alone, between `Loan::borrow` and `Loan::give_back`. `TakenBack` is
    // dropped before `work` goes, on a panic too: from then on nobody can borrow, and it waits until all have given back.
    let lent: &'static (dyn Fn() + Sync) = unsafe { std::mem::transmute(work) };
    {
        let _taken_back = TakenBack(&loan);
        for _ in 0..helpers {
            spawn(Errand { loan: Arc::clone(&loan), work: lent });
        }
        work();
    }
    if let Some(panic) = loan.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
        resume_unwind(panic);
    }
}

/// What a helper is to run when it has the time.
pub(crate) struct Errand {
    loan: Arc<Loan>,
    work: &'static (dyn Fn() + Sync),
}

impl Errand {
    /// Runs the closure, unless it has been taken back.
    pub(crate) fn run(self) {
        if self.loan.borrow() {
            let result = catch_unwind(AssertUnwindSafe(self.work));
            self.loan.give_back(result.err());
        }
    }
}

struct Loan {
    state: AtomicUsize,
    lender: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Loan {
    fn borrow(&self) -> bool {
        let one_more = |state| (state & CLOSED == 0).then_some(state + BORROWER);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).is_ok()
    }

    fn give_back(&self, panic: Option<Box<dyn Any + Send>>) {
        if panic.is_some() {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = panic;
        }
        // The last one wakes the lender, who may sleep.
        if self.state.fetch_sub(BORROWER, Ordering::Release) == BORROWER | CLOSED {
            self.lender.unpark();
        }
    }
}

/// Takes the closure back when it is dropped.
struct TakenBack<'l>(&'l Loan);

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_or(CLOSED, Ordering::Relaxed);
        let is_back = || self.0.state.load(Ordering::Acquire) == CLOSED;
        // To be woken takes longer than what is left of most work.
        for _ in 0..PATIENCE {
            if is_back() {
                return;
            }
            spin_loop();
        }
        while !is_back() {
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
    fn who_comes_late_finds_nothing() {
        let (runs, errands) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            runs.fetch_add(1, Relaxed);
        };
        with_helpers(&work, 3, |errand| errands.lock().unwrap().push(errand));
        assert_eq!(runs.load(Relaxed), 1);
        errands.into_inner().unwrap().into_iter().for_each(Errand::run);
        assert_eq!(runs.load(Relaxed), 1);
    }

    #[test]
    fn who_has_begun_is_waited_for() {
        let (runs, (begun, has_begun)) = (AtomicUsize::new(0), channel());
        let (begun, has_begun, lender) = (Mutex::new(begun), Mutex::new(has_begun), current().id());
        let work = || {
            if current().id() == lender {
                has_begun.lock().unwrap().recv().unwrap();
            } else {
                begun.lock().unwrap().send(()).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            runs.fetch_add(1, Relaxed);
        };
        with_helpers(&work, 1, |errand| drop(thread::spawn(|| errand.run())));
        assert_eq!(runs.load(Relaxed), 2);
    }

    #[test]
    fn a_panic_of_either_side_arrives_when_all_are_done() {
        for lender_panics in [false, true] {
            let (ended, lender) = (AtomicUsize::new(0), current().id());
            let (both, helper) = (std::sync::Barrier::new(2), Mutex::new(None));
            let work = || {
                both.wait();
                if (current().id() == lender) == lender_panics {
                    panic!("on purpose");
                }
                thread::sleep(Duration::from_millis(20));
                ended.fetch_add(1, Relaxed);
            };
            let spawn = |errand: Errand| *helper.lock().unwrap() = Some(thread::spawn(|| errand.run()));
            let result = catch_unwind(AssertUnwindSafe(|| with_helpers(&work, 1, spawn)));
            assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
            assert_eq!(ended.load(Relaxed), 1, "the other one was not waited for");
            helper.into_inner().unwrap().unwrap().join().unwrap();
        }
    }
}
