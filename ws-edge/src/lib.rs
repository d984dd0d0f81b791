//! The edge: everything between a browser and the engines. HTTP calls, sessions, the page, and the WebSockets.
#![warn(missing_docs)]

mod access;
mod allowances;
mod background;
mod devices;
mod http;
mod limits;
mod open_files;
mod people_limits;
mod problem;
mod services;
mod serving;
mod sessions;
mod settings;
mod socket;
mod state;

pub use open_files::raise_open_files;
pub use people_limits::PeopleLimits;
pub use settings::EdgeSettings;
pub use state::{Edge, run};
