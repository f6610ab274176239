//! The ceiling on the whole process, and how it is divided.
//!
//! The window gets what the ceiling leaves after everything else is paid: the process as it stands when the model is
//! loaded (code, tokenizer, allocator), the resident vectors, the KV cache and what recurrent layers keep, the activations of
//! a prompt chunk, and a reserve for what cannot be counted beforehand.

use forebay_pager::ALIGN;
use forebay_prefetch::scheduler::least_frames;
use forebay_prefetch::{Layout, Segment};

/// Stacks, rings of the kernel, code pages touched later, what the allocator keeps: paid from the ceiling.
pub const RESERVE: u64 = 6 << 20;
/// No read needs to be longer: phones saturate at 256 KiB, desktop drives before 1 MiB.
pub const LONGEST_PAGE: usize = 1 << 20;
/// Shorter reads waste the flash on requests.
pub const SHORTEST_PAGE: usize = 128 << 10;
/// No chunk is longer: by then the read of the weights is shared by enough tokens.
pub const LONGEST_CHUNK: usize = 512;
/// Tokens of a prompt that go through the layers together, by preference. More tokens share one read of the weights; the
/// activations they need are taken from the window.
const CHUNKS: [usize; 7] = [LONGEST_CHUNK, 256, 128, 64, 32, 16, 8];

/// What a model needs besides the window. All in bytes, but for the activations, which grow with the chunk.
#[derive(Debug, Clone)]
pub struct Needs {
    /// What the process holds already.
    pub process: u64,
    /// Resident vectors.
    pub vectors: u64,
    /// Keys and values of the whole context.
    pub kv: u64,
    /// What recurrent layers keep of the context, however long it is.
    pub state: u64,
    /// Logits, and what the sampler keeps beside them.
    pub logits: u64,
    /// Activations that do not depend on the chunk.
    pub activations: u64,
    /// Activations for each token of a chunk.
    pub activations_per_token: u64,
    /// Frames for single rows of the embedding.
    pub scratch: u64,
}

impl Needs {
    fn fixed(&self) -> u64 {
        // A damaged header may ask for more than there is to count.
        [self.vectors, self.kv, self.state, self.logits, self.activations, self.scratch, RESERVE]
            .into_iter()
            .fold(self.process, u64::saturating_add)
    }
}

/// How a ceiling is divided.
#[derive(Debug, Clone)]
pub struct Budget {
    /// The ceiling, in bytes.
    pub ceiling: u64,
    /// What is paid besides the window.
    pub needs: Needs,
    /// Tokens of a prompt that go through the layers together.
    pub chunk: usize,
    /// Bytes of one frame of the window.
    pub frame_len: usize,
    /// Frames of the window.
    pub frames: usize,
    /// The fewest frames that this model can be run with.
    pub least_frames: usize,
    /// Frames that would hold the whole model.
    pub frames_for_all: usize,
    /// Bytes of the tables that say where each page lies and what it is.
    pub tables: u64,
}

/// What the caller would rather choose itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// Length of a page, about.
    pub page_len: Option<usize>,
    /// Tokens of a prompt that go through the layers together, at most.
    pub chunk: Option<usize>,
}

/// A ceiling that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a ceiling of {} is too small for this model: the least is {} \
     ({} the process, {} for a context of {context} tokens, {} activations and logits, {} the smallest window, {} reserve)",
    mib(*ceiling), mib(*floor), mib(*process), mib(*kv), mib(*activations), mib(*window), mib(RESERVE)
)]
pub struct BelowFloor {
    /// The ceiling asked for.
    pub ceiling: u64,
    /// The least that works.
    pub floor: u64,
    /// Of it, what the process holds already, resident vectors included.
    pub process: u64,
    /// Of it, keys and values, and the states of recurrent layers.
    pub kv: u64,
    /// The context that these are for.
    pub context: usize,
    /// Of it, activations and logits.
    pub activations: u64,
    /// Of it, the smallest window.
    pub window: u64,
}

impl Budget {
    /// Divides `ceiling` for a model whose streamed weights are `segments`, in the order of the plan.
    ///
    /// # Errors
    /// [`BelowFloor`] with the numbers, when no window worth the name is left.
    pub fn divide(
        ceiling: u64,
        needs: Needs,
        context: usize,
        segments: &[Segment],
        wishes: Wishes,
    ) -> Result<Self, BelowFloor> {
        let Wishes { page_len, chunk: longest_chunk } = wishes;
        let smallest_chunk = CHUNKS[CHUNKS.len() - 1] as u64;
        let least_frame = Layout::choose_frame_len(segments, page_len.unwrap_or(SHORTEST_PAGE));
        let least_frames = |frame_len| least_frames(Layout::pages_per_expert(segments, frame_len) as usize);
        let least_window = least_frames(least_frame) as u64 * cost(least_frame) + tables(segments, least_frame);
        let least_activations = smallest_chunk.saturating_mul(needs.activations_per_token);
        let floor = needs.fixed().saturating_add(least_activations).saturating_add(least_window);
        if ceiling < floor {
            return Err(BelowFloor {
                ceiling,
                floor,
                process: needs.process + needs.vectors + needs.scratch,
                kv: needs.kv.saturating_add(needs.state),
                context,
                activations: needs.activations + needs.logits + least_activations,
                window: least_window,
            });
        }
        let for_chunk = ceiling - needs.fixed() - least_window;
        // The chunk may take a sixteenth of the ceiling: what it takes the window lacks for every token after the prompt.
        let affordable = |chunk: &&usize| **chunk as u64 * needs.activations_per_token <= for_chunk.min(ceiling / 16);
        let chunk = *CHUNKS.iter().find(affordable).unwrap_or(&CHUNKS[CHUNKS.len() - 1]);
        let chunk = chunk.min(context).min(longest_chunk.unwrap_or(context).max(1));
        let left = ceiling - needs.fixed() - chunk as u64 * needs.activations_per_token;

        let target = page_len.unwrap_or_else(|| page_target(segments, left));
        let chosen = Layout::choose_frame_len(segments, target);
        let frames_of = |frame_len| left.saturating_sub(tables(segments, frame_len)) / cost(frame_len);
        // The floor was counted with the shortest frames: what is left is enough for these.
        let frame_len = if frames_of(chosen) < least_frames(chosen) as u64 { least_frame } else { chosen };
        let least_frames = least_frames(frame_len);
        let frames_for_all = Layout::cut(segments, frame_len).map_or(usize::MAX, |l| l.page_count());
        let frames = (frames_of(frame_len) as usize).min(frames_for_all.max(least_frames));
        let tables = tables(segments, frame_len);
        Ok(Budget { ceiling, needs, chunk, frame_len, frames, least_frames, frames_for_all, tables })
    }

    /// Bytes of the window.
    pub fn window(&self) -> u64 {
        (self.frames * self.frame_len) as u64
    }

    /// What the window costs, here and in the kernel.
    pub fn window_cost(&self) -> u64 {
        self.frames as u64 * cost(self.frame_len)
    }

    /// Bytes of the activations.
    pub fn activations(&self) -> u64 {
        self.needs.activations + self.chunk as u64 * self.needs.activations_per_token
    }

    /// What the process will hold at most, the reserve included.
    pub fn total(&self) -> u64 {
        self.needs.fixed() + self.chunk as u64 * self.needs.activations_per_token + self.tables + self.window_cost()
    }
}

/// What the kernel keeps for 4 KiB of the window: an entry of the page tables, and a piece of a buffer registered for I/O. It is
/// no part of the process's resident memory, but a memory group counts it.
const KERNEL_PER_PAGE: u64 = 8 + 16;

/// Bytes that a frame takes, here and in the kernel.
fn cost(frame_len: usize) -> u64 {
    frame_len as u64 + (frame_len as u64).div_ceil(4096) * KERNEL_PER_PAGE
}

/// What the layout, the page table, the policy and the scheduler keep for a page, rounded up; half as much again passes
/// through while they are made.
const TABLES_PER_PAGE: u64 = 128;

/// The same for an expert: what the forecast has seen of it and expects.
const TABLES_PER_EXPERT: u64 = 192;

fn tables(segments: &[Segment], frame_len: usize) -> u64 {
    let experts = segments.iter().map(|segment| match segment {
        Segment::Dense(_) => 0,
        Segment::Experts { count, .. } => u64::from(*count),
    });
    Layout::most_pages(segments, frame_len) * TABLES_PER_PAGE + experts.sum::<u64>() * TABLES_PER_EXPERT
}

/// The page length to aim at: long enough for the flash, short enough that the ring of frames under way is a small part of
/// the window.
fn page_target(segments: &[Segment], window: u64) -> usize {
    let streamed: u64 = segments.iter().map(Segment::bytes).sum();
    let target = (streamed / 1536).min(window / 64) as usize;
    target.clamp(SHORTEST_PAGE, LONGEST_PAGE).next_multiple_of(ALIGN)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_pager::FileId;
    use forebay_prefetch::TensorExtent;

    fn needs() -> Needs {
        Needs {
            process: 20 << 20,
            vectors: 1 << 20,
            kv: 9 << 20,
            state: 1 << 20,
            logits: 1 << 20,
            activations: 1 << 20,
            activations_per_token: 64 << 10,
            scratch: 64 << 10,
        }
    }

    fn model() -> Vec<Segment> {
        let extent = |i: u64| TensorExtent { file: FileId(0), offset: i << 24, rows: 4096, row_bytes: 1024 };
        (0..100).map(extent).map(Segment::from).collect()
    }

    #[test]
    fn nothing_is_spent_twice_and_the_ceiling_holds() {
        for mib in [42u64, 50, 100, 300, 1000] {
            let budget = Budget::divide(mib << 20, needs(), 4096, &model(), Wishes::default()).unwrap();
            assert!(budget.total() <= budget.ceiling, "{mib}: {budget:?}");
            assert!(budget.frames >= budget.least_frames && budget.frames <= budget.frames_for_all);
        }
    }

    #[test]
    fn below_the_floor_the_error_states_the_floor_and_the_floor_works() {
        let error = Budget::divide(30 << 20, needs(), 4096, &model(), Wishes::default()).unwrap_err();
        assert!(error.to_string().starts_with("a ceiling of 30.0 MiB is too small for this model: the least is "));
        assert!(Budget::divide(error.floor, needs(), 4096, &model(), Wishes::default()).is_ok());
        assert!(Budget::divide(error.floor - 1, needs(), 4096, &model(), Wishes::default()).is_err());
    }

    #[test]
    fn a_ceiling_that_holds_everything_takes_no_more_than_everything() {
        let budget = Budget::divide(4 << 30, needs(), 4096, &model(), Wishes::default()).unwrap();
        assert_eq!(budget.frames, budget.frames_for_all);
        assert_eq!(budget.chunk, 512);
    }
}
