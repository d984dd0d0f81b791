//! The practice model as a process of its own: for containers, for load tests, and beside services started by hand.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;

use clap::Parser;
use practice_model::PracticeModel;
use tracing_subscriber::EnvFilter;

/// A small local server that speaks Gemini's REST and SSE, and is no model. Give its address as GEMINI_BASE_URL.
#[derive(Parser)]
#[command(name = "practice-model", version)]
struct Settings {
    /// Address and port to listen on; port 0 takes any free one.
    #[arg(long, env = "PRACTICE_LISTEN", default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// The order for every call, such as "p=0.1 503" (the words are in the crate's documentation).
    #[arg(long, env = "PRACTICE_BEHAVIOUR", default_value = "")]
    behaviour: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();

    let mut model = PracticeModel::start(settings.listen).await?;
    model.behave(&settings.behaviour)?;
    // The one line on standard output, for whoever started it and wants to know the port.
    println!("{}", model.base_url());
    tokio::select! {
        told = told_to_stop() => told?,
        ended = model.ended() => {
            ended?;
            return Err("it ended by itself".into());
        }
    }
    model.stop().await?;
    Ok(())
}

async fn told_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            pressed = tokio::signal::ctrl_c() => pressed,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
