//! What architectures with gated DeltaNet layers share: names of keys and tensors.

use super::{Describe, Hyper, MOST_WIDTH};
use crate::model::ModelError;
use crate::model::decoder::{DeltaNet, DeltaShape, HeadOrder};
use crate::model::tensors::Tensors;

/// No convolution in use sees nearly as many tokens.
const MOST_TAPS: usize = 64;

/// Layers with a recurrence instead of attention.
#[derive(Debug, Clone)]
pub(super) struct Recurrent {
    /// Which they are.
    pub(super) layers: Vec<bool>,
    pub(super) shape: DeltaShape,
}

impl Hyper<'_> {
    /// Which layers have a recurrence, and its sizes. How the value heads lie the file does not say.
    pub(super) fn recurrent(&self, order: HeadOrder) -> Result<Recurrent, ModelError> {
        let (key_heads, value_heads) = ("ssm.group_count", "ssm.time_step_rank");
        let shape = DeltaShape {
            key_heads: self.size(key_heads, MOST_WIDTH)?,
            value_heads: self.multiple(value_heads, key_heads, "key heads")?,
            key_dim: self.size("ssm.state_size", MOST_WIDTH)?,
            value_dim: self.multiple("ssm.inner_size", value_heads, "value heads")?
                / self.size(value_heads, MOST_WIDTH)?,
            taps: self.size("ssm.conv_kernel", MOST_TAPS)?,
            order,
        };
        Ok(Recurrent { layers: self.recurrent_layers()?, shape })
    }

    /// A size that is a multiple of another, which counts the `parts`.
    fn multiple(&self, name: &str, of: &str, parts: &str) -> Result<usize, ModelError> {
        let (value, of) = (self.size(name, MOST_WIDTH)?, self.size(of, MOST_WIDTH)?);
        if value.is_multiple_of(of) {
            return Ok(value);
        }
        let expected = format!("a multiple of the {of} {parts}");
        Err(ModelError::Hyperparameter { key: self.key(name), value: value.to_string(), expected })
    }
}

impl Describe {
    /// Projections of all that a token brings, then the output projection.
    pub(super) fn delta_net(
        &self,
        tensors: &mut Tensors<'_>,
        layer: usize,
        shape: DeltaShape,
    ) -> Result<DeltaNet, ModelError> {
        let dim = self.shape.dim;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let norm = tensors.vector(&name("attn_norm.weight"), dim)?;
        let taps = tensors.vector(&name("ssm_conv1d.weight"), shape.taps * shape.mixed_len())?;
        let decay = tensors.vector(&name("ssm_a"), shape.value_heads)?;
        let decay_bias = tensors.vector(&name("ssm_dt.bias"), shape.value_heads)?;
        let head_norm = tensors.vector(&name("ssm_norm.weight"), shape.value_dim)?;
        tensors.step();
        let mixed = tensors.matrix(&name("attn_qkv.weight"), shape.mixed_len(), dim)?;
        let gate = tensors.matrix(&name("attn_gate.weight"), shape.value_len(), dim)?;
        let rates = match shape.order {
            HeadOrder::Grouped => [tensors.matrix(&name("ssm_ba.weight"), 2 * shape.value_heads, dim)?; 2],
            HeadOrder::Tiled => [
                tensors.matrix(&name("ssm_beta.weight"), shape.value_heads, dim)?,
                tensors.matrix(&name("ssm_alpha.weight"), shape.value_heads, dim)?,
            ],
        };
        tensors.step();
        let output = tensors.matrix(&name("ssm_out.weight"), dim, shape.value_len())?;
        Ok(DeltaNet { norm, mixed, gate, rates, taps, decay, decay_bias, head_norm, output, shape })
    }
}
