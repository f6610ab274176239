//! The forward pass against llama.cpp's, along the tokens that llama.cpp chose.

mod common;

use forebay_infer::kernels::ops::argmax;

/// What a run along the golden tokens of a model showed.
#[derive(Debug, Default)]
struct Parity {
    steps: usize,
    same: usize,
    /// By how much our logit of the peer's choice fell short of our best, at worst.
    worst_gap: f32,
    /// Difference to the peer's logit of its own choice.
    sum_difference: f64,
    worst_difference: f32,
}

fn compare(model: &str, golden: &str, most_steps: usize) -> Option<Parity> {
    let path = common::model(model)?;
    let golden = common::golden(golden);
    let (_, mut engine, _) = common::open(&path, &common::options(1024));
    let mut parity = Parity::default();
    for case in golden["cases"].as_array().unwrap() {
        let ids = |key: &str| -> Vec<u32> {
            case[key].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
        };
        let (prompt, tokens) = (ids("prompt_ids"), ids("tokens"));
        engine.clear();
        let mut logits = engine.forward(&prompt, |_| ()).unwrap();
        let mut case_same = 0;
        for (i, &token) in tokens.iter().enumerate().take(most_steps) {
            let ours = argmax(logits);
            let gap = logits[ours] - logits[token as usize];
            let theirs = case["top"][i][0][1].as_f64().unwrap() as f32;
            let difference = (logits[token as usize] - theirs).abs();
            parity.steps += 1;
            case_same += usize::from(ours == token as usize);
            parity.worst_gap = parity.worst_gap.max(gap);
            parity.sum_difference += f64::from(difference);
            parity.worst_difference = parity.worst_difference.max(difference);
            logits = engine.forward(&[token], |_| ()).unwrap();
        }
        eprintln!("{}: {case_same} of {}", case["name"], tokens.len().min(most_steps));
        parity.same += case_same;
    }
    eprintln!("{model}: {parity:?}, mean difference {}", parity.sum_difference / parity.steps as f64);
    Some(parity)
}

#[test]
fn smollm2() {
    let Some(parity) = compare("smollm2-135m-instruct", "smollm2.greedy.json", usize::MAX) else { return };
    assert!(parity.steps >= 5 * 64);
}

#[test]
fn gemma3() {
    let Some(parity) = compare("gemma-3-270m", "gemma3.greedy.json", usize::MAX) else { return };
    assert!(parity.steps >= 5 * 64);
}
