//! Blocks of work whose size depends on the shape alone, shared among the threads of a pool, and sums that are taken in
//! order. So the result has the same bits for any number of threads.
//!
//! # How many threads
//! The process has a number of threads ([`set_num_threads`], at first that of the environment). [`with_num_threads`] sets
//! another one for the work inside its closure, on the calling thread. Work that is too small to share reads neither.
//! There is one pool. It grows to as many threads as a call can use: one less than it has blocks, or than it may have.
//!
//! # Fork
//! Threads do not survive `fork`, and a pool inherited from the parent would wait for them for ever. A pool therefore
//! belongs to the process that built it; a child ignores its parent's pool and builds its own. A child never waits for
//! another thread of its parent either: there is no global lock that a fork could leave locked.

use crate::error::{Error, Result};
use crate::lookout::{Lookout, PATIENCE};
use crate::memory;
use crate::scope;
use std::cell::Cell;
use std::num::NonZero;
use std::ops::Add;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Elements of a block: large enough to hide the hand-over to a thread, small enough to share evenly.
const BLOCK_ELEMENTS: usize = 1 << 15;

/// For fewer elements waking a thread costs more than it saves.
pub(crate) const PARALLEL_ELEMENTS: usize = 1 << 17;

/// For fewer elements even a thread that is awake costs more than it saves.
pub(crate) const LOOP_ELEMENTS: usize = 1 << 15;

/// The largest number of threads: more than any machine has cores, and no more than start in a moment.
pub(crate) const MOST_THREADS: NonZero<usize> = NonZero::new(4096).unwrap();

/// Number of rows in a block.
pub(crate) fn block_rows(row_elements: usize) -> usize {
    (BLOCK_ELEMENTS / row_elements.max(1)).max(1)
}

/// Runs `f` on every block, on this thread or, where `elements` are enough, on several.
pub(crate) fn for_each<B: Send>(
    blocks: impl ExactSizeIterator<Item = B> + Send,
    elements: usize,
    f: impl Fn(B) + Sync,
) {
    let f = |block| apart(&f, block);
    match Helpers::of(elements, blocks.len()) {
        None => blocks.for_each(f),
        Some(helpers) => helpers.for_each(blocks, f),
    }
}

/// The same, with the sum of what `f` returns, taken in the order of the blocks.
pub(crate) fn sum<B: Send>(
    blocks: impl ExactSizeIterator<Item = B> + Send,
    elements: usize,
    f: impl Fn(B) -> f64 + Sync,
) -> f64 {
    let f = |block| apart(&f, block);
    let Some(helpers) = Helpers::of(elements, blocks.len()) else {
        // Not `sum`, which begins with -0.
        return blocks.map(f).fold(0.0, Add::add);
    };
    let mut sums = memory::zeros(blocks.len());
    helpers.for_each(blocks.zip(&mut sums), |(block, sum)| *sum = f(block));
    sums.into_iter().fold(0.0, Add::add)
}

/// The same, with the first error in the order of the blocks. Blocks after one that fails may or may not be run.
pub(crate) fn try_for_each<B: Send>(
    mut blocks: impl ExactSizeIterator<Item = B> + Send,
    elements: usize,
    f: impl Fn(B) -> Result<()> + Sync,
) -> Result<()> {
    let f = |block| apart(&f, block);
    let Some(helpers) = Helpers::of(elements, blocks.len()) else {
        return blocks.try_for_each(f);
    };
    let first = Mutex::new((usize::MAX, Ok(())));
    helpers.for_each(blocks.enumerate(), |(i, block)| {
        if let error @ Err(_) = f(block) {
            let mut first = lock(&first);
            if i < first.0 {
                *first = (i, error);
            }
        }
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

/// Calls `f` as a function of its own: the loop of one thread and that of several share it.
#[inline(never)]
fn apart<B, R>(f: &impl Fn(B) -> R, block: B) -> R {
    f(block)
}

/// Threads that share work with the calling one.
struct Helpers {
    lookout: &'static Lookout,
    count: usize,
}

impl Helpers {
    /// None where the calling thread does the work alone.
    fn of(elements: usize, blocks: usize) -> Option<Self> {
        // The number is read once, as another thread may set a new one in the meantime.
        let others = if elements >= LOOP_ELEMENTS { num_threads().min(MOST_THREADS.get()) - 1 } else { 0 };
        let count = others.min(blocks.saturating_sub(1));
        if count == 0 {
            return None;
        }
        // Asked of all work, as it is counted there.
        let is_in_loop = is_in_loop();
        let pays = is_in_loop || elements >= PARALLEL_ELEMENTS;
        pays.then(lookout).flatten().map(|lookout| Helpers { lookout, count })
    }

    /// Runs `f` on every block: each thread takes the next block when it is done with its last one.
    fn for_each<B: Send>(&self, blocks: impl Iterator<Item = B> + Send, f: impl Fn(B) + Sync) {
        let queue = Mutex::new(blocks);
        self.run(&|| {
            let next = lock(&queue).next();
            next.map(&f).is_some()
        });
    }

    /// Calls `next` on this thread, and on the helpers that are awake before the end, until it returns false. It is not
    /// generic, so that it is compiled once for all loops.
    fn run(&self, next: &(dyn Fn() -> bool + Sync)) {
        let work = || while next() {};
        self.lookout.grow(self.count);
        scope::with_helpers(&work, self.count, |helper| self.lookout.post(helper));
    }
}

/// Whether this thread is in a loop of calls that helpers could help with, so that they are awake.
fn is_in_loop() -> bool {
    /// A call may share its work several times.
    const MANY: u32 = 4;
    thread_local! {
        /// When this thread last had work to share, and how often at least without a pause.
        static LAST: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    let times = LAST.get().filter(|(last, _)| now - *last < PATIENCE).map_or(0, |(_, times)| MANY.min(times + 1));
    LAST.set(Some((now, times)));
    times == MANY
}

/// A thread that panics leaves what it has locked in a valid state, so that poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads of the process; 0 until the number is set or first read.
static PROCESS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Threads of the work that this thread does inside [`with_num_threads`]; 0 outside.
    static SCOPE: Cell<usize> = const { Cell::new(0) };
}

/// Threads that large work of the calling thread is shared among.
///
/// That is the number of the innermost [`with_num_threads`] around the call, else that of [`set_num_threads`], else the
/// first of `XENTRS_NUM_THREADS`, `RAYON_NUM_THREADS` and `OMP_NUM_THREADS` that holds a positive integer, else the cores
/// that this process may use (its affinity and its control group say). The environment is read once, at the first call.
pub fn num_threads() -> usize {
    match (SCOPE.get(), PROCESS.load(Relaxed)) {
        (0, 0) => {
            let default = environment().ok().flatten().or_else(|| std::thread::available_parallelism().ok());
            // A number that was set in the meantime has precedence.
            match PROCESS.compare_exchange(0, default.map_or(1, NonZero::get), Relaxed, Relaxed) {
                Ok(_) => num_threads(),
                Err(set) => set,
            }
        }
        (0, process) => process,
        (scope, _) => scope,
    }
}

/// Shares large work among `n` threads from now on, in the whole process; never among more than 4096.
///
/// The calling thread is one of them; the others form a pool. They start when a call first has work for them, and live as
/// long as the process.
pub fn set_num_threads(n: NonZero<usize>) {
    PROCESS.store(n.get(), Relaxed);
}

/// Runs `f` with its large work shared among `n` threads, where it calls this library on the thread that runs it.
///
/// ```
/// use std::num::NonZero;
///
/// let before = xentrs::num_threads();
/// assert_eq!(xentrs::with_num_threads(NonZero::new(3).unwrap(), xentrs::num_threads), 3);
/// assert_eq!(xentrs::num_threads(), before);
/// ```
pub fn with_num_threads<R>(n: NonZero<usize>, f: impl FnOnce() -> R) -> R {
    /// Puts the number of the scope around back, on a panic too.
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            SCOPE.set(self.0);
        }
    }
    let _restore = Restore(SCOPE.replace(n.get()));
    f()
}

/// The number of threads that the environment asks for, if it does.
///
/// # Errors
/// [`Error::Parameter`] where `XENTRS_NUM_THREADS` is set, but to no positive integer.
pub(crate) fn environment() -> Result<Option<NonZero<usize>>> {
    wanted(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
}

/// Our own variable must be valid. The others belong to other libraries: a value that is no positive number (rayon takes 0 for
/// all cores) is ignored, and one too large is cut. OpenMP's may be a list with a number for each level of nesting: `4,2`.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Result<Option<NonZero<usize>>> {
    const OWN: &str = "XENTRS_NUM_THREADS";
    let number = |text: &str| text.trim().parse::<NonZero<usize>>().ok();
    if let Some(own) = variable(OWN).filter(|own| !own.is_empty()) {
        let expected = match number(&own) {
            Some(n) if n <= MOST_THREADS => return Ok(Some(n)),
            Some(_) => "at most 4096",
            None => "a positive integer",
        };
        return Err(Error::parameter(OWN, expected, format!("{own:?}")));
    }
    let first = |list: String| list.split(',').next().and_then(number).map(|n| n.min(MOST_THREADS));
    Ok(["RAYON_NUM_THREADS", "OMP_NUM_THREADS"].into_iter().find_map(|name| first(variable(name)?)))
}

/// The pool of a process. Never freed: a child must not free what its parent's threads use.
struct Pool {
    process: u32,
    lookout: Lookout,
    next: Slot,
}

/// The next node of the list of pools, which may be empty.
struct Slot {
    /// The process that fills it; 0 until one does.
    process: AtomicU32,
    filled: OnceLock<Box<Pool>>,
}

impl Slot {
    const fn empty() -> Self {
        Slot { process: AtomicU32::new(0), filled: OnceLock::new() }
    }

    /// The pool in this slot. An empty slot gets a new one, from this thread or from one that was faster.
    ///
    /// None where the process was forked in the few nanoseconds in which a thread of the parent filled the slot: that thread
    /// does not exist here.
    fn get_or_build(&self, process: u32) -> Option<&Pool> {
        if self.filled.get().is_none() {
            let built = Box::new(Pool { process, lookout: Lookout::new(), next: Slot::empty() });
            match self.process.compare_exchange(0, process, Relaxed, Relaxed) {
                Ok(_) => drop(self.filled.set(built)),
                Err(filler) if filler == process => drop(self.filled.wait()),
                Err(_) => {}
            }
        }
        self.filled.get().map(Box::as_ref)
    }
}

/// Where the threads of this process's pool look out for work.
fn lookout() -> Option<&'static Lookout> {
    static FIRST: Slot = Slot::empty();
    let (process, mut slot) = (std::process::id(), &FIRST);
    loop {
        let found = slot.get_or_build(process)?;
        if found.process == process {
            return Some(&found.lookout);
        }
        slot = &found.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn n(n: usize) -> NonZero<usize> {
        NonZero::new(n).unwrap()
    }

    /// Uneven numbers, whose sum shows the order in which it was taken.
    fn total(elements: usize) -> f64 {
        sum(0..1_000u32, elements, |i| f64::from(i).sqrt() * 1e3f64.powi((i % 7) as i32 - 3))
    }

    #[test]
    fn the_environment_is_read_in_order() {
        let read = |own: &'static str, rayon: &'static str, omp: &'static str| {
            wanted(|name| {
                let value = match name {
                    "XENTRS_NUM_THREADS" => own,
                    "RAYON_NUM_THREADS" => rayon,
                    _ => omp,
                };
                (value != "unset").then(|| value.to_owned())
            })
        };
        for (own, rayon, omp, threads) in [
            ("2", "3", "4", Some(2)),
            ("unset", "3", "4", Some(3)),
            ("", " 3 ", "4", Some(3)),
            ("unset", "0", "4", Some(4)),
            ("unset", "all", "4,2", Some(4)),
            ("4096", "3", "4", Some(4096)),
            ("unset", "4097", "4", Some(4096)),
            ("unset", "unset", "0", None),
            ("unset", "unset", "unset", None),
        ] {
            assert_eq!(read(own, rayon, omp), Ok(threads.map(n)), "{own:?} {rayon:?} {omp:?}");
        }
        for own in ["0", "-1", "two", "2.5", "4,2", " "] {
            let message = read(own, "3", "4").unwrap_err().to_string();
            assert_eq!(message, format!("XENTRS_NUM_THREADS must be a positive integer, got {own:?}"));
        }
        let message = read("4097", "3", "4").unwrap_err().to_string();
        assert_eq!(message, "XENTRS_NUM_THREADS must be at most 4096, got \"4097\"");
    }

    #[test]
    fn a_scope_ends_where_its_closure_ends() {
        let before = num_threads();
        let (outer, inner, after) =
            with_num_threads(n(3), || (num_threads(), with_num_threads(n(2), num_threads), num_threads()));
        assert_eq!((outer, inner, after, num_threads()), (3, 2, 3, before));
        let panicked = catch_unwind(AssertUnwindSafe(|| with_num_threads(n(5), || panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(num_threads(), before);
        with_num_threads(n(7), || std::thread::scope(|s| assert_eq!(s.spawn(num_threads).join().unwrap(), before)));
    }

    #[test]
    fn a_scope_decides_which_threads_do_the_work() {
        for threads in [1, 2, 5] {
            let names = Mutex::new(std::collections::BTreeSet::new());
            let all = std::sync::Barrier::new(threads);
            with_num_threads(n(threads), || {
                // As many blocks as threads, each of which waits for the others.
                for_each(0..threads, PARALLEL_ELEMENTS, |_| {
                    all.wait();
                    names.lock().unwrap().insert(std::thread::current().name().map(str::to_owned));
                });
            });
            let names = names.into_inner().unwrap();
            assert_eq!(names.len(), threads, "{names:?}");
            assert!(names.contains(&std::thread::current().name().map(str::to_owned)), "{names:?}");
            let pooled = names.iter().flatten().filter(|name| name.starts_with("xentrs-"));
            assert_eq!(pooled.count(), threads - 1, "{names:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "its clock goes by what it interprets")]
    fn little_work_is_shared_in_a_loop_only() {
        let shares = |elements| with_num_threads(n(2), || Helpers::of(elements, 2).is_some());
        let pause = || std::thread::sleep(2 * PATIENCE);
        pause();
        assert_eq!([LOOP_ELEMENTS - 1, LOOP_ELEMENTS, PARALLEL_ELEMENTS].map(shares), [false, false, true]);
        // A busy machine may take the processor away between two calls.
        let is_shared = (0..100).any(|_| {
            pause();
            assert!(!shares(LOOP_ELEMENTS));
            (0..8).map(|_| shares(LOOP_ELEMENTS)).collect::<Vec<_>>().ends_with(&[true, true])
        });
        assert!(is_shared);
    }

    #[test]
    fn sums_do_not_depend_on_threads() {
        let alone = total(0);
        for threads in [1, 2, 3, 7] {
            assert_eq!(with_num_threads(n(threads), || total(PARALLEL_ELEMENTS)).to_bits(), alone.to_bits());
        }
    }

    #[test]
    fn the_first_error_in_the_order_of_the_blocks_is_returned() {
        let check = |elements: usize, wrong: &[u32]| {
            try_for_each(0..1_000u32, elements, |i| match wrong.contains(&i) {
                true => Err(Error::parameter("i", "right", format!("{i}"))),
                false => Ok(()),
            })
        };
        for elements in [0, PARALLEL_ELEMENTS] {
            with_num_threads(n(3), || {
                assert_eq!(check(elements, &[]), Ok(()));
                let error = check(elements, &[999, 400, 401, 700]).unwrap_err();
                assert_eq!(error.to_string(), "i must be right, got 400");
            });
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it ends where it has no memory")]
    fn memory_that_is_not_to_be_had_on_any_thread_is_an_error() {
        for elements in [0, PARALLEL_ELEMENTS] {
            let done = AtomicUsize::new(0);
            let work = |i: usize| {
                if i == 7 {
                    drop(memory::zeros::<u8>(usize::MAX));
                }
                done.fetch_add(1, Relaxed);
            };
            let result = with_num_threads(n(3), || {
                memory::or_error(|| {
                    for_each(0..64, elements, work);
                    Ok(())
                })
            });
            assert_eq!(result, Err(Error::OutOfMemory { bytes: usize::MAX }));
            assert!(done.into_inner() < 64);
        }
    }

    /// A foreign pool's worker that waits for us goes on with its pool's other work, which may call us again.
    #[test]
    #[cfg_attr(miri, ignore = "the other pool breaks the rules of Stacked Borrows")]
    fn from_inside_the_pool_of_somebody_else() {
        let alone = total(0);
        let theirs = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let sums: Vec<f64> = theirs.install(|| {
            (0..200usize).into_par_iter().map(|i| with_num_threads(n(2 + i % 3), || total(PARALLEL_ELEMENTS))).collect()
        });
        assert!(sums.iter().all(|sum| sum.to_bits() == alone.to_bits()));
    }

    #[test]
    fn from_many_threads_with_many_numbers() {
        let alone = total(0);
        let (callers, calls) = if cfg!(miri) { (3, 3) } else { (12, 20) };
        std::thread::scope(|s| {
            for i in 0..callers {
                s.spawn(move || {
                    for k in 0..calls {
                        let sum = with_num_threads(n(1 + (i + k) % 4), || total(PARALLEL_ELEMENTS));
                        assert_eq!(sum.to_bits(), alone.to_bits());
                    }
                });
            }
        });
    }

    #[test]
    fn a_slot_that_a_lost_process_was_filling_is_given_up() {
        let slot = Slot { process: AtomicU32::new(7), filled: OnceLock::new() };
        assert!(slot.get_or_build(8).is_none());
    }
}
