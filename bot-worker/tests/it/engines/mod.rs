//! The three engines in memory: small sides of the seams that can be asked what happened to them and told to be away.
//! What the real ones promise is tested with them; here it is what the worker makes of the promises.

mod live;
mod queue;
mod quota;
mod store;

use std::sync::{Mutex, MutexGuard};

pub use self::{live::FakeLive, queue::FakeQueue, quota::QuotaBehind, store::FakeStore};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
