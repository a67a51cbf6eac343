//! The programs that are measured side by side.

use super::Fault;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A function as Lambda would start it.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// How the tables call it.
    pub(super) name: &'static str,
    pub(super) file: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// What it can be asked.
    pub(super) role: Role,
    /// What would be uploaded.
    pub(super) package: Vec<PathBuf>,
}

/// What a program does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// Swaps tokens.
    Authorizer,
    /// Answers every event, having read its item.
    Reader,
    /// Answers every event.
    Nothing,
}

pub(super) const CLOAKROOM: &str = "cloakroom";
pub(super) const EMPTY: &str = "empty";
pub(super) const GET_ITEM: &str = "get-item";
pub(super) const NODE: &str = "node";
pub(super) const PYTHON: &str = "python";

/// Our authorizer, and as many of its peers as are wanted and can run here.
///
/// # Errors
///
/// When one that is wanted is not built.
pub(super) fn all(authorizer: &Path, peers: bool, scratch: &Path) -> Result<Vec<Program>, Fault> {
    let mut programs = vec![native(CLOAKROOM, authorizer.to_owned(), Role::Authorizer)];
    if peers {
        let beside = |name| authorizer.with_file_name(name);
        programs.push(native(EMPTY, beside(EMPTY), Role::Nothing));
        programs.push(native(GET_ITEM, beside(GET_ITEM), Role::Reader));
        programs.push(node(scratch)?);
        programs.push(python()?);
    }
    for program in &programs {
        if !program.file.exists() {
            return Err(format!("there is no program at {}", program.file.display()).into());
        }
    }
    Ok(programs)
}

fn native(name: &'static str, file: PathBuf, role: Role) -> Program {
    Program {
        name,
        package: vec![file.clone()],
        file,
        arguments: Vec::new(),
        environment: Vec::new(),
        role,
    }
}

/// Bundled and minified, as people deploy it.
fn node(scratch: &Path) -> Result<Program, Fault> {
    let root = root();
    let bundle = scratch.join("authorizer.mjs");
    let done = Command::new(root.join("node_modules/.bin/esbuild"))
        .arg(root.join("tests/peers/node/authorizer.mjs"))
        .args(["--bundle", "--minify", "--platform=node", "--target=node20"])
        .args(["--format=esm", "--log-level=error"])
        // What the SDK still requires the old way.
        .arg("--banner:js=import{createRequire}from'node:module';const require=createRequire(import.meta.url);")
        .arg(format!("--outfile={}", bundle.display()))
        .status()
        .map_err(|_| "esbuild is missing: `npm ci` installs it")?;
    if !done.success() {
        return Err("esbuild did not bundle the Node peer".into());
    }
    Ok(Program {
        name: NODE,
        file: which("node").ok_or("node is missing")?,
        arguments: vec![bundle.clone().into()],
        environment: vec![("NODE_ENV", "production".to_owned())],
        role: Role::Authorizer,
        package: vec![bundle],
    })
}

/// boto3 is part of the managed runtime, so it is not part of what is uploaded.
fn python() -> Result<Program, Fault> {
    let root = root();
    let folder = root.join("tests/peers/python");
    let file = root.join(".venv/bin/python");
    if !file.exists() {
        return Err("the Python environment is missing: `make test` makes it".into());
    }
    Ok(Program {
        name: PYTHON,
        file,
        arguments: ["-m", "awslambdaric", "authorizer.handler"]
            .map(Into::into)
            .into(),
        environment: vec![
            ("PYTHONPATH", folder.display().to_string()),
            ("LAMBDA_TASK_ROOT", folder.display().to_string()),
            ("_HANDLER", "authorizer.handler".to_owned()),
        ],
        role: Role::Authorizer,
        package: vec![folder.join("authorizer.py")],
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn which(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|file| file.exists())
}

/// How large its files are as they are uploaded.
pub(super) fn zipped(program: &Program, scratch: &Path) -> Option<u64> {
    let archive = scratch.join(format!("{}.zip", program.name));
    let done = Command::new("python3")
        .args(["-m", "zipfile", "-c"])
        .arg(&archive)
        .args(&program.package)
        .stderr(Stdio::null())
        .status()
        .ok()?;
    let archive = std::fs::metadata(archive).ok()?;
    done.success().then_some(archive.len())
}
