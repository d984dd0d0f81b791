//! Places at the provider: how many log-ins are brought to it at a time, and how many of those from one address. Anybody
//! can come back with an attempt and a code that they made up, and has the provider asked; so whoever sends many waits
//! behind themselves, and an office that logs in in one minute, behind one address, waits for a moment and is not refused.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::network::{Network, network};

/// How many are brought to the provider at a time. A log-in takes two or three of its answers, a second at the most.
const PLACES: usize = 64;

/// How many of them may be from one address: so it takes eight addresses to have the others wait.
const PLACES_OF_ONE: usize = 8;

/// How many of one address may be here, with those who wait: as many as have had their turn before the last one of them
/// has waited for too long.
const HERE_OF_ONE_MAX: usize = 64;

/// For how long one waits for a place. A provider that hangs has not answered in this time either.
const WAITS_MOST: Duration = Duration::from_secs(5);

/// The places, and who waits for them.
pub(super) struct Places {
    all: Arc<Semaphore>,
    addresses: Arc<Mutex<HashMap<Network, OfOne>>>,
}

struct OfOne {
    here: usize,
    places: Arc<Semaphore>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_one: OwnedSemaphorePermit,
    _here: Here,
}

/// That somebody of this address is here.
struct Here {
    addresses: Arc<Mutex<HashMap<Network, OfOne>>>,
    network: Network,
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut addresses = self.addresses.lock();
        if let Some(of_one) = addresses.get_mut(&self.network) {
            of_one.here -= 1;
            if of_one.here == 0 {
                addresses.remove(&self.network);
            }
        }
    }
}

impl Places {
    pub(super) fn new() -> Places {
        Places {
            all: Arc::new(Semaphore::new(PLACES)),
            addresses: Arc::default(),
        }
    }

    /// A place, in the order in which they came from this address; none if it would take too long.
    pub(super) async fn take(&self, address: IpAddr) -> Option<Place> {
        let (here, places) = self.comes(network(address))?;
        // First one of their own: whoever waits for others' has at most so many in that line.
        let waits = async {
            let of_one = places.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some((of_one, of_all))
        };
        let (of_one, of_all) = timeout(WAITS_MOST, waits).await.ok()??;
        Some(Place {
            _of_all: of_all,
            _of_one: of_one,
            _here: here,
        })
    }

    fn comes(&self, network: Network) -> Option<(Here, Arc<Semaphore>)> {
        let mut addresses = self.addresses.lock();
        let of_one = addresses.entry(network).or_insert_with(|| OfOne {
            here: 0,
            places: Arc::new(Semaphore::new(PLACES_OF_ONE)),
        });
        if of_one.here >= HERE_OF_ONE_MAX {
            return None;
        }
        of_one.here += 1;
        let places = Arc::clone(&of_one.places);
        let here = Here {
            addresses: Arc::clone(&self.addresses),
            network,
        };
        Some((here, places))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_many_waits_behind_themselves_and_nobody_else_does() {
        let places = Places::new();
        // One customer's, whichever of their addresses they come from.
        let ones = ["2001:db8::1", "2001:db8::2"].map(|address| address.parse().unwrap());
        let other = "2001:db8:0:1::1".parse().unwrap();
        let take = async |address| places.take(address).await;
        let mut held = Vec::new();
        for n in 0..PLACES_OF_ONE {
            held.push(take(ones[n % 2]).await.unwrap());
        }
        let mut ninth = Box::pin(take(ones[0]));
        assert!(futures_util::poll!(ninth.as_mut()).is_pending());
        assert!(take(other).await.is_some());
        held.pop();
        let ninth = ninth.await;
        assert!(ninth.is_some(), "its turn has come");
        // Nobody waits for ever, and no more wait than had a turn in that time.
        let waiting = HERE_OF_ONE_MAX - PLACES_OF_ONE;
        let refused = join_all((0..waiting + 10).map(|_| take(ones[1]))).await;
        assert!(refused.iter().all(Option::is_none));
        drop((held, ninth));
        assert!(
            places.addresses.lock().is_empty(),
            "who is gone is forgotten"
        );
        assert_eq!(places.all.available_permits(), PLACES);
    }

    #[tokio::test(start_paused = true)]
    async fn an_office_that_comes_at_once_comes_in() {
        let places = Places::new();
        let address = "192.0.2.1".parse().unwrap();
        let logs_in = async |_| {
            let _place = places.take(address).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Some(())
        };
        let came = join_all((0..HERE_OF_ONE_MAX).map(logs_in)).await;
        assert!(came.iter().all(Option::is_some));
    }
}
