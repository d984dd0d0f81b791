//! Single sign-on, at a provider that does what a story wants, and with a browser that goes there and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chat_client::PASSWORD;
use common::secret_token::new_token;
use common::store::{Actor, Invite, LogIn, OPERATOR, Session, StandingChanges, THE_SERVER};
use ring::hmac;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

use crate::{
    chat::Chat,
    false_provider::{Browser, FalseProvider, Page},
};

/// Two edges and a provider.
struct Scene {
    chat: Chat,
    provider: FalseProvider,
}

impl Scene {
    async fn start(flags: &[&str]) -> Scene {
        let provider = FalseProvider::start().await;
        let chat = Chat::start_with(&provider.flags(flags)).await;
        Scene { chat, provider }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.chat.urls[0])
    }

    /// Goes to the provider and says yes there. Returns where that sends them.
    async fn goes(&self, browser: &mut Browser, who: Value) -> Url {
        let away = browser.get(self.url("/api/oidc/login")).await.is(303);
        self.provider
            .lets_in(&Url::parse(&away.location).unwrap(), who)
    }

    /// Goes there and back.
    async fn logs_in(&self, browser: &mut Browser, who: Value) -> Page {
        let back = self.goes(browser, who).await;
        browser.get(back).await
    }

    /// Puts an attempt into the browser that no edge has begun, and goes to the provider with it. All of an attempt is
    /// in its cookie, so anybody can make one.
    fn goes_by_an_attempt_of_ones_own(&self, browser: &mut Browser, links_in: &str) -> Url {
        let secret = "a secret of one's own";
        let redirect_uri = self.url("/api/oidc/callback");
        let intent = json!({
            "redirect_uri": redirect_uri, "return_to": "/", "links_in": links_in, "begun_at_ms": now_ms(),
        });
        let written = URL_SAFE_NO_PAD.encode(intent.to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = |purpose: &str| {
            let derived = hmac::sign(&key, format!("{purpose}.{written}").as_bytes());
            URL_SAFE_NO_PAD.encode(derived)
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(derived("verifier")));
        let mut away = Url::parse(&format!("{}/auth", self.provider.issuer)).unwrap();
        away.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", crate::false_provider::CLIENT_ID)
            .append_pair("redirect_uri", &redirect_uri)
            .append_pair("scope", "openid profile email")
            .append_pair("state", &derived("state"))
            .append_pair("nonce", &derived("nonce"))
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let cookie = format!("{secret}.{written}");
        browser.cookies.insert("sign_on".to_owned(), cookie);
        self.provider.lets_in(&away, json!({ "sub": "E" }))
    }

    /// Whose session the browser has.
    async fn user(&self, browser: &mut Browser) -> String {
        let me = browser.get(self.url("/api/me")).await.is(200).body();
        me["user"].as_str().unwrap().to_owned()
    }

    async fn invitation(&self, made_by: &str, admin: bool) -> String {
        let token = new_token();
        let invite = Invite {
            id: Uuid::now_v7(),
            made_by: made_by.to_owned(),
            admin,
            room: None,
            uses: 1,
            used: 0,
            made_at_ms: now_ms(),
            expires_at_ms: now_ms() + 60_000,
        };
        self.chat
            .store
            .make_invite(&invite, &token.hash)
            .await
            .unwrap();
        token.token
    }

    /// Makes the browser's session older than it is.
    async fn has_a_session_that_began(&self, browser: &mut Browser, user: &str, ago: Duration) {
        let token = new_token();
        let began = now_ms() - ago.as_millis() as u64;
        let session = Session {
            id: Uuid::now_v7(),
            user: user.to_owned(),
            device: String::new(),
            created_at_ms: began,
            last_seen_at_ms: began,
            expires_at_ms: now_ms() + 60_000,
            is_token: false,
        };
        let begun = self
            .chat
            .store
            .begin_session(&session, &token.hash, LogIn::default());
        begun.await.unwrap();
        browser.cookies.insert("session".to_owned(), token.token);
    }

    async fn accounts(&self) -> usize {
        self.chat
            .store
            .accounts_listed(None, 100)
            .await
            .unwrap()
            .len()
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

fn ada() -> Value {
    json!({ "sub": "A-1", "preferred_username": "Ada" })
}

const A_WHILE: Duration = Duration::from_secs(11 * 60);

#[tokio::test]
async fn one_logs_in_by_the_provider_at_whichever_edge() {
    let scene = Scene::start(&[]).await;
    let door = scene.chat.someone().get("/api/door").await;
    let expected =
        json!({ "registration": "open", "passwords": true, "oidc": { "name": "Example" } });
    assert_eq!(door.body, expected);
    let mut browser = Browser::new();
    let back = scene.goes(&mut browser, ada()).await;
    // The other edge gets it back.
    let back = back
        .as_str()
        .replace(&scene.chat.urls[0], &scene.chat.urls[1]);
    let page = browser.get(&back).await.is(303);
    assert_eq!(page.location, "/");
    assert_eq!(page.text, "", "the token is in the cookie alone");
    assert!(
        page.cookies
            .iter()
            .all(|set| set.contains("HttpOnly; SameSite=Lax; Path=/"))
    );
    assert_eq!(scene.user(&mut browser).await, "ada");
    assert!(!browser.cookies.contains_key("sign_on"));
    let me = browser.get(scene.url("/api/me")).await.body();
    assert_eq!(
        (&me["password"], &me["admin"]),
        (&json!(false), &json!(false))
    );
    // The second time it is the same account, whatever they are called by now.
    let mut elsewhere = Browser::new();
    let renamed = json!({ "sub": "A-1", "preferred_username": "lovelace" });
    scene.logs_in(&mut elsewhere, renamed).await.is(303);
    assert_eq!(scene.user(&mut elsewhere).await, "ada");
    let sessions = elsewhere.get(scene.url("/api/sessions")).await.body();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2);
    // What nobody has said is no name of anybody: one that is taken is not taken over.
    for (who, name) in [
        (
            json!({ "sub": "a-1", "preferred_username": "ada" }),
            "ada-2",
        ),
        (
            json!({ "sub": "B", "email": "ada@example.org", "email_verified": true }),
            "ada-3",
        ),
        (json!({ "sub": "C", "name": "Admin" }), "person-2"),
    ] {
        let mut browser = Browser::new();
        scene.logs_in(&mut browser, who).await.is(303);
        assert_eq!(scene.user(&mut browser).await, name);
    }
}

#[tokio::test]
async fn a_name_that_the_token_lacks_is_asked_for() {
    let scene = Scene::start(&[]).await;
    for (sub, said, name) in [
        (
            "1",
            json!({ "sub": "1", "preferred_username": "grace" }),
            "grace",
        ),
        // Somebody else, and garbage: a name is found all the same.
        (
            "2",
            json!({ "sub": "other", "preferred_username": "eve" }),
            "person-2",
        ),
        ("3", json!([1, 2]), "person-3"),
    ] {
        scene.provider.does.lock().userinfo = said;
        let mut browser = Browser::new();
        scene
            .logs_in(&mut browser, json!({ "sub": sub }))
            .await
            .is(303);
        assert_eq!(scene.user(&mut browser).await, name);
    }
}

#[tokio::test]
async fn what_the_provider_should_not_say_is_not_believed() {
    let scene = Scene::start(&[]).await;
    let issuer = scene.provider.issuer.clone();
    let mine = crate::false_provider::CLIENT_ID;
    let mut browser = Browser::new();
    for (claims, words) in [
        (json!({ "iss": "https://evil.example" }), "another issuer"),
        (
            json!({ "iss": [issuer, "https://evil.example"] }),
            "another issuer",
        ),
        (json!({ "iss": null }), "lacks"),
        (json!({ "aud": "another" }), "another audience"),
        (json!({ "aud": null }), "lacks"),
        (json!({ "aud": [mine, "another"] }), "another&#39;s request"),
        (
            json!({ "aud": [mine, "another"], "azp": "another" }),
            "another&#39;s request",
        ),
        (json!({ "azp": "another" }), "another&#39;s request"),
        (json!({ "nonce": "of another log-in" }), "another log-in"),
        (json!({ "nonce": null }), "another log-in"),
        (json!({ "exp": "-90" }), "expired"),
        (json!({ "exp": null }), "lacks"),
        (json!({ "exp": [] }), "lacks"),
        (json!({ "nbf": "90" }), "not valid yet"),
        (json!({ "sub": null }), "lacks"),
        (json!({ "sub": "" }), "whom it means"),
        (json!({ "sub": "s".repeat(256) }), "whom it means"),
    ] {
        scene.provider.does.lock().claims = claims.clone();
        let page = scene.logs_in(&mut browser, ada()).await;
        let words = words.replace("&#39;", "'");
        page.is_refused(403, &words);
    }
    scene.provider.does.lock().claims = json!({});
    for (header, words) in [
        (json!({ "alg": "none" }), "no token"),
        (json!({ "alg": "HS256" }), "a key that can be shown"),
        (json!({ "alg": "EdDSA", "kid": "another" }), "does not show"),
        (json!({ "alg": "RS256", "kid": "key 1" }), "does not show"),
        (
            json!({ "alg": "EdDSA", "kid": "key 1", "crit": ["b64"] }),
            "not known here",
        ),
    ] {
        scene.provider.does.lock().header = Some(header);
        scene
            .logs_in(&mut browser, ada())
            .await
            .is_refused(403, words);
    }
    scene.provider.does.lock().header = None;
    scene.provider.does.lock().forges = true;
    let forged = scene.logs_in(&mut browser, ada()).await;
    forged.is_refused(403, "signature is wrong");
    scene.provider.does.lock().forges = false;
    assert_eq!(scene.accounts().await, 0);
    assert!(!browser.cookies.contains_key("session"));
    // What is only a little off is fine: clocks differ, and one audience among others may be this one.
    for claims in [
        json!({ "exp": "-30", "nbf": "30" }),
        json!({ "aud": [mine], "extra": { "deep": [1] } }),
        json!({ "aud": [mine, "another"], "azp": mine }),
    ] {
        scene.provider.does.lock().claims = claims;
        scene.logs_in(&mut browser, ada()).await.is(303);
        browser = Browser::new();
    }
    assert_eq!(scene.accounts().await, 1);
}

#[tokio::test]
async fn only_the_browser_that_began_comes_in_and_once() {
    let scene = Scene::start(&[]).await;
    let mut browser = Browser::new();
    let back = scene.goes(&mut browser, ada()).await;
    let cookie = browser.cookies["sign_on"].clone();
    // Whoever has the address has nothing by it, with a log-in of their own or without.
    let mut thief = Browser::new();
    thief
        .get(&back)
        .await
        .is_refused(403, "not begun in this browser");
    let own = scene.goes(&mut thief, json!({ "sub": "E" })).await;
    thief
        .get(&back)
        .await
        .is_refused(403, "not begun in this browser");
    let with = |url: &Url, name: &str, value: &str| {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut url = url.clone();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(pairs.iter().filter(|(key, _)| key != name));
        if !value.is_empty() {
            url.query_pairs_mut().append_pair(name, value);
        }
        url
    };
    let code = |url: &Url| {
        let mut pairs = url.query_pairs();
        pairs
            .find(|(name, _)| name == "code")
            .unwrap()
            .1
            .into_owned()
    };
    // The code of another log-in: the provider does not take it from this one.
    let injected = thief.get(with(&own, "code", &code(&back))).await;
    let injected = injected.is_refused(403, "does not take this log-in back");
    assert!(!injected.text.contains("script"));
    for changed in [with(&back, "state", ""), with(&back, "state", "x")] {
        browser
            .get(changed)
            .await
            .is_refused(403, "not begun in this browser");
    }
    // That code is used up now, so they begin anew; another answer to that one is none.
    let back = scene.goes(&mut browser, ada()).await;
    assert_ne!(cookie, browser.cookies["sign_on"]);
    let cookie = browser.cookies["sign_on"].clone();
    browser.get(&back).await.is(303);
    browser.cookies.insert("sign_on".to_owned(), cookie.clone());
    browser
        .get(&back)
        .await
        .is_refused(403, "come back already");
    browser.cookies.insert("sign_on".to_owned(), cookie);
    let fresh = with(&back, "code", "another");
    let elsewhere = fresh
        .as_str()
        .replace(&scene.chat.urls[0], &scene.chat.urls[1]);
    browser
        .get(elsewhere)
        .await
        .is_refused(403, "come back already");
    assert_eq!(scene.user(&mut browser).await, "ada");
    // At the same moment at both edges: once.
    let back = scene.goes(&mut browser, ada()).await;
    let mut other = browser.clone();
    let there = back
        .as_str()
        .replace(&scene.chat.urls[0], &scene.chat.urls[1]);
    let (one, two) = tokio::join!(browser.get(&back), other.get(there));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 403]);
}

#[tokio::test]
async fn what_comes_back_without_a_code_is_told_in_words() {
    let scene = Scene::start(&[]).await;
    let mut browser = Browser::new();
    browser.sends.insert("accept", "text/html,*/*;q=0.8");
    for (query, words) in [
        ("error=access_denied", "Example did not let you in"),
        (
            "error=%3Cscript%3E&error_description=%3Cscript%3E",
            "something went wrong",
        ),
        ("iss=https://evil.example&code=x", "another provider"),
        ("code=x", "another provider"),
        ("", "something went wrong"),
    ] {
        let back = scene.goes(&mut browser, ada()).await;
        let state = back
            .query_pairs()
            .find(|(name, _)| name == "state")
            .unwrap()
            .1
            .into_owned();
        let url = scene.url(&format!("/api/oidc/callback?state={state}&{query}"));
        let page = browser.get(url).await.is_refused(403, words);
        assert_eq!(page.kind, "text/html; charset=utf-8");
        assert!(!page.text.contains("script"), "{}", page.text);
        assert!(page.text.contains("<a href=\"/\">"));
    }
    // Programs read what programs read.
    let mut program = Browser::new();
    let page = program.get(scene.url("/api/oidc/callback")).await.is(403);
    assert_eq!(page.kind, "application/problem+json");
    assert_eq!(page.body()["code"], "forbidden");
}

#[tokio::test]
async fn a_provider_that_is_away_or_mad_keeps_nobody_but_those_who_need_it() {
    let provider = FalseProvider::start().await;
    provider
        .does
        .lock()
        .instead
        .insert("discovery", (502, "Bad Gateway".to_owned()));
    // It is not needed for the start.
    let chat = Chat::start_with(&provider.flags(&[])).await;
    let scene = Scene { chat, provider };
    let mut browser = Browser::new();
    let log_in = scene.url("/api/oidc/login");
    browser.get(&log_in).await.is_refused(503, "Example");
    // Nor is it asked for everybody who comes meanwhile.
    for _ in 0..5 {
        browser.get(&log_in).await.is(503);
    }
    assert!(scene.provider.does.lock().asked["discovery"] < 6);
    let metadata = |says: Value| (200, says.to_string());
    let issuer = scene.provider.issuer.clone();
    for instead in [
        (200, "<html>".to_owned()),
        (200, "x".repeat(300_000)),
        metadata(
            json!({ "issuer": "https://evil.example", "authorization_endpoint": "https://evil.example",
            "token_endpoint": "https://evil.example", "jwks_uri": "https://evil.example" }),
        ),
        metadata(
            json!({ "issuer": issuer, "authorization_endpoint": "javascript:alert(1)",
            "token_endpoint": "http://evil.example", "jwks_uri": "" }),
        ),
        (302, String::new()),
    ] {
        // After a moment it is asked again; another edge knows nothing of the first.
        scene
            .provider
            .does
            .lock()
            .instead
            .insert("discovery", instead);
        let chat = Chat::start_with(&scene.provider.flags(&[])).await;
        browser
            .get(format!("{}/api/oidc/login", chat.urls[0]))
            .await
            .is(503);
    }
    scene.provider.does.lock().instead.clear();
    let other = Scene::start(&[]).await;
    for (address, instead) in [
        ("token", (500, "down".to_owned())),
        ("token", (200, "<html>".to_owned())),
        ("token", (200, "{}".to_owned())),
        ("token", (401, "{\"error\":\"invalid_client\"}".to_owned())),
        ("token", (307, String::new())),
        ("keys", (500, String::new())),
    ] {
        other.provider.does.lock().instead.insert(address, instead);
        let page = other.logs_in(&mut browser, ada()).await;
        page.is_refused(503, "Example");
        other.provider.does.lock().instead.clear();
    }
    // It hangs: whoever logs in by it waits a while, nobody else does.
    let back = other.goes(&mut browser, ada()).await;
    other.provider.does.lock().hangs.insert("token");
    let waiting = async {
        let began = std::time::Instant::now();
        browser.get(&back).await.is_refused(503, "Example");
        assert!(began.elapsed() < Duration::from_secs(25));
    };
    let meanwhile = async {
        for name in ["bob", "carol"] {
            let someone = other.chat.registers(name).await;
            someone.get("/api/me").await.is(reqwest::StatusCode::OK);
        }
    };
    tokio::join!(waiting, meanwhile);
    other.provider.does.lock().hangs.clear();
    other.logs_in(&mut browser, ada()).await.is(303);
}

#[tokio::test]
async fn a_provider_may_change_its_keys() {
    let scene = Scene::start(&[]).await;
    scene.logs_in(&mut Browser::new(), ada()).await.is(303);
    let asked = || scene.provider.does.lock().asked["keys"];
    assert_eq!(asked(), 1);
    scene.logs_in(&mut Browser::new(), ada()).await.is(303);
    assert_eq!(asked(), 1, "they are remembered");
    // Known for too short a time to be asked for again: so it does not ask with every token that names a key nobody
    // has.
    scene.provider.does.lock().header = Some(json!({ "alg": "EdDSA", "kid": "nobody's" }));
    scene.logs_in(&mut Browser::new(), ada()).await.is(403);
    scene.provider.does.lock().header = None;
    assert_eq!(asked(), 2);
    // And yet nobody is turned away who is the first with a new one.
    scene.provider.does.lock().changes_its_key();
    scene.logs_in(&mut Browser::new(), ada()).await.is(303);
    assert_eq!(asked(), 3);
    // A token that names no key is held against all of the kind.
    scene.provider.does.lock().header = Some(json!({ "alg": "EdDSA" }));
    scene.logs_in(&mut Browser::new(), ada()).await.is(303);
}

#[tokio::test]
async fn a_provider_that_wants_the_secret_in_the_form_gets_it_there() {
    let scene = Scene::start(&[]).await;
    let methods = json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
    scene.provider.does.lock().metadata = methods;
    scene.logs_in(&mut Browser::new(), ada()).await.is(303);
}

#[tokio::test]
async fn whoever_is_in_links_an_identity_to_the_account() {
    let scene = Scene::start(&[]).await;
    let bob = scene.chat.registers("bob").await;
    let mut browser = Browser::new();
    browser
        .cookies
        .insert("session".to_owned(), bob.token.clone());
    let listed = async |browser: &mut Browser| {
        let listed = browser
            .get(scene.url("/api/identities"))
            .await
            .is(200)
            .body();
        listed["identities"].as_array().unwrap().clone()
    };
    // A page from elsewhere, which may have logged them in at the provider as somebody else before, links nothing.
    for site in ["cross-site", "same-site", "none"] {
        browser.sends.insert("sec-fetch-site", site);
        let page = browser
            .get(scene.url("/api/oidc/login?return=/rooms/x"))
            .await
            .is(303);
        assert_eq!(page.location, "/rooms/x");
        assert!(page.cookies.is_empty());
    }
    browser.sends.insert("origin", "https://evil.example");
    let foreign = browser.post(scene.url("/api/oidc/login"), json!({})).await;
    foreign.is_refused(403, "this origin");
    browser.sends.clear();
    browser.sends.insert("sec-fetch-site", "same-origin");
    scene.logs_in(&mut browser, ada()).await.is(303);
    assert_eq!(scene.user(&mut browser).await, "bob");
    let linked = listed(&mut browser).await;
    assert_eq!(linked.len(), 1);
    assert_eq!(linked[0]["issuer"], scene.provider.issuer);
    // From now on it leads there; and it cannot be another's too.
    let mut fresh = Browser::new();
    scene.logs_in(&mut fresh, ada()).await.is(303);
    assert_eq!(scene.user(&mut fresh).await, "bob");
    let carol = scene.chat.registers("carol").await;
    let mut hers = Browser::new();
    hers.cookies
        .insert("session".to_owned(), carol.token.clone());
    let taken = scene.logs_in(&mut hers, ada()).await;
    taken.is_refused(409, "another account");
    assert_eq!(scene.user(&mut hers).await, "carol");
    // An attempt that began elsewhere links nothing in this session, whoever put it there.
    let mut evil = Browser::new();
    scene
        .logs_in(&mut evil, json!({ "sub": "E", "name": "eve" }))
        .await
        .is(303);
    let back = scene.goes(&mut evil, json!({ "sub": "E2" })).await;
    hers.cookies
        .insert("sign_on".to_owned(), evil.cookies["sign_on"].clone());
    hers.get(&back).await.is_refused(403, "begin anew");
    assert!(listed(&mut hers).await.is_empty());
    // By a session that is old, or a program's token, neither.
    scene
        .has_a_session_that_began(&mut hers, "carol", A_WHILE)
        .await;
    let old = hers.get(scene.url("/api/oidc/login")).await;
    old.is_refused(403, "log in anew");
    let id = linked[0]["id"].as_str().unwrap();
    let path = scene.url(&format!("/api/identities/{id}"));
    hers.delete(&path, json!({}))
        .await
        .is_refused(403, "log in anew");
    let token = bob.post("/api/tokens", json!({ "name": "ci" })).await;
    let mut program = Browser::new();
    let bearer = format!("Bearer {}", token.body["token"].as_str().unwrap());
    program.sends.insert("authorization", bearer.leak());
    let refused = program.get(scene.url("/api/oidc/login")).await;
    refused.is_refused(403, "a program's token");
    // It goes again: nobody's but one's own.
    evil.delete(&path, json!({})).await.is(404);
    browser.delete(&path, json!({})).await.is(204);
    assert!(listed(&mut browser).await.is_empty());
    let mut fresh = Browser::new();
    scene.logs_in(&mut fresh, ada()).await.is(303);
    assert_eq!(scene.user(&mut fresh).await, "ada");
    let only = listed(&mut fresh).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = scene.url(&format!("/api/identities/{only}"));
    fresh
        .delete(path, json!({}))
        .await
        .is_refused(403, "nothing else");
}

#[tokio::test]
async fn an_old_session_links_nothing_by_an_attempt_of_ones_own() {
    let scene = Scene::start(&[]).await;
    let bob = scene.chat.registers("bob").await;
    let mut thief = Browser::new();
    scene
        .has_a_session_that_began(&mut thief, "bob", A_WHILE)
        .await;
    let me = thief.get(scene.url("/api/me")).await.is(200).body();
    let session = me["session"].as_str().unwrap();
    let back = scene.goes_by_an_attempt_of_ones_own(&mut thief, session);
    thief.get(back).await.is_refused(403, "log in anew");
    // Nor does a program's token.
    let made = bob.post("/api/tokens", json!({ "name": "ci" })).await;
    let mut program = Browser::new();
    let bearer = format!("Bearer {}", made.body["token"].as_str().unwrap());
    program.sends.insert("authorization", bearer.leak());
    let id = made.body["id"].as_str().unwrap();
    let back = scene.goes_by_an_attempt_of_ones_own(&mut program, id);
    program.get(back).await.is_refused(403, "a program's token");
    let listed = thief.get(scene.url("/api/identities")).await.body();
    assert_eq!(listed["identities"], json!([]));
    // It is the session that is asked, not how the attempt came to be.
    let mut his = Browser::new();
    his.cookies.insert("session".to_owned(), bob.token.clone());
    let me = his.get(scene.url("/api/me")).await.body();
    let session = me["session"].as_str().unwrap();
    let back = scene.goes_by_an_attempt_of_ones_own(&mut his, session);
    his.get(back).await.is(303);
}

#[tokio::test]
async fn who_may_come_in_is_what_registration_says() {
    let scene = Scene::start(&["--registration", "invite"]).await;
    let mut browser = Browser::new();
    let refused = scene.logs_in(&mut browser, ada()).await;
    refused.is_refused(403, "by invitation alone");
    let comes_by = async |browser: &mut Browser, token: &str, who: Value| {
        let begun = browser
            .post(scene.url("/api/oidc/login"), json!({ "invite": token }))
            .await;
        let begun = begun.is(200).body();
        let url = Url::parse(begun["location"].as_str().unwrap()).unwrap();
        assert!(!url.as_str().contains(token));
        browser.get(scene.provider.lets_in(&url, who)).await
    };
    let token = scene.invitation(OPERATOR, true).await;
    comes_by(&mut browser, &token, ada()).await.is(303);
    let me = browser.get(scene.url("/api/me")).await.body();
    assert_eq!((&me["user"], &me["admin"]), (&json!("ada"), &json!(true)));
    let late = comes_by(&mut Browser::new(), &token, json!({ "sub": "B" })).await;
    late.is_refused(403, "used up");
    // Who has an account needs none, and uses none.
    let token = scene.invitation("ada", false).await;
    scene.logs_in(&mut Browser::new(), ada()).await.is(303);
    comes_by(&mut Browser::new(), &token, ada()).await.is(303);
    comes_by(&mut Browser::new(), &token, json!({ "sub": "B" }))
        .await
        .is(303);
    let odd = Browser::new()
        .get(scene.url("/api/oidc/login?invite=a%20b"))
        .await;
    odd.is_refused(400, "invite");

    let closed = Scene::start(&["--registration", "closed"]).await;
    closed
        .logs_in(&mut Browser::new(), ada())
        .await
        .is_refused(403, "closed");
    closed.chat.store.create_user("carol", "").await.unwrap();
    let token = closed.invitation("carol", false).await;
    let url = closed.url(&format!("/api/oidc/login?invite={token}"));
    let mut browser = Browser::new();
    let away = browser.get(url).await.is(303);
    let back = closed
        .provider
        .lets_in(&Url::parse(&away.location).unwrap(), ada());
    browser
        .get(back)
        .await
        .is_refused(403, "may not let anybody in");
}

#[tokio::test]
async fn without_passwords_the_provider_is_the_only_way_in() {
    let flags = ["--passwords", "off", "--registration", "closed"];
    let scene = Scene::start(&flags).await;
    let someone = scene.chat.someone();
    let door = someone.get("/api/door").await;
    assert_eq!(door.body["passwords"], false);
    let reset = json!({ "token": "x", "password": PASSWORD });
    for (path, body) in [
        ("/api/register", chat_client::credentials("eve")),
        ("/api/login", chat_client::credentials("eve")),
        ("/api/reset", reset),
    ] {
        let refused = someone.post(path, body).await;
        refused.is_problem(403, "forbidden");
        assert!(refused.text.contains("Example"), "{}", refused.text);
    }
    // The first administrator comes by the link that a server without accounts makes.
    let token = scene.invitation(THE_SERVER, true).await;
    let mut browser = Browser::new();
    let away = browser
        .get(scene.url(&format!("/api/oidc/login?invite={token}")))
        .await;
    let back = scene
        .provider
        .lets_in(&Url::parse(&away.is(303).location).unwrap(), ada());
    browser.get(back).await.is(303);
    assert_eq!(
        browser.get(scene.url("/api/me")).await.body()["admin"],
        true
    );
    let change = json!({ "current": PASSWORD, "password": "another good one" });
    browser
        .post(scene.url("/api/password"), change)
        .await
        .is_refused(403, "Example");
    let link = browser
        .post(scene.url("/api/admin/users/ada/reset"), json!({}))
        .await;
    link.is_refused(403, "Example");
    // Leaving for good: by a session that has begun just now.
    scene.chat.store.create_user("carol", "").await.unwrap();
    let leaving = json!({ "messages": "keep" });
    let mut hers = Browser::new();
    scene
        .has_a_session_that_began(&mut hers, "carol", A_WHILE)
        .await;
    hers.delete(scene.url("/api/me"), leaving.clone())
        .await
        .is_refused(403, "log in anew");
    scene
        .has_a_session_that_began(&mut hers, "carol", Duration::ZERO)
        .await;
    hers.delete(scene.url("/api/me"), leaving).await.is(204);
    hers.get(scene.url("/api/me")).await.is(401);
}

#[tokio::test]
async fn whoever_has_a_password_is_asked_for_it() {
    let scene = Scene::start(&[]).await;
    let bob = scene.chat.registers("bob").await;
    let me = bob.get("/api/me").await;
    assert_eq!(me.body["password"], true);
    let mut browser = Browser::new();
    browser
        .cookies
        .insert("session".to_owned(), bob.token.clone());
    let leave = scene.url("/api/me");
    let refused = browser.delete(&leave, json!({ "messages": "keep" })).await;
    refused.is_refused(400, "password");
    // Who came by the provider has none, and cannot change it, nor log in by an empty one.
    let mut adas = Browser::new();
    scene.logs_in(&mut adas, ada()).await.is(303);
    let change = json!({ "current": "", "password": "another good one" });
    let refused = adas.post(scene.url("/api/password"), change).await;
    refused.is_refused(403, "has no password");
    for password in ["", PASSWORD] {
        let body = json!({ "username": "ada", "password": password });
        let refused = scene.chat.someone().post("/api/login", body).await;
        refused.is_problem(401, "unauthorized");
    }
    // A link sets one.
    let token = new_token();
    let until = now_ms() + 60_000;
    let made = scene
        .chat
        .store
        .make_reset(Actor::Operator, "ada", &token.hash, until);
    assert!(made.await.unwrap());
    let reset = json!({ "token": token.token, "password": PASSWORD });
    scene
        .chat
        .someone()
        .post("/api/reset", reset)
        .await
        .is(reqwest::StatusCode::OK);
    let her = scene.chat.logs_in("ada").await;
    // Whoever else got in may have linked what led there, so nothing but the password leads there from now on.
    let listed = her.get("/api/identities").await;
    assert_eq!(listed.body["identities"], json!([]));
    let mut fresh = Browser::new();
    scene.logs_in(&mut fresh, ada()).await.is(303);
    assert_eq!(scene.user(&mut fresh).await, "ada-2");
}

#[tokio::test]
async fn whose_account_is_disabled_or_deleted_stays_out() {
    let scene = Scene::start(&[]).await;
    let mut browser = Browser::new();
    scene.logs_in(&mut browser, ada()).await.is(303);
    let disabled = |is: bool| StandingChanges {
        disabled: Some(is),
        ..StandingChanges::default()
    };
    let store = &scene.chat.store;
    store
        .change_standing(Actor::Operator, "ada", disabled(true))
        .await
        .unwrap();
    browser.cookies.clear();
    scene
        .logs_in(&mut browser, ada())
        .await
        .is_refused(403, "disabled");
    assert!(!browser.cookies.contains_key("session"));
    store
        .change_standing(Actor::Operator, "ada", disabled(false))
        .await
        .unwrap();
    scene.logs_in(&mut browser, ada()).await.is(303);
    let deleted = store.delete_account(Actor::Operator, "ada", None, false);
    deleted.await.unwrap();
    browser.cookies.clear();
    scene
        .logs_in(&mut browser, ada())
        .await
        .is_refused(403, "deleted");
    assert_eq!(scene.accounts().await, 1);
}

#[tokio::test]
async fn afterwards_one_is_on_this_server_and_nowhere_else() {
    let scene = Scene::start(&[]).await;
    let mut browser = Browser::new();
    for bad in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "/%09/evil.example",
        "evil",
        "",
        "/%C3%A4",
        "javascript:alert(1)",
        &format!("/{}", "a".repeat(500)),
    ] {
        let url = scene.url(&format!("/api/oidc/login?return={bad}"));
        browser.get(url).await.is_refused(400, "return");
    }
    let url = scene.url("/api/oidc/login?return=/rooms/lobby%3Fa%3Db%23c");
    let away = browser.get(url).await.is(303);
    let back = scene
        .provider
        .lets_in(&Url::parse(&away.location).unwrap(), ada());
    assert_eq!(
        browser.get(back).await.is(303).location,
        "/rooms/lobby?a=b#c"
    );

    // Below a path of a host that has others.
    let below = Scene::start(&["--base-path", "/chat", "--secure-cookies", "true"]).await;
    let mut browser = Browser::new();
    for other in [
        "/",
        "/other",
        "/chatter/x",
        "/chat/../other",
        "/chat/%252E%252e/x",
    ] {
        let url = below.url(&format!("/chat/api/oidc/login?return={other}"));
        browser.get(url).await.is(400);
    }
    let away = browser.get(below.url("/chat/api/oidc/login")).await.is(303);
    assert!(
        away.cookies[0].starts_with("__Host-sign_on="),
        "{:?}",
        away.cookies
    );
    assert!(away.cookies[0].ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=600; Secure"));
    let back = below
        .provider
        .lets_in(&Url::parse(&away.location).unwrap(), ada());
    assert!(back.as_str().starts_with("https://127.0.0.1:"), "{back}");
    assert_eq!(back.path(), "/chat/api/oidc/callback");
    let back = back.as_str().replacen("https://", "http://", 1);
    assert_eq!(browser.get(back).await.is(303).location, "/chat/");
    assert!(browser.cookies.contains_key("__Host-session"));
}

#[tokio::test]
async fn without_a_provider_there_is_nothing_there() {
    let chat = Chat::start().await;
    for path in ["/api/oidc/login", "/api/oidc/callback?code=x&state=y"] {
        chat.someone().get(path).await.is_problem(404, "not_found");
    }
    let begun = chat.someone().post("/api/oidc/login", json!({})).await;
    begun.is_problem(404, "not_found");
}

#[tokio::test]
async fn whoever_fails_too_often_is_not_heard_for_a_while() {
    let scene = Scene::start(&[]).await;
    let mut browser = Browser::new();
    let url = scene.url("/api/oidc/callback?code=x&state=y");
    // A hundred at once, and one a second beyond.
    let bob = scene.chat.registers("bob").await;
    let mut known = Browser::new();
    scene.logs_in(&mut known, ada()).await.is(303);
    known.cookies.retain(|name, _| name == "device");
    let mut failed = 0;
    while browser.get(&url).await.status.as_u16() == 403 {
        failed += 1;
        assert!(failed < 1_000);
    }
    assert!(failed >= 100, "{failed}");
    // Whoever sits behind the same address comes in by what they have logged in on before, and by a password.
    scene.logs_in(&mut known, ada()).await.is(303);
    let again = scene.chat.someone().logs_in("bob").await;
    again.is(reqwest::StatusCode::OK);
    bob.get("/api/me").await.is(reqwest::StatusCode::OK);
    // What failed there is counted there.
    let mut failed = 0;
    while known.get(&url).await.status.as_u16() == 403 {
        failed += 1;
        assert!(failed < 100);
    }
    assert!(failed >= 10, "{failed}");
}

#[tokio::test]
async fn what_the_token_endpoint_refuses_is_a_failure_of_whoever_came() {
    let scene = Scene::start(&[]).await;
    for (status, error, answer) in [(400, "invalid_grant", 403), (429, "slow_down", 503)] {
        let scene = match error {
            "invalid_grant" => &scene,
            _ => &Scene::start(&[]).await,
        };
        let body = json!({ "error": error }).to_string();
        let does = &scene.provider.does;
        does.lock().instead.insert("token", (status, body));
        let mut browser = Browser::new();
        let mut failed = 0;
        let asked = || scene.provider.does.lock().asked["token"];
        loop {
            let page = scene.logs_in(&mut browser, ada()).await;
            if page.status.as_u16() == 429 {
                break;
            }
            page.is(answer);
            failed += 1;
            assert!(failed < 1_000);
        }
        assert!(failed >= 100, "{failed}");
        assert_eq!(asked(), failed, "and it is asked no more");
    }
}

#[tokio::test]
async fn nobody_is_kept_out_for_what_the_provider_says() {
    let scene = Scene::start(&[]).await;
    let mut browser = Browser::new();
    scene.provider.does.lock().claims = json!({ "aud": "another" });
    for _ in 0..130 {
        let page = scene.logs_in(&mut browser, ada()).await;
        page.is_refused(403, "another audience");
    }
    scene.provider.does.lock().claims = json!({});
    scene.logs_in(&mut browser, ada()).await.is(303);
}

#[tokio::test]
async fn one_address_does_not_take_all_places_while_the_provider_hangs() {
    let scene = Scene::start(&["--client-address-header", "x-forwarded-for"]).await;
    let asked = || scene.provider.does.lock().asked.get("token").copied();
    let waiting = parking_lot::Mutex::new(tokio::task::JoinSet::new());
    let comes_back_from = async |address: &'static str| {
        let mut browser = Browser::new();
        browser.sends.insert("x-forwarded-for", address);
        let back = scene.goes(&mut browser, ada()).await;
        waiting
            .lock()
            .spawn(async move { browser.get(back).await.status });
    };
    scene.provider.does.lock().hangs.insert("token");
    // One customer's, whichever of their addresses they come from.
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::3"].repeat(4) {
        comes_back_from(address).await;
    }
    crate::edges::until("eight are there", async || asked() == Some(8)).await;
    comes_back_from("2001:db8:0:1::1").await;
    crate::edges::until("somebody else is there", async || asked() == Some(9)).await;
}

#[tokio::test]
async fn an_administrator_sees_and_takes_away_by_what_somebody_gets_in() {
    let scene = Scene::start(&[]).await;
    let admin = scene.chat.registers("carol").await;
    let mut browser = Browser::new();
    scene.logs_in(&mut browser, ada()).await.is(303);
    let listed = "/api/admin/users/ada/identities";
    let by_herself = browser.get(scene.url(listed)).await;
    by_herself.is_refused(403, "only an administrator");
    scene.chat.makes_administrator("carol").await;
    let ways = admin
        .get(listed)
        .await
        .is(reqwest::StatusCode::OK)
        .body
        .clone();
    assert_eq!(ways["password"], false);
    let identity = &ways["identities"][0];
    assert_eq!(identity["issuer"], scene.provider.issuer);
    let one = format!("{listed}/{}", identity["id"].as_str().unwrap());
    let nobodys = admin.get("/api/admin/users/nobody/identities").await;
    nobodys.is_problem(404, "not_found");
    for bad in [
        one.replace("/ada/", "/carol/"),
        format!("{listed}/{}", Uuid::now_v7()),
        format!("{listed}/no-id"),
    ] {
        let refused = admin.delete(&bad).await;
        assert!(refused.status.is_client_error(), "{bad}: {}", refused.text);
    }
    let left = admin
        .delete(&one)
        .await
        .is(reqwest::StatusCode::OK)
        .body
        .clone();
    assert_eq!(left, json!({ "password": false, "identities": [] }));
    admin.delete(&one).await.is_problem(404, "not_found");
    let audit = admin.get("/api/admin/audit?limit=1").await.body;
    let line = &audit["entries"][0];
    assert_eq!(
        (&line["actor"], &line["deed"], &line["subject"]),
        (
            &json!("carol"),
            &json!("took a single sign-on away"),
            &json!("ada")
        )
    );
    // She is in where she is in, and gets in again by a link, and links anew.
    assert_eq!(scene.user(&mut browser).await, "ada");
    let reset = admin.post("/api/admin/users/ada/reset", json!({})).await;
    let token = &reset.is(reqwest::StatusCode::CREATED).body["token"];
    let mut anew = Browser::new();
    let set = json!({ "token": token, "password": PASSWORD });
    anew.post(scene.url("/api/reset"), set).await.is(200);
    let ways = admin
        .get(listed)
        .await
        .is(reqwest::StatusCode::OK)
        .body
        .clone();
    assert_eq!(ways, json!({ "password": true, "identities": [] }));
}
