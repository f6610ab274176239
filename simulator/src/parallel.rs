//! Cases on all cores, results in the order of the cases.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use crossbeam_channel::unbounded;

/// So many items for a thread may be begun before their turn to be handed out has come: enough that a slow one does not keep
/// the others from working, few enough to hold in memory.
const AHEAD: usize = 64;

/// As many threads as this machine runs at once.
pub fn all_cores() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Does `work` for each of `items` on `threads` threads, and gives every item with what came of it to `each`: on the calling thread,
/// in the order of the items. Items are taken as they are needed, so there may be any number of them.
///
/// # Errors
/// The first that `each` returns; what was begun by then is finished and thrown away.
///
/// # Panics
/// If `work` does, with its message.
pub fn in_order<T: Send, R: Send, E>(
    threads: NonZero<usize>,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(&T) -> R + Sync,
    mut each: impl FnMut(T, R) -> Result<(), E>,
) -> Result<(), E> {
    let mut items = items.into_iter().enumerate();
    let (jobs, todo) = unbounded::<(usize, T)>();
    let (finish, finished) = unbounded();
    let work = &work;
    #[expect(clippy::disallowed_methods, reason = "cases are independent, and one has no threads of its own")]
    thread::scope(move |scope| {
        for _ in 0..threads.get() {
            let (todo, finish) = (todo.clone(), finish.clone());
            scope.spawn(move || {
                for (index, item) in todo {
                    // Caught and passed on: whoever waits for this item would wait for ever.
                    let result = catch_unwind(AssertUnwindSafe(|| work(&item)));
                    if finish.send((index, item, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop((todo, finish));
        let mut begin = |count: usize| {
            let send = |job| jobs.send(job).expect("threads take jobs as long as there is this end");
            items.by_ref().take(count).map(send).count()
        };
        let mut begun = begin(AHEAD * threads.get());
        let (mut early, mut next) = (BTreeMap::new(), 0);
        while next < begun {
            let (index, item, result) = finished.recv().expect("as many results as jobs");
            early.insert(index, (item, result.unwrap_or_else(|panic| resume_unwind(panic))));
            while let Some((item, result)) = early.remove(&next) {
                each(item, result)?;
                next += 1;
                begun += begin(1);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn threads(n: usize) -> NonZero<usize> {
        NonZero::new(n).unwrap()
    }

    #[test]
    fn order_is_that_of_the_items_whoever_is_first() {
        for n in [1, 3, 8] {
            let mut seen = Vec::new();
            // Every seventh takes long.
            let work = |&i: &u64| (0..if i % 7 == 0 { 20_000 } else { 1 }).fold(i, |a, b| a ^ b ^ b);
            in_order(threads(n), 0..1000u64, work, |i, r| {
                seen.push((i, r));
                Ok::<_, ()>(())
            })
            .unwrap();
            assert!(seen.iter().copied().eq((0..1000).map(|i| (i, i))), "{n} threads");
        }
    }

    #[test]
    fn items_are_taken_as_they_are_needed_and_an_error_ends_it() {
        let taken = AtomicUsize::new(0);
        let endless = std::iter::repeat_with(|| taken.fetch_add(1, Ordering::Relaxed));
        let result = in_order(threads(2), endless, |&i| i, |_, r| if r == 10 { Err("enough") } else { Ok(()) });
        assert_eq!(result, Err("enough"));
        assert!(taken.into_inner() <= 2 * AHEAD + 11);
    }

    #[test]
    fn no_items_no_calls() {
        assert_eq!(in_order(threads(2), [0u8; 0], |_| (), |_, ()| Err(())), Ok(()));
    }

    #[test]
    #[should_panic(expected = "the third is bad")]
    fn a_panic_comes_out() {
        let _ = in_order(threads(2), 0..1000, |&i| assert_ne!(i, 2, "the third is bad"), |_, ()| Ok::<_, ()>(()));
    }
}
