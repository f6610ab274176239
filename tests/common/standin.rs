//! The stand-in for a mixture of experts: each layer of a dense model gets experts, each the layer's feed-forward block with its
//! neurons in another order, and a router of made-up numbers. The logits are the dense model's, whoever is chosen, but for the order
//! of sums.
//!
//! The example `standin` uses this file, too.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use forebay::infer::gguf::write::Writer;
use forebay::infer::gguf::{Model, Tensor, TensorType};

pub(crate) const EXPERTS: usize = 8;
pub(crate) const CHOSEN: usize = 2;

/// The order of `units` things in expert `expert`: the first one's is as it was.
fn order(units: usize, expert: usize) -> impl Iterator<Item = usize> {
    // Steps that are prime to the number of units go through all of them.
    let step =
        (1..).map(|i| 2 * i * expert + 1).find(|s| (2..=*s).all(|d| s % d != 0 || !units.is_multiple_of(d))).unwrap();
    (0..units).map(move |i| (i * step + expert) % units)
}

/// The matrices of all experts made of a dense one, whose neurons are its rows, or its columns in `down`.
fn exchange(tensor: &Tensor, bytes: &[u8]) -> Vec<u8> {
    let (row, rows) = (tensor.row_bytes(), tensor.rows());
    let unit = tensor.ty.block_len().max(32);
    let mut out = Vec::with_capacity(EXPERTS * bytes.len());
    for expert in 0..EXPERTS {
        if tensor.name.contains("ffn_down") {
            let unit_bytes = unit / tensor.ty.block_len() * tensor.ty.block_bytes();
            for row in bytes.chunks_exact(row) {
                order(tensor.cols() / unit, expert)
                    .for_each(|i| out.extend_from_slice(&row[i * unit_bytes..][..unit_bytes]));
            }
        } else {
            order(rows / unit, expert).for_each(|i| out.extend_from_slice(&bytes[i * unit * row..][..unit * row]));
        }
    }
    out
}

/// Makes the dense model of architecture `llama` in the file `dense` a mixture in the file `to`.
pub(crate) fn write(dense: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let (model, bytes) = (Model::open(dense)?, std::fs::read(dense)?);
    if model.metadata.str("general.architecture")? != "llama" {
        return Err("only models of the architecture llama can be made stand-ins".into());
    }
    let mut writer = Writer::new();
    for (key, value) in model.metadata.iter() {
        writer.value(key, value)?;
    }
    writer.scalar("llama.expert_count", EXPERTS as u32).scalar("llama.expert_used_count", CHOSEN as u32);
    let is_block = |t: &Tensor| ["ffn_gate.", "ffn_up.", "ffn_down."].iter().any(|part| t.name.contains(part));
    let dim = model.metadata.u64("llama.embedding_length")?;
    let gates: Vec<&Tensor> = model.tensors.iter().filter(|t| t.name.contains("ffn_gate.")).collect();
    for tensor in &model.tensors {
        let (mut name, mut dims) = (tensor.name.clone(), tensor.dims.clone());
        if is_block(tensor) {
            name = name.replace(".weight", "_exps.weight");
            dims.push(EXPERTS as u64);
        }
        writer.tensor(&name, tensor.ty, &dims);
    }
    for gate in &gates {
        writer.tensor(&gate.name.replace("ffn_gate.", "ffn_gate_inp."), TensorType::F32, &[dim, EXPERTS as u64]);
    }
    let mut body = writer.begin(BufWriter::new(File::create(to)?))?;
    for tensor in &model.tensors {
        let data = &bytes[tensor.offset as usize..tensor.end() as usize];
        if is_block(tensor) { body.data(&exchange(tensor, data))? } else { body.data(data)? }
    }
    for layer in 0..gates.len() {
        let weight = |i: u64| ((i * 7919 + layer as u64 * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        let router: Vec<u8> = (0..dim * EXPERTS as u64).flat_map(|i| weight(i).to_le_bytes()).collect();
        body.data(&router)?;
    }
    body.finish()?;
    Ok(())
}
