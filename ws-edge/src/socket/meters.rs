//! What the sockets count. Handles are made once: looking a metric up for every delivery would cost more than the
//! delivery.

use common::wire::ErrorCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::closing::Closing;

/// The sockets' metrics.
pub(super) struct Meters {
    /// Sockets that are open.
    pub(super) sockets: Gauge,
    /// Frames written to sockets.
    pub(super) deliveries: Counter,
    /// Bytes in them.
    pub(super) delivered_bytes: Counter,
    /// Frames that left with one write.
    pub(super) frames_per_write: Histogram,
    /// Sockets that fell behind their room and were caught up.
    pub(super) catch_ups: Counter,
    /// Reads of what a room missed.
    pub(super) gap_fills: Counter,
    /// Times that a room's readers had to load its history, since they lacked a message whose place had passed.
    pub(super) reloads: Counter,
    /// From a `join` to its `joined`.
    pub(super) join_seconds: Histogram,
    /// Joins with a place to go on from: that were given everything, had to load the history, were refused.
    resumes_complete: Counter,
    resumes_reload: Counter,
    pub(super) resumes_refused: Counter,
}

impl Meters {
    pub(super) fn new() -> Meters {
        // From 0 on: whoever is alerted by errors that grow would not see them come into being at 1.
        for code in ErrorCode::ALL {
            counter!("chinwag_socket_errors_total", "code" => code.as_str()).absolute(0);
        }
        Meters {
            sockets: gauge!("chinwag_sockets"),
            deliveries: counter!("chinwag_deliveries_total"),
            delivered_bytes: counter!("chinwag_delivered_bytes_total"),
            frames_per_write: histogram!("chinwag_frames_per_write"),
            catch_ups: counter!("chinwag_catch_ups_total"),
            gap_fills: counter!("chinwag_gap_fills_total"),
            reloads: counter!("chinwag_reloads_total"),
            join_seconds: histogram!("chinwag_join_seconds"),
            resumes_complete: counter!("chinwag_resumes_total", "outcome" => "complete"),
            resumes_reload: counter!("chinwag_resumes_total", "outcome" => "reload"),
            resumes_refused: counter!("chinwag_resumes_total", "outcome" => "refused"),
        }
    }

    /// Somebody came back to a room, and was given all that they missed, or too much was missed.
    pub(super) fn resumed(&self, complete: bool) {
        let outcome = match complete {
            true => &self.resumes_complete,
            false => &self.resumes_reload,
        };
        outcome.increment(1);
    }

    /// An `error` frame was sent.
    pub(super) fn error(code: ErrorCode) {
        counter!("chinwag_socket_errors_total", "code" => code.as_str()).increment(1);
    }

    /// A socket was closed.
    pub(super) fn closed(closing: Closing) {
        counter!("chinwag_socket_closes_total", "reason" => closing.reason()).increment(1);
    }
}
