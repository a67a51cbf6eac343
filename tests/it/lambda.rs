//! The same walks through the real bootstraps: four processes under
//! `cargo lambda watch`, called through the Lambda Invoke API.

use crate::attacks::leaks::{Held, Tour};
use crate::attacks::table;
use crate::oauth::{dpop, introspection};
use crate::walk;
use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::client;
use cloakroom_tests::environment::data_key_config;
use cloakroom_tests::table::Table;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A system whose functions are processes of their own.
pub(crate) struct Deployed {
    pub(crate) system: System,
    /// Where the Lambda Invoke API is.
    pub(crate) port: u16,
    /// What the functions log, at the most talkative level.
    log: PathBuf,
    /// Ends with the test.
    _watch: Child,
    _files: TempDir,
}

impl Deployed {
    pub(crate) async fn start(options: Options) -> Self {
        Self::start_after(options, async |_, _| {}).await
    }

    /// Lets `prepare` change the functions' environment first.
    async fn start_after(options: Options, prepare: impl AsyncFn(&System, &Path)) -> Self {
        let files = tempfile::tempdir().unwrap();
        let env_file = files.path().join("functions.env");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let url = format!("http://127.0.0.1:{port}");
        let system = System::start(Options {
            lambda: Some(url),
            env_file: Some(env_file.clone()),
            ..options
        })
        .await
        .unwrap();
        prepare(&system, &env_file).await;
        // Whatever is asked for, no secret is in a log (D64).
        let mut env = OpenOptions::new().append(true).open(&env_file).unwrap();
        for name in ["CLOAKROOM_LOG", "RUST_LOG", "AWS_LAMBDA_LOG_LEVEL"] {
            writeln!(env, "{name}=trace").unwrap();
        }
        let log = env_file.with_extension("log");
        let watch = watch(port, &env_file, &log);
        wait_for(port).await;
        // The first call of each waits for its build, and a service that needs the
        // keys meanwhile would not.
        for path in [
            "/.well-known/jwks.json",
            "/auth/session",
            "/oauth/token",
            "/api/orders",
        ] {
            client().get(system.at(path)).send().await.unwrap();
        }
        Self {
            system,
            port,
            log,
            _watch: watch,
            _files: files,
        }
    }
}

fn watch(port: u16, env_file: &Path, log: &Path) -> Child {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo_lambda = root.join(".venv/bin/cargo-lambda");
    assert!(
        cargo_lambda.exists(),
        "cargo-lambda is missing: `make test` installs it"
    );
    let log = File::create(log).unwrap();
    let mut command = Command::new(cargo_lambda);
    command
        .args(["lambda", "watch", "--ignore-changes"])
        .args(["--invoke-address", "127.0.0.1"])
        .args(["--invoke-port", &port.to_string()])
        .arg("--env-file")
        .arg(env_file)
        .current_dir(root)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true);
    // What cargo tells the tests about their own package is none of the others'
    // business; it would make them build anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let about_a_package = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
        if about_a_package || name == "CARGO" {
            command.env_remove(name);
        }
    }
    command.spawn().unwrap()
}

async fn wait_for(port: u16) {
    // It reads the whole workspace first, and waits for whoever else uses cargo.
    for _ in 0..1800 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("cargo lambda watch does not listen");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstraps_do_what_the_handlers_do() {
    let deployed = Deployed::start(Options::default()).await;
    walk::machine(&deployed.system).await;
    introspection::walk(&deployed.system).await;
    walk::browser(&deployed.system).await;
    walk::native(&deployed.system).await;
    walk::refreshes(&deployed.system).await;
}

/// `cloakroom setup`, at the system's own endpoints: another table and other keys.
async fn set_up(system: &System, env_file: &Path) {
    let done = Command::new(env!("CARGO"))
        .args([
            "run",
            "--quiet",
            "--package",
            "cloakroom",
            "--",
            "setup",
            "--env-file",
        ])
        .arg(env_file)
        .envs(system.environment())
        .env("CLOAKROOM_TABLE", "made-by-setup")
        .output()
        .await
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let text = std::fs::read_to_string(env_file).unwrap();
    assert!(text.contains("CLOAKROOM_TABLE=made-by-setup\n"));
    assert!(!text.contains(system.backends().signing_key()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstraps_run_on_what_setup_makes() {
    let deployed = Deployed::start_after(Options::default(), set_up).await;
    walk::machine(&deployed.system).await;
    walk::browser(&deployed.system).await;
    assert_eq!(
        Table::of(&deployed.system).count().await,
        0,
        "the system's own table"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstraps_sign_in_data_key_mode() {
    let deployed = Deployed::start(Options {
        config: data_key_config(),
        ..Options::default()
    })
    .await;
    walk::machine(&deployed.system).await;
    walk::native(&deployed.system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstraps_bind_tokens_to_keys() {
    let deployed = Deployed::start(dpop::options(Flavour::Rest, Edge::None)).await;
    dpop::walk(&deployed.system, false).await;
    dpop::replays(&deployed.system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d64_the_bootstraps_log_no_secret_at_any_level() {
    let deployed = Deployed::start(Options::default()).await;
    let tour = Tour::through(&deployed.system).await;
    tour.is_in_no_answer();
    let log = std::fs::read_to_string(&deployed.log).unwrap();
    let decisions = log.lines().filter(|line| line.starts_with('{'));
    assert!(decisions.count() > 20, "{log}");
    let lines: Vec<_> = log.lines().map(str::to_owned).collect();
    tour.is_in_no_log(&lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstraps_withstand_a_writer_of_the_table_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        data_dir: Some(dir.path().to_owned()),
        ..table::options()
    };
    let first = Deployed::start(options()).await;
    table::all(&first.system).await;
    let held = Held::before(&first.system).await;
    drop(first);
    let second = Deployed::start(options()).await;
    held.after(&second.system, dir.path()).await;
}
