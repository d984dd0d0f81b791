//! Single sign-on at a real provider (npm's `oidc-provider`), by a browser that types a name there and says yes. What a
//! provider can do wrong is told in `ws-edge/tests/http/sign_on.rs`, where it is a false one.

use std::{collections::HashMap, net::SocketAddr, path::Path, time::Duration};

use chat_client::Client;
use reqwest::{RequestBuilder, StatusCode, Url, redirect::Policy};
use serde_json::json;
use stories::{Chat, PATIENCE, Person, Process, Setup, free_address, run, until};
use tempfile::TempDir;

const CLIENT_ID: &str = "chinwag";
const SECRET: &str = "a-secret:with%signs+in&it";

/// Somebody else's server at the same provider.
const OTHER_CLIENT_ID: &str = "somebody-elses";

/// The provider's settings for whoever is to log in by it.
fn settings(provider: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("OIDC_ISSUER", format!("http://{provider}")),
        ("OIDC_CLIENT_ID", CLIENT_ID.to_owned()),
        ("OIDC_CLIENT_SECRET", SECRET.to_owned()),
        ("OIDC_NAME", "Example".to_owned()),
    ]
}

/// Starts it, at this address and for these edges, with a key that it has not had before.
async fn provider(at: SocketAddr, alg: &str, edges: &[String], folder: &TempDir) -> Process {
    // As long as codes hold by the standard's advice at the most.
    provider_with(at, alg, 600, edges, folder).await
}

async fn provider_with(
    at: SocketAddr,
    alg: &str,
    codes_hold_seconds: u32,
    edges: &[String],
    folder: &TempDir,
) -> Process {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("provider");
    let node = here.join("node");
    assert!(
        node.exists(),
        "there is no provider: run stories/provider/install.sh"
    );
    let back = |url: &String| format!("{url}/api/oidc/callback");
    let client = json!({
        "port": at.port(), "alg": alg, "codes_hold_seconds": codes_hold_seconds, "other_client_id": OTHER_CLIENT_ID,
        "client_id": CLIENT_ID, "client_secret": SECRET,
        "redirect_uris": edges.iter().map(back).collect::<Vec<_>>(),
    });
    let (script, client) = (here.join("provider.mjs"), client.to_string());
    let arguments = [script.to_str().expect("a path"), &client];
    let process = Process::start_other(&node, &arguments, at, folder.path());
    let discovery = format!("http://{at}/.well-known/openid-configuration");
    until("the provider is there", PATIENCE, async || {
        process.assert_running();
        chat_client::http()
            .get(&discovery)
            .send()
            .await
            .ok()
            .map(drop)
    })
    .await;
    process
}

/// A browser. Its cookies are all of one host, as those on loopback are.
#[derive(Clone)]
struct Browser {
    http: reqwest::Client,
    cookies: HashMap<String, String>,
}

struct Page {
    status: StatusCode,
    location: Option<Url>,
    text: String,
}

impl Browser {
    fn new() -> Browser {
        // The first of them says which TLS there is.
        let _first = chat_client::http();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none());
        Browser {
            http: http.build().expect("nothing special"),
            cookies: HashMap::new(),
        }
    }

    async fn call(&mut self, call: RequestBuilder) -> Page {
        let cookies = self.cookies.iter();
        let cookies: Vec<String> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = call
            .header("cookie", cookies.join("; "))
            .send()
            .await
            .expect("an answer");
        for set in answer.headers().get_all("set-cookie") {
            let set = set.to_str().expect("text");
            let pair = set.split(';').next().and_then(|pair| pair.split_once('='));
            let (name, value) = pair.expect("a cookie");
            match value {
                "" => drop(self.cookies.remove(name)),
                value => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        let location = answer.headers().get("location");
        let location = location.and_then(|to| answer.url().join(to.to_str().ok()?).ok());
        Page {
            status: answer.status(),
            location,
            text: answer.text().await.expect("text"),
        }
    }

    async fn get(&mut self, url: &str) -> Page {
        let call = self.http.get(url);
        self.call(call).await
    }

    /// Goes to the provider from an address of the edge, types a name, and says yes. Returns where that sends it.
    async fn goes(&mut self, from: &str, name: &str) -> Url {
        self.goes_as_if(from, name, None).await
    }

    /// The same, asking the provider for something else than the edge did.
    async fn goes_as_if(&mut self, from: &str, name: &str, asking: Option<(&str, &str)>) -> Url {
        let mut page = self.get(from).await;
        if let Some((parameter, value)) = asking {
            page.location = page.location.map(|url| with(&url, parameter, value));
        }
        loop {
            let url = page
                .location
                .unwrap_or_else(|| panic!("{}: {}", page.status, page.text));
            if url.path() == "/api/oidc/callback" {
                return url;
            }
            page = self.get(url.as_str()).await;
            if page.location.is_none() {
                let logs_in = page.text.contains("name=\"login\"");
                let form = match logs_in {
                    true => format!("prompt=login&login={name}&password=any"),
                    false => "prompt=consent".to_owned(),
                };
                let form_type = "application/x-www-form-urlencoded";
                let call = self
                    .http
                    .post(url)
                    .header("content-type", form_type)
                    .body(form);
                page = self.call(call).await;
            }
        }
    }

    /// Logs in at an edge.
    async fn logs_in(&mut self, edge: &str, name: &str) -> Page {
        let back = self.goes(&format!("{edge}/api/oidc/login"), name).await;
        self.get(back.as_str()).await
    }

    /// Who it is at an edge.
    fn person(&self, edge: &str, name: &str) -> Person {
        let token = self.cookies.get("session").expect("a session");
        Client::new(edge).with_token(name, token).into()
    }
}

/// An address with another value of a parameter.
fn with(url: &Url, parameter: &str, value: &str) -> Url {
    let pairs = url.query_pairs().into_owned();
    let others: Vec<(String, String)> = pairs.filter(|(name, _)| name != parameter).collect();
    let mut url = url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair(parameter, value);
    url
}

fn code(url: &Url) -> String {
    let code = url.query_pairs().find(|(name, _)| name == "code");
    code.expect("a code").1.into_owned()
}

#[track_caller]
fn is_in(page: &Page) {
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
}

#[track_caller]
fn is_refused(page: &Page, status: u16, words: &str) {
    assert!(page.text.contains(words), "{}", page.text);
    assert_eq!(page.status.as_u16(), status);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_logs_in_at_any_edge_and_the_provider_may_stand_still_or_change_its_keys() {
    let at = free_address();
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        settings: settings(at),
        ..Setup::default()
    })
    .await;
    let edges = [chat.url(0), chat.url(1)];
    let mut bob = Person::register(&edges[1], "bob").await;
    bob.connects().await;
    bob.joins("bob", None).await;
    // The provider is not there yet: the edges are, and say what is wrong.
    let mut browser = Browser::new();
    let log_in = format!("{}/api/oidc/login", edges[0]);
    is_refused(&browser.get(&log_in).await, 503, "Example");

    let folder = TempDir::with_prefix("chinwag-provider-").expect("a temporary folder");
    let first = provider(at, "RS256", &edges, &folder).await;
    until("the edges ask for it again", PATIENCE, async || {
        let mut browser = Browser::new();
        let there = [0, 1].map(|edge| format!("{}/api/oidc/login", edges[edge]));
        let both = [browser.get(&there[0]).await, browser.get(&there[1]).await];
        both.iter()
            .all(|page| page.location.is_some())
            .then_some(())
    })
    .await;
    // They go out by one edge and come back to the other.
    let back = browser.goes(&log_in, "ada").await;
    let elsewhere = back.as_str().replace(&edges[0], &edges[1]);
    let cookies = browser.cookies.clone();
    is_in(&browser.get(&elsewhere).await);
    let mut ada = browser.person(&edges[0], "ada");
    assert_eq!(ada.get("/api/me").await.body["user"], "ada");
    ada.connects().await;
    ada.joins("ada", None).await;
    ada.says_and_is_acked("I am in").await;
    // Once.
    let mut again = browser.clone();
    again.cookies.clone_from(&cookies);
    is_refused(&again.get(back.as_str()).await, 403, "come back already");

    // It stands still: who logs in by it is told so, and nobody else notices.
    let back = browser.goes(&log_in, "ada").await;
    first.signal("STOP");
    let waits = async { is_refused(&browser.get(back.as_str()).await, 503, "Example") };
    let talks = async {
        for n in 0..20 {
            bob.says_and_is_acked(&format!("line {n}")).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(25), async {
        tokio::join!(waits, talks)
    })
    .await
    .expect("a time limit holds");
    first.signal("CONT");
    let mut browser = Browser::new();
    is_in(&browser.logs_in(&edges[0], "ada").await);
    // It comes back with other keys, of other kinds; the edges have the old ones, and nobody is turned away for that.
    first.kill();
    for alg in ["PS256", "ES256", "EdDSA"] {
        let other = provider(at, alg, &edges, &folder).await;
        let mut browser = Browser::new();
        is_in(&browser.logs_in(&edges[0], "ada").await);
        let me = browser.person(&edges[1], "ada").get("/api/me").await;
        assert_eq!(me.body["user"], "ada", "{alg}");
        other.kill();
    }
    // Whose account is disabled is out at once, and stays out.
    let _last = provider(at, "RS256", &edges, &folder).await;
    let (status, said) = run(
        "persister",
        &["accounts", "disable", "ada"],
        &chat.environment,
    );
    assert!(status.success(), "{said}");
    assert_eq!(ada.is_closed().await, 4401);
    let page = Browser::new().logs_in(&edges[0], "ada").await;
    is_refused(&page, 403, "disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_brought_back_is_worth_something_to_whoever_was_given_it_and_in_time() {
    let at = free_address();
    let chat = Chat::with(Setup {
        workers: 0,
        settings: settings(at),
        ..Setup::default()
    })
    .await;
    let edges = [chat.url(0)];
    let folder = TempDir::with_prefix("chinwag-provider-").expect("a temporary folder");
    let first = provider(at, "RS256", &edges, &folder).await;
    let log_in = format!("{}/api/oidc/login", edges[0]);
    let not_hers = "not begun in this browser";
    let not_taken = "does not take this log-in back";
    let mut ada = Browser::new();
    let adas = ada.goes(&log_in, "ada").await;
    // Another browser's, with a log-in of its own or without.
    let mut eve = Browser::new();
    is_refused(&eve.get(adas.as_str()).await, 403, not_hers);
    let eves = eve.goes(&log_in, "eve").await;
    let other_state = with(&eves, "state", "another");
    is_refused(&eve.clone().get(other_state.as_str()).await, 403, not_hers);
    // A code that was stolen on the way is worth nothing to the thief, and still something to whoever it was given to.
    let stolen = with(&eves, "code", &code(&adas));
    is_refused(&eve.get(stolen.as_str()).await, 403, not_taken);
    is_in(&ada.get(adas.as_str()).await);
    // Once: neither in the same log-in, nor in another one.
    let mut ada = Browser::new();
    is_refused(&ada.get(adas.as_str()).await, 403, not_hers);
    let again = with(&ada.goes(&log_in, "ada").await, "code", &code(&adas));
    is_refused(&ada.get(again.as_str()).await, 403, not_taken);
    // What was given for another log-in, for another server, or by another provider.
    for (asking, words) in [
        (("nonce", "another"), "made for another log-in"),
        (("client_id", OTHER_CLIENT_ID), not_taken),
    ] {
        let mut eve = Browser::new();
        let back = eve.goes_as_if(&log_in, "eve", Some(asking)).await;
        is_refused(&eve.get(back.as_str()).await, 403, words);
    }
    let mut eve = Browser::new();
    let elsewhere = eve.goes(&log_in, "eve").await;
    let elsewhere = with(&elsewhere, "iss", "https://evil.example");
    is_refused(
        &eve.get(elsewhere.as_str()).await,
        403,
        "from another provider",
    );
    // Too late: once more than the whole time of a code has passed, however slow all of this is.
    first.kill();
    let _hasty = provider_with(at, "RS256", 1, &edges, &folder).await;
    let mut late = Browser::new();
    let back = late.goes(&log_in, "ada").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    is_refused(&late.get(back.as_str()).await, 403, not_taken);
    // Nobody came in by any of it but ada, once.
    let (status, listed) = run("persister", &["accounts", "list"], &chat.environment);
    assert!(status.success(), "{listed}");
    assert!(!listed.contains("eve"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_all_in_one_without_passwords_has_its_administrator_by_the_link_that_it_prints() {
    let at = free_address();
    let mut chat = Chat::all_in_one().await;
    chat.edges[0].terminate().await;
    let mut settings = settings(at);
    settings.extend([
        ("PASSWORDS", "off".to_owned()),
        ("REGISTRATION", "invite".to_owned()),
    ]);
    chat.edges[0] = chat.service("chinwag", "signed-on", &settings);
    chat.edges[0].ready().await;
    let edge = chat.url(0);
    let folder = TempDir::with_prefix("chinwag-provider-").expect("a temporary folder");
    let _provider = provider(at, "ES256", std::slice::from_ref(&edge), &folder).await;

    let refused = Client::new(&*edge).registers("eve").await;
    refused.is_problem(403, "forbidden");
    is_refused(
        &Browser::new().logs_in(&edge, "eve").await,
        403,
        "by invitation alone",
    );
    let log = chat.edges[0].log();
    let link = log.lines().find_map(|line| line.split_once("#invite="));
    let (_, token) = link.expect("a link");
    let by_link = format!("{edge}/api/oidc/login?invite={}", token.trim());
    let mut browser = Browser::new();
    let back = browser.goes(&by_link, "ada").await;
    is_in(&browser.get(back.as_str()).await);
    let ada = browser.person(&edge, "ada");
    assert_eq!(ada.get("/api/me").await.body["admin"], true);
    // She asks bob in; and then the link is worth nothing.
    let made = ada.post("/api/invites", json!({})).await;
    let token = made.is(StatusCode::CREATED).body["token"]
        .as_str()
        .expect("a token");
    let mut bobs = Browser::new();
    let back = bobs
        .goes(&format!("{edge}/api/oidc/login?invite={token}"), "bob")
        .await;
    is_in(&bobs.get(back.as_str()).await);
    let mut eve = Browser::new();
    let back = eve.goes(&by_link, "eve").await;
    is_refused(&eve.get(back.as_str()).await, 403, "invitation");
    // Killed and started again, everybody is who they were.
    chat.edges[0].kill();
    chat.edges[0].start_again();
    chat.edges[0].ready().await;
    let mut elsewhere = Browser::new();
    is_in(&elsewhere.logs_in(&edge, "bob").await);
    assert_eq!(
        elsewhere.person(&edge, "bob").get("/api/me").await.body["user"],
        "bob"
    );
}
