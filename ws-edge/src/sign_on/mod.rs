//! Single sign-on by OpenID Connect: the authorization code flow with PKCE, at one provider that the settings name.
//! What is said about it over HTTP is in `http/sign_on.rs`; why it is as it is, in `docs/decisions/single-sign-on.md`.

mod attempt;
mod id_token;
mod names;
mod places;
mod provider;
mod settings;
mod signatures;

pub use settings::{Issuer, PasswordsAre, SignOnSettings};

pub(crate) use attempt::{ATTEMPT_HOLDS, Attempt, Intent};
pub(crate) use names::names_for;
pub(crate) use provider::{Provider, ProviderError};
