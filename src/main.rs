//! The command line of forebay.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = match std::env::var("FOREBAY_LOG").map(EnvFilter::try_new) {
        Ok(Ok(filter)) => filter,
        Ok(Err(error)) => {
            eprintln!("forebay: FOREBAY_LOG: {error}");
            return ExitCode::from(2);
        }
        Err(_) => EnvFilter::new("warn"),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    cli::main(cli::args::Cli::parse())
}
