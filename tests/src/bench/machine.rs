//! On what was measured.

use std::process::Command;

/// Processor, cores, system, and the versions that decide the figures.
pub(super) fn lines() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let system = output("uname", &["-srm"]);
    vec![
        format!("{}, {cores} cores, {system}", processor()),
        [
            output("rustc", &["-V"]),
            format!("node {}", output("node", &["--version"])),
            output("python3", &["--version"]),
        ]
        .join(", "),
    ]
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(|| "a processor".to_owned(), |(_, name)| name.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program).args(arguments).output().map_or_else(
        |_| format!("no {program}"),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
