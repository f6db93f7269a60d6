//! A thread that sleeps, and is woken on another processor than that of the thread that wakes it.
//!
//! Linux may put a thread that is woken behind the one that wakes it, and leave it there for milliseconds, although another
//! processor is idle: on a virtual machine one that halts does not count as idle. So the sleeper is kept off the processor
//! of the other thread for the moment in which it is woken. What processors it may use is the same before and after. (Miri has no
//! processors to choose from.)

use std::thread::{Thread, current};

/// A thread that sleeps, or is about to.
#[derive(Clone)]
pub(crate) struct Sleeper {
    pub(crate) thread: Thread,
    #[cfg(all(target_os = "linux", not(miri)))]
    id: rustix::thread::Pid,
}

impl Sleeper {
    /// The calling thread.
    pub(crate) fn this() -> Self {
        Sleeper {
            thread: current(),
            #[cfg(all(target_os = "linux", not(miri)))]
            id: rustix::thread::gettid(),
        }
    }

    pub(crate) fn wake(&self) {
        #[cfg(all(target_os = "linux", not(miri)))]
        let _kept_off = linux::KeptOff::this_processor(self.id);
        self.thread.unpark();
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// A thread that may not run on one of its processors, until this is dropped.
    pub(super) struct KeptOff {
        thread: Pid,
        before: CpuSet,
    }

    impl KeptOff {
        /// None where the thread may use no other processor, or where the system refuses to tell or to change what it may use.
        pub(super) fn this_processor(thread: Pid) -> Option<Self> {
            let before = sched_getaffinity(Some(thread)).ok()?;
            let mut others = before;
            others.unset(sched_getcpu());
            (others.count() > 0).then_some(())?;
            sched_setaffinity(Some(thread), &others).ok()?;
            Some(KeptOff { thread, before })
        }
    }

    impl Drop for KeptOff {
        fn drop(&mut self) {
            // It may have been refused in the meantime; then the thread has one processor less.
            let _ = sched_setaffinity(Some(self.thread), &self.before);
        }
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity};
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn a_sleeper_is_kept_off_one_processor_while_it_is_woken_and_off_none_afterwards() {
        let ((tell, told), (end, ended)) = (channel(), channel::<()>());
        thread::scope(|s| {
            s.spawn(move || {
                tell.send(Sleeper::this()).unwrap();
                let _ = ended.recv();
            });
            let sleeper = told.recv().unwrap();
            let processors = || sched_getaffinity(Some(sleeper.id)).unwrap();
            let before = processors();
            let kept_off = linux::KeptOff::this_processor(sleeper.id);
            let others = processors();
            assert_eq!(before.count() - others.count(), u32::from(before.count() > 1));
            assert!((0..CpuSet::MAX_CPU).all(|i| before.is_set(i) || !others.is_set(i)));
            drop(kept_off);
            assert!(processors() == before);
            sleeper.wake();
            assert!(processors() == before);
            drop(end);
        });
    }
}
