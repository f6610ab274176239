//! Makes a dense model a mixture of 8 exchangeable experts, 2 chosen, whose logits are the same but for the order of sums:
//!
//! ```text
//! cargo run --release --example standin -- DENSE.gguf MIXTURE.gguf
//! ```
#![allow(clippy::disallowed_methods)] // It reads and makes the files that it is told to.

use std::error::Error;
use std::path::Path;

#[path = "../tests/common/standin.rs"]
mod standin;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dense, mixture] = &arguments[..] else {
        return Err("usage: standin DENSE.gguf MIXTURE.gguf".into());
    };
    standin::write(Path::new(dense), Path::new(mixture))?;
    let bytes = std::fs::metadata(mixture)?.len();
    let [experts, chosen] = [standin::EXPERTS, standin::CHOSEN];
    eprintln!("{mixture}: {experts} experts in each layer, {chosen} chosen, {:.0} MB", bytes as f64 / 1e6);
    Ok(())
}
