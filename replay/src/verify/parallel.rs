//! Work that is spread over threads and comes back in the order in which it was given, so that no result depends on
//! how many there are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Pieces for each thread: the ends of uneven ones even out.
const PIECES_PER_JOB: usize = 4;

/// What `each` makes of the items, in their order, by `jobs` threads.
pub(super) fn map<T: Sync, R: Send>(jobs: usize, items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if jobs < 2 || items.len() < 2 {
        return items.iter().map(each).collect();
    }
    let pieces: Vec<&[T]> = items.chunks(items.len().div_ceil(jobs * PIECES_PER_JOB)).collect();
    let taken = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let nth = taken.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(nth) else { return done };
            done.push((nth, piece.iter().map(&each).collect::<Vec<R>>()));
        }
    };
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = (1..jobs.min(pieces.len())).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(nth, _)| *nth);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_items_whatever_the_number_of_threads() {
        let items: Vec<u32> = (0..1000).collect();
        let expected: Vec<u32> = items.iter().map(|item| item * 3).collect();
        for jobs in [0, 1, 2, 3, 7, 2000] {
            assert_eq!(map(jobs, &items, |item| item * 3), expected, "{jobs} threads");
        }
        assert!(map(4, &[] as &[u32], |item| *item).is_empty());
    }
}
