//! The page: a few files that are part of the binary. Each is compressed once, and what is sent is not copied: anybody may
//! ask for them, as often as they like.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::Write,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, write::GzEncoder};
use parking_lot::Mutex;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

use super::Http;
use crate::problem::Problem;

/// What is in `web/`, as it was when this was built (in a debug build, as it is now).
#[derive(RustEmbed)]
#[folder = "web/"]
struct Web;

/// The page is the same for the list of rooms, for each of them and for administrators; what it shows is its own affair.
pub(super) fn routes() -> Router<Arc<Http>> {
    Router::new()
        .route("/", get(index))
        .route("/rooms/{room}", get(index))
        .route("/admin", get(index))
        .route("/web/{*path}", get(asset))
}

/// The base path as people write it, with a slash at its end; without one it is what stands before all other addresses.
pub(super) fn at_base(path: &str) -> Router<Arc<Http>> {
    Router::new().route(&format!("{path}/"), get(index))
}

/// The page with the addresses of its files; where else it is to ask follows from theirs.
async fn index(State(http): State<Arc<Http>>, headers: HeaderMap) -> Response {
    let Some(mut found) = Web::get("index.html") else {
        return Problem::not_found("there is nothing at this address").into_response();
    };
    if !http.base_path.is_empty() {
        let page = String::from_utf8_lossy(&found.data);
        let page = page.replace("=\"/web/", &format!("=\"{}/web/", http.base_path));
        found.data = page.into_bytes().into();
    }
    answer(found, &headers).await
}

/// What nobody asks for who knows the addresses. A person gets the page, which says that there is nothing here and leads on;
/// a program gets what programs read.
pub(super) async fn elsewhere(
    State(http): State<Arc<Http>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let mut accepts = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accepted| accepted.to_str().ok());
    let is_person = method.is_safe() && accepts.any(|kinds| kinds.contains("text/html"));
    if !is_person {
        return Problem::not_found("there is nothing at this address").into_response();
    }
    let mut page = index(State(http), headers).await;
    if page.status() == StatusCode::OK {
        *page.status_mut() = StatusCode::NOT_FOUND;
    }
    page
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    file(&path, &headers).await
}

async fn file(path: &str, headers: &HeaderMap) -> Response {
    match Web::get(path) {
        Some(found) => answer(found, headers).await,
        None => Problem::not_found("there is nothing at this address").into_response(),
    }
}

async fn answer(found: EmbeddedFile, headers: &HeaderMap) -> Response {
    let hash: String = found.metadata.sha256_hash()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Weak, since the bytes on the line may be compressed.
    let tag = format!("W/\"{hash}\"");
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok());
    let is_known = known
        .flat_map(|tags| tags.split(','))
        .any(|known| matches!(known.trim(), "*") || known.trim() == tag);
    let tag = HeaderValue::from_str(&tag).expect("hexadecimal and quotes");
    // Kept, but asked about each time: the names do not change with what is in the files.
    let kept = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    let kind = found.metadata.mimetype();
    let kind = if kind.starts_with("text/") {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_owned()
    };
    let (plain, hash) = match found.data {
        Cow::Borrowed(data) => (Bytes::from_static(data), found.metadata.sha256_hash()),
        // Not as it is in the binary.
        Cow::Owned(data) => {
            let hash = Sha256::digest(&data).into();
            (Bytes::from(data), hash)
        }
    };
    let described = [
        (header::CONTENT_TYPE, kind),
        (header::VARY, header::ACCEPT_ENCODING.to_string()),
    ];
    let Some(coding) = coding(headers) else {
        return (kept, described, plain).into_response();
    };
    let encoding = [(header::CONTENT_ENCODING, coding.name())];
    // It takes a core some tenths of a second, once.
    let packing = tokio::task::spawn_blocking(move || packed(hash, coding, &plain));
    let packed = packing.await.expect("memory takes everything");
    (kept, described, encoding, packed).into_response()
}

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// The best first.
    const ALL: [Coding; 2] = [Coding::Brotli, Coding::Gzip];

    fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }
}

/// The best of those that a browser says it takes. (It offers Brotli over TLS and to its own machine only.)
fn coding(headers: &HeaderMap) -> Option<Coding> {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let taken: Vec<&str> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|encoding| {
            let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
            let is_refused = weight.trim().trim_end_matches(['0', '.']) == "q=";
            (!is_refused).then_some(name.trim())
        })
        .collect();
    let takes = |coding: &Coding| {
        taken
            .iter()
            .any(|name| name.eq_ignore_ascii_case(coding.name()))
    };
    Coding::ALL.into_iter().find(takes)
}

/// The file with this hash, compressed when it is first asked for.
fn packed(hash: [u8; 32], coding: Coding, plain: &[u8]) -> Bytes {
    type Packed = HashMap<([u8; 32], Coding), Bytes>;
    static PACKED: LazyLock<Mutex<Packed>> = LazyLock::new(Mutex::default);
    let mut packed = PACKED.lock();
    let packed = packed.entry((hash, coding)).or_insert_with(|| {
        let mut bytes = Vec::new();
        let done = match coding {
            Coding::Brotli => {
                let best = BrotliEncoderParams::default();
                brotli::BrotliCompress(&mut &*plain, &mut bytes, &best).map(drop)
            }
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(&mut bytes, Compression::best());
                let written = encoder.write_all(plain);
                written.and_then(|()| encoder.finish().map(drop))
            }
        };
        done.expect("memory takes everything");
        bytes.into()
    });
    packed.clone()
}
