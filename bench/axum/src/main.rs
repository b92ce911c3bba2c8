//! The same answer from Rust's axum, on one thread: what bench/handlers.py compares with.
//! usage: oarlock-bench-axum PORT

use axum::{routing::get, serve::ListenerExt, Json, Router};
use serde::Serialize;

#[derive(Serialize)]
struct Hello {
    message: &'static str,
}

async fn hello() -> Json<Hello> {
    Json(Hello { message: "hello" })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).expect("a port");
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("the port is free");
    // Without it the answers to pipelined requests wait for acknowledgements.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, Router::new().route("/hello", get(hello))).await.expect("it serves");
}
