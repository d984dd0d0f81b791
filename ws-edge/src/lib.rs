//! The edge: everything between a browser and the engines. HTTP calls, sessions, the page, and the WebSockets.
#![warn(missing_docs)]

mod access;
mod admission;
mod allowances;
mod answers;
mod background;
mod callers;
mod departures;
mod devices;
mod http;
mod known_addresses;
mod limits;
mod lingering;
mod lost_deletions;
mod network;
mod open_files;
mod people_limits;
mod problem;
mod programs;
mod read_marks;
mod registration;
mod remembered;
mod seldom;
mod services;
mod serving;
mod sessions;
mod settings;
mod shares;
mod sign_on;
mod socket;
mod state;
mod watched_stream;

pub use open_files::raise_open_files;
pub use people_limits::PeopleLimits;
pub use registration::Registration;
pub use settings::EdgeSettings;
pub use sign_on::{Issuer, PasswordsAre, SignOnSettings};
pub use state::{Edge, run};
