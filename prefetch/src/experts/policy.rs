//! What is asked of a policy that keeps experts.

use std::fmt;

use forebay_pager::{Class, PageId};

use super::Routing;
use crate::policy::{ClockSweep, Lfu, Lru, Policy};

/// A [`Policy`] over experts: it is also told what the routers say, and may ask for experts before they do.
///
/// [`Policy::victim`] may answer `None` to a demand here: the expert is then streamed through a frame that is not kept,
/// because all that is kept is expected to be needed sooner.
pub trait ExpertPolicy: Policy + fmt::Debug {
    /// The router of a layer has spoken. Comes before the [`Policy::touch`] of the experts it chose.
    fn observe(&mut self, _routing: &Routing<'_>) {}

    /// What the router of a layer to come says of an earlier hidden state of the present token: a score for each expert of
    /// that layer, of which the greatest would be chosen.
    fn foresee(&mut self, _layer: usize, _scores: &[f32]) {}

    /// After the layer's experts are cared for: the absent expert of the coming layer that is most worth reading ahead. Asked
    /// again it names the next best; `None` when no other is worth a read. Whoever reads it asks [`Policy::victim`] for the room.
    fn hint(&mut self, _resident: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        None
    }

    /// The expert that is worth least, whatever the room is for.
    fn least(&mut self, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        // To most it makes no difference who comes.
        self.victim(PageId(0), 0, Class::Demand, evictable)
    }
}

impl ExpertPolicy for Lru {}
impl ExpertPolicy for Lfu {}
impl ExpertPolicy for ClockSweep {}
