//! The forward pass of attention to latents.

use forebay_pager::{Clock, Storage};
use forebay_prefetch::SchedulerError;

use super::MatrixId;
use super::decoder::{Latent, LatentDims, Linear, QueryUp};
use super::engine::{Engine, Source, Steps, Target, vector};
use super::scratch::Scratch;
use super::weights::Compute;
use crate::kernels::steps::Columns;
use crate::kernels::{Inputs, Width, attention};

impl<S: Storage, C: Clock> Engine<S, C> {
    /// x += output(value(attend(key(query(h)), latents))), with h = norm(x), where key and value are products of each head.
    pub(super) fn latent(
        &mut self,
        layer: usize,
        rule: &Latent,
        n: usize,
        steps: &mut Steps,
    ) -> Result<(), SchedulerError> {
        let (heads, LatentDims { rank, value, .. }) = (self.decoder.shape.heads, rule.dims);
        self.norm_x(rule.norm, n);
        let stride = self.compress(layer, rule, n, steps)?;
        let stride = match rule.query_up {
            Some(up) => self.query_up(rule, &up, stride, n, steps)?,
            None => stride,
        };
        self.meet_latents(rule, stride, n, steps)?;
        self.attend_latents(layer, n);
        let latents = HeadInputs { stride: heads * rank, head_stride: rank, cols: rank };
        self.multiply_heads(rule.value, latents, n, steps, heads * value)?;
        let values = Source::Inner(heads * value);
        self.multiply(steps.next(), &[rule.output.weight], values, n, Target::H, self.decoder.shape.dim)?;
        self.add_h(rule.output.bias, None, n);
        Ok(())
    }

    /// wide = query(h), and keeps the latents. Returns how far the rows are apart. The queries are turned unless they are yet
    /// to be made of what is there.
    fn compress(&mut self, layer: usize, rule: &Latent, n: usize, steps: &mut Steps) -> Result<usize, SchedulerError> {
        let Latent { query, query_up, compress, latent_norm, dims, .. } = *rule;
        let (query_len, head) = match query_up {
            Some(up) => (up.rank, up.rank),
            None => (self.decoder.shape.heads * dims.query(), dims.query()),
        };
        let stride = query_len + dims.key();
        self.multiply(steps.next(), &[query.weight, compress.weight], Source::H, n, Target::Wide, stride)?;
        let Self { scratch, vectors, ropes, cache, compute: Compute { pool, isa }, .. } = self;
        let (eps, rope) = (self.decoder.shape.eps, Some(&ropes[rule.rope]));
        let queries = Columns {
            row: stride,
            columns: 0..query_len,
            head,
            bias: vector(vectors, query.bias),
            norm: query_up.map(|up| (&vectors[up.norm], eps)),
            rope: rope.filter(|_| query_up.is_none()),
        };
        let keys = Columns {
            row: stride,
            columns: query_len..stride,
            head: dims.key(),
            bias: vector(vectors, compress.bias),
            norm: Some((&vectors[latent_norm], eps)),
            rope,
        };
        let rows = &mut scratch.wide[..n * stride];
        queries.prepare(pool, *isa, rows);
        keys.prepare(pool, *isa, rows);
        for (t, row) in rows.chunks_exact(stride).enumerate() {
            let key = &row[query_len..];
            cache.store(*isa, layer, self.position + t, key, &key[..dims.rank]);
        }
        Ok(stride)
    }

    /// wide = the queries, turned, of the shorter vectors in rows of `stride`. Returns how far the new rows are apart.
    fn query_up(
        &mut self,
        rule: &Latent,
        up: &QueryUp,
        stride: usize,
        n: usize,
        steps: &mut Steps,
    ) -> Result<usize, SchedulerError> {
        let QueryUp { rank, up: Linear { weight, bias }, .. } = *up;
        let queries = self.decoder.shape.heads * rule.dims.query();
        let formats = self.formats(&[weight]);
        let Self { scratch: Scratch { wide, activations, .. }, compute: Compute { pool, isa }, .. } = self;
        let short = Inputs { x: &wide[..n * stride], stride, head_stride: 0, width: Width::one(rank) };
        activations.prepare_inputs(pool, *isa, &short, formats);
        self.multiply_prepared(steps.next(), n, Target::Wide, queries)?;
        let Self { scratch, vectors, ropes, compute: Compute { pool, isa }, .. } = self;
        let columns = Columns {
            row: queries,
            columns: 0..queries,
            head: rule.dims.query(),
            bias: vector(vectors, bias),
            norm: None,
            rope: Some(&ropes[rule.rope]),
        };
        columns.prepare(pool, *isa, &mut scratch.wide[..n * queries]);
        Ok(queries)
    }

    /// inner = the queries as they meet latents: what key makes of the plain part, then the turned part.
    fn meet_latents(
        &mut self,
        rule: &Latent,
        stride: usize,
        n: usize,
        steps: &mut Steps,
    ) -> Result<(), SchedulerError> {
        let (heads, dims) = (self.decoder.shape.heads, rule.dims);
        let plain = HeadInputs { stride, head_stride: dims.query(), cols: dims.plain };
        self.multiply_heads(rule.key, plain, n, steps, heads * dims.key())?;
        let Scratch { wide, inner, .. } = &mut self.scratch;
        let met = inner[..n * heads * dims.key()].chunks_exact_mut(heads * dims.key());
        for (met, queries) in met.zip(wide.chunks_exact(stride)) {
            for (met, query) in met.chunks_exact_mut(dims.key()).zip(queries.chunks_exact(dims.query())) {
                met[dims.rank..].copy_from_slice(&query[dims.plain..]);
            }
        }
        Ok(())
    }

    /// wide = for each head the weighted sum of the latents.
    fn attend_latents(&mut self, layer: usize, n: usize) {
        let shape = self.decoder.shape;
        let rule = attention::Attention {
            heads: shape.heads,
            scale: self.decoder.attention_scale,
            softcap: self.decoder.attention_softcap,
            window: None,
            sinks: None,
        };
        let Scratch { wide, inner, attention: scratch, .. } = &mut self.scratch;
        let (queries, stride) = (&inner[..n * shape.query_len()], shape.query_len());
        attention::attend(
            &self.compute.pool,
            self.compute.isa,
            &rule,
            &self.cache,
            layer,
            self.position,
            queries,
            stride,
            scratch,
            &mut wide[..n * shape.attended_len()],
        );
    }

    /// inner = what the heads of `matrix` make of their inputs in wide, in rows of `outputs`.
    fn multiply_heads(
        &mut self,
        matrix: MatrixId,
        inputs: HeadInputs,
        n: usize,
        steps: &mut Steps,
        outputs: usize,
    ) -> Result<(), SchedulerError> {
        let formats = self.formats(&[matrix]);
        let Scratch { wide, activations, .. } = &mut self.scratch;
        let HeadInputs { stride, head_stride, cols } = inputs;
        let width = Width { heads: self.decoder.shape.heads, cols };
        let inputs = Inputs { x: &wide[..n * stride], stride, head_stride, width };
        activations.prepare_inputs(&self.compute.pool, self.compute.isa, &inputs, formats);
        self.multiply_prepared(steps.next(), n, Target::Inner, outputs)
    }
}

/// Where the heads of a token have their inputs.
struct HeadInputs {
    /// From a token to the next.
    stride: usize,
    /// From a head to the next.
    head_stride: usize,
    /// Elements of each.
    cols: usize,
}
