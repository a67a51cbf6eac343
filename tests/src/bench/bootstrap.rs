//! One process of the authorizer: started as Lambda starts it, asked, and weighed.

use super::Fault;
use super::runtime_api::{Answer, RuntimeApi};
use axum::body::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than any answer takes; whoever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `/proc` counts CPU time in: 1/100 s for every program on Linux.
const TICK: Duration = Duration::from_millis(10);

/// A running bootstrap, which ends when this is dropped.
pub(super) struct Bootstrap {
    child: Child,
    api: RuntimeApi,
    started_in: Duration,
    /// It has asked for the event that it has not been given yet.
    waiting: bool,
}

impl Bootstrap {
    /// Starts the file and waits until it asks for its first event.
    pub(super) async fn start(
        file: &Path,
        environment: &BTreeMap<String, String>,
        verbose: bool,
    ) -> Result<Self, Fault> {
        let mut api = RuntimeApi::serve().await?;
        let output = || {
            if verbose {
                Stdio::inherit()
            } else {
                Stdio::null()
            }
        };
        let mut command = Command::new(file);
        command
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "authorizer")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/authorizer")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .kill_on_drop(true);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let asked = tokio::select! {
            asked = timeout(PATIENCE, api.asked()) => asked??,
            status = child.wait() => {
                return Err(format!("the bootstrap ended at its start, with {}: --verbose says why", status?).into());
            }
        };
        Ok(Self {
            child,
            api,
            started_in: asked - begun,
            waiting: true,
        })
    }

    /// From exec to the first request for an event.
    pub(super) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Hands in an event that must be allowed; says how long the answer took.
    pub(super) async fn invoke(&mut self, event: &[u8]) -> Result<Duration, Fault> {
        if !self.waiting {
            timeout(PATIENCE, self.api.asked()).await??;
        }
        self.waiting = false;
        let event = Bytes::copy_from_slice(event);
        let begun = Instant::now();
        let answer = timeout(PATIENCE, self.api.invoke(event)).await??;
        let took = begun.elapsed();
        if !allows(&answer) {
            return Err("the authorizer refused a token: --verbose says why".into());
        }
        Ok(took)
    }

    /// User and system time of all its threads, those that have ended included.
    pub(super) fn cpu(&self) -> Option<Duration> {
        ticks(&self.proc("stat")?).map(|ticks| TICK * ticks)
    }

    /// The most memory that it ever held, in bytes.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        peak(&self.proc("status")?)
    }

    fn proc(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()?)).ok()
    }
}

fn allows(answer: &Answer) -> bool {
    let Answer::Response(body) = answer else {
        return false;
    };
    serde_json::from_slice::<Value>(body)
        .is_ok_and(|body| body["policyDocument"]["Statement"][0]["Effect"] == "Allow")
}

/// `utime` and `stime`, fields 14 and 15 of proc_pid_stat(5). The name before them
/// is in brackets and may hold spaces.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// `VmHWM`, which the kernel gives in kB.
fn peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_system_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 99 0 0 0 12 34 5 6 20 0 2 0 100 1 1";
        assert_eq!(ticks(stat), Some(46));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn peak_memory_is_in_bytes() {
        assert_eq!(peak("VmRSS:\t1 kB\nVmHWM:\t    1964 kB\n"), Some(2_011_136));
        assert_eq!(peak("VmRSS:\t1 kB\n"), None);
    }

    #[test]
    fn only_an_allow_is_an_answer_to_measure() {
        let response = |effect: &str| {
            let policy = serde_json::json!({"policyDocument": {"Statement": [{"Effect": effect}]}});
            Answer::Response(policy.to_string().into())
        };
        assert!(allows(&response("Allow")));
        assert!(!allows(&response("Deny")));
        assert!(!allows(&Answer::Response(Bytes::from_static(b"{}"))));
        assert!(!allows(&Answer::Error));
    }
}
