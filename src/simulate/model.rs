//! A model by its name: a shape, a `config.json`, or a GGUF file, of which only the header is read.

use std::path::Path;

use forebay_infer::gguf::{self, TensorType};
use forebay_infer::model::ModelMap;
use forebay_infer::open::OpenError;
use forebay_infer::synth::{Config, Quant, SHAPES, ShapeError, describe as describe_shape};

use super::{SimulateError, read, setting};

pub(super) fn describe(name: &str, quant: Option<&str>) -> Result<ModelMap, SimulateError> {
    let path = Path::new(name);
    if SHAPES.iter().any(|(shape, _)| shape.eq_ignore_ascii_case(name)) {
        return shape(&Config::named(name)?, quant, name);
    }
    if !path.exists() {
        return Err(ShapeError::Unknown { name: name.to_owned() }.into());
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        let config = Config::from_json(&read(path)?);
        let config = config.map_err(|source| SimulateError::Config { path: path.to_owned(), source })?;
        return shape(&config, quant, name);
    }
    if quant.is_some() {
        return Err(stored("the file says how its weights are stored"));
    }
    let model = gguf::Model::open(path).map_err(OpenError::from)?;
    let described = ModelMap::new(&model);
    described.map_err(|source| OpenError::Model { path: path.to_owned(), source }.into())
}

fn shape(config: &Config, quant: Option<&str>, name: &str) -> Result<ModelMap, SimulateError> {
    let mxfp4 = Quant::Plain(TensorType::MXFP4);
    let quant: Quant =
        setting("quant", quant.unwrap_or(if config.model_type == "gpt_oss" { "mxfp4" } else { "q4_k" }))?;
    if config.model_type == "gpt_oss" && quant != mxfp4 {
        return Err(stored("gpt-oss is mxfp4 always"));
    }
    Ok(describe_shape(config, quant, name)?)
}

fn stored(problem: &str) -> SimulateError {
    SimulateError::Setting { field: "quant", problem: problem.to_owned() }
}
