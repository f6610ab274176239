//! `olmoe`: experts with the weights of the softmax as they are; an RMSNorm over all heads of queries and keys at once.

use super::{Describe, Feed, HeadNorms, Hyper};
use crate::model::ModelError;
use crate::model::decoder::{Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { head_norms: HeadNorms::All, ..Describe::usual(shape) };
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let mixture = hyper.mixture(hyper.feed_forward_length()?)?;
    let layers = describe.layers(tensors, |_| Feed::Experts(mixture), |_, attention| attention)?;
    describe.decoder("olmoe", tensors, vec![rope], layers)
}
