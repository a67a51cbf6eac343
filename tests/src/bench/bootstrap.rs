//! One process of a function: started as Lambda starts it, asked, and weighed.

use super::Fault;
use super::program::Program;
use super::runtime_api::{Answer, RuntimeApi};
use axum::body::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than any answer takes; whoever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

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
        program: &Program,
        environment: &BTreeMap<String, String>,
        output: Output,
    ) -> Result<Self, Fault> {
        let mut api = RuntimeApi::serve().await?;
        let output = || match output {
            Output::Shown => Stdio::inherit(),
            Output::Kept => Stdio::piped(),
            Output::Dropped => Stdio::null(),
        };
        let mut command = Command::new(&program.file);
        command
            .args(&program.arguments)
            .env_clear()
            .envs(environment)
            // Lambda says it in both ways; boto3 reads this one.
            .envs(
                environment
                    .get("AWS_REGION")
                    .map(|region| ("AWS_DEFAULT_REGION", region)),
            )
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "authorizer")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/authorizer")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .envs(program.environment.iter().cloned())
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

    /// Ends the process; what it has written, if that was kept.
    pub(super) async fn output(mut self) -> Result<String, Fault> {
        self.child.start_kill()?;
        let output = self.child.wait_with_output().await?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// From exec to the first request for an event.
    pub(super) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Hands in an event whose answer must be as expected; says how long it took.
    pub(super) async fn invoke(
        &mut self,
        event: &[u8],
        expected: Expected,
    ) -> Result<Duration, Fault> {
        if !self.waiting {
            timeout(PATIENCE, self.api.asked()).await??;
        }
        self.waiting = false;
        let event = Bytes::copy_from_slice(event);
        let begun = Instant::now();
        let answer = timeout(PATIENCE, self.api.invoke(event)).await??;
        let took = begun.elapsed();
        if !expected.is(&answer) {
            return Err(
                format!("a function did not answer with {expected:?}: --verbose says why").into(),
            );
        }
        Ok(took)
    }

    /// Time on a CPU of all its threads, from the kernel's accounting.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()?)).ok()?;
        tasks
            .map(|task| {
                let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
                on_cpu(&text)
            })
            .sum()
    }

    /// The most memory that it ever held, in bytes.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        peak(&self.proc("status")?)
    }

    fn proc(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()?)).ok()
    }
}

/// What becomes of what a program writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Output {
    /// For people to see.
    Shown,
    /// For [`Bootstrap::output`].
    Kept,
    /// To nobody.
    Dropped,
}

/// What an answer must be. Refusals are cheap, and would make good figures.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// A policy that allows.
    Allow,
    /// A thrown refusal.
    Refusal,
}

impl Expected {
    fn is(self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Allow, Answer::Response(body)) => serde_json::from_slice::<Value>(body)
                .is_ok_and(|body| body["policyDocument"]["Statement"][0]["Effect"] == "Allow"),
            (Self::Refusal, Answer::Error(_)) => true,
            (Self::Allow, Answer::Error(_)) | (Self::Refusal, Answer::Response(_)) => false,
        }
    }
}

/// The first field of `schedstat`: nanoseconds spent on a CPU.
fn on_cpu(schedstat: &str) -> Option<Duration> {
    schedstat
        .split(' ')
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
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
    fn cpu_time_is_the_first_field_of_schedstat() {
        assert_eq!(on_cpu("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(on_cpu(""), None);
    }

    #[test]
    fn peak_memory_is_in_bytes() {
        assert_eq!(peak("VmRSS:\t1 kB\nVmHWM:\t    1964 kB\n"), Some(2_011_136));
        assert_eq!(peak("VmRSS:\t1 kB\n"), None);
    }

    #[test]
    fn only_what_is_expected_is_an_answer_to_measure() {
        let response = |effect: &str| {
            let policy = serde_json::json!({"policyDocument": {"Statement": [{"Effect": effect}]}});
            Answer::Response(policy.to_string().into())
        };
        assert!(Expected::Allow.is(&response("Allow")));
        assert!(!Expected::Allow.is(&response("Deny")));
        assert!(!Expected::Allow.is(&Answer::Response(Bytes::from_static(b"{}"))));
        assert!(!Expected::Allow.is(&Answer::Error(Bytes::new())));
        assert!(Expected::Refusal.is(&Answer::Error(Bytes::new())));
        assert!(!Expected::Refusal.is(&response("Allow")));
    }
}
