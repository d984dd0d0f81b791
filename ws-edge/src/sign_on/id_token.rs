//! An ID token: who the provider says somebody is, and whether it is the provider that says so, to this server, now,
//! and for this very log-in.

use std::time::Duration;

use jsonwebtoken::{
    DecodingKey, Header, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{Jwk, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::signatures::{ALGORITHMS, install};

/// How far this server's clock and the provider's may be apart.
const LEEWAY: Duration = Duration::from_secs(60);

/// The most characters of a subject, as the standard has it.
const SUBJECT_MAX_CHARS: usize = 255;

/// The keys that a provider shows. What is no key that can be used here is passed over.
pub(super) struct Keys(Vec<Jwk>);

impl Keys {
    /// Those in a JSON Web Key Set; none if it is none.
    pub(super) fn read(json: &[u8]) -> Option<Keys> {
        let set: Value = serde_json::from_slice(json).ok()?;
        let keys = set.get("keys")?.as_array()?;
        let keys = keys
            .iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        let signs = |key: &Jwk| key.common.public_key_use != Some(PublicKeyUse::Encryption);
        Some(Keys(keys.filter(signs).collect()))
    }

    /// The keys that may have signed this.
    fn of(&self, header: &Header) -> Vec<DecodingKey> {
        let is_named = |key: &&Jwk| match &header.kid {
            Some(id) => key.common.key_id.as_ref() == Some(id),
            None => true,
        };
        let keys = self.0.iter().filter(is_named);
        let keys = keys.filter_map(|key| DecodingKey::from_jwk(key).ok());
        keys.filter(|key| key.family().algorithms().contains(&header.alg))
            .collect()
    }
}

/// Why an ID token is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotBelieved {
    /// The provider may have other keys by now.
    #[error("it is signed with a key that the provider does not show")]
    UnknownKey,
    /// Somebody may have brought what another was given.
    #[error("it was made for another log-in")]
    OtherLogIn,
    #[error("{0}")]
    Wrong(&'static str),
}

/// What is expected of an ID token.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
}

/// Who somebody is, as the provider says, and what else it says of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims(pub(super) Map<String, Value>);

impl Claims {
    /// Whom it means. The only thing that does.
    pub(crate) fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    /// What it says under this name, if that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

/// Reads an ID token that came straight from the provider, and checks all that is to be checked.
pub(super) fn read(
    token: &str,
    keys: &Keys,
    expected: &Expected<'_>,
) -> Result<Claims, NotBelieved> {
    install();
    let header = decode_header(token)
        .map_err(|_| NotBelieved::Wrong("it is no token, or signed in an unknown way"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(NotBelieved::Wrong(
            "it is not signed with a key that can be shown",
        ));
    }
    if header.crit.is_some() {
        return Err(NotBelieved::Wrong("it asks for what is not known here"));
    }
    let mut validation = Validation::new(header.alg);
    validation.leeway = LEEWAY.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Where it names no key there may be several of the kind.
    let mut refused = NotBelieved::UnknownKey;
    for key in keys.of(&header) {
        match decode::<Map<String, Value>>(token, &key, &validation) {
            Ok(decoded) => return check(Claims(decoded.claims), expected),
            Err(error) => refused = why(error.kind()),
        }
        if refused != NotBelieved::Wrong(SIGNATURE) {
            break;
        }
    }
    Err(refused)
}

const SIGNATURE: &str = "its signature is wrong";

fn why(error: &ErrorKind) -> NotBelieved {
    NotBelieved::Wrong(match error {
        ErrorKind::InvalidSignature => SIGNATURE,
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "another issuer says it",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
            "it lacks what every one has"
        }
        _ => "it cannot be read",
    })
}

/// What the crate does not know of.
fn check(claims: Claims, expected: &Expected<'_>) -> Result<Claims, NotBelieved> {
    let wrong = |why| Err(NotBelieved::Wrong(why));
    if claims.text("iss") != Some(expected.issuer) {
        return wrong("another issuer says it");
    }
    if claims.text("nonce") != Some(expected.nonce) {
        return Err(NotBelieved::OtherLogIn);
    }
    let azp = claims.0.get("azp");
    let several = claims.0.get("aud").and_then(Value::as_array);
    let several = several.is_some_and(|audiences| audiences.len() > 1);
    let is_for_us = azp.map(|azp| azp.as_str() == Some(expected.client_id));
    if !is_for_us.unwrap_or(!several) {
        return wrong("it was made at another's request");
    }
    let subject = claims.subject();
    if subject.is_empty() || subject.chars().count() > SUBJECT_MAX_CHARS {
        return wrong("it says nothing of whom it means");
    }
    Ok(claims)
}
