//! What the routers of a run say, taken down as a routing trace.

use std::fmt;
use std::io::{self, Write};

use forebay_prefetch::experts::ExpertGrid;
use forebay_prefetch::experts::trace::{Header, LayerBytes, Phase, Trace, TraceBuilder, TraceWriter, rows};
use forebay_prefetch::{Chosen, Routing};

use super::ModelMap;
use super::decoder::{Channel, Experts};

/// Takes down what routers say while an engine runs ([`super::Engine::record_routes`]): as text, `route_trace v1`, or in memory.
pub struct RouteRecorder {
    to: To,
    /// Tokens of the prompt.
    prompt: usize,
    /// Experts of the present visit whose reading was told.
    told: Vec<bool>,
}

enum To {
    Text(TraceWriter<Box<dyn Write + Send>>),
    Memory(TraceBuilder),
    /// The first thing that went wrong; nothing is taken down after it.
    Failed(io::Error),
}

impl RouteRecorder {
    /// Writes to `out`, of a run of the model `name` whose first `prompt` tokens are given.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(map: &ModelMap, name: &str, prompt: usize, out: Box<dyn Write + Send>) -> io::Result<Self> {
        let header = header(map, name);
        let told = vec![false; header.grid.experts];
        Ok(RouteRecorder { to: To::Text(TraceWriter::new(out, &header)?), prompt, told })
    }

    /// Keeps the trace in memory, where it grows by a few bytes for each choice. `None` where the model has no experts.
    pub fn in_memory(map: &ModelMap, name: &str, prompt: usize) -> Option<Self> {
        let header = header(map, name);
        let told = vec![false; header.grid.experts];
        Some(RouteRecorder { to: To::Memory(TraceBuilder::new(header).ok()?), prompt, told })
    }

    /// A layer's experts are chosen by `tokens` tokens, the first of which is at `position`. `missing` says how many bytes of an expert
    /// are not in memory.
    pub(super) fn visit(
        &mut self,
        layer: usize,
        position: usize,
        tokens: usize,
        choices: &[Chosen],
        missing: impl Fn(u32) -> u64,
    ) {
        self.told.fill(false);
        let phase = if position < self.prompt { Phase::Prompt } else { Phase::Decode };
        let told = &mut self.told;
        let read = |expert: u32| {
            let bytes = missing(expert);
            // It is read once, whoever chose it.
            let again = std::mem::replace(&mut told[expert as usize], true);
            (bytes > 0).then_some(if again { 0 } else { bytes })
        };
        let routing = Routing { layer, tokens, choices };
        let mut rows = rows(0, phase, position as u32, &routing, read);
        let taken = match &mut self.to {
            To::Text(writer) => rows.try_for_each(|row| writer.row(&row)),
            To::Memory(builder) => rows.try_for_each(|row| builder.push(row)).map_err(io::Error::other),
            To::Failed(_) => Ok(()),
        };
        if let Err(failure) = taken {
            self.to = To::Failed(failure);
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// The first that writing came to.
    pub fn finish(self) -> io::Result<()> {
        match self.to {
            To::Text(writer) => writer.finish().map(|_| ()),
            To::Memory(_) => Ok(()),
            To::Failed(failure) => Err(failure),
        }
    }

    /// The trace that was kept in memory, if one was and it has any visits.
    ///
    /// # Errors
    /// When what the routers said is no trace.
    pub fn into_trace(self) -> io::Result<Option<Trace>> {
        match self.to {
            To::Memory(builder) => Ok(builder.finish().ok()),
            To::Text(_) => Ok(None),
            To::Failed(failure) => Err(failure),
        }
    }
}

impl fmt::Debug for RouteRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteRecorder").field("prompt", &self.prompt).finish_non_exhaustive()
    }
}

fn header(map: &ModelMap, name: &str) -> Header {
    let layers = &map.decoder.layers;
    let most = |of: fn(&Experts) -> usize| map.decoder.experts().map(of).max().unwrap_or(0);
    let sizes = layers.iter().enumerate().map(|(layer, description)| match &description.channel {
        Channel::Dense(_) => None,
        Channel::Experts(experts) => Some(bytes(map, layer, experts)),
    });
    Header {
        model: name.to_owned(),
        arch: map.decoder.architecture.to_owned(),
        grid: ExpertGrid { layers: layers.len(), experts: most(|e| e.count) },
        used: most(|e| e.router.chosen),
        sizes: sizes.collect(),
    }
}

fn bytes(map: &ModelMap, layer: usize, experts: &Experts) -> LayerBytes {
    let of_expert = [experts.gate, experts.up, experts.down].map(|linear| linear.weight);
    let prefix = format!("blk.{layer}.");
    let dense = |(step, matrices): (super::StepMatrices, &[super::Matrix])| {
        let of_layer = matrices.iter().filter(|m| step.chosen.is_none() && m.name.starts_with(&prefix));
        of_layer.map(super::Matrix::bytes).sum::<u64>()
    };
    LayerBytes {
        expert: of_expert.iter().map(|id| map.matrices[id.0 as usize].bytes()).sum(),
        dense: map.matrices_by_step().map(dense).sum(),
    }
}
