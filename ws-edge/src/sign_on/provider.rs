//! The provider, over HTTP: where it wants to be asked, with which keys it signs, and what a code is worth. It may be
//! slow, away, or say anything: every call has a limit in time and in bytes, and nothing of this edge waits for it but
//! whoever logs in by it.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use common::causes::WithCauses;
use reqwest::{Client, RequestBuilder, StatusCode, redirect::Policy};
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::{
    attempt::Attempt,
    id_token::{self, Claims, Expected, Keys, NotBelieved},
    places::Places,
    settings::{ProviderSettings, provider_url},
};
use crate::remembered::Remembered;

/// How long one answer of the provider may take, from the connection to the last byte.
const ANSWER_TIME: Duration = Duration::from_secs(5);
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// The most bytes of an answer: of twenty keys, or of a token with hundreds of groups in it.
const ANSWER_MAX_BYTES: usize = 256 * 1024;

/// How long what a provider says of itself is believed before it is asked again.
const METADATA_FRESH: Duration = Duration::from_secs(600);
const KEYS_FRESH: Duration = Duration::from_secs(3_600);

/// How old its keys may be where one is named that is not among them; whoever comes with it earlier waits until then.
const KEYS_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What is asked for: who somebody is, and what they are called.
const SCOPE: &str = "openid profile email";

/// The provider of single sign-on.
pub(crate) struct Provider {
    settings: ProviderSettings,
    http: OnceLock<Option<Client>>,
    metadata: Remembered<Metadata>,
    keys: Remembered<Keys>,
    places: Places,
}

/// Why somebody does not get in by the provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It does not answer as it should; another time it may.
    #[error("the provider does not answer as it should")]
    Away,
    /// Its token endpoint does not take what came to it, or does not take this server: whoever brought it may have a part in that.
    #[error("the provider does not take what came to it")]
    NotTaken,
    /// What it says of somebody is not believed, which is no fault of theirs.
    #[error("what the provider says of you is not believed: {0}")]
    NotBelieved(String),
    /// Too many are coming back at this moment.
    #[error("too many log in at this moment")]
    Busy,
    /// What came back is worth nothing, and whoever brought it is told why.
    #[error("{0}")]
    Refused(String),
}

/// What a provider says of itself, as far as it is needed.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What a code is worth. Has no `Debug`, so that it can get into no log.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Provider {
    /// Nothing is asked of it yet, so that an edge starts without it.
    pub(crate) fn new(settings: ProviderSettings) -> Provider {
        Provider {
            settings,
            http: OnceLock::new(),
            metadata: Remembered::new(),
            keys: Remembered::new(),
            places: Places::new(),
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where the browser is to go.
    ///
    /// # Errors
    /// [`ProviderError::Away`].
    pub(crate) async fn authorization_url(&self, attempt: &Attempt) -> Result<Url, ProviderError> {
        let metadata = self.metadata().await?;
        let mut url = provider_url(&metadata.authorization_endpoint)
            .map_err(|why| self.odd("its authorization endpoint", &why))?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &attempt.intent().redirect_uri)
            .append_pair("scope", SCOPE)
            .append_pair("state", &attempt.state())
            .append_pair("nonce", &attempt.nonce())
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Who somebody is who came back with a code from this address, and under which issuer. `issuer` is what came back beside the
    /// code.
    ///
    /// # Errors
    /// Why they are nobody.
    pub(crate) async fn identify(
        &self,
        address: IpAddr,
        attempt: &Attempt,
        code: &str,
        issuer: Option<&str>,
    ) -> Result<(String, Claims), ProviderError> {
        let place = self.places.take(address).await;
        let _place = place.ok_or(ProviderError::Busy)?;
        let metadata = self.metadata().await?;
        let says_issuer = metadata.authorization_response_iss_parameter_supported;
        if issuer.is_some_and(|issuer| issuer != metadata.issuer)
            || (says_issuer && issuer.is_none())
        {
            return Err(refused("it came back from another provider"));
        }
        let tokens = self.exchange(&metadata, attempt, code).await?;
        let nonce = attempt.nonce();
        let expected = Expected {
            issuer: &metadata.issuer,
            client_id: &self.settings.client_id,
            nonce: &nonce,
        };
        let keys = self.keys(&metadata).await?;
        let mut read = id_token::read(&tokens.id_token, &keys, &expected);
        if read == Err(NotBelieved::UnknownKey) {
            // Providers change them: whoever comes first with a new one is not turned away for that.
            let keys = self.newer_keys(&metadata, &keys).await?;
            read = id_token::read(&tokens.id_token, &keys, &expected);
        }
        let mut claims = read.map_err(|why| {
            tracing::warn!(%why, issuer = %metadata.issuer, "an ID token is not believed");
            let error = ProviderError::NotBelieved(why.to_string());
            match why {
                NotBelieved::OtherLogIn => refused(&error.to_string()),
                _ => error,
            }
        })?;
        self.add_what_else_is_known(&metadata, &tokens, &mut claims)
            .await;
        Ok((metadata.issuer.clone(), claims))
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        attempt: &Attempt,
        code: &str,
    ) -> Result<Tokens, ProviderError> {
        let request = self.token_request(metadata, attempt, code)?;
        let (status, body) = self.answer(request, "its token endpoint").await?;
        if status.is_success() {
            return self.read(&body, "its token endpoint");
        }
        let error = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.error);
        let error = error.unwrap_or_default();
        if status.is_client_error() && error == "invalid_grant" {
            return Err(refused(
                "the provider does not take this log-in back: it was used already, or took too long",
            ));
        }
        // OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, as likely as not.
        let error: String = error
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        tracing::error!(%status, error, "the provider of single sign-on refuses this server");
        Err(match status.is_client_error() {
            true => ProviderError::NotTaken,
            false => ProviderError::Away,
        })
    }

    fn token_request(
        &self,
        metadata: &Metadata,
        attempt: &Attempt,
        code: &str,
    ) -> Result<RequestBuilder, ProviderError> {
        let url = self.endpoint("token_endpoint", &metadata.token_endpoint)?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &attempt.intent().redirect_uri)
            .append_pair("code_verifier", &attempt.verifier());
        let mut request = self.http()?.post(url);
        let client_id = &self.settings.client_id;
        match &self.settings.client_secret {
            // The standard's own way, unless the provider takes none but the other.
            Some(secret) if self.takes_basic(metadata) => {
                let secret = secret.expose_secret();
                request = request.basic_auth(encoded(client_id), Some(encoded(secret)));
            }
            Some(secret) => {
                form.append_pair("client_id", client_id)
                    .append_pair("client_secret", secret.expose_secret());
            }
            None => {
                form.append_pair("client_id", client_id);
            }
        }
        Ok(request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish()))
    }

    fn takes_basic(&self, metadata: &Metadata) -> bool {
        let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|methods| {
            let takes = |method: &str| methods.iter().any(|known| known == method);
            takes("client_secret_basic") || !takes("client_secret_post")
        })
    }

    /// Many providers say what somebody is called only where it is asked for by itself. Whoever has no name gets one.
    async fn add_what_else_is_known(
        &self,
        metadata: &Metadata,
        tokens: &Tokens,
        claims: &mut Claims,
    ) {
        let named = ["preferred_username", "email", "nickname", "name"];
        let (Some(url), Some(token)) = (&metadata.userinfo_endpoint, &tokens.access_token) else {
            return;
        };
        if named.iter().any(|claim| claims.text(claim).is_some()) {
            return;
        }
        let asked = async {
            let url = self.endpoint("userinfo_endpoint", url)?;
            let request = self.http()?.get(url).bearer_auth(token);
            let (status, body) = self.answer(request, "what it says of people").await?;
            if !status.is_success() {
                return Err(self.odd("what it says of people", &status.to_string()));
            }
            self.read::<Map<String, Value>>(&body, "what it says of people")
        };
        if let Ok(mut said) = asked.await
            && said.get("sub").and_then(Value::as_str) == Some(claims.subject())
        {
            for claim in named {
                if let Some(value) = said.remove(claim) {
                    claims.0.insert(claim.to_owned(), value);
                }
            }
        }
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        let issuer = &self.settings.issuer;
        let ask = async || {
            let what = "its discovery document";
            let url = format!("{issuer}/.well-known/openid-configuration");
            let request = self.http().ok()?.get(url);
            let metadata: Metadata = self.get(request, what).await.ok()?;
            // A slash at the end is written by some and not by others; it is one provider all the same.
            if metadata.issuer.trim_end_matches('/') != issuer {
                let why = format!("it says that it is {:?}", metadata.issuer);
                self.odd(what, &why);
                return None;
            }
            Some(metadata)
        };
        let metadata = self.metadata.get(METADATA_FRESH, ask).await;
        metadata.ok_or(ProviderError::Away)
    }

    async fn keys(&self, metadata: &Metadata) -> Result<Arc<Keys>, ProviderError> {
        let ask = async || self.ask_for_keys(metadata).await;
        let keys = self.keys.get(KEYS_FRESH, ask).await;
        keys.ok_or(ProviderError::Away)
    }

    async fn newer_keys(
        &self,
        metadata: &Metadata,
        than: &Arc<Keys>,
    ) -> Result<Arc<Keys>, ProviderError> {
        let ask = async || self.ask_for_keys(metadata).await;
        let keys = self.keys.newer(than, KEYS_AGAIN_AFTER, ask).await;
        keys.ok_or(ProviderError::Away)
    }

    async fn ask_for_keys(&self, metadata: &Metadata) -> Option<Keys> {
        let url = self.endpoint("jwks_uri", &metadata.jwks_uri).ok()?;
        let request = self.http().ok()?.get(url);
        let (status, body) = self.answer(request, "its keys").await.ok()?;
        let keys = Keys::read(&body).filter(|_| status.is_success());
        if keys.is_none() {
            self.odd("its keys", &status.to_string());
        }
        keys
    }

    async fn get<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<T, ProviderError> {
        let (status, body) = self.answer(request, what).await?;
        match status.is_success() {
            true => self.read(&body, what),
            false => Err(self.odd(what, &status.to_string())),
        }
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8], what: &str) -> Result<T, ProviderError> {
        // The words of `serde_json` quote what was read, which may be a secret; where it stopped is told.
        serde_json::from_slice(body).map_err(|error| {
            let place = format!(
                "not as it should be, at line {} column {}",
                error.line(),
                error.column()
            );
            self.odd(what, &place)
        })
    }

    async fn answer(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<(StatusCode, Vec<u8>), ProviderError> {
        let request = request
            .timeout(ANSWER_TIME)
            .header("accept", "application/json");
        let away = |error: reqwest::Error| {
            let error = error.without_url();
            self.odd(what, &WithCauses(&error).to_string())
        };
        let mut response = request.send().await.map_err(away)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > ANSWER_MAX_BYTES {
                return Err(self.odd(what, "too much of it"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }

    fn endpoint(&self, name: &str, url: &str) -> Result<Url, ProviderError> {
        provider_url(url).map_err(|why| self.odd(name, &why))
    }

    /// Tells whoever operates this what is wrong with the provider.
    fn odd(&self, what: &str, why: &str) -> ProviderError {
        let issuer = &self.settings.issuer;
        tracing::warn!(
            issuer,
            what,
            why,
            "the provider of single sign-on does not answer as it should"
        );
        ProviderError::Away
    }

    /// Made when it is first needed.
    fn http(&self) -> Result<&Client, ProviderError> {
        let http = self.http.get_or_init(|| {
            let is_plain = self.settings.issuer.starts_with("http://");
            let builder = || {
                let builder = Client::builder()
                    .connect_timeout(CONNECT_TIME)
                    // What it is told would be told to whoever a redirect leads to.
                    .redirect(Policy::none());
                // Plain HTTP is for this machine alone.
                if is_plain {
                    builder.no_proxy()
                } else {
                    builder
                }
            };
            let built = match builder().build() {
                // Without CA certificates. Plain HTTP needs none, and trusts nobody then.
                Err(_) if is_plain => builder().tls_certs_only([]).build(),
                built => built,
            };
            let told = built.inspect_err(|error| {
                let error = WithCauses(error).to_string();
                tracing::error!(
                    error,
                    "no HTTP client for OIDC_ISSUER: has this machine CA certificates?"
                );
            });
            told.ok()
        });
        http.as_ref().ok_or(ProviderError::Away)
    }
}

fn refused(why: &str) -> ProviderError {
    ProviderError::Refused(why.to_owned())
}

/// As the standard has identifiers and secrets in a header.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
