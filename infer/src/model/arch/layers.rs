//! Which layers a model has, and of which kind they are.

use super::{Hyper, MOST_LAYERS};
use crate::gguf::Value;
use crate::model::ModelError;
use crate::model::decoder::Shape;
use crate::model::tensors::Tensors;

impl Hyper<'_> {
    /// Sizes, without the last layers where those predict tokens further ahead: decoding does without them.
    pub(super) fn shape_without_predictors(&self, tensors: &mut Tensors<'_>) -> Result<Shape, ModelError> {
        let all = self.shape(tensors)?;
        let layers = all.layers - self.size_or_0("nextn_predict_layers", all.layers - 1)?;
        for layer in layers..all.layers {
            tensors.leave_out(&format!("blk.{layer}."));
        }
        Ok(Shape { layers, ..all })
    }

    /// For each layer, whether it sees all positions although others have a window. The file says it layer by layer, or
    /// by a number `n`: the last of every `n` layers does, and none where it is 0. Without either, `every` is the number.
    pub(super) fn global_layers(&self, layers: usize, every: usize) -> Result<Vec<bool>, ModelError> {
        let name = "attention.sliding_window_pattern";
        let key = self.key(name);
        let every = match self.metadata.get(&key) {
            Some(Value::Array(_)) => {
                return Ok(self.flags(name, layers)?.into_iter().map(|windowed| !windowed).collect());
            }
            Some(_) => self.metadata.u32(&key)? as usize,
            None => every,
        };
        Ok((0..layers).map(|i| every != 0 && i % every == every - 1).collect())
    }

    /// For each layer, whether it has a recurrence in place of attention. The file says it layer by layer, or, in old files,
    /// by a number `n`: the last of every `n` layers has none. Without either it is 4.
    pub(super) fn recurrent_layers(&self) -> Result<Vec<bool>, ModelError> {
        let layers = self.size("block_count", MOST_LAYERS)?;
        let name = "attention.recurrent_layers";
        if self.has(name) {
            return self.flags(name, layers);
        }
        let every = self.size_or("full_attention_interval", MOST_LAYERS, 4)?;
        Ok((0..layers).map(|i| i % every != every - 1).collect())
    }

    /// A list with one flag per layer.
    fn flags(&self, name: &str, layers: usize) -> Result<Vec<bool>, ModelError> {
        let key = self.key(name);
        let flags: Vec<bool> = self.metadata.bools(&key)?.collect();
        if flags.len() != layers {
            let (value, expected) = (format!("a list of {}", flags.len()), format!("one of {layers}, one per layer"));
            return Err(ModelError::Hyperparameter { key, value, expected });
        }
        Ok(flags)
    }
}
