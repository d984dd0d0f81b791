//! A provider of single sign-on that does what a story wants: it keeps to the standard as far as a client can tell, or
//! lies. (A real one is in `stories/`; it cannot be made to lie.) And a browser, as far as one takes part in it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

pub(crate) const CLIENT_ID: &str = "chinwag at work";
const SECRET: &str = "a secret: with a colon & more";

/// A provider on loopback, for one story.
pub(crate) struct FalseProvider {
    pub(crate) issuer: String,
    pub(crate) does: Arc<Mutex<Does>>,
}

/// What it does.
pub(crate) struct Does {
    issuer: String,
    key: Ed25519KeyPair,
    /// Which of its keys that is.
    pub(crate) key_number: u32,
    /// What it shows of its keys, beside things that are none.
    shown: Vec<Value>,
    /// Codes that were not used yet: the nonce, the challenge, where to, and who it is.
    codes: HashMap<String, (String, String, String, Map<String, Value>)>,
    used: HashSet<String>,
    /// What is said otherwise in ID tokens; null takes it away.
    pub(crate) claims: Value,
    /// The head of ID tokens, if it is to be another.
    pub(crate) header: Option<Value>,
    /// Whether signatures are wrong.
    pub(crate) forges: bool,
    /// The status and body of every answer of these addresses, in the place of what is right.
    pub(crate) instead: HashMap<&'static str, (u16, String)>,
    /// Addresses that never answer.
    pub(crate) hangs: HashSet<&'static str>,
    /// How often each address was asked.
    pub(crate) asked: HashMap<&'static str, u32>,
    /// What is said at `userinfo`, and not in the ID token.
    pub(crate) userinfo: Value,
    /// What it says of itself beside the rest.
    pub(crate) metadata: Value,
}

type Shared = Arc<Mutex<Does>>;

fn new_key() -> Ed25519KeyPair {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap()
}

impl Does {
    fn shows_key(&mut self) {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        let kid = format!("key {}", self.key_number);
        self.shown = vec![
            json!({ "kty": "EC", "crv": "P-999", "kid": "unheard of" }),
            json!("no key at all"),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA" }),
        ];
    }

    /// From now on it signs with another key, and shows that alone.
    pub(crate) fn changes_its_key(&mut self) {
        self.key = new_key();
        self.key_number += 1;
        self.shows_key();
    }

    fn id_token(&self, nonce: &str, who: Map<String, Value>) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": nonce,
        });
        let claims_map = claims.as_object_mut().unwrap();
        claims_map.extend(who);
        for (name, value) in self.claims.as_object().unwrap() {
            match value {
                Value::Null => drop(claims_map.remove(name)),
                // Relative to now.
                Value::String(text) if name == "exp" || name == "nbf" => {
                    let at = now.checked_add_signed(text.parse().unwrap()).unwrap();
                    claims_map.insert(name.clone(), json!(at));
                }
                value => drop(claims_map.insert(name.clone(), value.clone())),
            }
        }
        let kid = format!("key {}", self.key_number);
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": kid });
        let header = self.header.clone().unwrap_or(header);
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = self.key.sign(signed.as_bytes()).as_ref().to_vec();
        if self.forges {
            signature[0] ^= 1;
        }
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl FalseProvider {
    pub(crate) async fn start() -> FalseProvider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/team", listener.local_addr().unwrap());
        let mut does = Does {
            issuer: issuer.clone(),
            key: new_key(),
            key_number: 1,
            shown: Vec::new(),
            codes: HashMap::new(),
            used: HashSet::new(),
            claims: json!({}),
            header: None,
            forges: false,
            instead: HashMap::new(),
            hangs: HashSet::new(),
            asked: HashMap::new(),
            userinfo: Value::Null,
            metadata: json!({}),
        };
        does.shows_key();
        let does = Arc::new(Mutex::new(does));
        let routes = Router::new()
            .route("/team/.well-known/openid-configuration", get(discovery))
            .route("/team/keys", get(keys))
            .route("/team/token", post(token))
            .route("/team/me", get(userinfo))
            .with_state(Arc::clone(&does));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        FalseProvider { issuer, does }
    }

    /// The flags of an edge that has this provider.
    pub(crate) fn flags<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let flags = [
            "--oidc-issuer",
            &self.issuer,
            "--oidc-client-id",
            CLIENT_ID,
            "--oidc-client-secret",
            SECRET,
            "--oidc-name",
            "Example",
        ];
        [&flags, more].concat()
    }

    /// Somebody says yes there: where their browser is sent back to.
    pub(crate) fn lets_in(&self, asked: &Url, who: Value) -> Url {
        assert!(
            asked
                .as_str()
                .starts_with(&format!("{}/auth?", self.issuer)),
            "{asked}"
        );
        let asked: HashMap<String, String> = asked.query_pairs().into_owned().collect();
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("code_challenge_method", "S256"),
            ("scope", "openid profile email"),
        ] {
            assert_eq!(asked[name], value);
        }
        let code = format!("code {}", rand::random::<u64>());
        let who = who.as_object().unwrap().clone();
        let [nonce, challenge, back] =
            ["nonce", "code_challenge", "redirect_uri"].map(|name| asked[name].clone());
        let mut url = Url::parse(&back).unwrap();
        url.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &asked["state"])
            .append_pair("iss", &self.issuer);
        let mut does = self.does.lock();
        does.codes.insert(code, (nonce, challenge, back, who));
        url
    }
}

/// What is said at this address in the place of what is right, if anything is.
async fn instead(does: &Shared, address: &'static str) -> Option<Response> {
    let (instead, hangs) = {
        let mut does = does.lock();
        *does.asked.entry(address).or_default() += 1;
        (
            does.instead.get(address).cloned(),
            does.hangs.contains(address),
        )
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    let (status, body) = instead?;
    Some((StatusCode::from_u16(status).unwrap(), body).into_response())
}

async fn discovery(State(does): State<Shared>) -> Response {
    if let Some(instead) = instead(&does, "discovery").await {
        return instead;
    }
    let does = does.lock();
    let issuer = &does.issuer;
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "userinfo_endpoint": format!("{issuer}/me"),
        "authorization_response_iss_parameter_supported": true,
        "what nobody": ["has", "heard of"],
    });
    let more = does.metadata.as_object().unwrap().clone();
    metadata.as_object_mut().unwrap().extend(more);
    Json(metadata).into_response()
}

async fn keys(State(does): State<Shared>) -> Response {
    if let Some(instead) = instead(&does, "keys").await {
        return instead;
    }
    Json(json!({ "keys": does.lock().shown })).into_response()
}

async fn userinfo(State(does): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(instead) = instead(&does, "userinfo").await {
        return instead;
    }
    assert_eq!(headers[header::AUTHORIZATION], "Bearer an access token");
    Json(does.lock().userinfo.clone()).into_response()
}

async fn token(State(does): State<Shared>, headers: HeaderMap, form: String) -> Response {
    if let Some(instead) = instead(&does, "token").await {
        return instead;
    }
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("{}:{}", encoded(CLIENT_ID), encoded(SECRET));
    let basic = base64::engine::general_purpose::STANDARD.encode(basic);
    let form: HashMap<String, String> = form_urlencoded::parse(form.as_bytes())
        .into_owned()
        .collect();
    let mut does = does.lock();
    let by_post = does
        .metadata
        .get("token_endpoint_auth_methods_supported")
        .is_some();
    if by_post {
        assert_eq!(
            (&*form["client_id"], &*form["client_secret"]),
            (CLIENT_ID, SECRET)
        );
    } else {
        assert_eq!(headers[header::AUTHORIZATION], format!("Basic {basic}"));
    }
    assert_eq!(form["grant_type"], "authorization_code");
    let no = || {
        let error = json!({ "error": "invalid_grant", "error_description": "<script>" });
        (StatusCode::BAD_REQUEST, Json(error)).into_response()
    };
    let code = &form["code"];
    let Some((nonce, challenge, back, who)) = does.codes.remove(code) else {
        return no();
    };
    does.used.insert(code.clone());
    let verified = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    if verified != challenge || form["redirect_uri"] != back {
        return no();
    }
    let id_token = does.id_token(&nonce, who);
    Json(json!({
        "access_token": "an access token", "token_type": "Bearer", "expires_in": 60, "id_token": id_token,
    }))
    .into_response()
}

/// A browser, as far as it takes part.
#[derive(Clone)]
pub(crate) struct Browser {
    http: reqwest::Client,
    pub(crate) cookies: HashMap<String, String>,
    /// Headers that it sends with every call.
    pub(crate) sends: HashMap<&'static str, &'static str>,
}

/// What came.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) location: String,
    pub(crate) kind: String,
    pub(crate) text: String,
    /// As they were set.
    pub(crate) cookies: Vec<String>,
}

impl Page {
    /// As JSON.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Page {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// That it was refused, with these words.
    #[track_caller]
    #[expect(
        clippy::wrong_self_convention,
        reason = "as an answer is looked at everywhere: once"
    )]
    pub(crate) fn is_refused(self, status: u16, words: &str) -> Page {
        assert!(self.text.contains(words), "{}", self.text);
        self.is(status)
    }
}

impl Browser {
    pub(crate) fn new() -> Browser {
        let _first = chat_client::http();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none());
        Browser {
            http: http.timeout(Duration::from_secs(30)).build().unwrap(),
            cookies: HashMap::new(),
            sends: HashMap::new(),
        }
    }

    pub(crate) async fn get(&mut self, url: impl AsRef<str>) -> Page {
        let call = self.http.get(url.as_ref());
        self.call(call).await
    }

    pub(crate) async fn post(&mut self, url: impl AsRef<str>, body: Value) -> Page {
        let call = self.http.post(url.as_ref()).json(&body);
        self.call(call).await
    }

    pub(crate) async fn delete(&mut self, url: impl AsRef<str>, body: Value) -> Page {
        let call = self.http.delete(url.as_ref()).json(&body);
        self.call(call).await
    }

    async fn call(&mut self, mut call: reqwest::RequestBuilder) -> Page {
        for (name, value) in &self.sends {
            call = call.header(*name, *value);
        }
        let cookies = self.cookies.iter();
        let cookies: Vec<String> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            call = call.header("cookie", cookies.join("; "));
        }
        let answer = call.send().await.unwrap();
        let text = |name: &str| {
            let value = answer.headers().get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let (status, location, kind) = (answer.status(), text("location"), text("content-type"));
        let set = answer.headers().get_all("set-cookie").iter();
        let cookies: Vec<String> = set.map(|set| set.to_str().unwrap().to_owned()).collect();
        for set in &cookies {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => drop(self.cookies.remove(name)),
                value => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        Page {
            status,
            location,
            kind,
            cookies,
            text: answer.text().await.unwrap(),
        }
    }
}
