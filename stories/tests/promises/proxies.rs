//! The proxies' settings in `docs/proxies/`, as they stand there, but for names, addresses and certificates.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use chat_client::http;
use stories::{Chat, PATIENCE, Person, Process, Setup, free_address, until};
use tempfile::TempDir;

/// A proxy's settings with what is particular to a place replaced.
fn settings(file: &str, places: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/proxies")
        .join(file);
    let text = fs::read_to_string(path).expect("it is in the documents");
    places.iter().fold(text, |text, (here, there)| {
        assert!(text.contains(here), "{file} has no {here:?}");
        text.replace(here, there)
    })
}

/// Where a program of Debian's lies; `engines.sh install` has brought it.
fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin"]
        .map(|folder| Path::new(folder).join(name))
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed: see ./test"))
}

fn nginx(edges: [SocketAddr; 2], listen: SocketAddr, folder: &Path) -> Process {
    let [one, other] = edges.map(|edge| format!("server {edge};"));
    let site = settings(
        "nginx.conf",
        &[
            ("server 127.0.0.1:8080;", one + &other),
            ("listen 443 ssl http2;", format!("listen {listen};")),
            ("ssl_certificate ", "#".into()),
            ("ssl_certificate_key ", "#".into()),
        ],
    );
    let at = folder.display();
    let whole = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}}\n\
         http {{ access_log off; client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;\n\
         uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;\n{site}\n}}"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, whole).expect("the folder is there");
    let path = path.to_string_lossy();
    Process::start_other(
        &program("nginx"),
        &["-e", "stderr", "-c", &path],
        listen,
        folder,
    )
}

fn haproxy(edges: [SocketAddr; 2], listen: SocketAddr, folder: &Path) -> Process {
    let [one, other] = edges;
    let whole = settings(
        "haproxy.cfg",
        &[
            (
                "server edge-1 127.0.0.1:8080",
                format!("server edge-1 {one}\n    server edge-2 {other}"),
            ),
            (
                "bind :443 ssl crt /etc/haproxy/chat.example.com.pem alpn h2,http/1.1",
                format!("bind {listen}"),
            ),
            ("maxconn 60000", "maxconn 500".into()),
        ],
    );
    let path = folder.join("haproxy.cfg");
    fs::write(&path, whole).expect("the folder is there");
    Process::start_other(
        &program("haproxy"),
        &["-db", "-f", &path.to_string_lossy()],
        listen,
        folder,
    )
}

fn caddy(edges: [SocketAddr; 2], listen: SocketAddr, folder: &Path) -> Process {
    let [one, other] = edges;
    let site = settings(
        "Caddyfile",
        &[
            ("127.0.0.1:8080", format!("{one} {other}")),
            ("chat.example.com {", format!("http://{listen} {{")),
        ],
    );
    let path = folder.join("Caddyfile");
    fs::write(&path, format!("{{\n\tadmin off\n}}\n{site}")).expect("the folder is there");
    let path = path.to_string_lossy();
    let arguments = ["run", "--adapter", "caddyfile", "--config", &path];
    Process::start_other(&program("caddy"), &arguments, listen, folder)
}

/// A page's call and a socket get through, from the page's own origin; who calls is who calls, whatever they write.
async fn serves(chat: &Chat, proxy: &Process) {
    let url = format!("http://{}", proxy.listen);
    until("the proxy answers", PATIENCE, async || {
        proxy.assert_running();
        let answer = http().get(format!("{url}/readyz")).send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    let name = format!("ada-{}", proxy.listen.port());
    let mut ada = Person::register(&url, &name).await;
    ada.connects().await;
    ada.joins(&name, None).await;
    let (question, _) = ada.says_and_is_acked("what is two plus two?").await;
    ada.gets_reply_to(question).await;

    let wrong = |forged: &str| {
        http()
            .post(format!("{url}/api/login"))
            .header("origin", &url)
            .header("x-forwarded-for", forged)
            .json(&serde_json::json!({"username": name, "password": "not this one"}))
            .send()
    };
    assert_eq!(wrong("192.0.2.1").await.expect("an answer").status(), 401);
    let logs = chat.edges.iter().map(Process::log).collect::<String>();
    assert!(
        !logs.contains("192.0.2.1") && !logs.contains("CLIENT_ADDRESS_HEADER"),
        "{logs}"
    );
    let failed = logs
        .lines()
        .rfind(|line| line.contains("log-in"))
        .unwrap_or_default();
    assert!(failed.contains("127.0.0.1"), "{failed}\n{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxies_of_the_documents_pass_on_calls_sockets_and_addresses() {
    let setup = Setup {
        edges: 2,
        settings: vec![("CLIENT_ADDRESS_HEADER", "X-Forwarded-For".into())],
        ..Setup::default()
    };
    let chat = Chat::with(setup).await;
    let edges = [chat.edges[0].listen, chat.edges[1].listen];
    for start in [nginx, haproxy, caddy] {
        let folder = TempDir::new().expect("a folder");
        let proxy = start(edges, free_address(), folder.path());
        serves(&chat, &proxy).await;
        // One edge goes; the other serves.
        chat.edges[0].kill();
        let url = format!("http://{}", proxy.listen);
        until(
            "calls come to the edge that is left",
            PATIENCE,
            async || {
                let mut calls = Vec::new();
                for _ in 0..6 {
                    calls.push(
                        http()
                            .get(format!("{url}/healthz"))
                            .send()
                            .await
                            .ok()?
                            .status(),
                    );
                }
                calls.iter().all(|status| *status == 200).then_some(())
            },
        )
        .await;
        chat.edges[0].start_again();
        chat.edges[0].ready().await;
    }
}
