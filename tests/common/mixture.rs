//! Tiny random models with experts, and what they compute, written down as plainly as possible and in double precision.

use std::collections::BTreeMap;
use std::path::Path;

use forebay_infer::gguf::TensorType;
use forebay_infer::gguf::write::Writer;

/// What a model is like. All have RMSNorm, rotary positions and SwiGLU.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) arch: &'static str,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) experts: usize,
    pub(crate) chosen: usize,
    /// Width of an expert.
    pub(crate) width: usize,
    /// Width of the shared expert.
    pub(crate) shared: Option<usize>,
    pub(crate) tied: bool,
    /// How the weights of the experts are stored.
    pub(crate) ty: TensorType,
}

pub(crate) const DIM: usize = 64;
pub(crate) const LAYERS: usize = 3;
const VOCAB: usize = 48;
const EPS: f64 = 1e-5;
/// Embedding, attention, residual and logit multipliers of `granitemoe`.
const MULTIPLIERS: [f64; 4] = [3.0, 0.2, 0.4, 1.5];

impl Spec {
    /// 9 experts of which 3 are chosen, in pages of several to an expert.
    pub(crate) fn new(arch: &'static str) -> Self {
        Spec {
            arch,
            heads: 4,
            kv_heads: if arch == "olmoe" { 4 } else { 2 },
            head_dim: DIM / 4,
            experts: 9,
            chosen: 3,
            width: 96,
            shared: match arch {
                "qwen2moe" => Some(80),
                "granitemoe" => Some(56),
                _ => None,
            },
            tied: false,
            ty: TensorType::F32,
        }
    }

    fn is(&self, arch: &str) -> bool {
        self.arch == arch
    }

    fn multipliers(&self) -> [f64; 4] {
        let usual = [1.0, 1.0 / (self.head_dim as f64).sqrt(), 1.0, 1.0];
        if self.is("granitemoe") { MULTIPLIERS } else { usual }
    }

    /// The tensors by name: shape, and how large the numbers are.
    fn tensors(&self) -> Vec<(String, Vec<usize>, f64)> {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut all =
            vec![("token_embd.weight".into(), vec![DIM, VOCAB], 1.0), ("output_norm.weight".into(), vec![DIM], 1.0)];
        if !self.tied {
            all.push(("output.weight".into(), vec![DIM, VOCAB], 0.3));
        }
        for layer in 0..LAYERS {
            let mut add = |part: &str, shape: &[usize], size: f64| {
                all.push((format!("blk.{layer}.{part}"), shape.to_vec(), size));
            };
            add("attn_norm.weight", &[DIM], 1.0);
            add("attn_q.weight", &[DIM, q], 0.3);
            add("attn_k.weight", &[DIM, kv], 0.3);
            add("attn_v.weight", &[DIM, kv], 0.3);
            add("attn_output.weight", &[q, DIM], 0.3);
            add("ffn_norm.weight", &[DIM], 1.0);
            add("ffn_gate_inp.weight", &[DIM, self.experts], 0.5);
            add("ffn_gate_exps.weight", &[DIM, self.width, self.experts], 0.3);
            add("ffn_up_exps.weight", &[DIM, self.width, self.experts], 0.3);
            add("ffn_down_exps.weight", &[self.width, DIM, self.experts], 0.3);
            if self.is("qwen3moe") || self.is("olmoe") {
                let (q, k) = if self.is("olmoe") { (q, kv) } else { (self.head_dim, self.head_dim) };
                add("attn_q_norm.weight", &[q], 1.0);
                add("attn_k_norm.weight", &[k], 1.0);
            }
            if self.is("qwen2moe") {
                add("attn_q.bias", &[q], 0.5);
                add("attn_k.bias", &[kv], 0.5);
                add("attn_v.bias", &[kv], 0.5);
                add("ffn_gate_inp_shexp.weight", &[DIM], 0.3);
            }
            if let Some(width) = self.shared {
                add("ffn_gate_shexp.weight", &[DIM, width], 0.3);
                add("ffn_up_shexp.weight", &[DIM, width], 0.3);
                add("ffn_down_shexp.weight", &[width, DIM], 0.3);
            }
        }
        all
    }

    fn header(&self) -> Writer {
        let (arch, mut writer) = (self.arch, Writer::new());
        writer.str("general.architecture", arch);
        let mut key = |name: &str, value: usize| {
            writer.scalar(&format!("{arch}.{name}"), value as u32);
        };
        key("context_length", 128);
        key("embedding_length", DIM);
        key("block_count", LAYERS);
        key("attention.head_count", self.heads);
        key("attention.head_count_kv", self.kv_heads);
        key("attention.key_length", self.head_dim);
        key("attention.value_length", self.head_dim);
        key("expert_count", self.experts);
        key("expert_used_count", self.chosen);
        let of_its_own = ["qwen2moe", "qwen3moe"].contains(&arch);
        key(if of_its_own { "expert_feed_forward_length" } else { "feed_forward_length" }, self.width);
        if let Some(width) = self.shared {
            key("expert_shared_feed_forward_length", width);
        }
        writer.scalar(&format!("{arch}.attention.layer_norm_rms_epsilon"), EPS as f32);
        if self.is("granitemoe") {
            let names = ["embedding_scale", "attention.scale", "residual_scale", "logit_scale"];
            for (name, value) in names.iter().zip(MULTIPLIERS) {
                writer.scalar(&format!("{arch}.{name}"), value as f32);
            }
        }
        writer.str("tokenizer.ggml.model", "gpt2");
        let tokens: Vec<String> = (0..VOCAB).map(|i| char::from(b'A' + i as u8).to_string()).collect();
        writer.strings("tokenizer.ggml.tokens", &tokens).strings("tokenizer.ggml.merges", &["A B"]);
        writer
    }

    /// Writes the model to `path`; returns its weights as they are after rounding.
    pub(crate) fn write(&self, path: &Path, seed: u64) -> Weights {
        let (mut writer, mut data, mut weights) = (self.header(), Vec::new(), BTreeMap::new());
        let mut random = Random(seed);
        for (name, shape, size) in self.tensors() {
            let ty = if name.contains("_exps") { self.ty } else { TensorType::F32 };
            let norm = name.contains("norm");
            let numbers =
                (0..shape.iter().product()).map(|_| random.next() * size / 2.0 + if norm { 1.0 } else { 0.0 });
            let numbers: Vec<f32> = numbers.map(|x| x as f32).collect();
            let (bytes, rounded) = encode(ty, &numbers);
            writer.tensor(&name, ty, &shape.iter().map(|&d| d as u64).collect::<Vec<_>>());
            data.push(bytes);
            weights.insert(name, rounded);
        }
        std::fs::write(path, writer.to_bytes(data).unwrap()).unwrap();
        Weights(weights)
    }
}

struct Random(u64);

impl Random {
    /// From -1 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
}

/// The numbers as a type stores them, and what they are then.
fn encode(ty: TensorType, numbers: &[f32]) -> (Vec<u8>, Vec<f64>) {
    match ty {
        TensorType::F32 => {
            (numbers.iter().flat_map(|x| x.to_le_bytes()).collect(), numbers.iter().map(|&x| x.into()).collect())
        }
        // Blocks of 32 with one scale: a power of two, so that half precision holds it.
        TensorType::Q8_0 => {
            let scale = 1.0 / 256.0;
            let quants: Vec<i8> = numbers.iter().map(|x| (f64::from(*x) / scale).round() as i8).collect();
            let one_over_256 = 0x1c00u16.to_le_bytes();
            let bytes = quants
                .chunks_exact(32)
                .flat_map(|block| one_over_256.into_iter().chain(block.iter().map(|&q| q as u8)).collect::<Vec<u8>>());
            (bytes.collect(), quants.iter().map(|&q| f64::from(q) * scale).collect())
        }
        _ => panic!("{ty} is not among the types of tests"),
    }
}

/// The weights of a model by name.
pub(crate) struct Weights(BTreeMap<String, Vec<f64>>);

fn rms_norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let rows = x.chunks_exact(weight.len()).flat_map(|row| {
        let scale = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64 + EPS).sqrt();
        row.iter().zip(weight).map(move |(x, w)| x * scale * w)
    });
    rows.collect()
}

/// W x, where W has rows as long as x.
fn product(w: &[f64], x: &[f64]) -> Vec<f64> {
    w.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

fn add(x: &mut [f64], y: &[f64], scale: f64) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += scale * y);
}

fn swiglu(gate: &[f64], up: &[f64], down: &[f64], x: &[f64]) -> Vec<f64> {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let inner: Vec<f64> = product(gate, x).iter().zip(product(up, x)).map(|(g, u)| silu(*g) * u).collect();
    product(down, &inner)
}

impl Spec {
    /// The logits after each of `tokens`.
    pub(crate) fn oracle(&self, weights: &Weights, tokens: &[u32]) -> Vec<Vec<f64>> {
        let [embedding_scale, _, residual_scale, logit_scale] = self.multipliers();
        let of = |name: &str| &weights.0[name][..];
        let (mut keys, mut values) = (vec![Vec::new(); LAYERS], vec![Vec::new(); LAYERS]);
        let after = |(position, &token): (usize, &u32)| {
            let row = &of("token_embd.weight")[token as usize * DIM..][..DIM];
            let mut x: Vec<f64> = row.iter().map(|x| x * embedding_scale).collect();
            for layer in 0..LAYERS {
                let of = |part: &str| weights.0.get(&format!("blk.{layer}.{part}")).map_or(&[][..], |w| w);
                let h = rms_norm(&x, of("attn_norm.weight"));
                let attended = self.attend(of, &h, position, &mut keys[layer], &mut values[layer]);
                add(&mut x, &product(of("attn_output.weight"), &attended), residual_scale);
                let h = rms_norm(&x, of("ffn_norm.weight"));
                add(&mut x, &self.mixture(of, &h), residual_scale);
            }
            let head = if self.tied { "token_embd.weight" } else { "output.weight" };
            let logits = product(of(head), &rms_norm(&x, of("output_norm.weight")));
            logits.iter().map(|l| l / logit_scale).collect()
        };
        tokens.iter().enumerate().map(after).collect()
    }

    fn attend<'a>(
        &self,
        of: impl Fn(&str) -> &'a [f64],
        h: &[f64],
        position: usize,
        keys: &mut Vec<Vec<f64>>,
        values: &mut Vec<Vec<f64>>,
    ) -> Vec<f64> {
        let part = |name: &str| {
            let mut out = product(of(&format!("attn_{name}.weight")), h);
            add(&mut out, of(&format!("attn_{name}.bias")), 1.0);
            let norm = of(&format!("attn_{name}_norm.weight"));
            if norm.is_empty() { out } else { rms_norm(&out, norm) }
        };
        let queries = self.rotate(part("q"), position);
        keys.push(self.rotate(part("k"), position));
        values.push(part("v"));
        let mut out = Vec::new();
        for (head, query) in queries.chunks_exact(self.head_dim).enumerate() {
            let from = head / (self.heads / self.kv_heads) * self.head_dim;
            let scale = self.multipliers()[1];
            let dot = |key: &Vec<f64>| key[from..][..self.head_dim].iter().zip(query).map(|(k, q)| k * q * scale).sum();
            let scores: Vec<f64> = keys.iter().map(dot).map(f64::exp).collect();
            let sum: f64 = scores.iter().sum();
            let mut attended = vec![0.0; self.head_dim];
            for (score, value) in scores.iter().zip(&*values) {
                add(&mut attended, &value[from..][..self.head_dim], score / sum);
            }
            out.extend(attended);
        }
        out
    }

    fn rotate(&self, mut x: Vec<f64>, position: usize) -> Vec<f64> {
        let half = self.head_dim / 2;
        for head in x.chunks_exact_mut(self.head_dim) {
            for i in 0..half {
                let neighbours = ["llama", "granitemoe"].contains(&self.arch);
                let (a, b) = if neighbours { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let angle = position as f64 * 10_000f64.powf(-(i as f64) / half as f64);
                let (sin, cos) = angle.sin_cos();
                (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
            }
        }
        x
    }

    fn mixture<'a>(&self, of: impl Fn(&str) -> &'a [f64], h: &[f64]) -> Vec<f64> {
        let outputs: Vec<f64> = product(of("ffn_gate_inp.weight"), h).into_iter().map(f64::exp).collect();
        let total: f64 = outputs.iter().sum();
        let mut order: Vec<usize> = (0..self.experts).collect();
        order.sort_by(|&a, &b| outputs[b].total_cmp(&outputs[a]));
        let chosen = &order[..self.chosen];
        let normalise = ["llama", "qwen3moe", "granitemoe"].contains(&self.arch);
        let sum = if normalise { chosen.iter().map(|&e| outputs[e]).sum() } else { total };
        let mut out = vec![0.0; DIM];
        for &expert in chosen {
            let matrix = |part: &str| {
                let all = of(&format!("ffn_{part}_exps.weight"));
                let len = all.len() / self.experts;
                &all[expert * len..][..len]
            };
            add(&mut out, &swiglu(matrix("gate"), matrix("up"), matrix("down"), h), outputs[expert] / sum);
        }
        if self.shared.is_some() {
            let matrix = |part: &str| of(&format!("ffn_{part}_shexp.weight"));
            let weight = match of("ffn_gate_inp_shexp.weight") {
                [] => 1.0,
                gate => 1.0 / (1.0 + (-product(gate, h)[0]).exp()),
            };
            add(&mut out, &swiglu(matrix("gate"), matrix("up"), matrix("down"), h), weight);
        }
        out
    }
}
