//! The connections that are not, or not yet, WebSockets: at most so many, and fairly shared. While there is room anybody
//! may come. When it gets tight, a newcomer takes the place of whoever has the most, so that nobody shuts others out by
//! holding connections; and where nobody has more than others, the last places are for those who were logged in
//! lately.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::network::Site;

/// Every such connection of an edge.
pub(crate) struct Callers {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: usize,
    next: u64,
    /// Those that were not told to go yet, the oldest first.
    by_site: HashMap<Site, BTreeMap<u64, CancellationToken>>,
}

impl Callers {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Arc<Callers> {
        let table = Mutex::default();
        Arc::new(Callers { most, table })
    }

    /// Whether only the last tenth is left.
    pub(crate) fn is_crowded(&self) -> bool {
        self.table.lock().open >= self.crowded_at()
    }

    fn crowded_at(&self) -> usize {
        self.most - self.most / 10
    }

    /// A place for one more; none if there is none for it. `is_known` says whether it comes from where somebody was
    /// logged in lately; behind a proxy, whose connections all come from one site, nobody can tell, and only calls are
    /// refused before the last place is taken.
    pub(crate) fn enter(
        self: &Arc<Self>,
        site: Site,
        is_behind_proxy: bool,
        is_known: impl FnOnce() -> bool,
    ) -> Option<CallerPlace> {
        let mut table = self.table.lock();
        if table.open >= self.most {
            return None;
        }
        if table.open >= self.crowded_at() && !is_behind_proxy {
            let own = table.by_site.get(&site).map_or(0, BTreeMap::len);
            let sites = table.by_site.iter_mut();
            let most = sites.max_by_key(|(_, places)| places.len());
            match most {
                // Not one more only, or two of a size would take each other's places for ever.
                Some((_, places)) if places.len() > own + 1 => {
                    if let Some((_, told_to_go)) = places.pop_first() {
                        told_to_go.cancel();
                    }
                }
                _ if own == 0 && is_known() => {}
                _ => return None,
            }
        }
        table.open += 1;
        table.next += 1;
        let id = table.next;
        let told_to_go = CancellationToken::new();
        let places = table.by_site.entry(site).or_default();
        places.insert(id, told_to_go.clone());
        Some(CallerPlace {
            callers: Arc::clone(self),
            site,
            id,
            told_to_go,
        })
    }
}

/// One connection's place, for as long as it is held.
pub(crate) struct CallerPlace {
    callers: Arc<Callers>,
    site: Site,
    id: u64,
    /// When somebody else needs the place.
    pub(crate) told_to_go: CancellationToken,
}

impl Drop for CallerPlace {
    fn drop(&mut self) {
        let mut table = self.callers.table.lock();
        table.open -= 1;
        if let Some(places) = table.by_site.get_mut(&self.site) {
            places.remove(&self.id);
            if places.is_empty() {
                table.by_site.remove(&self.site);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(n: u8) -> Site {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    const NOT_KNOWN: fn() -> bool = || false;

    #[test]
    fn who_holds_the_most_makes_room() {
        let callers = Callers::new(20);
        let mut held: Vec<_> = (0..18)
            .map(|_| callers.enter(at(1), false, NOT_KNOWN))
            .collect();
        assert!(callers.is_crowded());
        assert!(callers.enter(at(1), false, NOT_KNOWN).is_none());
        let ada = callers.enter(at(2), false, NOT_KNOWN).expect("a place");
        let oldest = held[0].as_ref().expect("a place");
        assert!(oldest.told_to_go.is_cancelled());
        drop(held.remove(0));
        assert!(!ada.told_to_go.is_cancelled());
        // However often she comes, she ends with as many.
        let more: Vec<_> = (0..100)
            .map_while(|_| {
                let place = callers.enter(at(2), false, NOT_KNOWN);
                held.retain(|place| !place.as_ref().is_some_and(|p| p.told_to_go.is_cancelled()));
                place
            })
            .collect();
        assert!((7..=9).contains(&more.len()), "{}", more.len());
    }

    #[test]
    fn the_last_places_are_for_those_who_are_known() {
        let callers = Callers::new(20);
        let _others: Vec<_> = (1..=18)
            .map(|n| callers.enter(at(n), false, NOT_KNOWN))
            .collect();
        assert!(callers.enter(at(100), false, NOT_KNOWN).is_none());
        let known: Vec<_> = (101..=110)
            .map(|n| callers.enter(at(n), false, || true))
            .collect();
        assert_eq!(known.iter().flatten().count(), 2);
        drop(known);
        assert!(callers.enter(at(100), false, || true).is_some());
    }

    #[test]
    fn nobody_is_counted_who_is_gone() {
        let callers = Callers::new(10);
        for n in 0..100 {
            drop(callers.enter(at(n), false, NOT_KNOWN).expect("a place"));
        }
        let table = callers.table.lock();
        assert!(table.open == 0 && table.by_site.is_empty());
    }
}
