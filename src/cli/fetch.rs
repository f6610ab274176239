//! `forebay fetch`

use forebay::catalogue::{self, CATALOGUE, DEFAULT, Entry};

use super::args::FetchArgs;
use super::{Failure, show};
use std::path::PathBuf;

pub(crate) fn fetch(args: FetchArgs) -> Result<(), Failure> {
    if args.list {
        for entry in CATALOGUE {
            let there = if entry.cached().is_some() { "in the cache" } else { "" };
            let (name, size) = (entry.name, show::size(entry.bytes));
            show::line(&format!("{name:30} {size:>10}  {:60} {there}", entry.licence))?;
        }
        return Ok(());
    }
    let entry = catalogue::find(args.name.as_deref().unwrap_or(DEFAULT))?;
    let path = get(entry)?;
    show::line(&path.display().to_string())
}

/// The entry's file, fetched when it is not there.
pub(crate) fn get(entry: Entry) -> Result<PathBuf, Failure> {
    if let Some(path) = entry.cached() {
        return Ok(path);
    }
    eprintln!("fetching {} ({}, {})", entry.name, show::size(entry.bytes), entry.licence);
    let bar = show::byte_bar(entry.name, entry.bytes);
    let path = entry.fetch(|done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(path)
}
