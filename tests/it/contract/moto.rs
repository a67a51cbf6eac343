//! `moto_server`: DynamoDB and KMS from PyPI.

use super::world::{listen, url};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;

/// Python and botocore take seconds to load, more on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A running server; ends when dropped if we started it.
pub(crate) struct Server {
    pub(crate) url: String,
    child: Option<Child>,
}

impl Server {
    /// The one at `CLOAKROOM_TEST_MOTO`, or a new one from `.venv`.
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    pub(crate) async fn start() -> Self {
        if let Ok(url) = std::env::var("CLOAKROOM_TEST_MOTO") {
            return Self { url, child: None };
        }
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/moto_server");
        assert!(
            program.exists(),
            "there is no .venv with moto_server: run `make test` once, or install \
             tests/requirements.txt into .venv, or set CLOAKROOM_TEST_MOTO to a running server"
        );
        // Free until a moment ago.
        let (listener, address) = listen().await;
        drop(listener);
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            url: url(address),
            child: Some(child),
        };
        wait_for(address).await;
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn wait_for(address: SocketAddr) {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(START, listening)
        .await
        .expect("moto_server does not start");
}
