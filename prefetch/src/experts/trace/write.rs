//! Rows become text.

use std::io::{self, Write};

use super::{COLUMNS, Chosen, Header, MAGIC, Phase, Routing, Row};

/// Writes a trace while a model runs.
#[derive(Debug)]
pub struct TraceWriter<W> {
    out: W,
}

impl<W: Write> TraceWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        // Words are what separates the fields of this line.
        let word = |name: &str| name.split_whitespace().collect::<Vec<_>>().join("_");
        let (model, arch, grid) = (word(&header.model), word(&header.arch), header.grid);
        writeln!(out, "{MAGIC}")?;
        let counts = format!("n_layer={} n_expert={} n_expert_used={}", grid.layers, grid.experts, header.used);
        writeln!(out, "# model={model} arch={arch} {counts}")?;
        for (layer, sizes) in header.sizes.iter().enumerate() {
            if let Some(sizes) = sizes {
                writeln!(out, "# layer={layer} expert_bytes={} dense_bytes={}", sizes.expert, sizes.dense)?;
            }
        }
        writeln!(out, "{}", COLUMNS.join(","))?;
        Ok(TraceWriter { out })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        let (phase, resident) = (u8::from(row.phase == Phase::Decode), u8::from(row.resident));
        let Row { turn, step, layer, slot, expert, weight, read, .. } = row;
        writeln!(self.out, "{turn},{phase},{step},{layer},{slot},{expert},{weight},{resident},{read}")
    }

    /// Writes the [`rows`] of a visit.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn visit(
        &mut self,
        turn: u32,
        phase: Phase,
        first: u32,
        routing: &Routing<'_>,
        read: impl FnMut(u32) -> Option<u64>,
    ) -> io::Result<()> {
        rows(turn, phase, first, routing, read).try_for_each(|row| self.row(&row))
    }

    /// Hands out what was written to.
    ///
    /// # Errors
    /// When what is still buffered cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The rows of a visit of a layer by a pass that began with token `first`. `read` says what was read for a choice: `None` if
/// the expert was in memory.
pub fn rows(
    turn: u32,
    phase: Phase,
    first: u32,
    routing: &Routing<'_>,
    mut read: impl FnMut(u32) -> Option<u64>,
) -> impl Iterator<Item = Row> {
    let (mut slot, mut last) = (0, None);
    let layer = routing.layer as u32;
    routing.choices.iter().map(move |&Chosen { token, expert, weight }| {
        slot = if last.replace(token) == Some(token) { slot + 1 } else { 0 };
        let bytes = read(expert);
        let step = first + token;
        Row { turn, phase, step, layer, slot, expert, weight, resident: bytes.is_none(), read: bytes.unwrap_or(0) }
    })
}
