//! Connections as no good client has them: from an address of one's choice, and read or not as one likes.

use std::{net::Ipv4Addr, time::Duration};

use chat_client::PATIENCE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long nothing has to come before it is taken that nothing will.
const SILENCE: Duration = Duration::from_millis(300);

/// A connection to an edge (`http://127.0.0.1:PORT`) from another address of this machine.
pub(crate) async fn connect_from(from: Ipv4Addr, url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let address = url.trim_start_matches("http://").parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// What is answered to a call without a body, to the end of the connection or of what comes.
pub(crate) async fn call(stream: &mut TcpStream, path: &str, headers: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n");
    // Whoever was told to go before asking hears of it all the same.
    drop(stream.write_all(head.as_bytes()).await);
    let mut answer = Vec::new();
    let mut some = [0; 4096];
    let mut patience = PATIENCE;
    while let Ok(Ok(read)) = timeout(patience, stream.read(&mut some)).await {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&some[..read]);
        patience = SILENCE;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether the other side has closed the connection, or cut it off; what still comes is passed over.
pub(crate) async fn is_over(stream: &mut TcpStream) -> bool {
    let mut some = [0; 4096];
    loop {
        match timeout(SILENCE, stream.read(&mut some)).await {
            Err(_) => return false,
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
        }
    }
}
