//! Which experts tokens choose: as recorded, or drawn.

use forebay_prefetch::Chosen;
use forebay_prefetch::experts::ranking;
use forebay_prefetch::experts::trace::{Phase, Trace};

use crate::chance::Chance;

/// Says what routers choose, token after token.
pub trait Router {
    /// What the `tokens` tokens of a pass, behind `position` others, choose in a layer with experts; `layer` counts those.
    /// Appended to `chosen`, token after token.
    fn choose(&mut self, layer: usize, tokens: usize, position: usize, chosen: &mut Vec<Chosen>);

    /// What the router of `layer` says of the token at hand before it is its turn: a score for each expert, of which the
    /// greatest would be chosen. `false` where that is not known.
    fn foresee(&mut self, layer: usize, scores: &mut Vec<f32>) -> bool;
}

/// Any of them.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // There is one of it.
pub enum AnyRouter {
    /// For models without experts.
    None,
    /// As recorded.
    Recorded(Recorded),
    /// Drawn.
    Drawn(Drawn),
}

impl Router for AnyRouter {
    fn choose(&mut self, layer: usize, tokens: usize, position: usize, chosen: &mut Vec<Chosen>) {
        match self {
            AnyRouter::None => {}
            AnyRouter::Recorded(router) => router.choose(layer, tokens, position, chosen),
            AnyRouter::Drawn(router) => router.choose(layer, tokens, position, chosen),
        }
    }

    fn foresee(&mut self, layer: usize, scores: &mut Vec<f32>) -> bool {
        match self {
            AnyRouter::None => false,
            AnyRouter::Recorded(router) => router.foresee(layer, scores),
            AnyRouter::Drawn(router) => router.foresee(layer, scores),
        }
    }
}

/// What a recorded run chose. Where more tokens are asked for than were recorded, the recorded ones come again.
///
/// A trace records choices, not what routers said of other layers' hidden states: it foresees nothing.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// For each layer, the choices of each recorded token, one after the other.
    layers: Vec<Vec<Vec<Chosen>>>,
}

impl Recorded {
    /// The tokens of `trace`: those that were decoded, or all where none were.
    pub fn new(trace: &Trace) -> Self {
        let mut layers = vec![Vec::new(); trace.grid().layers];
        let decoded = trace.tokens(Phase::Decode) > 0;
        for (visit, routing) in trace.visits().enumerate() {
            if decoded && trace.phase(visit) == Phase::Prompt {
                continue;
            }
            let tokens: &mut Vec<Vec<Chosen>> = &mut layers[routing.layer];
            let first = tokens.len();
            tokens.resize_with(first + routing.tokens, Vec::new);
            for &choice in routing.choices {
                tokens[first + choice.token as usize].push(Chosen { token: 0, ..choice });
            }
        }
        layers.retain(|tokens| !tokens.is_empty());
        Recorded { layers }
    }

    /// Layers with experts.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The number of the last expert that was chosen, plus one.
    pub fn experts(&self) -> usize {
        let choices = self.layers.iter().flatten().flatten();
        choices.map(|choice| choice.expert as usize + 1).max().unwrap_or(0)
    }

    /// Tokens that were recorded.
    pub fn tokens(&self) -> usize {
        self.layers.iter().map(Vec::len).min().unwrap_or(0)
    }
}

impl Router for Recorded {
    fn choose(&mut self, layer: usize, tokens: usize, position: usize, chosen: &mut Vec<Chosen>) {
        let recorded = &self.layers[layer];
        for token in 0..tokens {
            let choices = &recorded[(position + token) % recorded.len()];
            chosen.extend(choices.iter().map(|&choice| Chosen { token: token as u32, ..choice }));
        }
    }

    fn foresee(&mut self, _: usize, _: &mut Vec<f32>) -> bool {
        false
    }
}

/// How choices are drawn.
///
/// An output of a router is the sum of three parts: what is the same for all tokens, what is the phrase's, and the token's own.
/// These shares of its variance make routing as skewed and as repetitive as that of real models; the ones by default are fitted
/// to a recorded run of Qwen3-30B-A3B, as those of synthesised models are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Of the variance, what is the same for all tokens.
    pub common: f64,
    /// Of the variance, what the tokens of a phrase share.
    pub phrase: f64,
    /// Tokens of a phrase.
    pub phrase_tokens: usize,
    /// The standard deviation of an output.
    pub temperature: f64,
    /// How much of what a router will choose it names when it is asked a layer early, 0 to 1.
    pub recall: f64,
    /// What everything is drawn from.
    pub seed: u64,
}

impl Default for Draw {
    fn default() -> Self {
        Draw { common: 0.55, phrase: 0.2, phrase_tokens: 4, temperature: 2.0, recall: 0.8, seed: 0 }
    }
}

/// Routing that is drawn.
#[derive(Debug, Clone)]
pub struct Drawn {
    draw: Draw,
    experts: usize,
    chosen: usize,
    layers: Vec<Layer>,
    /// The part of the outputs that the tokens of a phrase share.
    phrase: Vec<f32>,
    /// What is left to be named in place of what will be chosen.
    named: Vec<u64>,
    position: usize,
}

/// The router of a layer.
#[derive(Debug, Clone)]
struct Layer {
    /// The part of its outputs that all tokens have.
    common: Vec<f32>,
    /// The token that the rest is about: what was asked for early is kept for its turn.
    position: Option<usize>,
    outputs: Vec<f32>,
    /// The experts with the greatest outputs, as [`ranking`] has them: those that are chosen, and twice as many that nearly are.
    near: Vec<u64>,
}

impl Drawn {
    /// Routers of `layers` layers, each of which chooses `chosen` of `experts` experts for a token.
    pub fn new(draw: Draw, layers: usize, experts: usize, chosen: usize) -> Self {
        let size = (draw.common.sqrt() * draw.temperature) as f32;
        let layer = |layer| {
            let mut common = vec![0.0; experts];
            stream(draw.seed, 0, layer, 0).normals(size, &mut common);
            Layer { common, position: None, outputs: vec![0.0; experts], near: Vec::with_capacity(experts) }
        };
        let chosen = chosen.min(experts);
        Drawn {
            draw,
            experts,
            chosen,
            layers: (0..layers).map(layer).collect(),
            phrase: vec![0.0; experts],
            named: Vec::with_capacity(3 * chosen),
            position: 0,
        }
    }

    /// The router of a layer, with what it says of the token at `position`.
    fn ask(&mut self, layer: usize, position: usize) -> &Layer {
        let (experts, near) = (self.experts, (3 * self.chosen).min(self.experts));
        let Draw { common, phrase, phrase_tokens, temperature, seed, .. } = self.draw;
        let size = |share: f64| (share.sqrt() * temperature) as f32;
        let of = &mut self.layers[layer];
        if of.position.replace(position) == Some(position) {
            return of;
        }
        stream(seed, 1, layer, position).normals(size(1.0 - common - phrase), &mut of.outputs);
        stream(seed, 2, layer, position / phrase_tokens).normals(size(phrase), &mut self.phrase);
        let parts = self.phrase.iter().zip(&of.common);
        of.outputs.iter_mut().zip(parts).for_each(|(out, (phrase, common))| *out += phrase + common);
        of.near.clear();
        of.near.extend(of.outputs.iter().zip(0..).map(|(&output, expert)| ranking::key(output, expert)));
        if near < experts {
            of.near.select_nth_unstable(near);
        }
        of.near.truncate(near);
        of.near.sort_unstable();
        of
    }
}

impl Router for Drawn {
    fn choose(&mut self, layer: usize, tokens: usize, position: usize, chosen: &mut Vec<Chosen>) {
        self.position = position;
        for token in 0..tokens {
            let most = self.chosen;
            let Layer { outputs, near, .. } = self.ask(layer, position + token);
            let first = chosen.len();
            chosen.extend(near[..most].iter().map(|&key| {
                let expert = ranking::expert(key);
                Chosen { token: token as u32, expert, weight: libm::exp(f64::from(outputs[expert as usize])) as f32 }
            }));
            let sum: f32 = chosen[first..].iter().map(|chosen| chosen.weight).sum();
            chosen[first..].iter_mut().for_each(|chosen| chosen.weight /= sum);
        }
    }

    /// Some of those that will be chosen change places with ones that nearly would be: a router that errs does not err by far.
    fn foresee(&mut self, layer: usize, scores: &mut Vec<f32>) -> bool {
        let Draw { seed, recall, .. } = self.draw;
        let (position, mut free) = (self.position, self.chosen);
        scores.clear();
        scores.extend_from_slice(&self.ask(layer, position).outputs);
        let mut random = stream(seed, 3, layer, position);
        let mut named = std::mem::take(&mut self.named);
        named.clone_from(&self.layers[layer].near);
        for place in 0..self.chosen {
            if free < named.len() && random.uniform() >= recall {
                let other = free + (random.uniform() * (named.len() - free) as f64) as usize;
                scores.swap(ranking::expert(named[place]) as usize, ranking::expert(named[other]) as usize);
                named.swap(free, other);
                free += 1;
            }
        }
        self.named = named;
        true
    }
}

/// A stream of numbers of its own for everything that is drawn.
fn stream(seed: u64, part: u64, layer: usize, number: usize) -> Chance {
    Chance::of(seed, [part, layer as u64, number as u64])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(drawn: &mut Drawn, position: usize) -> Vec<u32> {
        let mut chosen = Vec::new();
        drawn.choose(1, 1, position, &mut chosen);
        chosen.iter().map(|c| c.expert).collect()
    }

    #[test]
    fn what_is_drawn_repeats_itself_as_recorded_routing_does() {
        // The recorded run: 6 of 128 experts, 38 % of a token's were the last one's, 28 % those of 16 tokens before.
        let mut drawn = Drawn::new(Draw::default(), 2, 128, 6);
        let all: Vec<_> = (0..2000).map(|position| choices(&mut drawn, position)).collect();
        let shared = |distance: usize| {
            let pairs = all.iter().zip(&all[distance..]);
            pairs.map(|(a, b)| a.iter().filter(|e| b.contains(e)).count()).sum::<usize>() as f64
                / (6 * (all.len() - distance)) as f64
        };
        assert!((0.33..0.50).contains(&shared(1)), "{}", shared(1));
        assert!((0.22..0.40).contains(&shared(16)), "{}", shared(16));
    }

    #[test]
    fn a_router_that_is_asked_early_names_as_much_as_it_shall() {
        for recall in [0.0, 0.6, 1.0] {
            let mut drawn = Drawn::new(Draw { recall, ..Draw::default() }, 2, 64, 8);
            let (mut named, mut scores) = (0, Vec::new());
            for position in 0..500 {
                let mut chosen = Vec::new();
                drawn.choose(0, 1, position, &mut chosen);
                assert!(drawn.foresee(1, &mut scores));
                let mut order: Vec<u32> = (0..64).collect();
                order.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
                let then = choices(&mut drawn, position);
                named += then.iter().filter(|e| order[..8].contains(e)).count();
            }
            assert!((named as f64 / 4000.0 - recall).abs() < 0.03, "{recall}: {named}");
        }
    }

    #[test]
    fn weights_sum_to_one_and_come_in_order() {
        let mut drawn = Drawn::new(Draw::default(), 1, 5, 9);
        let mut chosen = Vec::new();
        drawn.choose(0, 2, 7, &mut chosen);
        assert_eq!(chosen.len(), 10, "all experts, for each of two tokens");
        for token in chosen.chunks(5) {
            assert!((token.iter().map(|c| c.weight).sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(token.windows(2).all(|w| w[0].weight >= w[1].weight));
        }
    }
}
