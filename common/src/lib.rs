//! What two or more of Chinwag's processes must agree on: the wire, the names, and the seams behind which the
//! engines stand. The engines themselves are in the crate `engines`: nothing here knows one. Code enters this crate
//! only once two services use it.
#![warn(missing_docs)]

pub mod admin;
pub mod causes;
pub mod envelope;
pub mod live;
pub mod names;
pub mod posting;
pub mod queue;
pub mod quota;
pub mod readiness;
pub mod repeated_lines;
pub mod retry;
pub mod secret_token;
pub mod settings;
pub mod startup;
pub mod store;
pub mod supervise;
pub mod telemetry;
pub mod timeline;
pub mod traces;
pub mod wire;
