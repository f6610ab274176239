//! The budget file: tables to cases.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{BudgetError, Mistake, place};
use super::section::{Section, Settings};
use super::{Budget, Cell};
use crate::case::Case;
use crate::settings::{self, Setting};

/// More cases than this in one file are a mistake, and would not fit memory.
const MOST_CASES: usize = 1_000_000;

impl Budget {
    /// Reads a budget file. Files that it names are relative to its folder.
    ///
    /// # Errors
    /// If it cannot be read or is no budget file; the message names line, column and field.
    pub fn read(path: impl AsRef<Path>) -> Result<Budget, BudgetError> {
        let path = path.as_ref();
        #[expect(clippy::disallowed_methods, reason = "a budget file is read where `cargo test` uses budgets, too")]
        let text = std::fs::read_to_string(path).map_err(|source| BudgetError::Io { path: path.to_owned(), source })?;
        Budget::parse(path, &text)
    }

    /// The same of a `text` that is, or would be, in the file `path`.
    ///
    /// # Errors
    /// If it is no budget file; the message names line, column and field.
    pub fn parse(path: impl AsRef<Path>, text: &str) -> Result<Budget, BudgetError> {
        let path = path.as_ref();
        let cells = cells(path, text).map_err(|mistake| mistake.within(path, text))?;
        Ok(Budget { path: path.to_owned(), cells })
    }
}

fn cells(path: &Path, text: &str) -> Result<Vec<Cell>, Mistake> {
    let (file, errors) = DeTable::parse_recoverable(text);
    if let Some(first) = errors.into_iter().map(Mistake::from).min_by_key(|mistake| mistake.span.start) {
        return Err(first);
    }
    for key in file.get_ref().keys() {
        if !["defaults", "budget"].contains(&key.get_ref().as_ref()) {
            let message = format!("unknown field '{}'; there are [defaults] and [[budget]]", key.get_ref());
            return Err(Mistake::new(key.span(), message));
        }
    }
    let defaults = match file.get_ref().get("defaults") {
        Some(table) => defaults(text, table)?,
        None => Section::default(),
    };
    let mut cells: Vec<Cell> = Vec::new();
    let mut names = HashSet::new();
    for table in budgets(file.get_ref())? {
        let section = Section::read(text, as_table("budget", table)?)?;
        let before = cells.len();
        let matrix = Matrix::new(section, &defaults, table.span())?;
        if before.saturating_add(matrix.len()) > MOST_CASES {
            return Err(Mistake::of(&matrix.name, table.span(), format!("makes more than {MOST_CASES} cases")));
        }
        for index in 0..matrix.len() {
            cells.push(matrix.cell(index, path, place(text, table.span().start).0)?);
        }
        if let Some(twice) = cells[before..].iter().find(|cell| !names.insert(cell.name.clone())) {
            return Err(Mistake::of("name", table.span(), format!("there are two cases '{}'", twice.name)));
        }
    }
    Ok(cells)
}

fn defaults(text: &str, table: &Spanned<DeValue<'_>>) -> Result<Section, Mistake> {
    let section = Section::read(text, as_table("defaults", table)?)?;
    let misplaced = [("name", section.name.is_some()), ("require", section.targets.is_some())];
    match misplaced.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(Mistake::of(field, table.span(), "belongs in a [[budget]], not in [defaults]")),
        None => Ok(section),
    }
}

/// The `[[budget]]` tables.
fn budgets<'a, 'i>(file: &'a DeTable<'i>) -> Result<impl Iterator<Item = &'a Spanned<DeValue<'i>>>, Mistake> {
    let Some(budgets) = file.get("budget") else {
        return Err(Mistake::new(0..0, "there is no [[budget]]"));
    };
    match budgets.get_ref().as_array() {
        Some(list) if !list.is_empty() => Ok(list.iter()),
        _ => Err(Mistake::of("budget", budgets.span(), "write [[budget]], a table for each budget")),
    }
}

fn as_table<'a, 'i>(field: &str, value: &'a Spanned<DeValue<'i>>) -> Result<&'a DeTable<'i>, Mistake> {
    value.get_ref().as_table().ok_or_else(|| Mistake::of(field, value.span(), "has to be a table"))
}

/// A budget with the defaults in it: the product of its lists.
struct Matrix {
    name: String,
    section: Section,
    span: Range<usize>,
}

impl Matrix {
    fn new(mut section: Section, defaults: &Section, span: Range<usize>) -> Result<Matrix, Mistake> {
        let name = section.name.take().ok_or_else(|| Mistake::of("name", span.clone(), "is missing"))?;
        let of_this = |field: &str| section.settings.iter().any(|own| own.field == field);
        let others: Vec<Settings> = defaults.settings.iter().filter(|d| !of_this(&d.field)).cloned().collect();
        section.settings.extend(others);
        section.edge = section.edge.or(defaults.edge);
        section.allowed = section.allowed.or(defaults.allowed);
        if section.targets.is_none() {
            return Err(Mistake::of("require", span, format!("is missing in budget '{name}'")));
        }
        Ok(Matrix { name, section, span })
    }

    fn len(&self) -> usize {
        self.section.settings.iter().fold(1, |cases: usize, s| cases.saturating_mul(s.values.len()))
    }

    /// The first field varies slowest.
    fn cell(&self, index: usize, path: &Path, line: usize) -> Result<Cell, Mistake> {
        let mut rest = index;
        let mut chosen: Vec<(&Setting, bool)> = Vec::new();
        for settings in self.section.settings.iter().rev() {
            chosen.push((&settings.values[rest % settings.values.len()], settings.listed));
            rest /= settings.values.len();
        }
        chosen.reverse();
        let listed = chosen.iter().filter(|(_, listed)| *listed);
        let varied: Vec<_> = listed.map(|(setting, _)| format!("{}={setting}", setting.field())).collect();
        let case = settings::case(chosen.iter().map(|(setting, _)| *setting))
            .map_err(|e| Mistake::new(self.span.clone(), format!("budget '{}': {e}", self.name)))?;
        Ok(Cell {
            budget: self.name.clone(),
            name: std::iter::once(self.name.clone()).chain(varied).collect::<Vec<_>>().join(" "),
            line,
            case: beside(path, case),
            targets: self.section.targets.clone().unwrap_or_default(),
            edge: self.section.edge.unwrap_or_default(),
            allowed: self.section.allowed,
        })
    }
}

/// The case with its files taken from the folder of the budget file.
fn beside(path: &Path, mut case: Case) -> Case {
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = |name: &mut String, endings: &[&str]| {
        if endings.iter().any(|ending| name.ends_with(ending)) {
            *name = folder.join(&*name).to_string_lossy().into_owned();
        }
    };
    file(&mut case.device, &[".toml"]);
    file(&mut case.model, &[".gguf", ".json"]);
    case.routing = case.routing.map(|trace| folder.join::<PathBuf>(trace));
    case
}
