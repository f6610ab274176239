//! Advice as JSON. Sizes stand as the settings have them (`6GiB`); figures that are infinite are `null`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Advice, Advised, Found};
use crate::settings::Setting;
use crate::target::{Edge, Target};

#[derive(Serialize)]
struct Document<'a> {
    target: String,
    metric: &'static str,
    bound: f64,
    judge: Edge,
    advice: Vec<Combination<'a>>,
}

#[derive(Serialize)]
struct Combination<'a> {
    /// The axes other than `ram` and `quant`.
    settings: BTreeMap<&'a str, &'a Value>,
    met: bool,
    finest: Option<&'a Value>,
    coarsest: Option<&'a Value>,
    quants: Vec<Quant<'a>>,
}

#[derive(Serialize)]
struct Quant<'a> {
    quant: Option<&'a Value>,
    met: bool,
    /// The smallest ceiling known to meet the target; `null` without one, and without an axis of them.
    ram: Option<&'a Value>,
    figure: Option<f64>,
    /// Of larger ceilings none is known that does not.
    monotone: bool,
    tried: Vec<Tried<'a>>,
}

#[derive(Serialize)]
struct Tried<'a> {
    ram: Option<&'a Value>,
    met: bool,
    figure: Option<f64>,
    /// Why there is no figure.
    error: Option<&'a str>,
}

/// What [`advise`](super::advise) found for `target` at the edge `judge`, for programs: a JSON document.
pub fn to_json(target: &Target, judge: Edge, advice: &[Advice]) -> String {
    let document = Document {
        target: target.to_string(),
        metric: target.metric.name(),
        bound: target.bound,
        judge,
        advice: advice.iter().map(combination).collect(),
    };
    serde_json::to_string_pretty(&document).expect("numbers, names and tables of them") + "\n"
}

fn combination(advice: &Advice) -> Combination<'_> {
    let (finest, coarsest) = (advice.finest(), advice.coarsest());
    Combination {
        settings: advice.others.iter().map(|setting| (setting.field(), setting.value())).collect(),
        met: finest.is_some(),
        finest: finest.and_then(|advised| value(&advised.quant)),
        coarsest: coarsest.and_then(|advised| value(&advised.quant)),
        quants: advice.quants.iter().map(of_quant).collect(),
    }
}

fn of_quant(advised: &Advised) -> Quant<'_> {
    let smallest = advised.smallest();
    Quant {
        quant: value(&advised.quant),
        met: smallest.is_some(),
        ram: smallest.and_then(|found| value(&found.ram)),
        figure: smallest.and_then(|found| found.figure.as_ref().ok().copied()),
        monotone: advised.exceptions().next().is_none(),
        tried: advised.tried.iter().map(tried).collect(),
    }
}

fn tried(found: &Found) -> Tried<'_> {
    Tried {
        ram: value(&found.ram),
        met: found.met,
        figure: found.figure.as_ref().ok().copied(),
        error: found.figure.as_ref().err().map(String::as_str),
    }
}

fn value(setting: &Option<Setting>) -> Option<&Value> {
    setting.as_ref().map(Setting::value)
}
