//! `forebay inspect`

use std::collections::BTreeMap;

use forebay::infer::gguf::{self, Value};
use forebay::infer::open::OpenError;
use serde_json::json;

use super::args::InspectArgs;
use super::engine::model_path;
use super::{Failure, show};

pub(crate) fn inspect(args: InspectArgs) -> Result<(), Failure> {
    let path = model_path(args.model.as_deref())?;
    let model = gguf::Model::open(&path).map_err(OpenError::from)?;
    if args.json { as_json(&model) } else { as_text(&model, args.tensors) }
}

fn as_json(model: &gguf::Model) -> Result<(), Failure> {
    let metadata: serde_json::Map<_, _> =
        model.metadata.iter().map(|(key, value)| (key.to_owned(), json_value(value))).collect();
    let tensors: Vec<_> = model
        .tensors
        .iter()
        .map(|t| {
            json!({ "name": t.name, "type": t.ty.to_string(), "dims": t.dims, "file": t.file, "offset": t.offset, "bytes": t.bytes })
        })
        .collect();
    show::json(&json!({
        "version": model.version,
        "files": model.files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>(),
        "tensor_bytes": model.total_bytes(),
        "pool": model.pool.map(|pool| json!({ "offset": pool.offset, "bytes": pool.bytes })),
        "metadata": metadata,
        "tensors": tensors,
    }))
}

/// Arrays are told by their type and length: a vocabulary is no reading matter.
fn json_value(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Array(array) => json!({ "array_of": array.element().to_string(), "len": array.len() }),
        Value::String(s) => json!(s),
        Value::Bool(b) => json!(b),
        value => match (value.integer(), value.float()) {
            (Some(i), _) => i64::try_from(i).map_or_else(|_| json!(i.to_string()), |i| json!(i)),
            (_, Some(f)) => json!(f),
            _ => json!(null),
        },
    }
}

fn as_text(model: &gguf::Model, tensors: bool) -> Result<(), Failure> {
    for file in &model.files {
        show::line(&format!("{}", file.display()))?;
    }
    let (count, bytes) = (model.tensors.len(), show::size(model.total_bytes()));
    show::line(&format!("GGUF version {}, {count} tensors, {bytes}", model.version))?;
    if let Some(pool) = model.pool {
        let shared = model.tensors.iter().filter(|tensor| pool.holds(tensor));
        let (count, bytes) = shared.fold((0, 0), |(count, bytes), tensor| (count + 1, bytes + tensor.bytes));
        show::line(&format!(
            "{count} of them, {}, share a pool of {} at byte {}: the file stands for a model larger than itself",
            show::size(bytes),
            show::size(pool.bytes),
            pool.offset
        ))?;
    }
    show::line("")?;
    for (key, value) in model.metadata.iter() {
        show::line(&format!("{key:48} {}", text_value(value)))?;
    }
    show::line("")?;
    let mut by_type: BTreeMap<_, (usize, u64)> = BTreeMap::new();
    for tensor in &model.tensors {
        let sum = by_type.entry(tensor.ty).or_default();
        *sum = (sum.0 + 1, sum.1 + tensor.bytes);
    }
    for (ty, (count, bytes)) in by_type {
        let kernel = if ty.has_kernel() { "" } else { "  (no kernel: cannot be run)" };
        show::line(&format!("{ty:8} {count:>5} tensors {:>12}{kernel}", show::size(bytes)))?;
    }
    if tensors {
        show::line("")?;
        for t in &model.tensors {
            let dims = t.dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
            show::line(&format!(
                "{:40} {:8} {dims:>20} {:>12} at {}:{}",
                t.name,
                t.ty,
                show::size(t.bytes),
                t.file,
                t.offset
            ))?;
        }
    }
    Ok(())
}

fn text_value(value: Value<'_>) -> String {
    const LONGEST: usize = 80;
    match value {
        Value::Array(array) => format!("[{} x {}]", array.len(), array.element()),
        Value::String(s) => {
            let escaped = s.escape_debug().to_string();
            match escaped.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{}... ({} bytes)", &escaped[..end], s.len()),
                None => escaped,
            }
        }
        value => match json_value(value) {
            serde_json::Value::Null => "?".into(),
            value => value.to_string(),
        },
    }
}
