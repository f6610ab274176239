//! Rows become visits.

use super::{
    BadField, Chosen, ExpertGrid, Header, LayerBytes, MOST_EXPERTS, MOST_LAYERS, Phase, Row, Trace, TraceError, Visit,
};

/// Collects rows in the order of recording.
#[derive(Debug)]
pub struct TraceBuilder {
    trace: Trace,
    /// The row that came last.
    last: Option<Row>,
    /// Of the present pass: its first visit and its first token.
    pass: (usize, u32),
    /// Choices of the present token in the present layer.
    slots: usize,
}

impl TraceBuilder {
    /// For the model that `header` describes.
    ///
    /// # Errors
    /// When the header names more experts than can be, or none, or sizes for another number of layers.
    pub fn new(header: Header) -> Result<Self, BadField> {
        check_counts(header.grid, header.used)?;
        let layers = header.grid.layers;
        if header.sizes.len() != layers {
            return Err(BadField::new("n_layer", layers, format!("there are sizes of {} layers", header.sizes.len())));
        }
        let trace = Trace { header, visits: Vec::new(), choices: Vec::new() };
        Ok(TraceBuilder { trace, last: None, pass: (0, 0), slots: 0 })
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// When the row does not fit the model or the rows before it; nothing is added then.
    pub fn push(&mut self, row: Row) -> Result<(), BadField> {
        self.check(&row)?;
        let last = self.last.filter(|last| (last.turn, last.phase) == (row.turn, row.phase));
        let same_visit =
            last.is_some_and(|last| last.layer == row.layer && (row.phase == Phase::Prompt || last.step == row.step));
        let same_pass = same_visit
            || last.is_some_and(|last| last.layer < row.layer && (row.phase == Phase::Prompt || last.step == row.step));
        let first = if same_pass { self.pass.1 } else { row.step };
        let Some(token) = row.step.checked_sub(first) else {
            return Err(BadField::new("step", row.step, format!("the pass began with token {first}")));
        };
        let same_token = same_visit && last.is_some_and(|last| last.step == row.step);
        let slots = if same_token { self.slots } else { 0 };
        let end = self.trace.choices.len();
        if slots == self.trace.header.used {
            return Err(BadField::new(
                "expert",
                row.expert,
                format!("a token has {slots} experts in a layer, not more"),
            ));
        }
        if self.trace.choices[end - slots..].iter().any(|choice| choice.expert == row.expert) {
            return Err(BadField::new("expert", row.expert, "the token chose it already"));
        }
        if !same_pass {
            self.end_pass();
            self.pass = (self.trace.visits.len(), row.step);
        }
        if !same_visit {
            self.trace.visits.push(Visit { phase: row.phase, layer: row.layer as usize, tokens: 1, choices: end..end });
        }
        let visit = self.trace.visits.last_mut().expect("there is one for each row");
        visit.tokens = visit.tokens.max(token as usize + 1);
        visit.choices.end = end + 1;
        self.trace.choices.push(Chosen { token, expert: row.expert, weight: row.weight });
        self.slots = slots + 1;
        self.last = Some(row);
        Ok(())
    }

    /// The trace.
    ///
    /// # Errors
    /// When there were no rows.
    pub fn finish(mut self) -> Result<Trace, TraceError> {
        self.end_pass();
        if self.trace.visits.is_empty() { Err(TraceError::Empty) } else { Ok(self.trace) }
    }

    fn check(&self, row: &Row) -> Result<(), BadField> {
        let header = &self.trace.header;
        let layers = header.grid.layers;
        if row.layer as usize >= layers {
            return Err(BadField::new("layer", row.layer, format!("the model has {layers} layers")));
        }
        if row.expert as usize >= header.grid.experts {
            return Err(BadField::new("expert", row.expert, format!("a layer has {} experts", header.grid.experts)));
        }
        if !row.weight.is_finite() {
            return Err(BadField::new("weight", row.weight, "it must be finite"));
        }
        match header.sizes[row.layer as usize] {
            Some(LayerBytes { expert: 1.., .. }) => Ok(()),
            _ => Err(BadField::new("layer", row.layer, "the header gives no size for its experts")),
        }
    }

    /// A chunk has as many tokens in each layer; the last layer of a prompt may record its last token only.
    fn end_pass(&mut self) {
        let visits = &mut self.trace.visits[self.pass.0..];
        let tokens = visits.iter().map(|visit| visit.tokens).max().unwrap_or(0);
        visits.iter_mut().for_each(|visit| visit.tokens = tokens);
    }
}

/// Whether a model can have such counts; before anything is allocated by them.
pub(super) fn check_counts(grid: ExpertGrid, used: usize) -> Result<(), BadField> {
    let ExpertGrid { layers, experts } = grid;
    if layers == 0 || layers > MOST_LAYERS {
        return Err(BadField::new("n_layer", layers, format!("there are 1 to {MOST_LAYERS} layers")));
    }
    let most = MOST_EXPERTS / layers;
    if experts == 0 || experts > most {
        return Err(BadField::new("n_expert", experts, format!("{layers} layers have 1 to {most} experts each")));
    }
    if used == 0 || used > experts {
        return Err(BadField::new("n_expert_used", used, format!("a router chooses 1 to {experts}")));
    }
    Ok(())
}
