//! Tokens that nobody can guess: of sessions, devices, invitations and links. Whoever has one may do something; what is kept of
//! it here is a hash.

use sha2::{Digest, Sha256};

/// What the database keeps of a token.
pub type TokenHash = [u8; 32];

/// A token and what is kept of it. Has no `Debug`, so that it can get into no log.
pub struct NewToken {
    /// 256 random bits in hexadecimal; the caller alone has it.
    pub token: String,
    /// What is kept.
    pub hash: TokenHash,
}

/// Makes a token.
pub fn new_token() -> NewToken {
    let bits: [u8; 32] = rand::random();
    let token: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = hash_of(&token);
    NewToken { token, hash }
}

/// What is kept of a token.
pub fn hash_of(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// Where a page is told of an invitation: behind a `#`, so that it is sent to no server, and stands in no log and no referrer.
pub fn invite_path(token: &str) -> String {
    format!("/#invite={token}")
}

/// The same of a link to set a new password.
pub fn reset_path(token: &str) -> String {
    format!("/#reset={token}")
}
