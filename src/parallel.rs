//! The only file that names rayon: our own pool, blocks of work whose size depends on the shape alone, and sums that are
//! taken in order. So the result has the same bits for any number of threads.
//!
//! # Fork
//! Threads do not survive `fork`, and a pool inherited from the parent would wait for them for ever. A pool therefore
//! belongs to the process that built it; a child finds another process's pool, leaves it alone and builds its own.

use rayon::ThreadPool;
use rayon::prelude::*;
use std::ops::Add;
use std::sync::OnceLock;

/// Elements of a block: large enough to hide the hand-over to a thread, small enough to share evenly.
const BLOCK_ELEMENTS: usize = 1 << 15;

/// Below so many elements waking a thread costs more than it saves.
const PARALLEL_ELEMENTS: usize = 1 << 16;

/// How many rows make a block.
pub(crate) fn block_rows(row_elements: usize) -> usize {
    (BLOCK_ELEMENTS / row_elements.max(1)).max(1)
}

/// Whether work on so many elements leaves the calling thread.
pub(crate) fn is_parallel(elements: usize) -> bool {
    elements >= PARALLEL_ELEMENTS && num_threads() > 1
}

/// The sum of `f` over blocks of work, taken in order: on this thread, or, for `elements` enough, on all of them.
pub(crate) fn sum<B: Send>(
    blocks: impl ExactSizeIterator<Item = B>,
    elements: usize,
    f: impl Fn(B) -> f64 + Sync,
) -> f64 {
    let threads = if blocks.len() > 1 && is_parallel(elements) { pool() } else { None };
    match threads {
        Some(pool) => {
            let blocks: Vec<B> = blocks.collect();
            let sums: Vec<f64> = pool.install(|| blocks.into_par_iter().map(&f).collect());
            sums.into_iter().fold(0.0, Add::add)
        }
        // Not `sum`, which begins with -0.
        None => blocks.map(f).fold(0.0, Add::add),
    }
}

/// Threads that large work is shared among: `XENTRS_NUM_THREADS`, else `RAYON_NUM_THREADS`, else `OMP_NUM_THREADS`, else
/// the cores that this process may use. Read once.
pub fn num_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        ["XENTRS_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"]
            .iter()
            .find_map(|name| std::env::var(name).ok()?.trim().parse().ok().filter(|&n| n > 0))
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    })
}

/// A pool, and what it was built for. Never freed: a child must not join its parent's threads.
struct Pool {
    process: u32,
    threads: usize,
    /// None where the system lends no threads: work is then done by the caller.
    pool: Option<ThreadPool>,
    next: OnceLock<Box<Pool>>,
}

impl Pool {
    fn build(process: u32, threads: usize) -> Self {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("xentrs-{i}")).build().ok();
        Pool { process, threads, pool, next: OnceLock::new() }
    }
}

/// The pool of this process with so many threads, built at its first use.
fn pool() -> Option<&'static ThreadPool> {
    static FIRST: OnceLock<Box<Pool>> = OnceLock::new();
    let (process, threads) = (std::process::id(), num_threads());
    let mut slot = &FIRST;
    loop {
        let found = match slot.get() {
            Some(found) => found,
            // Built outside the slot, so that no lock is held while threads start; whoever is first has it.
            None => {
                let _ = slot.set(Box::new(Pool::build(process, threads)));
                slot.get()?
            }
        };
        if found.process == process && found.threads == threads {
            return found.pool.as_ref();
        }
        slot = &found.next;
    }
}
