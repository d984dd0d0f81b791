//! The page's files.

use reqwest::StatusCode;

use crate::chat::Chat;

#[tokio::test]
async fn the_page_is_served_with_all_it_asks_for() {
    let chat = Chat::start().await;
    let someone = chat.someone();
    let page = someone.get("/").await;
    assert_eq!(
        page.is(StatusCode::OK).header("content-type"),
        "text/html; charset=utf-8"
    );
    assert_eq!(
        someone.get("/rooms/lobby").await.is(StatusCode::OK).text,
        page.text
    );
    let kinds = [
        ("js", "javascript"),
        ("css", "text/css"),
        ("svg", "image/svg+xml"),
        ("webmanifest", "application/manifest+json"),
    ];
    let asked_for: Vec<&str> = page
        .text
        .split('"')
        .filter(|part| part.starts_with("/web/"))
        .collect();
    assert!(asked_for.len() >= 3, "{asked_for:?}");
    for path in asked_for {
        let file = someone.get(path).await;
        let kind = kinds.iter().find(|(end, _)| path.ends_with(end)).unwrap().1;
        assert!(
            file.is(StatusCode::OK)
                .header("content-type")
                .contains(kind),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_known_is_not_sent_again() {
    let chat = Chat::start().await;
    let first = chat.someone().get("/web/app.js").await;
    let tag = first.is(StatusCode::OK).header("etag");
    assert_eq!(first.header("cache-control"), "no-cache");
    let again = chat
        .someone()
        .with("if-none-match", tag)
        .get("/web/app.js")
        .await;
    again.is(StatusCode::NOT_MODIFIED);
    assert_eq!((again.text.as_str(), again.header("etag")), ("", tag));
    let other = chat
        .someone()
        .with("if-none-match", "W/\"other\"")
        .get("/web/app.js")
        .await;
    other.is(StatusCode::OK);
    let compressed = chat
        .someone()
        .with("accept-encoding", "gzip")
        .get("/web/app.js")
        .await;
    assert_eq!(
        compressed.is(StatusCode::OK).header("content-encoding"),
        "gzip"
    );
}

/// Nothing inline: the policy that goes along would not let it run.
#[tokio::test]
async fn the_page_keeps_to_its_policy() {
    let chat = Chat::start().await;
    let page = chat.someone().get("/").await.text;
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="));
    assert!(
        page.split("<script")
            .skip(1)
            .all(|script| script.contains("src="))
    );
    let script = chat.someone().get("/web/app.js").await.text;
    for bad in ["eval(", "new Function(", "document.write("] {
        assert!(!script.contains(bad), "{bad}");
    }
}

#[tokio::test]
async fn the_page_is_sent_compressed_to_who_takes_that() {
    let chat = Chat::start().await;
    let plain = chat.someone().get("/web/app.js").await;
    assert_eq!(plain.header("content-encoding"), "");
    let length =
        |answer: &chat_client::HttpAnswer| answer.header("content-length").parse::<usize>();
    let mut before = length(&plain).unwrap() / 2;
    for (accepted, coding) in [
        ("gzip, deflate", "gzip"),
        ("gzip, br;q=0", "gzip"),
        ("gzip, deflate, br", "br"),
    ] {
        let browser = chat.someone().with("accept-encoding", accepted);
        let packed = browser.get("/web/app.js").await;
        packed.is(StatusCode::OK);
        assert_eq!(packed.header("content-encoding"), coding, "{accepted}");
        assert_eq!(packed.header("vary"), "accept-encoding");
        assert_eq!(packed.header("etag"), plain.header("etag"));
        assert!(length(&packed).unwrap() <= before);
        before = length(&packed).unwrap();
    }
}

#[tokio::test]
async fn below_a_path_all_is_there_and_the_page_asks_for_its_files_there() {
    let chat = Chat::start_with(&["--base-path", "/chat/"]).await;
    let someone = chat.someone();
    for page in ["/chat", "/chat/", "/chat/rooms/lobby"] {
        let page = someone.get(page).await;
        let page = &page.is(StatusCode::OK).text;
        assert!(page.contains("=\"/chat/web/app.js\""), "{page}");
        assert!(!page.contains("=\"/web/"), "{page}");
    }
    someone.get("/chat/web/app.js").await.is(StatusCode::OK);
    someone
        .get("/web/app.js")
        .await
        .is_problem(404, "not_found");
    someone
        .get("/chat/api/me")
        .await
        .is_problem(401, "unauthorized");
    someone.get("/readyz").await.is(StatusCode::OK);
}

#[tokio::test]
async fn where_nothing_is_people_get_the_page_and_programs_a_problem() {
    let chat = Chat::start().await;
    chat.someone()
        .get("/nonsense")
        .await
        .is_problem(404, "not_found");
    let person = chat.someone().with("accept", "text/html,*/*;q=0.8");
    let page = person.get("/nonsense").await;
    assert_eq!(
        page.is(StatusCode::NOT_FOUND).header("content-type"),
        "text/html; charset=utf-8"
    );
    person
        .get("/api/nonsense")
        .await
        .is_problem(404, "not_found");
}
