//! What the steps of a model's plan are called.

use forebay_prefetch::{StepKind, StepName};

use super::ModelMap;
use super::decoder::{Channel, Latent, Layer, Mixer};

/// A name for each step of the plan, in its order.
pub fn step_names(map: &ModelMap) -> Vec<StepName> {
    let of_layer = |(number, layer): (usize, &Layer)| {
        let parts = mixer(&layer.mixer).into_iter().chain(channel(&layer.channel));
        parts.map(move |(kind, part)| StepName { layer: Some(number as u32), kind, part: part.into() })
    };
    let head = StepName { layer: None, kind: StepKind::Head, part: "".into() };
    map.decoder.layers.iter().enumerate().flat_map(of_layer).chain([head]).collect()
}

type Part = (StepKind, &'static str);

fn mixer(mixer: &Mixer) -> Vec<Part> {
    let attention = |part| (StepKind::Attention, part);
    match mixer {
        Mixer::Attention(_) => vec![attention("qkv"), attention("output")],
        Mixer::DeltaNet(_) => vec![(StepKind::Recurrence, "input"), (StepKind::Recurrence, "output")],
        Mixer::Latent(Latent { query_up, .. }) => {
            let up = query_up.map(|_| attention("query"));
            let parts = [attention("latent"), attention("keys"), attention("values"), attention("output")];
            parts[..1].iter().copied().chain(up).chain(parts[1..].iter().copied()).collect()
        }
    }
}

fn channel(channel: &Channel) -> Vec<Part> {
    let gated = |kind| [(kind, "gate and up"), (kind, "down")];
    match channel {
        Channel::Dense(_) => gated(StepKind::FeedForward).to_vec(),
        Channel::Experts(experts) => {
            let shared = experts.shared.map(|_| gated(StepKind::Shared));
            let router = [(StepKind::Router, "")];
            router.into_iter().chain(shared.into_iter().flatten()).chain([(StepKind::Experts, "")]).collect()
        }
    }
}
