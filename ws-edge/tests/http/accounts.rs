//! Registering and logging in.

use chat_client::PASSWORD;
use reqwest::StatusCode;
use serde_json::json;

use crate::chat::Chat;

#[tokio::test]
async fn who_registers_is_logged_in_by_token_and_by_cookie() {
    let chat = Chat::start().await;
    let answer = chat.someone().registers("ada").await;
    answer.is(StatusCode::OK);
    assert_eq!(answer.body["user"], "ada");
    assert_eq!(answer.body.as_object().unwrap().len(), 2);
    let token = answer.body["token"].as_str().unwrap();
    assert_eq!(token.len(), 64, "256 bits in hexadecimal");
    assert_eq!(answer.cookie(), token);
    let cookie = answer.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"] {
        assert!(cookie.contains(attribute), "{attribute} in {cookie}");
    }
    assert!(!cookie.contains("Secure"));

    let by_token = chat.someone().with_token("ada", token).get("/api/me").await;
    assert_eq!(by_token.is(StatusCode::OK).body["user"], "ada");
    let by_cookie = chat
        .someone()
        .with("cookie", &format!("theme=dark; session={token}"));
    let by_cookie = by_cookie.get("/api/me").await;
    assert_eq!(by_cookie.is(StatusCode::OK).body, by_token.body);
    assert_eq!(
        by_cookie.cookie(),
        token,
        "the cookie lasts as long as the session it is used for"
    );
    assert_eq!(by_token.header("set-cookie"), "");
    // One that another path or domain has left behind comes first, and hides nothing.
    let stale = "0".repeat(token.len());
    for cookies in [
        format!("session={stale}; session={token}"),
        format!("session={token}; session={stale}"),
    ] {
        let both = chat.someone().with("cookie", &cookies).get("/api/me").await;
        assert_eq!(both.is(StatusCode::OK).body, by_token.body);
        assert_eq!(both.cookie(), token, "and stays");
    }
}

#[tokio::test]
async fn cookies_go_over_tls_alone_where_that_is_set() {
    let chat = Chat::start_with(&["--secure-cookies", "true"]).await;
    let answer = chat.someone().registers("ada").await;
    let cookie = answer.header("set-cookie");
    // By this name browsers take it from nobody else, on a neighbouring name either; it needs these attributes.
    let token = cookie.strip_prefix("__Host-session=").unwrap();
    let token = token.split(';').next().unwrap();
    assert!(cookie.contains("; Path=/;") && cookie.ends_with("; Secure"));
    assert!(!cookie.contains("Domain"));
    let with = |cookie: String| chat.someone().with("cookie", &cookie);
    let planted = with(format!("session={token}")).get("/api/me").await;
    planted.is_problem(401, "unauthorized");
    let own = with(format!("session=planted; __Host-session={token}"));
    let me = own.get("/api/me").await;
    assert_eq!(me.is(StatusCode::OK).body["user"], "ada");
    assert_eq!(
        me.header("strict-transport-security"),
        "max-age=31536000",
        "and nothing else goes without TLS either"
    );
}

#[tokio::test]
async fn the_database_keeps_no_token_and_no_password() {
    let chat = Chat::start().await;
    chat.registers("ada").await;
    let hash = chat.store.password_hash("ada").await.unwrap().unwrap();
    assert!(
        hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{hash}"
    );
    assert!(!hash.contains(PASSWORD));
}

#[tokio::test]
async fn one_logs_in_with_the_right_password_alone() {
    let chat = Chat::start().await;
    chat.registers("ada").await;
    assert_eq!(
        chat.logs_in("ada").await.get("/api/me").await.body["user"],
        "ada"
    );
    let wrong = json!({ "username": "ada", "password": "incorrect horse" });
    let wrong = chat.someone().post("/api/login", wrong).await;
    let unknown = chat.someone().logs_in("bob").await;
    let impossible = chat.someone().logs_in("Bob the Great!").await;
    for refused in [&wrong, &unknown, &impossible] {
        refused.is_problem(401, "unauthorized");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        assert_eq!(
            refused.body, wrong.body,
            "nothing tells which of both was wrong"
        );
    }
}

#[tokio::test]
async fn names_that_are_taken_or_look_so_are_refused() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada-lovelace").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let taken = [
        "ada-lovelace",
        "adalovelace",
        "ada_l0velace",
        "lobby",
        "bot",
        "b0t",
        "admin",
        "sy5tem",
    ];
    for name in taken {
        chat.someone()
            .registers(name)
            .await
            .is_problem(409, "bad_request");
    }
}

#[tokio::test]
async fn names_and_passwords_have_limits() {
    let chat = Chat::start().await;
    let long = "a".repeat(33);
    for name in ["ab", "Ada", "ada l", "", "ädä", &long] {
        chat.someone()
            .registers(name)
            .await
            .is_problem(400, "bad_request");
    }
    let (long, longest) = ("p".repeat(201), "ü".repeat(200));
    for password in ["", "1234567", &long] {
        let body = json!({ "username": "ada", "password": password });
        chat.someone()
            .post("/api/register", body)
            .await
            .is_problem(400, "bad_request");
    }
    let body = json!({ "username": "ada", "password": longest });
    chat.someone()
        .post("/api/register", body.clone())
        .await
        .is(StatusCode::OK);
    chat.someone()
        .post("/api/login", body)
        .await
        .is(StatusCode::OK);
}

#[tokio::test]
async fn a_new_user_has_a_room_of_their_own() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    let rooms = ada.get("/api/rooms").await;
    let own = json!({ "name": "ada", "private": true, "bot": "always", "owner": "ada", "latest": 0, "read": 0, "unread": 0 });
    assert_eq!(rooms.body, json!({ "rooms": [own] }));
}

#[tokio::test]
async fn two_who_take_one_name_at_once_are_one_user() {
    let chat = Chat::start().await;
    let (one, other) = (chat.someone(), chat.elsewhere(&chat.someone()));
    let (one, other) = tokio::join!(one.registers("ada"), other.registers("ada"),);
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn a_password_is_the_same_however_its_letters_were_typed() {
    let chat = Chat::start().await;
    let (one, two) = ("caf\u{e9}\u{a0}au lait 42", "cafe\u{301} au lait 42");
    let credentials =
        |name: &str, password: &str| json!({ "username": name, "password": password });
    for (name, first, second) in [("ada", one, two), ("bob", two, one)] {
        let registered = chat
            .someone()
            .post("/api/register", credentials(name, first))
            .await;
        registered.is(StatusCode::OK);
        for password in [first, second] {
            let answer = chat
                .someone()
                .post("/api/login", credentials(name, password))
                .await;
            answer.is(StatusCode::OK);
        }
        let wrong = chat
            .someone()
            .post("/api/login", credentials(name, "cafe au lait 42"))
            .await;
        wrong.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn what_is_guessed_first_is_no_password() {
    let chat = Chat::start().await;
    let registers = async |password: &str| {
        let body = json!({ "username": "wilhelmina", "password": password });
        chat.someone().post("/api/register", body).await
    };
    for password in ["password", "12345678", "Passw0rd", "qwerty123", "iloveyou"] {
        let refused = registers(password).await;
        refused.is_problem(400, "bad_request");
        assert!(refused.text.contains("guessed first"), "{}", refused.text);
    }
    for password in ["wilhelmina", "Wilhelmina1", "wilhelmina-wilhelmina"] {
        let refused = registers(password).await;
        refused.is_problem(400, "bad_request");
        assert!(refused.text.contains("your own name"), "{}", refused.text);
    }
    registers("garlic and sapphires").await.is(StatusCode::OK);
}

#[tokio::test]
async fn nobody_takes_a_name_that_sounds_like_the_house() {
    let chat = Chat::start().await;
    for name in [
        "support",
        "mod",
        "m0d",
        "help",
        "root",
        "security",
        "moderator",
        "staff",
        "0fficial",
    ] {
        let taken = chat.someone().registers(name).await;
        taken.is_problem(409, "bad_request");
    }
    // Who has one already keeps it.
    let ada = chat.registers("ada").await;
    let hash = chat.store.password_hash("ada").await.unwrap().unwrap();
    chat.store.create_user("support", &hash).await.unwrap();
    let support = chat.logs_in("support").await;
    support.get("/api/rooms/support").await.is(StatusCode::OK);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let invited = ada.put("/api/rooms/lobby/members/support").await;
    invited.is(StatusCode::NO_CONTENT);
}
