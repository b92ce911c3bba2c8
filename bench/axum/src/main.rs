//! The same answer from Rust's axum, on one thread: what bench/handlers.py and bench/peers.py compare with.
//! usage: oarlock-bench-axum PORT

use axum::{routing::get, serve::ListenerExt, Json, Router};
use serde::Serialize;

#[derive(Serialize)]
struct Hello {
    message: &'static str,
}

#[derive(Serialize)]
struct Quick {
    id: u32,
    name: &'static str,
    tags: [&'static str; 2],
    price: f64,
    in_stock: bool,
}

async fn quick() -> Json<Quick> {
    Json(Quick { id: 7, name: "oarlock", tags: ["fast", "small"], price: 9.75, in_stock: true })
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
    let router = Router::new().route("/hello", get(hello)).route("/json", get(quick));
    axum::serve(listener, router).await.expect("it serves");
}
