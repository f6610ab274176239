//! What a target needs: the smallest ceiling, and how coarse the weights have to be.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::{self, Display};

use super::{Axis, AxisError, Sweep};
use crate::case::Case;
use crate::figures::Figures;
use crate::parallel;
use crate::settings::{self, Setting};
use crate::shown::figure;
use crate::target::{Edge, Target};

const RAM: &str = "ram";
const QUANT: &str = "quant";

/// What was found for one combination of the axes other than `ram` and `quant`.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// The combination.
    pub others: Vec<Setting>,
    /// For each value of the axis `quant`, in its order (finest first), or one without it.
    pub quants: Vec<Advised>,
}

/// What was found for one way to store weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Advised {
    /// The value of the axis `quant`, if there is one.
    pub quant: Option<Setting>,
    /// What was simulated, smallest ceiling first; at least one.
    pub tried: Vec<Found>,
    target: Target,
    ceilings: usize,
}

/// A ceiling that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The value of the axis `ram`, if there is one.
    pub ram: Option<Setting>,
    /// The target's figure, or why there is none.
    pub figure: Result<f64, String>,
    /// Whether the target is met.
    pub met: bool,
}

impl Advice {
    /// The first of the quants that meets the target with some ceiling: how coarse it has to be at least.
    pub fn finest(&self) -> Option<&Advised> {
        self.quants.iter().find(|q| q.smallest().is_some())
    }

    /// The last one.
    pub fn coarsest(&self) -> Option<&Advised> {
        self.quants.iter().rfind(|q| q.smallest().is_some())
    }
}

impl Advised {
    /// The smallest ceiling known to meet the target.
    pub fn smallest(&self) -> Option<&Found> {
        self.tried.iter().find(|found| found.met)
    }

    /// Larger ones than that which do not: then the figure is not monotone, and of ceilings that were not tried nothing is known.
    pub fn exceptions(&self) -> impl Iterator<Item = &Found> {
        self.tried.iter().skip_while(|found| !found.met).filter(|found| !found.met)
    }

    /// What comes nearest to the target of what can be simulated.
    fn nearest(&self) -> Option<&Found> {
        let distance = |found: &Found| found.figure.as_ref().map_or(f64::INFINITY, |f| (f - self.target.bound).abs());
        self.tried.iter().filter(|f| f.figure.is_ok()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }
}

/// For each combination of the axes of `sweep` other than `ram` and `quant`, and each quant, the smallest ceiling that meets
/// `target` at `edge`.
///
/// Ceilings are searched by halving, as if more memory were never worse. It may be (a ceiling changes the pages, and so the reads),
/// so both ends and the neighbours of what is found are tried as well, and exceptions are told.
///
/// # Errors
/// If there is no axis `ram` nor `quant`, or the ceilings are no sizes.
pub fn advise<E: Display>(
    sweep: &Sweep,
    target: &Target,
    edge: Edge,
    simulate: impl Fn(&Case) -> Result<Figures, E> + Sync,
    mut progress: impl FnMut(),
) -> Result<Vec<Advice>, AxisError> {
    let search = Search::new(sweep)?;
    let mut advice: Vec<Advice> = Vec::new();
    let work = |(settings, quant): &(Vec<Setting>, Option<Setting>)| {
        let evaluate = |ram: Option<&Setting>| {
            let case = settings::case(search.fixed.iter().chain(settings).chain(quant).chain(ram));
            let case = case.map_err(|e| e.to_string())?;
            let figures = simulate(&case).map_err(|e| e.to_string())?;
            Ok(edge.of(figures.band(target.metric)))
        };
        search.smallest(target, evaluate)
    };
    let Ok(()) = parallel::in_order(parallel::all_cores(), search.jobs(), work, |(others, quant), tried| {
        let advised = Advised { quant, tried, target: target.clone(), ceilings: search.ceilings.len() };
        match advice.last_mut().filter(|last| last.others == others) {
            Some(last) => last.quants.push(advised),
            None => advice.push(Advice { others, quants: vec![advised] }),
        }
        progress();
        Ok::<_, Infallible>(())
    });
    Ok(advice)
}

/// The axes by what the search does with them.
struct Search {
    fixed: Vec<Setting>,
    others: Sweep,
    quants: Vec<Option<Setting>>,
    /// Smallest first; one `None` without an axis.
    ceilings: Vec<Option<Setting>>,
}

impl Search {
    fn new(sweep: &Sweep) -> Result<Search, AxisError> {
        let of = |field: &str| sweep.axes().iter().find(|axis| axis.field() == field);
        if of(RAM).is_none() && of(QUANT).is_none() {
            return Err(AxisError::NothingToAdvise);
        }
        let values =
            |axis: Option<&Axis>| axis.map_or(vec![None], |axis| axis.values().iter().cloned().map(Some).collect());
        let mut ceilings: Vec<Option<Setting>> = values(of(RAM));
        ceilings.sort_by(|a, b| {
            let bytes = |ram: &Option<Setting>| ram.as_ref().and_then(Setting::number).unwrap_or(0.0);
            bytes(a).total_cmp(&bytes(b))
        });
        let others = sweep.axes().iter().filter(|axis| ![RAM, QUANT].contains(&axis.field())).cloned().collect();
        let others = Sweep::new(sweep.fixed().to_vec(), others)?;
        Ok(Search { fixed: sweep.fixed().to_vec(), others, quants: values(of(QUANT)), ceilings })
    }

    /// Each combination of the others with each quant.
    fn jobs(&self) -> impl Iterator<Item = (Vec<Setting>, Option<Setting>)> {
        self.others.cells().flat_map(|cell| {
            let axes = self.others.axes().iter().zip(cell.at);
            let settings: Vec<Setting> = axes.map(|(axis, at)| axis.values()[at].clone()).collect();
            self.quants.iter().map(move |quant| (settings.clone(), quant.clone()))
        })
    }

    /// What was tried on the way to the smallest ceiling.
    fn smallest(&self, target: &Target, evaluate: impl Fn(Option<&Setting>) -> Result<f64, String>) -> Vec<Found> {
        let tried = RefCell::new(BTreeMap::new());
        halve(self.ceilings.len(), |i| {
            let mut tried = tried.borrow_mut();
            let found = tried.entry(i).or_insert_with(|| {
                let ram = self.ceilings[i].clone();
                let figure = evaluate(ram.as_ref());
                let met = figure.as_ref().is_ok_and(|figure| target.met_by(*figure));
                Found { ram, figure, met }
            });
            found.met
        });
        tried.into_inner().into_values().collect()
    }
}

/// Looks for the first of `count` that `meets`, as if all behind it did; then at both ends and beside every first that turns up.
/// `meets` remembers.
fn halve(count: usize, mut meets: impl FnMut(usize) -> bool) {
    let (mut below, mut end) = (0, count);
    while below < end {
        let middle = below + (end - below) / 2;
        if meets(middle) { end = middle } else { below = middle + 1 }
    }
    let mut beside = |first: usize| {
        let near = first.saturating_sub(2)..(first + 3).min(count);
        near.into_iter().filter(|&i| meets(i)).min()
    };
    let mut smallest = [beside(end), beside(0), beside(count - 1)].into_iter().flatten().min();
    while let Some(first) = smallest {
        smallest = beside(first).filter(|&i| i < first);
    }
}

impl Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<_> = self.others.iter().map(|s| format!("{}={s}", s.field())).collect();
        if !others.is_empty() {
            writeln!(f, "{}", others.join(" "))?;
        }
        for advised in &self.quants {
            writeln!(f, "  {advised}")?;
        }
        let quant = |advised: &Advised| advised.quant.clone();
        match (self.finest().and_then(quant), self.coarsest().and_then(quant)) {
            (Some(finest), Some(coarsest)) if finest == coarsest => writeln!(f, "  only {finest} meets it"),
            (Some(finest), Some(coarsest)) => {
                writeln!(f, "  the finest that meets it is {finest}, the coarsest {coarsest}")
            }
            _ => Ok(()),
        }
    }
}

impl Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(quant) = &self.quant {
            write!(f, "{quant:<6}  ")?;
        }
        let with = |found: &Found| found.ram.as_ref().map_or(String::new(), |ram| format!(" with {ram}"));
        let metric = self.target.metric;
        match (self.smallest(), self.nearest()) {
            (Some(found), _) => {
                write!(f, "met{}: {}", with(found), self.told(found))?;
                let below = self.tried.iter().take_while(|found| !found.met).last();
                if let Some(below) = below {
                    write!(f, "; missed{}: {}", with(below), self.told(below))?;
                }
            }
            (None, Some(nearest)) => {
                write!(f, "missed: {metric} comes nearest{}: {}", with(nearest), self.told(nearest))?
            }
            (None, None) => write!(f, "missed{}: {}", with(&self.tried[0]), self.told(&self.tried[0]))?,
        }
        if let Some(exception) = self.exceptions().next() {
            write!(f, "; NOT MONOTONE: missed{}: {}", with(exception), self.told(exception))?;
        }
        match self.ceilings {
            1 => Ok(()),
            all => write!(f, " ({} of {all} ceilings tried)", self.tried.len()),
        }
    }
}

impl Advised {
    fn told(&self, found: &Found) -> String {
        match &found.figure {
            Ok(value) => figure(self.target.metric, *value),
            Err(reason) => format!("cannot be simulated: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tried(meets: &[bool]) -> BTreeMap<usize, bool> {
        let mut tried = BTreeMap::new();
        halve(meets.len(), |i| *tried.entry(i).or_insert(meets[i]));
        tried
    }

    proptest! {
        #[test]
        fn the_smallest_is_found_wherever_it_is_if_all_behind_it_do(count in 1usize..200, first in 0usize..201) {
            let meets: Vec<bool> = (0..count).map(|i| i >= first).collect();
            let tried = tried(&meets);
            let found = tried.iter().find(|(_, met)| **met).map(|(i, _)| *i);
            prop_assert_eq!(found, (first < count).then_some(first));
            prop_assert!(tried.len() <= 8 + 12, "{} of {}", tried.len(), count);
        }

        #[test]
        fn what_is_found_has_neighbours_that_were_tried(meets in prop::collection::vec(any::<bool>(), 1..60)) {
            let tried = tried(&meets);
            let found = tried.iter().find(|(_, met)| **met).map(|(i, _)| *i);
            let near = |first: usize| (first.saturating_sub(2)..(first + 3).min(meets.len())).all(|i| tried.contains_key(&i));
            prop_assert!(found.is_none_or(near));
            prop_assert!(near(0) && near(meets.len() - 1));
        }
    }
}
