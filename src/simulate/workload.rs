//! A model as what it asks of a device.

use forebay_infer::kernels::{KvShape, KvType};
use forebay_infer::model::decoder::{Attention, Channel, DeltaNet, Latent, Mixer};
use forebay_infer::model::weights::segments;
use forebay_infer::model::{Matrix, MatrixId, ModelMap};
use forebay_pager::FileId;
use forebay_prefetch::{StepId, TensorExtent};
use forebay_simulator::compute::Beside;
use forebay_simulator::profile::WeightType;
use forebay_simulator::workload::{Embedding, StepNeed, StepWork, Workload};

use super::SimulateError;

/// What `map` asks for, with keys and values kept as `kv`.
///
/// # Errors
/// When weights are of a type that profiles do not know.
pub fn workload(map: &ModelMap, kv: KvType) -> Result<Workload, SimulateError> {
    let mut types = Vec::new();
    let tensors = map.matrices.iter().map(|m| index(&mut types, m)).collect::<Result<Vec<_>, _>>()?;
    let steps = Steps::new(map);
    let mut works = steps.plain(map);
    steps.add_layers(map, kv, &mut works);
    Ok(Workload { segments: segments(map), types, tensors, steps: works, embedding: embedding(map) })
}

/// The index of the type of `matrix` among `types`, which has it then.
fn index(types: &mut Vec<WeightType>, matrix: &Matrix) -> Result<u16, SimulateError> {
    let name = matrix.ty.to_string();
    let unknown = || SimulateError::WeightType { tensor: matrix.name.clone(), ty: name.clone() };
    let ty = WeightType::named(&name).ok_or_else(unknown)?;
    let index = types.iter().position(|known| *known == ty).unwrap_or_else(|| {
        types.push(ty);
        types.len() - 1
    });
    Ok(index as u16)
}

fn embedding(map: &ModelMap) -> Embedding {
    let rows = &map.embedding;
    // All of it: tensors of a pool may begin at the same byte and be different ones.
    let of = |m: &Matrix| (m.file, m.offset, m.ty, m.rows, m.cols, m.heads, m.copies);
    let same = |m: &Matrix| of(m) == of(rows);
    let extent = TensorExtent {
        file: FileId(rows.file),
        offset: rows.offset,
        rows: rows.rows as u32,
        row_bytes: rows.row_bytes() as u32,
    };
    Embedding { extent, tied: map.matrices.iter().position(same).map(|tensor| tensor as u32) }
}

/// Where the matrices stand in the plan.
struct Steps {
    /// For each step, the matrix behind its last.
    ends: Vec<u32>,
}

impl Steps {
    fn new(map: &ModelMap) -> Self {
        let ends = map.steps.iter().scan(0, |end, step| {
            *end += step.count;
            Some(*end)
        });
        Steps { ends: ends.collect() }
    }

    fn of(&self, matrix: MatrixId) -> usize {
        self.ends.partition_point(|end| *end <= matrix.0)
    }

    /// The steps without what they do besides.
    fn plain(&self, map: &ModelMap) -> Vec<StepWork> {
        let need = |step: &forebay_infer::model::StepMatrices| match step.chosen {
            None => StepNeed::All { segments: step.count, opens: None },
            // The last matrix is the one behind the gate.
            Some(chosen) => StepNeed::Choice { chosen, before_gate: step.count - 1 },
        };
        map.steps.iter().map(|step| StepWork { need: need(step), beside: Beside::default() }).collect()
    }

    fn add_layers(&self, map: &ModelMap, kv: KvType, works: &mut [StepWork]) {
        let shape = &map.decoder.shape;
        // Norms and residual sums: about so many passes over a hidden state of f32.
        const PASSES: u64 = 8;
        let hidden = PASSES * 4 * shape.dim as u64;
        works.iter_mut().for_each(|work| work.beside.token_bytes = hidden);
        let attended = |window: Option<usize>| Beside {
            kv_bytes: position_bytes(map, kv),
            window: window.unwrap_or(0) as u32,
            pair_products: (shape.heads * (shape.head_dim + shape.value_dim)) as u64,
            token_bytes: hidden,
        };
        for layer in &map.decoder.layers {
            match layer.mixer {
                Mixer::Attention(Attention { output, window, .. }) => {
                    works[self.of(output.weight)].beside = attended(window);
                }
                Mixer::Latent(Latent { value, .. }) => works[self.of(value)].beside = attended(None),
                Mixer::DeltaNet(DeltaNet { output, shape: delta, .. }) => {
                    // Read and written.
                    let state = 4 * (delta.value_heads * delta.key_dim * delta.value_dim) as u64;
                    works[self.of(output)].beside.token_bytes += 2 * state;
                }
            }
            if let Channel::Experts(experts) = layer.channel {
                let choice = StepId(self.of(experts.gate.weight) as u32);
                if let StepNeed::All { opens, .. } = &mut works[self.of(experts.router.linear.weight)].need {
                    *opens = Some(choice);
                }
            }
        }
    }
}

/// Bytes of the keys and values of a position.
fn position_bytes(map: &ModelMap, ty: KvType) -> u64 {
    let shape = &map.decoder.shape;
    // They lie in tiles.
    const TILE: usize = 32;
    let tile =
        KvShape { ty, heads: shape.kv_heads, key_dim: shape.head_dim, value_dim: shape.value_dim, positions: TILE };
    (tile.bytes() / TILE) as u64
}
