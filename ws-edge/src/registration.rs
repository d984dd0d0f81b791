//! Who may come in.

use std::net::IpAddr;

use clap::ValueEnum;
use serde::Serialize;

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Whoever finds the address.
    Open,
    /// Whoever somebody with an account has invited.
    Invite,
    /// Whoever an administrator has invited.
    Closed,
}

impl Registration {
    /// Where nothing is set: what only this machine can reach is open, what others can is not.
    pub(crate) fn where_listening_on(address: IpAddr) -> Registration {
        if address.to_canonical().is_loopback() {
            Registration::Open
        } else {
            Registration::Invite
        }
    }
}
