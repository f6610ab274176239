//! Values of options that are no plain numbers.

use forebay_infer::gguf::TensorType;
use forebay_infer::kernels::Isa;
use forebay_simulator::settings::Setting;
use forebay_simulator::size::{NoSize, Size};

pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1.0)
}

pub(super) fn parse_quant(text: &str) -> Result<TensorType, String> {
    let types = forebay_infer::synth::blocks::TYPES;
    let named = types.iter().find(|ty| ty.to_string().eq_ignore_ascii_case(text) && **ty != TensorType::F32);
    named.copied().ok_or_else(|| format!("'{text}' is not among q4_k, q4_0, q8_0, f16 and mxfp4"))
}

/// A size in bytes; see [`Size`].
pub(crate) fn parse_size(text: &str) -> Result<u64, NoSize> {
    text.parse().map(|Size(bytes)| bytes)
}

pub(super) fn parse_page(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|e| e.to_string())?;
    if (4096..=64 << 20).contains(&bytes) { Ok(bytes) } else { Err("a page has 4 KiB to 64 MiB".into()) }
}

pub(super) fn parse_isa(name: &str) -> Result<Isa, String> {
    Isa::from_name(name).map_err(|e| e.to_string())
}

pub(super) fn parse_percent(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 100.0)
}

pub(super) fn parse_reads(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1e6)
}

pub(super) fn parse_recall(text: &str) -> Result<f32, String> {
    number_within(text, 0.0, 1.0).map(|recall| recall as f32)
}

fn number_within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is no number from {least} to {most}")),
    }
}

pub(super) fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let (token, bias) = text.split_once('=').ok_or("write TOKEN=X")?;
    let token = token.parse().map_err(|e| format!("'{token}' is no token number: {e}"))?;
    let bias = bias.parse().map_err(|e| format!("'{bias}' is no number: {e}"))?;
    Ok((token, bias))
}

pub(super) fn parse_setting(text: &str) -> Result<Setting, String> {
    let (field, value) = text.split_once('=').ok_or("write FIELD=VALUE")?;
    Setting::from_text(field, value).map_err(|e| e.to_string())
}
