//! What is fair, in numbers, the same for every side of the quota: `docs/decisions/one-quota.md`.

use std::time::Duration;

/// Of what one user, or one room, may take at once without being paced, there is one more share than users, or rooms,
/// that called lately: so somebody new always finds room.
pub(crate) const SHARES_KEPT_FREE: f64 = 1.0;
/// Paced calls may come early by this part of the window: room for those who were late.
pub(crate) const PACE_SLACK: f64 = 0.1;
/// Whoever waits asks again after this at the latest, or, where many wait, after [`ASK_AGAIN_EACH`] for each of them.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);
pub(crate) const ASK_AGAIN_EACH: Duration = Duration::from_millis(10);
/// And after this at the earliest.
pub(crate) const ASK_AGAIN_MIN: Duration = Duration::from_millis(5);
/// How far the costs that were settled lately move what a next estimate is taken for, and how far they may move it.
pub(crate) const LEARNS: f64 = 0.2;
pub(crate) const RATIO_MIN: f64 = 0.5;
pub(crate) const RATIO_MAX: f64 = 4.0;
/// For so long a call that was settled is known, so that its answer may be lost and it be settled again; and one that
/// nobody has settled in time, so that whoever was late sets it right.
pub(crate) const SETTLED_KEPT: Duration = Duration::from_secs(600);
pub(crate) const LAPSED_KEPT: Duration = Duration::from_secs(24 * 3_600);
