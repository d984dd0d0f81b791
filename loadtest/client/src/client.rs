//! The HTTP calls: who calls which server, and what it answers.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderName},
};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Good enough for everybody in a test.
pub const PASSWORD: &str = "correct horse battery";

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Between two attempts to read a page of a history.
const PAUSE: Duration = Duration::from_millis(100);

/// How long somebody rests who asked for pages too often.
const SLOW_DOWN: Duration = Duration::from_secs(1);

/// What somebody registers and logs in with.
pub fn credentials(name: &str) -> Value {
    json!({ "username": name, "password": PASSWORD })
}

/// The HTTP client of everybody.
pub fn http() -> &'static reqwest::Client {
    static HTTP: OnceLock<reqwest::Client> = OnceLock::new();
    HTTP.get_or_init(|| {
        // An error means that there is a TLS provider already, which will do.
        let _there = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().timeout(CALL_LIMIT);
        builder.build().expect("nothing special")
    })
}

/// Somebody who calls a server.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it is: `http://` or `https://`, and no slash at the end.
    pub server: String,
    /// Who they are; empty for somebody who is not logged in.
    pub name: String,
    /// Their session, or empty.
    pub token: String,
    pub(crate) headers: HeaderMap,
}

impl Client {
    /// Somebody who is not logged in.
    pub fn new(server: impl Into<String>) -> Client {
        Client {
            server: server.into(),
            name: String::new(),
            token: String::new(),
            headers: HeaderMap::new(),
        }
    }

    /// Makes an account.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn register(server: &str, name: &str) -> Client {
        let client = Client::new(server);
        client.let_in(name, &client.registers(name).await)
    }

    /// Logs in, on one more device.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn log_in(server: &str, name: &str) -> Client {
        let client = Client::new(server);
        client.let_in(name, &client.logs_in(name).await)
    }

    fn let_in(&self, name: &str, answer: &HttpAnswer) -> Client {
        let token = answer.is(StatusCode::OK).body["token"].as_str();
        self.with_token(name, token.expect("a token"))
    }

    /// Asks for an account, with everybody's password.
    pub async fn registers(&self, name: &str) -> HttpAnswer {
        self.post("/api/register", credentials(name)).await
    }

    /// Asks for a session, with everybody's password.
    pub async fn logs_in(&self, name: &str) -> HttpAnswer {
        self.post("/api/login", credentials(name)).await
    }

    /// Asks for a public room in which the bot answers who mentions it.
    pub async fn makes_room(&self, name: &str) -> HttpAnswer {
        self.post("/api/rooms", json!({ "name": name })).await
    }

    /// The same client as somebody with a session.
    pub fn with_token(&self, name: &str, token: &str) -> Client {
        let mut client = self.with(AUTHORIZATION.as_str(), &format!("Bearer {token}"));
        (client.name, client.token) = (name.to_owned(), token.to_owned());
        client
    }

    /// The same client with one more header, on sockets too.
    pub fn with(&self, name: &str, value: &str) -> Client {
        let mut client = self.clone();
        let name: HeaderName = name.parse().expect("a header's name");
        client
            .headers
            .insert(name, value.parse().expect("a header's value"));
        client
    }

    /// The same client at another server.
    pub fn at(&self, server: &str) -> Client {
        let server = server.to_owned();
        Client {
            server,
            ..self.clone()
        }
    }

    /// Calls.
    pub async fn get(&self, path: &str) -> HttpAnswer {
        self.call(Method::GET, path, None).await
    }

    /// Calls with a body of JSON.
    pub async fn post(&self, path: &str, body: Value) -> HttpAnswer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Calls with a body of JSON.
    pub async fn patch(&self, path: &str, body: Value) -> HttpAnswer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// Calls.
    pub async fn put(&self, path: &str) -> HttpAnswer {
        self.call(Method::PUT, path, None).await
    }

    /// Calls.
    pub async fn delete(&self, path: &str) -> HttpAnswer {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> HttpAnswer {
        let called = self.try_call(method, path, body).await;
        called.expect("the server answers")
    }

    /// Calls with any body under any content type.
    ///
    /// # Panics
    /// If nobody answers, as after all calls but [`Client::try_call`].
    pub async fn post_raw(
        &self,
        path: &str,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> HttpAnswer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", kind);
        let called = HttpAnswer::read(request.body(body)).await;
        called.expect("the server answers")
    }

    /// Calls a server that may be away.
    ///
    /// # Errors
    /// Nobody answers, or not to the end.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<HttpAnswer> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        HttpAnswer::read(request).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = http().request(method, format!("{}{path}", self.server));
        request.headers(self.headers.clone())
    }

    /// The whole history of a room, page by page. A page is asked for again, for so long, where nobody answered or the
    /// status is said to be worth it.
    ///
    /// # Errors
    /// What was answered in the place of a page.
    pub async fn history(
        &self,
        room: &str,
        within: Duration,
        is_worth_another: impl Fn(Option<StatusCode>) -> bool,
    ) -> Result<Vec<Value>, String> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().map_or(0, seq);
            let path = format!("/api/rooms/{room}/messages?after={after}&limit=200");
            let deadline = Instant::now() + within;
            let mut answer = loop {
                let answer = self.try_call(Method::GET, &path, None).await;
                let status = answer.as_ref().ok().map(|answer| answer.status);
                // Whoever looks again and again is told to slow down, and does.
                if status == Some(StatusCode::TOO_MANY_REQUESTS) && Instant::now() < deadline {
                    sleep(SLOW_DOWN).await;
                    continue;
                }
                if status == Some(StatusCode::OK)
                    || !is_worth_another(status)
                    || Instant::now() > deadline
                {
                    break answer.map_err(|error| error.to_string())?;
                }
                sleep(PAUSE).await;
            };
            let Value::Array(page) = answer.body["messages"].take() else {
                return Err(format!(
                    "no page of {room}: {} {}",
                    answer.status, answer.text
                ));
            };
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

/// A message's place.
pub(crate) fn seq(message: &Value) -> u64 {
    let seq = message["seq"].as_u64();
    seq.unwrap_or_else(|| panic!("no seq: {message}"))
}

/// What a server answered.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it is.
    pub text: String,
    /// The same, null if it is no JSON.
    pub body: Value,
}

impl HttpAnswer {
    async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<HttpAnswer> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(HttpAnswer::new(status, headers, &answer.bytes().await?))
    }

    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: &[u8]) -> HttpAnswer {
        HttpAnswer {
            status,
            headers,
            text: String::from_utf8_lossy(body).into_owned(),
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
        }
    }

    /// Checks the status.
    ///
    /// # Panics
    /// If it is another.
    pub fn is(&self, status: StatusCode) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks that this is a problem document of this status and code, in words.
    ///
    /// # Panics
    /// If it is not.
    pub fn is_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["code"], code, "{}", self.text);
        for field in ["type", "title", "detail"] {
            let words = self.body[field].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "`{field}` is missing: {}", self.text);
        }
        self
    }

    /// A header, empty if there is none.
    ///
    /// # Panics
    /// If it is no text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }

    /// The token in the cookie that is set; empty if it is cleared.
    ///
    /// # Panics
    /// If no session is set or cleared.
    pub fn cookie(&self) -> &str {
        let cookie = self.header("set-cookie").strip_prefix("session=");
        let token = cookie.and_then(|cookie| cookie.split(';').next());
        token.expect("a cookie `session`")
    }
}
