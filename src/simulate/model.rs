//! A model by its name: a shape, a `config.json`, or a GGUF file, of which only the header is read.

use std::path::Path;

use forebay_infer::gguf;
use forebay_infer::model::ModelMap;
use forebay_infer::open::OpenError;
use forebay_infer::synth::{Config, Quant, SHAPES, ShapeError, describe as describe_shape};

use super::{SimulateError, read, setting};

pub(super) fn describe(name: &str, quant: &str) -> Result<ModelMap, SimulateError> {
    let path = Path::new(name);
    if SHAPES.iter().any(|(shape, _)| shape.eq_ignore_ascii_case(name)) {
        return Ok(describe_shape(&Config::named(name)?, setting("quant", quant)?, name)?);
    }
    if !path.exists() {
        return Err(ShapeError::Unknown { name: name.to_owned() }.into());
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        let quant: Quant = setting("quant", quant)?;
        let config = Config::from_json(&read(path)?);
        let config = config.map_err(|source| SimulateError::Config { path: path.to_owned(), source })?;
        return Ok(describe_shape(&config, quant, name)?);
    }
    let model = gguf::Model::open(path).map_err(OpenError::from)?;
    let described = ModelMap::new(&model);
    described.map_err(|source| OpenError::Model { path: path.to_owned(), source }.into())
}
