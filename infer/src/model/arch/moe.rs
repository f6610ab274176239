//! What architectures with experts share: names of keys and tensors, and the usual mixture.

use super::{Describe, Hyper, MOST_WIDTH};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Experts, Gating, Groups, Linear, Router, Scoring, SharedExpert};
use crate::model::tensors::Tensors;

/// More experts in a layer are no model but a damaged file.
const MOST_EXPERTS: usize = 1 << 16;

/// A mixture of experts as the hyperparameters say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixture {
    /// How many experts there are.
    pub(super) count: usize,
    /// How many a token chooses.
    pub(super) chosen: usize,
    /// Width of each.
    pub(super) width: usize,
    pub(super) gating: Gating,
    pub(super) scoring: Scoring,
    pub(super) groups: Option<Groups>,
    /// Whether weights are divided by their sum.
    pub(super) normalise: bool,
    /// What weights are multiplied with then.
    pub(super) scale: f32,
    pub(super) shared: Option<Shared>,
}

/// An expert that every token goes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    pub(super) width: usize,
    /// Whether it has a weight of its own.
    pub(super) gated: bool,
}

impl Hyper<'_> {
    /// Whether there are experts.
    pub(super) fn is_mixture(&self) -> Result<bool, ModelError> {
        Ok(self.has("expert_count") && self.metadata.u64(&self.key("expert_count"))? > 0)
    }

    /// The usual: softmax over all experts, weights as they are, SwiGLU. `width` is that of an expert.
    pub(super) fn mixture(&self, width: usize) -> Result<Mixture, ModelError> {
        let count = self.size("expert_count", MOST_EXPERTS)?;
        Ok(Mixture {
            count,
            chosen: self.size("expert_used_count", count)?,
            width,
            gating: Gating::Product(Activation::Silu),
            scoring: Scoring::Softmax,
            groups: None,
            normalise: false,
            scale: 1.0,
            shared: None,
        })
    }

    /// Width of an expert where it has a key of its own; in old files it is a share of the feed-forward length.
    pub(super) fn expert_length(&self) -> Result<usize, ModelError> {
        let name = "expert_feed_forward_length";
        if self.has(name) {
            return self.size(name, MOST_WIDTH);
        }
        let chosen = self.size("expert_used_count", MOST_EXPERTS)?;
        Ok((self.feed_forward_length()? / chosen).max(1))
    }

    /// How experts are scored, if the file says it.
    pub(super) fn expert_scoring(&self, usual: Scoring) -> Result<Scoring, ModelError> {
        let name = "expert_gating_func";
        if !self.has(name) {
            return Ok(usual);
        }
        let key = self.key(name);
        match self.metadata.u64(&key)? {
            0 => Ok(usual),
            1 => Ok(Scoring::Softmax),
            2 => Ok(Scoring::Sigmoid),
            3 => Ok(Scoring::SoftmaxOfChosen),
            other => Err(ModelError::Hyperparameter { key, value: other.to_string(), expected: "0 to 3".to_owned() }),
        }
    }

    /// The choice in groups, if there is more than one, each of which is as good as its two best.
    pub(super) fn expert_groups(&self, mixture: &Mixture) -> Result<Option<Groups>, ModelError> {
        let name = "expert_group_count";
        let count = self.size_or_0(name, Groups::MOST)?;
        if count <= 1 {
            return Ok(None);
        }
        let wrong = |name: &str, value: usize, expected: String| {
            Err(ModelError::Hyperparameter { key: self.key(name), value: value.to_string(), expected })
        };
        if !mixture.count.is_multiple_of(count) {
            return wrong(name, count, format!("a divisor of the {} experts", mixture.count));
        }
        let name = "expert_group_used_count";
        let chosen = self.size(name, count)?;
        if chosen * (mixture.count / count) < mixture.chosen {
            return wrong(name, chosen, format!("enough groups for {} experts", mixture.chosen));
        }
        Ok(Some(Groups { count, chosen, best: 2 }))
    }

    /// Width of the shared expert; 0 and none are the same.
    pub(super) fn shared_length(&self) -> Result<Option<usize>, ModelError> {
        let name = "expert_shared_feed_forward_length";
        if !self.has(name) || self.metadata.u64(&self.key(name))? == 0 {
            return Ok(None);
        }
        self.size(name, MOST_WIDTH).map(Some)
    }
}

impl Describe {
    /// Router, then shared expert, then the experts: these are read while the shared one is computed.
    pub(super) fn experts(
        &self,
        tensors: &mut Tensors<'_>,
        layer: usize,
        mixture: &Mixture,
    ) -> Result<Experts, ModelError> {
        let dim = self.shape.dim;
        let Mixture { count, chosen, width, gating, scoring, groups, normalise, scale, shared } = *mixture;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let separate = name("ffn_gate.0.weight");
        if tensors.has(&separate) {
            return Err(ModelError::SeparateExperts { name: separate });
        }
        let norm = tensors.vector(&name(&format!("{}.weight", self.ffn_norm)), dim)?;
        let post_norm = Self::vector_if(self.post_norms, tensors, &name("post_ffw_norm.weight"), dim)?;
        tensors.step();
        let linear = self.linear(tensors, &name("ffn_gate_inp"), count, dim)?;
        let correction = tensors.vector_if_any(&name("exp_probs_b.bias"), count)?;
        let shared = shared.map(|shared| self.shared_expert(tensors, layer, shared)).transpose()?;
        let fused = tensors.has(&name("ffn_gate_up_exps.weight"));
        tensors.choice(chosen);
        let mut matrices = |part: &str, rows: usize, cols: usize| -> Result<Linear, ModelError> {
            Ok(Linear {
                weight: tensors.expert_matrices(&name(&format!("{part}.weight")), count, rows, cols)?,
                bias: tensors.vector_if_any(&name(&format!("{part}.bias")), count * rows)?,
            })
        };
        let (gate, up) = if fused {
            let both = matrices("ffn_gate_up_exps", 2 * width, dim)?;
            (both, both)
        } else {
            (matrices("ffn_gate_exps", width, dim)?, matrices("ffn_up_exps", width, dim)?)
        };
        Ok(Experts {
            norm,
            router: Router { linear, scoring, correction, groups, chosen, normalise, scale },
            count,
            gate,
            up,
            down: matrices("ffn_down_exps", dim, width)?,
            width,
            gating,
            shared,
            post_norm,
        })
    }

    fn shared_expert(
        &self,
        tensors: &mut Tensors<'_>,
        layer: usize,
        Shared { width, gated }: Shared,
    ) -> Result<SharedExpert, ModelError> {
        let dim = self.shape.dim;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let weight = gated.then(|| tensors.vector(&name("ffn_gate_inp_shexp.weight"), dim)).transpose()?;
        tensors.step();
        let gate = self.linear(tensors, &name("ffn_gate_shexp"), width, dim)?;
        let up = self.linear(tensors, &name("ffn_up_shexp"), width, dim)?;
        tensors.step();
        let down = self.linear(tensors, &name("ffn_down_shexp"), dim, width)?;
        Ok(SharedExpert { gate, up, down, width, weight })
    }
}
