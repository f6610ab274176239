//! The weights as the forward pass sees them: a step's matrices are multiplied page by page, as the pages are ready.

use forebay_pager::{Clock, FileId, Lease, PageId, PageSpec, PageState, Storage};
use forebay_prefetch::scheduler::MOST_AT_ONCE;
use forebay_prefetch::{
    Chosen, Layout, Pass, Plan, Scheduler, SchedulerError, SchedulerOptions, Segment, StepId, StepShape, TensorExtent,
};

use super::tensors::Matrix;
use super::{MatrixId, ModelMap};
use crate::gguf::TensorType;
use crate::kernels::{Activations, Isa, Panels, Part, Pool, dequantize_row, matmul};

/// Parts that go to the kernels in one call at most.
const PARTS: usize = MOST_AT_ONCE;

/// What runs the kernels.
#[derive(Debug)]
pub struct Compute {
    /// The threads.
    pub pool: Pool,
    /// The instructions.
    pub isa: Isa,
}

/// The streamed matrices of a model behind the window.
#[derive(Debug)]
pub struct Weights<S: Storage, C: Clock> {
    scheduler: Scheduler<S, C>,
    layout: Layout,
    shapes: Vec<MatrixShape>,
    embedding: Matrix,
    /// The embedding's index among the matrices, when the head is tied to it.
    tied: Option<usize>,
    batch: Vec<Lease>,
    row_requests: Vec<PageSpec>,
    row_of_request: Vec<usize>,
}

/// The plan's view of a model: where each matrix lies, and which belong together.
pub fn segments(map: &ModelMap) -> Vec<Segment> {
    let extent = |m: &Matrix| TensorExtent {
        file: FileId(m.file),
        offset: m.offset,
        rows: m.rows as u32,
        row_bytes: m.row_bytes() as u32,
    };
    let mut segments = Vec::new();
    for (step, matrices) in map.matrices_by_step() {
        let extents = matrices.iter().map(extent);
        match step.chosen {
            None => segments.extend(extents.map(Segment::Dense)),
            Some(_) => {
                let count = matrices.first().map_or(0, |m| m.copies as u32);
                segments.push(Segment::Experts { tensors: extents.collect(), count });
            }
        }
    }
    segments
}

/// The plan of one token: the head is the tail, which a part of a prompt does without.
pub fn plan(map: &ModelMap, layout: &Layout) -> Plan {
    let mut segments = layout.segments.iter();
    let shapes = map.steps.iter().map(|step| match step.chosen {
        None => {
            let segments = segments.by_ref().take(step.count as usize);
            StepShape::All { pages: segments.map(|s| s.pages.len() as u32).sum() }
        }
        Some(chosen) => {
            let segment = segments.next().expect("a segment for each choice");
            let experts = segment.experts.expect("a choice is among experts");
            StepShape::Choice { experts, pages_per_expert: segment.pages.len() as u32 / experts, chosen }
        }
    });
    Plan::new(shapes, 1)
}

impl<S: Storage, C: Clock> Weights<S, C> {
    /// The matrices of `map`, cut as `layout` says, through the window of `pager`. At most `max_rows` rows of the
    /// embedding are asked for at once.
    ///
    /// # Errors
    /// When the window is too small.
    pub fn new(
        map: &ModelMap,
        layout: Layout,
        pager: forebay_pager::Pager<S, C>,
        options: SchedulerOptions,
        max_rows: usize,
    ) -> Result<Self, SchedulerError> {
        let scheduler = Scheduler::new(pager, plan(map, &layout), &layout, options)?;
        Ok(Self::over(map, layout, scheduler, max_rows))
    }

    /// The same with a scheduler that was made for the [`plan`] of `map`, as one with a policy over experts of its own.
    pub fn over(map: &ModelMap, layout: Layout, scheduler: Scheduler<S, C>, max_rows: usize) -> Self {
        let mut shapes = Vec::with_capacity(map.matrices.len());
        for (_, matrices) in map.matrices_by_step() {
            let mut first_out = 0;
            for matrix in matrices {
                let &Matrix { ty, cols, rows, heads, .. } = matrix;
                shapes.push(MatrixShape { ty, cols, heads, head_rows: rows / heads, first_out });
                first_out += rows;
            }
        }
        let choices = scheduler.plan().choices().iter();
        let pages_per_expert = choices.map(|(_, choice)| choice.pages_per_expert as usize).max();
        // All of it: tensors of a pool may begin at the same byte and be different ones.
        let of = |m: &Matrix| (m.file, m.offset, m.ty, m.rows, m.cols, m.heads, m.copies);
        let same_place = |m: &Matrix| of(m) == of(&map.embedding);
        Weights {
            scheduler,
            layout,
            shapes,
            embedding: map.embedding.clone(),
            tied: map.matrices.iter().position(same_place),
            batch: Vec::with_capacity(MOST_AT_ONCE.max(pages_per_expert.unwrap_or(0))),
            row_requests: Vec::with_capacity(max_rows),
            row_of_request: Vec::with_capacity(max_rows),
        }
    }

    /// The scheduler, for its statistics.
    pub fn scheduler(&self) -> &Scheduler<S, C> {
        &self.scheduler
    }

    /// The scheduler, to reset its statistics.
    pub fn scheduler_mut(&mut self) -> &mut Scheduler<S, C> {
        &mut self.scheduler
    }

    /// How the matrices are cut into pages.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Begins a pass of `tokens` tokens, behind `position` others, through the layers.
    pub fn begin_pass(&mut self, pass: Pass, tokens: usize, position: usize) {
        self.scheduler.announce(tokens as u32, position as u32);
        self.scheduler.begin_pass(pass);
    }

    /// Multiplies every matrix of `step` with the activations. The outputs of one token are `stride` apart in `out`, and
    /// those of the step's matrices follow one another; those of heads share the stride out evenly.
    ///
    /// Each output depends on one row and one token only, so the order in which pages arrive changes nothing.
    ///
    /// # Errors
    /// When a read fails.
    pub fn multiply(
        &mut self,
        step: StepId,
        compute: &Compute,
        activations: &Activations,
        panels: &mut Panels,
        out: &mut [f32],
        stride: usize,
    ) -> Result<(), SchedulerError> {
        self.scheduler.begin_step(step);
        while self.scheduler.next_batch(MOST_AT_ONCE, &mut self.batch)? {
            // In the order of the plan, so that pages that follow one another are multiplied as one.
            self.batch.sort_unstable_by_key(|lease| lease.page());
            let parts = |lease| parts_of(&self.layout, &self.shapes, lease, stride);
            multiply_parts(self.batch.iter().flat_map(parts), compute, activations, panels, out, stride);
            self.scheduler.worked(self.batch.iter().map(Lease::page), activations.tokens());
            self.scheduler.finish_batch(&mut self.batch);
        }
        Ok(())
    }

    /// The outputs of `step` for one token, like [`Weights::multiply`], if all of its pages are in the window, which is left as
    /// it is. `false` where some are not.
    pub fn multiply_if_resident(
        &mut self,
        step: StepId,
        compute: &Compute,
        activations: &Activations,
        panels: &mut Panels,
        out: &mut [f32],
    ) -> bool {
        let pages = self.scheduler.plan().steps()[step.0 as usize].pages.clone();
        let absent = |page| self.scheduler.pager().state(PageId(page)) != PageState::Resident;
        if pages.clone().any(absent) {
            return false;
        }
        let stride = out.len();
        for first in pages.clone().step_by(MOST_AT_ONCE) {
            let some = (first..pages.end).take(MOST_AT_ONCE).map(PageId);
            self.batch.extend(some.filter_map(|page| self.scheduler.pager_mut().lease(page)));
            let parts = |lease| parts_of(&self.layout, &self.shapes, lease, stride);
            multiply_parts(self.batch.iter().flat_map(parts), compute, activations, panels, out, stride);
            self.scheduler.worked(self.batch.iter().map(Lease::page), activations.tokens());
            self.batch.clear();
        }
        true
    }

    /// Says which experts the tokens of the pass have chosen for `step`: they are read from here on.
    pub fn choose(&mut self, step: StepId, tokens: usize, chosen: &[Chosen]) {
        self.scheduler.choose(step, tokens, chosen);
    }

    /// Begins a step whose experts are chosen.
    pub fn begin_choice(&mut self, step: StepId) {
        self.scheduler.begin_step(step);
    }

    /// The next of the chosen experts whose weights are there; `None` when all are done.
    ///
    /// # Errors
    /// When a read fails.
    pub fn next_expert(&mut self) -> Result<Option<u32>, SchedulerError> {
        self.scheduler.next_expert(&mut self.batch)
    }

    /// Multiplies those matrices of the expert at hand that are in `matrices` with the activations, like
    /// [`Weights::multiply`].
    ///
    /// # Errors
    /// When a read fails: between its products the flash is seen to.
    pub fn multiply_expert(
        &mut self,
        matrices: &[MatrixId],
        compute: &Compute,
        activations: &Activations,
        panels: &mut Panels,
        out: &mut [f32],
        stride: usize,
    ) -> Result<(), SchedulerError> {
        let first_out = matrices.first().map_or(0, |id| self.shapes[id.0 as usize].first_out);
        let wanted = |lease: &&Lease| matrices.iter().any(|id| id.0 == self.layout.rows[lease.page().index()].tensor);
        let parts = |lease| parts_of(&self.layout, &self.shapes, lease, stride);
        let parts = self.batch.iter().filter(wanted).flat_map(parts);
        let parts = parts.map(|part| Part { first_out: part.first_out - first_out, ..part });
        multiply_parts(parts, compute, activations, panels, out, stride);
        self.scheduler.worked(self.batch.iter().filter(wanted).map(Lease::page), activations.tokens());
        // Who is told of an error does not give the expert back.
        self.scheduler.tend().inspect_err(|_| self.batch.clear())
    }

    /// Gives the expert at hand back.
    pub fn finish_expert(&mut self) {
        self.scheduler.finish_expert(&mut self.batch);
    }

    /// Writes the embedding of each token, widened to f32, to `out`, one after the other.
    ///
    /// A row of a tied head that is in the window is taken from there; all others are read by themselves.
    ///
    /// # Errors
    /// When a read fails.
    ///
    /// # Panics
    /// When a token is not in the vocabulary or `out` has another length.
    pub fn embed(&mut self, tokens: &[u32], out: &mut [f32]) -> Result<(), SchedulerError> {
        let (ty, cols, row_bytes) = (self.embedding.ty, self.embedding.cols, self.embedding.row_bytes());
        assert_eq!(out.len(), tokens.len() * cols, "one row per token");
        self.row_requests.clear();
        self.row_of_request.clear();
        for (i, (&token, row)) in tokens.iter().zip(out.chunks_exact_mut(cols)).enumerate() {
            assert!((token as usize) < self.embedding.rows, "token {token} is not in the vocabulary");
            let resident = self.tied.and_then(|tensor| {
                let page = self.layout.page_of_row(tensor, token);
                let lease = self.scheduler.pager_mut().lease(page)?;
                Some((lease, (token - self.layout.rows[page.index()].first) as usize * row_bytes))
            });
            match resident {
                Some((lease, at)) => dequantize_row(ty, &lease.bytes()[at..at + row_bytes], row),
                None => {
                    self.row_of_request.push(i);
                    self.row_requests.push(PageSpec {
                        file: FileId(self.embedding.file),
                        offset: self.embedding.offset + u64::from(token) * row_bytes as u64,
                        len: row_bytes as u32,
                    });
                }
            }
        }
        if self.row_requests.is_empty() {
            return Ok(());
        }
        let rows = &self.row_of_request;
        self.scheduler.pager_mut().gather(&self.row_requests, |i, bytes| {
            dequantize_row(ty, bytes, &mut out[rows[i] * cols..][..cols]);
        })?;
        Ok(())
    }
}

/// How a matrix is multiplied.
#[derive(Debug, Clone, Copy)]
struct MatrixShape {
    ty: TensorType,
    cols: usize,
    heads: usize,
    /// Rows of each head.
    head_rows: usize,
    /// Where its outputs begin among those of its step.
    first_out: usize,
}

/// What fills the room for parts that there are not.
const NO_PART: Part<'static> = Part { ty: TensorType::F32, cols: 0, bytes: &[], head: 0, first_out: 0 };

/// A leased page as parts of a product: one for each head that it has rows of.
fn parts_of<'a>(
    layout: &Layout,
    shapes: &[MatrixShape],
    lease: &'a Lease,
    stride: usize,
) -> impl Iterator<Item = Part<'a>> + use<'a> {
    let rows = layout.rows[lease.page().index()];
    let MatrixShape { ty, cols, heads, head_rows, first_out } = shapes[rows.tensor as usize];
    let (first, end) = (rows.first as usize, (rows.first + rows.count) as usize);
    let row_bytes = lease.bytes().len() / rows.count as usize;
    (first / head_rows..end.div_ceil(head_rows)).map(move |head| {
        let begin = head * head_rows;
        let (from, to) = (first.max(begin), end.min(begin + head_rows));
        let bytes = &lease.bytes()[(from - first) * row_bytes..(to - first) * row_bytes];
        Part { ty, cols, bytes, head, first_out: first_out + head * (stride / heads) + from - begin }
    })
}

/// Multiplies some parts at a time.
fn multiply_parts<'a>(
    parts: impl Iterator<Item = Part<'a>>,
    compute: &Compute,
    activations: &Activations,
    panels: &mut Panels,
    out: &mut [f32],
    stride: usize,
) {
    let mut parts = parts.peekable();
    while parts.peek().is_some() {
        let (mut some, mut count) = ([NO_PART; PARTS], 0);
        for (place, part) in some.iter_mut().zip(parts.by_ref()) {
            *place = part;
            count += 1;
        }
        matmul(&compute.pool, compute.isa, &some[..count], activations, panels, out, stride);
    }
}
